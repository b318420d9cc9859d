"""Rows of files and of scaled images: the same pixels as OpenCV's of the whole image."""

import struct
import warnings

from compat import UserError

import cv2
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image, ImageOps

from data import rows
from data.files import read_image
from data.rows import ArrayRows, FileRows, ScaledRows, has_more_pixels

pytest.importorskip("pyvips")


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(3).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def read_all(source, counts=(1, 7, 20)):
    """The whole image, read in bands of several heights."""
    height, bands = source.size[0], []
    while height:
        count = min(height, counts[len(bands) % len(counts)])
        bands.append(source.read(count))
        height -= count
    return np.concatenate(bands)


def save(file, pixels, mode=None, **options):
    Image.fromarray(pixels, mode).save(file, **options)


def orientation(number):
    exif = Image.Exif()
    exif[0x0112] = number
    return {"exif": exif}


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [(3,), (4,), ()], ids=["RGB", "RGBA", "grey"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lossless_files_are_read_as_they_were_written(tmp_path, suffix, channels, dtype):
    file = tmp_path / f"image{suffix}"
    image = noise(45, 61, *channels, dtype=dtype)
    assert cv2.imwrite(str(file), image)
    assert has_more_pixels(file, 45 * 61 - 1) and not has_more_pixels(file, 45 * 61)
    assert_array_equal(read_all(FileRows(file)), read_image(file))
    upper = image if dtype == np.uint8 else (image >> 8).astype(np.uint8)
    assert_array_equal(read_image(file), upper[..., 2::-1] if channels else upper[..., None].repeat(3, axis=2))


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_exif_turns_photos(tmp_path, number, suffix):
    file = tmp_path / f"image{suffix}"
    save(file, noise(45, 61, 3), **orientation(number), **({"lossless": True} if suffix == ".webp" else {}))
    source = FileRows(file)
    assert source.size == ((45, 61) if number < 5 else (61, 45))
    turned = np.asarray(ImageOps.exif_transpose(Image.open(file)))
    assert_array_equal(read_all(source), turned)
    assert_array_equal(read_image(file), turned)


def test_palettes_bits_and_transparent_grey(tmp_path):
    files = [tmp_path / name for name in ("palette.png", "bits.png", "la.png", "interlaced.png")]
    Image.fromarray(noise(45, 61, 3)).quantize(16).save(files[0])
    Image.fromarray(noise(45, 61) > 128).save(files[1])
    Image.fromarray(noise(45, 61, 2), "LA").save(files[2])
    rows._pyvips().Image.new_from_array(noise(45, 61, 3)).write_to_file(str(files[3]), interlace=True)
    for file in files:
        assert_array_equal(read_all(FileRows(file)), read_image(file), err_msg=file.name)


def test_a_jpeg_differs_by_its_decoders_rounding_alone(tmp_path):
    file = tmp_path / "image.jpg"
    smooth = cv2.resize(noise(6, 8, 3), (61, 45), interpolation=cv2.INTER_CUBIC)
    for options in ({}, orientation(6)):
        save(file, smooth, quality=95, **options)
        assert np.abs(read_all(FileRows(file)).astype(int) - read_image(file)).max() <= 4


def test_the_whole_image_reduced(tmp_path):
    for dtype, channels in ((np.uint8, (3,)), (np.uint8, ()), (np.uint16, (3,)), (np.uint8, (4,))):
        file = tmp_path / "image.png"
        image = np.full((60, 90, *channels), np.iinfo(dtype).max // 2, dtype)
        image[:, :45] //= 2
        if channels == (4,):
            image[..., 3] = 255
        cv2.imwrite(str(file), image)
        small = FileRows(file).reduced((20, 31))
        assert small.shape == (20, 31, 3) and small.dtype == np.uint8
        assert np.abs(small[:, 2].astype(int) - 63).max() <= 2 and np.abs(small[:, -3].astype(int) - 127).max() <= 2


@pytest.mark.parametrize("kind", ["missing", "text", "truncated", "float", "CMYK", "dark"])
def test_what_is_refused_in_one_line(tmp_path, kind):
    file = tmp_path / ("image.jpg" if kind == "CMYK" else "image.tif" if kind == "float" else "image.png")
    message = {
        "float": "float numbers; save it as RGB or grey",
        "CMYK": "an image of cmyk",
        "dark": "nearly black",
        "text": "not an image, or of a format that libvips cannot",
    }.get(kind, "not a complete image file")
    if kind == "text":
        file.write_text("no image")
    elif kind == "truncated":
        save(file, noise(200, 200, 3))
        file.write_bytes(file.read_bytes()[:60000])
    elif kind == "float":
        cv2.imwrite(str(file), noise(20, 20).astype(np.float32))
    elif kind == "CMYK":
        Image.fromarray(noise(20, 20, 4), "CMYK").save(file)
    elif kind == "dark":
        cv2.imwrite(str(file), noise(20, 20, dtype=np.uint16) >> 4)
    with pytest.raises(UserError, match=f"image.*{message}") as raised:
        read_all(FileRows(file))
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("side", [6_000, 10_000, 20_000])
def test_headers_beyond_pillows_limits_are_read(tmp_path, side):
    """Pillow warns from 90 million pixels on, and refuses a file of more than 179 million."""
    file = tmp_path / "image.bmp"
    save(file, noise(2, 7, 3))
    assert not has_more_pixels(file, 14) and has_more_pixels(file, 13)
    content = file.read_bytes()
    file.write_bytes(content[:18] + struct.pack("<ii", side, side) + content[26:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert has_more_pixels(file, 2**25)
    with pytest.raises(UserError, match="image.bmp: .* of a format that libvips cannot read in bands; save it as PNG"):
        FileRows(file)


def test_a_header_that_pillow_cannot_read(tmp_path):
    file = tmp_path / "image.tif"
    cv2.imwrite(str(file), noise(5, 7, 3).astype(np.float32))
    assert has_more_pixels(file, 34) and not has_more_pixels(file, 35)
    file.write_text("no image")
    with pytest.raises(UserError, match="image.tif: not an image"):
        has_more_pixels(file, 35)


def test_without_pyvips_the_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyvips", None)
    with pytest.raises(UserError, match="pip install -r requirements-common.txt"):
        FileRows("image.png")


def test_scaled_rows_are_opencvs_to_the_last_bit():
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 90, (60, 4)).tolist()
    sizes += [(64, 128, 32, 64), (63, 127, 32, 64), (63, 127, 47, 95), (40, 50, 40, 50), (40, 50, 1, 1), (1, 1, 9, 7)]
    for height, width, *size in sizes:
        image = noise(height, width, 3)
        expected = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR_EXACT)
        assert_array_equal(read_all(ScaledRows(ArrayRows(image), tuple(size)), (1, 50, 3)), expected)


def test_scaling_reads_no_more_rows_than_it_needs():
    class Counted(ArrayRows):
        def read(self, count):
            assert count <= 2 * rows.CHUNK + 1
            return super().read(count)

    source = Counted(noise(400, 5, 3))
    ScaledRows(source, (200, 5)).read(100)
    assert source.row == 200
