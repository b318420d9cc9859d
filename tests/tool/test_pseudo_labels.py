"""tool.predict --pseudo_labels: label files that are ignored where the network is unsure, and training on them."""

import shutil
from pathlib import Path

from compat import UserError

import numpy as np
import paddle
import pytest

from data import build_dataset
from data.files import read_image, read_label
from engine.build import dataset_of
from engine.recipe import load_recipe
from models import build_model
from tool import predict
from tool.prediction.classify import open_classifier

RECIPE = "configs/stdc1_seg_sample.yml"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    paddle.seed(4)
    file = tmp_path_factory.mktemp("weights") / "model.pdparams"
    paddle.save(build_model("stdc1_seg", 19).state_dict(), str(file))
    return file


@pytest.fixture
def images(sample_root, tmp_path):
    """Two images without labels, in a folder with a space in its name."""
    folder = tmp_path / "more images"
    folder.mkdir()
    for number, file in enumerate(sorted((sample_root / "leftImg8bit" / "val").rglob("*.png"))[:2]):
        shutil.copy(file, folder / f"street {number}.png")
    return folder


@pytest.fixture
def label(weights, images, tmp_path):
    def run(threshold, *flags):
        fixed = ["--config", RECIPE, "--model_path", str(weights), "--image_path", str(images)]
        predict.main([*fixed, "--save_dir", str(tmp_path / "out"), "--pseudo_labels", str(threshold), *flags])
        return tmp_path / "out"

    return run


@pytest.fixture
def median(weights, images):
    """The median confidence of the network, of all pixels."""
    classify = open_classifier(load_recipe(RECIPE), 19, str(weights))
    return float(np.median([classify.segment(read_image(file)).confidence for file in images.iterdir()]))


def test_pixels_below_the_confidence_are_ignored(label, images, median):
    out = label(0.0)
    everything = {file.name: read_label(file) for file in (out / "pseudo_labels").glob("*.png")}
    assert len(everything) == 2 and all((found < 19).all() for found in everything.values())
    out = label(median)
    ignored = []
    for name, every in everything.items():
        found = read_label(out / "pseudo_labels" / name)
        assert found.shape == read_image(images / name).shape[:2]
        ignored.append((found == 255).mean())
        np.testing.assert_array_equal(found[found != 255], every[found != 255])
    assert np.mean(ignored) == pytest.approx(0.5, abs=0.01)
    assert [file.name for file in out.iterdir() if file.is_dir()] == ["pseudo_labels"]  # no pictures


def test_a_recipe_trains_on_them(label, images, median, sample_root):
    listed = label(median) / "pseudo_labels.txt"
    roots = {f"{split}_dataset.dataset_root": str(sample_root) for split in ("train", "val")}
    recipe = load_recipe(RECIPE, {**roots, "train_dataset.extra_list": str(listed)})
    dataset = dataset_of(recipe.train_dataset)
    assert len(dataset) == 6 + 2 and [Path(image).name for image, _ in dataset.file_list[6:]] == [
        "street 0.png", "street 1.png",
    ]  # fmt: skip
    for index in (6, 7):
        image, found = dataset.read(index)
        np.testing.assert_array_equal(image, read_image(images / f"street {index - 6}.png"))
        assert 255 in found and set(np.unique(found)) <= {*range(19), 255}


def test_images_of_which_nothing_is_known_are_left_out(label, capsys):
    out = label(1.0)
    assert (out / "pseudo_labels.txt").read_text() == ""
    assert "labels of 0 of 2 images; on average 0.0 % of an image's pixels" in capsys.readouterr().out


def test_what_is_wrong_is_named(label, sample_root, tmp_path):
    lost = tmp_path / "list.txt"
    lost.write_text("/nowhere/a.png\t/nowhere/b.png\n")
    with pytest.raises(UserError, match="line 1: no such file: /nowhere/a.png"):
        build_dataset("Cityscapes", str(sample_root), "train", extra_list=str(lost))
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(UserError, match="empty.txt names no image"):
        build_dataset("Cityscapes", str(sample_root), "train", extra_list=str(tmp_path / "empty.txt"))
    with pytest.raises(UserError, match="extra_list are for mode train"):
        build_dataset("Cityscapes", str(sample_root), "val", extra_list=str(lost))
    with pytest.raises(SystemExit):
        label(1.5)
