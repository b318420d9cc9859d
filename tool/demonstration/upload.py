"""Checking and decoding of uploaded images."""

import io
from typing import BinaryIO

from compat import UserError

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from data.files import check_brightness

FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
MAX_PIXELS = 50_000_000


def decode_upload(upload: BinaryIO, longest: int) -> np.ndarray:
    """An uploaded image as [H, W, 3] uint8 RGB, turned as its EXIF says, its longest side at most `longest` pixels.

    Raises:
        UserError: for a file that is not such an image, is broken, or would take too much memory once decoded.
    """
    content = io.BytesIO(upload.read())
    if not content.getbuffer().nbytes:
        raise UserError("The file is empty; choose another image.")
    try:
        with Image.open(content, formats=FORMATS) as image:
            # The size stands in the header: a small file may describe an image that fills the memory.
            if image.width * image.height > MAX_PIXELS:
                raise UserError(
                    f"The image has {image.width} x {image.height} pixels; at most {MAX_PIXELS // 10**6} million."
                )
            image.load()
            small = image if image.mode == "RGB" else _eight_bits(image).convert("RGB")
            # Shrunk before it is turned, so that there is no second image of the full size.
            small.thumbnail((longest, longest), Image.Resampling.BICUBIC)
            return np.asarray(ImageOps.exif_transpose(small))
    except UnidentifiedImageError:
        raise UserError(f"This is not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image.") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"The image is broken or incomplete ({error}); save it again or choose another.") from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """A grey image of 16 bits by its upper 8, as data.files.read_image has them; Pillow would clip it to white."""
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    check_brightness("The image", int(values.max()))
    return Image.fromarray((values >> 8).astype(np.uint8))
