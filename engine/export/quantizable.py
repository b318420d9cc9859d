"""The two forms of a network that NNCF quantises: OpenVINO's and ONNX."""

import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np

CONVOLUTIONS = ("Convolution", "GroupConvolution")


class OpenVINOForm:
    """An OpenVINO model in memory."""

    @staticmethod
    def read(file: Path) -> Any:
        import openvino

        return openvino.Core().read_model(file)

    @staticmethod
    def feed(model: Any, batch: np.ndarray) -> np.ndarray:
        """The batch as NNCF hands it to the model."""
        return batch

    @staticmethod
    def runner(model: Any) -> Callable[[np.ndarray], np.ndarray]:
        """A function of a batch; NNCF validates with a compiled model."""
        return lambda batch: model(batch)[0]

    @staticmethod
    def write(model: Any, folder: Path, name: str) -> str:
        import openvino

        openvino.save_model(model, folder / f"{name}.xml", compress_to_fp16=False)
        return f"{name}.xml"

    @staticmethod
    def float_layers(model: Any) -> List[str]:
        """Names of the convolutions that no int8 image goes into."""
        return [
            op.get_friendly_name()
            for op in model.get_ops()
            if op.get_type_name() in CONVOLUTIONS and op.input_value(0).get_node().get_type_name() != "FakeQuantize"
        ]


class ONNXForm:
    """An ONNX model in memory."""

    @staticmethod
    def read(file: Path) -> Any:
        """The model with constants folded and biases in their convolutions.

        Where a bias is an addition of its own, as Paddle's exporter writes it, ONNX Runtime computes in float32.
        """
        import onnx
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        with tempfile.TemporaryDirectory() as folder:
            options.optimized_model_filepath = str(Path(folder) / "model.onnx")
            onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
            return onnx.load(options.optimized_model_filepath)

    @staticmethod
    def feed(model: Any, batch: np.ndarray) -> Dict[str, np.ndarray]:
        """The batch as NNCF hands it to the model."""
        return {model.graph.input[0].name: batch}

    @staticmethod
    def runner(model: Any) -> Callable[[np.ndarray], np.ndarray]:
        """A function of a batch."""
        import onnxruntime

        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return lambda batch: session.run(None, {session.get_inputs()[0].name: batch})[0]

    @staticmethod
    def write(model: Any, folder: Path, name: str) -> str:
        import onnx

        onnx.save(model, str(folder / f"{name}.onnx"))
        return f"{name}.onnx"

    @staticmethod
    def float_layers(model: Any) -> List[str]:
        """Names of the convolutions that no int8 image goes into."""
        makers = {output: node.op_type for node in model.graph.node for output in node.output}
        return [
            node.name
            for node in model.graph.node
            if node.op_type == "Conv" and makers.get(node.input[0]) != "DequantizeLinear"
        ]


FORMS = {"openvino": OpenVINOForm, "onnxruntime": ONNXForm}
