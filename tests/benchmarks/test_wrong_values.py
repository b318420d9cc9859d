"""Wrong values of the benchmarks' flags end in status 2 or one line, before anything is measured."""

from compat import UserError

import pytest

from benchmarks import ablation, evaluation, inference, input_pipeline, memory, random_detail_target, tables, train_step


@pytest.mark.parametrize(
    ("benchmark", "flags"),
    [
        (ablation, ["--config", "plan.yml", "--nice", "-1"]),
        (evaluation, ["--images", "0"]),
        (inference, ["--runs", "0"]),
        (input_pipeline, ["--rounds", "0"]),
        (input_pipeline, ["--samples", "0"]),
        (memory, ["--batches", "0"]),
        (random_detail_target, ["--draws", "0"]),
        (train_step, ["--rounds", "0"]),
    ],
)
def test_a_count_that_measures_nothing_is_a_wrong_argument(benchmark, flags, capsys):
    with pytest.raises(SystemExit, match="2"):
        benchmark.main(flags)
    assert "is not a whole number" in capsys.readouterr().err


@pytest.mark.parametrize(("benchmark", "measure"), [(memory, "measure"), (random_detail_target, "draw")])
def test_an_unwritable_file_is_reported_before_the_measurement(benchmark, measure, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, measure, lambda *_: pytest.fail("measured first"))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="figures.json: cannot be written"):
        benchmark.main(["--json", str(tmp_path / "file" / "figures.json")])


def test_a_page_that_is_missing_or_a_folder_is_one_line(tmp_path):
    for page in (tmp_path, tmp_path / "gone.md"):
        with pytest.raises(UserError, match="cannot be read"):
            tables.main([str(page)])
