"""Measures the processor's peak rate of multiply-accumulates in each precision."""

import time
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator

from compat import UserError

import numpy as np
import paddle

# The most expensive shape of convolutions in STDC-Seg at 512x1024: 3x3, 256 channels, stride 8.
LAYERS, CHANNELS, HEIGHT, WIDTH, KERNEL = 4, 256, 64, 128, 3


def measure_peaks(threads: int) -> Dict[str, float]:
    """{precision: peak rate in 10^9 multiply-accumulates per second}.

    fp32 is the faster of Paddle's matrix product and OpenVINO's convolutions. bf16 and int8 are those of OpenVINO, and
    missing if OpenVINO is not installed or does not support them on this processor.
    """
    peaks = {"fp32": matmul_peak()}
    for precision in ("fp32", "bf16", "int8"):
        try:
            peaks[precision] = max(peaks.get(precision, 0.0), convolution_peak(precision, threads))
        # OpenVINO raises RuntimeError for a precision that it does not support on this processor.
        except (ImportError, UserError, RuntimeError):
            continue
    return peaks


def matmul_peak(size: int = 2048) -> float:
    """GMAC/s of Paddle's float32 product of two square matrices, on the CPU with Paddle's threads."""
    with _on_processor():
        left, right = paddle.rand([size, size]), paddle.rand([size, size])
        # On the CPU the product is complete when matmul returns; .numpy() would add a copy.
        return size**3 / _least_seconds(lambda: paddle.matmul(left, right)) / 1e9


@contextmanager
def _on_processor() -> Iterator[None]:
    """Let Paddle compute on the CPU, whatever its current device is."""
    device = paddle.device.get_device()
    paddle.device.set_device("cpu")
    try:
        yield
    finally:
        paddle.device.set_device(device)


def convolution_peak(precision: str, threads: int) -> float:
    """GMAC/s of OpenVINO's convolutions; raises ImportError, UserError or RuntimeError if it cannot compute them."""
    import openvino

    from engine.runtime.openvino import compile_model

    request = compile_model(openvino.Core(), _convolutions(precision), precision, threads).create_infer_request()
    image = np.random.default_rng(0).random((1, CHANNELS, HEIGHT, WIDTH), dtype=np.float32)
    seconds = _least_seconds(lambda: request.infer([image], share_inputs=True, share_outputs=True))
    return LAYERS * (CHANNELS * KERNEL) ** 2 * HEIGHT * WIDTH / seconds / 1e9


def _convolutions(precision: str) -> Any:
    """An OpenVINO model of LAYERS convolutions, each with ReLU, and a global mean, which keeps the output small."""
    import openvino
    from openvino import opset13 as operator

    rng = np.random.default_rng(0)
    image = value = operator.parameter([1, CHANNELS, HEIGHT, WIDTH], np.float32)
    for _ in range(LAYERS):
        kernel = rng.normal(0, 0.02, (CHANNELS, CHANNELS, KERNEL, KERNEL)).astype(np.float32)
        weight = operator.constant(kernel)
        if precision == "int8":
            value = operator.fake_quantize(value, *np.float32([0, 4, 0, 4]), 256)
            weight = operator.fake_quantize(weight, *np.float32([-0.1, 0.1, -0.1, 0.1]), 255)
        pads = [KERNEL // 2] * 2
        value = operator.relu(operator.convolution(value, weight, [1, 1], pads, pads, [1, 1]))
    mean = operator.reduce_mean(value, np.array([2, 3]), keep_dims=True)
    return openvino.Model([operator.result(mean)], [image])


def _least_seconds(call: Callable[[], Any], runs: int = 8) -> float:
    """The shortest of `runs` calls, after one to warm up."""
    call()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
