"""Which files belong to each split of a layout, and what the values of its labels mean."""

from compat import UserError

import cv2
import numpy as np
import pytest

from data import CITYSCAPES, build_dataset, dataset_classes, generic_classes

VALUES = np.array([[0, 7, 10, 11, 26, 255]], np.uint8)


def write(root, *names, pixels=VALUES):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name), pixels if "label" in name or "annot" in name else np.zeros((1, 6, 3), np.uint8))


def listed(root, mode, *lines, num_classes=19):
    (root / "list.txt").write_text("\n".join(lines))
    return build_dataset("Dataset", str(root), mode, num_classes=num_classes, **{f"{mode}_path": "list.txt"})


def test_camvid_ignores_void_and_255(tmp_path):
    write(tmp_path, "val/a.png")
    write(tmp_path, "valannot/a.png", pixels=np.array([[0, 1, 9, 10, 11, 255]], np.uint8))
    assert build_dataset("CamVid", str(tmp_path), "val")[0]["label"].tolist() == [[[0, 1, 9, 10, 255, 255]]]


def test_camvids_test_images_need_no_labels(tmp_path):
    write(tmp_path, "test/a.png", "test/b.png")
    write(tmp_path, "testannot/b.png", pixels=VALUES * 0)
    dataset = build_dataset("CamVid", str(tmp_path), "test")
    assert ["label" in dataset[index] for index in range(2)] == [False, True]


def test_cityscapes_test_labels_are_dummies(tmp_path):
    write(tmp_path, "leftImg8bit/test/bonn/bonn_000000_000019_leftImg8bit.png")
    write(tmp_path, "gtFine/test/bonn/bonn_000000_000019_gtFine_labelIds.png")
    dataset = build_dataset("Cityscapes", str(tmp_path), "test")
    assert len(dataset) == 1 and "label" not in dataset[0]


def test_a_list_for_test_may_name_images_alone(tmp_path):
    write(tmp_path, "a.png", "b.png", "b_label.png")
    dataset = listed(tmp_path, "test", "a.png", "b.png b_label.png", num_classes=200)
    assert ["label" in dataset[index] for index in range(2)] == [False, True]
    with pytest.raises(UserError, match=r"list.txt, line 2: 'a.png' is not image label; the separator is ' '"):
        listed(tmp_path, "val", "b.png b_label.png", "a.png", num_classes=200)


def test_files_that_a_list_names_and_are_not_there(tmp_path):
    write(tmp_path, "a.png", "a_label.png")
    with pytest.raises(UserError, match=r"list.txt, line 2: no such file: .*b.png \(2 more: "):
        listed(tmp_path, "train", "a.png a_label.png", "b.png a_label.png", "c.png c_label.png")


def test_label_ids_in_a_list_are_known_by_name_and_class_count(tmp_path):
    write(tmp_path, "a.png", "a_labelIds.png")
    assert listed(tmp_path, "val", "a.png a_labelIds.png")[0]["label"].tolist() == [[[255, 0, 255, 2, 13, 255]]]
    other = listed(tmp_path, "val", "a.png a_labelIds.png", num_classes=27)
    assert other[0]["label"].tolist() == VALUES[None].tolist()


@pytest.mark.parametrize(
    ("line", "is_cityscapes"),
    [
        ("a.png a_label.png", False),
        ("a_leftImg8bit.png a_label.png", False),
        ("a.png a_gtFine_labelIds.png", True),
        ("a.png a_gtFine_labelTrainIds.png", True),
    ],
)
def test_19_classes_in_lists_are_cityscapes_if_their_files_are(tmp_path, line, is_cityscapes):
    """A user's own 19 classes were called road, sidewalk, ..., and got the scores of Cityscapes' categories."""
    write(tmp_path, *line.split(), pixels=np.array([[0, 7, 8, 11, 17, 255]], np.uint8))
    classes = CITYSCAPES if is_cityscapes else generic_classes(19)
    assert listed(tmp_path, "train", "", line).classes == classes
    assert dataset_classes("Dataset", tmp_path, num_classes=19, val_path="list.txt") == classes
    assert dataset_classes("Dataset", tmp_path, num_classes=18, val_path="list.txt") == generic_classes(18)
    named = {f"name {index}": (index, 0, 0) for index in range(19)}
    assert dataset_classes("Dataset", tmp_path, num_classes=19, val_path="list.txt", classes=named).names == (*named,)


def test_19_classes_in_lists_without_labels_or_not_there(tmp_path):
    write(tmp_path, "a_leftImg8bit.png", "b.png")
    for line, classes in (("a_leftImg8bit.png", CITYSCAPES), ("b.png", generic_classes(19))):
        assert listed(tmp_path, "test", line).classes == classes
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "latin.txt").write_bytes(b"\xe4_labelIds.png")
    for lists in ({"val_path": "none.txt"}, {"val_path": "empty.txt"}, {"val_path": "latin.txt"}, {}):
        assert dataset_classes("Dataset", tmp_path, num_classes=19, **lists) == generic_classes(19)
    assert dataset_classes("Dataset", num_classes=19, val_path="none.txt") == generic_classes(19)
