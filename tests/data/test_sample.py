"""The rendered sample is a Cityscapes in small: same files, same rules, every class, the same bytes each time."""

import json
from pathlib import Path

from compat import UserError

import cv2
import numpy as np
import pytest

from data.renderer.canvas import LABELS
from data.renderer.sample import CITIES, render_sample

SIZE = (256, 128)
TRAIN, VAL = 9, 6
SUFFIXES = ("labelIds.png", "labelTrainIds.png", "instanceIds.png", "polygons.json")


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("sample")
    render_sample(str(root), TRAIN, VAL, SIZE)
    return root


def contents(root: Path) -> dict:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def annotations(root: Path, suffix: str, split: str = "*") -> list:
    paths = sorted(root.glob(f"gtFine/{split}/*/*_gtFine_{suffix}"))
    assert paths
    return [json.loads(p.read_text()) if suffix.endswith("json") else cv2.imread(str(p), -1) for p in paths]


def test_files_are_named_and_sized_as_in_cityscapes(sample):
    for split, count in (("train", TRAIN), ("val", VAL)):
        city = CITIES[split]
        for i in range(count):
            stem = f"{split}/{city}/{city}_{i:06d}_000019"
            photo = cv2.imread(str(sample / f"leftImg8bit/{stem}_leftImg8bit.png"), -1)
            assert photo.shape == (SIZE[1], SIZE[0], 3) and photo.dtype == np.uint8
            for suffix, dtype in zip(SUFFIXES[:3], (np.uint8, np.uint8, np.uint16)):
                target = cv2.imread(str(sample / f"gtFine/{stem}_gtFine_{suffix}"), -1)
                assert target.shape == (SIZE[1], SIZE[0]) and target.dtype == dtype
            polygons = json.loads((sample / f"gtFine/{stem}_gtFine_polygons.json").read_text())
            assert (polygons["imgWidth"], polygons["imgHeight"]) == SIZE
    assert len(contents(sample)) == 5 * (TRAIN + VAL)


def test_splits_share_no_city_and_no_picture(sample):
    photos = [path.read_bytes() for path in sample.glob("leftImg8bit/*/*/*.png")]
    assert len(set(photos)) == len(photos)
    assert len(set(CITIES.values())) == 2


def test_same_seed_gives_the_same_bytes_and_more_pictures_only_add(sample, tmp_path):
    render_sample(str(tmp_path), 2, 1, SIZE)
    fewer, all_files = contents(tmp_path), contents(sample)
    assert len(fewer) == 15
    assert all(all_files[name] == data for name, data in fewer.items())


def test_another_seed_gives_other_pictures(sample, tmp_path):
    render_sample(str(tmp_path), 1, 1, SIZE, seed=1)
    all_files = contents(sample)
    assert all(all_files[name] != data for name, data in contents(tmp_path).items())


@pytest.mark.parametrize("split", ["train", "val"])
def test_every_class_occurs_with_a_useful_area(sample, split):
    pixels = np.bincount(np.stack(annotations(sample, "labelTrainIds.png", split)).ravel(), minlength=256)
    shares = pixels / pixels.sum()
    assert shares[:19].min() > 0.003, dict(enumerate(shares[:19].round(4)))
    assert 0 < shares[255] < 0.1
    assert shares[19:255].sum() == 0


def test_rare_vehicles_come_in_turn(sample):
    seen = [set(np.unique(ids)) for ids in annotations(sample, "labelIds.png", "train")]
    for vehicle in ("bus", "truck", "train"):
        assert sum(LABELS[vehicle].id in ids for ids in seen) >= TRAIN // 3


def test_label_table_and_train_ids_are_cityscapesscripts(sample):
    official = pytest.importorskip("cityscapesscripts.helpers.labels")
    for name, label in LABELS.items():
        theirs = official.name2label[name]
        assert label == (theirs.id, theirs.trainId, theirs.hasInstances)
    table = np.array([official.id2label[i].trainId for i in range(34)], np.uint8)
    for ids, train_ids in zip(annotations(sample, "labelIds.png"), annotations(sample, "labelTrainIds.png")):
        np.testing.assert_array_equal(table[ids], train_ids)


def test_polygons_redrawn_by_cityscapesscripts_are_the_label_images(sample):
    labels = pytest.importorskip("cityscapesscripts.preparation.json2labelImg")
    instances = pytest.importorskip("cityscapesscripts.preparation.json2instanceImg")
    for path in sorted(sample.glob("gtFine/*/*/*_polygons.json")):
        polygons = labels.Annotation()
        polygons.fromJsonFile(str(path))
        # The drawing functions, not the files they save: Pillow 13 cannot write cityscapesscripts' instance images.
        for suffix, redrawn in (
            ("labelIds", labels.createLabelImage(polygons, "ids")),
            ("labelTrainIds", labels.createLabelImage(polygons, "trainIds")),
            ("instanceIds", instances.createInstanceImage(polygons, "ids")),
        ):
            ours = cv2.imread(str(path).replace("polygons.json", f"{suffix}.png"), -1)
            np.testing.assert_array_equal(np.array(redrawn), ours, err_msg=path.name)


def test_instance_ids_carry_the_label_ids(sample):
    with_instances = {label.id for label in LABELS.values() if label.has_instances}
    for ids, instances in zip(annotations(sample, "labelIds.png"), annotations(sample, "instanceIds.png")):
        numbered = instances >= 1000
        np.testing.assert_array_equal(np.where(numbered, instances // 1000, instances), ids)
        np.testing.assert_array_equal(numbered, np.isin(ids, list(with_instances)))


def test_labels_follow_the_picture_at_any_size(tmp_path):
    """The same scene at twice the size has the same labels but for pixels on an edge."""
    shared = []
    for size in ((256, 128), (512, 256)):
        render_sample(str(tmp_path / str(size[0])), 1, 1, size)
        shared.append(annotations(tmp_path / str(size[0]), "labelIds.png", "val")[0])
    assert (shared[0] == shared[1][1::2, 1::2]).mean() > 0.9


@pytest.mark.parametrize("size", [(64, 64), (100, 300), (333, 77)])
def test_odd_shapes_render(tmp_path, size):
    render_sample(str(tmp_path), 1, 1, size)
    assert annotations(tmp_path, "labelIds.png", "train")[0].shape == size[::-1]


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"train": 0}, "train=0"),
        ({"val": -1}, "val=-1"),
        ({"size": (512, 32)}, "at least 64"),
        ({"size": (512,)}, "width, height"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_arguments_out_of_range_are_named(tmp_path, arguments, words):
    with pytest.raises(UserError, match=words):
        render_sample(str(tmp_path), **{"train": 1, "val": 1, "size": SIZE, **arguments})
    assert not contents(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    occupied = tmp_path / "a_file"
    occupied.write_text("in the way")
    with pytest.raises(UserError, match="a_file"):
        render_sample(str(occupied), 1, 1, SIZE)
