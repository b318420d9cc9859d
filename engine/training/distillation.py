"""Distillation: a network learns from the labels, and from a stronger network that sees the same crops."""

from typing import Callable, Dict, List, Sequence, Tuple

from compat import UserError

import numpy as np
import paddle
from paddle import nn

from data.transforms import Normalize
from engine.build import network_of, weight_file
from engine.recipe import Recipe, load_recipe
from engine.recipe.schema import DistillTermRecipe, TeacherRecipe
from engine.runtime import Network, load_network
from loss.criterion import Term
from loss.distillation import DISTILLATIONS
from models.layers import resize
from models.segmentation import logits_at_stride
from models.weights import load_weights


class Teacher:
    """A network in evaluation mode, which is neither trained nor saved with the run.

    Args:
        network: of models.build_model; its logits are taken at the stride of its main head.
        theirs: the normalisation that it was trained with.
        ours: the normalisation of the images that it is called with.
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


class ExportedTeacher:
    """An exported network, computed by an engine.

    Args:
        network: one that returns logits; it normalises by itself.
        ours: the normalisation of the images that it is called with.
        flip: whether its logits are averaged with those of the mirrored image.
    """

    def __init__(self, network: Network, ours: Normalize, flip: bool = False):
        self.network = network
        self.flip = flip
        self.mean, self.std = (np.float32(values) for values in (ours.mean, ours.std))

    def __call__(self, images: paddle.Tensor) -> paddle.Tensor:
        """Logits [N, K, H, W] float32 for images [N, 3, H, W] in our normalisation, which are turned back to uint8."""
        pixels = images.numpy().transpose(0, 2, 3, 1) * self.std + self.mean
        pixels = np.clip(np.rint(255 * pixels), 0, 255).astype(np.uint8)
        logits = self.network.logits(pixels).copy()
        if self.flip:
            mirrored = self.network.logits(np.ascontiguousarray(pixels[:, :, ::-1]))
            logits = (logits + mirrored[..., ::-1]) / 2
        return paddle.to_tensor(logits)


def _between(ours: Normalize, theirs: Normalize) -> Tuple[List[float], List[float]]:
    """Factor and offset of each channel, from values in our normalisation to theirs."""
    factors = [own / other for own, other in zip(ours.std, theirs.std)]
    offsets = [(own - other) / std for own, other, std in zip(ours.mean, theirs.mean, theirs.std)]
    return factors, offsets


AnyTeacher = Callable[[paddle.Tensor], paddle.Tensor]


class Distiller:
    """What distillation adds to the training objective.

    Args:
        teacher: images -> logits, a Teacher or an ExportedTeacher.
        terms: one or more losses between an output of the student and the teacher's logits.
        output_names: the student's training outputs, in order.
    """

    def __init__(self, teacher: AnyTeacher, terms: Sequence[Term], output_names: Sequence[str]):
        self.teacher = teacher
        self.terms = tuple(terms)
        self.output_names = tuple(output_names)

    def __call__(
        self, images: paddle.Tensor, outputs: Sequence[paddle.Tensor]
    ) -> Tuple[paddle.Tensor, Dict[str, paddle.Tensor]]:
        """(weighted total, {name: part}), all 0-d, for images and the student's training outputs for them.

        The teacher's logits are resized to each output of the student, which may be at its head's stride.
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

    Raises:
        UserError: for an output that the student lacks, a detail output, or a teacher of other classes.
    """
    distill = recipe.distill
    build_teacher = _exported_teacher if distill.teacher.exported else _eager_teacher
    teacher = build_teacher(distill.teacher, num_classes, ours)
    classes = [output for output in output_names if not output.startswith("detail")]
    terms = []
    for options in distill.terms:
        if options.output not in classes:
            raise UserError(
                f"distill.terms: no output {options.output!r} with class logits; known: {', '.join(classes)}"
            )
        loss = DISTILLATIONS[options.type](**options.beyond(DistillTermRecipe))
        terms.append(Term(options.output, f"{options.output}.{options.type}", loss, options.weight))
    return Distiller(teacher, terms, output_names)


def _eager_teacher(teacher: TeacherRecipe, num_classes: int, ours: Normalize) -> Teacher:
    """The parameter names have a prefix of their own, so that those in the student's optimiser state stay the same."""
    theirs = load_recipe(teacher.config)
    with paddle.utils.unique_name.guard("teacher_"):
        network = network_of(theirs, num_classes, weights=False)
    load_weights(network, weight_file(teacher.weights))
    return Teacher(network, theirs.train_dataset.normalize, ours, teacher.flip)


def _exported_teacher(teacher: TeacherRecipe, num_classes: int, ours: Normalize) -> ExportedTeacher:
    network = load_network(teacher.exported, teacher.engine)
    if not network.gives_logits:
        raise UserError(f"distill.teacher: {teacher.exported} returns no logits; export it with --output_op none")
    if network.num_classes != num_classes:
        raise UserError(
            f"distill.teacher: {teacher.exported} has {network.num_classes} classes, the dataset {num_classes}"
        )
    return ExportedTeacher(network, ours, teacher.flip)
