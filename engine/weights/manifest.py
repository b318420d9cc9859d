"""The manifest of published weights: pretrained/manifest.yml."""

import difflib
import functools
import os
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

from compat import UserError
from compat.options import Count, Options, check, custom_error

import yaml
from pydantic import Field, model_validator
from typing_extensions import Annotated

ROOT = Path(__file__).parents[2]
PRETRAINED = ROOT / "pretrained"
MANIFEST = PRETRAINED / "manifest.yml"
UNKNOWN = "unknown"


class Entry(Options):
    """Weights as someone publishes them.

    name: that commands and recipes call them by.
    url: of the file itself; page: where a person finds it. A file of this repository has neither.
    file: its name in the folder of the weights.
    sha256: of the file, its first digits (8 or more), or `unknown`.
    model: the network that the converter fills; source: the converter's name of the project.
    options: what the network needs besides, see models.build_model.
    config, opts: the recipe that goes with a whole network, and overrides of it as --opts takes them.
    output: the file's name under which recipes know converted weights of this kind.
    tensors: how many the converted file holds.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    file: str
    licence: str
    model: str
    tensors: Count
    expect: str
    url: Optional[str] = None
    page: Optional[str] = None
    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{8,64}|unknown)$")] = UNKNOWN
    source: Optional[str] = None
    options: Dict[str, Any] = Field(default_factory=dict)
    config: Optional[str] = None
    opts: Tuple[str, ...] = ()
    output: Optional[str] = None

    @model_validator(mode="after")
    def _check_origin(self):
        if self.url and self.page:
            raise custom_error("url and page: one of them is enough")
        if bool(self.url or self.page) != bool(self.source):
            raise custom_error("a file from elsewhere has a source, and one of this repository has none")
        return self

    @property
    def is_shipped(self) -> bool:
        """Whether the file is part of this repository."""
        return self.source is None

    @property
    def recipe(self) -> Optional[Path]:
        """The recipe's file."""
        return ROOT / self.config if self.config else None


def read_manifest(path: Optional[Path] = None) -> Dict[str, Entry]:
    """{name: entry} of a manifest, by default the repository's.

    Raises:
        UserError: for a file that is missing or malformed, or a name that is there twice.
    """
    return _read(path or MANIFEST)


@functools.cache
def _read(path: Path) -> Dict[str, Entry]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: the manifest of weights cannot be read ({' '.join(str(error).split())})") from error
    entries = check(Tuple[Entry, ...], raw, str(path))
    names = [entry.name for entry in entries]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UserError(f"{path}: two entries are called {twice}")
    return dict(zip(names, entries))


def find_entry(name: str) -> Optional[Entry]:
    """The entry of that name or URL; None if there is none, as for a file's path."""
    entries = read_manifest()
    if "://" in name:
        return next((entry for entry in entries.values() if entry.url == name), None)
    return entries.get(name)


def named_entry(text: str) -> Optional[Entry]:
    """The entry of that name, unless a file or folder has it."""
    return None if os.path.exists(text) else find_entry(text)


def recipe_of_weights(name: str) -> Optional[Tuple[str, Tuple[str, ...]]]:
    """The recipe's file and its overrides, as --opts takes them, that named weights bring; None for a file's path."""
    entry = named_entry(name)
    return (str(entry.recipe), entry.opts) if entry and entry.recipe else None


def is_like_a_name(text: str) -> bool:
    """Whether a text looks like a name of weights rather than a path."""
    return bool(text) and not Path(text).suffix and "/" not in text and "\\" not in text


def is_unknown_name(text: str) -> bool:
    """Whether a text looks like a name of weights, and is neither one nor a file or folder here."""
    return is_like_a_name(text) and not os.path.exists(text) and find_entry(text) is None


def unknown_weights(name: str) -> UserError:
    """The error for text that is neither an existing file nor a name of weights."""
    nearest = difflib.get_close_matches(name, read_manifest(), n=1)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return UserError(f"{name}: neither a file here nor a name of weights in pretrained/{MANIFEST.name}{hint}")
