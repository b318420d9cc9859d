"""The gradients of one batch."""

from typing import Callable, Dict, Optional

import paddle
from paddle import nn

from engine.training.precision import Precision


def add_gradients(
    model: nn.Layer,
    criterion: nn.Layer,
    images: paddle.Tensor,
    labels: paddle.Tensor,
    share: float = 1.0,
    precision: Optional[Precision] = None,
    accepts: Callable[[Dict[str, paddle.Tensor]], bool] = lambda losses: True,
) -> Dict[str, paddle.Tensor]:
    """Add to the parameters' gradients those of `share` times the total loss of one batch.

    Over k batches of n images with a share of 1/k each, the gradients are those of one batch of k * n images, if every
    loss is a mean over as many pixels in each. It is not quite so where the batch itself counts: batch norm sees n
    images; ignored pixels are averaged out within each batch; and the hardest pixels (OHEM) are sought, and its
    fraction or number of pixels `n_min` counted, in each batch alone.

    Args:
        model: the network.
        criterion: answers (total, {name: part}).
        images: [N, 3, H, W] float32.
        labels: [N, H, W] of any integer type.
        share: of this batch in the gradients.
        precision: to compute the network in; float32 by default.
        accepts: asked with the losses before the backward pass; False: the gradients stay as they are.

    Returns:
        The total and the parts by name, 0-d, before `share`.
    """
    precision = precision or Precision()
    with precision.autocast():
        outputs = model(images)
    total, parts = criterion([output.astype("float32") for output in outputs], labels.astype("int64"))
    losses = {"loss": total.detach(), **{name: part.detach() for name, part in parts.items()}}
    if accepts(losses):
        precision.backward(total if share == 1 else total * share)
    return losses
