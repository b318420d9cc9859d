"""Deterministic inputs of the reference files in reference_files/: weights, images, labels and logits from seeds.

The files were made by the original networks, losses and training code from the same inputs:

- a network: NAME.json with `keys` [state-dict name, shape, name whose tensor it shares or null], `abn` (weights of the
  old in-place batch norm, which may be negative), `salt` (a prefix of every name's seed) and `input` (seed and shape);
  NAME.npz with its outputs in evaluation mode, in float64. An output wider than 80 columns holds every 5th row and
  column, features (`feat*`) every 4th channel.
- losses: a list of cases, each with its inputs' seed and sizes and the losses.
- a training run: settings, one row a step, and norms of some parameters at the end.
"""

import zlib
from typing import Any, Collection, Dict, Mapping, NamedTuple, Sequence

import numpy as np

IGNORED = 255
CLASSES = 19


def random_tensor(name: str, shape: Sequence[int], abn: Collection[str], salt: str) -> np.ndarray:
    """The tensor of a state dict; for one that shares another's, give the other's name."""
    generator = np.random.default_rng(zlib.crc32((salt + name).encode()))
    shape = tuple(shape)
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, "int64")
    if name.endswith(("running_mean", "bias")) and len(shape) < 2:
        return generator.normal(0, 0.1, shape).astype("float32")
    if name.endswith("running_var"):
        return generator.uniform(0.5, 1.5, shape).astype("float32")
    if len(shape) == 4:
        return (generator.normal(0, 1, shape) * (2 / np.prod(shape[1:])) ** 0.5).astype("float32")
    if len(shape) == 2:
        return (generator.normal(0, 1, shape) / shape[1] ** 0.5).astype("float32")
    weight = generator.uniform(0.5, 1.5, shape)
    if name in abn:
        weight = weight * generator.choice([1, 1, -1], shape)
    return weight.astype("float32")


def random_state(spec: Mapping[str, Any]) -> Dict[str, np.ndarray]:
    """{name: array} of a network's file."""
    abn, salt = set(spec["abn"]), spec.get("salt", "")
    return {name: random_tensor(root or name, shape, abn, salt) for name, shape, root in spec["keys"]}


def random_image(seed: int, shape: Sequence[int]) -> np.ndarray:
    """Normalised image batch [N, 3, H, W] float32."""
    return np.random.default_rng(seed).normal(0, 1, shape).astype("float32")


def random_labels(seed: int, count: int, height: int, width: int, cell: int) -> np.ndarray:
    """Labels [N, H, W] int64 of square cells; 2 % of the pixels and the first cell and a bit are ignored."""
    generator = np.random.default_rng(seed)
    cells = generator.integers(0, CLASSES, (count, -(-height // cell), -(-width // cell)))
    labels = np.kron(cells, np.ones((1, cell, cell), int))[:, :height, :width]
    labels[generator.random(labels.shape) < 0.02] = IGNORED
    labels[:, :cell, : cell * 2] = IGNORED
    return labels.astype("int64")


class LossCase(NamedTuple):
    """labels [N, H, W]; logits and easy (mostly right) logits [N, 19, H, W]; detail logits [N, 1, H/8, W/8]."""

    labels: np.ndarray
    logits: np.ndarray
    easy: np.ndarray
    detail: np.ndarray


def loss_case(row: Mapping[str, Any]) -> LossCase:
    """Inputs of one case of a file of losses."""
    count, height, width = row["n"], row["h"], row["w"]
    generator = np.random.default_rng(100 + row["seed"])
    labels = random_labels(row["seed"], count, height, width, row["cell"])
    logits = generator.normal(0, 3, (count, CLASSES, height, width)).astype("float32")
    detail = generator.normal(0, 1, (count, 1, -(-height // 8), -(-width // 8))).astype("float32")
    right = np.zeros_like(logits)
    np.put_along_axis(right, np.minimum(labels, CLASSES - 1)[:, None], 9, 1)
    return LossCase(labels, logits, logits * 0.1 + right, detail)


class Result(NamedTuple):
    """One comparison: its relative error and the largest that is allowed."""

    output: str
    error: float
    limit: float


def relative_error(ours: Any, theirs: Any) -> float:
    """Largest absolute difference over the largest absolute reference value; infinite where shapes or numbers fail.

    A reference of zeros alone counts as 1, so that the difference itself is the error.
    """
    ours, theirs = np.asarray(ours, "float64"), np.asarray(theirs, "float64")
    if ours.shape != theirs.shape:
        return float("inf")
    error = float(np.abs(ours - theirs).max() / (np.abs(theirs).max() or 1))
    return error if np.isfinite(error) else float("inf")
