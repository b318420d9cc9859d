"""A network in every format: exporting, quantising and opening it; what fails is a reason, and the rest goes on."""

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
    "paddle": ("fp32", "bf16"),
    "onnxruntime": ("fp32", "int8"),
    "openvino": ("fp32", "bf16", "fp16", "int8"),
    "mnn": ("fp32",),
    "tensorrt": ("fp32", "fp16"),
}
"""The precisions of each engine; those that a processor or a version of Paddle lacks are found when one is opened."""

Format = Tuple[str, str]  # engine, precision
Size = Tuple[int, int]  # h, w


class Source(NamedTuple):
    """Where a network comes from, in plain values, as another process needs them.

    path: weight file, name or checkpoint of the recipe's network.
    overrides, opts: of the recipe.
    size: (h, w) of the images that the network sees.
    """

    config: str
    overrides: Dict[str, Any]
    opts: List[str]
    path: str
    size: Size
    threads: int


def wanted_formats(engines: Sequence[str], precisions: Sequence[str]) -> List[Format]:
    """Raises UserError where none of the engines has one of the precisions."""
    formats = [(engine, one) for engine in engines for one in COMBINATIONS[engine] if one in precisions]
    if not formats:
        raise UserError(f"--precisions {' '.join(precisions)}: not of --engines {' '.join(engines)}")
    return formats


def reason_of(error: Exception) -> str:
    """The first line of an error, with its kind unless it is one of ours."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def export_formats(
    model: nn.Layer, description: Description, folder: Path, formats: Sequence[Format]
) -> Tuple[Dict[str, Path], Dict[Format, str]]:
    """Write what the formats need in float32.

    All in one folder; where one cannot be written, each in one of its own, so that the others are kept.

    Returns:
        {engine: its folder}, and {format: reason} of those that cannot be had.
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
        except Exception as error:  # whatever a writer or an engine raises is a reason in the table
            reasons.update(dict.fromkeys(group, reason_of(error)))
    if "paddle" in folders:
        folders["tensorrt"] = folders["paddle"]
    elif "paddle" in reasons:
        reasons["tensorrt"] = reasons["paddle"]
    return folders, {one: reasons[one[0]] for one in formats if one[0] in reasons and one[0] not in folders}


def quantize_formats(
    folders: Mapping[str, Path],
    engines: Sequence[str],
    calibration: Sequence[np.ndarray],
    score: Callable[[Network], float],
    max_drop: Optional[float],
) -> Dict[Format, str]:
    """Add int8 for the engines to their folders; returns {format: reason} of those that cannot be had.

    Without `max_drop` every layer becomes int8 that can, and what that costs is for the table to say.
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


def open_format(source: Source, one: Format, folder: Optional[Path]) -> Network:
    """The network in a format; raises UserError where it cannot be loaded or computed here."""
    engine, precision = one
    if engine == "eager":
        return open_eager(source)
    if engine == "tensorrt":
        return TensorRTNetwork(folder, precision)
    return load_network(folder, engine, precision, source.threads)


def open_eager(source: Source) -> Network:
    """The recipe's network, which sees images at the size that the exported ones are fixed to."""
    recipe = load_recipe(source.config, source.overrides, source.opts)
    classes = recipe.val_dataset.class_set
    network = open_network(recipe, len(classes.names), source.path, "eager")
    network.description = dataclasses.replace(network.description, size=tuple(source.size))
    return network


def file_bytes(one: Format, folder: Path) -> int:
    """Size of the files that an engine loads."""
    engine, precision = one
    engine = "paddle" if engine == "tensorrt" else engine
    names = read_description(folder).files[engine]
    stem = Path(names["int8" if precision == "int8" else "fp32"]).stem
    files = [file for file in folder.iterdir() if file.stem == stem and file.suffix in SUFFIXES[engine]]
    return sum(file.stat().st_size for file in files)


def weight_bytes(source: Source) -> int:
    """Size of the weight file that eager loads."""
    return weight_file(source.path).stat().st_size


def exported_folders(folder: Path) -> Dict[str, Path]:
    """{engine: folder} of what tool.export wrote."""
    found = {engine: folder for engine in EXPORTED_ENGINES if engine in read_description(folder).files}
    return {**found, "tensorrt": folder} if "paddle" in found else found
