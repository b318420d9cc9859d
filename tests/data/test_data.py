"""Layouts, label values, augmentation and the stream of samples."""

import shutil

from compat import UserError

import cv2
import numpy as np
import paddle
import pytest

from data import TrainTransform, build_dataset, generic_classes, sample_of, train_batches
from data.classes import CITYSCAPES, INVALID, cityscapes_label_id_table
from data.files import read_label
from data.transforms import (
    Normalize,
    RandomDistort,
    RandomHorizontalFlip,
    RandomPaddingCrop,
    ResizeStepScaling,
    build_transform,
)
from tests.helpers.colors import distort_colors


def write_png(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)
    return path


def listed_dataset(root, labels, separator=",", **options):
    """A dataset by list file with one 6 x 4 image for each label array."""
    lines = []
    for number, label in enumerate(labels):
        write_png(root / f"{number}.png", np.full((4, 6, 3), number, np.uint8))
        write_png(root / f"{number}_label.png", label)
        lines.append(f"{number}.png{separator}{number}_label.png")
    (root / "list.txt").write_text("\n".join(lines) + "\n")
    return build_dataset("Dataset", str(root), "val", val_path=str(root / "list.txt"), separator=separator, **options)


def test_label_id_table_equals_cityscapesscripts():
    helpers = pytest.importorskip("cityscapesscripts.helpers.labels", reason="cityscapesscripts is not installed")
    table = cityscapes_label_id_table()
    for label in helpers.labels:
        if label.id >= 0:
            assert table[label.id] == (label.trainId if 0 <= label.trainId < 19 else 255)
        if 0 <= label.trainId < 19:
            assert label.name.replace(" ", "_") == CITYSCAPES.names[label.trainId]
            assert label.color == CITYSCAPES.colors[label.trainId]
    assert table[34] == INVALID


def test_label_ids_and_train_ids_answer_the_same(sample_root, tmp_path):
    with_train_ids = build_dataset("Cityscapes", str(sample_root), "val")
    assert with_train_ids.file_list[0][1].endswith("labelTrainIds.png")
    for image, label in with_train_ids.file_list:
        for source in (image, label.replace("labelTrainIds", "labelIds")):
            target = tmp_path / source[len(str(sample_root)) + 1 :]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    with_label_ids = build_dataset("Cityscapes", str(tmp_path), "val")
    assert with_label_ids.file_list[0][1].endswith("labelIds.png")
    for index in range(len(with_train_ids)):
        assert (with_train_ids[index]["label"] == with_label_ids[index]["label"]).all()


def test_items_are_paddlesegs(sample_root):
    item = build_dataset("Cityscapes", str(sample_root), "val")[0]
    assert item["img"].shape == (3, 64, 128) and item["img"].dtype == np.float32
    assert item["label"].shape == (1, 64, 128) and item["label"].dtype == np.uint8
    assert item["trans_info"] == []
    crop = [{"type": "RandomPaddingCrop", "crop_size": [48, 32]}]
    item = build_dataset("Cityscapes", str(sample_root), "train", crop)[0]
    assert item["img"].shape == (3, 32, 48) and item["label"].shape == (32, 48)


def test_any_dataset_by_list(tmp_path):
    label = np.array([[0, 1, 2, 9, 9, 0]] * 4, np.uint8)
    dataset = listed_dataset(tmp_path, [label], separator=" ", num_classes=3, ignore_index=9)
    assert (dataset.num_classes, dataset.ignore_index, len(dataset)) == (3, 255, 1)
    assert dataset[0]["label"][0, 0].tolist() == [0, 1, 2, 255, 255, 0]
    # PaddleSeg's own Dataset reads the same list.
    from paddleseg.datasets import Dataset

    theirs = Dataset("val", str(tmp_path), [], 3, val_path=str(tmp_path / "list.txt"))
    assert theirs.file_list == dataset.file_list


def test_palette_labels_answer_their_indices(tmp_path):
    from PIL import Image

    picture = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), mode="P")
    picture.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    picture.save(tmp_path / "label.png")
    assert read_label(tmp_path / "label.png").tolist() == [[0, 1], [2, 1]]


