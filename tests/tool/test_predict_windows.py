"""tool.predict by windows: its flags, PaddleSeg's, and images that are predicted band by band."""

import argparse
import logging
import tracemalloc

from compat import UserError

import cv2
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from data import CITYSCAPES
from data.files import read_image, read_label
from engine.evaluation.pictures import write_picture
from engine.runtime import Description, Network, Segmenter, Windows, WindowSegmenter, load
from tool import predict
from tool.prediction import windows
from tool.prediction.png_rows import PngRows
from tool.prediction.results import Painter
from tool.prediction.sources import Picture
from tool.prediction.windows import add_window_flags, predict_large, requested_windows

ROAD, CAR = CITYSCAPES.names.index("road"), CITYSCAPES.names.index("car")
CONFIG = "configs/stdc1_seg_sample.yml"


class Brightness(Network):
    """Road where the image is bright, car where it is dark, surer of it the brighter or darker it is."""

    def __init__(self):
        super().__init__("onnxruntime", "fp32", Description(19, batch=None, output_op="none"))
        self.seen = []

    def run(self, batch):
        self.seen.append(batch.shape[1:3])
        logits = np.full((len(batch), 19, *batch.shape[1:3]), -50, np.float32)
        logits[:, ROAD] = (batch[..., 0].astype(np.float32) - 128) / 32
        logits[:, CAR] = -logits[:, ROAD]
        return logits


class Light(Network):
    """Two classes by brightness, in no time."""

    def __init__(self):
        super().__init__("onnxruntime", "fp32", Description(2, batch=None, output_op="none"))

    def run(self, batch):
        bright = batch[..., 0].astype(np.float32)
        return np.stack([bright, 255 - bright], axis=1)


@pytest.fixture
def network(monkeypatch):
    found = Brightness()
    monkeypatch.setattr(load, "load_network", lambda *arguments: found)
    return found


@pytest.fixture
def image(tmp_path):
    """A smooth image of 90 x 130 in a file."""
    file = tmp_path / "image.png"
    dots = np.random.default_rng(2).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    write_picture(file, cv2.resize(dots, (130, 90), interpolation=cv2.INTER_CUBIC))
    return file


def run(folder, image, *flags):
    common = ["--config", CONFIG, "--model_path", "export", "--engine", "onnxruntime", "--device", "cpu"]
    predict.main([*common, "--image_path", str(image), "--save_dir", str(folder), *flags])


def flags(text):
    parser = argparse.ArgumentParser()
    add_window_flags(parser)
    return parser.parse_args(text.split())


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", None),
        ("--window 1024x512", Windows((512, 1024), (448, 960))),
        ("--window 1024x512 --overlap 0", Windows((512, 1024), (512, 1024))),
        ("--window 4x512 --overlap 3", Windows((512, 4), (509, 1))),
        ("--is_slide --crop_size 1024 512 --stride 768 384", Windows((512, 1024), (384, 768))),
    ],
)
def test_windows_by_our_flags_and_by_paddlesegs(text, expected):
    assert requested_windows(flags(text)) == expected


@pytest.mark.parametrize(
    "text, message",
    [
        ("--overlap 8", "--overlap 8: has no effect without --window"),
        ("--window 64x32 --overlap 32", "--overlap 32: must be less than both sides of --window 64x32"),
        ("--is_slide", "--is_slide, --crop_size W H and --stride W H go together"),
        ("--crop_size 8 8 --stride 8 8", "go together"),
        ("--is_slide --crop_size 8 8 --stride 8 9", "--stride 8 9: at most --crop_size"),
        ("--window 64x32 --is_slide --crop_size 8 8 --stride 8 8", "not both"),
    ],
)
def test_flags_that_contradict_each_other(text, message):
    with pytest.raises(UserError, match=message):
        requested_windows(flags(text))


@pytest.mark.parametrize(
    "asked", [["--window", "48x32"], ["--is_slide", "--crop_size", "48", "32", "--stride", "40", "30"]]
)
def test_the_network_sees_windows(tmp_path, network, image, asked):
    run(tmp_path, image, *asked)
    assert set(network.seen) == {(32, 48)}
    expected = np.where(read_image(image)[..., 0] >= 128, ROAD, CAR)
    assert_array_equal(read_label(tmp_path / "pseudo_color_prediction" / "image.png"), expected)


def test_a_recipes_windows_are_predicted_and_evaluated_alike(tmp_path, network, image):
    options = [
        "test_config.full.is_slide=True",
        "test_config.full.crop_size=[48,32]",
        "test_config.full.stride=[40,30]",
    ]
    run(tmp_path, image, "--opts", *options)
    assert set(network.seen) == {(32, 48)}


def test_windows_need_one_scale(tmp_path, network, image):
    with pytest.raises(UserError, match="engines and --window take one scale and no flip"):
        run(tmp_path, image, "--window", "48x32", "--opts", "test_config.full.scales=[0.5,1.0]")


@pytest.mark.parametrize("suffix", [".bmp", ".webp"])
def test_a_small_image_needs_no_pyvips(tmp_path, network, image, monkeypatch, suffix):
    """Each BMP was called incomplete, as pyvips-binary cannot read the format."""
    monkeypatch.setitem(__import__("sys").modules, "pyvips", None)
    file = tmp_path / f"street{suffix}"
    Image.open(image).save(file, lossless=True)
    run(tmp_path, file, "--window", "48x32")
    expected = np.where(read_image(image)[..., 0] >= 128, ROAD, CAR)
    assert_array_equal(read_label(tmp_path / "pseudo_color_prediction" / "street.png"), expected)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("scale", [1.0, 0.75])
