"""A dataset decoded once: files of raw pixels, mapped into memory, of which a crop reads only its own rows and columns.

A cache is a folder with one file for each sample (the image's [H, W, 3] bytes, RGB, then the label's [H, W] training
ids) and `index.jsonl`, one line for each file written. A file is valid only while it has the size it was written with
and its sources have the size and modification time they were read with: changed sources are decoded again, and an
interrupted run is continued.
"""

import hashlib
import json
import os
import shutil
import threading
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Callable, Dict, Iterable, NamedTuple, Optional, Sequence

from compat import UserError

import numpy as np
from PIL import Image

from data.files import PILLOW_ERRORS, check_sizes, map_label, read_image, read_label
from data.layouts import Sample
from data.prefetch import in_order, reader_threads

CACHE_FOLDER = "cache"
INDEX = "index.jsonl"
GIB = 2**30


@dataclass(frozen=True)
class Entry:
    """A line of the index."""

    file: str
    sources: str  # see `sources_of`
    width: int
    height: int
    labelled: bool
    checksum: int  # CRC-32 of the file

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return self.width * self.height * (3 + self.labelled)


class Pair(NamedTuple):
    """image [H, W, 3] uint8 RGB; label [H, W] uint8 training ids, None in a test set."""

    image: np.ndarray
    label: Optional[np.ndarray]


class Cache:
    """The cached samples of a dataset.

    Args:
        folder: of the cache; one that does not exist is an empty cache.
        root: of the dataset. Files are known relative to it, and it relative to the folder, so that datasets of several
            roots may share a folder, and all may be moved together.
    """

    def __init__(self, folder: Path, root: Path):
        self.folder = folder
        self.root = root
        place = _relative(root, folder)
        # None for a folder directly in the dataset, such as CACHE_FOLDER: caches written without it stay valid.
        self.place = [] if place == os.pardir else [place]
        self.entries: Dict[str, Entry] = {}
        index = folder / INDEX
        for line in index.read_text(encoding="utf-8", errors="replace").splitlines() if index.is_file() else ():
            try:
                entry = Entry(**json.loads(line))
            except (ValueError, TypeError):
                continue  # the last line of an interrupted run
            self.entries[entry.file] = entry

    def find(self, sample: Sample) -> Optional[Entry]:
        """The entry of a sample; None if there is none, or if its file or a source has changed since."""
        entry = self.entries.get(self.file_of(sample))
        if entry is None:
            return None
        try:
            is_valid = entry.sources == sources_of(sample) and (self.folder / entry.file).stat().st_size == entry.bytes
        except OSError:  # a missing file; reading the source will report it
            return None
        return entry if is_valid else None

    def read(self, sample: Sample) -> Optional[Pair]:
        """A sample as views of its mapped, read-only file; None as for `find`."""
        entry = self.find(sample)
        if entry is None:
            return None
        content, pixels = np.asarray(np.memmap(self.folder / entry.file, np.uint8, "r")), entry.width * entry.height
        image = content[: 3 * pixels].reshape(entry.height, entry.width, 3)
        return Pair(image, content[3 * pixels :].reshape(entry.height, entry.width) if entry.labelled else None)

    def file_of(self, sample: Sample) -> str:
        """The name of a sample's file, which need not exist."""
        names = [_relative(path, self.root) if path else "" for path in (sample.image, sample.label)]
        return hashlib.sha1("\n".join(self.place + names).encode("utf-8", "surrogateescape")).hexdigest() + ".raw"

    def is_intact(self, sample: Sample) -> bool:
        """Whether the sample is here and its pixels have their checksum."""
        entry = self.find(sample)
        return entry is not None and zlib.crc32(np.fromfile(self.folder / entry.file, np.uint8)) == entry.checksum

    def write(self, sample: Sample, num_classes: int) -> Entry:
        """Decode a sample into its file; the entry becomes part of the index with `add`.

        Raises:
            UserError: for a source that cannot be read, or a label of another size than its image.
        """
        sources = sources_of(sample)  # taken before reading, so that a change during it is noticed
        image = read_image(sample.image)
        label = map_label(read_label(sample.label), sample, num_classes) if sample.label else None
        if label is not None:
            check_sizes(sample, image, label)
        content = image.tobytes() if label is None else image.tobytes() + label.tobytes()
        file = self.file_of(sample)
        # Each writer has its own file name: a thread of a failed call may still be writing the same sample.
        partial = self.folder / f"{file}.{os.getpid()}.{threading.get_ident()}.partial"
        try:
            with partial.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(self.folder / file)
        finally:
            partial.unlink(missing_ok=True)
        return Entry(file, sources, image.shape[1], image.shape[0], label is not None, zlib.crc32(content))

    def add(self, entry: Entry) -> None:
        """Append an entry to the index."""
        self.entries[entry.file] = entry
        with (self.folder / INDEX).open("a", encoding="utf-8") as stream:
            # The newline comes first: an interrupted run may have left half a line, and other processes append too.
            stream.write("\n" + json.dumps(asdict(entry)))


