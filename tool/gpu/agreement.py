"""Outputs, losses and gradients of each network on the device, compared with the CPU in float32."""

from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from compat import UserError

import numpy as np
import paddle
from paddle import nn

from engine.build import criterion_of
from engine.gpu import allow_tf32
from engine.recipe import load_recipe
from engine.training.gradients import add_gradients
from engine.training.precision import DTYPES, Precision
from models import build_model
from tool.gpu.findings import Finding

RECIPES = {
    "stdc1_seg": "configs/stdc1_seg50_cityscapes.yml",
    "stdc2_seg": "configs/stdc2_seg50_cityscapes.yml",
    "bisestdc": "configs/bisestdc_seg50_cityscapes.yml",
    "bisestdc2": "configs/bisestdc2_seg50_cityscapes.yml",
    "ddrnet23_slim": "configs/ddrnet23_slim_cityscapes_1024x512.yml",
}
CLASSES = 19
LARGEST_LOGIT = 5.0
BATCH_STATISTICS = "fp32, batch statistics"


class Bounds(NamedTuple):
    """Relative errors.

    outputs: largest error of the logits over the largest logit.
    losses: largest error of a loss over that loss.
    gradients: norm of the error of all gradients over their norm.
    """

    outputs: float
    losses: float
    gradients: float


# Five to ten times the errors of four networks on a CPU that rounded the weights and inputs of convolutions to the
# precision of the type, in fp16 and bf16 also their outputs. Gradients are computed with fixed batch-norm statistics:
# through the statistics of two images at random weights, rounding errors of float32 grow to 1 % of the gradients.
BOUNDS = {
    "fp32": Bounds(1e-4, 1e-4, 2e-3),
    "tf32": Bounds(1e-2, 1e-3, 0.1),
    "fp16": Bounds(1e-2, 2e-3, 0.1),
    "bf16": Bounds(0.1, 1e-2, 0.3),
    BATCH_STATISTICS: Bounds(1e-4, 1e-4, 0.1),
}
FP16_SCALE = 256.0  # of losses: small gradients do not underflow, and none overflows
ON_CPU = ("fp32", BATCH_STATISTICS)


class Computed(NamedTuple):
    """outputs: logits [N, K, H, W] in evaluation; losses: by name; gradients: all of them, concatenated."""

    outputs: np.ndarray
    losses: Dict[str, float]
    gradients: np.ndarray


def agreement(networks: Sequence[str], size: Tuple[int, int], device: str) -> List[Finding]:
    """Compare each network in each setting of BOUNDS that the device supports; size is (h, w)."""
    found = []
    for name in networks:
        paddle.set_device("cpu")
        on_cpu = build(name)
        state = build(name, on_cpu[0])  # before the running statistics change
        expected = {setting: compute(*on_cpu, setting, size) for setting in ON_CPU}
        paddle.set_device(device)
        subject = build(name, state[0])
        for setting in ON_CPU if device == "cpu" else BOUNDS:
            reference = expected[setting if setting in ON_CPU else "fp32"]
            found.append(_compare(name, setting, reference, lambda: compute(*subject, setting, size)))  # noqa: B023
    return found


def _compare(name: str, setting: str, expected: Computed, computed: Callable[[], Computed]) -> Finding:
    what = f"{name} in {setting}"
    try:
        errors = errors_of(computed(), expected)
    except UserError as error:
        return Finding(what, str(error))
    bounds = BOUNDS[setting]
    parts = [f"{part} {error:.1e} of {bound:.0e}" for part, error, bound in zip(Bounds._fields, errors, bounds)]
    return Finding(what, ", ".join(parts), all(error <= bound for error, bound in zip(errors, bounds)))


def build(name: str, like: Optional[nn.Layer] = None) -> Tuple[nn.Layer, nn.Layer]:
    """(network, criterion) of RECIPES with random weights, or with those of `like`, which may be on another device."""
    recipe = load_recipe(RECIPES[name], {"model.pretrained": None, "model.backbone.pretrained": None})
    model = build_model(name, CLASSES, **recipe.model.options)
    if like is None:
        _draw_weights(model)
    else:
        model.set_state_dict({key: value.numpy() for key, value in like.state_dict().items()})
    return model, criterion_of(recipe, model)


def _draw_weights(model: nn.Layer) -> None:
    """Draw weights that preserve the scale of features, and scale the logits to at most LARGEST_LOGIT."""
    generator = np.random.default_rng(1)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            spread = np.sqrt(2 / np.prod(parameter.shape[1:]))
            parameter.set_value(generator.normal(0, spread, parameter.shape).astype("float32"))
    model.eval()
    with paddle.no_grad():
        logits = model(paddle.to_tensor(batch((64, 128))[0]))[0]
        for layer in model.sublayers():
            if isinstance(layer, nn.Conv2D) and layer.weight.shape[0] == CLASSES:
                layer.weight.set_value(layer.weight * (LARGEST_LOGIT / logits.abs().max()))


def compute(model: nn.Layer, criterion: nn.Layer, setting: str, size: Tuple[int, int]) -> Computed:
    """Results of a network for two images in a setting of BOUNDS; BATCH_STATISTICS changes its running statistics."""
    precision = Precision(setting if setting in DTYPES else "fp32")
    if setting == "fp16":
        precision.scaler = paddle.amp.GradScaler(init_loss_scaling=FP16_SCALE)
    images, labels = (paddle.to_tensor(array) for array in batch(size))
    allow_tf32(setting == "tf32")
    try:
        model.eval()
        with paddle.no_grad(), precision.autocast():
            outputs = model(images)[0].astype("float32").numpy()
        if setting == BATCH_STATISTICS:
            model.train()
        else:
            model.training = True  # of the outermost forward alone: all heads, and layers as in evaluation
        losses = add_gradients(model, criterion, images, labels, precision=precision)
        gradients = [parameter.grad.numpy().ravel() for parameter in model.parameters() if parameter.grad is not None]
    finally:
        allow_tf32(True)
        for parameter in model.parameters():
            parameter.clear_gradient(False)
    scale = FP16_SCALE if setting == "fp16" else 1.0
    losses = {part: float(loss) for part, loss in losses.items()}
    return Computed(outputs, losses, np.concatenate(gradients).astype("float64") / scale)


def batch(size: Tuple[int, int]) -> Tuple[np.ndarray, np.ndarray]:
    """Images [2, 3, H, W] float32, and labels [2, H, W] int64 of cells of 8x8 pixels."""
    generator = np.random.default_rng(0)
    height, width = size
    cells = generator.integers(0, CLASSES, (2, height // 8, width // 8))
    images = generator.normal(0, 1, (2, 3, height, width)).astype("float32")
    return images, cells.repeat(8, 1).repeat(8, 2).astype("int64")


def errors_of(found: Computed, expected: Computed) -> Bounds:
    """The relative errors; infinite if a value is not finite."""
    outputs = np.abs(found.outputs - expected.outputs).max() / np.abs(expected.outputs).max()
    losses = max(abs(found.losses[name] - loss) / abs(loss) for name, loss in expected.losses.items())
    gradients = np.linalg.norm(found.gradients - expected.gradients) / np.linalg.norm(expected.gradients)
    return Bounds(*(float(error) if np.isfinite(error) else float("inf") for error in (outputs, losses, gradients)))
