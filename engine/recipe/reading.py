"""Reading recipes: YAML files with bases in PaddleSeg's vocabulary, and what the command line overrides."""

import copy
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple, Union

from compat import UserError, logger
from compat.options import Count, check

import yaml

from engine.recipe.paddleseg import from_paddleseg, is_paddleseg
from engine.recipe.schema import Recipe

BASE_KEY = "_base_"
REPLACE_KEY = "_inherited_"  # PaddleSeg's word: `_inherited_: False` in a mapping drops what the base says there
RATES = ("learning_rate", "end_lr", "warmup_start_lr")  # of any schedule


def load_recipe(path: Union[str, Path], overrides: Mapping[str, Any] = (), opts: Sequence[str] = ()) -> Recipe:
    """Read a recipe file.

    Args:
        path: YAML file, ours or PaddleSeg's (see engine.recipe.paddleseg). `_base_` names the file or files, relative
            to it, that it extends; later ones override earlier ones.
        overrides: {dotted key: value}, applied before `opts`.
        opts: `dotted.key=value`, with values as `parse_value` reads them. An item of a list is addressed by its index
            or its `type`.

    Raises:
        UserError: naming file, key and the nearest known key.
    """
    retyped: List[str] = []
    try:
        raw = _read_with_base(Path(path), (), retyped)
    except RecursionError:
        raise UserError(f"{path}: a mapping holds itself by an alias (*name), or is nested too deeply") from None
    if is_paddleseg(raw):
        raw = from_paddleseg(raw, str(path))
    _set_total_batch_size(raw, str(path))  # that of the file, whatever the batch becomes
    for key, value in dict(overrides).items():
        _set(raw, key, value)
    for opt in opts:
        key, equals, text = opt.partition("=")
        if not equals:
            raise UserError(f"--opts {opt}: expected key=value, such as batch_size=8")
        _set(raw, key, parse_value(text, f"--opts {opt}"))
    _set_total_batch_size(raw, str(path))
    try:
        return check(Recipe, raw, str(path))
    except UserError as error:
        raise _with_hint(error, str(path), retyped) from None


def _with_hint(error: UserError, where: str, retyped: Sequence[str]) -> UserError:
    """The error, with a hint if it concerns a mapping whose `type` differs from its base's."""
    for key in retyped:
        if str(error).startswith((f"{where}: {key}:", f"{where}: {key}.")):
            hint = f"what the base says under {key} is for another type; {REPLACE_KEY}: false beside the type drops it"
            return UserError(f"{error}\n{hint}")
    return error


def _set_total_batch_size(raw: Dict, where: str) -> None:
    if raw.get("batch_size") is not None and "total_batch_size" not in raw:
        batch, accumulate = (check(Count, raw.get(key, 1), where, key) for key in ("batch_size", "accumulate"))
        raw["total_batch_size"] = batch * accumulate


def parse_value(text: str, where: str) -> Any:
    """The value of an override: YAML, and also what mmengine's --cfg-options writes.

    That is `None`, `a,b` for a list, and tuples in parentheses, which become lists, as recipes have no tuples:
    `[(1,2),(3,4)]` is `[[1, 2], [3, 4]]`. A text that begins with a parenthesis or holds a comma needs quotes.

    Raises:
        UserError: for invalid YAML, naming `where`.
    """
    if text.strip() == "None":
        return None
    brackets, commas = _brackets_of_tuples(text)
    if commas and all(part.strip() for part in brackets.split(",")):
        brackets = f"[{brackets}]"
    return _parse_yaml(brackets, where)


def _brackets_of_tuples(text: str) -> Tuple[str, int]:
    """The text with the parentheses of tuples replaced by square brackets, and its number of commas outside brackets.

    A parenthesis opens a tuple only where a value begins, so not within `^(a|b)`; quoted text is left as it is.
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
    """The recipe with its learning rates scaled linearly from `total_batch_size` to the actual total batch; logged.

    The actual total batch is batch_size * devices * accumulate.
    """
    total = recipe.batch_size * devices * recipe.accumulate
    factor = total / recipe.total_batch_size
    rates = recipe.lr_scheduler
    scaled = rates.model_copy(
        update={name: getattr(rates, name) * factor for name in RATES if name in type(rates).model_fields}
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
    return recipe.model_copy(update={"lr_scheduler": scaled})


def _read_with_base(path: Path, seen: Tuple[Path, ...], retyped: List[str]) -> Dict:
    """The file merged into its bases; appends the keys of mappings whose `type` it changes to `retyped`."""
    if not path.is_file():
        raise UserError(f"{path}: no such recipe; those that come with the project are in configs/")
    if path.resolve() in seen:
        raise UserError(f"{path}: builds on itself through {BASE_KEY}")
    try:
        raw = _parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: the recipe cannot be read ({error})") from error
    if not isinstance(raw, dict):
        raise UserError(f"{path}: a recipe is a mapping of keys, this holds {type(raw).__name__}")
    bases = raw.pop(BASE_KEY, ())
    bases = [bases] if isinstance(bases, str) else bases
    if not (isinstance(bases, (list, tuple)) and all(isinstance(base, str) for base in bases)):
        raise UserError(f"{path}: {BASE_KEY}: expected a recipe's file name or a list of them, got {bases!r}")
    merged: Dict = {}
    for base in bases:
        merged = _merge(merged, _read_with_base(path.parent / base, (*seen, path.resolve()), retyped), retyped)
    return _merge(merged, raw, retyped)


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML's own loaders silently take the last."""

    def compose_mapping_node(self, anchor):
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name in seen and key.value != "<<":
                problem = f"the key {key.value!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(name)
        return node


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: such as the date 2026-13-01
        raise UserError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error


def _merge(base: Mapping, own: Mapping, retyped: List[str], at: str = "") -> Dict:
    """Mappings merge key by key, everything else replaces the base's; `at` is the mapping's dotted key."""
    merged = dict(base) if own.get(REPLACE_KEY, True) else {}
    if "type" in own and merged.get("type", own["type"]) != own["type"]:
        retyped.append(at)
    for key, value in own.items():
        if key == REPLACE_KEY:
            continue
        if isinstance(value, dict):
            below = merged[key] if isinstance(merged.get(key), dict) else {}
            value = _merge(below, value, retyped, f"{at}.{key}" if at else str(key))
        merged[key] = value
    return merged


def _set(raw: Dict, key: str, value: Any) -> None:
    """Set a value; lists and mappings on the way are copied, as an alias (*name) can put one of them at two places."""
    *parents, last = key.split(".")
    at: Any = raw
    for name in parents:
        if not isinstance(at, (list, dict)):
            raise UserError(f"{key}: {name} is not inside a mapping")
        place = _list_index(at, name, key) if isinstance(at, list) else name
        at[place] = copy.copy(at[place]) if place in at or isinstance(at, list) else {}
        at = at[place]
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
    if name.isdecimal() and int(name) < len(items):
        return int(name)
    raise UserError(f"{key}: no item {name!r} in this list of {', '.join(map(str, types))}")