def truncate(path):
    path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: truncate(root / "0.png"), "0.png: not a complete image"),
        (lambda root: truncate(root / "0_label.png"), "0_label.png: not a complete image"),
        (lambda root: (root / "0.png").write_bytes(b""), "0.png: not a complete image"),
        (lambda root: (root / "0.png").unlink(), "0.png: cannot be read"),
        (
            lambda root: write_png(root / "0_label.png", np.full((4, 6), 7, np.uint8)),
            "0_label.png: the label value 7 is neither one of the 3 classes nor ignored",
        ),
        (lambda root: write_png(root / "0_label.png", np.zeros((4, 6, 3), np.uint8)), "0_label.png: a label must be"),
        (lambda root: write_png(root / "0_label.png", np.zeros((4, 6), np.uint16)), "0_label.png: a label must be"),
    ],
)
def test_bad_files_are_named(tmp_path, spoil, message):
    dataset = listed_dataset(tmp_path, [np.zeros((4, 6), np.uint8)], num_classes=3)
    spoil(tmp_path)
    with pytest.raises(UserError, match=message):
        dataset[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("Cityscape", "."), "did you mean Cityscapes"),
        (("Cityscapes", "no/such/folder"), "no such dataset folder"),
        (("Cityscapes", "."), "holds no image of the split 'train'"),
        (("Cityscapes", ".", "training"), "dataset mode 'training' is not one of train, val, test"),
    ],
)
def test_missing_datasets(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        build_dataset(*arguments, *["train"][len(arguments) - 2 :])


def test_unpaired_files_are_named(sample_root, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(sample_root, root)
    train_image = sorted((root / "leftImg8bit" / "train").rglob("*.png"))[0]
    train_image.unlink()
    with pytest.raises(UserError, match="labelTrainIds.png: has no image; expected .*_leftImg8bit.png"):
        build_dataset("Cityscapes", str(root), "train")
    val_label = sorted((root / "gtFine" / "val").rglob("*_labelTrainIds.png"))[0]
    val_label.unlink()
    assert len(build_dataset("Cityscapes", str(root), "val")) == 3  # its labelIds are still there
    val_label.with_name(val_label.name.replace("labelTrainIds", "labelIds")).unlink()
    with pytest.raises(UserError, match="_leftImg8bit.png: has no label; expected .*labelIds.png"):
        build_dataset("Cityscapes", str(root), "val")


def test_generic_classes_have_distinct_colors():
    classes = generic_classes(40)
    assert len(classes.names) == 40 and len(set(classes.colors)) == 40


# --- augmentation -----------------------------------------------------------------------------------------------------


def picture(height=40, width=60, seed=0):
    g = np.random.default_rng(seed)
    small = g.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return image, g.integers(0, 19, (height, width), dtype=np.uint8)


def test_a_small_image_is_scaled_up_as_the_original_does_it():
    # From the original's `transform.py:RandomCrop`: (w, h) of the scaled image and of the one it crops 1024x512 from.
    crop = RandomPaddingCrop(crop_size=(1024, 512), small="scale_up")
    for size, expected in {(256, 128): (1025, 513), (768, 384): (1025, 513), (1024, 512): (1024, 512)}.items():
        assert crop.grow(*size) == expected
    image, label = picture()
    transform = TrainTransform(
        ResizeStepScaling(min_scale_factor=0.5, max_scale_factor=0.5),
        RandomPaddingCrop(crop_size=(40, 30), small="scale_up"),
    )
    draws = transform.draw(label.shape, np.random.default_rng(0))
    assert draws.size == (46, 31)  # 30x20, times 30/20, plus one
    cropped, labels = transform.apply(image, label, draws)
    resized = cv2.resize(image, draws.size)[draws.top : draws.top + 30, draws.left : draws.left + 40]
    assert np.abs(cropped.astype(int) - resized).max() <= 1 and labels.shape == (30, 40) and (labels != 255).all()
    tiny = TrainTransform(ResizeStepScaling(min_scale_factor=0.25, max_scale_factor=0.25))
    assert tiny.draw((1, 1), np.random.default_rng(0)).size == (1, 1)


def test_colors_change_always_and_in_order_if_asked():
    always = {f"{name}_prob": 1.0 for name in ("brightness", "contrast", "saturation")}
    distort = RandomDistort(**always, hue_prob=0.0, random_order=False)
    rng = np.random.default_rng(0)
    draws = [distort.draw(rng) for _ in range(50)]
    assert {tuple(name for name, _ in draw) for draw in draws} == {("brightness", "contrast", "saturation")}
    factors = [amount for draw in draws for _, amount in draw]
    assert 0.5 <= min(factors) < 0.55 and 1.45 < max(factors) <= 1.5


def test_hue_turns_all_the_way_round():
    image, _ = picture()
    assert np.abs(distort_colors(image, [("hue", 256.0)]).astype(int) - image).mean() < 2
    red = np.full((1, 1, 3), (250, 0, 0), np.uint8)
    turned = distort_colors(red, [("hue", 256 / 3)])[0, 0]
    assert turned[1] > 240 and turned[0] < 10 and turned[2] < 10


def test_draws_are_distributed_as_asked():
    rng = np.random.default_rng(0)
    transform = TrainTransform(
        ResizeStepScaling(min_scale_factor=0.5, max_scale_factor=1.5),
        RandomPaddingCrop(crop_size=(30, 20)),
        RandomHorizontalFlip(),
        RandomDistort(),
    )
    draws = [transform.draw((40, 60), rng) for _ in range(4000)]
    widths = {30: 0, 45: 0, 60: 0, 75: 0, 90: 0}
    for draw in draws:
        widths[draw.size[0]] += 1
        assert 0 <= draw.left <= max(draw.size[0] - 30, 0) and 0 <= draw.top <= max(draw.size[1] - 20, 0)
    assert all(700 < count < 900 for count in widths.values())
    assert 0.46 < np.mean([draw.flip for draw in draws]) < 0.54
    factors = [amount for draw in draws for name, amount in draw.colors if name == "contrast"]
    assert 1850 < len(factors) < 2150 and min(factors) >= 0.5 and max(factors) <= 1.5
    assert 0.98 < np.mean(factors) < 1.02
    first = [draw.colors[0][0] for draw in draws if len(draw.colors) == 4]
    assert {first.count(name) / len(first) > 0.15 for name in set(first)} == {True} and len(set(first)) == 4


def test_normalize_and_undo():
    image, _ = picture()
    normalize = Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    assert (normalize.undo(normalize(image)) == image).all()
    on_device = normalize.on_device(paddle.to_tensor(np.stack([image, image[::-1]])))
    assert on_device.dtype == paddle.float32
    np.testing.assert_array_equal(on_device.numpy()[1], normalize(image)[:, ::-1])
    assert normalize(image)[1, 3, 4] == pytest.approx((image[3, 4, 1] / 255 - 0.456) / 0.224, rel=1e-5)


@pytest.mark.parametrize("mean", [(0.485, 0.456, 0.406), (0.5, 0.5, 0.5), (123.675 / 255, 0.3, 0.7)])
def test_the_device_normalises_every_value_to_the_same_bits(mean):
    values = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    normalize = Normalize(mean=mean, std=(0.229, 0.224, 0.225))
    on_device = normalize.on_device(paddle.to_tensor(values[None])).numpy()[0]
    np.testing.assert_array_equal(on_device.view(np.uint32), normalize(values).view(np.uint32))


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        ([{"type": "RandomFlip"}], "'RandomFlip' is not known"),
        ([{"type": "Normalise"}], "did you mean Normalize"),
        ([{"type": "Normalize", "average": 1}], "Normalize: the key 'average' is not known"),
        ([{"type": "RandomPaddingCrop", "crop_size": [0, 3]}], "crop_size"),
        ([{"type": "ResizeStepScaling", "min_scale_factor": 2}], "min_scale_factor 2 is above max_scale_factor 1.25"),
        (
            [{"type": "ResizeStepScaling", "scale_step_size": 0.00049}],
            "0.00049 makes more than 1000 steps",
        ),
        ([{"type": "RandomAffine", "min_scale_factor": 2}], "min_scale_factor 2 is above max_scale_factor 1.25"),
        ([{"type": "RandomPaddingCrop", "small": "grow"}], "small: 'grow' is not one of pad, scale_up"),
    ],
)
def test_transforms_refuse(transforms, message):
    with pytest.raises(UserError, match=message):
        build_transform(transforms, "train")


