"""int8: what it costs is measured, a layer that cannot bear it stays in float, and a network that loses is refused."""

import os
import platform
import resource
import subprocess
import sys
from types import SimpleNamespace

from compat import UserError

import numpy as np
import paddle
import pytest
from paddle import nn

from data.classes import ClassSet
from engine.export import export_network
from engine.runtime import Description, EagerNetwork, load_network, read_description

pytest.importorskip("nncf")
pytest.importorskip("onnxruntime")
pytest.importorskip("paddle2onnx")

from engine.export import quantizable, quantize
from engine.export.onnx_concatenation import quantize_concatenations
from engine.export.quantize import calibration_batches, quantize_exported
from models import build_model
from models.layers import ConvBN, ConvBNReLU

SIZE = (32, 48)


class Fragile(nn.Layer):
    """Two classes, dark and bright, told apart by a channel that is 100000 times fainter than the one beside it.

    One int8 range for both channels leaves nothing of the faint one.
    """

    output_names = ("main",)

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2D(3, 2, 1, bias_attr=False), nn.Conv2D(2, 2, 1, bias_attr=False)
        self.first.weight.set_value(np.float32([[1000] * 3, [0.01] * 3]).reshape(2, 3, 1, 1))
        self.second.weight.set_value(np.float32([[0, -1], [0, 1]]).reshape(2, 2, 1, 1))

    def forward(self, image):
        return [self.second(self.first(image))]


def pictures(count):
    return [np.random.default_rng(n).integers(0, 256, (1, *SIZE, 3), dtype=np.uint8) for n in range(count)]


@pytest.fixture(scope="module")
def fragile():
    model = Fragile()
    model.eval()
    return model


@pytest.fixture
def score(fragile):
    """Share of pixels, in percent, of which a network and eager predict the same class."""
    eager = EagerNetwork(fragile, 2)
    return lambda network: 100 * float(np.mean([network.classes(p) == eager.classes(p) for p in pictures(2)]))


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_layer_that_cannot_bear_int8_stays_in_float(engine, fragile, score, tmp_path):
    classes = ClassSet(("sea", "land"), ((1, 2, 3), (4, 5, 6)))
    export_network(fragile, Description(2, size=SIZE, classes=classes), tmp_path, [engine])
    bad = quantize_exported(tmp_path, engine, pictures(4), score, max_drop=100)
    assert bad.fp32 == 100 and bad.drop > 10 and bad.float_layers == []
    good = quantize_exported(tmp_path, engine, pictures(4), score, max_drop=0.5)
    assert good.fp32 == 100 and good.drop <= 0.5 and good.float_layers
    network = load_network(tmp_path, engine, "int8")
    assert score(network) == good.int8 and network.description.classes == classes
    assert load_network(tmp_path / read_description(tmp_path).files[engine]["int8"], engine).precision == "int8"


@pytest.mark.parametrize(
    ("count", "expected"), [(1, [0]), (2, [0, 9]), (4, [0, 3, 6, 9]), (10, range(10)), (99, range(10))]
)
def test_calibration_images_are_spread_over_the_dataset(count, expected):
    class Numbers:
        def __len__(self):
            return 10

        def read_image(self, index):
            return index

    segmenter = SimpleNamespace(batch=lambda image: image)
    assert calibration_batches(segmenter, Numbers(), count) == list(expected)


