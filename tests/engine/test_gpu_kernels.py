"""Every kernel that training, validation and prediction call on a GPU exists in the GPU wheel, in every precision.

The calls are recorded on the CPU, with our code's branches for a GPU; Paddle's mixed precision does nothing there, so
what it would call in float16 and bfloat16 is derived: the network's kernels, their gradients, and the update.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import paddle
import pytest

from tests.helpers.gpu_kernel_table import gpu_types
from tests.helpers.kernel_calls import COMPLETE, LOGGED, PART, Call, parse_log

ROOT = Path(__file__).parents[2]
LOW = ("float16", "bfloat16")
# What only mixed precision or several GPUs call: the scaler, batch norm over all devices, casts.
BESIDE = [
    *[Call(kernel, dtype, "update") for kernel in ("check_finite_and_unscale", "update_loss_scaling") for dtype in LOW],
    *[Call(f"sync_batch_norm{end}", dtype, "network") for end in ("", "_grad") for dtype in ("float32", *LOW)],
    *[Call("cast", dtype, "network") for dtype in ("float32", *LOW)],
]
# bf16 with amp_level O2, which engine/training/precision.py refuses for Paddle 2.6.
REFUSED = {("momentum", "bfloat16")}


@pytest.fixture(scope="module")
def table():
    """{kernel: types} of the wheel paddlepaddle-gpu 2.6.2, written by tests/helpers/gpu_kernel_table.py."""
    return json.loads((Path(__file__).parent / "gpu_kernels_2.6.2.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def calls(sample_root, tmp_path_factory):
    if not paddle.__version__.startswith("2.6."):
        pytest.skip("the table is that of Paddle 2.6.2, whose kernels have other names than those of 3.x")
    command = [sys.executable, "tests/helpers/kernel_calls.py", sample_root, tmp_path_factory.mktemp("kernels")]
    environment = {**os.environ, **LOGGED, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=300)
    log = done.stderr.decode(errors="replace").splitlines()
    assert log[-1] == COMPLETE, "\n".join(log[-20:])
    return parse_log(log)


def in_low_precision(calls):
    """What mixed precision would call beside: the network, its backward pass and, at O2, the update."""
    network = {call.kernel for call in calls if call.part == "network"}
    gradients = {call.kernel for call in calls if call.kernel.endswith("_grad") and call.kernel[:-5] in network}
    update = {call.kernel for call in calls if call.part == "update" and call.dtype == "float32"}
    return {Call(kernel, dtype, "mixed") for kernel in network | gradients | update for dtype in LOW}


def missing(calls, table):
    """{(kernel, type)} of the calls that no GPU kernel serves."""
    return {(call.kernel, call.dtype) for call in calls if call.dtype not in table.get(call.kernel, ())}


def test_every_call_has_a_kernel_for_gpus(calls, table):
    assert missing(calls, table) == set()


def test_every_call_of_mixed_precision_has_one_too(calls, table):
    assert missing({*in_low_precision(calls), *BESIDE}, table) == REFUSED


def test_the_record_holds_every_part_of_a_run(calls):
    kernels = {part: {call.kernel for call in calls if call.part == part} for part in {call.part for call in calls}}
    assert kernels["network"] >= {"conv2d", "depthwise_conv2d", "batch_norm", "relu", "bilinear_interp", "pool2d"}
    # A GPU's branches: its own cross-entropy, and resizing by interpolation also where a gradient is wanted.
    assert "cross_entropy_with_softmax" in kernels["losses"] and "matmul" not in kernels["network"]
    assert kernels["update"] >= {"momentum", "adamw"}
    gradients = {"conv2d_grad", "batch_norm_grad", "bilinear_interp_grad", "cross_entropy_with_softmax_grad"}
    assert kernels["other"] >= gradients | {"isfinite", "argmax", "transpose"}


def test_a_missing_kernel_is_named():
    table = {"conv2d": ["float32"]}
    assert missing([Call("conv2d", "float32", "network"), Call("roll", "int64", "other")], table) == {("roll", "int64")}


def test_the_log_is_read_by_kernel_type_and_part():
    lines = [
        "I1124 08:00:00.000001 1 api.cc:1] full_ API kernel key: [CPU, Undefined(AnyLayout), float64]",
        'I1124 08:00:00.000002 1 api.cc:2] full kernel: {"input":[],"output":["CPU, NCHW, float64"],"attribute":[]}',
        f"  0%|    | 0/1{PART}network",
        "I1124 08:00:00.000003 1 api.cc:3] relu API kernel key: [CPU, NCHW, float32]",
        'I1124 08:00:00.000004 1 api.cc:4] relu kernel: {"input":[',
    ]
    assert parse_log(lines) == {Call("full", "float64", "other"), Call("relu", "float32", "network")}


def test_the_table_is_of_what_is_registered_for_gpus():
    registered = {"add": ["(GPU, NCHW, float32)", "(CPU, NCHW, int8)", "(GPUDNN, Undefined(AnyLayout), bool)"]}
    assert gpu_types({**registered, "host": ["(CPU, NCHW, int8)"]}) == {"add": ["bool", "float32"]}


@pytest.mark.skipif(not paddle.is_compiled_with_cuda(), reason="reads the kernels of a wheel for GPUs")
def test_the_table_is_that_of_this_wheel(table):
    assert gpu_types(paddle.base.core._get_registered_phi_kernels("all")) == table
