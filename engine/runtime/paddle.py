"""Paddle Inference, on the CPU or on the GPU that Paddle was set to use."""

from pathlib import Path

from compat import UserError

import numpy as np
import paddle
from paddle import inference

from engine.runtime.description import Description
from engine.runtime.network import Network

# The operators that oneDNN computes on Paddle 2.6.
ONEDNN_OPERATORS = {
    *("bilinear_interp_v2", "concat", "conv2d", "depthwise_conv2d", "elementwise_add", "elementwise_mul"),
    *("elementwise_sub", "fused_conv2d", "pool2d", "relu", "sigmoid", "transpose2"),
}
GPU_MEMORY = 256  # MB at the start; more is taken as needed
PADDLE_3 = int(paddle.__version__.split(".")[0]) >= 3


class PredictorNetwork(Network):
    """A Paddle inference model under a configuration; raises UserError where Paddle cannot load the file."""

    def __init__(self, engine: str, file: Path, precision: str, description: Description, config: inference.Config):
        super().__init__(engine, precision, description)
        try:
            self.predictor = inference.create_predictor(config)
        except (RuntimeError, ValueError) as error:
            raise UserError(f"{file}: Paddle Inference cannot load it ({str(error).splitlines()[-1]})") from error
        self.input = self.predictor.get_input_handle(self.predictor.get_input_names()[0])
        self.output = self.predictor.get_output_handle(self.predictor.get_output_names()[0])

    def run(self, batch: np.ndarray) -> np.ndarray:
        self.input.copy_from_cpu(batch)
        self.predictor.run()
        return self.output.copy_to_cpu()


class EngineNetwork(PredictorNetwork):
    """A Paddle inference model. bf16 is oneDNN's and needs Paddle 2.6."""

    def __init__(self, file: Path, precision: str, description: Description, threads: int):
        if precision != "fp32" and (PADDLE_3 or precision != "bf16"):
            raise UserError(f"engine paddle: Paddle {paddle.__version__} computes in fp32 here, not in {precision}")
        config = config_of(file)
        # Paddle 3 fails on the pass that shares memory.
        config.enable_memory_optim(not PADDLE_3)
        if paddle.device.get_device().startswith("gpu"):
            use_gpu(config)
        else:
            config.set_cpu_math_library_num_threads(threads)
            _choose_onednn(config, precision)
        super().__init__("paddle", file, precision, description, config)


def config_of(file: Path) -> inference.Config:
    """The configuration for a model file; raises UserError without the weights beside it, as Paddle 3 does not."""
    weights = file.with_suffix(".pdiparams")
    if not weights.is_file():
        raise UserError(f"{weights}: no such file, though {file.name} needs it; copy it too, or export anew")
    config = inference.Config(str(file), str(weights))
    config.disable_glog_info()
    return config


def use_gpu(config: inference.Config) -> None:
    """Compute on the GPU that Paddle was set to use."""
    config.enable_use_gpu(GPU_MEMORY, int(paddle.device.get_device().partition(":")[2] or 0))


def _choose_onednn(config: inference.Config, precision: str) -> None:
    """Enable oneDNN where its results are correct.

    Its bilinear interpolation returns wrong numbers on Paddle 3.0 to 3.2 and fails on 3.3; its nearest interpolation
    returns wrong numbers on 2.6 where the sizes are odd. Both lines use it by default.
    """
    if PADDLE_3:
        config.disable_mkldnn()
        return
    config.enable_mkldnn()
    config.set_mkldnn_op(ONEDNN_OPERATORS)
    if precision == "bf16":
        config.enable_mkldnn_bfloat16()