def test_a_network_that_loses_too_much_is_refused(fragile, tmp_path):
    export_network(fragile, Description(2, size=SIZE), tmp_path, ["openvino"])
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match="int8 loses 50.00 points .* no int8 network was kept"):
        quantize_exported(
            tmp_path, "openvino", pictures(2), lambda network: 80 if network.precision == "fp32" else 30, max_drop=0.5
        )
    assert sorted(tmp_path.iterdir()) == before
    with pytest.raises(UserError, match="--int8"):
        load_network(tmp_path, "openvino", "int8")


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_full_disk_is_named_and_the_float32_network_is_kept(engine, fragile, score, tmp_path, monkeypatch):
    export_network(fragile, Description(2, size=SIZE), tmp_path, [engine])
    before = sorted(tmp_path.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def unquantized(quantizer):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # the system refuses to write more into a file
        return quantizer.source

    monkeypatch.setattr(quantize._Quantizer, "quantize", unquantized)
    try:
        with pytest.raises(UserError, match="the int8 network cannot be written .*; the float32 one is kept"):
            quantize_exported(tmp_path, engine, pictures(1), score, max_drop=0.5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(tmp_path.iterdir()) == before


class Stage(nn.Layer):
    """What STDC is made of: convolutions with folded batch norm, and a concatenation in a concatenation.

    Args:
        stride: 2 puts a depthwise convolution behind the first.
    """

    output_names = ("main",)

    def __init__(self, stride=1):
        super().__init__()
        paddle.seed(0)
        self.first, self.second = ConvBNReLU(3, 8, 3), ConvBNReLU(8, 8, 3)
        self.down = ConvBN(8, 8, 3, stride=2, groups=8) if stride == 2 else nn.Identity()
        self.fuse, self.last = ConvBNReLU(24, 8, 1), nn.Conv2D(8, 2, 1)
        self.eval()

    def forward(self, image):
        first = self.down(self.first(image))
        second = self.second(first)
        both = paddle.concat([first, second], axis=1)
        return [self.last(self.fuse(paddle.concat([both, second], axis=1)))]


def quantized_stage(folder, engine, stride=1):
    """A stage whose ranges come from two pictures."""
    export_network(Stage(stride), Description(2, size=SIZE), folder, [engine])
    quantize_exported(folder, engine, pictures(2), lambda network: 0.0, max_drop=0)
    return load_network(folder, engine, "int8")


def test_onnxruntime_computes_in_int8_all_but_the_last_layer(tmp_path):
    import onnx
    import onnxruntime

    quantized_stage(tmp_path, "onnxruntime")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "as_run.onnx")
    onnxruntime.InferenceSession(str(tmp_path / "model_int8.onnx"), options, providers=["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(str(tmp_path / "as_run.onnx")).graph.node]
    assert operators.count("QLinearConv") == 3 and operators.count("Conv") + operators.count("FusedConv") == 1
    assert operators.count("QLinearConcat") == 2 and "Concat" not in operators


def test_int8_behind_a_concatenation_changes_no_output(tmp_path, monkeypatch):
    import onnx
    import onnxruntime

    monkeypatch.setattr(quantizable, "quantize_concatenations", lambda model: model)
    quantized_stage(tmp_path, "onnxruntime")
    model = onnx.load(str(tmp_path / "model_int8.onnx"))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    model.graph.output[0].name = model.graph.node[-2].input[0]  # logits, of argmax
    del model.graph.node[-2:], model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT

    def outputs():
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return [session.run(None, {"image": picture})[0] for picture in pictures(3)]

    before, nodes = outputs(), len(model.graph.node)
    quantize_concatenations(model)
    assert len(model.graph.node) == nodes + 4
    np.testing.assert_array_equal(outputs(), before)


@pytest.mark.parametrize(
    "scales, zeros, added",
    [
        ((0.5, 0.5), (0, 0), 2),
        ((0.5, 0.25), (0, 0), 0),
        ((0.5, 0.5), (0, 3), 0),
        (([0.5, 0.25], [0.5, 0.25]), (0, 0), 0),
    ],
)
def test_only_images_of_one_scale_are_one_int8_image(scales, zeros, added):
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants = [], []
    for side, scale, zero in zip("ab", scales, zeros):
        zero_points = np.full_like(scale, zero, dtype=np.uint8)
        constants += [
            numpy_helper.from_array(np.float32(scale), f"{side}s"),
            numpy_helper.from_array(zero_points, f"{side}z"),
        ]
        nodes.append(helper.make_node("DequantizeLinear", [side, f"{side}s", f"{side}z"], [f"{side}f"], axis=1))
    nodes.append(helper.make_node("Concat", ["af", "bf"], ["both"], axis=1))
    images = [helper.make_tensor_value_info(side, TensorProto.UINT8, [1, 2, 4, 4]) for side in "ab"]
    output = helper.make_tensor_value_info("both", TensorProto.FLOAT, [1, 4, 4, 4])
    model = helper.make_model(helper.make_graph(nodes, "g", images, [output], constants))
    assert len(quantize_concatenations(model).graph.node) == 3 + added


def test_resizing_stays_in_float(tmp_path):
    import onnx
    import openvino

    paddle.seed(0)
    model = build_model("stdc1_seg", 2)
    model.eval()
    export_network(model, Description(2, size=SIZE), tmp_path, ["openvino", "onnxruntime"])
    for engine in ("openvino", "onnxruntime"):
        quantize_exported(tmp_path, engine, pictures(1), lambda network: 0.0, max_drop=0)
    nodes = onnx.load(str(tmp_path / "model_int8.onnx")).graph.node
    makers = {output: node.op_type for node in nodes for output in node.output}
    products = [[makers.get(name) for name in node.input] for node in nodes if node.op_type == "MatMul"]
    operators = openvino.Core().read_model(tmp_path / "model_int8.xml").get_ops()
    products += [
        [value.get_node().get_type_name() for value in op.input_values()]
        for op in operators
        if op.get_type_name() == "MatMul"
    ]
    assert len(products) == 4
    assert not {"DequantizeLinear", "FakeQuantize", "Multiply", "Convert"} & {
        kind for pair in products for kind in pair
    }


def layers_as_run(network):
    """[(type, kernel)] of an OpenVINO network."""
    operators = network.request.get_compiled_model().get_runtime_model().get_ops()
    return [tuple(op.get_rt_info()[key].value for key in ("layerType", "primitiveType")) for op in operators]


x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names kernels for x86")


@x86
def test_openvino_computes_in_int8_from_end_to_end(tmp_path):
    layers = layers_as_run(quantized_stage(tmp_path, "openvino"))
    convolutions = [kernel for kind, kernel in layers if kind == "Convolution"]
    assert len(convolutions) == 4 and all(kernel.endswith("_I8") for kernel in convolutions)
    # Where a quantiser stands apart from the convolution before it, it is a layer in float.
    assert not [kernel for kind, kernel in layers if kind == "Subgraph" and not kernel.endswith("I8")], layers


# In a process of its own: oneDNN asks once which instructions it may use.
WITHOUT_AVX512 = """
import sys
import numpy as np
from engine.runtime import load_network
from tests.engine.export.test_quantize import layers_as_run
folder = sys.argv[1]
network = load_network(folder, "openvino", "int8")
np.save(f"{folder}/classes.npy", network.classes(np.load(f"{folder}/picture.npy")))
print(*[kernel for kind, kernel in layers_as_run(network) if kind == "Convolution"])
"""


@x86
def test_openvino_computes_in_int8_without_avx512(tmp_path):
    expected = quantized_stage(tmp_path, "openvino", stride=2)
    picture = pictures(1)[0]
    np.save(tmp_path / "picture.npy", picture)
    child = subprocess.run(
        [sys.executable, "-c", WITHOUT_AVX512, str(tmp_path)],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stderr
    kernels = child.stdout.split()
    assert len(kernels) == 5 and all("avx2" in kernel for kernel in kernels)
    assert sum(kernel.endswith("_I8") for kernel in kernels) >= 4  # the depthwise one may stay in float
    assert np.mean(np.load(tmp_path / "classes.npy") == expected.classes(picture)) > 0.95


@pytest.fixture(scope="module")
def exported_sample(tmp_path_factory):
    """A network of the sample's 19 classes, exported for ONNX Runtime with logits and with class maps."""
    from models import build_model

    paddle.seed(0)
    model = build_model("stdc1_seg", 19)
    model.eval()
    folders = {}
    for output_op in ("none", "argmax"):
        folders[output_op] = tmp_path_factory.mktemp(output_op)
        export_network(model, Description(19, output_op=output_op, batch=None), folders[output_op], ["onnxruntime"])
    return model, folders


def test_evaluation_of_an_export_is_that_of_the_model(exported_sample, small_recipe):
    from engine.build import dataset_of
    from engine.evaluation.evaluator import evaluate
    from engine.recipe import Protocol

    model, folders = exported_sample
    dataset = dataset_of(small_recipe().val_dataset)
    for scale, tolerance in ((1.0, 1e-3), (0.5, 0.01)):
        expected = evaluate(model, dataset, Protocol(scales=scale)).miou
        for folder in folders.values():
            network = load_network(folder, "onnxruntime", threads=1)
            assert abs(evaluate(network, dataset, Protocol(scales=scale)).miou - expected) < tolerance


def test_evaluate_command_takes_exports(exported_sample, sample_root, capsys):
    from tool.evaluate import main

    folder = exported_sample[1]["argmax"]
    common = ["--config", "configs/stdc1_seg_sample.yml", "--dataset_root", str(sample_root), "--bootstrap", "0"]
    main([*common, "--model_path", str(folder), "--engine", "onnxruntime"])
    table = capsys.readouterr().out
    assert "drop against float32" in table and "fp32" in table and "+0.00 points" in table
    with pytest.raises(UserError, match="--int8"):
        main([*common, "--model_path", str(folder), "--engine", "onnxruntime", "--precision", "int8"])


def test_an_export_of_other_classes_is_refused(fragile, small_recipe, tmp_path):
    from engine.runtime import open_network

    export_network(fragile, Description(2, size=SIZE), tmp_path, ["onnxruntime"])
    with pytest.raises(UserError, match="exported for 2 classes, the recipe's dataset has 19"):
        open_network(small_recipe(), 19, tmp_path, "onnxruntime")
