"""The operations of a network in one form, from both program formats of Paddle (3: PIR; 2.6: blocks)."""

from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Tuple

import paddle
from paddle import nn

RENAMED = {"elementwise_add": "add", "elementwise_mul": "multiply", "reshape2": "reshape"}


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        kind: Paddle's name of it, without version and place, e.g. `conv2d`, `batch_norm`, `add`, `bilinear_interp`.
        inputs: {lower-case role: values}, e.g. {"input": ("image",), "filter": ("conv2d_0.w_0",)}; a parameter's value
            is its name.
        output: its first result.
        groups: of a convolution, otherwise 1.
    """

    kind: str
    inputs: Mapping[str, Tuple[str, ...]]
    output: str
    groups: int = 1


@dataclass(frozen=True)
class Graph:
    """What a network computes from one image.

    Attributes:
        operations: in an order in which they can be computed.
        shapes: of the values, {value: (N, C, H, W)}.
        image: the value of the image.
        outputs: the values that the network returns.
        parameters: {value: name in the network's state}.
    """

    operations: Tuple[Operation, ...]
    shapes: Mapping[str, Tuple[int, ...]]
    image: str
    outputs: Tuple[str, ...]
    parameters: Mapping[str, str]


def trace(model: nn.Layer, size: Tuple[int, int]) -> Graph:
    """The operations of `model` for an image of `size` (h, w); to be called within models.shapes.shapes_only."""
    image = paddle.static.data(f"image_{size[0]}_{size[1]}_{model.training}", [1, 3, *size])
    block = paddle.static.default_main_program().global_block()
    first = len(block.ops)
    results = model(image)
    read = _blocks_format if isinstance(getattr(block.ops[0], "type", None), str) else _pir_format
    shapes: Dict[str, Tuple[int, ...]] = {}
    operations = tuple(read(block, first, shapes))
    parameters = {parameter.name: name for name, parameter in model.named_parameters()}
    shapes[_identity(image)] = (1, 3, *size)
    return Graph(operations, shapes, _identity(image), tuple(map(_identity, results)), parameters)


def _identity(value: Any) -> str:
    """A value's name in a block; its identity in PIR."""
    return value.id if hasattr(value, "get_defining_op") else value.name


def _plain(kind: str) -> str:
    kind = kind.rpartition(".")[2].rstrip("_")
    kind = kind[: -len("_v2")] if kind.endswith("_v2") else kind
    return RENAMED.get(kind, kind)


def _blocks_format(block: Any, first: int, shapes: Dict[str, Tuple[int, ...]]) -> Iterator[Operation]:
    for op in block.ops[first:]:
        inputs = {role.lower(): tuple(op.input(role)) for role in op.input_names if op.input(role)}
        roles = [role for role in ("Y", "Out", "Output") if role in op.output_names]
        output = op.output(roles[0] if roles else op.output_names[0])[0]
        for value in {output, *(value for values in inputs.values() for value in values)}:
            shapes[value] = tuple(block.var(value).shape)
        yield Operation(_plain(op.type), inputs, output, op.attr("groups") if op.has_attr("groups") else 1)


def _pir_format(block: Any, first: int, shapes: Dict[str, Tuple[int, ...]]) -> Iterator[Operation]:
    named: Dict[str, str] = {}  # parameters by the identity of their value
    lists: Dict[str, List[str]] = {}  # what `combine` puts together
    for position, op in enumerate(block.ops):
        kind, attributes = op.name(), op.attrs()
        results = op.results()
        if kind == "builtin.parameter":
            named[results[0].id] = attributes["parameter_name"]
            shapes[attributes["parameter_name"]] = tuple(results[0].shape)
        elif kind == "builtin.combine":
            lists[results[0].id] = [named.get(value.id, value.id) for value in op.operands_source()]
        elif position >= first and results and kind.startswith("pd_op."):
            operands = op.operands_source()
            inputs = {
                role: tuple(lists.get(value.id, [named.get(value.id, value.id)]))
                for role, value in zip(op.get_input_names() if operands else (), operands)
                if value.initialized()  # an optional input may be absent
            }
            shapes[results[0].id] = tuple(results[0].shape)
            yield Operation(_plain(kind), inputs, results[0].id, attributes.get("groups", 1))
