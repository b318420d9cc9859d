"""What each network costs: parameters, multiply-accumulates, outputs, and memory of a training step.

Example: python -m tool.model_info --model stdc2_seg --json output/model_info.json
"""

import argparse
import json
import math
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from compat import UserError

import paddle
import paddle.nn.functional as F
from paddle import nn

import models

SIZES = ((512, 1024), (768, 1536), (1024, 2048))  # (height, width)
CROP = (512, 1024)
CITYSCAPES_CLASSES, IMAGENET_CLASSES = 19, 1000
BYTES = 4  # of a float32

EXPLANATION = """\
deployed   what evaluation runs: the main output alone.
GMAC       multiply-accumulates of the convolutions and linear layers at batch 1, in 10^9; deployed network.
training   GB = 10^9 bytes of one float32 training step at crop {0}x{1} and batch 1, an estimate: what is kept for
           the backward pass, cross-entropy of the outputs included, and three times the parameters (weights,
           gradients, momentum). What the backward pass holds for a moment comes on top: on the CPU, with Paddle
           3.3.1, the peak of a step was 21-24 % higher (stdc1_seg, bisestdc, ddrnet23_slim)."""


@dataclass(frozen=True)
class Output:
    """One training output: `stride` is where its head works, `returned_stride` the one of the answer (1: image size).

    Strides are None for an output without height and width.
    """

    name: str
    channels: int
    stride: Optional[int]
    returned_stride: Optional[int]


@dataclass(frozen=True)
class ModelInfo:
    """`multiply_accumulates` maps "HxW" to a number; `activation_bytes` are for one image of CROP."""

    name: str
    num_classes: int
    parameters: int
    deployed_parameters: int
    multiply_accumulates: Dict[str, int]
    outputs: Tuple[Output, ...]
    activation_bytes: int

    @property
    def training_bytes(self) -> int:
        """Estimated bytes of a training step at CROP and batch 1."""
        return self.activation_bytes + 3 * BYTES * self.parameters


def default_classes(name: str) -> int:
    """Number of classes of the published weights of model `name`."""
    return CITYSCAPES_CLASSES if _segments(name) else IMAGENET_CLASSES


def inspect_model(name: str, num_classes: Optional[int] = None, sizes: Sequence[Tuple[int, int]] = SIZES) -> ModelInfo:
    """Count everything that the table shows of model `name`.

    Args:
        name: one of `models.list_models()`.
        num_classes: 19, or 1000 for a classifier, unless given.
        sizes: (height, width) of the images whose multiply-accumulates are counted.

    Raises:
        UserError: for an unknown name.
    """
    if num_classes is None:
        num_classes = default_classes(name)
    with _shapes_only():
        model = models.build_model(name, num_classes)
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
        activation_bytes=activation_bytes(name, num_classes, CROP),
    )


def deployed_cost(name: str, num_classes: int, size: Tuple[int, int]) -> Tuple[int, int]:
    """Parameters and multiply-accumulates of what evaluation computes of model `name`, for an image of `size`.

    Raises:
        UserError: for an unknown name.
    """
    with _shapes_only():
        return _deployed(models.build_model(name, num_classes), size)


def activation_bytes(name: str, num_classes: int, crop: Tuple[int, int], reduction: int = 4) -> int:
    """Bytes that one training image of size `crop` keeps for the backward pass, the outputs' cross-entropy included.

    Measured at 1/`reduction` of the crop's height and width and multiplied by the area; at 1/4 that is within 0.5 %
    of the whole crop, because the few features that do not grow with the area count for more than they should.
    """
    height, width = crop[0] // reduction, crop[1] // reduction
    model = models.build_model(name, num_classes)
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = _size([tensor]) * tensor.element_size()
        return tensor

    with paddle.autograd.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = sum(_loss(logits) for logits in model(paddle.zeros([1, 3, height, width])))
    parameters = {parameter.data_ptr() for parameter in model.parameters()}
    measured = sum(size for address, size in kept.items() if address not in parameters)
    del loss  # it holds the addresses above; only now may they be used again
    return measured * reduction**2


def _loss(logits):
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits, paddle.zeros_like(logits))
    labels = paddle.zeros([logits.shape[0], *logits.shape[2:]], "int64")
    return F.cross_entropy(logits, labels, axis=1)


@contextmanager
def _shapes_only():
    """Inside, networks are built and called without computing anything: Paddle only infers the shapes."""
    paddle.enable_static()
    try:
        with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()):
            yield
    finally:
        paddle.disable_static()


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
    answers = _call(model, size, heads.values(), note)
    return tuple(
        Output(
            name=name,
            channels=answer.shape[1],
            stride=strides[id(heads[name])] if name in heads else None,
            returned_stride=size[0] // answer.shape[2] if answer.ndim == 4 else None,
        )
        for name, answer in zip(model.output_names, answers)
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
    """How many numbers are trained; Paddle also lists the running averages of batch norms as parameters."""
    return _size(parameter for parameter in parameters if parameter.trainable)


def _size(tensors) -> int:
    return sum(math.prod(tensor.shape) for tensor in tensors)


def _segments(name: str) -> bool:
    return name not in ("stdc1", "stdc2")


def format_table(infos: Sequence[ModelInfo]) -> str:
    """The table of the command: a line a model, then the outputs of each."""
    sizes = list(infos[0].multiply_accumulates)
    header = ["model", "parameters", "deployed", *(f"GMAC {size}" for size in sizes), "training GB"]
    rows = [
        [
            info.name,
            f"{info.parameters:,}",
            f"{info.deployed_parameters:,}",
            *(f"{info.multiply_accumulates[size] / 1e9:.2f}" for size in sizes),
            f"{info.training_bytes / 1e9:.2f}",
        ]
        for info in infos
    ]
    outputs = [
        [info.name, output.name, _or_dash(output.stride), _or_dash(output.returned_stride), str(output.channels)]
        for info in infos
        for output in info.outputs
    ]
    return "\n".join(
        [
            *_aligned([header, *rows], left=1),
            "",
            *_aligned([["model", "output", "stride of head", "stride of answer", "channels"], *outputs], left=2),
            "",
            EXPLANATION.format(*CROP),
        ]
    )


def _or_dash(number: Optional[int]) -> str:
    return "-" if number is None else str(number)


def _aligned(rows: Sequence[Sequence[str]], left: int) -> List[str]:
    """Lines of columns as wide as their widest cell; the first `left` columns are flush left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    aligned = (
        [
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ]
        for row in rows
    )
    return ["  ".join(cells) for cells in aligned]


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Print the table of one model or of all; raises UserError for an unknown model."""
    parser = argparse.ArgumentParser(
        prog="python -m tool.model_info", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help=f"one of {', '.join(models.list_models())}; all of them without this flag")
    parser.add_argument("--num_classes", type=int, help="default: 19, and 1000 for the classifiers stdc1 and stdc2")
    parser.add_argument("--json", type=Path, metavar="F", help="write the same figures to this file")
    options = parser.parse_args(arguments)
    names = [options.model] if options.model else models.list_models()
    infos = [inspect_model(name, options.num_classes) for name in names]
    print(format_table(infos))
    if options.json:
        _write(options.json, [{**asdict(info), "training_bytes": info.training_bytes} for info in infos])


def _write(path: Path, rows: List[dict]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(rows, indent=2) + "\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error


if __name__ == "__main__":
    main()
