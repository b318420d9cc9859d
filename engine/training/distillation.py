"""Distillation: a network learns from the labels, and from a stronger network that sees the same crops."""

from typing import Dict, List, Sequence, Tuple

from compat import UserError

import paddle
from paddle import nn

from data.transforms import Normalize
from engine.build import network_of, weight_file
from engine.recipe import Recipe, load_recipe
from engine.recipe.schema import DistillTermRecipe
from loss.criterion import Term
from loss.distillation import DISTILLATIONS
from models.layers import resize
from models.segmentation import logits_at_stride
from models.weights import load_weights


class Teacher:
    """A network in evaluation mode, which is neither trained nor saved.

    Args:
        network: of any kind; its logits are taken at their heads' stride.
        theirs: the normalisation that it was trained with.
        ours: the normalisation of the images that it gets.
        flip: whether its logits are averaged with those of the mirrored image.
    """

    def __init__(self, network: nn.Layer, theirs: Normalize, ours: Normalize, flip: bool = False):
        network.eval()
        self.network = network
        self.flip = flip
        self.factor, self.offset = (
            paddle.to_tensor(values, "float32").reshape([1, 3, 1, 1]) for values in _between(ours, theirs)
        )

    @paddle.no_grad()
    def __call__(self, images: paddle.Tensor) -> paddle.Tensor:
        """Logits [N, K, h, w] float32 for images [N, 3, H, W] in our normalisation."""
        images = images * self.factor + self.offset
        logits = self._logits(images)
        if self.flip:
            logits = (logits + self._logits(images.flip(3)).flip(3)) / 2
        return logits

    def _logits(self, images: paddle.Tensor) -> paddle.Tensor:
        with logits_at_stride(self.network):
            return self.network(images)[0].astype("float32")


def _between(ours: Normalize, theirs: Normalize) -> Tuple[List[float], List[float]]:
    """Factor and offset of each channel, from values in our normalisation to theirs."""
    factors = [own / other for own, other in zip(ours.std, theirs.std)]
    offsets = [(own - other) / std for own, other, std in zip(ours.mean, theirs.mean, theirs.std)]
    return factors, offsets


class Distiller:
    """What distillation adds to the training objective.

    Args:
        teacher: images -> logits.
        terms: one or more, whose losses compare logits with the teacher's.
        output_names: the student's training outputs, in order.
    """

    def __init__(self, teacher: Teacher, terms: Sequence[Term], output_names: Sequence[str]):
        self.teacher = teacher
        self.terms = tuple(terms)
        self.output_names = tuple(output_names)

    def __call__(
        self, images: paddle.Tensor, outputs: Sequence[paddle.Tensor]
    ) -> Tuple[paddle.Tensor, Dict[str, paddle.Tensor]]:
        """(weighted total, {name: part}), all 0-d, for the images and the student's training outputs of them.

        The teacher's logits are brought to the size of the student's output, which may be that of its head.
        """
        logits = dict(zip(self.output_names, outputs))
        target = self.teacher(images)
        parts = {}
        for term in self.terms:
            student = logits[term.output]
            parts[term.name] = term.loss(student, resize(target, student.shape[2:]))
        return sum(term.weight * parts[term.name] for term in self.terms), parts


def build_distiller(recipe: Recipe, num_classes: int, output_names: Sequence[str], ours: Normalize) -> Distiller:
    """The distiller of a recipe's `distill`.

    Its network is built with names of its own, so that the student's optimiser states keep theirs.

    Raises:
        UserError: for an output that the student does not have, a detail output, or a teacher that does not fit.
    """
    distill = recipe.distill
    theirs = load_recipe(distill.teacher.config)
    with paddle.utils.unique_name.guard("teacher_"):
        network = network_of(theirs, num_classes, weights=False)
    load_weights(network, weight_file(distill.teacher.weights))
    normalize = next((step for step in theirs.train_dataset.transforms if isinstance(step, Normalize)), Normalize())
    classes = [output for output in output_names if not output.startswith("detail")]
    terms = []
    for options in distill.terms:
        if options.output not in classes:
            raise UserError(f"distill.terms: no output {options.output!r} of classes; there are {', '.join(classes)}")
        loss = DISTILLATIONS[options.type](**options.beyond(DistillTermRecipe))
        terms.append(Term(options.output, f"{options.output}.{options.type}", loss, options.weight))
    return Distiller(Teacher(network, normalize, ours, distill.teacher.flip), terms, output_names)
