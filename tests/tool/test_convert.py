"""tool.convert: every source, every tensor accounted for, and nothing written where one is not."""

import json
import subprocess
import sys
from pathlib import Path

from compat import UserError

import numpy as np
import paddle
import pytest

import models
from benchmarks.originals.reference import random_state
from engine.conversion import SOURCES, convert, to_official
from engine.conversion.stdc import _effective_scale, _stored_scale
from engine.conversion.weight_files import read_weight_file, write_weight_file
from engine.weights import read_manifest
from models.weights import load_backbone, load_weights
from tests.helpers.torch_writer import write_checkpoint
from tests.helpers.zero_networks import zero_networks
from tool import convert as command

REFERENCES = Path(__file__).parents[2] / "benchmarks" / "originals" / "reference_files"
ROOT = Path(__file__).parents[2]
MODELS = {
    "official_stdc1_imagenet": "stdc1",
    "official_stdc1_seg": "stdc1_seg",
    "mmseg_stdc1": "stdc1_seg",
    "bisestdc_seg": "bisestdc",
    "bisestdc2_seg": "bisestdc2",
    "official_ddrnet23_slim": "ddrnet23_slim",
    "mmseg_ddrnet23_slim": "ddrnet23_slim",
}
ORIGINALS = ["official_stdc1_imagenet", "official_stdc1_seg", "bisestdc_seg", "official_ddrnet23_slim"]


