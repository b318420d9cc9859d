"""The application of tool.demo with stand-in networks, and an image to send to it."""

import io

from compat import UserError

import numpy as np
from PIL import Image

from data import CITYSCAPES
from engine.runtime import Segmentation
from tool.demonstration.app import create_app
from tool.demonstration.networks import Choice, Networks

ROAD, SKY, CAR = (CITYSCAPES.names.index(name) for name in ("road", "sky", "car"))


def quarters(image):
    """A stand-in network: sky above, below road on the left and car on the right."""
    height, width = image.shape[:2]
    classes = np.full((height, width), SKY, np.uint8)
    classes[height // 2 :, : width // 2] = ROAD
    classes[height // 2 :, width // 2 :] = CAR
    return classes


class Unsure:
    """The quarters with a confidence that rises from 0.20 on the left to 0.80 on the right, in four steps."""

    def __call__(self, image):
        return quarters(image)

    def segment(self, image):
        steps = np.float32([0.2, 0.4, 0.6, 0.8]).repeat(image.shape[1] // 4)
        return Segmentation(quarters(image), np.broadcast_to(steps, image.shape[:2]))


def broken():
    """A network that cannot be loaded."""
    raise UserError("weights.pdparams: no such file")


def demo_app():
    """The application with networks of each kind; it takes uploads of 1 MB."""
    choices = [
        Choice("street", "fast", CITYSCAPES, lambda: quarters),
        Choice("street", "slow", CITYSCAPES, lambda: quarters),
        Choice("upside down", "fast", CITYSCAPES, lambda: lambda image: quarters(image)[::-1].copy()),
        Choice("broken", "fast", CITYSCAPES, broken),
        Choice("unsure", "fast", CITYSCAPES, Unsure, gives_confidence=True, temperature=1.25),
    ]
    return create_app(Networks(choices), max_megabytes=1)


def encoded(size=(40, 20), image_format="PNG", **options):
    """A grey image of this (w, h) as a file's bytes."""
    stream = io.BytesIO()
    Image.fromarray(np.full((size[1], size[0], 3), 128, np.uint8)).save(stream, format=image_format, **options)
    return stream.getvalue()
