"""Write the figures of benchmarks/results into README and docs, between their markers.

In a Markdown file, the text between `<!-- figures: NAME -->` and `<!-- end of figures -->` is replaced by what the
function NAME of `benchmarks/figures/render.py` returns. With --check nothing is written, and the status is 1 if a file
differs, which a test relies on. To change a figure, put what a benchmark wrote with `--json` into benchmarks/results
and run this command.
"""

import difflib
import re
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from compat import UserError, unknown_name

from benchmarks.figures.files import language_of
from benchmarks.figures.render import FIGURES
from engine.command import parser, run

ROOT = Path(__file__).parents[1]
SEARCHED = ("README*.md", "CONTRIBUTING.md", "pretrained/*.md", "docs/**/*.md", "configs/**/*.md")
MARKED = re.compile(r"<!-- figures: (?P<name>[\w.-]+) -->(?P<text>.*?)<!-- end of figures -->", re.DOTALL)
OPENING = re.compile(r"<!-- figures:")


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Write or check every file; 1 when --check finds a difference."""
    arguments = parser(__doc__, "python -m benchmarks.tables --check")
    arguments.add_argument("--check", action="store_true", help="write nothing; status 1 where a file differs")
    arguments.add_argument("files", nargs="*", type=Path, help="these files instead of README and docs")
    options = arguments.parse_args(argv)
    stale: List[str] = []
    for path, text in rendered(options.files or marked_files()).items():
        before = _read(path)
        if before == text:
            continue
        stale.append(str(path))
        if options.check:
            name = str(path)
            print(*difflib.unified_diff(before.splitlines(), text.splitlines(), name, name, lineterm="", n=0), sep="\n")
        else:
            path.write_text(text, encoding="utf-8")
            print(f"{path}: written")
    if options.check and stale:
        print(f"differ from benchmarks/results: {', '.join(stale)}; to write them: python -m benchmarks.tables")
        return 1
    return 0


def marked_files() -> List[Path]:
    """The project's pages, whether they have figures or not."""
    return sorted({path for pattern in SEARCHED for path in ROOT.glob(pattern)})


def rendered(paths: Sequence[Path]) -> Dict[Path, str]:
    """{file: its text with today's figures}.

    Raises:
        UserError: for a file that cannot be read, an unknown name, or a marker without its end.
    """
    return {path: render(_read(path), path) for path in paths}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); name a Markdown file in UTF-8") from error


def render(text: str, path: Path) -> str:
    """The text with the figures of every marker; tables get lines of their own."""
    whole = MARKED.findall(text)
    if len(whole) != len(OPENING.findall(text)):
        raise UserError(f"{path}: a marker '<!-- figures: NAME -->' has no '<!-- end of figures -->'")

    def figure(match: re.Match) -> str:
        name = match.group("name")
        if name not in FIGURES:
            raise unknown_name(f"{path}: figures", name, FIGURES)
        made = FIGURES[name](language_of(path))
        space = "\n\n" if made.startswith("|") else ""
        return f"<!-- figures: {name} -->{space}{made}{space}<!-- end of figures -->"

    return MARKED.sub(figure, text)


if __name__ == "__main__":
    run(main)