# --- the stream -------------------------------------------------------------------------------------------------------


def test_every_epoch_is_a_new_permutation():
    epochs = [[sample_of(epoch * 7 + k, 7, seed=3) for k in range(7)] for epoch in range(3)]
    for number, epoch in enumerate(epochs):
        assert [e for e, _ in epoch] == [number] * 7 and sorted(i for _, i in epoch) == list(range(7))
    assert epochs[0] != epochs[1] != epochs[2]


def test_another_seed_draws_another_order_and_other_crops(small_recipe):
    from engine.build import dataset_of

    dataset, first, other = dataset_of(small_recipe().train_dataset), [], []
    for seed, samples in ((1, first), (2, other)):
        for images, _, indices in train_batches(dataset, 6, seed, 0, 4):
            samples += zip(indices.numpy(), images.numpy())
    same_image = [(one, two) for (i, one), (j, two) in zip(first, other) if i == j]
    assert 0 < len(same_image) < 24 and all((one != two).any() for one, two in same_image)


def batches_of(small_recipe, **options):
    from engine.build import dataset_of

    dataset = dataset_of(small_recipe().train_dataset)
    return [[part.numpy() for part in batch] for batch in train_batches(dataset, 2, seed=5, **options)]


def equal(left, right):
    return len(left) == len(right) and all((a == b).all() for x, y in zip(left, right) for a, b in zip(x, y))