def _relative(path: Path, start: Path) -> str:
    """The path relative to `start`, or absolute if they are on two drives of Windows."""
    try:
        return os.path.relpath(path, start)
    except ValueError:
        return os.path.abspath(path)


def sources_of(sample: Sample) -> str:
    """Size and modification time of a sample's files and the checksum of its label table, as text.

    Raises:
        OSError: when a file does not exist.
    """
    stats = [os.stat(path) for path in (sample.image, sample.label) if path]
    table = f"table {zlib.crc32(sample.table.tobytes())}"
    return ", ".join([*(f"{stat.st_size} bytes at {stat.st_mtime_ns}" for stat in stats), table])


def fill_cache(
    cache: Cache,
    samples: Sequence[Sample],
    num_classes: int,
    threads: Optional[int] = None,
    progress: Callable[[Iterable, int], Iterable] = lambda items, _: items,
) -> int:
    """Bring the cache up to date: files that have their checksum are kept, all other samples are decoded.

    Args:
        cache: the cache, which may be empty.
        samples: what it is to hold.
        num_classes: of the dataset.
        threads: number of threads; by default `reader_threads()`.
        progress: wraps (iterable, length), such as a progress bar.

    Returns:
        The number of files written.

    Raises:
        UserError: for a sample that cannot be read, or a disk that is too small or not writable. Finished files are
            kept, and the next call continues.
    """

    def refresh(sample: Sample) -> Optional[Entry]:
        return None if cache.is_intact(sample) else cache.write(sample, num_classes)

    threads = threads or reader_threads()
    written = 0
    try:
        cache.folder.mkdir(parents=True, exist_ok=True)
        _check_room(cache, samples)
        for entry in progress(in_order(refresh, samples, threads, ahead=2 * threads), len(samples)):
            if entry:
                cache.add(entry)
                written += 1
    except OSError as error:
        raise UserError(
            f"{cache.folder}: the cache cannot be written ({error.strerror or error}); {written} files were written "
            "and are kept. Correct that, or choose another folder by --cache_dir, and run it again"
        ) from error
    return written


def _check_room(cache: Cache, samples: Sequence[Sample]) -> None:
    needed = sum(_decoded_bytes(sample) for sample in samples if cache.find(sample) is None)
    free = shutil.disk_usage(cache.folder).free
    if needed > free:
        raise UserError(
            f"{cache.folder}: the cache needs {needed / GIB:.1f} GiB more, and its disk has {free / GIB:.1f} GiB free; "
            "choose another folder by --cache_dir and the recipe's cache_dir, or use no cache"
        )


def _decoded_bytes(sample: Sample) -> int:
    try:
        with Image.open(sample.image) as image:
            return image.width * image.height * (4 if sample.label else 3)
    except PILLOW_ERRORS as error:
        raise UserError(f"{sample.image}: not a readable image ({error})") from error
