"""Exports a network for engines, runs the written files, and keeps them only if they agree with eager mode."""

import dataclasses
import shutil
from pathlib import Path
from typing import Dict, Sequence

from compat import UserError

from paddle import nn

from data.classes import MAX_CLASSES
from data.transforms import Normalize
from engine.export import writers
from engine.export.agreement import EQUAL_PIXELS, LOGITS_TOLERANCE, Agreement, compare, probe_images
from engine.export.deployed import DeployedNetwork
from engine.export.folder import draft_in, exported_files, install
from engine.runtime import DEFAULT_ENGINES, Description, EagerNetwork, load_network, write_description

GRAPH_BYTES = 2**20  # at least what a format takes beside the weights


def export_network(
    model: nn.Layer, description: Description, folder: Path, engines: Sequence[str] = DEFAULT_ENGINES
) -> Dict[str, Agreement]:
    """Write `model` for the engines into `folder`, with `deploy.yaml`, in place of a former export.

    Args:
        model: a network of models.build_model with its weights; it is in evaluation mode afterwards.
        description: of the graph to write; its `files` are filled in.
        folder: created if needed; files of the same names are replaced, and those of a former export deleted.
        engines: some of EXPORTED_ENGINES. OpenVINO's and MNN's files are made from the ONNX file, which is made from
            the Paddle file.

    Returns:
        {engine: agreement with eager}.

    Raises:
        UserError: where a written network does not agree with eager, or its package is not installed; the
            folder is then as it was before.
    """
    if description.output_op == "argmax" and description.num_classes > MAX_CLASSES:
        raise UserError(f"{description.num_classes} classes: a class map holds {MAX_CLASSES}; use --output_op none")
    eager = EagerNetwork(model, description.num_classes, Normalize(mean=description.mean, std=description.std))
    try:
        with draft_in(folder) as draft:
            _check_room(model, draft, engines)
            files = _write(DeployedNetwork(model, description), description, draft, engines)
            listed = {engine: {"fp32": files[engine]} for engine in engines}
            description = dataclasses.replace(description, files=listed)
            write_description(draft, description)
            agreements = {}
            for engine in engines:
                agreements[engine] = compare(load_network(draft, engine, threads=1), eager, probe_images(description))
                check(engine, agreements[engine])
            install(exported_files(draft), folder, former=exported_files(folder))
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from error
    return agreements


def _check_room(model: nn.Layer, folder: Path, engines: Sequence[str]) -> None:
    """Raises UserError for too little disk space, which Paddle's writer and paddle2onnx do not report."""
    each = sum(int(tensor.size) * 4 for tensor in model.state_dict().values()) + GRAPH_BYTES
    needed = each * len({"paddle", *engines, *(["onnxruntime"] if {"openvino", "mnn"} & set(engines) else [])})
    free = shutil.disk_usage(folder).free
    if free < needed:
        mebi = 2**20
        raise UserError(
            f"{folder.parent}: its disk has {free / mebi:.0f} MiB free, and the export takes "
            f"{needed / mebi:.0f} MiB; make room, or choose another --save_dir"
        )


def _write(network: DeployedNetwork, description: Description, folder: Path, engines: Sequence[str]) -> Dict[str, str]:
    """{engine: file}, including the formats that the requested ones are made from."""
    files = {"paddle": writers.write_paddle(network, description, folder)}
    if set(engines) - {"paddle"}:
        files["onnxruntime"] = writers.write_onnx(folder, files["paddle"])
    if "openvino" in engines:
        files["openvino"] = writers.write_openvino(folder, files["onnxruntime"])
    if "mnn" in engines:
        files["mnn"] = writers.write_mnn(folder, files["onnxruntime"])
    return files


def check(engine: str, agreement: Agreement) -> None:
    """Raise UserError unless the agreement holds."""
    if not agreement.holds:
        raise UserError(
            f"engine {engine}: the exported network does not agree with eager: {agreement} (allowed: "
            f"{LOGITS_TOLERANCE:.0e}, at least {100 * EQUAL_PIXELS} %). Nothing was kept; leave it out with --engines"
        )