def spec_of(name):
    return json.loads((REFERENCES / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def states():
    """Random checkpoints by the name of their reference file."""
    return {name: random_state(spec_of(name)) for name in MODELS}


@pytest.fixture(scope="module", autouse=True)
def no_random_weights():
    with zero_networks():
        yield


@pytest.fixture
def seg(states):
    return dict(states["official_stdc1_seg"])


@pytest.mark.parametrize("name", MODELS)
def test_every_tensor_is_accounted_for(states, name):
    conversion = convert(states[name], MODELS[name])
    network = models.build_model(MODELS[name], conversion.num_classes, **conversion.options)
    assert load_weights(network, conversion.tensors) == len(network.state_dict())
    mapped = conversion.read - sum(conversion.dropped.values())
    added = 2 if name == "mmseg_ddrnet23_slim" else 0
    assert (conversion.read, mapped + added) == (len(states[name]), len(conversion.tensors))
    assert all(array.dtype == np.float32 for array in conversion.tensors.values())
    for line in (f"read        {conversion.read}", f"mapped      {mapped}", "missing     0", "unexpected  0"):
        assert line in conversion.report()


def test_the_command_reads_torch_and_writes_what_models_load(tmp_path, seg, capsys):
    shared = {name: root for name, _, root in spec_of("official_stdc1_seg")["keys"] if root}
    checkpoint = write_checkpoint(tmp_path / "model_maxmIOU50.pth", seg, shared)
    output = tmp_path / "new" / "stdc1_seg.pdparams"
    command.main([str(checkpoint), str(output), "--model", "stdc1_seg"])
    report = capsys.readouterr().out
    for line in ("official STDC-Seg", "beside the weights: epoch", "145  second copy", "wrote       211 tensors"):
        assert line in report
    network = models.build_model("stdc1_seg", 19, pretrained=str(output))
    np.testing.assert_array_equal(network.heads["main"].classifier.weight.numpy(), seg["conv_out.conv_out.weight"])
    assert [path.name for path in output.parent.iterdir()] == [output.name]


def test_linear_weights_are_transposed(states):
    tensors = convert(states["official_stdc1_imagenet"], "stdc1").tensors
    np.testing.assert_array_equal(tensors["classifier.weight"], states["official_stdc1_imagenet"]["linear.weight"].T)
    np.testing.assert_array_equal(tensors["hidden.weight"], states["official_stdc1_imagenet"]["fc.weight"].T)


@pytest.mark.parametrize("name", ["official_stdc1_seg", "bisestdc_seg"])
def test_in_place_norms_store_their_effective_scale(states, name):
    source = next(source for source in SOURCES if source.recognises(states[name]))
    network = models.build_model(MODELS[name], 19)
    rename, abn = source.renamer(network), spec_of(name)["abn"]
    tensors = convert(states[name], MODELS[name]).tensors
    scales = [n for n in tensors if rename(n).endswith("weight") and tensors[n].ndim == 1]
    in_place = [n for n in scales if rename(n) in abn]
    assert len(in_place) == len([key for key in abn if not key.startswith("conv_out_sp")]) + 1
    for scale in scales:
        stored = states[name][rename(scale)]
        expected = np.abs(stored) + np.float32(1e-5) if scale in in_place else stored
        np.testing.assert_array_equal(tensors[scale], expected, err_msg=scale)
    assert any((states[name][rename(scale)] < 0).any() for scale in in_place)


def test_in_place_scales_come_back_to_the_last_bit():
    generator = np.random.default_rng(0)
    stored = np.concatenate([generator.uniform(0, size, 20_000) for size in (1e-6, 1e-5, 1e-4, 1e-2, 1, 100)])
    scales = {"fusion.conv.bn.weight": stored.astype("float32")}
    _effective_scale(scales)
    expected = scales["fusion.conv.bn.weight"]
    _stored_scale(scales)
    _effective_scale(scales)
    np.testing.assert_array_equal(scales["fusion.conv.bn.weight"], expected)
    with pytest.raises(ValueError, match="below 1e-5"):
        _stored_scale({"fusion.conv.bn.weight": np.array([0.5, -0.5], "float32")})


@pytest.mark.parametrize("name", ORIGINALS)
def test_round_trip_through_the_original_names(states, name, tmp_path):
    ours = tmp_path / "ours.pdparams"
    write_weight_file(ours, convert(states[name], MODELS[name]).tensors)
    command.main([str(ours), str(tmp_path / "official.safetensors"), "--model", MODELS[name], "--target", "official"])
    official = read_weight_file(tmp_path / "official.safetensors").tensors
    for key, array in official.items():
        np.testing.assert_array_equal(np.abs(array), np.abs(states[name][key]), err_msg=key)
    # Not there: what the original keeps and never uses.
    left_out = {key.split(".")[-2] for key in states[name] if key not in official and "num_batches" not in key}
    assert left_out <= {"conv_out", "conv", "bn", "fc", "linear"}
    command.main([str(tmp_path / "official.safetensors"), str(tmp_path / "again.pdparams"), "--model", MODELS[name]])
    assert (tmp_path / "again.pdparams").read_bytes() == ours.read_bytes()


def _drop(state):
    del state["ffm.conv1.weight"]


def _add(state):
    state["mystery.weight"] = np.ones(3, "float32")


def _reshape(state):
    state["ffm.conv1.weight"] = state["ffm.conv1.weight"][:, :-1]


def _retype(state):
    state["ffm.conv1.weight"] = state["ffm.conv1.weight"].astype("int64")


def _differ(state):
    state["cp.backbone.x2.0.0.conv.weight"] = state["cp.backbone.x2.0.0.conv.weight"] + 1


def _flatten_bias(state):
    state["cp.arm16.conv.bn.weight"] = np.float32(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop, r"1 missing \(ffm.conv1.weight\); 0 unexpected"),
        (_add, r"0 missing; 1 unexpected \(mystery.weight\)"),
        (_reshape, r"of another shape or type \(ffm.conv1.weight float32\[64, 255, 1, 1\] here \[64, 256, 1, 1\]\)"),
        (_retype, r"of another shape or type \(ffm.conv1.weight int64"),
        (_differ, r"1 unexpected \(cp.backbone.x2.0.0.conv.weight\)"),
        (_flatten_bias, r"cp.arm16.conv.bn.weight float32\[\]"),
    ],
)
def test_what_is_not_explained_stops_and_writes_nothing(tmp_path, seg, change, message):
    change(seg)
    checkpoint = write_checkpoint(tmp_path / "f.pth", seg)
    with pytest.raises(UserError, match=message) as error:
        command.main([str(checkpoint), str(tmp_path / "out.pdparams"), "--model", "stdc1_seg"])
    assert "f.pth" in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["f.pth"]


