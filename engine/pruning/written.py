"""Writes the recipe of a pruned network: its base's, with other widths and the unpruned network as teacher."""

import os
from pathlib import Path
from typing import Any, Dict

from compat import write_text

import yaml

from engine.recipe.schema import ModelRecipe

TERMS = [
    {"type": "LogitDistillation", "output": "main", "weight": 1.0},
    {"type": "ChannelWiseDistillation", "output": "main", "weight": 1.0},
]


def write_recipe(path: Path, config: str, weights: str, pruned: Path, model: ModelRecipe, header: str) -> None:
    """Write the recipe by which the pruned network is trained further, evaluated and exported.

    Args:
        path: of the recipe.
        config: the recipe of the unpruned network.
        weights: those of the unpruned network, which teaches.
        pruned: file of the pruned weights, which training starts from.
        model: the pruned network, with its widths.
        header: lines of a comment that say how it was pruned.

    Raises:
        UserError: where it cannot be written.
    """
    network: Dict[str, Any] = {"pretrained": pruned.as_posix(), "widths": dict(model.widths)}
    if model.backbone.pretrained:  # replaced by the weights of the whole network
        network["backbone"] = {"pretrained": None}
    recipe: Dict[str, Any] = {
        # The path from where the folder really is: `..` of a link leads to the parent of the link's target.
        "_base_": Path(os.path.relpath(os.path.abspath(config), path.parent.resolve())).as_posix(),
        "model": network,
        "distill": {"_inherited_": False, "teacher": {"config": config, "weights": weights}, "terms": TERMS},
    }
    comment = "".join(f"# {line}\n" for line in header.splitlines())
    # A name that is not UTF-8 is shown so in the comment; YAML has an escape of its own.
    write_text(path, comment + yaml.safe_dump(recipe, sort_keys=False), errors="backslashreplace")
