"""Networks of other widths than published: chosen convolutions get fewer channels, and the layers after them follow."""

from typing import Callable, Dict, List, Mapping, Tuple

from compat import UserError, unknown_name

import paddle
from paddle import nn

PROBE = (64, 64)  # height and width of the image that is sent through the network


def convolutions(model: nn.Layer) -> Dict[str, nn.Conv2D]:
    """The network's convolutions by the names that `widths` uses: their layer's name, without `.conv` at its end."""
    found = {}
    for name, layer in model.named_sublayers():
        if isinstance(layer, nn.Conv2D):
            found[name[: -len(".conv")] if name.endswith(".conv") else name] = layer
    return found


def set_widths(model: nn.Layer, widths: Mapping[str, int]) -> None:
    """Give convolutions other numbers of output channels, in place.

    A black image is sent through the network, and each layer adapts to the channels that arrive. So concatenations,
    sums and gates need no description, and depthwise convolutions and batch norms follow by themselves. Of the weights,
    the first channels are kept.

    Args:
        model: the network, just built.
        widths: {name as in `convolutions`: channels}; the other convolutions keep theirs.

    Raises:
        UserError: for an unknown name, a width below 1, a depthwise convolution, a head's number of classes, and widths
            that do not go together, such as those of two terms of a sum.
    """
    named = convolutions(model)
    for name in widths:
        if name not in named:
            raise unknown_name("model.widths: layer", name, list(named))
        if _is_depthwise(named[name]):
            raise UserError(f"model.widths: {name} is depthwise and follows what it reads; leave it out")
        if widths[name] < 1:
            raise UserError(f"model.widths: {name}: {widths[name]} is not a number of channels; give 1 or more")
    wanted = {id(named[name]): width for name, width in widths.items()}
    before = _outputs(model)
    reached = []
    hooks = []
    for name, layer in model.named_sublayers():
        if isinstance(layer, (nn.Conv2D, nn.BatchNorm2D)):
            hooks.append(layer.register_forward_pre_hook(_fitting(wanted)))
            hooks.append(layer.register_forward_post_hook(lambda *_, name=name: reached.append(name)))
    try:
        after = _outputs(model)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"model.widths: what is added or multiplied after {reached[-1]} differs in width") from error
    finally:
        for hook in hooks:
            hook.remove()
    if after != before:
        raise UserError("model.widths: a head's last convolution has as many channels as there are classes; leave it")


def _fitting(wanted: Mapping[int, int]) -> Callable[[nn.Layer, Tuple], None]:
    """Hook that fits a layer to the channels that arrive; `wanted` is {id(layer): output channels}."""

    def fit(layer: nn.Layer, inputs: Tuple) -> None:
        channels = inputs[0].shape[1]
        if isinstance(layer, nn.BatchNorm2D):
            if channels != layer._num_features:
                _adopt(layer, nn.BatchNorm2D(channels))
                layer._num_features = channels
            return
        outputs = channels if _is_depthwise(layer) else wanted.get(id(layer), layer._out_channels)
        if (channels, outputs) != (layer._in_channels, layer._out_channels):
            groups = channels if _is_depthwise(layer) else layer._groups
            bias = None if layer.bias is not None else False
            _adopt(layer, nn.Conv2D(channels, outputs, layer._kernel_size, groups=groups, bias_attr=bias))
            layer._in_channels, layer._out_channels, layer._groups = channels, outputs, groups

    return fit


def _adopt(layer: nn.Layer, other: nn.Layer) -> None:
    """Give `layer` the parameters of a layer of another size, with its own values where the two overlap."""
    for name, parameter in other._parameters.items():
        if parameter is None:
            continue
        if paddle.in_dynamic_mode():
            values, own = parameter.numpy().copy(), layer._parameters[name].numpy()
            common = tuple(slice(min(sides)) for sides in zip(values.shape, own.shape))
            values[common] = own[common]
            parameter.set_value(values)
        layer._parameters[name] = parameter


def _is_depthwise(layer: nn.Conv2D) -> bool:
    return layer._groups > 1 and layer._groups == layer._in_channels


@paddle.no_grad()
def _outputs(model: nn.Layer) -> List[List[int]]:
    """Shapes of the training outputs for a black image; batch norm's statistics are not updated."""
    modes = [(layer, layer.training) for layer in model.sublayers(include_self=True)]
    model.eval()
    model.training = True
    try:
        return [list(output.shape) for output in model(paddle.zeros([1, 3, *PROBE]))]
    finally:
        for layer, mode in modes:
            layer.training = mode
