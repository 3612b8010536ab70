"""Corrections to a stored graph, in memory, without which the runtime could not use it well."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx

from streamtrack.models.onnxinput import take_one_picture


def rewrite(model: Path, input_shape: Sequence[int | str | None] | None) -> bytes:
    """Return ``model`` corrected, as bytes.

    Its one input becomes a batch of pictures, planes first, where that can be had: see ``take_one_picture``. Weights
    that are also listed as inputs no longer are: the runtime must treat such a weight as variable, folds nothing into
    it and runs CenterFace at half the speed.

    Args:
        model: path of an ONNX file.
        input_shape: what the shape of its one input becomes: sizes, names of free dimensions or None (free and
            nameless). The shapes of intermediate and output tensors are forgotten, to be inferred anew. None leaves
            all shapes alone.
    """
    proto = onnx.load(str(model))
    graph = proto.graph
    take_one_picture(proto)
    if input_shape is not None:
        _set_shape(graph.input[0], input_shape)
        del graph.value_info[:]
        for output in graph.output:
            output.type.tensor_type.ClearField("shape")
    rewritten: bytes = proto.SerializeToString()
    return rewritten


def is_quantized(model: Path) -> bool:
    """Return whether a graph computes in int8 somewhere."""
    kinds = {node.op_type for node in onnx.load(str(model), load_external_data=False).graph.node}
    return bool(kinds & {"QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger"})


def _set_shape(value: onnx.ValueInfoProto, shape: Sequence[int | str | None]) -> None:
    value.type.tensor_type.ClearField("shape")
    for size in shape:
        dimension = value.type.tensor_type.shape.dim.add()
        if isinstance(size, int):
            dimension.dim_value = size
        elif size is not None:
            dimension.dim_param = size
