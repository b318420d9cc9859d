"""Text tables for the terminal and for Markdown; prettytable aligns them."""

from typing import Iterable, Sequence

from prettytable import MARKDOWN, PrettyTable

GAP = 2  # spaces between columns


def text_table(header: Sequence[object], rows: Iterable[Sequence[object]], left: int = 1, rule: bool = True) -> str:
    """A table whose columns are as wide as their widest cell, without a line break at the end.

    Args:
        header: a title for each column; titles may be empty or repeat each other.
        rows: cells, shown by `str`.
        left: how many of the first columns are flush left; the others are flush right.
        rule: whether a line of dashes follows the header.
    """
    # prettytable's own header would refuse equal titles, so the header is the first row.
    table = PrettyTable([str(column) for column in range(len(header))], header=False, border=False)
    table.left_padding_width, table.right_padding_width = 0, GAP
    _fill(table, [header, *rows], left)
    lines = [line.rstrip() for line in table.get_string().splitlines()]
    if rule:
        lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def markdown_table(header: Sequence[object], rows: Iterable[Sequence[object]], left: int = 1) -> str:
    """A table in Markdown, with the arguments of `text_table`; the titles must differ."""
    table = PrettyTable([str(title) for title in header])
    table.set_style(MARKDOWN)
    _fill(table, rows, left)
    return table.get_string()


def _fill(table: PrettyTable, rows: Iterable[Sequence[object]], left: int) -> None:
    for column, name in enumerate(table.field_names):
        table.align[name] = "l" if column < left else "r"
    table.add_rows([[str(cell) for cell in row] for row in rows])
