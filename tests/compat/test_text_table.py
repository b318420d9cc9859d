"""Text tables, against tables drawn by hand."""

from compat import markdown_table, text_table


def test_columns_are_as_wide_as_their_widest_cell():
    rows = [("road", 80, "-", "OVER"), ("  light", "8.25", "", "")]
    assert text_table(("class", "", "", "note"), rows).splitlines() == [
        "class             note",
        "----------------------",
        "road       80  -  OVER",
        "  light  8.25",
    ]
    assert text_table(("class", "", "x", "note"), rows, left=4, rule=False).splitlines() == [
        "class          x  note",
        "road     80    -  OVER",
        "  light  8.25",
    ]
    assert text_table(("a", "b"), []).splitlines() == ["a  b", "----"]


def test_markdown():
    assert markdown_table(("ms", "eager"), [("STDC2", "**40**")]).splitlines() == [
        "| ms    |  eager |",
        "| :-----|------: |",
        "| STDC2 | **40** |",
    ]
