"""The files of benchmarks/results, and tables in the pages' languages."""

import json
from pathlib import Path
from typing import Any, Dict, Sequence

from compat import markdown_table

from benchmarks.figures.words import CHINESE

FOLDER = Path(__file__).parents[1] / "results"

NAMES = {
    "stdc1_seg": "STDC1-Seg",
    "stdc2_seg": "STDC2-Seg",
    "bisestdc": "BiSeSTDC",
    "bisestdc2": "BiSeSTDC2",
    "ddrnet23": "DDRNet-23",
    "ddrnet23_slim": "DDRNet-23-slim",
}


def language_of(path: Path) -> str:
    """`zh` for the Chinese pages, `en` otherwise."""
    return "zh" if path.stem.endswith("_cn") or "cn" in path.parts else "en"


def read(name: str) -> Dict[str, Any]:
    """A results file by its name without suffix."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def table(language: str, header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table, its words in the language; the first `left` columns are flush left."""
    header, *rows = ([in_language(language, cell) for cell in line] for line in (header, *rows))
    return markdown_table(header, rows, left)


def in_language(language: str, text: str) -> str:
    """A word or phrase of a table."""
    return CHINESE.get(text, text) if language == "zh" else text
