"""Small ONNX models, built as they are needed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper


def write_model(
    path: Path,
    shape: tuple[int | None, ...],
    *,
    dtype: int = TensorProto.FLOAT,
    weights_as_inputs: bool = False,
    extra_input: str = "",
    hard_wired: bool = False,
) -> Path:
    """Write the model of ``BackendConformance``: ``doubled`` and ``means`` of one input.

    Args:
        path: where to.
        shape: of the input; None where a dimension is free.
        dtype: of the input.
        weights_as_inputs: list the weights among the inputs too, as some exporters do.
        extra_input: name of a second input, float (1, 2), which is given back as a third output.
        hard_wired: reshape to the stored shape on the way, so that no other will do.
    """
    names = [f"d{n}" if size is None else size for n, size in enumerate(shape)]
    weights = {"two": np.float32(2), "axes": np.arange(2, max(len(shape), 3))}
    nodes = [helper.make_node("Cast", ["picture"], ["x"], to=TensorProto.FLOAT)]
    if hard_wired:
        weights["stored"] = np.array(shape)
        nodes.append(helper.make_node("Reshape", ["x", "stored"], ["reshaped"]))
    source = "reshaped" if hard_wired else "x"
    nodes.append(helper.make_node("Mul", [source, "two"], ["doubled"]))
    nodes.append(helper.make_node("ReduceMean", [source, "axes"], ["means"], keepdims=0))
    inputs = [helper.make_tensor_value_info("picture", dtype, names)]
    outputs = [
        helper.make_tensor_value_info("doubled", TensorProto.FLOAT, names),
        helper.make_tensor_value_info("means", TensorProto.FLOAT, names[:2]),
    ]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    if extra_input:
        value = helper.make_tensor_value_info(extra_input, TensorProto.FLOAT, [shape[0], 2])
        inputs.append(value)
        nodes.append(helper.make_node("Identity", [extra_input], ["given"]))
        outputs.append(helper.make_tensor_value_info("given", TensorProto.FLOAT, [names[0], 2]))
    if weights_as_inputs:
        inputs += [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in tensors]
    graph = helper.make_graph(nodes, "conformance", inputs, outputs, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return path


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """``write(shape, **options)`` writes a model into the test's folder."""
    return partial(write_model, tmp_path / "model.onnx")
