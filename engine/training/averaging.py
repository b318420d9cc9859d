"""The mean of several networks' weights (Izmailov et al., Averaging Weights Leads to Wider Optima, UAI 2018)."""

from typing import Dict, Iterable, Mapping

from compat import UserError

import paddle
from paddle import nn


def mean_weights(sources: Mapping[str, Mapping[str, paddle.Tensor]]) -> Dict[str, paddle.Tensor]:
    """The mean of each tensor, computed in float64 and returned in the first source's type.

    Args:
        sources: {name for messages: {name: tensor}}, two or more of the same network.

    Raises:
        UserError: when two of them are of different networks or hold equal weights; it names both.
    """
    if len(sources) < 2:
        raise UserError(f"{next(iter(sources), 'nothing')}: a mean needs two checkpoints or more")
    (first, weights), *others = sources.items()
    for where, other in others:
        for name in (*weights, *other):
            one, same = (list(state[name].shape) if name in state else "nothing" for state in (weights, other))
            if one != same:
                raise UserError(f"{where} is of another network than {first}: {name} is {same} there, and {one} here")
    states = list(sources.items())
    for position, (where, state) in enumerate(states):
        for earlier, other in states[:position]:
            if all(bool((state[name] == other[name]).all()) for name in weights):
                raise UserError(f"{where} holds the same weights as {earlier}; give each checkpoint once")
    return {
        name: paddle.add_n([state[name].astype("float64") for state in sources.values()])
        .scale(1 / len(sources))
        .astype(tensor.dtype)
        for name, tensor in weights.items()
    }


@paddle.no_grad()
def measure_statistics(model: nn.Layer, batches: Iterable[paddle.Tensor]) -> int:
    """Set batch norm's running mean and variance to their averages over batches, as averaged weights require.

    Args:
        model: the network; its weights do not change, and its mode is restored.
        batches: images [N, 3, H, W] float32, augmented as in training.

    Returns:
        The number of batches.
    """
    norms = [layer for layer in model.sublayers() if isinstance(layer, nn.layer.norm._BatchNormBase)]
    momenta = [layer._momentum for layer in norms]
    was_training = model.training
    model.train()
    count = 0
    try:
        for count, images in enumerate(batches, start=1):
            for layer in norms:
                layer._momentum = 1 - 1 / count  # Paddle's momentum weighs the old value: all batches count the same
            model(images)
    finally:
        for layer, momentum in zip(norms, momenta):
            layer._momentum = momentum
        model.train() if was_training else model.eval()
    return count
