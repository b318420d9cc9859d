"""Builds a network in every engine and precision that is installed here, to be timed."""

from pathlib import Path
from typing import Callable, List, NamedTuple, Sequence, Tuple

from compat import UserError

import numpy as np
from paddle import nn

from engine.export import export_network
from engine.export.quantizable import FORMS
from engine.export.quantize import quantize_exported
from engine.runtime import EXPORTED_ENGINES, Description, EagerNetwork, Network, load_network
from engine.runtime.load import engine_class
from engine.runtime.tensorrt import PADDLE_ERRORS, TensorRTNetwork, check_tensorrt
from models import build_model

INT8_ENGINES = tuple(FORMS)
CALIBRATION_BATCHES = 2
ENGINES = ("eager", *EXPORTED_ENGINES, "tensorrt")
GRAPHS = ("class_map", "logits", "stride_logits")
"""What is computed from uint8 images: class maps, logits at their size, or logits at the stride of the head."""


class Variant(NamedTuple):
    """A network in one engine, precision and graph; `call` takes images [N, H, W, 3] uint8 RGB."""

    engine: str
    precision: str
    graph: str
    call: Callable[[np.ndarray], np.ndarray]


class VariantOptions(NamedTuple):
    """Which variants of a network to build.

    size: (h, w) of the images.
    batch: images per call.
    engines, precisions, graphs: from ENGINES, PRECISIONS and GRAPHS.
    threads: of the engines.
    """

    size: Tuple[int, int]
    batch: int = 1
    engines: Sequence[str] = ENGINES
    precisions: Sequence[str] = ("fp32", "bf16", "int8")
    graphs: Sequence[str] = ("class_map",)
    threads: int = 1


class Variants(NamedTuple):
    """variants: those that run here; absent: for each engine or precision that does not, a line with the reason."""

    variants: List[Variant]
    absent: List[str]


def build_variants(name: str, num_classes: int, wanted: VariantOptions, folder: Path) -> Variants:
    """Build the network `name` with random weights in all wanted variants; exports go to subfolders of `folder`.

    Raises:
        UserError: for an unknown name.
    """
    found = Variants([], [])
    for graph in wanted.graphs:
        model = model_for(name, num_classes, graph)
        if "eager" in wanted.engines and "fp32" in wanted.precisions:
            found.variants.append(Variant("eager", "fp32", graph, call_of(EagerNetwork(model, num_classes), graph)))
        engines = [engine for engine in EXPORTED_ENGINES if engine in wanted.engines and _installed(engine, found)]
        with_tensorrt = "tensorrt" in wanted.engines and _tensorrt_installed(found)
        output_op = "argmax" if graph == "class_map" else "none"
        description = Description(num_classes, "uint8_rgb", output_op, wanted.size, wanted.batch)
        exported = sorted({*engines, *(["paddle"] if with_tensorrt else [])})
        if exported:
            _export(model, description, folder / graph, exported, found)
        if "int8" in wanted.precisions:
            _quantize(folder / graph, [engine for engine in engines if engine in INT8_ENGINES], wanted, found)
        load_variants(folder / graph, engines, wanted, graph, found)
        if with_tensorrt:
            _load_tensorrt(folder / graph, wanted, graph, found)
    return found


def load_variants(folder: Path, engines: Sequence[str], wanted: VariantOptions, graph: str, found: Variants) -> None:
    """Add each engine and precision of an exported folder to `found`, or the reason why it does not run."""
    for engine in engines:
        for precision in wanted.precisions:
            if precision == "int8" and engine not in INT8_ENGINES:
                _note(found, f"{engine} int8: tool.export quantises for {' and '.join(INT8_ENGINES)} only")
                continue
            try:
                network = load_network(folder, engine, precision, wanted.threads)
            except UserError as error:
                _note(found, f"{engine} {precision}: {error}")
            else:
                found.variants.append(Variant(engine, precision, graph, call_of(network, graph)))


def model_for(name: str, num_classes: int, graph: str) -> nn.Layer:
    """A network with random weights in evaluation mode; for `stride_logits` without its final resize."""
    model = build_model(name, num_classes)
    model.at_stride = graph == "stride_logits"
    model.eval()
    return model


def call_of(network: Network, graph: str) -> Callable[[np.ndarray], np.ndarray]:
    """The call of a network that returns `graph`."""
    return network.classes if graph == "class_map" else network.logits


def _export(model: nn.Layer, description: Description, folder: Path, engines: Sequence[str], found: Variants) -> None:
    try:
        export_network(model, description, folder, engines)
    except UserError as error:
        _note(found, str(error))


def _quantize(folder: Path, engines: Sequence[str], wanted: VariantOptions, found: Variants) -> None:
    """Add int8 networks calibrated on noise, which affects their results but not their speed."""
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (wanted.batch, *wanted.size, 3), dtype=np.uint8) for _ in range(CALIBRATION_BATCHES)]
    for engine in engines:
        try:
            quantize_exported(folder, engine, noise, score=lambda network: 0.0, max_drop=0.0)
        except UserError as error:
            _note(found, f"{engine} int8: {error}")


def _installed(engine: str, found: Variants) -> bool:
    try:
        engine_class(engine)
    except UserError as error:
        _note(found, str(error))
        return False
    return True


def _load_tensorrt(folder: Path, wanted: VariantOptions, graph: str, found: Variants) -> None:
    """Add the variants of TensorRT that complete a first call, in which some engines are built."""
    for precision in ("fp32", "fp16"):
        try:
            call = call_of(TensorRTNetwork(folder, precision), graph)
            call(np.zeros((wanted.batch, *wanted.size, 3), np.uint8))
        except UserError as error:
            _note(found, f"tensorrt {precision}: {error}")
        except PADDLE_ERRORS as error:
            _note(found, f"tensorrt {precision}: cannot compute the network ({type(error).__name__}: {error})")
        else:
            found.variants.append(Variant("tensorrt", precision, graph, call))


def _tensorrt_installed(found: Variants) -> bool:
    try:
        check_tensorrt("fp32")
    except UserError as error:
        _note(found, str(error))
        return False
    return True


def _note(found: Variants, line: str) -> None:
    if line not in found.absent:
        found.absent.append(line)
