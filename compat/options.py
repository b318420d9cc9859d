"""Validation of what users write: frozen pydantic models of options, whose errors become one `UserError`.

Recipes, transforms and optimisers are subclasses of `Options`. The options of a loss or a network are derived from the
signature of its constructor (`options_of`), so that a new argument is an option at once. `ByType` chooses among models
by the key `type`.
"""

import functools
import inspect
import re
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Type,
    Union,
    get_args,
    get_origin,
)

from compat.errors import UserError, unknown_name

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError, PydanticKnownError, core_schema
from typing_extensions import Annotated, Literal

SHOWN = 60  # characters of a wrong value that a message quotes


class Options(BaseModel):
    """Frozen options by name; an unknown name is an error that names the nearest known one."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, raw: Any) -> Any:
        for key in raw if isinstance(raw, Mapping) else ():
            if key not in cls.model_fields:
                raise custom_error(str(unknown_name("the key", key, cls.model_fields)))
        return raw

    def beyond(self, kind: Type["Options"]) -> Dict[str, Any]:
        """{name: value} of the fields that were given and that the base class `kind` does not have."""
        return {name: getattr(self, name) for name in type(self).model_fields if self._is_beyond(name, kind)}

    def _is_beyond(self, name: str, kind: Type["Options"]) -> bool:
        return name in self.model_fields_set and name not in kind.model_fields


def custom_error(message: str) -> PydanticCustomError:
    """The exception for a validator to raise; `check` puts the dotted key before the message."""
    return PydanticCustomError("mistake", "{message}", {"message": message})


def _no_bool(kind: str) -> Callable[[Any], Any]:
    def check_number(value: Any) -> Any:
        if isinstance(value, bool):
            raise PydanticKnownError(kind)
        if isinstance(value, str) and kind == "int_type":  # YAML reads 1e3 as text
            try:
                return float(value)
            except ValueError:
                return value
        return value

    return check_number


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, (str, int, float, Mapping, Options)) else value


def _regular_expression(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise custom_error(f"{value!r} is not a regular expression ({error})") from None
    return value


Number = Annotated[float, BeforeValidator(_no_bool("float_type"))]
"""A finite number; also text such as 5e-4, which YAML does not take for a number."""
Whole = Annotated[int, BeforeValidator(_no_bool("int_type"))]
"""A whole number."""
Count = Annotated[Whole, Field(ge=1)]
Share = Annotated[Number, Field(ge=0, le=1)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Label = Annotated[Whole, Field(ge=0, le=255)]
"""A value of a label file."""
OneOrMany = BeforeValidator(_one_or_many)
"""In `Annotated[Tuple[X, ...], OneOrMany]`: a single value where a list belongs is a list of one."""
Pattern = Annotated[str, AfterValidator(_regular_expression)]
"""A regular expression."""


class ByType:
    """`Annotated[Base, ByType(models)]` is the one of `models` whose Literal field `type` has the value given.

    Args:
        models: subclasses of Base.
        default: the type if none is given; None makes it required.
    """

    def __init__(self, models: Iterable[Type[Options]], default: Optional[str] = None):
        self.models = {tag: model for model in models for tag in get_args(model.model_fields["type"].annotation)}
        self.default = default

    def __get_pydantic_core_schema__(self, _source: Any, handler: Callable) -> core_schema.CoreSchema:
        choices = {tag: handler.generate_schema(model) for tag, model in self.models.items()}
        return core_schema.tagged_union_schema(choices, self._tag)

    def _tag(self, raw: Any) -> Optional[str]:
        if isinstance(raw, Mapping):
            tag = raw.get("type", self.default)
            return tag if tag is None or isinstance(tag, str) else repr(tag)
        return getattr(raw, "type", None) if isinstance(raw, Options) else None


def options_of(build: Callable, name: str, base: Type[Options] = Options, skip: Sequence[str] = ()) -> Type[Options]:
    """A model of the arguments of `build`: a subclass of `base` with the field `type` fixed to `name`.

    Args:
        build: annotated class or function; ranges are written as `Annotated[float, Field(gt=0)]`. Sequences become
            tuples, for which a single value may stand.
        name: the value of `type` in a recipe.
        base: base class of the model, with the fields that all such models share.
        skip: arguments that a recipe cannot set.
    """
    fields: Dict[str, Any] = {"type": (Literal[name], name if "type" not in base.model_fields else ...)}
    for parameter in inspect.signature(build).parameters.values():
        if parameter.name not in skip:
            default = ... if parameter.default is parameter.empty else parameter.default
            kind = _strict(parameter.annotation)
            is_list = get_origin(kind) is tuple and ... in get_args(kind)  # of any length
            fields[parameter.name] = (Annotated[kind, OneOrMany] if is_list else kind, default)
    return create_model(name, __base__=base, __module__=base.__module__, **fields)


def _strict(annotation: Any) -> Any:
    """The annotation with Whole and Number, which refuse booleans, for int and float, and with tuples for sequences."""
    if annotation in (int, float):
        return Whole if annotation is int else Number
    if hasattr(annotation, "__metadata__"):
        return Annotated[(_strict(annotation.__origin__), *annotation.__metadata__)]
    arguments = tuple(one if one is ... else _strict(one) for one in get_args(annotation))
    origin = get_origin(annotation)
    if origin is Union:
        return Union[arguments]
    if origin is tuple:
        return Tuple[arguments]
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return Tuple[arguments[0], ...]
    return annotation


def check(kind: Any, raw: Any, where: str = "", key: str = "") -> Any:
    """Validate `raw` and return it as the model or type `kind`.

    Args:
        where: prefix of the messages, such as the recipe's file.
        key: the dotted key of `raw` in it.

    Raises:
        UserError: naming the dotted key, what was expected there, and what was found.
    """
    try:
        return _adapter(kind).validate_python(raw)
    except ValidationError as error:
        first, *others = _mistakes(error.errors(include_url=False), raw, key)
        more = f"\nand {len(others)} more: {_shortened(', '.join(where for where, _ in others))}" if others else ""
        raise UserError(": ".join(part for part in (where, *first) if part) + more) from None


_adapter = functools.cache(TypeAdapter)  # building one takes longer than using it


def _mistakes(errors: List[Dict], raw: Any, key: str) -> List[Tuple[str, str]]:
    """(dotted key, message) of each mistake. Among the members of a union, the one that matched deepest counts."""
    located: List[Tuple[Tuple[str, ...], Dict]] = [(_keys(error["loc"], raw), error) for error in errors]
    found: Dict[Tuple[str, ...], List[Dict]] = {}
    for keys, error in located:
        if not any(len(other) > len(keys) and other[: len(keys)] == keys for other, _ in located):
            found.setdefault(keys, []).append(error)
    return [(".".join(filter(None, (key, *keys))), _message(group)) for keys, group in found.items()]


def _keys(location: Sequence, raw: Any) -> Tuple[str, ...]:
    """pydantic's location without the parts that are not in `raw`: names of union members and of validators."""
    keys = []
    for part in location:
        if isinstance(raw, Mapping) and part in raw:
            raw = raw[part]
        elif isinstance(raw, (list, tuple)) and isinstance(part, int) and part < len(raw):
            raw = raw[part]
            kind = raw.get("type") if isinstance(raw, Mapping) else None
            part = kind if isinstance(kind, str) else part
        elif isinstance(raw, Options) and part in type(raw).model_fields:
            raw = getattr(raw, part)
        else:
            continue
        keys.append(str(part))
    return tuple(keys)


