"""`deploy.yaml`: what an exported network takes and returns, and which files hold it.

The section `Deploy` is PaddleSeg's; `Network` has what our engines need in addition.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple, Union

from compat import UserError, write_text

import yaml

from data.classes import ClassSet

DEPLOY_FILE = "deploy.yaml"
WEIGHT_SUFFIXES = (".pdparams", ".safetensors")  # of what may stand beside an export and is not a part of it
VERSION = 1
"""Version of the section `Network`; raised when older programs would misread it."""
ONE_LINE = 1 << 20  # columns; keeps YAML from folding long lines, which readers in other languages need not support
INPUTS = ("uint8_rgb", "uint8_bgr", "float32")
OUTPUT_OPS = ("argmax", "softmax", "none")


@dataclass(frozen=True)
class Description:
    """What an exported network takes and returns.

    num_classes: K.
    input: `uint8_rgb` or `uint8_bgr`, an image [N, H, W, 3] as it is decoded, normalised in the graph; or `float32`, a
        normalised RGB image [N, 3, H, W].
    output_op: `argmax`, a class map [N, H, W] uint8; `softmax`, probabilities [N, K, H, W] float32 of
        logits / temperature; or `none`, logits [N, K, H, W] float32.
    size: (h, w) that the graph is fixed to, or None for any.
    batch: N that the graph is fixed to, or None for any.
    mean, std: of (value / 255 - mean) / std, for each RGB channel.
    temperature: that logits are divided by before softmax; see engine.evaluation.calibration.
    scale: of images before a graph of any size sees them, for programs that have no recipe; see Segmenter.
    files: {engine: {precision: file name beside deploy.yaml}}.
    classes: names and colours, or None in a `deploy.yaml` that was written before it recorded them.
    """

    num_classes: int
    input: str = "uint8_rgb"
    output_op: str = "argmax"
    size: Optional[Tuple[int, int]] = None
    batch: Optional[int] = 1
    mean: Tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: Tuple[float, float, float] = (0.5, 0.5, 0.5)
    scale: float = 1.0
    temperature: float = 1.0
    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    classes: Optional[ClassSet] = None

    @property
    def input_shape(self) -> Tuple[int, int, int, int]:
        """[N, 3, H, W] as in PaddleSeg's flag, with -1 for what is not fixed."""
        height, width = self.size or (-1, -1)
        return (self.batch or -1, 3, height, width)


def write_description(folder: Path, description: Description) -> None:
    """Write `deploy.yaml` into the folder; raises UserError where it cannot be written."""
    paddle_file = description.files.get("paddle", {}).get("fp32")
    normalize = {"type": "Normalize", "mean": list(description.mean), "std": list(description.std)}
    deploy = {
        "model": paddle_file,
        "params": str(Path(paddle_file).with_suffix(".pdiparams")) if paddle_file else None,
        # With uint8 input the normalisation is in the graph.
        "transforms": [normalize] if description.input == "float32" else [],
        "input_shape": list(description.input_shape),
        "output_op": description.output_op,
        "output_dtype": "uint8" if description.output_op == "argmax" else "float32",
    }
    content = {"Deploy": deploy, "Network": {"version": VERSION, **_network(description)}}
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, allow_unicode=True, width=ONE_LINE)
    write_text(folder / DEPLOY_FILE, text)


def _network(description: Description) -> Dict[str, Any]:
    """The section `Network`, in types that YAML knows."""
    classes = description.classes
    return {
        **dataclasses.asdict(description),
        "mean": list(description.mean),
        "std": list(description.std),
        "size": list(description.size) if description.size else None,
        "classes": {name: list(color) for name, color in zip(*classes)} if classes else None,
    }


def exported_folder(path: Union[str, Path]) -> Optional[Path]:
    """The folder of an export, if `path` is that folder or a file in it that holds no weights; None otherwise."""
    path = Path(path)
    if not path.is_dir() and (not path.is_file() or path.suffix in WEIGHT_SUFFIXES):
        return None
    folder = path if path.is_dir() else path.parent
    return folder if (folder / DEPLOY_FILE).is_file() else None


def read_description(folder: Path) -> Description:
    """Read the `deploy.yaml` of a folder.

    Raises:
        UserError: when there is none, it is not one of tool.export, or it is one of a later version.
    """
    file = folder / DEPLOY_FILE
    remedy = "export the network with: python -m tool.export"
    if not file.is_file():
        raise UserError(f"{file}: no such file; {remedy}")
    try:
        network = dict(yaml.safe_load(file.read_text(encoding="utf-8"))["Network"])
        version = network.pop("version", VERSION)
        if version != VERSION:
            raise UserError(f"{file}: Network.version is {version!r}, this program reads {VERSION}; {remedy}")
        sequences = {name: tuple(network[name]) for name in ("mean", "std")}
        sequences["size"] = tuple(network["size"]) if network["size"] else None
        classes = _class_set(network.pop("classes", None), network["num_classes"])
        description = Description(**{**network, **sequences, "classes": classes})
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file}: lacks what an engine needs to know ({error}); {remedy}") from error
    for name, known in (("input", INPUTS), ("output_op", OUTPUT_OPS)):
        if getattr(description, name) not in known:
            raise UserError(f"{file}: Network.{name}: {getattr(description, name)!r} is none of {', '.join(known)}")
    return description


def _class_set(classes: Optional[Mapping[str, Tuple[int, int, int]]], num_classes: int) -> Optional[ClassSet]:
    """Of {name: [red, green, blue]}; raises ValueError unless there is one of each class."""
    if classes is None:
        return None
    if len(classes) != num_classes:
        raise ValueError(f"classes names {len(classes)} classes, num_classes is {num_classes}")
    for name, color in classes.items():
        if len(color) != 3 or not all(isinstance(value, int) and 0 <= value <= 255 for value in color):
            raise ValueError(f"the colour of class {name} is {color}, not three numbers from 0 to 255")
    return ClassSet(tuple(map(str, classes)), tuple(map(tuple, classes.values())))
