"""TensorRT through Paddle Inference, on a GPU. Written to Paddle's documented interface; not run here."""

from pathlib import Path
from typing import Tuple

from compat import UserError

import paddle
from paddle import inference

from engine.runtime import read_description
from engine.runtime.paddle import PredictorNetwork, config_of, use_gpu

WORKSPACE = 1 << 30  # bytes
SMALLEST_SUBGRAPH = 3  # operators; what is smaller stays with Paddle
# The exceptions that Paddle raises for its errors, by kind: OSError for External, SystemError for Fatal.
PADDLE_ERRORS = (RuntimeError, ValueError, OSError, SystemError, MemoryError)


class TensorRTNetwork(PredictorNetwork):
    """A Paddle inference model of fixed size whose subgraphs TensorRT computes, in `fp32` or `fp16`.

    Raises:
        UserError: as check_tensorrt, and where TensorRT cannot build the engine.
    """

    def __init__(self, folder: Path, precision: str):
        check_tensorrt(precision)
        description = read_description(folder)
        file = folder / description.files["paddle"]["fp32"]
        config = config_of(file)
        use_gpu(config)
        config.enable_tensorrt_engine(
            workspace_size=WORKSPACE,
            max_batch_size=description.batch or 1,
            min_subgraph_size=SMALLEST_SUBGRAPH,
            precision_mode=inference.PrecisionType.Half if precision == "fp16" else inference.PrecisionType.Float32,
            use_static=False,
            use_calib_mode=False,
        )
        try:
            super().__init__("tensorrt", file, precision, description, config)
        except PADDLE_ERRORS as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise UserError(f"{file}: TensorRT cannot build its engine ({reason})") from error


def check_tensorrt(precision: str) -> None:
    """Raise UserError, saying how to get it, unless TensorRT can compute in this precision here."""
    built_with = inference.get_trt_compile_version()
    if not any(built_with) or not paddle.device.get_device().startswith("gpu"):
        raise UserError(
            "engine tensorrt: needs an NVIDIA GPU and a Paddle built with TensorRT; make install DEVICE=gpu, and "
            "TensorRT 8.5 or later from NVIDIA"
        )
    if not any(_installed_version()):
        raise UserError(
            f"engine tensorrt: Paddle is built with TensorRT {'.'.join(map(str, built_with))}, whose libnvinfer is not "
            "found here; install it from NVIDIA and name its lib folder in LD_LIBRARY_PATH"
        )
    if precision not in ("fp32", "fp16"):
        raise UserError(f"engine tensorrt: computes in fp32 or fp16, not in {precision}")


def _installed_version() -> Tuple[int, int, int]:
    """The version of the library that is loaded, not of the one that Paddle was built with; zeros without one."""
    try:
        return inference.get_trt_runtime_version()
    except PADDLE_ERRORS:
        return (0, 0, 0)
