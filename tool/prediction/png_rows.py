"""PNG files written a band of rows at a time: Pillow and OpenCV take the whole picture."""

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
    """A PNG of 8 bits a pixel, under its name once it is complete; used as a context.

    Args:
        path: its folder is made.
        size: (H, W).
        palette: [256, 3] uint8, of a palette image; by default it is grey.

    Raises:
        UserError: where it cannot be written, also by `write`.
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
        """The next rows, [n, W] uint8."""
        filtered = np.zeros((len(rows), self.size[1] + 1), np.uint8)  # each row begins with its filter: none
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
