"""data.importing.coco: polygons and run lengths become the training ids that they cover, or one line says why not."""

import json

from compat import UserError

import numpy as np
import pytest

from data.importing import find_source
from tests.data.test_importing import SIZE, ids, photo

TRIANGLE = {"category_id": 3, "segmentation": [[0, 0, 1, 0, 1, 1]]}


def coco(root, annotations, **changes):
    photo(root / "images" / "a.jpg")
    content = {
        "images": [{"id": 7, "file_name": "a.jpg", "width": SIZE[0], "height": SIZE[1]}],
        "categories": [{"id": 3, "name": "ship"}, {"id": 1, "name": "harbour"}],
        "annotations": [{"id": n, "image_id": 7, **one} for n, one in enumerate(annotations)],
        **changes,
    }
    (root / "instances.json").write_text(json.dumps(content))
    return root


def test_coco_polygons_and_both_kinds_of_rle(tmp_path):
    mask = pytest.importorskip("pycocotools.mask")
    inner, outer, far = (np.zeros(SIZE[::-1], np.uint8) for _ in range(3))
    inner[4:6, 4:8], outer[2:10, 2:12], far[12:, 20:] = 1, 1, 1
    runs = np.flatnonzero(np.diff(np.concatenate([[0], outer.ravel("F"), [1]])))
    counts = np.diff(np.concatenate([[0], runs])).tolist()
    packed = mask.encode(np.asfortranarray(far))
    annotations = [
        {"category_id": 3, "segmentation": [[4, 4, 8, 4, 8, 6, 4, 6]]},
        {"category_id": 1, "segmentation": {"size": list(SIZE[::-1]), "counts": counts}},
        {"category_id": 3, "segmentation": {"size": list(SIZE[::-1]), "counts": packed["counts"].decode()}},
    ]
    found = find_source(coco(tmp_path, annotations))
    assert found.classes.names == ("background", "harbour", "ship")
    expected = np.where(inner, 2, outer)
    expected[far == 1] = 2
    np.testing.assert_array_equal(found.items[0].label(), expected)  # the smaller one counts, whatever the order
    assert find_source(tmp_path / "instances.json").items[0].name == "a"


def test_compressed_rle_of_any_mask(tmp_path):
    mask = pytest.importorskip("pycocotools.mask")
    covered = np.random.default_rng(3).random(SIZE[::-1]) < np.linspace(0, 1, SIZE[0])
    shape = mask.encode(np.asfortranarray(covered.astype(np.uint8)))
    annotation = {"category_id": 1, "segmentation": {"size": shape["size"], "counts": shape["counts"].decode()}}
    np.testing.assert_array_equal(find_source(coco(tmp_path, [annotation])).items[0].label(), covered)


def test_cocos_own_folders(tmp_path):
    """annotations/instances_val2017.json beside val2017/, and captions, which have no categories."""
    pytest.importorskip("pycocotools")
    coco(tmp_path, [{"category_id": 3, "segmentation": [[4, 4, 8, 4, 8, 6, 4, 6]]}])
    (tmp_path / "images").rename(tmp_path / "val2017")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "instances.json").rename(tmp_path / "annotations" / "instances_val2017.json")
    (tmp_path / "annotations" / "captions_val2017.json").write_text(json.dumps({"images": [], "annotations": []}))
    for source in (tmp_path, tmp_path / "annotations" / "instances_val2017.json"):
        found = find_source(source)
        assert [item.image for item in found.items] == [tmp_path / "val2017" / "a.jpg"]
        assert found.items[0].label()[5, 6] == 2


def test_of_several_coco_files_none_is_chosen(tmp_path):
    pytest.importorskip("pycocotools")
    coco(tmp_path, [TRIANGLE])
    (tmp_path / "annotations").mkdir()
    for name in ("instances_val2017.json", "person_keypoints_val2017.json"):
        (tmp_path / "annotations" / name).write_bytes((tmp_path / "instances.json").read_bytes())
    (tmp_path / "instances.json").unlink()
    with pytest.raises(UserError, match="instances_val.*and.*person_keypoints.*name the one to import as the source"):
        find_source(tmp_path)
    assert len(find_source(tmp_path / "annotations" / "person_keypoints_val2017.json").items) == 1


