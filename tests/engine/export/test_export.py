"""Every network exported for every engine agrees with eager, and a wrong export is refused."""

import dataclasses
import importlib
import os
import shutil
import sys
from unittest import mock

from compat import UserError

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
import yaml

from data.transforms import Normalize
from engine.export import compare, export_network, fold_batch_norm, writers
from engine.export.class_map import ClassMap
from engine.export.folder import install
from engine.export.quantizable import FORMS
from engine.runtime import (
    EXPORTED_ENGINES,
    PRECISIONS,
    Description,
    EagerNetwork,
    Network,
    load_network,
    read_description,
)
from models import build_model, list_models

onnx = pytest.importorskip("onnx")
openvino = pytest.importorskip("openvino")
pytest.importorskip("onnxruntime")
pytest.importorskip("MNN")
pytest.importorskip("paddle2onnx")

CLASSES = 5
LOGITS = Description(CLASSES, output_op="none", batch=None)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # different for each channel, as that the order matters


def network(name):
    """A network of random weights whose batch norms, too, are those of no fresh network."""
    paddle.seed(3)
    rng = np.random.default_rng(3)
    model = build_model(name, CLASSES)
    for layer in model.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D):
            for tensor, low, high in (
                (layer.weight, 0.8, 1.2),
                (layer.bias, -0.2, 0.2),
                (layer._mean, -0.2, 0.2),
                (layer._variance, 0.8, 1.2),
            ):
                tensor.set_value(rng.uniform(low, high, tensor.shape).astype("float32"))
    model.eval()
    return model


def photos(*shape, seed=7):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def stdc1_seg():
    return network("stdc1_seg")


def test_each_engine_can_be_written_in_its_precisions():
    assert set(writers.SUFFIXES) == set(EXPORTED_ENGINES)
    assert set(FORMS) == {name for name, engine in EXPORTED_ENGINES.items() if "int8" in engine.precisions}
    assert all(set(engine.precisions) <= set(PRECISIONS) for engine in EXPORTED_ENGINES.values())


@pytest.mark.parametrize("name", list_models())
def test_every_network_agrees_with_eager_at_any_size(name, tmp_path):
    model = network(name)
    export_network(model, LOGITS, tmp_path, EXPORTED_ENGINES)
    eager = EagerNetwork(model, CLASSES)
    for engine in EXPORTED_ENGINES:
        exported = load_network(tmp_path, engine, threads=1)
        for shape in ((2, 64, 64), (1, 65, 97)):
            expected, logits = eager.logits(photos(*shape)), exported.logits(photos(*shape))
            assert logits.dtype == np.float32 and logits.shape == expected.shape
            assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()
            assert np.mean(logits.argmax(axis=1) == expected.argmax(axis=1)) >= 0.999
    graph = onnx.load(str(tmp_path / "model.onnx"))
    assert [entry.version for entry in graph.opset_import if not entry.domain] == [17]
    assert len(graph.graph.output) == 1
    # Only DDRNet has batch norms that no convolution stands before.
    assert any(node.op_type == "BatchNormalization" for node in graph.graph.node) == name.startswith("ddrnet")


@pytest.mark.parametrize("name", ["stdc1_seg", "ddrnet23_slim"])
def test_an_odd_fixed_size_with_argmax(name, tmp_path):
    model = network(name)
    description = Description(CLASSES, "uint8_bgr", "argmax", (65, 97), 1, MEAN, STD)
    export_network(model, description, tmp_path, EXPORTED_ENGINES)
    images = photos(1, 65, 97)
    expected = EagerNetwork(model, CLASSES, Normalize(mean=MEAN, std=STD)).classes(images)
    for engine in EXPORTED_ENGINES:
        exported = load_network(tmp_path, engine, threads=1)
        classes = exported.classes(images)
        assert classes.dtype == np.uint8 and classes.shape == (1, 65, 97)
        assert np.mean(classes == expected) >= 0.999
        assert np.mean(exported.classes(images[..., ::-1]) == expected) < 0.999  # RGB and BGR are told apart
        with pytest.raises(UserError, match="exported for 97x65"):
            exported.classes(photos(1, 65, 96))
        with pytest.raises(UserError, match="--output_op none"):
            exported.logits(images)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("stride_size, size", [((9, 70), (65, 560)), ((1, 5), (7, 39)), ((25, 13), (100, 52))])
def test_the_class_map_is_that_of_resized_logits(stride_size, size, align_corners):
    paddle.seed(0)
    logits = paddle.randn([2, 19, *stride_size])
    resized = F.interpolate(logits, size=size, mode="bilinear", align_corners=align_corners).numpy()
    classes = ClassMap(stride_size, size, align_corners)(logits).numpy()
    assert classes.shape == (2, *size)
    # Another class only where both are as good.
    lead = resized.max(axis=1) - np.take_along_axis(resized, classes[:, None].astype("int64"), axis=1)[:, 0]
    assert lead.max() < 1e-5


