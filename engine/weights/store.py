"""Where published weights are kept, and how they get there.

The folder is $STDC_WEIGHTS, or pretrained/ of this repository. `NAME.pdparams` there is loaded; our converter makes it
from the published file, which is downloaded or was put there by hand. A lock for each name lets one process do that
while others wait.
"""

import contextlib
import os
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Iterator

from compat import UserError, logger
from compat.files import sha256_of

import filelock

from engine.conversion import Conversion, convert
from engine.conversion.weight_files import PADDLE_SUFFIX, read_weight_file, write_weight_file
from engine.weights.download import FetchError, fetch
from engine.weights.manifest import (
    PRETRAINED,
    UNKNOWN,
    Entry,
    find_entry,
    is_like_a_name,
    read_manifest,
    unknown_weights,
)

FOLDER = "STDC_WEIGHTS"
ARCHIVE = ".tar.gz"


def weights_folder() -> Path:
    """The folder where published weights are kept."""
    named = os.environ.get(FOLDER)
    return Path(named).expanduser() if named else PRETRAINED


def resolve_weights(text: str) -> Path:
    """The weight file that a path or a name stands for; an existing file or folder of that name comes first.

    Args:
        text: path of a file or folder, which need not exist; a name of the manifest, or a URL in it.

    Returns:
        The path as it is, or that of the published weights, which are downloaded and converted if they are not yet.

    Raises:
        UserError: for an unknown name, or weights that cannot be downloaded; says what to fetch from where.
    """
    path, entry = Path(text), find_entry(text)
    if path.exists():
        if entry:
            logger.info("%s is a file or folder here and is taken, not the published weights of that name", text)
        return path
    if entry:
        return _file_of(entry)
    if "://" in text:
        raise UserError(f"{text}: not a URL of pretrained/manifest.yml; fetch it, and convert it with tool.convert")
    if is_like_a_name(text):
        raise unknown_weights(text)
    kin = [one.name for one in read_manifest().values() if one.output == path.name and one.url]
    if kin:
        raise UserError(f"{path}: no such weight file; a name in its place is fetched: {' or '.join(kin)}")
    return path


def _file_of(entry: Entry) -> Path:
    """The file of named weights, ready to be loaded."""
    if entry.is_shipped:
        shipped = PRETRAINED / entry.file
        if not shipped.is_file():
            raise UserError(f"{shipped}: no such weight file, though it belongs to the repository; check it out again")
        return shipped
    folder = weights_folder()
    ready = folder / f"{entry.name}{PADDLE_SUFFIX}"
    if ready.is_file():
        return ready
    with _locked(folder, entry):
        if not ready.is_file():  # another process may have been faster
            _make(entry, folder, ready)
    return ready


@contextlib.contextmanager
def _locked(folder: Path, entry: Entry) -> Iterator[None]:
    lock = filelock.FileLock(str(folder / f".{entry.name}.lock"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            logger.info("waiting for another process, which fetches %s", entry.name)
            lock.acquire()
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror or error}); name another folder for weights by the "
            f"environment variable {FOLDER}"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _make(entry: Entry, folder: Path, ready: Path) -> None:
    """Fetch the published file unless it is there, check it, and write what is loaded."""
    published = folder / entry.file
    by_hand = published.is_file()
    digest = None if entry.sha256 == UNKNOWN else entry.sha256
    if not by_hand:
        _fetch(entry, published, digest)
    elif digest and not sha256_of(published).startswith(digest):
        raise UserError(f"{published}: its SHA-256 does not begin with {digest}, so it is not {entry.name}; remove it")
    try:
        conversion = _convert(entry, published)
    except UserError as error:
        if not by_hand:
            published.unlink()
        raise UserError(f"{entry.name}: {published} is not these weights: {error}") from error
    write_weight_file(ready, conversion.tensors)
    if not by_hand:  # the converted file holds all that is used
        published.unlink()
    logger.info("%s: %d tensors of %s in %s", entry.name, len(conversion.tensors), conversion.source.title, ready)


def _fetch(entry: Entry, published: Path, digest) -> None:
    there = f"put it at {published}"
    if entry.url is None:
        raise UserError(f"{entry.name}: {entry.page} gives no direct download; fetch {entry.file} there and {there}")
    published.parent.mkdir(parents=True, exist_ok=True)
    try:
        fetch(entry.url, published, digest, entry.name)
    except FetchError as error:
        raise UserError(f"{entry.name}: not fetched ({error}); fetch {entry.url} and {there}") from error


def _convert(entry: Entry, published: Path) -> Conversion:
    if not published.name.endswith(ARCHIVE):
        return convert(read_weight_file(published).tensors, entry.model, source_name=entry.source)
    with tempfile.TemporaryDirectory() as folder:
        unpacked = Path(folder) / f"unpacked{PADDLE_SUFFIX}"
        _unpack(published, unpacked)
        return convert(read_weight_file(unpacked).tensors, entry.model, source_name=entry.source)


def _unpack(archive: Path, target: Path) -> None:
    """Write the one weight file that an archive holds."""
    try:
        with tarfile.open(archive) as opened:
            found = [one for one in opened if one.isfile() and one.name.endswith(PADDLE_SUFFIX)]
            if len(found) != 1:
                raise UserError(f"{archive}: holds {len(found)} files *{PADDLE_SUFFIX}; expected one")
            with opened.extractfile(found[0]) as source, open(target, "wb") as file:
                shutil.copyfileobj(source, file)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{archive}: not a readable archive ({error})") from error
