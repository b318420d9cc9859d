"""Strict loading of weight files, with errors that explain what does not fit."""

import pickle
import re
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Union

from compat import UserError, logger

import numpy as np
import paddle
import safetensors
import safetensors.numpy
from paddle import nn

CLASSIFIER = re.compile(r"(heads\.(main|aux\d+|backbone\d+)\.(classifier|1\.conv)|classifier)\.(weight|bias)")
"""Names of the tensors whose size is the number of classes."""


def read_weights(path: Union[str, Path]) -> Mapping[str, paddle.Tensor]:
    """Read a `.pdparams` file, or a `.safetensors` file as float32, into {name: tensor}.

    Raises:
        UserError: for a file that is missing, damaged or holds no Paddle weights, such as a torch checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such weight file")
    if path.suffix == ".safetensors":
        return {name: paddle.to_tensor(array.astype("float32")) for name, array in read_safetensors(path).items()}
    try:
        state = paddle.load(str(path))
    except (ValueError, RuntimeError, EOFError, OSError, pickle.UnpicklingError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable Paddle weight file ({error})") from error
    # paddle.load returns an int for torch files of the older format.
    if not isinstance(state, dict) or not state:
        raise UserError(f"{path}: holds no weights; convert a torch checkpoint with: python -m tool.convert {path} ...")
    state.pop("StructuredToParameterName@@", None)
    return state


def read_safetensors(path: Path) -> Dict[str, np.ndarray]:
    """Read a `.safetensors` file into {name: array}, in its types; raises UserError for one that cannot be read."""
    try:
        return safetensors.numpy.load_file(str(path))
    # The last three are raised for types that numpy lacks, such as bfloat16.
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from error


def load_weights(
    model: nn.Layer,
    source: Union[str, Path, Mapping[str, Union[paddle.Tensor, np.ndarray]]],
    leave_out: Optional[str] = None,
    where: str = "weights",
) -> int:
    """Load weights into `model`; every tensor of either side must match the other's name and shape.

    Tensors of another type, such as float16, are converted to the model's.

    Args:
        model: the network to load into.
        source: a `.pdparams` or `.safetensors` file, or {name: tensor or array}.
        leave_out: regular expression; tensors whose name it matches may be missing or differ, and are not loaded.
        where: what errors call a `source` that is not a file.

    Returns:
        The number of tensors loaded.

    Raises:
        UserError: listing missing, unexpected and differently shaped tensors; the model is then unchanged.
    """
    where = where if isinstance(source, Mapping) else str(source)
    state = source if isinstance(source, Mapping) else read_weights(source)
    wanted = model.state_dict()
    left_out = re.compile(leave_out) if leave_out else None

    def is_required(name: str) -> bool:
        return not (left_out and left_out.search(name))

    missing = [name for name in wanted if name not in state and is_required(name)]
    unexpected = [name for name in state if name not in wanted and is_required(name)]
    differing = [
        f"{name} {list(state[name].shape)} here {list(wanted[name].shape)}"
        for name in wanted
        if name in state and list(state[name].shape) != list(wanted[name].shape) and is_required(name)
    ]
    if missing or unexpected or differing:
        _check_backbone_alone(where, state, missing)
        _check_class_count(where, state, wanted, [*missing, *unexpected], differing)
        raise UserError(
            f"{where} does not fit {type(model).__name__}: {_some('missing', missing)}; "
            f"{_some('unexpected', unexpected)}; {_some('of another shape', differing)}. "
            "Was it trained for another network or another number of classes?"
        )
    taken = {name: _of_type(state[name], wanted[name].dtype) for name in wanted if name in state and is_required(name)}
    model.set_state_dict(taken)
    return len(taken)


def _of_type(value: Union[paddle.Tensor, np.ndarray], dtype) -> paddle.Tensor:
    return (value if isinstance(value, paddle.Tensor) else paddle.to_tensor(value)).astype(dtype)


def _check_backbone_alone(where: str, state: Mapping, missing: List[str]) -> None:
    if missing and all(name.startswith("backbone.") for name in state):
        raise UserError(f"{where}: holds only a backbone; load it with --opts model.backbone.pretrained={where}")


def _check_class_count(where: str, state: Mapping, wanted: Mapping, others: List[str], differing: List[str]) -> None:
    """Raise UserError if only the number of classes differs."""
    names = [text.split()[0] for text in differing]
    if names and all(CLASSIFIER.fullmatch(name) for name in (*names, *others)):
        axis = -1 if names[0] == "classifier.weight" else 0
        theirs, ours = state[names[0]].shape[axis], wanted[names[0]].shape[axis]
        raise UserError(
            f"{where}: has {theirs} classes, the recipe's dataset {ours}. Name the recipe that it was trained with, or "
            f"train it on other classes: train.py --finetune {where}"
        )


def load_backbone(backbone: nn.Layer, path: Union[str, Path]) -> int:
    """Load a backbone from its own file, or from the file of a network that contains it as `backbone`.

    Returns:
        The number of tensors loaded, which is also logged.

    Raises:
        UserError: as `load_weights`; tensors outside of `backbone` are ignored.
    """
    prefix = "backbone."
    state = read_weights(path)
    inner = {name[len(prefix) :]: tensor for name, tensor in state.items() if name.startswith(prefix)}
    taken = load_weights(backbone, inner or state)
    logger.info("backbone: loaded %d of %d tensors from %s", taken, len(state), path)
    return taken


def _some(kind: str, names, limit: int = 3) -> str:
    listed = ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")
    return f"{len(names)} {kind}" + (f" ({listed})" if names else "")
