"""From a painted canvas to a photograph: texture, light, lens and sensor."""

from __future__ import annotations

from typing import Dict, Tuple

import cv2
import numpy as np

from data.renderer.canvas import LABELS, Canvas

# Grey levels of (fine, coarse) brightness noise that a material has.
TEXTURES: Dict[str, Tuple[float, float]] = {
    "road": (6.0, 3.0),
    "sidewalk": (3.5, 3.0),
    "building": (2.5, 3.0),
    "wall": (4.5, 6.0),
    "vegetation": (9.0, 8.0),
    "terrain": (7.0, 9.0),
    "fence": (2.0, 2.0),
}
REFERENCE_WIDTH = 512  # pixels; grain and blur are meant at this width


def _texture(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """Brightness noise [H, W] float32 after each pixel's material."""
    width, height = canvas.camera.size
    amplitude = np.zeros((256, 2), np.float32)
    for label, levels in TEXTURES.items():
        amplitude[LABELS[label].id] = levels
    grain = max(1.0, width / REFERENCE_WIDTH)
    fine = rng.standard_normal((round(height / grain), round(width / grain)), np.float32)
    coarse = rng.standard_normal((24, 48), np.float32)
    fields = [cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC) for field in (fine, coarse)]
    strength = amplitude[canvas.label_ids]
    return strength[..., 0] * fields[0] + strength[..., 1] * fields[1]


def _light(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """The gain [H, W, 3] float32 of brightness, colour temperature, uneven light and the lens's vignette."""
    width, height = canvas.camera.size
    warmth = rng.uniform(-0.06, 0.06)
    white = rng.uniform(0.82, 1.12) * np.array([1 + warmth, 1.0, 1 - warmth], np.float32)
    uneven = 1 + 0.06 * cv2.resize(
        rng.standard_normal((2, 3), np.float32), (width, height), interpolation=cv2.INTER_LINEAR
    )
    across, down = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    vignette = 1 - rng.uniform(0.04, 0.12) * (across[None] ** 2 + down[:, None] ** 2)
    return (uneven * vignette)[..., None] * white.astype(np.float32)


def develop(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """The photograph of a painted canvas: uint8 [H, W, 3], RGB."""
    size = canvas.camera.size
    picture = cv2.resize(canvas.image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    picture = (picture + _texture(canvas, rng)[..., None]) * _light(canvas, rng)
    sigma = rng.uniform(0.2, 0.55) * np.sqrt(size[0] / REFERENCE_WIDTH)
    picture = cv2.GaussianBlur(picture, (0, 0), sigma)
    sensor = rng.standard_normal(picture.shape, np.float32)
    return np.clip(np.rint(picture + rng.uniform(0.8, 2.6) * sensor), 0, 255).astype(np.uint8)
