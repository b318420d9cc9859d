"""Which channels belong together: found by following each channel through the operations of the network.

A convolution makes channels; batch norms, activations, pools and resizing pass them on, a concatenation appends them,
and a sum or a product merges two into one. So a channel is a set of places in parameters: the filters that make
it, the batch norms that it passes, and the slices of the filters that read it. Channels with places in the same
parameters form a group, in which any number can be cut.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Collection, Dict, List, Mapping, Sequence, Tuple

from compat import UserError

import numpy as np

from engine.pruning.graph import Graph, Operation

PASSING = {"relu", "sigmoid", "pool2d", "dropout", "bilinear_interp", "nearest_interp", "cast", "scale", "assign"}
JOINING = {"add", "multiply"}
CONVOLUTIONS = {"conv2d", "depthwise_conv2d"}
NORM_ROLES = ("scale", "bias", "mean", "variance")


@dataclass(frozen=True)
class Place:
    """One axis of a parameter; `channels` [length of the axis] names the channel at each position.

    `makes` says that the parameter is a convolution's filter or bias, and this its output axis; `norm` that it is a
    batch norm's.
    """

    parameter: str
    axis: int
    channels: np.ndarray
    makes: bool = False
    norm: bool = False


@dataclass(frozen=True)
class Convolution:
    """For the count of multiply-accumulates: `each` of them for a pair of an input and an output channel.

    outputs, inputs: names of the channels; a depthwise convolution has no inputs besides its outputs.
    """

    parameter: str
    each: int
    outputs: np.ndarray
    inputs: np.ndarray

    @property
    def depthwise(self) -> bool:
        return len(self.inputs) == 0


@dataclass(frozen=True)
class Channels:
    """Where the channels of a network are in its parameters.

    Attributes:
        places: of all channels.
        groups: {parameter whose filters make the first of its channels: the channels of the group}, in the order in
            which the network computes them; without those of the image and of the outputs, which stay.
        convolutions: in the same order.
    """

    places: Tuple[Place, ...]
    groups: Mapping[str, np.ndarray]
    convolutions: Tuple[Convolution, ...]

    def multiply_accumulates(self, only: Collection[str] = ()) -> int:
        """Of one image; of the convolutions with the parameters `only`, by default all."""
        return sum(
            conv.each * len(conv.outputs) * (1 if conv.depthwise else len(conv.inputs))
            for conv in self.convolutions
            if not only or conv.parameter in only
        )


def find_channels(graph: Graph) -> Channels:
    """Follow the channels of a network through its operations.

    Raises:
        UserError: naming an operation through which channels cannot be followed.
    """
    follower = _Follower(graph)
    for operation in graph.operations:
        follower.follow(operation)
    return follower.result()


class _Follower:
    """Keeps which channels each value has; a channel is a number, those found equal are joined (union-find)."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.parents: List[int] = []
        self.values: Dict[str, np.ndarray] = {graph.image: self._new(3)}
        self.fixed = [self.values[graph.image]]
        self.places: List[Place] = []
        self.convolutions: List[Convolution] = []

    def follow(self, operation: Operation) -> None:
        inputs = [value for values in operation.inputs.values() for value in values]
        if operation.kind == "reshape" and inputs[0] in self.graph.parameters:
            return  # a convolution's bias, brought to four axes; see _bias
        if not any(value in self.values for value in inputs):
            return
        if operation.kind in CONVOLUTIONS:
            channels = self._convolution(operation)
        elif operation.kind == "batch_norm":
            channels = self.values[operation.inputs["x"][0]]
            for role in NORM_ROLES:
                self._place(operation.inputs[role][0], 0, channels, norm=True)
        elif operation.kind == "concat":
            channels = self._concatenation(operation)
        elif operation.kind in JOINING:
            channels = self._join(operation)
        elif operation.kind in PASSING:
            channels = next(self.values[value] for value in inputs if value in self.values)
        else:
            raise self._unknown(operation)
        if self.graph.shapes[operation.output][1] != len(channels):
            raise self._unknown(operation)
        self.values[operation.output] = channels

    def result(self) -> Channels:
        self.fixed += [self.values[output] for output in self.graph.outputs]
        roots = np.array([self._root(one) for one in range(len(self.parents))])
        fixed = set(roots[np.concatenate(self.fixed)].tolist())
        places = tuple(
            Place(self.graph.parameters[place.parameter], place.axis, roots[place.channels], place.makes, place.norm)
            for place in self.places
        )
        convolutions = tuple(
            Convolution(self.graph.parameters[conv.parameter], conv.each, roots[conv.outputs], roots[conv.inputs])
            for conv in self.convolutions
        )
        return Channels(places, _group(places, fixed), convolutions)

    def _convolution(self, operation: Operation) -> np.ndarray:
        weight, channels = operation.inputs["filter"][0], self.values[operation.inputs["input"][0]]
        outputs, inputs_each, *kernel = self.graph.shapes[weight]
        each = int(np.prod(kernel) * np.prod(self.graph.shapes[operation.output][2:]))
        if operation.groups == 1:
            self._place(weight, 1, channels)
            made, read = self._new(outputs), channels
        elif operation.groups == outputs == len(channels) and inputs_each == 1:
            made, read = channels, channels[:0]
        else:
            raise self._unknown(operation)
        self._place(weight, 0, made, makes=operation.groups == 1)
        self.convolutions.append(Convolution(weight, each, made, read))
        return made

    def _concatenation(self, operation: Operation) -> np.ndarray:
        parts = operation.inputs["x"]
        if not all(part in self.values for part in parts):
            raise self._unknown(operation)
        return np.concatenate([self.values[part] for part in parts])

    def _join(self, operation: Operation) -> np.ndarray:
        one, other = operation.inputs["x"][0], operation.inputs["y"][0]
        if one in self.values and other not in self.values and self._bias(other):
            self._place(self._bias(other), 0, self.values[one], makes=True)
            return self.values[one]
        if one not in self.values or other not in self.values:
            raise self._unknown(operation)
        if len(self.values[one]) != len(self.values[other]):
            raise self._unknown(operation)
        self._unite(self.values[one], self.values[other])
        return self.values[one]

    def _bias(self, value: str) -> str:
        """The parameter that `value` is a reshaping of; empty if it is none."""
        for operation in self.graph.operations:
            if operation.output == value and operation.kind == "reshape":
                source = operation.inputs["x"][0]
                return source if source in self.graph.parameters else ""
        return ""

    def _place(self, parameter: str, axis: int, channels: np.ndarray, makes: bool = False, norm: bool = False) -> None:
        known = [place for place in self.places if (place.parameter, place.axis) == (parameter, axis)]
        if known:  # a layer that is used again
            self._unite(known[0].channels, channels)
        else:
            self.places.append(Place(parameter, axis, channels, makes, norm))

    def _new(self, count: int) -> np.ndarray:
        first = len(self.parents)
        self.parents.extend(range(first, first + count))
        return np.arange(first, first + count)

    def _unite(self, one: np.ndarray, other: np.ndarray) -> None:
        for pair in zip(one, other):
            first, second = map(self._root, pair)
            self.parents[max(first, second)] = min(first, second)

    def _root(self, channel: int) -> int:
        while self.parents[channel] != channel:
            self.parents[channel] = self.parents[self.parents[channel]]
            channel = self.parents[channel]
        return int(channel)

    def _unknown(self, operation: Operation) -> UserError:
        shapes = [self.graph.shapes[value] for values in operation.inputs.values() for value in values]
        return UserError(f"pruning: cannot follow channels through {operation.kind} of the shapes {shapes}")


def _group(places: Sequence[Place], fixed: set) -> Dict[str, np.ndarray]:
    """Channels by the set of axes that they have places in, each group by the name of its first filters."""
    axes: Dict[int, set] = defaultdict(set)
    for place in places:
        for channel in np.unique(place.channels):
            axes[int(channel)].add((place.parameter, place.axis))
    members: Dict[frozenset, List[int]] = defaultdict(list)
    for channel in sorted(set(axes) - fixed):
        members[frozenset(axes[channel])].append(channel)
    makers = [place for place in places if place.makes]
    groups = {}
    for channels in members.values():
        first = next(place.parameter for place in makers if np.isin(channels, place.channels).any())
        name = first if first not in groups else f"{first} ({len(groups)})"
        groups[name] = np.array(channels)
    return groups
