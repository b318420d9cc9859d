"""One file format each. A writer puts its files into `folder` and returns the name of the one to load."""

import inspect
import os
from pathlib import Path
from typing import Any

from compat import UserError

import paddle
from paddle.static import InputSpec

from engine.export.deployed import DeployedNetwork
from engine.runtime import Description
from engine.runtime.load import REQUIREMENTS

OPSET = 17
NAME = "model"
OF_PADDLE_2 = "paddle2onnx==1.3.1"  # as in the Makefile; requirements-deploy.txt has the one for Paddle 3
SUFFIXES = {
    "paddle": (".json", ".pdmodel", ".pdiparams", ".info"),
    "onnxruntime": (".onnx",),
    "openvino": (".xml", ".bin"),
    "mnn": (".mnn",),
}
BESIDE = {".json": (".pdiparams",), ".pdmodel": (".pdiparams", ".pdiparams.info"), ".xml": (".bin",)}
"""What belongs to a model file, by its suffix."""


def write_paddle(network: DeployedNetwork, description: Description, folder: Path) -> str:
    """`model.json`, or `model.pdmodel` on Paddle 2.6, and `model.pdiparams`."""
    batch, (height, width) = description.batch, description.size or (None, None)
    spec = (
        InputSpec([batch, 3, height, width], "float32", "image")
        if description.input == "float32"
        else InputSpec([batch, height, width, 3], "uint8", "image")
    )
    paddle.jit.save(paddle.jit.to_static(network, input_spec=[spec], full_graph=True), str(folder / NAME))
    return next(file.name for file in folder.glob(f"{NAME}.*") if file.suffix in (".json", ".pdmodel"))


def write_onnx(folder: Path, paddle_file: str) -> str:
    """`model.onnx` from the Paddle inference model in the folder."""
    # The optimiser that paddle2onnx calls by default installs packages while it runs.
    os.environ["POLYGRAPHY_AUTOINSTALL_DEPS"] = "0"
    try:
        import paddle2onnx
    except (ImportError, ValueError) as error:  # the latter for a version of Paddle that it does not take
        cause = str(error).partition(". ")[0]  # its own advice follows: another Paddle
        old = paddle.__version__.startswith("2.")
        which, what = ("the one for Paddle 2.6", OF_PADDLE_2) if old else ("it", f"-r {REQUIREMENTS}")
        raise UserError(f"export to ONNX: {cause}; install {which} with: pip install {what}") from error
    options = {"optimize_tool": None} if "optimize_tool" in inspect.signature(paddle2onnx.export).parameters else {}
    file = folder / f"{NAME}.onnx"
    paddle2onnx.export(
        str(folder / paddle_file), str(folder / f"{NAME}.pdiparams"), str(file), opset_version=OPSET, **options
    )
    if not file.is_file() or not file.stat().st_size:
        raise UserError(f"export to ONNX: paddle2onnx wrote no {file.name}; its message is above")
    return file.name


def write_openvino(folder: Path, onnx_file: str) -> str:
    """`model.xml` and `model.bin` in float32 from the ONNX file in the folder."""
    try:
        import openvino
    except ImportError as error:
        raise UserError(f"export to OpenVINO: {error}; install it with: pip install -r {REQUIREMENTS}") from error
    file = folder / f"{NAME}.xml"
    # Not openvino.convert_model, which sends telemetry from a forked process, and hangs there beside Paddle's threads.
    save_openvino(openvino.Core().read_model(folder / onnx_file), file)
    return file.name


def save_openvino(model: Any, file: Path) -> None:
    """Write an openvino.Model in float32; raises OSError where that fails, such as on a full disk."""
    import openvino

    try:
        openvino.save_model(model, str(file), compress_to_fp16=False)
    except RuntimeError as error:
        raise OSError(f"OpenVINO: {' '.join(str(error).split())}") from error


def write_mnn(folder: Path, onnx_file: str) -> str:
    """`model.mnn` in float32 from the ONNX file in the folder."""
    try:
        # Not MNN.tools.mnnconvert around it, which installs packages while it is imported, and reports its use.
        import _tools
    except ImportError as error:
        raise UserError(f"export to MNN: {error}; install it with: pip install -r {REQUIREMENTS}") from error
    file = folder / f"{NAME}.mnn"
    source = ["-f", "ONNX", "--modelFile", str(folder / onnx_file)]
    _tools.mnnconvert(["mnnconvert", *source, "--MNNModel", str(file), "--bizCode", NAME])  # True whatever happens
    if not file.is_file():
        raise UserError(f"export to MNN: its converter wrote no {file.name}; its message is above")
    return file.name
