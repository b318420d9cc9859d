"""One way from an image to a class map: every command and engine gives the same one, pixel by pixel.

The network's arithmetic is exact in float32 (sums of multiples of 1/256 and of small powers of two), so that engines
can differ only in what happens to an image around it.
"""

import base64
import io
import json
import shutil
from contextlib import contextmanager
from unittest import mock

from compat import UserError

import cv2
import numpy as np
import paddle
import pytest
from paddle import nn
from PIL import Image

import engine.build
from data.files import read_image, read_label
from engine.evaluation import metrics
from engine.runtime import EXPORTED_ENGINES, read_description
from tool import demo, evaluate, export, predict
from tool.demonstration.app import create_app
from tool.demonstration.networks import Networks

CONFIG = "configs/stdc1_seg_sample.yml"
CLASSES = 19
SIZES = ((63, 127), (64, 101), (57, 128))  # (h, w) of the images
SCALES = (0.5, 0.75, 1.0)
SHAPES = {"any": (-1, 3, -1, -1), "fixed": (1, 3, 40, 72), "batch of 2": (2, 3, -1, -1)}
# (value / 255 - 0) / (256 / 255) is value / 256
NORMALIZE = f"val_dataset.transforms={[{'type': 'Normalize', 'mean': [0.0] * 3, 'std': [256 / 255] * 3}]}"

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
pytest.importorskip("MNN")
pytest.importorskip("paddle2onnx")


class Exact(nn.Layer):
    """A 1x1 convolution whose weights are multiples of 1/16, at most 4."""

    output_names = ("main",)

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(5)
        self.classify = nn.Conv2D(3, CLASSES, 1)
        self.classify.weight.set_value(np.float32(rng.integers(-64, 65, (CLASSES, 3, 1, 1)) / 16))
        self.classify.bias.set_value(np.float32(rng.integers(-32, 33, CLASSES) / 16))

    def forward(self, image):
        return [self.classify(image)]

    def logits(self, image, scale, size=None):
        """[h, w, K] float64 of an image [H, W, 3], as it is seen."""
        shape = size or [int(side * scale + 0.5) for side in image.shape[:2]]
        seen = cv2.resize(image, tuple(shape[::-1]), interpolation=cv2.INTER_LINEAR_EXACT)
        weight, bias = self.classify.weight.numpy()[:, :, 0, 0], self.classify.bias.numpy()
        return seen.astype(np.float64) / 256 @ weight.T.astype(np.float64) + bias

    def truth(self, image, scale=1.0, size=None):
        """The class map [H, W] of an image [H, W, 3]: numpy decides, OpenCV resizes."""
        classes = self.logits(image, scale, size).argmax(-1).astype(np.uint8)
        return cv2.resize(classes, image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)

    def confidence(self, image, scale, temperature):
        """[H, W] float64 in (0, 1]."""
        exponentials = np.exp(self.logits(image, scale) / temperature)
        confidence = exponentials.max(-1) / exponentials.sum(-1)
        return cv2.resize(confidence, image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)


@pytest.fixture(scope="module")
def exact():
    with pytest.MonkeyPatch.context() as patch:
        model = Exact()
        patch.setattr(engine.build, "build_model", lambda *args, **options: Exact())
        yield model


@pytest.fixture(scope="module")
def root(sample_root, tmp_path_factory):
    """The sample with images of several odd sizes."""
    folder = tmp_path_factory.mktemp("odd") / "sample"
    shutil.copytree(sample_root, folder)
    for kind in ("leftImg8bit", "gtFine"):
        for file in sorted((folder / kind / "val").rglob("*.png")):
            height, width = SIZES[int(file.name.split("_")[1]) % len(SIZES)]
            cv2.imwrite(str(file), cv2.imread(str(file), cv2.IMREAD_UNCHANGED)[:height, :width])
    return folder


@pytest.fixture(scope="module")
def images(root):
    """{name: image [H, W, 3] RGB} in the dataset's order."""
    files = sorted((root / "leftImg8bit" / "val").rglob("*.png"))
    found = {file.stem: read_image(file) for file in files}
    assert {image.shape[:2] for image in found.values()} == set(SIZES)
    return found


@pytest.fixture(scope="module")
def common(root):
    return ["--config", CONFIG, "--dataset_root", str(root), "--device", "cpu"]


