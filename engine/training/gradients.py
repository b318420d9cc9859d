"""The gradients of one batch."""

from typing import Callable, Dict, Optional, Sequence, Tuple

import paddle
from paddle import nn

from engine.parallel import network_of_replica
from engine.training.precision import Precision
from models.segmentation import logits_at_stride

Distiller = Callable[[paddle.Tensor, Sequence[paddle.Tensor]], Tuple[paddle.Tensor, Dict[str, paddle.Tensor]]]


def add_gradients(
    model: nn.Layer,
    criterion: nn.Layer,
    images: paddle.Tensor,
    labels: paddle.Tensor,
    share: float = 1.0,
    precision: Optional[Precision] = None,
    accepts: Callable[[Dict[str, paddle.Tensor]], bool] = lambda losses: True,
    distiller: Optional[Distiller] = None,
) -> Dict[str, paddle.Tensor]:
    """Add to the parameters' gradients those of `share` times the total loss of one batch.

    Over k batches of n images with a share of 1/k each, the gradients are those of one batch of k * n images if every
    loss is a mean over the same number of pixels. They differ where the batch itself matters: batch norm sees n images;
    the mean leaves out ignored pixels in each batch alone; and OHEM selects the hardest pixels, of which there are at
    least `n_min`, in each batch alone.

    Args:
        model: the network.
        criterion: returns (total, {name: part}); it gets the logits of a segmentation network at its heads' stride, and
            brings each output to the labels' size for its own loss only.
        images: [N, 3, H, W] float32.
        labels: [N, H, W] of any integer type.
        share: of this batch in the gradients.
        precision: that the network is computed in; by default float32.
        accepts: called with the losses before the backward pass; if it returns False, the gradients stay as they are.
        distiller: called with (images, outputs), returns (total, {name: part}) to add to the criterion's.

    Returns:
        The total and the parts by name, 0-d, before `share`.
    """
    precision = precision or Precision()
    with precision.autocast(), logits_at_stride(network_of_replica(model)):
        outputs = model(images)
    outputs = [_of_type(output, "float32") for output in outputs]
    total, parts = criterion(outputs, _of_type(labels, "int64"))
    if distiller:
        taught, more = distiller(images, outputs)
        total, parts = total + taught, {**parts, **more}
    del outputs  # what a loss needs of them for its gradient it keeps
    losses = {"loss": total.detach(), **{name: part.detach() for name, part in parts.items()}}
    if accepts(losses):
        precision.backward(total if share == 1 else total * share)
    return losses


def _of_type(tensor: paddle.Tensor, dtype: str) -> paddle.Tensor:
    """The tensor itself if it is of this type already, where Paddle 2.6's `astype` copies."""
    return tensor if tensor.dtype == getattr(paddle, dtype) else tensor.astype(dtype)
