"""benchmarks.pareto: which points of several benchmarks are shown, and the table beside the picture."""

import json

from compat import UserError

import pytest

from benchmarks import pareto

HEADER = "engine,precision,miou,drop,p50_ms,reason\n"


@pytest.fixture
def files(tmp_path):
    rows = [("eager", "fp32", 74.2, 1040), ("openvino", "fp32", 74.2, 118), ("mnn", "fp32", 74.1, 100)]
    rows += [("openvino", "int8", 73.5, 33), ("paddle", "bf16", None, None)]
    keys = ("engine", "precision", "miou", "p50_ms")
    about = {"threads": 2, "size": [1024, 512], "measured": {"machine": "here"}}
    large = tmp_path / "large.json"
    large.write_text(json.dumps({**about, "rows": [dict(zip(keys, row)) for row in rows]}))
    small = tmp_path / "benchmark.csv"
    small.write_text(f"{HEADER}openvino,fp32,73.6,0,60,\nopenvino,int8,73.0,0.6,40,\npaddle,bf16,,,,not here\n")
    return large, small


def test_the_fastest_engine_of_each_precision_is_shown(files, tmp_path, capsys):
    large, small = files
    picture = tmp_path / "new" / "pareto.svg"
    pareto.main([str(large), f"STDC1, pruned={small}", "--save", str(picture), "--title", "Of two sizes"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[2:6]]
    assert lines == [
        ["large", "int8", "openvino", "73.50", "33.0", "*"],
        ["STDC1,", "pruned", "int8", "openvino", "73.00", "40.0"],
        ["STDC1,", "pruned", "fp32", "openvino", "73.60", "60.0", "*"],
        ["large", "fp32", "mnn", "74.10", "100.0", "*"],
    ]
    drawn = picture.read_text()
    assert all(f">{text}<" in drawn for text in ("Of two sizes", "large int8", "STDC1, pruned fp32"))
    joined = tmp_path / "joined.json"
    pareto.main([str(large), f"small={small}", "--engines", "eager", "--save", str(picture), "--json", str(joined)])
    assert capsys.readouterr().out.splitlines()[2].split() == ["large", "fp32", "eager", "74.20", "1040.0", "*"]
    networks = json.loads(joined.read_text())["networks"]
    assert [(one["name"], len(one["rows"]), one.get("threads")) for one in networks] == [
        ("large", 5, 2),
        ("small", 3, None),
    ]


def test_files_that_were_measured_otherwise_are_named(files, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(pareto.logger, "warning", lambda text, *values: said.append(text % values))
    large, _ = files
    other = tmp_path / "other.json"
    other.write_text(large.read_text().replace("here", "elsewhere"))
    pareto.main([str(large), str(other), "--save", str(tmp_path / "pareto.svg")])
    assert (
        len(said) == 1
        and "measured under different conditions" in said[0]
        and "elsewhere, 2 threads, [1024, 512]" in said[0]
    )


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "not a file of tool.benchmark"),
        ("[]", "not a file of tool.benchmark"),
        ('{"rows": [{"engine": "eager"}]}', "not a file of tool.benchmark .KeyError: 'miou'"),
        ('{"rows": [], "measured": {}}', "not a file of tool.benchmark"),
        ('{"rows": []}', "no format was measured"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, text, message):
    file = tmp_path / "benchmark.json"
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        pareto.main([str(file), "--save", str(tmp_path / "pareto.svg")])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="gone.json: no such file"):
        pareto.main(["first=gone.json", "--save", str(tmp_path / "pareto.svg")])
