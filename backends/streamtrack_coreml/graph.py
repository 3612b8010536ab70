"""The ONNX side of an export: a graph with one input, at one size, and what ONNX Runtime makes of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import version_converter

from streamtrack.errors import ModelLoadError
from streamtrack.models.onnxinput import take_one_picture
from streamtrack_coreml.package import Size, one_line

_FATAL_ONLY = 4
_OLDEST_OPSET = 11
_OPSET = 13


class Graph(NamedTuple):
    """An ONNX model with one input, (batch, 3, height, width) float32."""

    proto: onnx.ModelProto
    input: str
    outputs: tuple[str, ...]
    stored_size: Size | None
    """None where height or width is free."""
    properties: dict[str, str]
    """What the file says of itself, e.g. its classes."""


def load(model: Path) -> Graph:
    """Read an ONNX file and make a batch of pictures its only input where that can be had: see ``take_one_picture``.

    Raises:
        ModelLoadError: it is missing, damaged, or takes something else than one picture.
    """
    try:
        proto = onnx.load(str(model))
    except Exception as error:  # protobuf's errors have no common base
        raise ModelLoadError(f"Model {model} cannot be read: {one_line(error)}.") from error
    take_one_picture(proto)
    graph, inputs = proto.graph, list(proto.graph.input)
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise ModelLoadError(f"Model {model} has {len(inputs)} inputs ({names}) where one picture is expected.")
    tensor = inputs[0].type.tensor_type
    sides = [dim.dim_value for dim in tensor.shape.dim]  # 0 where free
    if tensor.elem_type != onnx.TensorProto.FLOAT or len(sides) != 4 or sides[1] not in (0, 3):
        raise ModelLoadError(f"Model {model} takes {sides} where float (batch, 3, height, width) is expected.")
    stored = (sides[2], sides[3]) if sides[2] and sides[3] else None
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    return Graph(proto, inputs[0].name, tuple(value.name for value in graph.output), stored, properties)


def fixed(graph: Graph, size: Size) -> onnx.ModelProto:
    """Return a copy of the graph for one picture of ``size``; the shapes further inside are forgotten."""
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    shape = proto.graph.input[0].type.tensor_type.shape
    for dimension, side in zip(shape.dim, (1, 3, *size), strict=True):
        dimension.dim_value = side  # unsets its name
    del proto.graph.value_info[:]
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    return proto


def modern(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same model with operators that onnx2torch knows: of the oldest sets it lacks some, e.g. Slice."""
    (version,) = (each.version for each in proto.opset_import if each.domain in ("", "ai.onnx"))
    return proto if version >= _OLDEST_OPSET else version_converter.convert_version(proto, _OPSET)


def answers(graph: Graph, size: Size, batches: Sequence[NDArray[np.float32]]) -> list[dict[str, NDArray[Any]]]:
    """Return what ONNX Runtime answers to each of ``batches``, (1, 3, height, width).

    Raises:
        ModelLoadError: the model cannot be run at this size.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = _FATAL_ONLY  # whatever goes wrong is raised as well
    try:
        session = ort.InferenceSession(
            fixed(graph, size).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return [
            dict(zip(graph.outputs, session.run(list(graph.outputs), {graph.input: batch}), strict=True))
            for batch in batches
        ]
    except Exception as error:  # the runtime's exceptions have no common base of their own
        raise ModelLoadError(
            f"ONNX Runtime cannot run the model at {size[1]}x{size[0]}, so there is nothing to compare with: "
            f"{one_line(error)}."
        ) from error


def features(names: Sequence[str], kind: str) -> list[str]:
    """Return names that Core ML allows, as near to ``names`` as can be and all different.

    Args:
        names: of tensors in the ONNX file, e.g. ``input.1`` or ``537``.
        kind: put before a name that begins with a digit.
    """
    taken: list[str] = []
    for name in names:
        safe = re.sub(r"\W", "_", name, flags=re.ASCII)
        safe = f"{kind}_{safe}" if not safe or safe[0].isdigit() else safe
        while safe in taken:
            safe += "_"
        taken.append(safe)
    return taken
