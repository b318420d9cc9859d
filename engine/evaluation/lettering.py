"""Text in pictures. OpenCV's letters are ASCII; names of classes may have others, which a font of the system draws."""

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
SIZE = 14  # pixels, about the height of OpenCV's letters at half their size
NO_LETTER = "\uffff"  # drawn as what stands for a letter that a font lacks


def text_width(text: str) -> int:
    """Pixels that `draw_text` takes at most."""
    font = font_for(text)
    return 10 * len(_ascii(text)) if font is None else int(font.getlength(text)) + 1


def draw_text(picture: np.ndarray, text: str, at: Tuple[int, int]) -> None:
    """Draw black text into a picture [H, W, 3] uint8, in place; letters that no font here has are drawn as their codes.

    Args:
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
    """The first of FONTS that has all letters; None where OpenCV's suffice, or where no font has them."""
    if text.isascii():
        return None
    for name in FONTS:
        try:
            font = ImageFont.truetype(name, SIZE)
        except OSError:
            continue
        if all(bytes(font.getmask(letter)) != bytes(font.getmask(NO_LETTER)) for letter in text):
            return font
    return None


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode("ascii")
