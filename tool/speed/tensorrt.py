"""TensorRT through Paddle Inference, on a GPU. Written to Paddle's documented interface; not run here."""

from pathlib import Path

from compat import UserError

import numpy as np
import paddle
from paddle import inference

from engine.engines import Description, Network, read_description

WORKSPACE = 1 << 30  # bytes
SMALLEST_SUBGRAPH = 3  # operators; what is smaller stays with Paddle


class TensorRTNetwork(Network):
    """A Paddle inference model of fixed size whose subgraphs TensorRT computes, in `fp32` or `fp16`.

    Raises:
        UserError: where Paddle is not built with TensorRT, or there is no GPU.
    """

    def __init__(self, folder: Path, precision: str):
        check_tensorrt(precision)
        description: Description = read_description(folder)
        super().__init__("tensorrt", precision, description)
        file = folder / description.files["paddle"]["fp32"]
        config = inference.Config(str(file), str(file.with_suffix(".pdiparams")))
        config.enable_use_gpu(256, int(paddle.device.get_device().partition(":")[2] or 0))
        config.enable_tensorrt_engine(
            workspace_size=WORKSPACE,
            max_batch_size=description.batch or 1,
            min_subgraph_size=SMALLEST_SUBGRAPH,
            precision_mode=inference.PrecisionType.Half if precision == "fp16" else inference.PrecisionType.Float32,
            use_static=False,
            use_calib_mode=False,
        )
        self.predictor = inference.create_predictor(config)
        self.input = self.predictor.get_input_handle(self.predictor.get_input_names()[0])
        self.output = self.predictor.get_output_handle(self.predictor.get_output_names()[0])

    def run(self, batch: np.ndarray) -> np.ndarray:
        self.input.copy_from_cpu(batch)
        self.predictor.run()
        return self.output.copy_to_cpu()


def check_tensorrt(precision: str) -> None:
    """Raise UserError, saying how to get it, unless TensorRT can compute in this precision here."""
    if not any(inference.get_trt_compile_version()) or not paddle.device.get_device().startswith("gpu"):
        raise UserError(
            "engine tensorrt: needs an NVIDIA GPU and a Paddle built with TensorRT; make install DEVICE=gpu, and "
            "TensorRT 8.5 or later from NVIDIA"
        )
    if precision not in ("fp32", "fp16"):
        raise UserError(f"engine tensorrt: computes in fp32 or fp16, not in {precision}")
