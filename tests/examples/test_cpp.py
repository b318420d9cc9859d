"""examples/cpp is built, and its class maps equal Python's, pixel by pixel."""

import dataclasses
import itertools
import os
import re

import cv2
import numpy as np
import paddle
import pytest
import yaml
from paddle import nn
from PIL import Image

from data.classes import ClassSet
from data.files import read_image
from engine.evaluation.pictures import overlay
from engine.runtime import Description, Segmenter, load_network, read_description, write_description
from tests.helpers import cpp_program
from tests.helpers.cpp_program import equal_scores, picture, read, red_channel, run, write

pytest.importorskip("openvino")
pytest.importorskip("paddle2onnx")
pytest.importorskip("nncf")

from engine.export import export_network
from engine.export.quantize import quantize_exported

CLASSES = ClassSet(("sea", "land", "道路", 'x: "y" #z', "- yes", "1.5"), tuple((9, 40 * i, 250 - i) for i in range(6)))
SIZES = ((63, 127), (40, 72), (97, 35), (1, 5))
FIXED = (40, 72)
PLAIN = Description(6, batch=None, classes=CLASSES)
EXPORTS = {
    "fixed": dataclasses.replace(PLAIN, size=FIXED, batch=1),
    "softmax": dataclasses.replace(PLAIN, input="uint8_bgr", output_op="softmax", scale=0.75, temperature=2.0),
    "logits": dataclasses.replace(
        PLAIN, input="float32", output_op="none", scale=0.5, batch=2, mean=(0.4, 0.45, 0.5), std=(0.2, 0.25, 0.3)
    ),
}
GREYS = range(20, 220, 40)  # of a video's frames
HAS_ONNXRUNTIME = bool(os.environ.get("ONNXRUNTIME_ROOT"))
NO_HEADERS = "ONNX Runtime's wheel has no headers; ONNXRUNTIME_ROOT names an unpacked release"
ENGINES = ["openvino", pytest.param("onnxruntime", marks=pytest.mark.skipif(not HAS_ONNXRUNTIME, reason=NO_HEADERS))]


