"""The training objective: the losses of each output of a network, and their weighted sum."""

import re
from typing import Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from compat import UserError
from compat.options import ByType, NotNegative, OneOrMany, Options, check, options_of

import paddle
from paddle import nn
from typing_extensions import Annotated

from loss.border import BorderCrossEntropyLoss
from loss.cross_entropy import CrossEntropyLoss
from loss.detail import DetailAggregateLoss
from loss.dice import DiceLoss
from loss.focal import FocalLoss
from loss.lovasz import LovaszSoftmaxLoss
from loss.ohem import OhemCrossEntropyLoss
from loss.resizing import Resize, upsample

LOSSES: Dict[str, Callable[..., nn.Layer]] = {
    "BorderCrossEntropyLoss": BorderCrossEntropyLoss,
    "CrossEntropyLoss": CrossEntropyLoss,
    "DetailAggregateLoss": DetailAggregateLoss,
    "DiceLoss": DiceLoss,
    "FocalLoss": FocalLoss,
    "LovaszSoftmaxLoss": LovaszSoftmaxLoss,
    "OhemCrossEntropyLoss": OhemCrossEntropyLoss,
}
"""A recipe's options of a loss are the arguments of its constructor, whose annotations say what is allowed."""
DETAIL_LOSSES = ("DetailAggregateLoss",)  # for outputs such as detail8, which hold no class logits


class TermOptions(Options):
    """A loss and its weight in the total; each type of LOSSES has a subclass with its options."""

    type: str
    weight: NotNegative = 1.0


AnyTerm = Annotated[TermOptions, ByType(options_of(build, name, TermOptions) for name, build in LOSSES.items())]
Objective = Dict[str, Annotated[Tuple[AnyTerm, ...], OneOrMany]]
"""A recipe's `loss`: for each of the network's training outputs a term, or a list of terms."""


class Term(NamedTuple):
    """A loss of one output, its name in logs and checkpoints, and its weight in the total."""

    output: str
    name: str
    loss: nn.Layer
    weight: float


class WeightedSum(nn.Layer):
    """Several losses of one output as one: the weighted sum of `terms`."""

    def __init__(self, terms: Sequence[Term]):
        super().__init__()
        self.weights = [term.weight for term in terms]
        self.losses = nn.LayerList([term.loss for term in terms])

    def forward(self, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        """0-d loss of logits [N, K, H, W] and labels [N, H, W]."""
        return sum(weight * loss(logits, labels) for weight, loss in zip(self.weights, self.losses))


class Criterion(nn.Layer):
    """The training objective: a weighted sum over a network's outputs.

    The outputs may have the labels' size or any stride. A loss whose class has `resizes_logits` brings them to the
    labels' size itself, which takes less memory; the other losses get resized logits.

    Args:
        output_names: the network's training outputs, in order.
        terms: one or more for each of them.
        resize: brings logits to the labels' size.
    """

    def __init__(self, output_names: Sequence[str], terms: Sequence[Term], resize: Resize = upsample):
        super().__init__()
        self.resize = resize
        self.output_names = tuple(output_names)
        self.terms = tuple(terms)
        self.losses = nn.LayerDict({term.name: term.loss for term in terms})
        for loss in self.losses.values():
            if hasattr(loss, "resize"):
                loss.resize = resize

    def forward(
        self, outputs: Sequence[paddle.Tensor], labels: paddle.Tensor
    ) -> Tuple[paddle.Tensor, Dict[str, paddle.Tensor]]:
        """(total, {term's name: its loss before weighting}), all 0-d, for the network's training outputs.

        A term is named for its output; where an output has several, also for their types, as in `main.cross_entropy`.
        """
        logits = dict(zip(self.output_names, outputs))
        parts = {term.name: self._part(term.loss, logits[term.output], labels) for term in self.terms}
        return sum(term.weight * parts[term.name] for term in self.terms), parts

    def _part(self, loss: nn.Layer, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        if not getattr(loss, "resizes_logits", False):
            logits = self.resize(logits, labels.shape[1:])
        return loss(logits, labels)

    def for_paddleseg(self) -> Dict[str, List]:
        """The `losses` argument of `paddleseg.core.train`."""
        types, coefficients = [], []
        for output in self.output_names:
            terms = [term for term in self.terms if term.output == output]
            types.append(terms[0].loss if len(terms) == 1 else WeightedSum(terms))
            coefficients.append(terms[0].weight if len(terms) == 1 else 1.0)
        return {"types": types, "coef": coefficients}


def build_criterion(objective: Mapping, output_names: Sequence[str], resize: Resize = upsample) -> Criterion:
    """Build the objective from a recipe's `loss`.

    Args:
        objective: for each output name a mapping of `type` (one of LOSSES), `weight` (1 by default) and the loss's
            options, or a list of such terms; or a checked Objective.
        output_names: the network's training outputs.
        resize: brings the network's logits to the labels' size, such as its method `resized`.

    Raises:
        UserError: for an output without loss, a loss without output, or an unknown type or option.
    """
    objective = check(Objective, objective, key="loss")
    missing = [name for name in output_names if not objective.get(name)]
    unused = [name for name in objective if name not in output_names]
    if missing or unused:
        problem = f"no loss for output {missing[0]!r}" if missing else f"no output {unused[0]!r}"
        raise UserError(f"loss: {problem}; the network's outputs are {', '.join(output_names)}")
    terms = [term for name in output_names for term in _build_terms(name, objective[name])]
    return Criterion(output_names, terms, resize)


def _build_terms(output: str, options: Sequence[TermOptions]) -> List[Term]:
    for term in options:
        if (term.type in DETAIL_LOSSES) != output.startswith("detail"):
            known = [type for type in LOSSES if (type in DETAIL_LOSSES) != (term.type in DETAIL_LOSSES)]
            raise UserError(f"loss.{output}: {term.type} is for other outputs; use {' or '.join(known)}")
    if len(options) == 1:
        names = [output]
    else:
        kinds = [_snake_case(term.type) for term in options]
        repeated = ["" if kinds.index(kind) == i else str(kinds[:i].count(kind) + 1) for i, kind in enumerate(kinds)]
        names = [f"{output}.{kind}{number}" for kind, number in zip(kinds, repeated)]
    try:
        return [
            Term(output, name, LOSSES[term.type](**term.beyond(TermOptions)), term.weight)
            for name, term in zip(names, options)
        ]
    except ValueError as error:
        raise UserError(f"loss.{output}: {error}") from error


def _snake_case(type: str) -> str:
    """The name of a type without its last word, such as `cross_entropy` of CrossEntropyLoss."""
    return re.sub(r"(?<=.)(?=[A-Z])", "_", type[: -len("Loss")] if type.endswith("Loss") else type).lower()
