"""The ONNX graph as TensorRT shall see it: its input's shape, and its range of shapes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import onnx

from streamtrack.api import BackendOptions
from streamtrack.errors import ModelLoadError
from streamtrack.models.onnxinput import take_one_picture
from streamtrack.models.spec import ModelSpec

Size = int | str | None
"""Of a dimension; a name or None where it is free."""


class Graph(NamedTuple):
    """A model with one picture input, corrected."""

    onnx: bytes
    input: str
    """Name of the input."""
    shape: tuple[int | None, ...]
    """(batch, 3, height, width), None where a dimension is free."""
    quantised: bool
    """Whether it holds quantise and dequantise nodes, which carry the scales that int8 needs."""


class ShapeRange(NamedTuple):
    """The optimisation profile: which input shapes an engine takes, and for which it is tuned."""

    smallest: tuple[int, ...]
    usual: tuple[int, ...]
    largest: tuple[int, ...]


def read_graph(model: Path, spec: ModelSpec, options: BackendOptions) -> Graph:
    """Read and correct an ONNX file.

    The stored size of the input is replaced where ``options.input_size`` gives another, and made free where the spec
    says that the model takes any. Where the size that was stored does not count, neither does the stored batch.

    Raises:
        ModelLoadError: it is missing or corrupt, or does not take one picture.
    """
    if not model.is_file():
        raise ModelLoadError(f"There is no model file {model}.")
    try:
        proto = onnx.load(str(model))
    except Exception as error:  # the parser's exceptions have no common base of their own
        reason = " ".join(str(error).split())
        raise ModelLoadError(f"Model {model} cannot be read as ONNX: {reason}.") from error
    take_one_picture(proto)
    value = _picture_input(proto, model)
    stored = _shape(value)
    wanted = _wanted(stored, spec, options)
    if wanted != stored:
        _set_shape(proto, value, wanted)
    kinds = {node.op_type for node in proto.graph.node}
    free = tuple(size if isinstance(size, int) else None for size in wanted)
    return Graph(proto.SerializeToString(), value.name, free, bool(kinds & {"QuantizeLinear", "DequantizeLinear"}))


def shape_range(shape: tuple[int | None, ...], spec: ModelSpec, batch: int) -> ShapeRange:
    """Return the range of shapes that an engine is built for.

    Args:
        shape: of the input, None where it is free.
        spec: gives the usual size, the longest side, and the step of a free one. Upright pictures are as welcome as
            wide ones, so both sides may grow to the longest.
        batch: largest batch where that is free.
    """
    step = spec.size_multiple
    longest = -(-max(spec.input_size) // step) * step
    # Pictures are mostly 16:9, and a free size follows the picture.
    usual_size = (-(-longest * 9 // 16 // step) * step, longest) if spec.dynamic_size else spec.input_size
    lows, highs = (1, 3, step, step), (batch, 3, longest, longest)
    usuals = (batch, 3, *usual_size)
    smallest, usual, largest = (
        tuple(free if size is None else size for size, free in zip(shape, frees, strict=True))
        for frees in (lows, usuals, highs)
    )
    return ShapeRange(smallest, usual, largest)


def _picture_input(proto: onnx.ModelProto, model: Path) -> onnx.ValueInfoProto:
    inputs: list[onnx.ValueInfoProto] = list(proto.graph.input)
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise ModelLoadError(f"Model {model} has {len(inputs)} inputs ({names}) where one picture is expected.")
    (value,) = inputs
    shape, kind = _shape(value), value.type.tensor_type.elem_type
    if kind != onnx.TensorProto.FLOAT or len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
        raise ModelLoadError(
            f"Model {model} takes {onnx.TensorProto.DataType.Name(kind).lower()} {list(shape)} where float "
            "(batch, 3, height, width) is expected."
        )
    return value


def _shape(value: onnx.ValueInfoProto) -> tuple[Size, ...]:
    dims = value.type.tensor_type.shape.dim
    # 0 and -1 are what some exporters write for a free dimension.
    return tuple(dim.dim_value if dim.dim_value > 0 else dim.dim_param or None for dim in dims)


def _wanted(stored: tuple[Size, ...], spec: ModelSpec, options: BackendOptions) -> tuple[Size, ...]:
    size: tuple[Size, ...] = stored[2:]
    if options.input_size is not None:
        size = options.input_size
    elif spec.dynamic_size and any(isinstance(side, int) for side in size):
        size = ("height", "width")
    if size == stored[2:]:
        return (stored[0], 3, *size)
    arbitrary: Size = "batch" if options.batch > 1 else 1
    return (arbitrary if isinstance(stored[0], int) else stored[0], 3, *size)


def _set_shape(proto: onnx.ModelProto, value: onnx.ValueInfoProto, shape: tuple[Size, ...]) -> None:
    """Give the input another shape and forget those that were derived from the old one."""
    value.type.tensor_type.ClearField("shape")
    for size in shape:
        dimension = value.type.tensor_type.shape.dim.add()
        if isinstance(size, int):
            dimension.dim_value = size
        elif size is not None:
            dimension.dim_param = size
    del proto.graph.value_info[:]
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
