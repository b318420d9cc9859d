"""Standard evaluation protocols by name, and how a protocol applies to a deployed network."""

from typing import Mapping, Optional, Tuple, Union

from compat import UserError

import numpy as np

from engine.recipe import Protocol
from engine.runtime import Network, Segmenter, Windows, WindowSegmenter

STANDARD_PROTOCOLS = {
    "mIoU50": Protocol(scales=0.5),
    "mIoU75": Protocol(scales=0.75),
    "full": Protocol(),
    # mmsegmentation's scales for test-time augmentation
    "multi_scale_flip": Protocol(scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75), flip_horizontal=True),
    "sliding_window": Protocol(is_slide=True, crop_size=(1024, 1024), stride=(768, 768)),
}
"""Scales are those of a 1024x2048 image of Cityscapes; mIoU50 and mIoU75 are the papers' names."""


def first_protocol(protocols: Mapping[str, Protocol]) -> Tuple[str, Protocol]:
    """(name, protocol) of the first one, which decides which model is the best and how images are predicted."""
    return next(iter(protocols.items()))


def is_deployable(protocol: Protocol) -> bool:
    """Whether the protocol takes one scale and no flips, which engines can do; windows are possible."""
    mirrored = protocol.aug_eval and (protocol.flip_horizontal or protocol.flip_vertical)
    return len(_scales(protocol)) == 1 and not mirrored


def deployed_segmenter(
    network: Network, name: str, protocol: Protocol, unknown_below: float = 0.0, windows: Optional[Windows] = None
) -> Union[Segmenter, WindowSegmenter]:
    """The segmenter that predicts images under a protocol as a deployed network does.

    Args:
        network: of any engine.
        name: of the protocol, for messages.
        protocol: gives the scale, and windows if it has some; its `align_corners` does not apply.
        unknown_below: see Segmenter.
        windows: in place of the protocol's.

    Raises:
        UserError: where `is_deployable` is False, and as the classes do.
    """
    segmenter = Segmenter(network, deployed_scale(name, protocol), unknown_below)
    if windows is None and protocol.is_slide:
        windows = Windows(protocol.crop_size[::-1], protocol.stride[::-1])
    return segmenter if windows is None else WindowSegmenter(segmenter, windows)


def deployed_scale(name: str, protocol: Protocol) -> float:
    """The scale of images under a protocol for engine.runtime.Segmenter.

    Raises:
        UserError: where `is_deployable` is False.
    """
    if not is_deployable(protocol):
        raise UserError(
            f"test_config.{name} is {describe(protocol)}: engines and --window take one scale and no flip; name "
            "another protocol, or override this one with --opts, or evaluate and predict without --engine and --window"
        )
    return float(_scales(protocol)[0])


def _scales(protocol: Protocol) -> np.ndarray:
    return np.atleast_1d(protocol.scales if protocol.aug_eval else 1.0)


def describe(protocol: Protocol) -> str:
    """A protocol in words, such as `scales 0.5 1, flip horizontal`."""
    parts = []
    if protocol.aug_eval:
        scales = protocol.scales if isinstance(protocol.scales, tuple) else (protocol.scales,)
        parts.append(f"scale{'s' * (len(scales) > 1)} {' '.join(f'{scale:g}' for scale in scales)}")
        parts += [f"flip {kind}" for kind in ("horizontal", "vertical") if getattr(protocol, f"flip_{kind}")]
    if protocol.is_slide:
        parts.append(f"window {_size(protocol.crop_size)} every {_size(protocol.stride)}")
    if protocol.align_corners:
        parts.append("align_corners")
    return ", ".join(parts) or "as it is"


def _size(size: Tuple[int, int]) -> str:
    return "x".join(map(str, size))
