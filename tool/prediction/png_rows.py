"""Writes PNG files in bands of rows; Pillow and OpenCV need the whole picture."""

import os
import struct
import zlib
from pathlib import Path
from typing import Optional

from compat import UserError

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, PALETTE = 0, 3  # colour types of the specification, https://www.w3.org/TR/png-3/


class PngRows:
    """A context manager that writes a PNG of 8 bits per pixel, and renames it to `path` once it is complete.

    Args:
        path: the file; its folder is created.
        size: (H, W).
        palette: [256, 3] uint8 for a palette image; without it the image is grey.

    Raises:
        UserError: on entry, exit and from `write`, if the file cannot be written.
    """

    def __init__(self, path: Path, size, palette: Optional[np.ndarray] = None):
        self.path, self.size, self.palette = path, size, palette
        self.part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self.compressor = zlib.compressobj(1)

    def __enter__(self) -> "PngRows":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = open(self.part, "wb")  # noqa: SIM115 - closed by __exit__
            self.file.write(SIGNATURE)
        except OSError as error:
            raise self._unwritable(error) from error
        kind = GREY if self.palette is None else PALETTE
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", self.size[1], self.size[0], 8, kind, 0, 0, 0))
        if self.palette is not None:
            self._chunk(b"PLTE", self.palette.astype(np.uint8).tobytes())
        return self

    def write(self, rows: np.ndarray) -> None:
        """Append rows [n, W] uint8."""
        filtered = np.zeros(
            (len(rows), self.size[1] + 1), np.uint8
        )  # the first byte of each row is its filter type: 0, none
        filtered[:, 1:] = rows
        self._chunk(b"IDAT", self.compressor.compress(filtered.data))

    def __exit__(self, kind, *error) -> None:
        try:
            if kind is None:
                self._chunk(b"IDAT", self.compressor.flush())
                self._chunk(b"IEND", b"")
                self.file.close()
                os.replace(self.part, self.path)
        except OSError as failed:
            raise self._unwritable(failed) from failed
        finally:
            self.file.close()
            self.part.unlink(missing_ok=True)

    def _chunk(self, name: bytes, content: bytes) -> None:
        try:
            self.file.write(struct.pack(">I", len(content)) + name + content)
            self.file.write(struct.pack(">I", zlib.crc32(content, zlib.crc32(name))))
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"{self.path}: cannot be written ({error.strerror or error})")
