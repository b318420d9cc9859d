"""What a run writes about itself: `train.log`, and VisualDL's curves.

A killed run may have logged iterations after its last checkpoint. The resumed run computes and logs them again, so it
first takes back what was written after the checkpoint.
"""

import contextlib
import io
import logging
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from compat import logger

import numpy as np

from engine.resilience.checkpoint import flush_to_disk, set_aside

LOG = "train.log"
VDL = "vdl"
REPEATED = ("[TRAIN]", "[EVAL]")  # lines that a resumed run writes again


class LogFile(logging.FileHandler):
    """Raises errors, such as a full disk, which its base class prints with a traceback and ignores."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        raise


class Records:
    """The files of a run, open within `with`.

    Args:
        save_dir: their folder.
        use_vdl: whether to write VisualDL's curves too.
    """

    def __init__(self, save_dir: Path, use_vdl: bool):
        self.save_dir = save_dir
        self.use_vdl = use_vdl
        self.lengths: Mapping[str, int] = {}  # of the files at the checkpoint from which the run resumes
        self.starts_over = False
        self.file: Optional[LogFile] = None
        self.curves: Any = None

    def __enter__(self) -> "Records":
        for path in (self.save_dir / LOG, self.save_dir / VDL) if self.starts_over else ():
            if path.exists():
                set_aside(path)
        for name, length in self.lengths.items():
            take_back(self.save_dir / name, length)
        if self.use_vdl:
            from visualdl import LogWriter

            # VisualDL shows one file of a folder, so a resumed run appends to the one that is there.
            written = [name for name in self.lengths if name.startswith(VDL) and (self.save_dir / name).is_file()]
            file_name = Path(written[0]).name if written else ""
            with contextlib.redirect_stdout(io.StringIO()):  # it prints that it found the file
                self.curves = LogWriter(str(self.save_dir / VDL), file_name=file_name)
        self.file = LogFile(self.save_dir / LOG, encoding="utf-8", errors="backslashreplace")
        self.file.setFormatter(logger.handlers[0].formatter)
        logger.addHandler(self.file)
        return self

    def __exit__(self, *_) -> None:
        logger.removeHandler(self.file)
        self.file.close()
        if self.curves:
            self.curves.close()

    def scalar(self, name: str, value: float, iteration: int) -> None:
        """A point of a curve."""
        if self.curves:
            self.curves.add_scalar(name, value, iteration)

    def picture(self, name: str, picture: np.ndarray, iteration: int) -> None:
        """A picture [H, W, 3] uint8 RGB."""
        if self.curves:
            self.curves.add_image(name, picture, iteration)

    def state_dict(self) -> Dict[str, Dict[str, int]]:
        """The files' lengths, as {path within save_dir: bytes}, flushed to the disk; deleted ones are left out."""
        paths = [self.save_dir / LOG]
        self.file.flush()
        if self.curves:
            self.curves.flush()
            paths.append(Path(self.curves.file_name))
        paths = [path for path in paths if path.is_file()]
        for path in paths:
            flush_to_disk(path)
        return {"lengths": {path.relative_to(self.save_dir).as_posix(): path.stat().st_size for path in paths}}

    def set_state_dict(self, state: Mapping[str, Mapping[str, int]]) -> None:
        """Take what `state_dict` returned; to be called before entering."""
        self.lengths = state["lengths"]

    def start_over(self) -> None:
        """Set aside what a run wrote that left no checkpoint; to be called before entering."""
        self.starts_over = True


def take_back(path: Path, length: int) -> None:
    """Cut a file to `length` bytes; of a log, cut only lines that the resumed run repeats."""
    if not path.is_file() or path.stat().st_size <= length:
        return
    with open(path, "r+b") as file:
        file.seek(length)
        kept = b""
        if path.name == LOG:
            lines = [line for line in file.read().splitlines(keepends=True) if line.endswith(b"\n")]
            kept = b"".join(line for line in lines if not any(word.encode() in line for word in REPEATED))
        file.seek(length)
        file.write(kept)
        file.truncate()
