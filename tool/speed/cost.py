"""The cost of a network: parameters, multiply-accumulates, and the memory of a training step."""

import math
from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

import compat  # noqa: F401  it must come before paddle

import paddle
import paddle.nn.functional as F
from paddle import nn

import models
from models.registry import IMAGENET_CLASSIFIERS
from models.shapes import shapes_only

SIZES = ((512, 1024), (768, 1536), (1024, 2048))  # (height, width)
CROP = (512, 1024)
CITYSCAPES_CLASSES, IMAGENET_CLASSES = 19, 1000
BYTES = 4  # of a float32
NO_OPTIONS: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Output:
    """One training output.

    channels: of the output.
    stride: at which its head computes; None for an output without height and width.
    returned_stride: of the output itself, 1 at the image's size; None as above.
    """

    name: str
    channels: int
    stride: Optional[int]
    returned_stride: Optional[int]


@dataclass(frozen=True)
class ModelInfo:
    """The cost of one network.

    parameters: trained ones, of the network in training; deployed_parameters: without the heads for training.
    multiply_accumulates: {"HxW": number} of the deployed network for one image.
    outputs: of the network in training.
    activation_bytes: kept for the backward pass, for one image of size CROP.
    options: arguments of the network that differ from its defaults.
    label: its name in the table; by default the name with the options.
    """

    name: str
    num_classes: int
    parameters: int
    deployed_parameters: int
    multiply_accumulates: Dict[str, int]
    outputs: Tuple[Output, ...]
    activation_bytes: int
    options: Mapping[str, Any] = field(default_factory=dict)
    label: Optional[str] = None

    @property
    def title(self) -> str:
        """The label, or the name and the options."""
        return self.label or ", ".join([self.name, *(f"{key} {value}" for key, value in self.options.items())])

    @property
    def training_bytes(self) -> int:
        """Estimated bytes of a training step at CROP and batch 1."""
        return self.activation_bytes + 3 * BYTES * self.parameters


def default_classes(name: str) -> int:
    """Number of classes of the published weights of the model `name`."""
    return CITYSCAPES_CLASSES if segments(name) else IMAGENET_CLASSES


def inspect_model(
    name: str,
    num_classes: Optional[int] = None,
    sizes: Sequence[Tuple[int, int]] = SIZES,
    options: Mapping[str, Any] = NO_OPTIONS,
    label: Optional[str] = None,
) -> ModelInfo:
    """The cost of the model `name`.

    Args:
        name: one of `models.list_models()`.
        num_classes: 19, or 1000 for a classifier, unless given.
        sizes: (height, width) of the images whose multiply-accumulates are counted.
        options: of the network, as `models.build_model` takes them.
        label: see ModelInfo.

    Raises:
        UserError: for an unknown name or option.
    """
    if num_classes is None:
        num_classes = default_classes(name)
    with shapes_only():
        model = models.build_model(name, num_classes, **options)
        counted = {f"{height}x{width}": _deployed(model, (height, width)) for height, width in sizes}
        outputs = _outputs(model, CROP)
        parameters = _trained(model.parameters())
    return ModelInfo(
        name=name,
        num_classes=num_classes,
        parameters=parameters,
        deployed_parameters=next(iter(counted.values()))[0],
        multiply_accumulates={size: accumulates for size, (_, accumulates) in counted.items()},
        outputs=outputs,
        activation_bytes=activation_bytes(name, num_classes, CROP, options=options),
        options=options,
        label=label,
    )


def deployed_cost(name: str, num_classes: int, size: Tuple[int, int]) -> Tuple[int, int]:
    """Parameters and multiply-accumulates of the deployed model `name`, for one image of `size` (h, w).

    Raises:
        UserError: for an unknown name.
    """
    with shapes_only():
        return _deployed(models.build_model(name, num_classes), size)


def activation_bytes(
    name: str,
    num_classes: int,
    crop: Tuple[int, int],
    reduction: int = 4,
    options: Mapping[str, Any] = NO_OPTIONS,
) -> int:
    """Bytes kept for the backward pass of one training image of size `crop` (h, w), with the cross-entropy of outputs.

    Measured at 1/`reduction` of the crop's height and width, and extrapolated by the area. At 1/4 the result is within
    0.5 % of the whole crop; the error is due to the few features that do not grow with the area.
    """
    height, width = crop[0] // reduction, crop[1] // reduction
    model = models.build_model(name, num_classes, **options)
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = _size([tensor]) * tensor.element_size()
        return tensor

    with paddle.autograd.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = sum(_loss(logits) for logits in model(paddle.zeros([1, 3, height, width])))
    parameters = {parameter.data_ptr() for parameter in model.parameters()}
    measured = sum(size for address, size in kept.items() if address not in parameters)
    del loss  # until here it keeps the tensors alive, so that no address occurs twice
    return measured * reduction**2


def _loss(logits):
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits, paddle.zeros_like(logits))
    labels = paddle.zeros([logits.shape[0], *logits.shape[2:]], "int64")
    return F.cross_entropy(logits, labels, axis=1)


def _deployed(model: nn.Layer, size: Tuple[int, int]) -> Tuple[int, int]:
    """Parameters and multiply-accumulates of the layers that evaluation calls for one image of `size`."""
    parameters, accumulates = {}, []

    def count(layer, _, output):
        parameters[id(layer)] = _trained(layer.parameters(include_sublayers=False))
        if isinstance(layer, (nn.Conv2D, nn.Linear)):
            # A weight [out, in, k, k] is used once a pixel of the output, a weight [in, out] once.
            accumulates.append(_size([layer.weight]) * math.prod(output.shape[2:]))

    model.eval()
    _call(model, size, model.sublayers(include_self=True), count)
    return sum(parameters.values()), sum(accumulates)


def _outputs(model: nn.Layer, size: Tuple[int, int]) -> Tuple[Output, ...]:
    heads = getattr(model, "heads", {})
    strides = {}

    def note(head, _, output):
        strides[id(head)] = size[0] // output.shape[2]

    model.train()
    results = _call(model, size, heads.values(), note)
    return tuple(
        Output(
            name=name,
            channels=result.shape[1],
            stride=strides[id(heads[name])] if name in heads else None,
            returned_stride=size[0] // result.shape[2] if result.ndim == 4 else None,
        )
        for name, result in zip(model.output_names, results)
    )


def _call(model: nn.Layer, size: Tuple[int, int], layers, hook):
    """Call `model` on an image of `size` with `hook(layer, inputs, output)` after each of `layers`."""
    handles = [layer.register_forward_post_hook(hook) for layer in layers]
    try:
        return model(paddle.static.data(f"image_{len(handles)}_{size[0]}_{size[1]}", [1, 3, *size]))
    finally:
        for handle in handles:
            handle.remove()


def _trained(parameters) -> int:
    """Number of trained values; Paddle also lists the running statistics of batch norm as parameters."""
    return _size(parameter for parameter in parameters if parameter.trainable)


def _size(tensors) -> int:
    return sum(math.prod(tensor.shape) for tensor in tensors)


def segments(name: str) -> bool:
    """Whether the model `name` is a segmentation network, not an ImageNet classifier."""
    return name not in IMAGENET_CLASSIFIERS
