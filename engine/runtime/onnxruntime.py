"""ONNX Runtime on the CPU."""

from pathlib import Path
from typing import Union

from compat import UserError

import numpy as np
import onnxruntime

from engine.runtime.description import Description
from engine.runtime.network import Network


class EngineNetwork(Network):
    """An ONNX file in float32, or in int8 with QuantizeLinear and DequantizeLinear."""

    def __init__(self, file: Path, precision: str, description: Description, threads: int):
        super().__init__("onnxruntime", precision, description)
        if precision not in ("fp32", "int8"):
            raise UserError(f"engine onnxruntime: computes in fp32 or int8 on a CPU, not in {precision}")
        options = quiet_options()
        options.intra_op_num_threads = threads
        try:
            self.session = open_session(str(file), options)
        except Exception as error:  # its exceptions have no common base but this
            raise UserError(f"{file}: ONNX Runtime cannot load it ({str(error).splitlines()[0]})") from error
        self.input = self.session.get_inputs()[0].name

    def run(self, batch: np.ndarray) -> np.ndarray:
        return self.session.run(None, {self.input: batch})[0]


def quiet_options() -> onnxruntime.SessionOptions:
    """Options of a session that reports errors only; its warnings name every constant that it folds."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return options


def open_session(model: Union[str, bytes], options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    """A session of a file or of a serialised model, on the CPU."""
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