@pytest.fixture(scope="module")
def weights(exact, tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "model.pdparams"
    paddle.save(exact.state_dict(), str(file))
    return str(file)


@pytest.fixture(scope="module")
def exports(exact, weights, common, tmp_path_factory):
    """{shape: folder} of tool.export, for every engine."""
    folders = {name: tmp_path_factory.mktemp("export") for name in SHAPES}
    for name, shape in SHAPES.items():
        flags = ["--model_path", weights, "--save_dir", str(folders[name]), "--input_shape", *map(str, shape)]
        export.main([*common, *flags, "--engines", *EXPORTED_ENGINES, "--opts", NORMALIZE])
    return folders


@contextmanager
def scored():
    """Every class map that an evaluation counts, in order."""
    maps = []
    count = metrics.confusion_matrix

    def keep(label, class_map, *rest):
        maps.append(class_map)
        return count(label, class_map, *rest)

    with mock.patch.object(metrics, "confusion_matrix", keep):
        yield maps


def predicted(flags, images, folder):
    predict.main([*flags, "--save_dir", str(folder), "--results", "pseudo_color_prediction"])
    return [read_label(folder / "pseudo_color_prediction" / f"{name}.png") for name in images]


def evaluated(flags, images):
    with scored() as maps:
        evaluate.main([*flags, "--bootstrap", "0"])
    return maps[: len(images)]


def shown(choice, images):
    """What the page returns of each image."""
    client = create_app(Networks([choice])).test_client()
    maps = []
    for image in images.values():
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG")
        upload = (io.BytesIO(stream.getvalue()), "a.png")
        answer = client.post("/predict", data={"model": choice.model, "engine": choice.engine, "image": upload})
        maps.append(np.asarray(Image.open(io.BytesIO(base64.b64decode(answer.get_json()["class_map"])))))
    return maps


@pytest.fixture
def ways(common, images, tmp_path):
    """A function of a network and a scale that returns {command: class maps in the dataset's order}."""

    def run(engine, model_path, scale, precision="fp32"):
        opts = ["--opts", NORMALIZE, f"test_config.full.scales={scale}"]
        model = ["--model_path", str(model_path)]
        flags = [*common, *model, "--engine", engine, "--precision", precision, *opts]
        title = "Paddle eager" if engine == "eager" else f"{EXPORTED_ENGINES[engine].title} {precision}"
        choices = demo.find_choices(demo._parser().parse_args(["--config", CONFIG, *model, *opts]))
        return {
            "predict": predicted(flags, images, tmp_path),
            "evaluate": evaluated(flags, images),
            "page": shown(next(choice for choice in choices if choice.engine == title), images),
        }

    return run


def assert_all_are(found, expected):
    for command, maps in found.items():
        assert len(maps) == len(expected)
        for number, (one, true) in enumerate(zip(maps, expected)):
            np.testing.assert_array_equal(one, true, err_msg=f"{command}, image {number}")


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("engine", EXPORTED_ENGINES)
def test_every_command_and_engine(exact, exports, images, ways, engine, scale):
    expected = [exact.truth(image, scale) for image in images.values()]
    assert_all_are(ways(engine, exports["any"], scale), expected)


@pytest.mark.parametrize("scale", SCALES)
def test_eager(exact, weights, images, ways, scale):
    assert_all_are(ways("eager", weights, scale), [exact.truth(image, scale) for image in images.values()])


@pytest.mark.parametrize("engine", EXPORTED_ENGINES)
def test_graphs_of_a_fixed_size_and_of_a_fixed_batch(exact, exports, images, ways, engine):
    squeezed = [exact.truth(image, size=(40, 72)) for image in images.values()]
    assert_all_are(ways(engine, exports["fixed"], 0.75), squeezed)
    halved = [exact.truth(image, 0.5) for image in images.values()]
    assert_all_are(ways(engine, exports["batch of 2"], 0.5), halved)


@pytest.mark.parametrize("shape, scale", [("any", 0.75), ("fixed", 1.0)])
def test_the_guard_and_calibration(exact, weights, images, common, ways, monkeypatch, tmp_path, shape, scale):
    """What int8 is calibrated on, and what it is measured on, are what ships."""
    pytest.importorskip("nncf")
    calibration, quantize = [], export.quantize_exported

    def keep(folder, engine, batches, *rest):
        calibration.extend(batches)
        return quantize(folder, engine, batches, *rest)

    monkeypatch.setattr(export, "quantize_exported", keep)
    flags = ["--model_path", weights, "--save_dir", str(tmp_path / "export"), "--engines", "onnxruntime"]
    flags += ["--input_shape", *map(str, SHAPES[shape]), "--int8", "--max_drop", "100", "--calibration_images", "2"]
    with scored() as guarded:
        export.main([*common, *flags, "--opts", NORMALIZE, f"test_config.full.scales={scale}"])
    size = SHAPES["fixed"][2:] if shape == "fixed" else None
    assert_all_are({"guard": guarded[: len(images)]}, [exact.truth(image, scale, size) for image in images.values()])
    assert_all_are(ways("onnxruntime", tmp_path / "export", scale, "int8"), guarded[len(images) :])
    seen = size or tuple(int(side * scale + 0.5) for side in (64, 128))
    assert [batch.shape for batch in calibration] == [(1, *seen, 3)] * 2
    assert read_description(tmp_path / "export").scale == scale


@pytest.mark.parametrize("engine", ["eager", *EXPORTED_ENGINES])
def test_windows(exact, exports, weights, images, common, tmp_path, engine):
    """A pixel's logits are the same in every window of this network; where classes tie, a blend may round."""
    model = weights if engine == "eager" else str(exports["any"])
    slide = ("scales=0.75", "is_slide=True", "crop_size=[32,24]", "stride=[24,16]")
    flags = [*common, "--engine", engine, "--model_path", model]
    opts = ["--opts", NORMALIZE, *(f"test_config.full.{option}" for option in slide)]
    maps = evaluated([*flags, *opts], images)
    assert_all_are({"recipe": predicted([*flags, *opts], images, tmp_path)}, maps)
    asked = ["--is_slide", "--crop_size", "32", "24", "--stride", "24", "16"]
    assert_all_are({"flags": predicted([*flags, *asked, *opts[:3]], images, tmp_path)}, maps)
    for found, image in zip(maps, images.values()):
        assert np.mean(found == exact.truth(image, 0.75)) > 0.99


@pytest.fixture(scope="module")
def softmax_export(exact, weights, common, tmp_path_factory):
    folder = tmp_path_factory.mktemp("softmax")
    flags = ["--model_path", weights, "--save_dir", str(folder), "--output_op", "softmax", "--temperature", "0.5"]
    export.main([*common, *flags, "--engines", *EXPORTED_ENGINES, "--opts", NORMALIZE])
    return folder


@pytest.mark.parametrize("engine", ["eager", *EXPORTED_ENGINES])
def test_confidence_and_unknown_pixels(exact, weights, softmax_export, images, common, tmp_path, engine):
    """`--results confidence` and `--unknown_below`, in every engine, at a temperature of 0.5."""
    maps = {name: exact.confidence(image, 0.75, temperature=0.5) for name, image in images.items()}
    threshold = round(float(np.median(np.concatenate([one.ravel() for one in maps.values()]))), 3)
    model = [weights, "--temperature", "0.5"] if engine == "eager" else [str(softmax_export)]
    flags = [*common, "--engine", engine, "--model_path", *model, "--save_dir", str(tmp_path)]
    opts = ["--opts", NORMALIZE, "test_config.full.scales=0.75"]
    predict.main(
        [*flags, "--unknown_below", str(threshold), "--results", "pseudo_color_prediction", "confidence", *opts]
    )
    for name, image in images.items():
        classes, confidence = exact.truth(image, 0.75), maps[name]
        grey = read_label(tmp_path / "confidence" / f"{name}.png")
        assert np.abs(grey - 255 * confidence).max() <= 0.51
        found = read_label(tmp_path / "pseudo_color_prediction" / f"{name}.png")
        sure = np.abs(confidence - threshold) > 1e-5
        np.testing.assert_array_equal(found[sure], np.where(confidence < threshold, 255, classes)[sure])
        assert 0.05 < np.mean(found == 255) < 0.95


def test_class_maps_alone_have_no_confidence(exports, common, tmp_path):
    flags = [*common, "--engine", "onnxruntime", "--model_path", str(exports["any"]), "--save_dir", str(tmp_path)]
    for option in (["--unknown_below", "0.5"], ["--pseudo_labels", "0.5"], ["--results", "confidence"]):
        with pytest.raises(UserError, match=f"{option[0]} {option[1]}: .* --output_op softmax"):
            predict.main([*flags, *option, "--opts", NORMALIZE])
    with pytest.raises(UserError, match="--temperature 2.0: an exported network has its own"):
        predict.main([*flags, "--temperature", "2", "--opts", NORMALIZE])


def test_evaluate_calibrates(weights, common, capsys, tmp_path):
    file = tmp_path / "scores.json"
    flags = ["--model_path", weights, "--bootstrap", "0", "--calibrate", "--json", str(file)]
    evaluate.main([*common, *flags, "--opts", NORMALIZE])
    found = json.loads(file.read_text())["calibration"]
    assert found["images"] == len(SIZES) and found["likelihood_after"] < found["likelihood_before"]
    assert f"temperature {found['temperature']:.3f}: expected calibration error" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options, said",
    [
        (["scales=[0.5,1.0]"], "scales 0.5 1"),
        (["flip_horizontal=True"], "scale 1, flip horizontal"),
    ],
)
def test_what_only_eager_computes_is_refused_in_one_line(exports, weights, common, tmp_path, options, said):
    override = ["--opts", NORMALIZE, *(f"test_config.full.{option}" for option in options)]
    message = f"test_config.full is {said}: engines and --window take one scale and no flip"
    shipped = ["--model_path", str(exports["any"]), "--engine", "onnxruntime"]
    with pytest.raises(UserError, match=message):
        export.main([*common, "--model_path", weights, "--save_dir", str(tmp_path), *override])
    for command in (predict, evaluate):
        with pytest.raises(UserError, match=message):
            command.main([*common, *shipped, *override])


def test_what_only_eager_computes_is_predicted_as_evaluated(weights, images, common, tmp_path):
    scales, flip = "test_config.full.scales=[0.75,1.0]", "test_config.full.flip_horizontal=True"
    flags = [*common, "--model_path", weights, "--opts", NORMALIZE, scales, flip]
    assert_all_are({"predict": predicted(flags, images, tmp_path)}, evaluated(flags, images))
