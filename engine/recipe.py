"""Recipes: YAML files in PaddleSeg's vocabulary, read once into frozen dataclasses."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from compat import UserError, logger, unknown_name

import yaml

BASE_KEY = "_base_"
REPLACE_KEY = "_inherited_"  # PaddleSeg's word: `_inherited_: False` in a mapping drops what the base says there


@dataclass(frozen=True)
class BackboneRecipe:
    """`pretrained` is a converted ImageNet weight file."""

    pretrained: Optional[str] = None


@dataclass(frozen=True)
class ModelRecipe:
    """`type` is a name of models.list_models(); keys that are not listed here go to the network."""

    type: str
    pretrained: Optional[str] = None
    backbone: BackboneRecipe = BackboneRecipe()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DatasetRecipe:
    """See data.build_dataset; keys that are not listed here go to the dataset's type."""

    type: str
    dataset_root: str
    mode: str
    transforms: Sequence[Mapping[str, Any]] = ()
    cache: str = "auto"
    cache_dir: Optional[str] = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimizerRecipe:
    """Momentum SGD with parameter groups.

    no_weight_decay: kinds of parameters without weight decay: `norm` (batch-norm weights and biases), `bias`.
    lr_mult: {regular expression on parameter names: factor of the learning rate}; the first that is found counts.
    frozen: regular expressions of parameters that are not trained.
    """

    type: str = "Momentum"
    momentum: float = 0.9
    weight_decay: float = 0.0
    no_weight_decay: Tuple[str, ...] = ()
    lr_mult: Mapping[str, float] = field(default_factory=dict)
    frozen: Tuple[str, ...] = ()


@dataclass(frozen=True)
class ScheduleRecipe:
    """Warmup and polynomial decay, see scheduler.warmup_poly."""

    learning_rate: float
    type: str = "PolynomialDecay"
    power: float = 0.9
    end_lr: float = 0.0
    warmup_iters: int = 0
    warmup_start_lr: float = 0.0
    warmup: str = "linear"