def test_an_image_listed_outside_the_folder_keeps_its_name_within_the_dataset(tmp_path):
    pytest.importorskip("pycocotools")
    images = [{"id": 7, "file_name": "../images/./a.jpg", "width": SIZE[0], "height": SIZE[1]}]
    source = tmp_path / "source"
    assert find_source(coco(source, [TRIANGLE], images=images)).items[0].name == "images/a"
    photo(source / "a.jpg")
    images = [{**images[0], "id": number, "file_name": file} for number, file in ((7, "a.jpg"), (8, "../images/a.jpg"))]
    assert [item.name for item in find_source(coco(source, [TRIANGLE], images=images)).items] == ["a", "images/a"]
    photo(tmp_path / "a.jpg")
    images[1]["file_name"] = "../a.jpg"
    with pytest.raises(UserError, match="two images have the same name, a;"):
        find_source(coco(source, [TRIANGLE], images=images))


@pytest.mark.parametrize("name", ["background", "_background_"])
def test_a_category_of_the_background_is_class_0(tmp_path, name):
    pytest.importorskip("pycocotools")
    categories = [{"id": 1, "name": name}, {"id": 3, "name": "ship"}]
    boxes = {3: [0, 0, 16, 0, 16, 16, 0, 16], 1: [4, 0, 8, 0, 8, 16, 4, 16]}
    annotations = [{"category_id": key, "segmentation": [points]} for key, points in boxes.items()]
    found = find_source(coco(tmp_path, annotations, categories=categories))
    assert found.classes.names == ("background", "ship")
    np.testing.assert_array_equal(found.items[0].label(), ids(1, 0, 1, 1, 0, 0))


def test_categories_of_one_name_are_one_class(tmp_path):
    pytest.importorskip("pycocotools")
    categories = [{"id": 9, "name": "ship"}, {"id": 3, "name": "ship"}, {"id": 4, "name": "harbour"}]
    boxes = {9: [0, 0, 4, 0, 4, 16, 0, 16], 4: [4, 0, 8, 0, 8, 16, 4, 16], 3: [8, 0, 24, 0, 24, 16, 8, 16]}
    annotations = [{"category_id": key, "segmentation": [points]} for key, points in boxes.items()]
    found = find_source(coco(tmp_path, annotations, categories=categories))
    assert found.classes.names == ("background", "ship", "harbour")
    np.testing.assert_array_equal(found.items[0].label(), ids(1, 2, 1, 1, 1, 1))


def test_objects_without_an_outline_are_refused(tmp_path):
    """They became background without a word."""
    pytest.importorskip("pycocotools")
    boxes = [{"category_id": 3, "bbox": [1, 1, 9, 9], **one} for one in ({"segmentation": []}, {})]
    with pytest.raises(UserError) as error:
        find_source(coco(tmp_path, [TRIANGLE, *boxes]))
    assert str(error.value) == (
        f"{tmp_path / 'instances.json'}: annotation 1 (ship) has a box and no outline, so that its pixels are unknown "
        "(2 such annotations); give it a polygon or a mask, or delete it"
    )
    with pytest.raises(UserError, match=r"annotation 0 \(harbour\) has no outline, .* \(1 such annotation\)"):
        find_source(coco(tmp_path, [{"category_id": 1}, TRIANGLE]))
    categories = [{"id": 1, "name": "background"}, {"id": 3, "name": "ship"}]
    assert len(find_source(coco(tmp_path, [{"category_id": 1}, TRIANGLE], categories=categories)).items) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": [{"id": 7, "file_name": "b.jpg", "width": 24, "height": 16}]}, "b.jpg is in none of"),
        ({"images": [{"id": 7, "file_name": "a.jpg", "width": 25, "height": 16}]}, "has 24x16, not 25x16"),
        ({"images": [{"id": 7, "file_name": "a.jpg", "width": 24, "height": 16}] * 2}, "2 images have the id 7"),
        ({"images": [{"id": n, "file_name": "a.jpg"} for n in (7, 8)]}, "lists the image a.jpg 2 times"),
        ({"images": [{"id": 8, "file_name": "a.jpg", "width": 24, "height": 16}]}, "is of no listed image"),
        ({"categories": [{"id": 1, "name": "harbour"}]}, "no listed category"),
        ({"categories": [], "annotations": []}, "holds a single class, background"),
    ],
)
def test_wrong_coco_files(tmp_path, changes, message):
    pytest.importorskip("pycocotools")
    with pytest.raises(UserError, match=message):
        find_source(coco(tmp_path, **{"annotations": [TRIANGLE], **changes}))
