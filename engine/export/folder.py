"""The folder of an export: drafts within it, and what replaces the files of the former export."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Iterable, Iterator, List

from compat import UserError

from engine.export.writers import BESIDE
from engine.runtime.description import DEPLOY_FILE, read_description

DRAFTS = (".export.*.tmp", ".export.tmp", ".int8.tmp")  # the last two are of version 1.0.0


@contextlib.contextmanager
def draft_in(folder: Path) -> Iterator[Path]:
    """A new folder within `folder`, which is created if needed, for files to be installed; deleted at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".export.", suffix=".tmp", dir=folder))
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def remove_drafts(folder: Path) -> None:
    """Delete the drafts of killed runs; for a caller that has locked the folder, as they may be of a live one."""
    for draft in (found for pattern in DRAFTS for found in folder.glob(pattern)):
        shutil.rmtree(draft, ignore_errors=True)


def exported_files(folder: Path) -> List[Path]:
    """`deploy.yaml` of a folder and the files that belong to it, sorted; none without a readable one."""
    try:
        engines = read_description(folder).files.values()
    except UserError:
        return []
    listed = [Path(file) for files in engines for file in files.values()]
    names = {DEPLOY_FILE, *(file.name for file in listed)}
    names.update(f"{file.stem}{suffix}" for file in listed for suffix in BESIDE.get(file.suffix, ()))
    return sorted(folder / name for name in names if (folder / name).is_file())


def install(files: Iterable[Path], folder: Path, former: Iterable[Path] = ()) -> None:
    """Move model files and their `deploy.yaml` into the folder, over those of the same names.

    `deploy.yaml` is removed first and moved last, so that after an interruption none describes a mixture.

    Args:
        files: to be moved.
        folder: where to.
        former: files there that belong to the former export; those of other names are deleted.
    """
    files = sorted(files, key=lambda file: file.name == DEPLOY_FILE)
    (folder / DEPLOY_FILE).unlink(missing_ok=True)
    for name in {file.name for file in former} - {file.name for file in files}:
        (folder / name).unlink(missing_ok=True)
    for file in files:
        os.replace(file, folder / file.name)
