"""data.files: what cameras and label editors write, and files that are cut off."""

import io
import struct

from compat import UserError

import cv2
import numpy as np
import pytest
from PIL import Image

from data import build_dataset
from data.cache import _decoded_bytes
from data.files import read_image, read_label
from data.importing.found import check_photo
from data.layouts import Sample
from tests.helpers.few_bits import write_grey_png

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_labels_of_one_bit_are_0_and_1(tmp_path, suffix):
    mask = np.random.default_rng(1).random((9, 13)) < 0.5
    bits, whole = tmp_path / f"bits.{suffix}", tmp_path / f"bytes.{suffix}"
    for values in (mask, np.zeros_like(mask), np.ones_like(mask)):
        Image.fromarray(values).save(bits)
        assert read_label(bits).dtype == np.uint8
        np.testing.assert_array_equal(read_label(bits), values)
        cv2.imwrite(str(whole), values * np.uint8(255))
        np.testing.assert_array_equal(read_label(whole), values * 255)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_labels_of_few_bits_are_not_stretched(tmp_path, bits):
    """Both OpenCV and Pillow return them times 85 or 17: class 1 of 4 bits was class 17."""
    values = np.random.default_rng(2).integers(0, 2**bits, (9, 13), dtype=np.uint8)
    write_grey_png(tmp_path / "a.png", values, bits)
    np.testing.assert_array_equal(read_label(tmp_path / "a.png"), values)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
@pytest.mark.parametrize("colors", [(10, 120, 200, 250), (0, 255, 7, 0)])
@pytest.mark.parametrize("grey", [True, False])
def test_a_palettes_colours_do_not_matter(tmp_path, suffix, colors, grey):
    values = np.random.default_rng(3).integers(0, 4, (9, 13), dtype=np.uint8)
    label = Image.fromarray(values, "P")
    label.putpalette([channel for color in colors for channel in (color, color if grey else 90, color)] + [0] * 756)
    label.save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(read_label(tmp_path / f"a.{suffix}"), values)


def test_a_bmp_of_4_bits_whose_palette_is_its_indices(tmp_path):
    """Pillow takes it for grey, and has no decoder for that."""
    values = np.random.default_rng(4).integers(0, 16, (9, 16), dtype=np.uint8)
    palette = np.repeat(np.arange(16, dtype=np.uint8), 4).reshape(16, 4) * [1, 1, 1, 0]
    pixels = (values[::-1, ::2] << 4 | values[::-1, 1::2]).tobytes()
    start = 54 + 64
    header = struct.pack("<2sIHHI", b"BM", start + len(pixels), 0, 0, start)
    info = struct.pack("<IiiHHIIiiII", 40, 16, 9, 1, 4, 0, len(pixels), 0, 0, 16, 0)
    (tmp_path / "a.bmp").write_bytes(header + info + palette.astype(np.uint8).tobytes() + pixels)
    np.testing.assert_array_equal(read_label(tmp_path / "a.bmp"), values)


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


def test_a_webp_with_damaged_exif_is_named(tmp_path):
    """Pillow reads WebP, and its errors ended in a traceback, even with --skip_bad_samples."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(IMAGE).save(tmp_path / "a.webp", exif=exif.tobytes())
    content = (tmp_path / "a.webp").read_bytes()
    assert content.count(b"MM\0*") == 1
    (tmp_path / "b.webp").write_bytes(content.replace(b"MM\0*", b"MX\0*"))
    with pytest.raises(UserError, match="b.webp: not a complete image file"):
        read_image(tmp_path / "b.webp")


def test_what_opencv_cannot_decode_is_named(tmp_path, monkeypatch):
    Image.fromarray(IMAGE).save(tmp_path / "a.gif")
    with pytest.raises(UserError, match="a.gif: .* of a format that OpenCV does not read"):
        read_image(tmp_path / "a.gif")

    def fail(*_):
        raise cv2.error("OpenCV(4.11.0) alloc.cpp:73: error:\n(-4:Insufficient memory) Failed to allocate 9 bytes")

    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    monkeypatch.setattr(cv2, "imdecode", fail)
    with pytest.raises(UserError, match="a.png: OpenCV cannot decode it .*Failed to allocate") as raised:
        read_image(tmp_path / "a.png")
    assert len(str(raised.value).splitlines()) == 1


def test_more_pixels_than_pillow_decodes_are_named(tmp_path, monkeypatch):
    label = Image.fromarray(IMAGE[..., 0] % 3, "P")
    label.putpalette(bytes(range(9)))
    label.save(tmp_path / "label.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match="label.png: not a readable label .*exceeds limit"):
        read_label(tmp_path / "label.png")
    with pytest.raises(UserError, match="label.png: not a readable image .*exceeds limit"):
        _decoded_bytes(Sample(tmp_path / "label.png", None, None))


def test_an_image_cut_off_is_named_by_the_import(tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[:100] + b"\xff" * 50 + content[150:])
    with pytest.raises(UserError, match="a.png: not a complete image file"):
        check_photo(tmp_path / "a.png")
