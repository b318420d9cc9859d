"""Grey PNG files of fewer than 8 bits a pixel, which neither Pillow nor OpenCV writes."""

import struct
import zlib
from pathlib import Path

import numpy as np


def write_grey_png(path: Path, values: np.ndarray, bits: int) -> None:
    """Write the values [H, W], each below 2 ** bits, with 1, 2, 4 or 8 bits a pixel."""
    height, width = values.shape
    levels = np.unpackbits(values.astype(np.uint8)[..., None], axis=2)[..., -bits:].reshape(height, -1)
    rows = np.packbits(levels, axis=1)
    scanlines = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1)  # each begins with its filter, none
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(scanlines.tobytes())), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