def test_a_class_map_of_fixed_size_is_computed_without_the_logits_of_its_size(stdc1_seg, tmp_path):
    size = (96, 1024)
    export_network(stdc1_seg, Description(19, size=size), tmp_path, ["onnxruntime"])
    nodes = onnx.load(str(tmp_path / "model.onnx")).graph.node
    modes = [b"".join(a.s for a in node.attribute if a.name == "mode") for node in nodes if node.op_type == "Resize"]
    operators = [node.op_type for node in nodes]
    assert modes == [b"nearest"] * 2  # those of the context path
    assert operators.count("MatMul") == 2 + 2 * 2 and operators.count("ArgMax") == 2 * 2


def test_float_input_is_paddlesegs(stdc1_seg, tmp_path):
    description = Description(CLASSES, "float32", "none", None, 1, MEAN, STD)
    export_network(stdc1_seg, description, tmp_path, ["paddle"])
    deploy = yaml.safe_load((tmp_path / "deploy.yaml").read_text())["Deploy"]
    assert (tmp_path / deploy["model"]).is_file() and (tmp_path / deploy["params"]).is_file()
    assert deploy["transforms"] == [{"type": "Normalize", "mean": list(MEAN), "std": list(STD)}]
    assert (deploy["input_shape"], deploy["output_op"], deploy["output_dtype"]) == ([1, 3, -1, -1], "none", "float32")
    loaded = paddle.jit.load(str(tmp_path / "model"))
    image = paddle.randn([1, 3, 64, 64])
    with paddle.no_grad():
        np.testing.assert_allclose(loaded(image).numpy(), stdc1_seg(image)[0].numpy(), atol=1e-4)
    assert not list(tmp_path.glob("*.onnx")) and not list(tmp_path.glob("*.xml"))
    with pytest.raises(UserError, match="--engines openvino"):
        load_network(tmp_path, "openvino")


def test_folding_changes_no_output_and_leaves_no_batch_norm_behind_a_convolution():
    model, image = network("bisestdc"), paddle.randn([1, 3, 48, 80])
    with paddle.no_grad():
        before = model(image)[0].numpy()
        after = fold_batch_norm(model)(image)[0].numpy()
    np.testing.assert_allclose(after, before, atol=1e-5 * np.abs(before).max())
    assert not any(isinstance(layer, paddle.nn.BatchNorm2D) for layer in model.sublayers())