class Colorful(nn.Layer):
    """Two convolutions; different for each channel, so that the order matters."""

    output_names = ("main",)

    def __init__(self):
        super().__init__()
        paddle.seed(11)
        self.first, self.second = nn.Conv2D(3, 8, 3, padding=1), nn.Conv2D(8, 6, 1)
        self.eval()

    def forward(self, image):
        return [4 * self.second(nn.functional.relu(self.first(image)))]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Built without OpenCV."""
    folder = tmp_path_factory.mktemp("build")
    cpp_program.configure(folder, "-DSEGMENT_OPENCV=OFF")
    return cpp_program.build(folder).rename(folder / "segment_plain")


@pytest.fixture(scope="module")
def opencv_program(program):
    """Built with OpenCV in the same folder, where most is compiled already."""
    if "Images and videos: OpenCV" not in cpp_program.configure(program.parent, "-DSEGMENT_OPENCV=ON"):
        pytest.skip("no OpenCV for C++ here (apt-get install libopencv-dev)")
    return cpp_program.build(program.parent)


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """{name: folder} of EXPORTS; "fixed" also in int8."""
    folders = {name: tmp_path_factory.mktemp("export") for name in EXPORTS}
    engines = ["openvino", *(["onnxruntime"] if HAS_ONNXRUNTIME else [])]
    for name, description in EXPORTS.items():
        export_network(Colorful(), description, folders[name], engines)
    calibration = [picture(*FIXED)[None]]
    for engine in engines:
        quantize_exported(folders["fixed"], engine, calibration, lambda network: 0.0, max_drop=0)
    return folders


def expected(folder, engine, precision="fp32", unknown_below=0.0):
    return Segmenter(load_network(folder, engine, precision, threads=1), unknown_below=unknown_below)


# --- class maps -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "name, precision", [("fixed", "fp32"), ("fixed", "int8"), ("softmax", "fp32"), ("logits", "fp32")]
)
def test_class_maps_and_confidence_equal_pythons(program, exports, engine, name, precision, tmp_path):
    files = write(tmp_path, *SIZES)
    flags = ["--engine", engine, "--precision", precision, "--save_dir", tmp_path / "out", "--threads", 1]
    result = run(program, exports[name], *files, *flags)
    squeezed = r"warning: the network is fixed to 72x40: images of 127x63 are squeezed into it; .*\n"
    assert result.status == 0 and re.fullmatch(squeezed if name == "fixed" else "", result.error), result.error
    segment, seen = expected(exports[name], engine, precision), set()
    for size, file in zip(SIZES, files):
        image, found = picture(*size), read(tmp_path / "out", f"{file.stem}_classes")
        np.testing.assert_array_equal(found, segment(image))
        seen |= set(np.unique(found))
        if name != "fixed":
            grey = np.rint(255 * segment.segment(image).confidence)
            # Of logits, exp may differ in its last bit.
            assert np.abs(read(tmp_path / "out", f"{file.stem}_confidence") - grey).max() <= (name == "logits")
    assert len(seen) >= 3
    assert (tmp_path / "out" / "40x72_confidence.pgm").exists() == (name != "fixed")


@pytest.mark.parametrize("name", ["softmax", "logits"])
def test_unknown_pixels_and_overlay(program, exports, name, tmp_path):
    (file,) = write(tmp_path, SIZES[0])
    image, segment = picture(*SIZES[0]), expected(exports[name], "openvino")
    confidence = segment.segment(image).confidence
    threshold = round(float(np.median(confidence)), 3)
    run(program, exports[name], file, "--unknown_below", threshold, "--save_dir", tmp_path, "--threads", 1)
    classes = expected(exports[name], "openvino", unknown_below=threshold)(image)
    found = read(tmp_path, f"{file.stem}_classes")
    sure = np.abs(confidence - threshold) > (1e-6 if name == "logits" else 0)
    np.testing.assert_array_equal(found[sure], classes[sure])
    assert 0.2 < np.mean(found == 255) < 0.8
    drawn = read(tmp_path, f"{file.stem}_overlay").astype(int)
    painted = overlay(image, CLASSES.palette()[found])
    assert np.abs(drawn - np.where((found == 255)[..., None], image, painted)).max() <= 1


@pytest.fixture(scope="module")
def red(tmp_path_factory):
    return red_channel(tmp_path_factory.mktemp("red"))


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.0, 1.7, 0.013])
def test_both_resizings_are_opencvs_bit_for_bit(program, red, scale, tmp_path):
    description = dataclasses.replace(read_description(red), scale=scale)
    write_description(red, description)
    files = write(tmp_path, *SIZES, (360, 480), (255, 257), (7, 500), (2, 2), (1, 1))
    assert run(program, red, *files, "--save_dir", tmp_path).status == 0
    segment = expected(red, "openvino")
    for file in files:
        height, width = map(int, file.stem.split("x"))
        np.testing.assert_array_equal(read(tmp_path, f"{file.stem}_classes"), segment(picture(height, width)))


def test_the_first_of_equal_scores_counts(program, tmp_path):
    folder = equal_scores(tmp_path)
    (file,) = write(tmp_path, SIZES[0])
    assert run(program, folder, file, "--save_dir", tmp_path).status == 0
    found = read(tmp_path, f"{file.stem}_classes")
    np.testing.assert_array_equal(found, np.where(picture(*SIZES[0])[..., 0] > 127, 0, 2))


# --- names and the file that has them -------------------------------------------------------------------------------


@pytest.mark.parametrize("style", [None, False], ids=["as tool.export writes it", "as it wrote it before"])
def test_names_of_any_kind_are_read_as_yaml_has_them(program, red, style, tmp_path):
    names = (*CLASSES.names, "null", "é\u00a0ü", "a # b", "it's", 'back\\slash "q"', " space ", "{x", "🚲", "a: b", "~")
    classes = ClassSet(names, tuple((i, 0, 255 - i) for i in range(len(names))))
    files = {"openvino": {"fp32": str(red / "model.xml")}}
    write_description(tmp_path, Description(len(names), batch=1, files=files, classes=classes))
    text = (tmp_path / "deploy.yaml").read_text(encoding="utf-8")
    if style is False:
        text = yaml.safe_dump(yaml.safe_load(text), sort_keys=False)
    (tmp_path / "deploy.yaml").write_text("# a comment\n" + text.replace("\n", "  # another\n", 1), encoding="utf-8")
    stripes = np.repeat(np.arange(len(names), dtype=np.uint8), 2)[None].repeat(3, 0)
    cv2.imwrite(str(tmp_path / "stripes.ppm"), np.dstack([stripes] * 3))
    result = run(program, tmp_path, tmp_path / "stripes.ppm", "--save_dir", tmp_path)
    assert [line.split(" %  ")[1] for line in result.lines[1:]] == list(names), result
    painted = overlay(np.dstack([stripes] * 3), classes.palette()[stripes])
    assert np.abs(read(tmp_path, "stripes_overlay").astype(int) - painted).max() <= 1


def test_an_export_without_names_has_numbered_classes(program, red, tmp_path):
    (file,) = write(tmp_path, (1, 1))
    assert run(program, red, file, "--save_dir", tmp_path).lines[1].split()[2] == f"class_{picture(1, 1)[0, 0, 0]}"


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("version: 1", "version: 2", r":\d+: version 2, this program reads 1"),
        ("scale: 1.0", "scale: fast", r":\d+: expected a number, not 'fast'"),
        ("scale: 1.0", "scale: 0", r":\d+: scale must be more than 0"),
        ("scale: 1.0", "scale: 1.0\n  scale: 2.0", r":\d+: duplicate key scale"),
        ("scale: 1.0", "letterbox: true", r":\d+: unknown key 'letterbox'"),
        ("scale: 1.0", "\tscale: 1.0", r":\d+: tabs are not supported"),
        ("scale: 1.0", "scale: &a 1.0", r":\d+: cannot parse '&a 1.0'"),
        ("scale: 1.0", "scale: [1.0", r":\d+: a bracket is not closed on its line"),
        ("scale: 1.0", "scale: 'one", r":\d+: quoted text does not end on its line"),
        ("scale: 1.0", 'scale: "\\q"', r":\d+: unknown escape"),
        ("scale: 1.0", "   scale: 1.0", r":\d+: is indented inconsistently"),
        ("scale: 1.0", f"scale: {'[' * 10000}", r":\d+: is nested too deeply"),
        ("scale: 1.0", "scale 1.0", r":\d+: expected 'key: value'"),
        ("size: null", "size: [40]", r":\d+: expected a list of 2"),
        ("size: null", "size: [40, 0]", r":\d+: expected a whole number from 1 to 32768, not 0"),
        ("input: uint8_rgb", "input: yuv", r":\d+: 'yuv' is none of float32, uint8_bgr, uint8_rgb"),
        ("num_classes: 2", "num_classes: 3", r":\d+: names 2 classes, num_classes is 3"),
        ("b: [3, 4, 5]", "b: [3, 4, 500]", r":\d+: expected a whole number from 0 to 255, not 500"),
        ("Network:", "Net:", ":1: lacks the key Network"),
        ("  output_op: argmax\n  size", "  size", r":\d+: lacks the key output_op"),
    ],
)
def test_a_broken_deploy_yaml_is_one_line_that_names_the_place(program, tmp_path, old, new, said):
    (image,) = write(tmp_path, (2, 2))
    colors = ClassSet(("a", "b"), ((1, 2, 3), (3, 4, 5)))
    write_description(tmp_path, Description(2, classes=colors, files={"openvino": {"fp32": "model.xml"}}))
    head, network, rest = (tmp_path / "deploy.yaml").read_text().partition("Network:")
    assert old in network + rest
    (tmp_path / "deploy.yaml").write_text(head + (network + rest).replace(old, new, 1))
    refused(run(program, tmp_path, image, "--save_dir", tmp_path), said, tmp_path / "deploy.yaml")


# --- what is refused --------------------------------------------------------------------------------------------------


def refused(result, said, file="", status=1):
    assert result.status == status, result
    assert re.fullmatch(rf"error: {re.escape(str(file))}{said}.*\n", result.error), result.error


def test_bad_input_is_one_line(program, exports, tmp_path):
    (image,) = write(tmp_path, FIXED)
    (tmp_path / "cut.ppm").write_bytes(image.read_bytes()[:-1])
    (tmp_path / "deep.pgm").write_bytes(b"P5\n2 2\n65535\n" + bytes(8))
    (tmp_path / "huge.pgm").write_bytes(b"P5 # a comment without end")
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    (tmp_path / "empty.ppm").write_bytes(b"")
    export = exports["fixed"]
    for name, said in (
        ("gone.ppm", ": no such file"),
        ("cut.ppm", ": not a complete image file"),
        ("deep.pgm", ": not a PPM or PGM file of 8 bits"),
        ("huge.pgm", ": not a PPM or PGM file of 8 bits"),
        ("a.png", ": not a binary PPM or PGM file; build with OpenCV"),
        ("empty.ppm", ": not a binary PPM or PGM file"),
        ("a.mp4", ": a video; this program was built without OpenCV"),
    ):
        refused(run(program, export, tmp_path / name, "--save_dir", tmp_path / "out"), said, tmp_path / name)
    refused(run(program, tmp_path / "gone", image), ": no such file; export", tmp_path / "gone" / "deploy.yaml")
    refused(run(program, export, image, "--save_dir", image), ": cannot be made", image)
    refused(run(program, export, image, image), ": another image has the same name", image)
    refused(run(program, export, image, "--unknown_below", "0.5"), "--unknown_below: .* --output_op softmax")
    refused(run(program, exports["softmax"], image, "--unknown_below", "1.5"), "--unknown_below: give a confidence")
    refused(
        run(program, exports["softmax"], image, "--precision", "int8"), ": holds no int8 .* --int8", exports["softmax"]
    )


def test_a_wrong_command_line_has_status_2(program, exports, tmp_path):
    for words, said in (
        ([], "name the folder of an export"),
        ([exports["fixed"]], "name the folder of an export"),
        ([exports["fixed"], "a", "--engine", "paddle"], "--engine paddle: not known"),
        ([exports["fixed"], "a", "--precision", "int4"], "--precision int4: not known"),
        ([exports["fixed"], "a", "--unknown_below", "much"], "--unknown_below much: expected a number"),
        ([exports["fixed"], "a", "--threads", "1.5"], "--threads 1.5: expected a number"),
        ([exports["fixed"], "a", "--speed", "1"], "--speed: unknown option"),
        ([exports["fixed"], "a", "--engine"], "--engine: its value is missing"),
    ):
        refused(run(program, *words), said, status=2)
    shown = run(program, "--help")
    assert shown.status == 0 and shown.lines[0].startswith("usage: segment EXPORT_FOLDER")


def test_a_model_file_that_is_gone_broken_or_of_another_form(program, red, tmp_path):
    (image,) = write(tmp_path, (2, 2))
    description = Description(2, batch=1, files={"openvino": {"fp32": "model.xml"}})
    write_description(tmp_path, description)
    refused(run(program, tmp_path, image), ": no such file; export", tmp_path / "model.xml")
    (tmp_path / "model.xml").write_text((red / "model.xml").read_text()[:-100])
    refused(run(program, tmp_path, image), ": OpenVINO cannot load it", tmp_path / "model.xml")
    wrong = dataclasses.replace(description, output_op="softmax", files={"openvino": {"fp32": str(red / "model.xml")}})
    write_description(tmp_path, wrong)
    refused(run(program, tmp_path, image, "--save_dir", tmp_path), "the network's output does not match deploy.yaml")
    write_description(tmp_path, dataclasses.replace(wrong, input="float32"))
    refused(run(program, tmp_path, image, "--save_dir", tmp_path), "OpenVINO cannot compute the network")


# --- with OpenCV ------------------------------------------------------------------------------------------------------


def test_images_are_read_as_python_reads_them(opencv_program, red, tmp_path):
    grey, wide = tmp_path / "grey.png", tmp_path / "wide.tif"
    cv2.imwrite(str(grey), picture(33, 45)[..., 0])
    cv2.imwrite(str(wide), picture(33, 45)[..., ::-1].astype(np.uint16) * 256 + 77)
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # turned right by 90 degrees
    Image.fromarray(picture(40, 64)).save(turned, quality=95, exif=exif)
    files = [*write(tmp_path, (63, 127), suffix=".png"), *write(tmp_path, (20, 30)), grey, wide, turned]
    for file in (files[0], turned):  # as a phone appends its video
        file.write_bytes(file.read_bytes() + bytes(range(200)))
    result = run(opencv_program, red, *files, "--save_dir", tmp_path / "out")
    assert (result.status, result.error) == (0, "")
    segment = Segmenter(load_network(red, "openvino", threads=1))
    for file in files:
        found, expected = read(tmp_path / "out", f"{file.stem}_classes"), segment(read_image(file))
        # Two versions of a JPEG decoder may round otherwise.
        assert np.abs(found.astype(int) - expected).max() <= (2 if file is turned else 0), file
    assert read(tmp_path / "out", "turned_classes").shape == (64, 40)


def test_what_is_not_whole_or_nearly_black_is_refused(opencv_program, red, tmp_path):
    (whole,) = write(tmp_path, (20, 30), suffix=".png")
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:-20])
    (tmp_path / "text.jpg").write_text("no image")
    cv2.imwrite(str(tmp_path / "dark.png"), picture(20, 30).astype(np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(20, 30)).save(tmp_path / "turned.webp", exif=exif)
    for name, said in (
        ("cut.png", "not a complete image file"),
        ("text.jpg", "not a complete image file"),
        ("dark.png", "its 16-bit numbers would be read as nearly black"),
        ("turned.webp", "a WebP that only its EXIF turns upright"),
        ("gone.mp4", "no such video"),
    ):
        result = run(opencv_program, red, tmp_path / name, "--save_dir", tmp_path / "out")
        assert result.status == 1 and result.error.splitlines()[-1].startswith(f"error: {tmp_path / name}: {said}")


def test_a_video(opencv_program, red, tmp_path):
    video = tmp_path / "street.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 10, (66, 50))
    for grey in GREYS:
        writer.write(np.full((50, 66, 3), grey, np.uint8))
    writer.release()
    result = run(opencv_program, red, video, "--save_dir", tmp_path / "out", "--frames")
    assert (result.status, result.lines) == (0, [f"{video}: {len(GREYS)} frames, {tmp_path}/out/street_overlay.mp4"])
    capture = cv2.VideoCapture(str(tmp_path / "out" / "street_overlay.mp4"))
    frames = list(itertools.takewhile(lambda one: one is not None, (capture.read()[1] for _ in itertools.count())))
    assert len(frames) == len(GREYS) and frames[0].shape == (50, 66, 3) and capture.get(cv2.CAP_PROP_FPS) == 10
    for number, grey in enumerate(GREYS):
        found = read(tmp_path / "out" / "street_classes", f"{number:06}")
        assert found.shape == (50, 66) and np.abs(found.astype(int) - grey).max() <= 2
