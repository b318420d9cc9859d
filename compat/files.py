"""Text and JSON files, written atomically; failures are one-line errors. Checksums of files."""

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any, Mapping, Union

from compat.errors import UserError


def check_writable(*paths: Union[str, Path, None]) -> None:
    """Raise UserError for a path that cannot be written; for use before the work whose result is written there.

    Missing folders are created. None, for a file that was not asked for, is skipped.
    """
    for path in map(_target, filter(None, paths)):
        try:
            if path.is_dir():
                raise IsADirectoryError(0, "it is a folder")
            probe = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            path.parent.mkdir(parents=True, exist_ok=True)
            if _is_special(path):
                continue
            probe.touch()
            probe.unlink()
        except (OSError, ValueError) as error:
            raise _unwritable(path, error) from error


def write_text(path: Union[str, Path], text: str, errors: str = "strict") -> None:
    """Write a text file in UTF-8; a missing folder is created, and a link stays one.

    Args:
        path: of the file.
        text: its content.
        errors: for names of files that are not UTF-8, such as Latin-1 ones on Linux: `strict` raises, and
            `backslashreplace` is for names that are only shown.

    Raises:
        UserError: if the file cannot be written, or for such a name; an existing file is kept.
    """
    path = _target(path)
    check_writable(path)
    temporary = path if _is_special(path) else path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        content = text.encode("utf-8", errors)
    except UnicodeEncodeError as error:
        before, after = text[: error.start].splitlines()[-1:], text[error.start :].splitlines()[:1]
        line = "".join([*before, *after]).encode("utf-8", "backslashreplace").decode("utf-8")
        raise UserError(f"{path}: a name is not UTF-8, in {line[:200]!r}; rename that file or folder") from error
    try:
        temporary.write_bytes(content)
        if temporary != path:
            os.replace(temporary, path)
    except OSError as error:
        if temporary != path:
            temporary.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


def write_json(path: Union[str, Path], content: Any) -> None:
    """Write `content` as JSON, see `json_text`; raises UserError as `write_text` does."""
    write_text(path, json_text(content) + "\n", errors="backslashreplace")  # which is JSON's escape too


def json_text(content: Any, indent: Union[int, None] = 1) -> str:
    """Strict JSON: NaN and infinities become null, numpy's numbers and arrays plain ones, paths text."""
    return json.dumps(_plain(content), indent=indent, allow_nan=False, ensure_ascii=False)


def sha256_of(path: Union[str, Path]) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if hasattr(value, "tolist"):  # numpy's and Paddle's arrays and numbers
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, os.PathLike) else value


def _target(path: Union[str, Path]) -> Path:
    """The file that a link leads to, so that the link is not replaced; not for /dev/stdout, a link to what is open."""
    follow = os.path.islink(path) and not _is_special(Path(path))
    return Path(os.path.realpath(path) if follow else path)


def _is_special(path: Path) -> bool:
    """Whether the path is a device or pipe, such as /dev/stdout, which must not be replaced by a file."""
    return os.path.abspath(path).startswith(("/dev/", "/proc/")) or (os.path.exists(path) and not os.path.isfile(path))


def _unwritable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or error}); name another file")
