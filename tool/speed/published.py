"""Speeds published by the authors of the networks, for comparison; none of them was measured here."""

from typing import NamedTuple, Optional, Tuple


class Published(NamedTuple):
    """Frames per second, and the hardware they were measured on."""

    fps: float
    hardware: str


GTX_1080TI = "GTX 1080 Ti, TensorRT 5.1"

# By (model, (h, w)). STDC: the paper's tables and the README of MichaelFan01/STDC-Seg; BiSeSTDC: the README of
# bearking79/BiSeSTDC, with three times the multiply-accumulates of STDC1; DDRNet: arXiv 2101.06085.
PUBLISHED = {
    ("stdc1_seg", (512, 1024)): Published(250.4, GTX_1080TI),
    ("stdc1_seg", (768, 1536)): Published(126.7, GTX_1080TI),
    ("stdc2_seg", (512, 1024)): Published(188.6, GTX_1080TI),
    ("stdc2_seg", (768, 1536)): Published(97.0, GTX_1080TI),
    ("bisestdc", (512, 1024)): Published(234, GTX_1080TI),
    ("bisestdc", (768, 1536)): Published(136, GTX_1080TI),
    ("ddrnet23_slim", (1024, 2048)): Published(102, "RTX 2080 Ti, no TensorRT"),
}


def published(model: str, size: Tuple[int, int]) -> Optional[Published]:
    """The published speed of a model at an image size (h, w) and batch 1, or None."""
    return PUBLISHED.get((model, size))
