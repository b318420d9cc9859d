"""ONNX Runtime on the CPU."""

from pathlib import Path

from compat import UserError

import numpy as np
import onnxruntime

from engine.engines.description import Description
from engine.engines.network import Network


class EngineNetwork(Network):
    """An ONNX file in float32, or in int8 with QuantizeLinear and DequantizeLinear."""

    def __init__(self, file: Path, precision: str, description: Description, threads: int):
        super().__init__("onnxruntime", precision, description)
        if precision not in ("fp32", "int8"):
            raise UserError(f"engine onnxruntime: computes in fp32 or int8 on a CPU, not in {precision}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors; its warnings name every constant that it folds
        try:
            self.session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base but this
            raise UserError(f"{file}: ONNX Runtime cannot load it ({str(error).splitlines()[0]})") from error
        self.input = self.session.get_inputs()[0].name

    def run(self, batch: np.ndarray) -> np.ndarray:
        return self.session.run(None, {self.input: batch})[0]
