"""The benchmark of the input pipeline, on frames small enough for a test."""

import json
import shutil

from benchmarks import input_pipeline
from data import build_dataset
from engine.recipe import load_recipe


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


def test_one_frame_in_a_folder_with_a_space(sample_root, tmp_path):
    """PaddleSeg's list separates names by a space unless told otherwise, and fewer than FRAMES images repeat."""
    root = tmp_path / "my frames"
    for image in sorted((sample_root / "leftImg8bit" / "train").rglob("*.png"))[:1]:
        label = next((sample_root / "gtFine").rglob(image.name.replace("leftImg8bit", "gtFine_labelTrainIds")))
        for file in (image, label):
            (root / file.relative_to(sample_root)).parent.mkdir(parents=True)
            shutil.copy(file, root / file.relative_to(sample_root))
    transforms = load_recipe(input_pipeline.RECIPE).train_dataset.transforms
    ours = build_dataset("Cityscapes", str(root), "train", transforms, cache="never")
    theirs = input_pipeline.paddleseg_dataset(ours, transforms, tmp_path / "list.txt")
    assert len(theirs) == 1 and theirs[0]["img"].shape == (3, 512, 1024)
    stages = input_pipeline.their_stages(theirs, samples=2)
    assert stages["decode"] > 0
