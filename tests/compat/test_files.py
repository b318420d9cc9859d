"""Text and JSON files: strict JSON, whole files, one line where a file cannot be written."""

import json
import os
import subprocess
import sys
from pathlib import Path

from compat import UserError, check_writable, json_text, write_json, write_text

import numpy as np
import pytest


def test_json_is_strict_and_takes_what_figures_consist_of(tmp_path):
    content = {
        "nan": float("nan"),
        "infinite": np.float32("-inf"),
        "array": np.array([[1.5, np.nan]]),
        "count": np.int64(3),
        "flag": np.True_,
        "path": Path("a/b"),
        1: (True, None, "größe"),
    }
    write_json(tmp_path / "new" / "figures.json", content)
    text = (tmp_path / "new" / "figures.json").read_text(encoding="utf-8")

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    assert json.loads(text, parse_constant=refuse) == {
        "nan": None,
        "infinite": None,
        "array": [[1.5, None]],
        "count": 3,
        "flag": True,
        "path": str(Path("a/b")),
        "1": [True, None, "größe"],
    }
    with pytest.raises(TypeError):
        json_text({"object": object()})


@pytest.mark.parametrize("name", ["file/figures.json", "folder", "nul\0.json", "n" * 300])
def test_an_unwritable_file_is_one_line_before_the_work_and_after_it(tmp_path, name):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for call in (check_writable, lambda path: write_text(path, "text")):
        with pytest.raises(UserError, match="cannot be written .*; name another file") as raised:
            call(tmp_path / name)
        assert "\n" not in str(raised.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_check_leaves_nothing_behind_and_keeps_what_is_there(tmp_path):
    (tmp_path / "old.txt").write_text("old")
    check_writable(tmp_path / "old.txt", None, tmp_path / "new.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["old.txt"] and (tmp_path / "old.txt").read_text() == "old"


def test_a_write_that_fails_keeps_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "old.txt").write_text("old")

    def full(path, content):
        with path.open("wb") as file:
            file.write(content[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"old.txt: cannot be written \(No space left on device\); name another file"):
        write_text(tmp_path / "old.txt", "new text")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_device_is_written_to_and_stays_a_device():
    write_text("/dev/null", "gone")
    assert Path("/dev/null").is_char_device()


def test_a_link_stays_and_its_file_is_written(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.txt").symlink_to("folder/file.txt")
    for text in ("new", "changed"):
        check_writable(tmp_path / "link.txt")
        write_text(tmp_path / "link.txt", text)
        assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "folder" / "file.txt").read_text() == text
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["file.txt"]


def test_standard_output_may_be_a_file(tmp_path):
    """/dev/stdout is a link to it, which must not be replaced by a file."""
    code = (
        "from compat.files import check_writable, write_text; p = '/dev/stdout'; check_writable(p); write_text(p, 'x')"
    )
    with open(tmp_path / "out.txt", "wb") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
    assert (tmp_path / "out.txt").read_text() == "x" and Path("/dev/stdout").is_symlink()


def test_names_that_are_not_utf8_are_escaped_in_json_and_refused_in_lists(tmp_path):
    """Such as Latin-1 names on Linux, which Python holds as lone surrogates; they ended in a traceback and a draft."""
    name = os.fsdecode(b"caf\xe9.png")
    write_json(tmp_path / "figures.json", {"image": name})
    assert json.loads((tmp_path / "figures.json").read_text(encoding="utf-8")) == {"image": name}
    with pytest.raises(UserError, match=r"a name is not UTF-8, in .*b/caf.*udce9.png c.*; rename that file") as raised:
        write_text(tmp_path / "list.txt", f"a.png\nb/{name} c.png\nd.png\n")
    assert "d.png" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]
