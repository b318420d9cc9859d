"""MNN on the CPU, in float32."""

from pathlib import Path

from compat import UserError

import MNN
import numpy as np

from engine.runtime.description import Description
from engine.runtime.network import Network


class EngineNetwork(Network):
    """An .mnn file, on all given threads."""

    def __init__(self, file: Path, precision: str, description: Description, threads: int):
        super().__init__("mnn", precision, description)
        if precision != "fp32":
            raise UserError(f"engine mnn: computes in fp32, not in {precision}")
        self.type = MNN.expr.float if description.input == "float32" else MNN.expr.uint8
        settings = {"backend": "CPU", "numThread": threads, "precision": "high"}  # high: float32, on ARM too
        runtime = MNN.nn.create_runtime_manager((settings,))
        try:
            self.module = MNN.nn.load_module_from_file(str(file), [], [], runtime_manager=runtime)
        except (SystemError, RuntimeError) as error:
            raise UserError(f"{file}: MNN cannot load it; its message is above") from error

    def run(self, batch: np.ndarray) -> np.ndarray:
        # NCHW only means that the shape is taken as it is.
        outputs = self.module.forward([MNN.expr.const(batch, list(batch.shape), MNN.expr.NCHW, self.type)])
        if not outputs:
            raise RuntimeError("MNN could not compute the network; its message is above")
        return outputs[0].read().copy()  # what `read` returns is freed with `outputs`
