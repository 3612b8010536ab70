"""The ONNX side of an export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from streamtrack.errors import ModelLoadError
from streamtrack_coreml import graph as onnx_graph


def write_model(
    path: Path, shape: list[Any], *, dtype: int = TensorProto.FLOAT, inputs: int = 1, opset: int = 18
) -> Path:
    """Write a model that multiplies by a weight, which is listed among its inputs too."""
    weight = numpy_helper.from_array(np.float32([2]), "weight")
    values = [helper.make_tensor_value_info(f"input.{n}", dtype, shape) for n in range(1, inputs + 1)]
    listed = helper.make_tensor_value_info("weight", TensorProto.FLOAT, [1])
    nodes = [
        helper.make_node("Cast", ["input.1"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "weight"], ["537"]),
    ]
    outputs = [helper.make_tensor_value_info("537", TensorProto.FLOAT, shape)]
    graph = helper.make_graph(nodes, "test", [*values, listed], outputs, [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    model.metadata_props.add(key="names", value="{0: 'face'}")
    onnx.save(model, str(path))
    return path


def test_reads_input_outputs_size_and_properties(tmp_path: Path) -> None:
    graph = onnx_graph.load(write_model(tmp_path / "m.onnx", [10, 3, 32, 64]))
    assert (graph.input, graph.outputs, graph.stored_size) == ("input.1", ("537",), (32, 64))
    assert graph.properties == {"names": "{0: 'face'}"}
    assert [value.name for value in graph.proto.graph.input] == ["input.1"]


@pytest.mark.parametrize("shape", [["n", 3, "h", "w"], [1, 3, 32, None], [None, None, 32, "w"]])
def test_a_free_side_means_no_stored_size(tmp_path: Path, shape: list[Any]) -> None:
    assert onnx_graph.load(write_model(tmp_path / "m.onnx", shape)).stored_size is None


def test_channels_that_come_last_are_put_there_inside(tmp_path: Path) -> None:
    graph = onnx_graph.load(write_model(tmp_path / "m.onnx", [1, 32, 64, 3]))
    assert graph.stored_size == (32, 64)
    batch = np.random.default_rng(0).random((1, 3, 32, 64), np.float32)
    (answer,) = onnx_graph.answers(graph, (32, 64), [batch])
    np.testing.assert_array_equal(answer["537"], 2 * batch.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("shape", [[10, 3, 32, 32], ["n", 3, "h", "w"]])
def test_answers_at_any_size(tmp_path: Path, shape: list[Any]) -> None:
    graph = onnx_graph.load(write_model(tmp_path / "m.onnx", shape))
    for size in ((64, 96), (32, 32)):
        batch = np.ones((1, 3, *size), np.float32)
        (answer,) = onnx_graph.answers(graph, size, [batch])
        np.testing.assert_array_equal(answer["537"], batch * 2)
    # The graph itself is as it was read.
    assert onnx_graph.load(tmp_path / "m.onnx").proto == graph.proto


def test_a_model_that_cannot_run_at_a_size_says_which(tmp_path: Path) -> None:
    graph = onnx_graph.load(write_model(tmp_path / "m.onnx", [1, 3, 32, 32]))
    with pytest.raises(ModelLoadError, match="cannot run the model at 96x64"):
        onnx_graph.answers(graph, (64, 96), [np.ones((1, 3, 5, 5), np.float32)])


@pytest.mark.parametrize(("opset", "becomes"), [(9, 13), (10, 13), (11, 11), (18, 18)])
def test_old_operators_become_newer_ones_that_answer_the_same(tmp_path: Path, opset: int, becomes: int) -> None:
    graph = onnx_graph.load(write_model(tmp_path / "m.onnx", [1, 3, 32, 64], opset=opset))
    proto = onnx_graph.modern(onnx_graph.fixed(graph, (32, 64)))
    assert [each.version for each in proto.opset_import] == [becomes]
    batch = np.ones((1, 3, 32, 64), np.float32)
    (answer,) = onnx_graph.answers(graph._replace(proto=proto), (32, 64), [batch])
    np.testing.assert_array_equal(answer["537"], batch * 2)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"shape": [1, 3, 32]}, r"takes \[1, 3, 32\]"),
        ({"shape": [1, 1, 32, 32]}, "where float"),
        ({"shape": [1, 3, 32, 32], "dtype": TensorProto.UINT8}, "where float"),
        ({"shape": [1, 3, 32, 32], "inputs": 2}, r"has 2 inputs \(input\.1, input\.2\)"),
    ],
)
def test_what_takes_no_picture_is_refused(tmp_path: Path, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ModelLoadError, match=complaint):
        onnx_graph.load(write_model(tmp_path / "m.onnx", **options))


@pytest.mark.parametrize("content", [None, b"", b"no model"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ModelLoadError, match=r"m\.onnx (cannot be read|has 0 inputs)"):
        onnx_graph.load(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("names", "safe"),
    [
        (["537", "538"], ["output_537", "output_538"]),
        (["cls_8", "obj_8"], ["cls_8", "obj_8"]),
        (["input.1"], ["input_1"]),
        (["a.b", "a/b", "a_b"], ["a_b", "a_b_", "a_b__"]),
        (["", "é"], ["output_", "_"]),
    ],
)
def test_names_that_core_ml_allows(names: list[str], safe: list[str]) -> None:
    assert onnx_graph.features(names, "output") == safe


@given(st.lists(st.text(max_size=8), max_size=6))
def test_names_are_different_and_identifiers(names: list[str]) -> None:
    safe = onnx_graph.features(names, "output")
    assert len(set(safe)) == len(names)
    assert all(name.isidentifier() and name.isascii() for name in safe)
