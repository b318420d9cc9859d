"""tool.latency and benchmarks.inference: the clock, the figures that follow from it, and what is said of absentees."""

import dataclasses
import itertools
import json
import sys
from types import SimpleNamespace
from unittest import mock

from compat import UserError

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from benchmarks import inference
from benchmarks.peers.paddleseg_peer import OUR_VARIABLES, PeerProcess
from engine.runtime import Description, Network, tensorrt
from engine.runtime.tensorrt import check_tensorrt
from tool import latency
from tool.speed import clock, hardware, networks, peak, provenance
from tool.speed.clock import Latency, latency_of, time_alternating, timed_runs
from tool.speed.networks import Variant, VariantOptions, Variants, build_variants, model_for

SIZE = (32, 64)


# --- clock and machine ------------------------------------------------------------------------------------------------


def test_percentiles_against_a_hand_computed_table():
    latencies = latency_of([milliseconds / 1000 for milliseconds in range(1, 102)])
    np.testing.assert_allclose(latencies, (51, 91, 100, 101))


def test_calls_take_turns_and_warm_up_outside_the_timer(monkeypatch):
    now, order = [0.0], []
    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def call(name, seconds):
        order.append(name)
        # The first three calls are slow: two that warm up, and the first that is timed.
        now[0] += 5.0 if order.count(name) <= 3 else seconds

    latencies = time_alternating({"a": lambda: call("a", 1), "b": lambda: call("b", 2)}, runs=4, warmup=2, rounds=2)
    assert "".join(order) == "aaaabbbbaaabbb"
    assert latencies["a"].runs == latencies["b"].runs == 4
    assert latencies["a"].p50 == 1000 and latencies["b"].p50 == 2000 and latencies["a"].p99 == pytest.approx(4880)


@pytest.mark.parametrize(("asked", "timed"), [(1, 3), (3, 3), (4, 6), (30, 30)])
def test_the_runs_that_are_reported_are_those_that_are_timed(asked, timed):
    calls = []
    latencies = time_alternating({"a": lambda: calls.append(1)}, asked, warmup=0)
    assert latencies["a"].runs == timed_runs(asked) == timed and len(calls) == timed + 2


