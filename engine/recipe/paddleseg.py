"""Translates PaddleSeg's own recipes into ours, for its networks STDCSeg (over STDC1 or STDC2) and DDRNet_23.

Losses by position become losses by output, an OHEM's `min_kept` is our `n_min`, URLs of weights become files or
names. Each remaining difference from PaddleSeg is logged in a line.
"""

from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from compat import UserError, logger
from compat.options import ByType, Count, NotNegative, Options, Whole, check, custom_error

from pydantic import Field, model_validator
from typing_extensions import Annotated, Literal

from engine.recipe.schema import names_protocols
from engine.weights import find_entry

BLOCKS = ("export", "global", "train", "test")  # keys that only PaddleSeg's recipes have
BACKBONES = {"STDC1": "stdc1", "STDC2": "stdc2"}
# Where PaddleSeg (the optimiser) and Paddle (the schedule) have other defaults than ours: {block: {type: options}}.
DEFAULTS = {
    "lr_scheduler": {"PolynomialDecay": {"end_lr": 1e-4, "power": 1.0}},
    "optimizer": {"AdamW": {"weight_decay": 0.01}},
}


class Backbone(Options):
    """PaddleSeg's STDC backbones."""

    type: Literal["STDC1", "STDC2"]
    pretrained: Optional[str] = None


class STDCSeg(Options):
    """PaddleSeg's options of the network that ours supports. Its detail head at stride 16 gives no output."""

    type: Literal["STDCSeg"]
    backbone: Backbone
    num_classes: Optional[Count] = None
    pretrained: Optional[str] = None
    widths: Dict[str, Count] = Field(default_factory=dict)  # of tool.prune, over a recipe of PaddleSeg
    use_boundary_2: bool = False
    use_boundary_4: bool = False
    use_boundary_8: bool = True
    use_boundary_16: bool = False
    use_conv_last: Literal[False] = False

    @property
    def outputs(self) -> Tuple[str, ...]:
        """Our names of its outputs, in its order."""
        return ("main", "aux8", "aux16", *(f"detail{stride}" for stride in self.detail_strides))

    @property
    def detail_strides(self) -> List[int]:
        return [stride for stride in (2, 4, 8) if getattr(self, f"use_boundary_{stride}")]

    def to_model_recipe(self, notes: List[str]) -> Dict[str, Any]:
        """The `model` of our recipe; appends remaining differences to `notes`."""
        name = BACKBONES[self.backbone.type]
        converted = f"pretrained/{name}_imagenet.pdparams"
        return {
            "type": f"{name}_seg",
            "detail_strides": self.detail_strides,
            "widths": self.widths,
            **{"head_bias": True, "gate_bias": True, "exclusive_pool": True},
            "pretrained": _weight_file(self.pretrained, None, "model.pretrained", notes),
            "backbone": {
                "pretrained": _weight_file(self.backbone.pretrained, converted, "model.backbone.pretrained", notes)
            },
        }


class DDRNet(Options):
    """PaddleSeg's options of the network that ours supports."""

    type: Literal["DDRNet_23"]
    num_classes: Optional[Count] = None
    pretrained: Optional[str] = None
    widths: Dict[str, Count] = Field(default_factory=dict)
    in_channels: Literal[3] = 3
    block_layers: Tuple[Literal[2], Literal[2], Literal[2], Literal[2]] = (2, 2, 2, 2)
    planes: Literal[32, 64] = 64
    spp_planes: Literal[128] = 128
    head_planes: Literal[64, 128] = 128
    enable_auxiliary_loss: bool = False

    @model_validator(mode="after")
    def _check_widths(self):
        if self.head_planes != 2 * self.planes:
            raise custom_error(f"head_planes {self.head_planes}: only twice planes is supported, {2 * self.planes}")
        return self

    @property
    def outputs(self) -> Tuple[str, ...]:
        """Our names of its outputs, in its order."""
        return ("main", "aux8") if self.enable_auxiliary_loss else ("main",)

    def to_model_recipe(self, notes: List[str]) -> Dict[str, Any]:
        """The `model` of our recipe; appends remaining differences to `notes`."""
        name = "ddrnet23" if self.planes == 64 else "ddrnet23_slim"
        pretrained = _weight_file(self.pretrained, None, "model.pretrained", notes)
        return {"type": name, "pretrained": pretrained, "widths": self.widths}


class Losses(Options):
    """PaddleSeg's `loss`, and its MixedLoss: losses by position, with their weights."""

    types: Annotated[Tuple[Dict[str, Any], ...], Field(min_length=1)]
    coef: Annotated[Tuple[NotNegative, ...], Field(min_length=1)] = (1.0,)


Network = Annotated[Options, ByType([STDCSeg, DDRNet])]


def is_paddleseg(raw: Mapping) -> bool:
    """Whether a recipe, as parsed from YAML, has keys that only PaddleSeg's recipes have."""
    loss = raw.get("loss")
    return (isinstance(loss, dict) and "types" in loss) or any(key in raw for key in BLOCKS)