def test_other_sources_and_networks(states, seg):
    with pytest.raises(UserError, match=r"not recognised by its tensors \(a\); known: official STDC ImageNet"):
        convert({"a": np.ones(1)}, "stdc1_seg")
    with pytest.raises(UserError, match="official STDC-Seg, which fits --model stdc1_seg or stdc2_seg, not bisestdc"):
        convert(seg, "bisestdc")
    with pytest.raises(UserError, match="does not fit stdc2_seg: .* is it meant for stdc1_seg"):
        convert(seg, "stdc2_seg")
    with pytest.raises(UserError, match="own names already; .* train.py --finetune FILE"):
        convert(convert(seg, "stdc1_seg").tensors, "stdc1_seg", num_classes=11)
    with pytest.raises(UserError, match="does not fit stdc1_seg"):
        to_official(convert(states["mmseg_stdc1"], "stdc1_seg").tensors, "stdc1_seg")


def test_classifiers_of_another_class_count(seg):
    for name in ("conv_out", "conv_out16", "conv_out32"):
        seg[f"{name}.conv_out.weight"] = seg[f"{name}.conv_out.weight"][:11]
    with pytest.raises(UserError, match="has 11 classes, stdc1_seg by default 19: --num_classes 11 keeps"):
        convert(seg, "stdc1_seg")
    kept = convert(seg, "stdc1_seg", num_classes=11)
    np.testing.assert_array_equal(kept.tensors["heads.main.classifier.weight"], seg["conv_out.conv_out.weight"])
    replaced = convert(seg, "stdc1_seg", num_classes=5)
    assert replaced.tensors["heads.aux8.classifier.weight"].shape == (5, 64, 1, 1)
    assert "3 classifier tensors: replaced by fresh ones for 5 classes" in replaced.report()
    np.testing.assert_array_equal(
        replaced.tensors["heads.aux8.conv.conv.weight"], kept.tensors["heads.aux8.conv.conv.weight"]
    )
    load_weights(models.build_model("stdc1_seg", 5), replaced.tensors)


def test_prefixes_of_training_code(states):
    state = states["official_ddrnet23_slim"]
    wrapped = {f"module.model.{name}": array for name, array in state.items()}
    wrapped["module.loss.criterion.weight"] = np.ones(19, "float32")
    conversion = convert(wrapped, "ddrnet23_slim")
    assert conversion.dropped["weights of the training loss"] == 1
    plain = convert(state, "ddrnet23_slim").tensors
    assert all(np.array_equal(plain[name], array) for name, array in conversion.tensors.items())


def _ddrnet_imagenet(states):
    state = states["official_ddrnet23_slim"]
    state = {n: a for n, a in state.items() if not n.startswith(("spp.", "final_layer.", "seghead_extra."))}
    for name in ("down5.0.weight", "last_layer.0.weight", "linear.weight", "linear.bias"):
        state[name] = np.ones(3, "float32")
    return state


def _mmseg_backbone(states):
    prefix = "backbone.backbone."
    return {name[len(prefix) :]: a for name, a in states["mmseg_stdc1"].items() if name.startswith(prefix)}


def _paddleseg_backbone(states):
    names = {"running_mean": "_mean", "running_var": "_variance"}
    state = states["official_stdc1_imagenet"]
    return {
        name.replace(name.split(".")[-1], names.get(name.split(".")[-1], name.split(".")[-1])): array
        for name, array in state.items()
        if name.startswith("features.") and "num_batches" not in name
    }


@pytest.mark.parametrize(
    ("make", "model", "source"),
    [
        (_ddrnet_imagenet, "ddrnet23_slim", "official-ddrnet-imagenet"),
        (_mmseg_backbone, "stdc1_seg", "mmseg-imagenet"),
        (_paddleseg_backbone, "stdc1_seg", "paddleseg-imagenet"),
    ],
)
def test_sources_of_a_backbone_alone(states, tmp_path, make, model, source):
    conversion = convert(make(states), model)
    assert conversion.source.name == source
    assert "--opts model.backbone.pretrained=OUTPUT" in conversion.report()
    write_weight_file(tmp_path / "backbone.pdparams", conversion.tensors)
    backbone = models.build_model(model, 19).backbone
    assert load_backbone(backbone, tmp_path / "backbone.pdparams") == len(backbone.state_dict())


