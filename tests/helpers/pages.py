"""README and docs as tests read them: links, headings, fenced blocks with their marks, and the commands in them."""

import argparse
import re
import shlex
import string
from importlib import import_module
from pathlib import Path
from typing import Iterator, List, NamedTuple, Sequence

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    {
        path
        for pattern in ("*.md", "docs/**/*.md", "pretrained/*.md", "examples/**/*.md", "configs/**/*.md")
        for path in ROOT.glob(pattern)
        if ".venv" not in str(path)
    }
)
FENCE = re.compile(
    r"(?:<!-- (?P<mark>run|not run: [^>]+) -->\n+)?^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
PATH = re.compile(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|yml|md|svg|png|html|txt|json))`")


class Block(NamedTuple):
    """A fenced block: its page, language, text, and mark (`run`, `not run: why`, or empty)."""

    page: Path
    language: str
    text: str
    mark: str

    @property
    def name(self) -> str:
        """For pytest's list."""
        return f"{self.page.relative_to(ROOT)}: {self.text.strip().splitlines()[0][:50]}"

    def commands(self) -> List[List[str]]:
        """The words of each line, without comments and environment variables; lines that end with \\ are joined."""
        lines = self.text.replace("\\\n", " ").splitlines()
        found = (shlex.split(line, comments=True) for line in lines)
        return [self._without_variables(words) for words in found if words]

    @staticmethod
    def _without_variables(words: Sequence[str]) -> List[str]:
        while words and re.match(r"[A-Z_]+=", words[0]):
            words = words[1:]
        return list(words)


def blocks() -> List[Block]:
    """Of all pages."""
    return [
        Block(page, match["language"], match["text"], match["mark"] or "")
        for page in PAGES
        for match in FENCE.finditer(page.read_text(encoding="utf-8"))
    ]


def without_blocks(page: Path) -> str:
    """A page's text without what is fenced."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> List[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", without_blocks(page), re.MULTILINE)
    kept = set(string.ascii_lowercase + string.digits + "-_ ")
    return [
        "".join(c for c in heading.lower() if c in kept or ord(c) > 127).strip().replace(" ", "-")
        for heading in headings
    ]


class ParsedError(Exception):
    """Raised instead of doing what a command was parsed to do."""


def parse_only(words: Sequence[str]) -> None:
    """Let a command of this project parse its flags, and do nothing.

    Raises:
        ValueError: for a line that is no such command.
        SystemExit: where the flags are wrong.
    """
    module, arguments = _module(words)
    parse = argparse.ArgumentParser.parse_args

    def parse_and_leave(self, args=None, namespace=None):
        parse(self, args, namespace)
        raise ParsedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_and_leave)
        with pytest.raises(ParsedError):
            import_module(module).main(arguments)


def run(words: Sequence[str]) -> None:
    """Run a command of this project in this process; it must end with status 0."""
    module, arguments = _module(words)
    assert not import_module(module).main(arguments), words


def _module(words: Sequence[str]):
    if "train.py" in words and words[0] == "python":
        return "train", list(words[words.index("train.py") + 1 :])
    if words[:2] == ["python", "-m"] and words[2].partition(".")[0] in ("tool", "benchmarks"):
        return words[2], list(words[3:])
    raise ValueError(f"{' '.join(words)}: no command of this project")


def make_targets() -> Iterator[str]:
    """The targets and the variables of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    yield from re.findall(r"^([\w-]+):", makefile, re.MULTILINE)
    yield from re.findall(r"^(\w+) \?=", makefile, re.MULTILINE)