def test_a_large_image_gets_the_class_map_of_a_small_one(tmp_path, network, image, monkeypatch, suffix, scale):
    """In bands and as a whole, with unknown pixels, hidden classes and the confidence; its overlay is reduced."""
    pytest.importorskip("pyvips")
    file = tmp_path / f"street{suffix}"
    Image.open(image).save(file)
    monkeypatch.setattr(windows, "REDUCED_SIDE", 50)
    kinds = ["pseudo_color_prediction", "confidence", "added_prediction", "side_by_side"]
    asked = ["--window", "48x32", "--unknown_below", "0.7", "--classes", "road", "--results", *kinds]
    asked += ["--opts", f"test_config.full.scales={scale}"]
    run(tmp_path / "whole", file, *asked)
    monkeypatch.setattr(windows, "LARGE_IMAGE", 90 * 130 - 1)
    run(tmp_path / "bands", file, *asked)
    for kind in kinds[:2]:
        whole, bands = (read_label(tmp_path / way / kind / "street.png") for way in ("whole", "bands"))
        assert_array_equal(whole, bands)
        assert len(np.unique(bands)) > 1
    palettes = [Image.open(tmp_path / way / kinds[0] / "street.png").getpalette() for way in ("whole", "bands")]
    assert palettes[0] == palettes[1]
    whole, bands = (read_image(tmp_path / way / "added_prediction" / "street.png") for way in ("whole", "bands"))
    assert bands.shape == (30, 44, 3)
    assert np.abs(whole[::3, ::3].astype(int) - bands).mean() < 12
    assert (tmp_path / "bands" / "side_by_side" / "street.png").is_file()
    assert not [one for one in (tmp_path / "bands").rglob("*") if one.suffix == ".tmp"]


def test_a_whole_image_that_needs_gigabytes_gets_a_warning(tmp_path, network, image, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("stdc_seg"), "propagate", True)
    run(tmp_path, image)
    assert "is predicted as a whole" not in caplog.text
    monkeypatch.setattr(windows, "MAX_LOGITS", 4 * 19 * 90 * 130 - 1)
    run(tmp_path, image, "--window", "48x32")
    assert "as a whole" not in caplog.text
    run(tmp_path, image)
    assert "image: is predicted as a whole at 130x90 pixels" in caplog.text


def test_an_image_too_large_for_opencv_is_one_line(tmp_path):
    with PngRows(tmp_path / "huge.png", (2**15, 2**15 + 1)) as png:
        png.write(np.zeros((1, 2**15 + 1), np.uint8))
    with pytest.raises(UserError, match="huge.png: more pixels than OpenCV decodes, 1073741824; .* --window"):
        read_image(tmp_path / "huge.png")


def test_a_large_image_that_breaks_off_leaves_no_file(tmp_path, network, monkeypatch):
    pytest.importorskip("pyvips")
    file = tmp_path / "street.png"
    write_picture(file, np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8))
    file.write_bytes(file.read_bytes()[:100_000])
    monkeypatch.setattr(windows, "LARGE_IMAGE", 1000)
    with pytest.raises(UserError, match="street.png: not a complete image file"):
        run(tmp_path / "out", file, "--window", "48x32")
    assert not list((tmp_path / "out" / "pseudo_color_prediction").iterdir())


def test_png_rows_are_read_back(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (70, 31), dtype=np.uint8)
    palette = np.random.default_rng(1).integers(0, 256, (256, 3), dtype=np.uint8)
    for name, colors in (("grey.png", None), ("palette.png", palette)):
        with PngRows(tmp_path / name, pixels.shape, colors) as png:
            assert not (tmp_path / name).exists()
            for start in (0, 1, 40):
                png.write(pixels[start : {0: 1, 1: 40, 40: 70}[start]])
        with Image.open(tmp_path / name) as opened:
            assert_array_equal(np.asarray(opened), pixels)
            assert opened.getpalette() == (None if colors is None else colors.ravel().tolist())
    with pytest.raises(UserError, match="cannot be written"), PngRows(tmp_path / "grey.png" / "a.png", (1, 1)):
        pass


def peak(file):
    """Bytes that Python and numpy hold at most while an image is predicted in bands, with all kinds of results."""
    segmenter = WindowSegmenter(Segmenter(Light()), Windows((64, 256), (56, 224)))
    kinds = ["pseudo_color_prediction", "confidence", "added_prediction"]
    tracemalloc.start()
    try:
        predict_large(Picture(file, file.stem), segmenter, file.parent / "out", Painter(CITYSCAPES), kinds)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_depend_on_the_height(tmp_path, monkeypatch):
    """4096 rows of 512 pixels are 6 MB as an image, 2 MB as a class map, and 8 MB as a confidence."""
    pytest.importorskip("pyvips")
    monkeypatch.setattr(windows, "REDUCED_SIDE", 64)
    for height in (512, 4096):
        with PngRows(tmp_path / f"{height}.png", (height, 512)) as png:
            png.write(np.full((height, 512), 200, np.uint8))
    assert peak(tmp_path / "4096.png") - peak(tmp_path / "512.png") < 2**18
