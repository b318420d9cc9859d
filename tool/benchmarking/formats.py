"""Exporting, quantising and opening a network in each format; a failure is reported, and the others go on."""

import dataclasses
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from compat import UserError

import numpy as np
from paddle import nn

from engine.build import weight_file
from engine.export import export_network
from engine.export.quantize import quantize_exported
from engine.export.writers import SUFFIXES
from engine.recipe import load_recipe
from engine.runtime import EXPORTED_ENGINES, Description, Network, load_network, open_network, read_description
from engine.runtime.load import engine_class
from engine.runtime.tensorrt import TensorRTNetwork

COMBINATIONS = {
    "eager": ("fp32",),
    **{name: engine.precisions for name, engine in EXPORTED_ENGINES.items()},
    "tensorrt": ("fp32", "fp16"),
}
"""The precisions of each engine; whether the processor and Paddle support one shows when it is opened."""

Format = Tuple[str, str]  # engine, precision
Size = Tuple[int, int]  # h, w


class Source(NamedTuple):
    """Where a network comes from, in plain values that can be passed to another process.

    config, overrides, opts: the recipe and its overrides.
    path: weight file, name of weights, or checkpoint folder of the recipe's network.
    size: (h, w) of the network's input.
    threads: of the engines.
    """

    config: str
    overrides: Dict[str, Any]
    opts: List[str]
    path: str
    size: Size
    threads: int


def wanted_formats(engines: Sequence[str], precisions: Sequence[str]) -> List[Format]:
    """Each engine in each of the precisions that it has; raises UserError if there are none."""
    formats = [
        (engine, precision) for engine in engines for precision in COMBINATIONS[engine] if precision in precisions
    ]
    if not formats:
        raise UserError(f"--precisions {' '.join(precisions)}: not of --engines {' '.join(engines)}")
    return formats


def reason_of(error: Exception) -> str:
    """The first line of an error's message, with its type unless it is a UserError."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def export_formats(
    model: nn.Layer, description: Description, folder: Path, formats: Sequence[Format]
) -> Tuple[Dict[str, Path], Dict[Format, str]]:
    """Export the network in float32 for the engines of the formats.

    All engines share one folder; if one of them fails, each gets a subfolder of its own, so that the others are kept.

    Returns:
        {engine: its folder}, and {format: reason} of those that failed.
    """
    engines, reasons = [], {}
    for engine in dict.fromkeys("paddle" if engine == "tensorrt" else engine for engine, _ in formats):
        try:
            if engine != "eager":
                engine_class(engine)
                engines.append(engine)
        except UserError as error:
            reasons[engine] = reason_of(error)
    folders: Dict[str, Path] = {}
    for group in [engines, *([engine] for engine in engines)] if len(engines) > 1 else [engines]:
        if not group or group[0] in folders:
            continue
        where = folder if group is engines else folder / group[0]
        try:
            export_network(model, description, where, group)
            folders.update(dict.fromkeys(group, where))
        except Exception as error:  # any error of a writer or an engine is reported in the table
            reasons.update(dict.fromkeys(group, reason_of(error)))
    if "paddle" in folders:
        folders["tensorrt"] = folders["paddle"]
    elif "paddle" in reasons:
        reasons["tensorrt"] = reasons["paddle"]
    failed = [format_ for format_ in formats if format_[0] in reasons and format_[0] not in folders]
    return folders, {format_: reasons[format_[0]] for format_ in failed}


def quantize_formats(
    folders: Mapping[str, Path],
    engines: Sequence[str],
    calibration: Sequence[np.ndarray],
    score: Callable[[Network], float],
    max_drop: Optional[float],
) -> Dict[Format, str]:
    """Add int8 networks for the engines to their folders; returns {format: reason} of those that failed.

    Args:
        folders: {engine: folder of its float32 network}.
        engines: to quantise for.
        calibration: input batches.
        score: mIoU of a network, in percent.
        max_drop: points of mIoU that may be lost; layers are kept in float until it holds. None: no layer is.
    """
    reasons = {}
    for engine in engines:
        try:
            if max_drop is None:
                quantize_exported(folders[engine], engine, calibration, lambda network: 0.0, 0.0)
            else:
                quantize_exported(folders[engine], engine, calibration, score, max_drop)
        except Exception as error:  # as above
            reasons[engine, "int8"] = reason_of(error)
    return reasons


def open_format(source: Source, format_: Format, folder: Optional[Path]) -> Network:
    """The network in a format; raises UserError if it cannot be loaded or computed here.

    Args:
        source: of the network.
        format_: engine and precision.
        folder: of the exported network; None if there is none for the engine.
    """
    engine, precision = format_
    if engine == "eager":
        return open_eager(source)
    if folder is None:
        written = "paddle" if engine == "tensorrt" else engine
        raise UserError(f"no network for {engine}; export it with: python -m tool.export --engines {written}")
    if engine == "tensorrt":
        return TensorRTNetwork(folder, precision)
    return load_network(folder, engine, precision, source.threads)


def open_eager(source: Source) -> Network:
    """The recipe's network in eager mode, with the fixed input size of the exported ones."""
    recipe = load_recipe(source.config, source.overrides, source.opts)
    classes = recipe.val_dataset.class_set
    network = open_network(recipe, len(classes.names), source.path, "eager")
    network.description = dataclasses.replace(network.description, size=tuple(source.size))
    return network


def file_bytes(format_: Format, folder: Path) -> int:
    """Size of the files that the engine loads for a format."""
    engine, precision = format_
    engine = "paddle" if engine == "tensorrt" else engine
    names = read_description(folder).files[engine]
    stem = Path(names["int8" if precision == "int8" else "fp32"]).stem
    files = [file for file in folder.iterdir() if file.stem == stem and file.suffix in SUFFIXES[engine]]
    return sum(file.stat().st_size for file in files)


def weight_bytes(source: Source) -> int:
    """Size of the weight file that eager loads."""
    return weight_file(source.path).stat().st_size


def exported_folders(folder: Path) -> Dict[str, Path]:
    """{engine: folder} of the engines that an exported folder holds files for."""
    found = {engine: folder for engine in EXPORTED_ENGINES if engine in read_description(folder).files}
    return {**found, "tensorrt": folder} if "paddle" in found else found