def test_a_sample_depends_on_its_number_alone(small_recipe):
    whole = batches_of(small_recipe, start=0, stop=4)
    assert equal(whole[2:], batches_of(small_recipe, start=2, stop=4))
    assert equal(whole, batches_of(small_recipe, start=0, stop=4, num_workers=2))
    assert not equal(whole[:1], whole[1:2])
    images, labels, indices = whole[0]
    assert images.shape == (2, 64, 64, 3) and images.dtype == np.uint8
    assert labels.shape == (2, 64, 64) and labels.dtype == np.uint8 and indices.shape == (2,)


def test_devices_share_the_stream(small_recipe):
    one = np.concatenate([batch[2] for batch in batches_of(small_recipe, start=0, stop=2)])
    ranks = [batches_of(small_recipe, start=0, stop=1, rank=rank, ranks=2)[0][2] for rank in range(2)]
    assert np.concatenate(ranks).tolist() == one.tolist()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_images_of_several_sizes_need_a_crop(sample_root, num_workers):
    dataset = build_dataset("Cityscapes", str(sample_root), "train", [{"type": "ResizeStepScaling"}])
    with pytest.raises(UserError, match=r"a batch holds images of \d+x\d+ and \d+x\d+; crop them to one size") as error:
        list(train_batches(dataset, 6, 0, 0, 1, num_workers))
    assert len(str(error.value).splitlines()) == 1


def test_a_batch_larger_than_the_dataset_is_refused(small_recipe):
    from engine.build import dataset_of

    dataset = dataset_of(small_recipe().train_dataset)
    assert len(train_batches(dataset, 3, 0, 0, 1, ranks=2)) == 1
    for batch_size, ranks, most in ((7, 1, 6), (4, 2, 3)):
        message = f"a batch of {batch_size * ranks} is larger than the dataset of 6 images; use --batch_size {most} or"
        with pytest.raises(UserError, match=message):
            train_batches(dataset, batch_size, 0, 0, 1, ranks=ranks)