@pytest.mark.parametrize("output_op", ["none", "argmax"])
def test_a_wrong_export_is_refused_and_the_former_one_stays(output_op, stdc1_seg, tmp_path, monkeypatch):
    description = dataclasses.replace(LOGITS, output_op=output_op)
    export_network(stdc1_seg, description, tmp_path, ["onnxruntime"])
    former = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    right = writers.write_openvino

    def slightly_wrong(folder, onnx_file):
        """A network of another rounding: the red channel comes out 3 levels brighter."""
        graph = onnx.load(str(folder / onnx_file))
        for tensor in [
            *graph.graph.initializer,
            *(a.t for n in graph.graph.node for a in n.attribute if a.name == "value"),
        ]:
            values = onnx.numpy_helper.to_array(tensor)
            if values.shape == (1, 3, 1, 1) and values.max() >= 1:  # the offset of the normalisation
                wrong = values + np.float32([[[[-6 / 255]], [[0]], [[0]]]])
                tensor.CopyFrom(onnx.numpy_helper.from_array(wrong.astype(np.float32), tensor.name))
        onnx.save(graph, str(folder / "wrong.onnx"))
        return right(folder, "wrong.onnx")

    monkeypatch.setattr(writers, "write_openvino", slightly_wrong)
    with pytest.raises(UserError, match="engine openvino: .* does not agree with eager"):
        export_network(stdc1_seg, description, tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == former


def test_the_comparison_sees_nan_and_wrong_shapes(stdc1_seg):
    eager = EagerNetwork(stdc1_seg, CLASSES)

    class Broken(EagerNetwork):
        def run(self, batch):
            return self.spoil(super().run(batch))

    for spoil in (lambda logits: logits * np.nan, lambda logits: logits[:, :, :-1], lambda logits: logits[:, ::-1]):
        broken = Broken(stdc1_seg, CLASSES)
        broken.spoil = spoil
        assert not compare(broken, eager, [photos(1, 64, 64)]).holds
    assert compare(eager, eager, [photos(1, 64, 64)]) == (0, 1, "none")


def test_a_disk_without_room_is_named_before_anything_is_written(stdc1_seg, tmp_path, monkeypatch):
    (tmp_path / "model.onnx").write_text("the former one")
    weights = 4 * sum(tensor.size for tensor in stdc1_seg.state_dict().values())
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=3 * weights))
    with pytest.raises(UserError, match="its disk has .* MiB free, and the export takes .* MiB; make room"):
        export_network(stdc1_seg, LOGITS, tmp_path, ["openvino"])
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_an_export_interrupted_while_it_is_moved_leaves_no_description_of_a_mixture(tmp_path, monkeypatch):
    draft, folder = tmp_path / "draft", tmp_path / "folder"
    for place in (draft, folder):
        place.mkdir()
        for name in ("deploy.yaml", "model.bin", "model.xml"):
            (place / name).write_text(f"{place.name} {name}")
    replace, moved = os.replace, []

    def killed(source, target):
        if len(moved) == 2:
            raise KeyboardInterrupt
        moved.append(source.name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        install(draft.iterdir(), folder)
    assert not (folder / "deploy.yaml").exists()
    monkeypatch.undo()
    install(draft.iterdir(), folder)
    assert (folder / "deploy.yaml").read_text() == "draft deploy.yaml"


def test_a_file_that_the_description_does_not_list_is_not_replaced_by_another(stdc1_seg, tmp_path):
    export_network(stdc1_seg, LOGITS, tmp_path, ["openvino"])
    for name in ("", "deploy.yaml", "model.xml", "model.bin"):
        assert load_network(tmp_path / name, "openvino", threads=1).precision == "fp32"
    (tmp_path / "model_int8.xml").write_text("of a former export")
    with pytest.raises(UserError, match="model_int8.xml: is not in the deploy.yaml beside it, which lists model.xml"):
        load_network(tmp_path / "model_int8.xml", "openvino")


def test_a_missing_engine_says_how_to_install_it(tmp_path, monkeypatch, stdc1_seg):
    export_network(stdc1_seg, LOGITS, tmp_path, ["paddle"])
    description = dataclasses.replace(read_description(tmp_path), files={"openvino": {"fp32": "deploy.yaml"}})
    (tmp_path / "other").mkdir()
    from engine.runtime import load, write_description

    write_description(tmp_path, description)

    def absent(name):
        raise ImportError("No module named 'openvino'")

    monkeypatch.setattr(load, "import_module", absent)
    with pytest.raises(UserError, match="pip install -r requirements-deploy.txt"):
        load_network(tmp_path, "openvino")
    monkeypatch.setattr(load, "import_module", importlib.import_module)
    for arguments, message in (
        (("openvin",), "did you mean openvino"),
        (("openvino", "int4"), "did you mean int8"),
        (("openvino", "int8"), "--int8"),
        (("eager",), "--config"),
    ):
        with pytest.raises(UserError, match=message):
            load_network(tmp_path, *arguments)
    with pytest.raises(UserError, match="no such exported network"):
        load_network(tmp_path / "nowhere", "paddle")
    with pytest.raises(UserError, match="tool.export"):
        load_network(tmp_path / "other", "paddle")


class Probabilities(Network):
    """Returns softmax(logits / divisor) of the same logits for every image."""

    def __init__(self, logits, divisor):
        super().__init__("paddle", "fp32", Description(CLASSES, output_op="softmax", batch=None, temperature=2.0))
        exponentials = np.exp(logits / divisor)
        self.output = exponentials / exponentials.sum(axis=1, keepdims=True)

    def run(self, batch):
        return self.output


@pytest.mark.parametrize("divisor, holds", [(2.0, True), (2.01, False)])
def test_probabilities_are_compared_at_their_temperature(divisor, holds):
    logits = np.random.default_rng(0).normal(0, 3, (1, CLASSES, 8, 9)).astype(np.float32)
    eager = mock.Mock(logits=lambda images: logits)
    agreement = compare(Probabilities(logits, divisor), eager, [photos(1, 8, 9)])
    assert agreement.holds == holds and agreement.equal_pixels == 1
    assert str(agreement).startswith("probabilities differ by")


def test_mnn_computes_in_float32_and_reports_to_nobody(stdc1_seg, tmp_path):
    export_network(stdc1_seg, LOGITS, tmp_path, ["mnn"])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["deploy.yaml", "model.mnn"]
    # Its tools install packages while they are imported, and send what was converted and where.
    assert not [name for name in sys.modules if name.startswith(("MNN.tools", "aliyun"))]
    mnn = load_network(tmp_path, "mnn", threads=1)
    first, batch = mnn.logits(photos(1, 32, 64)), photos(1, 32, 64, seed=8)
    kept = first.copy()
    assert not np.array_equal(mnn.logits(batch), first) and np.array_equal(first, kept)
    with pytest.raises(UserError, match="engine mnn: computes in fp32, not in bf16"):
        load_network(tmp_path, "mnn", "bf16")
    file = tmp_path / "model.mnn"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match="model.mnn: MNN cannot load it"):
        load_network(tmp_path, "mnn")


def test_a_converter_of_mnn_that_writes_nothing_is_an_error(tmp_path):
    (tmp_path / "model.onnx").write_text("no network")
    with pytest.raises(UserError, match="its converter wrote no model.mnn"):
        writers.write_mnn(tmp_path, "model.onnx")
