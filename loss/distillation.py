"""Distillation: a student learns from a teacher's logits by losses called `loss(student, teacher)`, 0-d tensors.

Both are logits [N, K, h, w] float32 of one size, the teacher's without gradient. Ignored pixels count like any other,
since the teacher makes a prediction there, too.
"""

from typing import Callable, Dict

from compat.options import Positive

import paddle
import paddle.nn.functional as F
from paddle import nn


class LogitDistillation(nn.Layer):
    """Kullback-Leibler divergence of the class probabilities, the mean over the pixels (Hinton et al., 2015).

    Args:
        temperature: the logits are divided by it, and the loss multiplied by its square.
    """

    def __init__(self, temperature: Positive = 1.0):
        super().__init__()
        self.temperature = temperature

    def forward(self, student: paddle.Tensor, teacher: paddle.Tensor) -> paddle.Tensor:
        pixels = student.size // student.shape[1]
        return self.temperature**2 * _divergence(student, teacher, self.temperature, axis=1) / pixels


class ChannelWiseDistillation(nn.Layer):
    """Kullback-Leibler divergence of each class's map, normalised over the pixels (CWD, Shu et al., ICCV 2021).

    Args:
        temperature: the logits are divided by it, and the loss multiplied by its square.
    """

    def __init__(self, temperature: Positive = 3.0):
        super().__init__()
        self.temperature = temperature

    def forward(self, student: paddle.Tensor, teacher: paddle.Tensor) -> paddle.Tensor:
        maps = student.shape[0] * student.shape[1]
        total = _divergence(student.flatten(2), teacher.flatten(2), self.temperature, axis=2)
        return self.temperature**2 * total / maps


class RelationDistillation(nn.Layer):
    """1 - Pearson correlation with the teacher's probabilities (DIST, Huang et al., NeurIPS 2022).

    The correlation is taken over the classes at each pixel and over the batch's pixels for each class; both means are
    added.

    Args:
        beta: weight of the correlation over the classes.
        gamma: weight of the correlation over the pixels.
        temperature: the logits are divided by it, and the loss multiplied by its square.
    """

    def __init__(self, beta: Positive = 1.0, gamma: Positive = 1.0, temperature: Positive = 1.0):
        super().__init__()
        self.beta = beta
        self.gamma = gamma
        self.temperature = temperature

    def forward(self, student: paddle.Tensor, teacher: paddle.Tensor) -> paddle.Tensor:
        student, teacher = (
            F.softmax(logits.transpose([0, 2, 3, 1]).flatten(0, 2) / self.temperature, axis=1)  # [N*h*w, K]
            for logits in (student, teacher)
        )
        over_classes = 1 - _correlation(student, teacher, axis=1).mean()
        over_pixels = 1 - _correlation(student, teacher, axis=0).mean()
        return self.temperature**2 * (self.beta * over_classes + self.gamma * over_pixels)


def _divergence(student: paddle.Tensor, teacher: paddle.Tensor, temperature: float, axis: int) -> paddle.Tensor:
    """0-d sum of p_teacher * log(p_teacher / p_student), with probabilities by softmax along an axis."""
    target = F.log_softmax(teacher / temperature, axis=axis)
    return (target.exp() * (target - F.log_softmax(student / temperature, axis=axis))).sum()


def _correlation(one: paddle.Tensor, other: paddle.Tensor, axis: int) -> paddle.Tensor:
    """Pearson correlation of [P, K] and [P, K] along an axis."""
    one, other = (values - values.mean(axis, keepdim=True) for values in (one, other))
    return (one * other).sum(axis) / (one.norm(axis=axis) * other.norm(axis=axis) + 1e-8)


DISTILLATIONS: Dict[str, Callable[..., nn.Layer]] = {
    "ChannelWiseDistillation": ChannelWiseDistillation,
    "LogitDistillation": LogitDistillation,
    "RelationDistillation": RelationDistillation,
}
"""A recipe's options of each are the arguments of its constructor."""
