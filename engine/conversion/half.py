"""Our weights in half precision, under their names."""

from typing import Dict, List, Mapping

from compat import UserError

import numpy as np

from engine.conversion.weight_files import in_half
from models import build_model
from models.weights import CLASSIFIER

BACKBONE = "backbone."
SOME = 3  # names shown of a list in an error


def to_half(state: Mapping[str, np.ndarray], model_name: str) -> Dict[str, np.ndarray]:
    """The tensors of one of our networks in float16.

    The file does not tell the options that its network was built with, nor its widths if it was pruned. So heads beside
    the main one and biases may be there or not, heads may have any width, and other layers may be narrower.

    Args:
        state: {name: array}, of the whole network or of its backbone alone.
        model_name: the network, one of models.list_models().

    Raises:
        UserError: for tensors that do not fit the network, or numbers that float16 cannot hold.
    """
    network = build_model(model_name, num_classes=2).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in network.items()}
    if all(name.startswith(BACKBONE) for name in state):
        shapes = {name: shape for name, shape in shapes.items() if name.startswith(BACKBONE)}
    missing = [name for name in shapes if name not in state and not _is_optional(name)]
    unexpected = [name for name in state if name not in shapes and not _is_option(name, shapes)]
    differing = [
        f"{name} {list(state[name].shape)} here {list(shape)}"
        for name, shape in shapes.items()
        if name in state and not _fits(name, state[name].shape, shape)
    ]
    if missing or unexpected or differing:
        found = {"missing": missing, "unexpected": unexpected, "of another shape": differing}
        listed = "; ".join(_some(what, names) for what, names in found.items())
        raise UserError(
            f"these weights do not fit {model_name}: {listed}. Nothing was written; name their network by --model, and "
            "convert weights of other projects with --target paddle first"
        )
    return in_half(state)


def _is_optional(name: str) -> bool:
    return name.startswith("heads.") and not name.startswith("heads.main.")


def _is_option(name: str, shapes: Mapping[str, tuple]) -> bool:
    """Whether an option of the network can add this tensor."""
    layer, _, kind = name.rpartition(".")
    return _is_optional(name) or (kind == "bias" and f"{layer}.weight" in shapes)


def _fits(name: str, theirs: tuple, ours: tuple) -> bool:
    if len(theirs) != len(ours) or theirs[2:] != ours[2:]:
        return False
    return name.startswith("heads.") or bool(CLASSIFIER.fullmatch(name)) or all(a <= b for a, b in zip(theirs, ours))


def _some(what: str, names: List[str]) -> str:
    shown = ", ".join(names[:SOME]) + (", ..." if len(names) > SOME else "")
    return f"{len(names)} {what}" + (f" ({shown})" if names else "")
