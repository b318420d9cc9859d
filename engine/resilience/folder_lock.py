"""One run at a time writes to a folder."""

import errno
from pathlib import Path
from typing import Any, Optional

from compat import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl: Any = None

LOCK = ".lock"


class FolderLock:
    """A lock on a folder, held from its creation to the end of `with`, or of the process, however that ends.

    It is a POSIX record lock, which loader processes do not inherit: they may outlive a killed run for a moment.
    Nothing is locked on Windows, and on file systems without such locks.

    Args:
        folder: of a run; the empty file `.lock` stays there.

    Raises:
        UserError: if another process holds the lock, also on entry.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._file: Optional[Any] = None
        self._acquire()

    def __enter__(self) -> "FolderLock":
        if self._file is None:
            self._acquire()
        return self

    def __exit__(self, *_) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _acquire(self) -> None:
        if fcntl is None:
            return
        self._file = open(self.folder / LOCK, "ab")  # noqa: SIM115 - closed by __exit__
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise UserError(
                    f"{self.folder}: another run writes there, and would mix its files with these; wait for its end, "
                    "or choose another --save_dir"
                ) from error
