"""data.check and the commands and runs that use it: what is suspicious in labels and images."""

import json
import logging

from compat import UserError, logger

import cv2
import numpy as np
import pytest

from data import build_dataset, generic_classes
from data.check import Report, SplitSource, absent_classes, check_dataset, warn_of_single_class
from data.classes import train_id_table
from data.files import read_image
from data.layouts import Sample
from tool.prepare_data import main as prepare_data
from tool.prepare_data import sheet_rows


def listed(root, labels, separator=" ", prefix="", seed=0):
    """Options of a dataset of one random 8 x 8 image for each label array."""
    root.mkdir(exist_ok=True)
    g = np.random.default_rng(seed)
    lines = []
    for number, label in enumerate(labels):
        cv2.imwrite(str(root / f"{number}.png"), g.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        cv2.imwrite(str(root / f"{number}_label.png"), label)
        lines.append(f"{number}.png{separator}{number}_label.png")
    (root / "list.txt").write_text(prefix + "\n".join(lines) + "\n", encoding="utf-8")
    return {"num_classes": 2, "train_path": str(root / "list.txt")}


def mask(foreground):
    """8 x 8, background 0, a square of `foreground`."""
    label = np.zeros((8, 8), np.uint8)
    label[2:6, 2:6] = foreground
    return label


@pytest.fixture
def warnings():
    """The log's warnings."""
    lines = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def test_masks_of_0_and_255_are_a_problem_and_training_warns(tmp_path, warnings):
    options = listed(tmp_path, [mask(255), mask(255)])
    report = check_dataset({"train": SplitSource("Dataset", tmp_path, options)})
    assert len(report.problems) == 1 and report.pixels.tolist() == [96, 0, 32]
    assert "a single class, class_0" in report.problems[0] and "25.0 %" in report.problems[0]
    assert "write 1 instead" in report.problems[0]
    assert report.warnings == ["train: no pixel of 1 classes, which cannot be learned: class_1"]
    warn_of_single_class(build_dataset("Dataset", str(tmp_path), "train", [{"type": "Normalize"}], **options))
    assert len(warnings) == 1 and "masks of 0 and 255" in warnings[0]
    (tmp_path / "0_label.png").write_bytes(b"")  # whoever reads it for training says so
    warn_of_single_class(build_dataset("Dataset", str(tmp_path), "train", [{"type": "Normalize"}], **options))
    assert len(warnings) == 2


def test_masks_of_two_classes_are_fine(tmp_path, warnings):
    options = listed(tmp_path, [mask(0), mask(1), mask(255)])
    report = check_dataset({"train": SplitSource("Dataset", tmp_path, options)})
    assert report.problems == [] and report.warnings == []
    warn_of_single_class(build_dataset("Dataset", str(tmp_path), "train", [{"type": "Normalize"}], **options))
    assert warnings == []


def test_classes_without_a_pixel_are_named_for_their_split():
    classes = generic_classes(3)
    assert absent_classes("val", np.array([5, 0, 0, 9]), classes) == [
        "val: no pixel of 2 classes, which have no IoU there: class_1, class_2"
    ]
    assert absent_classes("train", np.array([0, 0, 0, 9]), classes) == []  # that is a problem, and named as one
    assert absent_classes("train", np.array([1, 1, 1, 0]), classes) == []


def test_labels_of_ignored_pixels_only_are_a_problem(tmp_path):
    options = listed(tmp_path, [mask(255) | 255])
    report = check_dataset({"train": SplitSource("Dataset", tmp_path, options)})
    assert report.problems == ["the labels hold no class: all pixels are ignored, so that nothing can be learned"]


def test_one_class_is_refused(tmp_path):
    options = {**listed(tmp_path, [mask(0)]), "num_classes": 1}
    with pytest.raises(UserError, match="from 2 to 254, not 1; the background is a class too"):
        build_dataset("Dataset", str(tmp_path), "train", **options)


@pytest.mark.parametrize(
    ("separator", "prefix"), [("\t", ""), ("   ", ""), (" \t ", ""), (" ", "\ufeff"), ("\t", "\ufeff")]
)
def test_lists_with_tabs_spaces_and_a_byte_order_mark(tmp_path, separator, prefix):
    options = listed(tmp_path, [mask(1), mask(1)], separator, prefix)
    assert len(build_dataset("Dataset", str(tmp_path), "train", **options)) == 2


def test_names_with_spaces_stand_between_tabs(tmp_path):
    listed(tmp_path, [mask(1)])
    for name in ("0.png", "0_label.png"):
        (tmp_path / name).rename(tmp_path / f"a {name}")
    (tmp_path / "list.txt").write_text("a 0.png\ta 0_label.png\n")
    assert len(build_dataset("Dataset", str(tmp_path), "train", num_classes=2, train_path="list.txt")) == 1


def test_16_bit_images(tmp_path):
    path = str(tmp_path / "deep.png")
    values = np.random.default_rng(0).integers(0, 65536, (6, 5, 3), dtype=np.uint16)
    cv2.imwrite(path, values)
    assert (read_image(path) == (values[..., ::-1] // 256)).all()
    cv2.imwrite(path, values[..., 0])  # grey
    assert (read_image(path) == (values[..., :1] // 256)).all()
    cv2.imwrite(path, values * 0)  # black
    assert not read_image(path).any()
    cv2.imwrite(path, values // 16)  # as a 12-bit camera writes them
    with pytest.raises(UserError, match=r"16-bit numbers end at \d+ of 65535.*nearly black"):
        read_image(path)
    cv2.imwrite(str(tmp_path / "float.tiff"), values.astype("float32"))
    with pytest.raises(UserError, match="an image of float32 numbers"):
        read_image(tmp_path / "float.tiff")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
def test_8_bit_images_are_as_opencv_reads_them(tmp_path, suffix):
    path = str(tmp_path / f"image.{suffix}")
    cv2.imwrite(path, np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8))
    assert (read_image(path) == cv2.imread(path)[..., ::-1]).all()


def recipe_of(file, train, val):
    """A recipe file with datasets of these options."""
    parts = {"train_dataset": {"type": "Dataset", **train}, "val_dataset": {"type": "Dataset", **val}}
    base = {"_base_": str(file.cwd() / "configs/stdc1_seg_sample.yml")}
    file.write_text(json.dumps({**base, **parts}))  # JSON is YAML
    return str(file)


def test_each_split_is_read_from_its_own_folder_by_its_own_options(tmp_path, capsys):
    train = listed(tmp_path / "a", [mask(1), mask(255)])
    val = listed(tmp_path / "b", [mask(1), mask(7)], separator=",", seed=1)
    (tmp_path / "b" / "1_label.png").rename(tmp_path / "b" / "1_void.png")
    (tmp_path / "b" / "list.txt").write_text("0.png,0_label.png\n1.png,1_void.png\n")
    val = {"num_classes": 2, "val_path": val["train_path"], "separator": ",", "ignore_index": 7}
    recipe = recipe_of(
        tmp_path / "recipe.yml",
        {"dataset_root": str(tmp_path / "a"), **train},
        {"dataset_root": str(tmp_path / "b"), **val},
    )
    flags = ["--config", recipe, "--sheet", ""]
    assert prepare_data(["check", *flags]) == 0
    output = capsys.readouterr().out
    assert "train: 2 images\nval: 2 images" in output and "0 problem(s)" in output
    assert prepare_data(["check", *flags, "--opts", f"val_dataset.dataset_root={tmp_path / 'a'}"]) == 1
    assert f"{tmp_path / 'a' / '1_void.png'}" in capsys.readouterr().out
    with pytest.raises(UserError, match="train has 2 classes, val 3"):
        prepare_data(["check", *flags, "--opts", "val_dataset.num_classes=3"])


def test_the_further_images_of_a_training_set_are_read_too(tmp_path, capsys):
    train = listed(tmp_path / "a", [mask(1), mask(1)])
    extra = listed(tmp_path / "extra", [mask(1), mask(77)], seed=1)["train_path"]
    lines = [f"{tmp_path / 'extra' / n}.png\t{tmp_path / 'extra' / n}_label.png\n" for n in "012"]
    (tmp_path / "extra" / "list.txt").write_text("".join(lines))
    part = {"dataset_root": str(tmp_path / "a"), **train}
    recipe = recipe_of(tmp_path / "recipe.yml", {**part, "extra_list": extra}, {**part, "val_path": "list.txt"})
    assert prepare_data(["check", "--config", recipe, "--splits", "train", "--sheet", ""]) == 1
    output = capsys.readouterr().out
    assert "train: 4 images" in output and "3 problem(s)" in output
    assert f"{tmp_path / 'extra' / '1_label.png'}: the label value 77 (16 pixels) is none of the 2 classes" in output
    assert f"list.txt, line 3: no such file: {tmp_path / 'extra' / '2.png'}" in output
    (tmp_path / "extra" / "list.txt").write_text("")
    with pytest.raises(UserError, match="names no image; leave extra_list out"):
        prepare_data(["check", "--config", recipe, "--splits", "train", "--sheet", ""])


def test_the_sheet_shows_samples_of_all_splits(tmp_path):
    samples = []
    for number in range(11):
        image, label = tmp_path / f"{number}.png", tmp_path / f"{number}_label.png"
        cv2.imwrite(str(image), np.full((8, 8, 3), number, np.uint8))
        cv2.imwrite(str(label), mask(1))
        samples.append(Sample(image, label, train_id_table(2)))
    report = Report({"train": 9, "val": 2}, np.ones(3), [], [], generic_classes(2), samples)
    assert [row.image[0, 0, 0] for row in sheet_rows(report)] == [0, 2, 4, 6, 8, 10]
    report = report._replace(samples=samples[:3])
    assert [row.image[0, 0, 0] for row in sheet_rows(report)] == [0, 1, 2]
    assert sheet_rows(report._replace(samples=[])) == []


def test_the_sheet_warns_of_details_and_never_hides_the_problems(tmp_path, capsys):
    list_of = {"num_classes": 2, "train_path": "list.txt", "val_path": "list.txt"}
    recipe = recipe_of(tmp_path / "recipe.yml", *({"dataset_root": str(tmp_path), **list_of} for _ in range(2)))
    sheet = tmp_path / "sheet.png"
    flags = ["check", "--config", recipe, "--splits", "train", "--sheet", str(sheet)]

    listed(tmp_path, [np.zeros((8, 8), np.uint8)] * 2)
    assert prepare_data(flags) == 1 and "no class border in the 2 labels" in capsys.readouterr().out and sheet.is_file()
    noise = np.random.default_rng(0).integers(0, 2, (8, 8), dtype=np.uint8)
    listed(tmp_path, [noise] * 2)
    assert prepare_data(flags) == 0
    assert "detail target covers at least" in capsys.readouterr().out
    listed(tmp_path, [np.full((8, 8), 77, np.uint8)])
    assert prepare_data(flags) == 1
    output = capsys.readouterr().out
    assert "the label value 77 (64 pixels)" in output and "1 problem(s)" in output
