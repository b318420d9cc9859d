"""TensorRT through Paddle Inference, on a GPU. Written to Paddle's documented interface; not run here."""

from pathlib import Path

from compat import UserError

import paddle
from paddle import inference

from engine.runtime import read_description
from engine.runtime.paddle import PredictorNetwork, config_of, use_gpu

WORKSPACE = 1 << 30  # bytes
SMALLEST_SUBGRAPH = 3  # operators; what is smaller stays with Paddle


class TensorRTNetwork(PredictorNetwork):
    """A Paddle inference model of fixed size whose subgraphs TensorRT computes, in `fp32` or `fp16`.

    Raises:
        UserError: where Paddle is not built with TensorRT, or there is no GPU.
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
        super().__init__("tensorrt", file, precision, description, config)


def check_tensorrt(precision: str) -> None:
    """Raise UserError, saying how to get it, unless TensorRT can compute in this precision here."""
    if not any(inference.get_trt_compile_version()) or not paddle.device.get_device().startswith("gpu"):
        raise UserError(
            "engine tensorrt: needs an NVIDIA GPU and a Paddle built with TensorRT; make install DEVICE=gpu, and "
            "TensorRT 8.5 or later from NVIDIA"
        )
    if precision not in ("fp32", "fp16"):
        raise UserError(f"engine tensorrt: computes in fp32 or fp16, not in {precision}")
