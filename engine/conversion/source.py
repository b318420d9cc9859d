"""What a converter must know of a project whose checkpoints it reads."""

import re
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Tuple, Union

import numpy as np
from paddle import nn

Arrays = Dict[str, np.ndarray]
# (pattern, replacement): every rule is applied to a name, in order, so that a rule may build on those before it.
Rules = List[Tuple[str, Union[str, Callable[[re.Match], str]]]]

TORCH_STATISTICS: Rules = [(r"\._mean$", ".running_mean"), (r"\._variance$", ".running_var")]
COUNTERS = (r"\.num_batches_tracked$", "torch's counter of batches, which Paddle does not keep")


def nothing_extra(names: Iterable[str]) -> List[str]:
    """See Source.extra."""
    return []


def no_twin(ours: str, theirs: str) -> Optional[str]:
    """See Source.make_twin."""
    return None


def unchanged(arrays: Arrays) -> List[str]:
    """See Source.adjust and Source.restore."""
    return []


@dataclass(frozen=True)
class Source:
    """A kind of checkpoint.

    name, title: for the command line and for the reader.
    models: names of our networks that it can fill.
    marks, lacks: tensors that tell it from the others: all of the former are there, none of the latter.
    rules: renames our tensors to its own, for a given network of ours.
    drops: (pattern of its names, why such a tensor is left out).
    twin: (pattern, replacement) from the name of a second copy to that of the first; the copies must be equal.
    make_twin: (our name, its name) -> its name of the second copy, if it has one.
    options: options that our network needs to hold these weights.
    part: prefix of those of our tensors that it has; "" for all.
    absent: our names of tensors that it does not have, for `adjust` to make.
    extra: names, in our form, of tensors that it has and our network does not, for `adjust` to deal with.
    adjust: turns its values, under our names, into ours; `restore` turns ours into its. Both return notes.
    torch: whether linear weights are [out, in], as in torch, and not [in, out].
    """

    name: str
    title: str
    models: Tuple[str, ...]
    marks: Tuple[str, ...]
    rules: Callable[[nn.Layer], Rules]
    lacks: Tuple[str, ...] = ()
    drops: Tuple[Tuple[str, str], ...] = ()
    twin: Optional[Tuple[str, str]] = None
    make_twin: Callable[[str, str], Optional[str]] = no_twin
    options: Mapping[str, Any] = field(default_factory=dict)
    part: str = ""
    absent: Tuple[str, ...] = ()
    extra: Callable[[Iterable[str]], List[str]] = nothing_extra
    adjust: Callable[[Arrays], List[str]] = unchanged
    restore: Callable[[Arrays], List[str]] = unchanged
    torch: bool = True

    def recognises(self, names: Iterable[str]) -> bool:
        """Whether tensors of these names are such a checkpoint."""
        names = set(names)
        return names.issuperset(self.marks) and names.isdisjoint(self.lacks)

    def renamer(self, model: nn.Layer) -> Callable[[str], str]:
        """The function from our names to its."""
        rules = [*self.rules(model), *(TORCH_STATISTICS if self.torch else [])]
        compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]

        def rename(name: str) -> str:
            for pattern, replacement in compiled:
                name = pattern.sub(replacement, name)
            return name

        return rename


def plus_one(template: str) -> Callable[[re.Match], str]:
    """Replacement that puts the first group, a number, plus one into `{}` of the template."""
    return lambda match: template.format(int(match[1]) + 1)