def from_paddleseg(raw: Mapping, where: str) -> Dict[str, Any]:
    """The recipe with our keys, still to be checked.

    Args:
        raw: PaddleSeg's recipe, merged with its bases.
        where: its file, for messages.

    Raises:
        UserError: for a network that this project lacks, or an option that ours does not support.
    """
    notes: List[str] = []
    recipe = {key: value for key, value in raw.items() if key not in BLOCKS}
    _take_blocks(raw, recipe, where, notes)
    network = check(Network, raw.get("model"), where, "model")
    recipe["model"] = network.to_model_recipe(notes)
    recipe["loss"] = _losses(raw.get("loss"), network.outputs, where, notes)
    if network.outputs == ("main",):
        recipe["loss"]["aux8"] = {"type": "CrossEntropyLoss", "weight": 0}
        notes.append("the auxiliary head is trained too, but with weight 0")
    _check_classes(network.num_classes, raw.get("train_dataset"), where)
    for key, defaults in DEFAULTS.items():
        given = raw.get(key)
        if isinstance(given, dict):
            recipe[key] = {**defaults.get(str(given.get("type")), {}), **given}
    for note in notes:
        logger.info("%s, a recipe of PaddleSeg: %s", where, note)
    return recipe


def _take_blocks(raw: Mapping, recipe: Dict[str, Any], where: str, notes: List[str]) -> None:
    blocks = {key: check(Optional[Dict[str, Any]], raw.get(key), where, key) or {} for key in BLOCKS}
    for key in ("save_interval", "log_iters", "precision", "amp_level"):
        if key in blocks["train"]:
            recipe.setdefault(key, blocks["train"][key])
    test = {key: value for key, value in blocks["test"].items() if key != "auc_roc"}
    test = check(Optional[Dict[str, Any]], raw.get("test_config"), where, "test_config") or test
    recipe["test_config"] = test if names_protocols(test) else {"val": {"aug_eval": False, **test}}
    if "export" in raw:
        notes.append("`export` is ignored; tool.export normalises as val_dataset does")
    if "global" in raw or "train" in raw:
        notes.append("flags of train.py in `global` and `train` (device, workers, seed, folders) are ignored")


def _check_classes(num_classes: Optional[int], dataset: Any, where: str) -> None:
    known = dataset.get("num_classes") if isinstance(dataset, dict) else None
    if None not in (num_classes, known) and num_classes != known:  # one of them is enough
        raise UserError(f"{where}: model.num_classes is {num_classes}, train_dataset.num_classes {known}")


def _weight_file(path: Optional[str], converted: Optional[str], key: str, notes: List[str]) -> Optional[str]:
    """The path as it is; for a URL, the same weights as converted by tool.convert, or their name, or None."""
    if path is None or "://" not in path:
        return path
    if converted and Path(converted).is_file():
        notes.append(f"{key}: {converted} is used in place of {path}")
        return converted
    entry = find_entry(path)
    if entry:
        notes.append(f"{key}: {path} is {entry.name}, which is downloaded and converted unless it is there")
        return entry.name
    notes.append(
        f"{key}: {path} is NOT loaded; fetch it, convert it with tool.convert, and name the file by --opts {key}="
    )
    return None


def _losses(raw: Any, outputs: Sequence[str], where: str, notes: List[str]) -> Dict[str, Any]:
    losses = check(Losses, raw, where, "loss")
    types, weights = losses.types, losses.coef
    types = types * len(outputs) if len(types) == 1 else types
    weights = weights * len(types) if len(weights) == 1 else weights
    if not len(types) == len(weights) == len(outputs):
        counts = f"{len(types)} types and {len(weights)} coef"
        raise UserError(f"{where}: loss: {counts} for {len(outputs)} outputs: {', '.join(outputs)}")
    if any(kind.get("type") == "DetailAggregateLoss" for kind in types):
        notes.append("the detail target mixes its strides by the paper's 0.6, 0.3, 0.1; PaddleSeg's by random numbers")
    losses = {output: _terms(kind, weight, where) for output, kind, weight in zip(outputs, types, weights)}
    if any(term.get("type") == "DiceLoss" for terms in losses.values() for term in terms):
        notes.append("Dice is that of the whole batch; PaddleSeg's is the mean over the images")
    return losses


def _terms(kind: Dict[str, Any], weight: float, where: str) -> List[Dict[str, Any]]:
    """The terms of one output; more than one for PaddleSeg's MixedLoss."""
    term = {**kind, "weight": weight}
    if kind.get("type") == "MixedLoss":
        mixed = check(Losses, {"types": kind.get("losses"), "coef": kind.get("coef")}, where, "loss.MixedLoss")
        if len(mixed.types) != len(mixed.coef):
            raise UserError(f"{where}: loss.MixedLoss: {len(mixed.types)} losses and {len(mixed.coef)} coef")
        return [term for one, factor in zip(mixed.types, mixed.coef) for term in _terms(one, weight * factor, where)]
    if kind.get("type") == "OhemCrossEntropyLoss":
        kept = check(Whole, term.pop("min_kept", 10000), where, "loss.OhemCrossEntropyLoss.min_kept")
        if kept > 0:
            term["n_min"] = kept
        else:  # PaddleSeg's has no threshold then
            term["type"] = "CrossEntropyLoss"
            term.pop("thresh", None)
    elif kind.get("type") == "DetailAggregateLoss":
        term["ignored_as_label"] = True
    if "weight" in kind:
        term.update(_class_weights(kind, weight, where))
    return [term]


def _class_weights(kind: Mapping[str, Any], weight: float, where: str) -> Dict[str, Any]:
    """Our options for the class weights of a loss, and for its weight."""
    key = f"loss.{kind.get('type')}.weight"
    if kind.get("type") == "CrossEntropyLoss":
        return {"class_weights": kind["weight"]}
    if kind.get("type") != "DiceLoss":
        raise UserError(f"{where}: {key}: is not an option of this loss; coef weighs it")
    weights = check(Tuple[NotNegative, ...], kind["weight"], where, key)
    # Ours is the weighted mean over the classes, PaddleSeg's the weighted sum over their number.
    return {"class_weights": weights, "weight": weight * sum(weights) / max(1, len(weights))}
