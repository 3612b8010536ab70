"""Corrections to stored graphs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx

from streamtrack_onnx.graph import is_quantized, rewrite

Writer = Callable[..., Path]


def shapes(values: object) -> dict[str, list[int | str]]:
    return {v.name: [d.dim_value or d.dim_param for d in v.type.tensor_type.shape.dim] for v in values}


def test_the_input_gets_its_shape_and_the_rest_is_inferred_anew(write: Writer) -> None:
    path = write((10, 3, 32, 32))
    model = onnx.load_from_string(rewrite(path, (1, 3, "height", None)))
    assert shapes(model.graph.input) == {"picture": [1, 3, "height", ""]}
    assert shapes(model.graph.output) == {"doubled": [], "means": []}
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    assert shapes(inferred.graph.output)["means"] == [1, 3]


def test_weights_leave_the_inputs_and_shapes_stay(write: Writer) -> None:
    path = write((1, 3, 32, 32), weights_as_inputs=True)
    assert set(shapes(onnx.load(str(path)).graph.input)) == {"picture", "two", "axes"}
    graph = onnx.load_from_string(rewrite(path, None)).graph
    assert shapes(graph.input) == {"picture": [1, 3, 32, 32]}
    assert shapes(graph.output) == {"doubled": [1, 3, 32, 32], "means": [1, 3]}
    assert {weight.name for weight in graph.initializer} == {"two", "axes"}


def test_the_file_itself_is_not_touched(write: Writer) -> None:
    path = write((1, 3, 32, 32), weights_as_inputs=True)
    before = path.read_bytes()
    rewrite(path, (1, 3, 64, 64))
    assert path.read_bytes() == before


def test_a_graph_that_computes_in_int8_is_recognised(write: Writer) -> None:
    path = write((1, 3, 32, 32))
    assert not is_quantized(path)
    model = onnx.load(str(path))
    model.graph.node.append(onnx.helper.make_node("QuantizeLinear", ["picture", "two"], ["steps"]))
    onnx.save(model, str(path))
    assert is_quantized(path)
