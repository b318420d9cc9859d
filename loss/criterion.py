"""Which loss each output of a network answers to."""

import inspect
from typing import Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from compat import UserError, unknown_name

import paddle
from paddle import nn

from loss.border import BorderCrossEntropyLoss
from loss.cross_entropy import CrossEntropyLoss
from loss.detail import DetailAggregateLoss
from loss.dice import DiceLoss
from loss.focal import FocalLoss
from loss.lovasz import LovaszSoftmaxLoss
from loss.ohem import OhemCrossEntropyLoss
from loss.resizing import Resize, enlarge

LOSSES: Dict[str, Callable[..., nn.Layer]] = {
    "BorderCrossEntropyLoss": BorderCrossEntropyLoss,
    "CrossEntropyLoss": CrossEntropyLoss,
    "DetailAggregateLoss": DetailAggregateLoss,
    "DiceLoss": DiceLoss,
    "FocalLoss": FocalLoss,
    "LovaszSoftmaxLoss": LovaszSoftmaxLoss,
    "OhemCrossEntropyLoss": OhemCrossEntropyLoss,
}


class Term(NamedTuple):
    """One output's loss and its weight in the total."""

    loss: nn.Layer
    weight: float


class Criterion(nn.Layer):
    """The training objective: a weighted sum over a network's outputs.

    The outputs may have the labels' size or any stride. A loss whose class has `resizes_logits` brings them to the
    labels' size itself, which takes less memory; the others get them at that size.

    Args:
        output_names: the network's training outputs, in order.
        terms: a term for each of them.
        resize: brings logits to the labels' size.
    """

    def __init__(self, output_names: Sequence[str], terms: Mapping[str, Term], resize: Resize = enlarge):
        super().__init__()
        self.resize = resize
        self.output_names = tuple(output_names)
        self.weights = {name: terms[name].weight for name in self.output_names}
        self.losses = nn.LayerDict({name: terms[name].loss for name in self.output_names})
        for loss in self.losses.values():
            if hasattr(loss, "resize"):
                loss.resize = resize

    def forward(
        self, outputs: Sequence[paddle.Tensor], labels: paddle.Tensor
    ) -> Tuple[paddle.Tensor, Dict[str, paddle.Tensor]]:
        """(total, {output name: its loss before weighting}), all 0-d, for the network's training outputs."""
        parts = {name: self._part(name, logits, labels) for name, logits in zip(self.output_names, outputs)}
        total = sum(self.weights[name] * part for name, part in parts.items())
        return total, parts

    def _part(self, name: str, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        loss = self.losses[name]
        if not getattr(loss, "resizes_logits", False):
            logits = self.resize(logits, labels.shape[1:])
        return loss(logits, labels)

    def for_paddleseg(self) -> Dict[str, List]:
        """The `losses` argument of `paddleseg.core.train`."""
        return {
            "types": [self.losses[name] for name in self.output_names],
            "coef": [self.weights[name] for name in self.output_names],
        }


def build_criterion(specs: Mapping[str, Mapping], output_names: Sequence[str], resize: Resize = enlarge) -> Criterion:
    """Build the objective from a recipe's `loss`.

    Args:
        specs: for each output name a mapping of `type` (one of LOSSES), `weight` (1 by default) and the loss's options.
        output_names: the network's training outputs.
        resize: brings the network's logits to the labels' size, such as its method `resized`.

    Raises:
        UserError: for an output without loss, a loss without output, or an unknown type or option.
    """
    missing = [name for name in output_names if name not in specs]
    unused = [name for name in specs if name not in output_names]
    if missing or unused:
        odd = f"no loss for output {missing[0]!r}" if missing else f"no output {unused[0]!r}"
        raise UserError(f"loss: {odd}; the network's outputs are {', '.join(output_names)}")
    return Criterion(output_names, {name: _build_term(name, specs[name]) for name in output_names}, resize)


def _build_term(name: str, spec: Mapping) -> Term:
    options = dict(spec)
    kind = options.pop("type", None)
    weight = float(options.pop("weight", 1))
    if kind not in LOSSES:
        raise unknown_name(f"loss.{name}: type", kind, LOSSES)
    known = inspect.signature(LOSSES[kind]).parameters
    for option in options:
        if option not in known:
            raise unknown_name(f"loss.{name}: option of {kind}", option, known)
    try:
        return Term(LOSSES[kind](**options), weight)
    except ValueError as error:
        raise UserError(f"loss.{name}: {error}") from error
