"""The form in which an ONNX graph reaches a session: a batch of pictures, planes first, is its only input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_SIZES: Final = "orig_target_sizes"
"""What the deployment exports of RT-DETR, D-FINE and DEIM call the (width, height) that their boxes are scaled to."""
_OURS: Final = "streamtrack"
"""Begins the names of all tensors that are added."""


def take_one_picture(proto: onnx.ModelProto) -> None:
    """Rewrite a graph in place, so that its one input is (batch, 3, height, width) where that can be had.

    Weights that are also listed as inputs, which some exporters do, no longer are. Pictures that are taken with their
    channels last, (batch, height, width, 3), are transposed inside. A second input ``orig_target_sizes`` (batch, 2)
    becomes the size of the picture as the model gets it, at any size and batch, so that boxes come in px of the input.
    Any other input is left for the caller to refuse.
    """
    graph = proto.graph
    weights = {weight.name for weight in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    sizes = [value for value in inputs if _is_sizes(value)]
    pictures = [value for value in inputs if value not in sizes]
    del graph.input[:]
    if len(pictures) == 1:
        inputs = [_planes_first(graph, pictures[0])]
        for value in sizes:
            _measure(graph, inputs[0].name, value)
    graph.input.extend(inputs)


def _channels_last(shape: Sequence[int | None]) -> bool:
    return len(shape) == 4 and shape[3] == 3 and shape[1] != 3


def _is_sizes(value: onnx.ValueInfoProto) -> bool:
    shape = _shape(value)
    return value.name == _SIZES and len(shape) == 2 and shape[1] in (2, None)


def _shape(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    # 0 and -1 are what some exporters write for a free dimension.
    return tuple(dim.dim_value if dim.dim_value > 0 else None for dim in value.type.tensor_type.shape.dim)


def _planes_first(graph: onnx.GraphProto, value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    """Return the input as it shall be; the graph's old one becomes the result of a transposition, name and all."""
    if not _channels_last(_shape(value)):
        return value
    planes = onnx.ValueInfoProto()
    planes.CopyFrom(value)
    planes.name = f"{_OURS}_planes"
    batch, height, width, channels = value.type.tensor_type.shape.dim
    planes.type.tensor_type.ClearField("shape")
    planes.type.tensor_type.shape.dim.extend((batch, channels, height, width))
    _prepend(graph, [helper.make_node("Transpose", [planes.name], [value.name], perm=[0, 2, 3, 1])])
    return planes


def _measure(graph: onnx.GraphProto, picture: str, value: onnx.ValueInfoProto) -> None:
    """Compute an input ``value``: (width, height) of the picture, once for each of the batch."""
    shape, sides, row, batch, two, rows, found = (
        f"{_OURS}_{part}" for part in ("shape", "sides", "row", "batch", "two", "rows", "found")
    )
    constants = {"sides_at": [3, 2], "batch_at": [0], "one_row": [1, 2], "two": [2]}
    graph.initializer.extend(
        numpy_helper.from_array(np.array(numbers, np.int64), f"{_OURS}_{name}") for name, numbers in constants.items()
    )
    _prepend(
        graph,
        [
            helper.make_node("Shape", [picture], [shape]),
            helper.make_node("Gather", [shape, f"{_OURS}_sides_at"], [sides]),
            helper.make_node("Reshape", [sides, f"{_OURS}_one_row"], [row]),
            helper.make_node("Gather", [shape, f"{_OURS}_batch_at"], [batch]),
            helper.make_node("Concat", [batch, two], [rows], axis=0),
            helper.make_node("Expand", [row, rows], [found]),
            helper.make_node("Cast", [found], [value.name], to=value.type.tensor_type.elem_type or TensorProto.INT64),
        ],
    )


def _prepend(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> None:
    """Put nodes before all others: a graph lists them in an order in which they can be computed."""
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])
