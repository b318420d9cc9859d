"""Exported networks are scored as the network that they were made from, and compared with a checkpoint."""

import json
import re

from compat import UserError

import numpy as np
import paddle
import pytest
from paddle import nn

from data.transforms import Normalize
from engine.build import dataset_of
from engine.evaluation.evaluator import evaluate
from engine.evaluation.predictor import DeployedPredictor
from engine.recipe import Protocol, load_recipe
from engine.runtime import Description, EagerNetwork, Network, write_description
from models import build_model
from tests.helpers.zero_networks import zero_networks
from tool.evaluate import main

SAMPLE = "configs/stdc1_seg_sample.yml"


class Pixelwise(nn.Layer):
    """A network of one 1x1 convolution."""

    def __init__(self, classes=19):
        super().__init__()
        paddle.seed(3)
        self.classify = nn.Conv2D(3, classes, 1)

    def forward(self, image):
        return [self.classify(image)]


class Shipped(Network):
    """A Pixelwise in the form that a description names, as an engine computes it."""

    def __init__(self, model, **description):
        super().__init__("eager", "fp32", Description(19, **description))
        self.model = model

    def run(self, batch):
        if self.description.input != "float32":
            channels = batch[..., ::-1] if self.description.input == "uint8_bgr" else batch
            batch = np.stack([Normalize()(image) for image in channels])
        logits = self.model(paddle.to_tensor(batch))[0].numpy()
        return logits if self.gives_logits else logits.argmax(1).astype(np.uint8)


@pytest.fixture(scope="module")
def dataset(sample_root):
    return dataset_of(load_recipe(SAMPLE, {"val_dataset.dataset_root": str(sample_root)}).val_dataset)


@pytest.mark.parametrize("input", ["uint8_rgb", "uint8_bgr", "float32"])
@pytest.mark.parametrize("output_op", ["argmax", "none"])
def test_what_is_shipped_scores_as_the_network(dataset, input, output_op):
    model = Pixelwise()
    expected = evaluate(model, dataset, Protocol()).confusion
    shipped = Shipped(model, input=input, output_op=output_op)
    assert (evaluate(shipped, dataset, Protocol()).confusion == expected).all()
    assert (expected.sum(0) > 0).sum() > 2


@pytest.mark.parametrize(
    "protocol",
    [Protocol(scales=(0.5, 1.0)), Protocol(flip_horizontal=True)],
)
def test_what_only_eager_computes_is_not_scored_as_deployed(dataset, protocol):
    with pytest.raises(UserError, match="engines and --window take one scale and no flip"):
        evaluate(EagerNetwork(Pixelwise(), 19), dataset, protocol)


def test_protocols_of_one_scale_with_and_without_windows_are_apart():
    """Protocols that show a network the same pixels share its runs; windows are other pixels."""

    class Counted(EagerNetwork):
        runs = 0

        def _logits(self, images):
            self.runs += 1
            return super()._logits(images)

    slide = Protocol(is_slide=True, crop_size=(48, 64), stride=(24, 32))
    network = Counted(Pixelwise(), 19)
    predict = DeployedPredictor(network, {"full": Protocol(), "also full": Protocol(), "slide": slide})
    found = predict(np.zeros((64, 96, 3), np.uint8))
    assert network.runs == 1 + 3
    assert found["full"].classes is found["also full"].classes
    np.testing.assert_array_equal(found["full"].classes, found["slide"].classes)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder with a Paddle inference model, as tool.export writes it."""

    class Deployed(Pixelwise):
        def forward(self, image):
            return self.classify(image)

    folder = tmp_path_factory.mktemp("exported")
    model = Deployed()
    model.eval()
    paddle.jit.save(model, str(folder / "model"), [paddle.static.InputSpec([-1, 3, -1, -1], "float32")])
    file = next(name for name in ("model.json", "model.pdmodel") if (folder / name).is_file())
    write_description(folder, Description(19, "float32", "none", batch=None, files={"paddle": {"fp32": file}}))
    return folder, file


def test_two_networks_are_scored_in_one_way(exported, sample_root, tmp_path, capsys):
    """A checkpoint was scored as in PaddleSeg beside an export as deployed; for two of them --engine was ignored."""
    folder, file = exported
    common = ["--config", SAMPLE, "--dataset_root", str(sample_root), "--opts", "test_config.full.align_corners=True"]
    weights, json_file = str(tmp_path / "zero.pdparams"), tmp_path / "out.json"
    with zero_networks():
        paddle.save(build_model("stdc1_seg", 19).state_dict(), weights)
        for other, engine, ways in (
            (str(folder / file), "paddle", ["eager", "paddle"]),
            (weights, "eager", ["eager", "eager"]),
        ):
            main([*common, "--json", str(json_file), "--compare", weights, other, "--engine", engine])
            said = capsys.readouterr().out
            about = json.loads(json_file.read_text())
            for letter, one, way in zip("AB", (about, about["compared_with"]), ways):
                assert one["scored"] == f"as deployed by {way} in fp32"
                assert re.search(rf"^{letter}: .*, scored as deployed by {way} in fp32$", said, re.M)
            assert '"align_corners": true' not in json_file.read_text()
        main([*common, "--compare", weights, weights])
    assert capsys.readouterr().out.count("scored as in PaddleSeg") == 2


def test_a_checkpoint_against_what_is_exported(exported, dataset, sample_root, tmp_path):
    folder, file = exported
    common = ["--config", SAMPLE, "--dataset_root", str(sample_root), "--json", str(tmp_path / "out.json")]
    weights = str(tmp_path / "zero.pdparams")
    with zero_networks():
        paddle.save(build_model("stdc1_seg", 19).state_dict(), weights)
        main([*common, "--compare", weights, str(folder / file), "--engine", "paddle"])
    rows = json.loads((tmp_path / "out.json").read_text())["compared_with"]["rows"]
    assert rows[0]["second"] == pytest.approx(evaluate(Pixelwise(), dataset, Protocol()).miou)
    assert rows[0]["first"] != rows[0]["second"]
    with pytest.raises(UserError, match="is an exported network; choose its engine: --engine paddle"):
        main([*common, "--compare", weights, str(folder)])
    with pytest.raises(UserError, match="deploy.yaml: no such file; export the network"):
        main([*common, "--engine", "paddle", "--model_path", str(tmp_path)])
