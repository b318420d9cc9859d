"""What a weight file is, by its first bytes, whatever its name says."""

from pathlib import Path
from typing import NamedTuple, Optional

HEAD_BYTES = 4096
LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # its magic number as a pickle


class FileKind(NamedTuple):
    """`title` is for messages; `suffix` is the one that the converter reads such files by, else there is a remedy."""

    title: str
    suffix: Optional[str] = None
    remedy: str = "download it again"


TORCH = FileKind("a torch checkpoint", ".pth")
PADDLE = FileKind("Paddle weights", ".pdparams")
SAFETENSORS = FileKind("safetensors", ".safetensors")
HTML = FileKind("a web page, not the file that it links to")
POINTER = FileKind("a pointer of Git LFS, not the file itself")
ARCHIVE = FileKind("a compressed archive", remedy="unpack it")


def file_kind(path: Path) -> Optional[FileKind]:
    """The kind of a file, or None for one that is none of the known ones; raises OSError where it cannot be read."""
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return HTML
    if text.startswith(b"version https://git-lfs"):
        return POINTER
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!")):
        return ARCHIVE
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return SAFETENSORS
    if head.startswith((b"PK\x03\x04", LEGACY_TORCH)):
        return TORCH
    if head.startswith(b"\x80") and b"numpy" in head and b"_reconstruct" in head and b"torch" not in head:
        return PADDLE
    return None
