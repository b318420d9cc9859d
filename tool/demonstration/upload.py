"""Checking and decoding of uploaded images."""

import io
from typing import BinaryIO

from compat import UserError

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from data.files import decode_16_bits, is_16_bit_png

FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
MAX_PIXELS = 50_000_000


def decode_upload(upload: BinaryIO, longest: int) -> np.ndarray:
    """An uploaded image as [H, W, 3] uint8 RGB, turned as its EXIF says, its longest side at most `longest` pixels.

    Raises:
        UserError: for a file that is not such an image, is broken, would take too much memory once decoded, or has
            16-bit numbers that would become nearly black.
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
            encoded = np.frombuffer(content.getbuffer(), np.uint8)
            if is_16_bit_png(encoded):  # Pillow clips grey to white, and returns the dark colours of 12 bits
                small = Image.fromarray(decode_16_bits("The image", encoded))  # upright, so turned no more below
            else:
                small = image if image.mode == "RGB" else image.convert("RGB")
            # Shrunk before it is turned, so that there is no second image of the full size.
            small.thumbnail((longest, longest), Image.Resampling.BICUBIC)
            return np.asarray(ImageOps.exif_transpose(small))
    except UnidentifiedImageError:
        raise UserError(f"This is not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image.") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"The image is broken or incomplete ({error}); save it again or choose another.") from error
