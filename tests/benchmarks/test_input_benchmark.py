"""The benchmark of the input pipeline, on frames small enough for a test."""

import json

from benchmarks import input_pipeline


def test_the_figures_are_written(sample_root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(input_pipeline, "WORKERS", (0, 1))
    monkeypatch.setattr(input_pipeline, "LARGE_BATCH", 6)
    figures_file = tmp_path / "out" / "figures.json"
    arguments = ["--dataset_root", str(sample_root), "--rounds", "1", "--samples", "2", "--json", str(figures_file)]
    input_pipeline.main(arguments)
    figures = json.loads(figures_file.read_text())
    assert figures["ratio_png"] > 0 < figures["ratio_cache"]  # keys that others read
    for name, stages in figures["stages"].items():
        assert all(spent >= 0 for spent in stages.values()), name
        assert figures["samples_per_second"][name].keys() == {"0", "1"}
    assert figures["stages"]["png"]["decode"] > 0 == figures["stages"]["cache"]["decode"]
    table = capsys.readouterr().out
    assert figures["processor"] in table and "a batch of 36 from the cache" in table and "RandomDistort" in table
    assert not (sample_root / "cache").exists()