def test_paddleseg_answers_the_same(tmp_path):
    paddleseg_models = pytest.importorskip("paddleseg.models")
    original = paddleseg_models.STDCSeg(7, paddleseg_models.STDC1())
    generator = np.random.default_rng(0)
    state = {}
    for name, tensor in original.state_dict().items():
        spread = (2 / np.prod(tensor.shape[1:])) ** 0.5 if tensor.ndim == 4 else 0.3
        values = generator.normal(0, spread, tensor.shape)
        scale = name.endswith("_variance") or (tensor.ndim == 1 and name.endswith("weight"))
        state[name] = paddle.to_tensor((np.abs(values) + 0.5 if scale else values).astype("float32"))
    original.set_state_dict(state)
    paddle.save(original.state_dict(), str(tmp_path / "model.pdparams"))
    conversion = convert(read_weight_file(tmp_path / "model.pdparams").tensors, "stdc1_seg", num_classes=7)
    assert "--opts model.head_bias=true model.gate_bias=true model.exclusive_pool=true" in conversion.report()
    ours = models.build_model("stdc1_seg", 7, **conversion.options)
    load_weights(ours, conversion.tensors)
    image = paddle.to_tensor(generator.normal(0, 1, (1, 3, 65, 98)).astype("float32"))
    for network in (original, ours):
        network.eval()
        network.training = True  # the outermost layer returns all outputs
    for expected, output in zip(original(image), ours(image)):
        assert float((expected - output).abs().max()) < 1e-5 * float(expected.abs().max())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(states, value):
    state = dict(states["official_ddrnet23_slim"])
    converted = convert(state, "ddrnet23_slim").tensors
    name = next(name for name, array in state.items() if array.ndim == 4)
    state[name] = state[name].copy()
    state[name].flat[3] = value
    with pytest.raises(UserError, match=r"1 of \d+ numbers are NaN or infinite.*Nothing was written"):
        convert(state, "ddrnet23_slim")
    converted = {name: array * (np.float32(value) if array.ndim == 4 else 1) for name, array in converted.items()}
    with pytest.raises(UserError, match="NaN or infinite"):
        to_official(converted, "ddrnet23_slim")


def test_the_manifest_names_what_exists():
    sources = {source.name: source for source in SOURCES}
    for entry in (entry for entry in read_manifest().values() if not entry.is_shipped):
        source = sources[entry.source]
        assert entry.model in source.models
        assert entry.options == (source.options if not source.part else {})
        network = models.build_model(entry.model, 19, **entry.options)
        names = [name for name in network.state_dict() if name.startswith(source.part)]
        assert entry.tensors == len(names), entry.name
        assert (entry.output or "_imagenet.pdparams").endswith("_imagenet.pdparams")
        assert bool(entry.output) == (entry.config is None), entry.name


@pytest.mark.parametrize(
    "arguments",
    [
        ["in.pth", "out.pth", "--model", "stdc1"],
        ["in.pth", "out.pdparams", "--model", "stdc3"],
        ["in.pth", "out.pdparams", "--model", "stdc1", "--num_classes", "0"],
        ["in.pdparams", "out.pdparams", "--model", "stdc1", "--target", "official"],
    ],
)
def test_wrong_arguments(arguments):
    with pytest.raises(SystemExit) as error:
        command.main(arguments)
    assert error.value.code == 2


MEASURE = """
import re, sys
from tool import convert
import paddle
paddle.ones([1]).numpy()
# getrusage's maximum begins with that of the process that started this one.
peak = lambda: int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
before = peak()
convert.main(sys.argv[1:])
print((peak() - before) * 1024)
"""


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_memory_stays_under_three_times_the_checkpoint(tmp_path, seg, dtype):
    seg = {name: array.astype(dtype) if array.dtype == np.float32 else array for name, array in seg.items()}
    shared = {name: root for name, _, root in spec_of("official_stdc1_seg")["keys"] if root}
    checkpoint = write_checkpoint(tmp_path / "f.pth", seg, shared)
    arguments = [str(checkpoint), str(tmp_path / "out.pdparams"), "--model", "stdc1_seg"]
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert 0 < int(result.stdout.splitlines()[-1]) < 3 * checkpoint.stat().st_size
    written = read_weight_file(tmp_path / "out.pdparams").tensors
    assert all(array.dtype == np.float32 for array in written.values())
