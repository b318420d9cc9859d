"""OpenVINO on the CPU."""

from pathlib import Path

from compat import UserError

import numpy as np
import openvino

from engine.runtime.description import Description
from engine.runtime.network import Network

# What the processor must be able to do for a precision, in OpenVINO's words.
CAPABILITIES = {"fp32": "FP32", "bf16": "BF16", "fp16": "FP16", "int8": "INT8"}
HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


class EngineNetwork(Network):
    """An IR file, compiled for one image at a time on all given threads."""

    def __init__(self, file: Path, precision: str, description: Description, threads: int):
        super().__init__("openvino", precision, description)
        core = openvino.Core()
        try:
            self.request = compile_model(core, core.read_model(file), precision, threads).create_infer_request()
        except RuntimeError as error:
            # The lines before the last name places in its source.
            reason = str(error).strip().splitlines()[-1]
            raise UserError(f"{file}: OpenVINO cannot load it ({reason})") from error

    def run(self, batch: np.ndarray) -> np.ndarray:
        return self.request.infer([batch], share_inputs=True, share_outputs=True)[0]


def compile_model(core: openvino.Core, model: openvino.Model, precision: str, threads: int) -> openvino.CompiledModel:
    """A model in memory, for the least latency; raises UserError where the processor lacks this precision."""
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if CAPABILITIES[precision] not in able:
        raise UserError(f"engine openvino: this processor does not compute in {precision}; it has {', '.join(able)}")
    settings = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    if precision in HINTS:
        return core.compile_model(model, "CPU", {**settings, "INFERENCE_PRECISION_HINT": HINTS[precision]})
    try:
        # The float layers of an int8 network run in the precision that OpenVINO chooses as fastest: bf16 if supported.
        return core.compile_model(model, "CPU", settings)
    except RuntimeError:
        # It looks at the processor, while oneDNN may be limited to fewer instructions by ONEDNN_MAX_CPU_ISA.
        return core.compile_model(model, "CPU", {**settings, "INFERENCE_PRECISION_HINT": HINTS["fp32"]})
