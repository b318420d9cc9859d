"""int8 through concatenations, for ONNX Runtime."""

from typing import Any, Dict, List, Optional

import numpy as np


def quantize_concatenations(model: Any) -> Any:
    """Put QuantizeLinear and DequantizeLinear behind each concatenation of int8 tensors of one scale.

    NNCF gives all inputs of a concatenation one scale and does not quantise its output, so that ONNX Runtime computes
    the next convolution in float32. The network's outputs do not change: the values are on that scale already.

    Args:
        model: onnx.ModelProto, its nodes in the order of computation; changed in place.

    Returns:
        The same model.
    """
    from onnx import helper, numpy_helper

    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    makers = {output: node for node in model.graph.node for output in node.output}
    nodes: List[Any] = []
    for node in model.graph.node:
        nodes.append(node)
        scale = _common_scale(node, makers, constants) if node.op_type == "Concat" else None
        if scale is None:
            continue
        value = node.output[0]
        node.output[0], quantized = f"{value}/concatenated", f"{value}/quantized"
        quantize = helper.make_node("QuantizeLinear", [node.output[0], *scale], [quantized], name=f"{value}/quantize")
        dequantize = helper.make_node("DequantizeLinear", [quantized, *scale], [value], name=f"{value}/dequantize")
        nodes += [quantize, dequantize]
        makers[value] = dequantize  # which a later concatenation may read
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _common_scale(concatenation: Any, makers: Dict[str, Any], constants: Dict[str, np.ndarray]) -> Optional[List[str]]:
    """Names of the per-tensor scale and zero point that all inputs of a concatenation share, or None."""
    inputs = [makers.get(name) for name in concatenation.input]
    if any(node is None or node.op_type != "DequantizeLinear" for node in inputs):
        return None
    names = [list(node.input[1:]) for node in inputs]
    values = {tuple((constants[name].dtype.str, constants[name].tobytes()) for name in pair) for pair in names}
    return names[0] if len(values) == 1 and constants[names[0][0]].size == 1 else None
