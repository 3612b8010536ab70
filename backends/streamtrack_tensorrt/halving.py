"""Converts the weights of an ONNX model to half precision, for TensorRT 11, which takes its types from the graph.

Input and outputs stay float32. Only graphs of operators that are known to keep their meaning are converted; for others
the caller has to do without.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_FLOAT, _HALF = TensorProto.FLOAT, TensorProto.FLOAT16
_LARGEST: Final = 65504.0
_SIMPLE: Final = frozenset(
    {
        *("Abs", "Add", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Clip", "Concat", "Constant", "Conv"),
        *(
            "ConvTranspose",
            "Div",
            "Dropout",
            "Elu",
            "Equal",
            "Erf",
            "Exp",
            "Expand",
            "Flatten",
            "Floor",
            "Gather",
            "Gemm",
        ),
        *("GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "MatMul"),
        *("Max", "MaxPool", "Min", "Mul", "Neg", "PRelu", "Pad", "Pow", "ReduceMax", "ReduceMean", "ReduceMin"),
        *(
            "ReduceSum",
            "Relu",
            "Reshape",
            "Resize",
            "Shape",
            "Sigmoid",
            "Slice",
            "Softmax",
            "Softplus",
            "Split",
            "Sqrt",
        ),
        *("Squeeze", "Sub", "Tanh", "Tile", "Transpose", "Unsqueeze", "Upsample", "Where"),
    }
)
_STAYS_FLOAT: Final = {"Resize": (2,), "Upsample": (1,)}
"""Positions of inputs that the operator takes as float32 whatever it computes in: its scales."""


def halved(model: bytes) -> tuple[bytes, str]:
    """Return a model in half precision and ``""``, or ``b""`` and why it cannot be converted.

    Args:
        model: a serialised ONNX model with float32 input and outputs.
    """
    proto = onnx.load_from_string(model)
    if reason := _obstacle(proto.graph):
        return b"", reason
    graph = proto.graph
    kept = {node.input[at] for node in graph.node for at in _STAYS_FLOAT.get(node.op_type, ()) if at < len(node.input)}
    for weight in graph.initializer:
        if weight.data_type == _FLOAT and weight.name not in kept:
            weight.CopyFrom(_as_half(weight))
    for node in graph.node:
        if not kept & set(node.output):
            _convert_attributes(node)
    _cast_at_the_edges(graph)
    del graph.value_info[:]
    return proto.SerializeToString(), ""


def _obstacle(graph: onnx.GraphProto) -> str:
    strange = sorted({node.op_type for node in graph.node if node.op_type not in _SIMPLE or node.domain})
    if strange:
        return f"it holds {', '.join(strange)}"
    constants = [a.t for node in graph.node if node.op_type == "Constant" for a in node.attribute if a.HasField("t")]
    floats = [weight for weight in (*graph.initializer, *constants) if weight.data_type == _FLOAT]
    if any(np.abs(values).max(initial=0) > _LARGEST for values in map(numpy_helper.to_array, floats)):
        return "its weights are too large"
    known = {weight.name for weight in graph.initializer}
    known |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    for node in graph.node:
        for at in _STAYS_FLOAT.get(node.op_type, ()):
            if at < len(node.input) and node.input[at] and node.input[at] not in known:
                return f"the scales of its {node.op_type} are computed"
    return ""


def _as_half(tensor: TensorProto) -> TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name)


def _convert_attributes(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if node.op_type == "Constant" and attribute.name == "value" and attribute.t.data_type == _FLOAT:
            attribute.t.CopyFrom(_as_half(attribute.t))
        elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == _FLOAT:
            attribute.i = _HALF


def _cast_at_the_edges(graph: onnx.GraphProto) -> None:
    """Let the input be cast to half on its way in, and what is half among the outputs back on its way out."""
    weights = {weight.name for weight in graph.initializer}
    inside, first, last = {}, [], []
    for value in graph.input:
        if value.type.tensor_type.elem_type != _FLOAT:
            continue
        if value.name in weights:
            value.type.tensor_type.elem_type = _HALF
            continue
        inside[value.name] = f"{value.name}/half"
        first.append(helper.make_node("Cast", [value.name], [inside[value.name]], to=_HALF))
    for value in graph.output:
        if value.type.tensor_type.elem_type == _FLOAT:
            inside[value.name] = f"{value.name}/half"
            last.append(helper.make_node("Cast", [inside[value.name]], [value.name], to=_FLOAT))
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [inside.get(name, name) for name in names]
    nodes = [*first, *graph.node, *last]
    del graph.node[:]
    graph.node.extend(nodes)
