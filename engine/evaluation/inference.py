"""The predictions of a network under a protocol, equal to the last bit to those of `paddleseg.core.infer`."""

from typing import List, Optional, Sequence, Tuple

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from engine.recipe import Protocol
from engine.runtime.eager import decide
from engine.runtime.segmenter import scaled_size


def predict_classes(model: nn.Layer, image: paddle.Tensor, protocol: Protocol) -> np.ndarray:
    """Class map [H, W] uint8 of one normalised image [1, 3, H, W]; the network must be in evaluation mode."""
    with paddle.no_grad():
        return decide(predict_logits(model, image, protocol))[0]


def predict_logits(model: nn.Layer, image: paddle.Tensor, protocol: Protocol) -> paddle.Tensor:
    """Logits [1, K, H, W] of an image [1, 3, H, W], averaged over the protocol's scales and flips.

    Logits are resized before anything is decided, and summed in PaddleSeg's order: at equal logits the first class
    wins, so another order of the same sums could change pixels.
    """
    if not protocol.aug_eval:
        return _logits(model, image, protocol)
    size = image.shape[2:]
    mirrored = _flips(protocol)
    scales = np.atleast_1d(protocol.scales).tolist()
    total = None
    for scale in scales:
        scaled = _resize(image, scaled_size(size, scale), protocol.align_corners)
        for axes in mirrored:
            logits = _flip(_logits(model, _flip(scaled, axes), protocol), axes)
            logits = _resize(logits, size, protocol.align_corners)
            total = logits if total is None else total + logits
    count = len(scales) * len(mirrored)
    return total if count == 1 else total / count


def predict_details(model: nn.Layer, image: paddle.Tensor, protocol: Protocol) -> Optional[np.ndarray]:
    """[H, W] bool: where the finest detail head gives more than 1/2 for an image [1, 3, H, W] at the protocol's scale.

    None for a network without such a head, and for a protocol of several scales or windows, which give no detail map.
    """
    scales = np.atleast_1d(protocol.scales).tolist() if protocol.aug_eval else [1.0]
    if len(scales) > 1 or protocol.is_slide:
        return None
    size = image.shape[2:]
    scaled = _resize(image, scaled_size(size, scales[0]), protocol.align_corners)
    logit = detail_logit(model, scaled, size)
    return None if logit is None else (logit > 0).numpy()


def detail_logit(model: nn.Layer, image: paddle.Tensor, size: Sequence[int]) -> Optional[paddle.Tensor]:
    """Logit [H, W] of the finest detail head, brought to `size` (H, W) as the detail loss does.

    None for a network without such a head. The network must be in evaluation mode; `image` is [1, 3, h, w], normalised.
    """
    heads = [number for number, name in enumerate(model.output_names) if name.startswith("detail")]
    if not heads:
        return None
    # Only the outermost forward looks at this flag: batch norm stays in evaluation mode.
    model.training = True
    try:
        with paddle.no_grad():
            logit = model(image)[heads[0]]
    finally:
        model.training = False
    return F.interpolate(logit, list(size), mode="bilinear", align_corners=True)[0, 0]


def _flips(protocol: Protocol) -> List[List[int]]:
    """The axes to mirror, one list for each run of the network."""
    axes: List[List[int]] = [[]]
    if protocol.flip_horizontal:
        axes.append([3])
    if protocol.flip_vertical:
        axes.append([2])
    if protocol.flip_horizontal and protocol.flip_vertical:
        axes.append([3, 2])
    return axes


def _flip(pixels: paddle.Tensor, axes: Sequence[int]) -> paddle.Tensor:
    return paddle.flip(pixels, axes) if axes else pixels


def _resize(pixels: paddle.Tensor, size: Sequence[int], align_corners: bool) -> paddle.Tensor:
    """Bilinear; a resize to the same size is the identity and is left out."""
    if list(pixels.shape[2:]) == list(size):
        return pixels
    return F.interpolate(pixels, list(size), mode="bilinear", align_corners=align_corners)


def _logits(model: nn.Layer, image: paddle.Tensor, protocol: Protocol) -> paddle.Tensor:
    return _slide(model, image, protocol.crop_size, protocol.stride) if protocol.is_slide else model(image)[0]


def _slide(model: nn.Layer, image: paddle.Tensor, crop: Tuple[int, int], stride: Tuple[int, int]) -> paddle.Tensor:
    """Logits [1, K, H, W] float64, averaged over windows of `crop` (w, h) that are `stride` (w, h) apart."""
    height, width = image.shape[2:]
    total, count = None, np.zeros((height, width))
    for top, bottom in _windows(height, crop[1], stride[1]):
        for left, right in _windows(width, crop[0], stride[0]):
            logits = model(image[:, :, top:bottom, left:right])[0].numpy()
            if total is None:
                total = np.zeros((1, logits.shape[1], height, width))
            total[:, :, top:bottom, left:right] += logits
            count[top:bottom, left:right] += 1
    return paddle.to_tensor(total / count)


def _windows(length: int, window: int, stride: int) -> List[Tuple[int, int]]:
    """(start, stop) of windows that cover `length`; the last is moved back so that it ends with it."""
    starts = range(0, length - window + stride, stride) if length > window else [0]
    stops = [min(start + window, length) for start in starts]
    return [(max(stop - window, 0), stop) for stop in stops]