@dataclass(frozen=True)
class Protocol:
    """How an image is evaluated: the arguments of paddleseg.core.evaluate, and `align_corners`.

    align_corners: how images and logits are resized; False as in PaddleSeg, True as in the original STDC-Seg.
    """

    aug_eval: bool = True
    scales: Union[float, Tuple[float, ...]] = 1.0
    flip_horizontal: bool = False
    flip_vertical: bool = False
    is_slide: bool = False
    crop_size: Optional[Tuple[int, int]] = None
    stride: Optional[Tuple[int, int]] = None
    align_corners: bool = False


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a run computes.

    batch_size is that of one device; an iteration takes `accumulate` such batches and one step of the optimiser.
    total_batch_size is the batch that the learning rate is stated for, over all devices and accumulated batches; by
    default batch_size * accumulate. precision and amp_level are those of engine.training.precision, ema_decay that of
    engine.training.ema, with 0 for no average. test_config holds named protocols; the first decides which model is
    the best.
    """

    batch_size: int
    iters: int
    model: ModelRecipe
    train_dataset: DatasetRecipe
    val_dataset: DatasetRecipe
    optimizer: OptimizerRecipe
    lr_scheduler: ScheduleRecipe
    loss: Mapping[str, Mapping[str, Any]]
    test_config: Mapping[str, Protocol]
    total_batch_size: int
    accumulate: int = 1
    save_interval: int = 1000
    log_iters: int = 10
    precision: str = "fp32"
    amp_level: str = "O1"
    ema_decay: float = 0.0


COUNTS = ("batch_size", "total_batch_size", "iters", "accumulate", "save_interval", "log_iters")

_NESTED = {
    Recipe: {
        "model": ModelRecipe,
        "train_dataset": DatasetRecipe,
        "val_dataset": DatasetRecipe,
        "optimizer": OptimizerRecipe,
        "lr_scheduler": ScheduleRecipe,
    },
    ModelRecipe: {"backbone": BackboneRecipe},
}


def load_recipe(path: Union[str, Path], overrides: Mapping[str, Any] = (), opts: Sequence[str] = ()) -> Recipe:
    """Read a recipe file.

    Args:
        path: YAML file; `_base_` names the file or files, relative to it, that it builds on, later ones over earlier.
        overrides: {dotted key: value}, applied before `opts`.
        opts: `dotted.key=value` texts, values as `parse_value` reads them. A list's item is addressed by its number,
            or by its `type`.

    Raises:
        UserError: naming file, key and the nearest known key.
    """
    raw = _read_with_base(Path(path), ())
    if "batch_size" in raw:
        accumulate = raw.get("accumulate", 1)
        raw.setdefault("total_batch_size", raw["batch_size"] * (accumulate if isinstance(accumulate, int) else 1))
    for key, value in dict(overrides).items():
        _set(raw, key, value)
    for opt in opts:
        key, equals, text = opt.partition("=")
        if not equals:
            raise UserError(f"--opts {opt}: expected key=value, such as batch_size=8")
        _set(raw, key, parse_value(text, f"--opts {opt}"))
    recipe = _build(Recipe, raw, str(path))
    for name in COUNTS:
        if getattr(recipe, name) < 1:
            raise UserError(f"{path}: {name}: {getattr(recipe, name)} is not a number of at least 1")
    return recipe


def parse_value(text: str, where: str) -> Any:
    """The value of an override: YAML, and also what mmengine's --cfg-options writes.

    That is `None`, `a,b` for a list, and tuples in parentheses, which become lists, as recipes know no tuples:
    `[(1,2),(3,4)]` is `[[1, 2], [3, 4]]`. A text that begins with a parenthesis or holds a comma needs quotes.

    Raises:
        UserError: naming `where`, for what is no YAML.
    """
    if text.strip() == "None":
        return None
    brackets, commas = _brackets_of_tuples(text)
    if commas and all(part.strip() for part in brackets.split(",")):
        brackets = f"[{brackets}]"
    return _parse_yaml(brackets, where)


def _brackets_of_tuples(text: str) -> Tuple[str, int]:
    """The text with square brackets for the parentheses of tuples, and its number of commas outside of any bracket.

    A parenthesis opens a tuple where a value begins, and so not within `^(a|b)`; quoted text stays as it is.
    """
    result, opened, quote, commas, begins = "", [], "", 0, True
    for char in text:
        if quote:
            quote = "" if char == quote else quote
        elif begins and char in "\"'":
            quote = char
        elif char in "([{":
            opened.append("tuple" if char == "(" and begins else char)
            char = "[" if opened[-1] == "tuple" else char
        elif char in ")]}" and opened:
            char = "]" if opened.pop() == "tuple" else char
        elif char == "," and not opened:
            commas += 1
        begins = not quote and (char in "[{,:" or (begins and char == " "))
        result += char
    return result, commas


def scale_learning_rate(recipe: Recipe, devices: int) -> Recipe:
    """The recipe with its rates scaled linearly from `total_batch_size` to the real total batch; the log says so.

    The real one is batch_size * devices * accumulate.
    """
    total = recipe.batch_size * devices * recipe.accumulate
    factor = total / recipe.total_batch_size
    rates = recipe.lr_scheduler
    scaled = dataclasses.replace(
        rates,
        learning_rate=rates.learning_rate * factor,
        end_lr=rates.end_lr * factor,
        warmup_start_lr=rates.warmup_start_lr * factor,
    )
    logger.info(
        "--learning_rate auto: %g for a total batch of %d becomes %g for %d (batch %d on %d device(s), accumulated %d)",
        rates.learning_rate,
        recipe.total_batch_size,
        scaled.learning_rate,
        total,
        recipe.batch_size,
        devices,
        recipe.accumulate,
    )
    return dataclasses.replace(recipe, lr_scheduler=scaled)


def _read_with_base(path: Path, seen: Tuple[Path, ...]) -> Dict:
    if not path.is_file():
        raise UserError(f"{path}: no such recipe; those that come with the project are in configs/")
    if path.resolve() in seen:
        raise UserError(f"{path}: builds on itself through {BASE_KEY}")
    raw = _parse_yaml(path.read_text(encoding="utf-8"), str(path))
    if not isinstance(raw, dict):
        raise UserError(f"{path}: a recipe is a mapping of keys, this holds {type(raw).__name__}")
    bases = raw.pop(BASE_KEY, [])
    merged: Dict = {}
    for base in [bases] if isinstance(bases, str) else bases:
        merged = _merge(merged, _read_with_base(path.parent / base, (*seen, path.resolve())))
    return _merge(merged, raw)


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error


def _merge(base: Mapping, own: Mapping) -> Dict:
    """Mappings merge key by key, everything else replaces the base's."""
    merged = dict(base) if own.get(REPLACE_KEY, True) else {}
    for key, value in own.items():
        if key == REPLACE_KEY:
            continue
        if isinstance(value, dict):
            value = _merge(merged[key] if isinstance(merged.get(key), dict) else {}, value)
        merged[key] = value
    return merged