_EXPECTED = {
    "bool": "true or false",
    "dict": "a mapping of keys",
    "finite": "a finite number",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "mapping": "a mapping of keys",
    "model": "a mapping of keys",
    "string": "text",
    "tuple": "a list",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "too_short": "{min_length} or more",
    "too_long": "no more than {max_length}",
    "string_too_short": "text of {min_length} or more characters",
    "none_required": "null",
}

_NAME_ERRORS = ("literal_error", "union_tag_invalid", "union_tag_not_found")


def _message(errors: Sequence[Dict]) -> str:
    """What is wrong with one value; `errors` has one entry for each type that it may have."""
    names = [error for error in errors if error["type"] in _NAME_ERRORS]
    for error in errors:
        if error["type"] == "missing":
            return f"the key {str(error['loc'][-1])!r} is missing"
        if error["type"] in ("mistake", "value_error"):
            return error["msg"].partition("Value error, ")[2] or error["msg"]
    found = _shortened(repr(errors[0]["input"]))
    if names and isinstance(names[0]["input"], str if names[0]["type"] == "literal_error" else Mapping):
        return _unknown(names[0])
    expected = list(dict.fromkeys(filter(None, map(_expected, errors))))
    return f"expected {' or '.join(expected)}, got {found}" if expected else f"{errors[0]['msg']}, got {found}"


def _expected(error: Dict) -> str:
    kind = error["type"]
    if kind == "literal_error":
        return f"one of {error['ctx']['expected']}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return "a mapping with a type"
    text = _EXPECTED.get(kind) or _EXPECTED.get(kind.partition("_")[0], "")
    limits = {name: f"{limit:g}" for name, limit in error.get("ctx", {}).items() if isinstance(limit, (int, float))}
    return text.format(**limits)


def _unknown(error: Dict) -> str:
    """The message for a name that is not among those expected, or a missing `type`."""
    if error["type"] == "union_tag_not_found":
        return "the key 'type' is missing"
    known = re.findall(r"'([^']*)'", error["ctx"].get("expected") or error["ctx"]["expected_tags"])
    if error["type"] == "union_tag_invalid":
        return str(unknown_name("type", error["input"].get("type"), known))
    return f"{error['input']!r} is not one of {', '.join(known)}"


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
