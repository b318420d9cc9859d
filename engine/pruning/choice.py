"""Chooses the channels to cut, so that a given share of the network's multiply-accumulates remains."""

from dataclasses import dataclass
from typing import Collection, Dict, List, Mapping, Optional

import numpy as np

from engine.pruning.groups import Channels

MIN_SHARE = 0.25  # of a group's channels that stay: a layer without channels would cut the network in two


@dataclass(frozen=True)
class Choice:
    """What is cut.

    Attributes:
        cut: channels, ascending.
        share: of the multiply-accumulates that is left.
    """

    cut: np.ndarray
    share: float


class _Group:
    """Channels of a group, of which the least important are cut first, down to the next multiple at a time."""

    def __init__(self, members: np.ndarray, importance: np.ndarray, multiple: int, size: int):
        order = np.argsort(importance[members], kind="stable")
        self.order = members[order]
        self.costs = importance[members][order]
        self.multiple = multiple
        self.least = max(multiple, int(np.ceil(MIN_SHARE * size / multiple)) * multiple)
        self.cut = 0

    @property
    def kept(self) -> int:
        return len(self.order) - self.cut

    @property
    def step(self) -> int:
        """How many channels are cut next; 0 if no more may be."""
        step = self.kept % self.multiple or self.multiple
        return step if self.kept - step >= self.least else 0


def choose(
    channels: Channels,
    importance: np.ndarray,
    deployed: Collection[str],
    target: float,
    multiple: int = 16,
    sizes: Optional[Mapping[str, int]] = None,
) -> Choice:
    """Cut, again and again, the step that costs the least importance for each multiply-accumulate that it saves.

    A step cuts one group to the next multiple. A group keeps at least a quarter of its channels and one multiple;
    narrower groups stay as they are, as do those that no deployed convolution uses.

    Args:
        channels: of the network.
        importance: of each channel.
        deployed: filters of the convolutions that evaluation computes.
        target: share of their multiply-accumulates to keep, in (0, 1].
        multiple: the remaining widths are multiples of it.
        sizes: of the groups before anything was cut, for the quarter; by default their present ones.

    Returns:
        The choice; its share is above the target if the target cannot be reached.
    """
    sizes = sizes or {name: len(members) for name, members in channels.groups.items()}
    groups = {name: _Group(members, importance, multiple, sizes[name]) for name, members in channels.groups.items()}
    counter = _Counter(channels, groups, deployed)
    whole = left = counter.count(groups)
    while left > target * whole:
        best = _cheapest_step(groups, counter, left)
        if best is None:
            break
        groups[best].cut += groups[best].step
        left = counter.count(groups)
    cut = np.sort(np.concatenate([group.order[: group.cut] for group in groups.values()]))
    return Choice(cut, left / whole)


def _cheapest_step(groups: Mapping[str, _Group], counter: "_Counter", left: int) -> Optional[str]:
    best, lowest = None, np.inf
    for name, group in groups.items():
        step = group.step
        if not step:
            continue
        cost = group.costs[group.cut : group.cut + step].sum()
        group.cut += step
        saved = left - counter.count(groups)
        group.cut -= step
        if saved > 0 and cost / saved < lowest:
            best, lowest = name, cost / saved
    return best


class _Counter:
    """Counts multiply-accumulates from the number of channels that each group keeps, faster than channel by channel."""

    def __init__(self, channels: Channels, groups: Mapping[str, _Group], deployed: Collection[str]):
        self.names = list(groups)
        owner = {int(one): index for index, group in enumerate(groups.values()) for one in group.order}
        sizes = np.array([len(group.order) for group in groups.values()], float)

        def shares(which: np.ndarray) -> np.ndarray:
            """[groups + 1]: positions for each channel that a group keeps, and those that always stay."""
            row = np.zeros(len(sizes) + 1)
            for channel in which:
                row[owner.get(int(channel), -1)] += 1
            row[:-1] /= sizes
            return row

        convs = [conv for conv in channels.convolutions if conv.parameter in deployed]
        self.each = np.array([conv.each for conv in convs], float)
        self.outputs = np.stack([shares(conv.outputs) for conv in convs])
        inputs: List[np.ndarray] = [
            np.eye(1, len(sizes) + 1, len(sizes))[0] if conv.depthwise else shares(conv.inputs) for conv in convs
        ]
        self.inputs = np.stack(inputs)

    def count(self, groups: Dict[str, _Group]) -> int:
        kept = np.array([*(groups[name].kept for name in self.names), 1.0])
        return round(float((self.each * (self.outputs @ kept) * (self.inputs @ kept)).sum()))