def _set(raw: Dict, key: str, value: Any) -> None:
    *parents, last = key.split(".")
    at: Any = raw
    for name in parents:
        if isinstance(at, list):
            at = at[_list_index(at, name, key)]
        elif isinstance(at, dict):
            at = at.setdefault(name, {})
        else:
            raise UserError(f"{key}: {name} is not inside a mapping")
    if isinstance(at, list):
        at[_list_index(at, last, key)] = value
    elif isinstance(at, dict):
        at[last] = value
    else:
        raise UserError(f"{key}: {parents[-1]} holds the value {at!r}, not a mapping")


def _list_index(items: List, name: str, key: str) -> int:
    types = [item.get("type") if isinstance(item, dict) else None for item in items]
    if name in types:
        return types.index(name)
    if name.isdigit() and int(name) < len(items):
        return int(name)
    raise UserError(f"{key}: no item {name!r} in this list of {', '.join(map(str, types))}")


def _build(kind: type, raw: Any, where: str) -> Any:
    """Build the dataclass `kind` of a mapping whose keys and values were checked."""
    if not isinstance(raw, Mapping):
        raise UserError(f"{where}: expected a mapping of keys, got {raw!r}")
    fields = {f.name: f for f in dataclasses.fields(kind)}
    extra = {key: value for key, value in raw.items() if key not in fields or key == "options"}
    if extra and "options" not in fields:
        raise unknown_name(f"{where}: the key", next(iter(extra)), fields)
    values: Dict[str, Any] = {"options": extra} if "options" in fields else {}
    for name, value in raw.items():
        if name in extra:
            continue
        inner = _NESTED.get(kind, {}).get(name)
        at = f"{where}: {name}" if ":" not in where else f"{where}.{name}"
        if inner:
            values[name] = _build(inner, {} if value is None else value, at)
        elif name == "test_config":
            values[name] = _protocols(value, at)
        else:
            values[name] = _checked(value, fields[name].type, at)
    for name, spec in fields.items():
        if name not in values and spec.default is spec.default_factory is dataclasses.MISSING:
            raise UserError(f"{where}: the key {name!r} is missing")
    return kind(**values)


def _protocols(raw: Any, where: str) -> Dict[str, Protocol]:
    """Named protocols, or PaddleSeg's flat form, which is one protocol named `val`."""
    if not isinstance(raw, Mapping) or not raw:
        raise UserError(f"{where}: expected a protocol such as {{aug_eval: True, scales: 0.5}}, got {raw!r}")
    named = raw if all(isinstance(value, Mapping) for value in raw.values()) else {"val": raw}
    return {name: _build(Protocol, protocol, f"{where}.{name}") for name, protocol in named.items()}


_NUMBERS = {int: (int,), float: (int, float)}


def _checked(value: Any, kind: Any, where: str) -> Any:
    """The value as the type of its field; YAML reads 5e-4 as text, which is meant as a number."""
    if kind in _NUMBERS:
        try:
            if isinstance(value, bool) or (kind is int and float(value) != int(float(value))):
                raise ValueError
            return kind(float(value))
        except (TypeError, ValueError):
            raise UserError(f"{where}: expected a number, got {value!r}") from None
    if kind is bool and not isinstance(value, bool):
        raise UserError(f"{where}: expected true or false, got {value!r}")
    if kind is str and not isinstance(value, str):
        raise UserError(f"{where}: expected text, got {value!r}")
    if kind == Union[float, Tuple[float, ...]] and not isinstance(value, (list, tuple)):
        return _checked(value, float, where)
    return tuple(value) if isinstance(value, list) else value
