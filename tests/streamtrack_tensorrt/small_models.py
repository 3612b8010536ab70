"""Small ONNX models, built as they are needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_model(path: Path, shape: tuple[int | None, ...], *, quantised: bool = False, exotic: bool = False) -> Path:
    """Write the model of ``BackendConformance``: ``doubled`` and ``means`` of one input.

    Args:
        path: where to.
        shape: of the input; None where a dimension is free.
        quantised: send the input through a pair of quantise and dequantise nodes.
        exotic: hold an operator that is not converted to half precision.
    """
    names = [f"d{n}" if size is None else size for n, size in enumerate(shape)]
    weights = {"two": np.float32(2), "axes": np.arange(2, max(len(shape), 3))}
    nodes, source = [], "picture"
    if quantised:
        weights |= {"scale": np.float32(1), "zero": np.uint8(0)}
        nodes.append(helper.make_node("QuantizeLinear", ["picture", "scale", "zero"], ["q"]))
        nodes.append(helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"]))
        source = "dq"
    if exotic:
        nodes.append(helper.make_node("Round", [source], ["rounded"]))
        source = "rounded"
    nodes.append(helper.make_node("Mul", [source, "two"], ["doubled"]))
    nodes.append(helper.make_node("ReduceMean", [source, "axes"], ["means"], keepdims=0))
    inputs = [helper.make_tensor_value_info("picture", TensorProto.FLOAT, names)]
    outputs = [
        helper.make_tensor_value_info("doubled", TensorProto.FLOAT, names),
        helper.make_tensor_value_info("means", TensorProto.FLOAT, names[:2]),
    ]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "conformance", inputs, outputs, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return path
