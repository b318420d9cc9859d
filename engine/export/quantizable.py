"""The two formats in which NNCF quantises a network: OpenVINO's and ONNX."""

import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np

from engine.export.onnx_concatenation import quantize_concatenations
from engine.export.writers import save_openvino

CONVOLUTIONS = ("Convolution", "GroupConvolution")


class OpenVINOForm:
    """An OpenVINO model in memory."""

    @staticmethod
    def read(file: Path) -> Any:
        """The model without Identity operations, Paddle's assignments, through which NNCF places no quantisers."""
        import openvino

        model = openvino.Core().read_model(file)
        for op in model.get_ops():
            if op.get_type_name() == "Identity":
                op.output(0).replace(op.input_value(0))
        return model

    @staticmethod
    def feed(model: Any, batch: np.ndarray) -> np.ndarray:
        """The batch in the form in which NNCF passes it to the model."""
        return batch

    @staticmethod
    def finish(model: Any) -> Any:
        """The quantised model, adapted to the engine."""
        return model

    @staticmethod
    def runner(model: Any) -> Callable[[np.ndarray], np.ndarray]:
        """A function of a batch; NNCF validates with a compiled model."""
        return lambda batch: model(batch)[0]

    @staticmethod
    def write(model: Any, folder: Path, name: str) -> str:
        save_openvino(model, folder / f"{name}.xml")
        return f"{name}.xml"

    @staticmethod
    def float_layers(model: Any) -> List[str]:
        """Names of the convolutions whose input is not int8."""
        return [
            op.get_friendly_name()
            for op in model.get_ops()
            if op.get_type_name() in CONVOLUTIONS and not _is_quantized(op.input_value(0).get_node())
        ]


def _is_quantized(node: Any) -> bool:
    """Whether an OpenVINO node returns int8, or concatenates nodes that do."""
    if node.get_type_name() == "Concat":
        return all(_is_quantized(value.get_node()) for value in node.input_values())
    return node.get_type_name() == "FakeQuantize"


class ONNXForm:
    """An ONNX model in memory."""

    @staticmethod
    def read(file: Path) -> Any:
        """The model with constants folded and biases in their convolutions.

        Where a bias is an addition of its own, as Paddle's exporter writes it, ONNX Runtime computes in float32.
        """
        import onnx
        from onnxruntime import GraphOptimizationLevel

        from engine.runtime.onnxruntime import open_session, quiet_options

        options = quiet_options()
        options.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_BASIC
        with tempfile.TemporaryDirectory() as folder:
            options.optimized_model_filepath = str(Path(folder) / "model.onnx")
            open_session(str(file), options)
            return onnx.load(options.optimized_model_filepath)

    @staticmethod
    def feed(model: Any, batch: np.ndarray) -> Dict[str, np.ndarray]:
        """The batch in the form in which NNCF passes it to the model."""
        return {model.graph.input[0].name: batch}

    @staticmethod
    def finish(model: Any) -> Any:
        """The quantised model, adapted to the engine."""
        return quantize_concatenations(model)

    @staticmethod
    def runner(model: Any) -> Callable[[np.ndarray], np.ndarray]:
        """A function of a batch."""
        from engine.runtime.onnxruntime import open_session, quiet_options

        session = open_session(model.SerializeToString(), quiet_options())
        return lambda batch: session.run(None, {session.get_inputs()[0].name: batch})[0]

    @staticmethod
    def write(model: Any, folder: Path, name: str) -> str:
        import onnx

        onnx.save(model, str(folder / f"{name}.onnx"))
        return f"{name}.onnx"

    @staticmethod
    def float_layers(model: Any) -> List[str]:
        """Names of the convolutions whose input is not int8."""
        makers = {output: node.op_type for node in model.graph.node for output in node.output}
        return [
            node.name
            for node in model.graph.node
            if node.op_type == "Conv" and makers.get(node.input[0]) != "DequantizeLinear"
        ]


FORMS = {"openvino": OpenVINOForm, "onnxruntime": ONNXForm}
