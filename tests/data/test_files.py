"""data.files: what cameras and label editors write, and files that are cut off."""

import io

from compat import UserError

import cv2
import numpy as np
import pytest
from PIL import Image

from data import build_dataset
from data.files import read_image, read_label

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)


def test_labels_of_one_bit_are_0_and_1(tmp_path):
    mask = np.random.default_rng(1).random((9, 13)) < 0.5
    Image.fromarray(mask).save(tmp_path / "bits.png")
    label = read_label(tmp_path / "bits.png")
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, mask)
    cv2.imwrite(str(tmp_path / "bytes.png"), mask * np.uint8(255))
    np.testing.assert_array_equal(read_label(tmp_path / "bytes.png"), mask * 255)


def with_thumbnail(path):
    """A JPEG whose EXIF segment holds another whole JPEG."""
    thumbnail = io.BytesIO()
    Image.fromarray(IMAGE[:8, :8]).save(thumbnail, "JPEG")
    Image.fromarray(IMAGE).save(path, exif=b"Exif\0\0" + thumbnail.getvalue())


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_bytes_after_the_end_are_no_damage_and_a_cut_is(tmp_path, suffix):
    whole, longer, cut = (tmp_path / f"{name}.{suffix}" for name in ("whole", "longer", "cut"))
    with_thumbnail(whole) if suffix == "jpg" else Image.fromarray(IMAGE).save(whole)
    content = whole.read_bytes()
    longer.write_bytes(content + bytes(1000))
    np.testing.assert_array_equal(read_image(longer), read_image(whole))
    cut.write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(UserError, match="not a complete image file"):
        read_image(cut)


@pytest.mark.parametrize("mode", ["train", "val"])
def test_a_label_of_another_size_is_named(tmp_path, mode):
    Image.fromarray(IMAGE).save(tmp_path / "image.png")
    Image.fromarray(IMAGE[:20, :, 0] % 2).save(tmp_path / "label.png")
    (tmp_path / "list.txt").write_text("image.png label.png\n")
    dataset = build_dataset("Dataset", str(tmp_path), mode, num_classes=2, train_path="list.txt", val_path="list.txt")
    with pytest.raises(UserError, match="label.png: size 48x20, but its image has 48x40"):
        dataset[0]
