"""What a run tells in files: `train.log`, and VisualDL's curves.

A killed run has told of iterations that its last checkpoint does not know of. The run that resumes will tell of them
again, so it first takes back what was told after the checkpoint.
"""

import contextlib
import io
import logging
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from compat import logger

import numpy as np

from engine.resilience.checkpoint import flush_to_disk

LOG = "train.log"
VDL = "vdl"
REPEATED = ("[TRAIN]", "[EVAL]")  # lines that a resumed run writes again


class LogFile(logging.FileHandler):
    """Lets errors out that its base class prints with a traceback, and goes on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        raise


class Records:
    """Open while it is entered.

    Args:
        save_dir: where the files are.
        use_vdl: whether VisualDL's are among them.
        lengths: what `lengths()` answered at the checkpoint from which the run goes on; None for a new run.
    """

    def __init__(self, save_dir: Path, use_vdl: bool, lengths: Optional[Mapping[str, int]] = None):
        self.save_dir = save_dir
        for name, length in (lengths or {}).items():
            take_back(save_dir / name, length)
        self.curves: Any = None
        if use_vdl:
            from visualdl import LogWriter

            # VisualDL shows one file a folder: the one that was begun goes on.
            begun = [name for name in lengths or {} if name.startswith(VDL) and (save_dir / name).is_file()]
            file_name = Path(begun[0]).name if begun else ""
            with contextlib.redirect_stdout(io.StringIO()):  # it prints that it found the file
                self.curves = LogWriter(str(save_dir / VDL), file_name=file_name)
        self.file = LogFile(save_dir / LOG, encoding="utf-8")
        self.file.setFormatter(logger.handlers[0].formatter)

    def __enter__(self) -> "Records":
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

    def lengths(self) -> Dict[str, int]:
        """{path within save_dir: bytes} of the files, which are on the disk when this returns."""
        paths = [self.save_dir / LOG]
        self.file.flush()
        if self.curves:
            self.curves.flush()
            paths.append(Path(self.curves.file_name))
        for path in paths:
            flush_to_disk(path)
        return {path.relative_to(self.save_dir).as_posix(): path.stat().st_size for path in paths}


def lengths_at_start(save_dir: Path) -> Dict[str, int]:
    """What `Records.lengths` would have answered before the first iteration of the run that wrote there."""
    return {path.relative_to(save_dir).as_posix(): 0 for path in (save_dir / LOG, *sorted(save_dir.glob(f"{VDL}/*")))}


def take_back(path: Path, length: int) -> None:
    """Remove what stands in a file beyond `length`; of a log only lines that the resumed run repeats."""
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
