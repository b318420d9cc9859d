"""Fetching one file over HTTP: resumed where it broke off, checked, and put in place when it is whole."""

import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple, Optional

from compat import UserError, logger
from compat.files import sha256_of

from tqdm import tqdm

PART = ".part"
TIMEOUT = 20.0  # seconds without a byte
ATTEMPTS = 3  # in a row that bring nothing new
PAUSE = 1.0  # seconds after the first of these, then twice as long each time
CHUNK = 1 << 16  # bytes
FREE_BESIDE = 1 << 26  # bytes that the disk keeps free
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)  # HTTP statuses after which another attempt may succeed
CONNECTION_ERRORS = (OSError, http.client.HTTPException)  # urllib's errors are OSErrors


class FetchError(Exception):
    """Why a file could not be fetched; becomes a UserError that says what to do instead."""


class _Opened(NamedTuple):
    """A response whose body begins at byte `start`; `size` is that of the whole file, `tag` names its version."""

    response: http.client.HTTPResponse
    start: int
    size: Optional[int]
    tag: Optional[str]


def fetch(url: str, target: Path, digest: Optional[str], title: str) -> None:
    """Fetch a file, with a progress bar on a terminal.

    Received bytes are written to `target` + ".part". If there is a digest to verify the whole file with, a later call
    resumes from there.

    Args:
        url: http or https; redirects are followed.
        target: where the file is put; its folder exists.
        digest: SHA-256 in hexadecimal digits, or the first of them; None if it is not known.
        title: what the bar and the log call the file.

    Raises:
        FetchError: without a connection, for an HTTP error, or a file that is not the one wanted; nothing is at
            `target` then.
        UserError: when the disk is full.
    """
    part = target.with_name(target.name + PART)
    if digest is None:
        part.unlink(missing_ok=True)
    logger.info("fetching %s from %s", title, url)
    resumed = part.is_file()
    if not (resumed and _has_digest(part, digest)):
        _receive_all(url, part, title)
    if resumed and not _has_digest(part, digest):  # the part may have been of another file
        part.unlink()
        _receive_all(url, part, title)
    if not _has_digest(part, digest):
        found = sha256_of(part)[: len(digest)]
        part.unlink()
        raise FetchError(f"the file's SHA-256 begins with {found}, not {digest}: it is another file")
    os.replace(part, target)


def _has_digest(path: Path, digest: Optional[str]) -> bool:
    return digest is None or sha256_of(path).startswith(digest)


def _receive_all(url: str, part: Path, title: str) -> None:
    """Receive the file, reconnecting as long as one of ATTEMPTS connections in a row brings new bytes."""
    failed, tag = 0, None
    while True:
        before = _size(part)
        try:
            opened = _open(url, before, tag)
            tag = opened.tag
            _receive(opened, part, title)
            return
        except urllib.error.HTTPError as error:
            if error.code == 416 and before:  # the part is not the beginning of a longer file
                part.unlink()
                continue
            if error.code not in TRANSIENT:
                raise FetchError(f"HTTP {error.code} {error.reason}") from error
            reason = f"HTTP {error.code} {error.reason}"
        except CONNECTION_ERRORS as error:
            cause = getattr(error, "reason", None) or error
            reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        failed = 0 if _size(part) > before else failed + 1
        if failed == ATTEMPTS:
            raise FetchError(reason)
        time.sleep(PAUSE * 2 ** max(failed - 1, 0))


def _open(url: str, start: int, tag: Optional[str]) -> _Opened:
    """Request the file from byte `start` on; a server without ranges sends it from byte 0."""
    request = urllib.request.Request(url, headers={"User-Agent": "stdc-seg-paddle", "Accept-Encoding": "identity"})
    if start:
        request.add_header("Range", f"bytes={start}-")
        if tag:
            request.add_header("If-Range", tag)
    response = urllib.request.urlopen(request, timeout=TIMEOUT)
    headers = response.headers
    strong = headers.get("ETag", "W/")
    version = headers.get("Last-Modified") if strong.startswith("W/") else strong
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
    if response.status == 206 and span and int(span[1]) == start:
        return _Opened(response, start, None if span[2] == "*" else int(span[2]), version)
    length = headers.get("Content-Length")
    if response.status != 200:
        response.close()
        raise FetchError(f"the server's response to a request for a part of the file is HTTP {response.status}")
    return _Opened(response, 0, int(length) if length and length.isdigit() else None, version)


def _receive(opened: _Opened, part: Path, title: str) -> None:
    """Write the body; raises one of CONNECTION_ERRORS where the connection ends before the file does."""
    with opened.response:
        _check_space(part, (opened.size or 0) - opened.start)
        with _opened_for_writing(part, opened.start) as file, _bar(title, opened) as bar:
            while True:
                chunk = opened.response.read1(CHUNK)
                if not chunk:
                    break
                _write(file, chunk)
                bar.update(len(chunk))
    if opened.size is not None and _size(part) < opened.size:
        raise http.client.HTTPException(f"the connection ended after {_size(part)} of {opened.size} bytes")


def _bar(title: str, opened: _Opened) -> tqdm:
    """A bar in bytes, on a terminal alone."""
    return tqdm(desc=title, total=opened.size, initial=opened.start, unit="B", unit_scale=True, disable=None)


def _opened_for_writing(part: Path, start: int):
    try:
        return open(part, "ab" if start else "wb")
    except OSError as error:
        raise _unwritable(part, error) from error


def _write(file, chunk: bytes) -> None:
    try:
        file.write(chunk)
        file.flush()
    except OSError as error:
        raise _unwritable(Path(file.name), error) from error


def _check_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed + FREE_BESIDE > free:
        raise UserError(
            f"{part.parent}: has {free >> 20} MiB free, and the download needs {(needed + FREE_BESIDE) >> 20} MiB"
        )


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: cannot be written ({error.strerror or error}); what arrived is kept for the next try")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