def test_the_peak_counts_multiply_accumulates(monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(peak, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    monkeypatch.setattr(peak, "HEIGHT", 8)
    # Every run takes a second.
    assert peak.matmul_peak(size=100) == 100**3 / 1e9
    for precision in ("fp32", "int8"):
        assert peak.convolution_peak(precision, threads=1) == pytest.approx(4 * 256 * 256 * 9 * 8 * 128 / 1e9)


def test_the_peak_is_that_of_the_processor_without_copies(monkeypatch):
    """On whatever device Paddle works, the product is computed by the processor, and nothing is copied."""
    devices = ["gpu:0"]
    monkeypatch.setattr(peak.paddle.device, "get_device", lambda: devices[-1])
    monkeypatch.setattr(peak.paddle.device, "set_device", devices.append)
    seen = []
    monkeypatch.setattr(peak.paddle, "matmul", lambda left, right: seen.append(devices[-1]))
    assert peak.matmul_peak(size=8) > 0
    assert set(seen) == {"cpu"} and devices[-1] == "gpu:0"


def test_a_gpu_has_no_share_of_the_processors_peak():
    row = latency.Row("stdc2_seg", "paddle", "fp32", "class_map", SIZE, 1, Latency(20, 25, 30, 7), 10.0)
    assert row.share_of_peak({"fp32": 1000.0}) == 0.5
    assert dataclasses.replace(row, device="gpu:0").share_of_peak({"fp32": 1000.0}) is None


def test_without_openvino_the_peak_is_that_of_float32(monkeypatch):
    monkeypatch.setattr(peak, "matmul_peak", lambda: 100.0)
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert peak.measure_peaks(threads=1) == {"fp32": 100.0}


def test_the_hardware_is_described():
    described = json.loads(json.dumps(hardware.describe_hardware(threads=2)))
    assert described["processor"] and described["threads"] == 2 and described["physical_cores"] >= 1
    assert described["packages"]["numpy"] == np.__version__ and "OMP_NUM_THREADS" in described["environment"]


def test_figures_state_the_threads_that_were_used(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert provenance.provenance()["threads"] == 3 and provenance.provenance(1)["threads"] == 1


# --- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["stdc1_seg", "bisestdc", "ddrnet23_slim"])
def test_the_graph_without_resize_lacks_nothing_else(name):
    paddle.seed(0)
    model = model_for(name, 19, "stride_logits")
    image = paddle.randn([1, 3, *SIZE])
    with paddle.no_grad():
        small = model(image)[0]
        model.at_stride = False
        whole = model(image)[0]
        resized = F.interpolate(small, SIZE, mode="bilinear", align_corners=model.align_corners)
    assert small.shape[2] in (SIZE[0] // 4, SIZE[0] // 8) and whole.shape[2:] == list(SIZE)
    np.testing.assert_array_equal(resized.numpy(), whole.numpy())


def test_a_missing_engine_is_a_line_that_says_how_to_install_it(tmp_path, monkeypatch):
    def absent(engine):
        raise UserError(f"engine {engine}: No module; install the engines with: pip install -r requirements-deploy.txt")

    monkeypatch.setattr(networks, "engine_class", absent)
    found = build_variants("stdc1_seg", 19, VariantOptions(SIZE), tmp_path)
    assert [(variant.engine, variant.precision) for variant in found.variants] == [("eager", "fp32")]
    assert sum("pip install -r requirements-deploy.txt" in line for line in found.absent) == 4
    assert any("tensorrt: needs an NVIDIA GPU" in line and "DEVICE=gpu" in line for line in found.absent)
    images = np.zeros((1, *SIZE, 3), np.uint8)
    assert found.variants[0].call(images).shape == (1, *SIZE) and found.variants[0].call(images).dtype == np.uint8


@pytest.fixture
def gpu_without_tensorrt(monkeypatch):
    """Paddle built with TensorRT 8.5.1, on a GPU, and no TensorRT: Paddle's own error on the question."""

    def missing():
        raise OSError("(External) TensorRT dynamic library is not found")

    monkeypatch.setattr(tensorrt.paddle.device, "get_device", lambda: "gpu:0")
    monkeypatch.setattr(tensorrt.inference, "get_trt_compile_version", lambda: (8, 5, 1))
    monkeypatch.setattr(tensorrt.inference, "get_trt_runtime_version", missing)


def test_a_missing_tensorrt_is_a_line_and_the_run_goes_on(gpu_without_tensorrt, monkeypatch, tmp_path):
    found = build_variants("stdc1_seg", 19, VariantOptions(SIZE, engines=("eager", "tensorrt")), tmp_path)
    assert [variant.engine for variant in found.variants] == ["eager"]
    assert [line.split(";")[0] for line in found.absent] == [
        "engine tensorrt: Paddle is built with TensorRT 8.5.1, whose libnvinfer is not found here"
    ]
    monkeypatch.setattr(tensorrt.inference, "get_trt_runtime_version", lambda: (0, 0, 0))
    with pytest.raises(UserError, match="whose libnvinfer is not found here"):
        check_tensorrt("fp32")


def test_a_tensorrt_that_fails_is_a_line_and_the_run_goes_on(gpu_without_tensorrt, monkeypatch, tmp_path):
    def fails(config):
        raise SystemError("C++ Traceback\n(Fatal) no engine")

    monkeypatch.setattr(tensorrt.inference, "get_trt_runtime_version", lambda: (8, 5, 1))
    monkeypatch.setattr(networks, "export_network", lambda *arguments: None)
    monkeypatch.setattr(
        tensorrt, "read_description", lambda folder: Description(19, size=SIZE, files={"paddle": {"fp32": "a.json"}})
    )
    monkeypatch.setattr(tensorrt, "config_of", lambda file: mock.Mock())
    monkeypatch.setattr("engine.runtime.paddle.inference.create_predictor", fails)
    found = build_variants("stdc1_seg", 19, VariantOptions(SIZE, engines=("eager", "tensorrt")), tmp_path)
    assert [variant.engine for variant in found.variants] == ["eager"]
    assert len(found.absent) == 2 and all(
        "TensorRT cannot build its engine ((Fatal) no engine)" in line for line in found.absent
    )


def test_an_engine_returns_the_graph_that_is_named(tmp_path):
    wanted = VariantOptions(SIZE, engines=("paddle",), precisions=("fp32", "int8"), graphs=("stride_logits",))
    found = build_variants("stdc1_seg", 19, wanted, tmp_path)
    images = np.zeros((1, *SIZE, 3), np.uint8)
    assert [variant.call(images).shape for variant in found.variants] == [(1, 19, SIZE[0] // 8, SIZE[1] // 8)]
    assert any(line.startswith("paddle int8: ") for line in found.absent)


# --- the command ------------------------------------------------------------------------------------------------------


class StandIn(Network):
    def __init__(self, precision="fp32"):
        super().__init__("openvino", precision, Description(19, size=SIZE))

    def run(self, batch):
        return batch[..., 0]


@pytest.fixture
def fixed_times(monkeypatch):
    """Every call takes 20 ms; the processor's peak in bf16 is 1000 GMAC/s."""
    monkeypatch.setattr(
        latency, "time_alternating", lambda calls, runs, warmup: {name: Latency(20, 25, 30, runs) for name in calls}
    )
    monkeypatch.setattr(latency, "measure_peaks", lambda threads: {"fp32": 500.0, "bf16": 1000.0})


def test_the_table_and_the_json(fixed_times, monkeypatch, tmp_path, capsys):
    found = Variants([Variant("openvino", "bf16", "class_map", StandIn().classes)], ["engine x: pip install x"])
    monkeypatch.setattr(latency, "build_variants", lambda *arguments: found)
    file = tmp_path / "latency.json"
    latency.main(["--model", "stdc2_seg", "--runs", "7", "--json", str(file)])
    printed = capsys.readouterr().out
    assert "188.6 (GTX 1080 Ti, TensorRT 5.1)" in printed and "not measured: engine x: pip install x" in printed
    assert "3 runs to warm up, 9 timed" in printed
    content = json.loads(file.read_text())
    row = content["rows"][0]
    assert row["milliseconds"] == {"p50": 20, "p90": 25, "p99": 30, "runs": 7} and row["fps"] == 50
    assert row["gmacs_per_second"] == pytest.approx(23.46 * 50, rel=1e-3)  # 23.46 GMAC at 512x1024
    assert row["share_of_peak"] == pytest.approx(1.173, rel=1e-3)
    assert content["hardware"]["processor"] and content["not_measured"] == ["engine x: pip install x"]


def test_exported_folders_are_measured_at_their_size(fixed_times, monkeypatch, capsys):
    description = Description(19, size=(48, 80), files={"openvino": {"fp32": "model.xml"}})
    monkeypatch.setattr(latency, "read_description", lambda folder: description)
    monkeypatch.setattr(networks, "load_network", lambda folder, engine, precision, threads: StandIn(precision))
    latency.main(["--exported", "output/exported", "--precisions", "fp32"])
    assert "output/exported 80x48 openvino fp32 class_map 20.0" in " ".join(capsys.readouterr().out.split())


def test_the_command_refuses(fixed_times):
    with pytest.raises(SystemExit, match="2"):
        latency.main(["--runs", "0"])
    with pytest.raises(UserError, match="gone"):
        latency.main(["--exported", "gone"])
    with pytest.raises(SystemExit) as left:
        latency.main(["--size", "large"])
    assert left.value.code == 2


# --- the benchmark ----------------------------------------------------------------------------------------------------


def measured():
    milliseconds = {
        "eager fp32": 800,
        "openvino int8": 40,
        inference.PEER: 1200,
        inference.PEER_WITH_OURS: 1000,
        inference.PEER_EXPORTED: 200,
    }
    return inference.Measured("STDC2-Seg50", {name: Latency(ms, ms, ms, 9) for name, ms in milliseconds.items()}, [])


def test_ratios_are_the_peers_time_over_ours(monkeypatch):
    figures = inference.as_dict([measured()], {"fp32": 100.0, "int8": 469.2})
    assert figures["ratio_to_paddleseg_eager"] == 30 and figures["ratio_is_of"] == "STDC2-Seg50, openvino int8"
    assert figures["ratio_to_paddleseg_eager_with_our_settings"] == 25
    assert figures["networks"]["STDC2-Seg50"]["ratio_to_paddleseg_eager"]["eager fp32"] == 1.5
    # 23.46 GMAC at 512x1024.
    at_peak = figures["networks"]["STDC2-Seg50"]["milliseconds_at_peak"]
    assert at_peak == pytest.approx({"fp32": 234.6, "int8": 50}, rel=1e-3)
    cells = [cell.strip() for cell in inference.table([measured()]).splitlines()[2].split("|")]
    assert cells == ["", "STDC2-Seg50", "800", "**40**", "1200", "1000", "200", "30.0", ""]


def test_the_peer_runs_without_our_settings(monkeypatch):
    """PaddleSeg's own network in its process, at a small size; its environment is what compat did not touch."""
    import subprocess

    environments = []
    start = subprocess.Popen

    def watched(*arguments, **options):
        environments.append(options["env"])
        return start(*arguments, **options)

    monkeypatch.setattr("benchmarks.peers.paddleseg_peer.subprocess.Popen", watched)
    monkeypatch.setattr("benchmarks.peers.paddleseg_peer.TIMEOUT", 100)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with PeerProcess("stdc1_seg", SIZE, our_settings=False) as peer:
        assert 0 < peer.run("eager") < 100 and 0 < peer.run("exported") < 100
        assert not set(OUR_VARIABLES) & set(environments[0])
        with pytest.raises(UserError, match="its process ended"):
            peer.run("nothing")


@pytest.mark.parametrize(
    ("argument", "published"),
    [
        (str(provenance.ROOT / "configs" / "a.yml"), "configs/a.yml"),
        ("/home/someone/weights.pdparams", "weights.pdparams"),
        ("../elsewhere/best_model", "best_model"),
        ("pruned=/home/someone/benchmark.json", "pruned=benchmark.json"),
        ("output/best_model", "output/best_model"),
        ("--json", "--json"),
    ],
)
def test_a_recorded_command_names_no_folder_of_the_machine(argument, published):
    assert provenance.portable_path(argument) == published
