"""Text in pictures. OpenCV draws ASCII only; other characters in class names are drawn in a font of the system."""

import functools
from typing import Optional, Tuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

FONTS = (  # with Latin, Greek and Cyrillic letters; with Chinese, Japanese and Korean ones
    "DejaVuSans.ttf",
    "arial.ttf",
    "Arial Unicode.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-zenhei.ttc",
    "msyh.ttc",
    "PingFang.ttc",
)
SIZE = 14  # pixels, about the height of OpenCV's font at scale 0.5
NO_GLYPH = "\uffff"  # which fonts draw as they draw any character that they lack


def text_width(text: str) -> int:
    """Largest width in pixels that `draw_text` needs."""
    font = font_for(text)
    return 10 * len(_ascii(text)) if font is None else int(font.getlength(text)) + 1


def draw_text(picture: np.ndarray, text: str, at: Tuple[int, int]) -> None:
    """Draw black text into a picture, in place; if no font has all characters, they are drawn as escape sequences.

    Args:
        picture: [H, W, 3] uint8.
        text: one line.
        at: (x, y) of the left end of the baseline.
    """
    font = font_for(text)
    if font is None:
        cv2.putText(picture, _ascii(text), at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        return
    image = Image.fromarray(picture)
    ImageDraw.Draw(image).text(at, text, (0, 0, 0), font, anchor="ls")
    picture[:] = np.asarray(image)


@functools.cache
def font_for(text: str) -> Optional[ImageFont.FreeTypeFont]:
    """The first of FONTS that has all characters; None for ASCII, or where no font has them."""
    if text.isascii():
        return None
    for name in FONTS:
        try:
            font = ImageFont.truetype(name, SIZE)
        except OSError:
            continue
        if all(bytes(font.getmask(letter)) != bytes(font.getmask(NO_GLYPH)) for letter in text):
            return font
    return None


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode("ascii")
