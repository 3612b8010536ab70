"""The input's shape as it is stored, as it is wanted, and the range that an engine is built for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from streamtrack.api import BackendOptions
from streamtrack.errors import ModelLoadError
from streamtrack.models.preprocess import input_size_for
from streamtrack.models.spec import ModelSpec
from streamtrack_tensorrt.graph import read_graph, shape_range

SPEC = ModelSpec(name="m", head="auto")
ANY_SIZE = ModelSpec(name="m", head="auto", dynamic_size=True)


@pytest.mark.parametrize(
    ("stored", "spec", "options", "shape"),
    [
        ((1, 3, 64, 96), SPEC, {}, (1, 3, 64, 96)),
        ((4, 3, 64, 96), SPEC, {"batch": 8}, (4, 3, 64, 96)),
        ((None, 3, None, None), SPEC, {}, (None, 3, None, None)),
        ((None, 3, None, None), SPEC, {"input_size": (64, 32)}, (None, 3, 64, 32)),
        ((10, 3, 32, 32), ANY_SIZE, {}, (1, 3, None, None)),
        ((10, 3, 32, 32), ANY_SIZE, {"batch": 4}, (None, 3, None, None)),
        ((10, 3, 32, 32), ANY_SIZE, {"input_size": (64, 64)}, (1, 3, 64, 64)),
        ((None, None, 64, 64), SPEC, {}, (None, 3, 64, 64)),
    ],
)
def test_the_shape_that_an_engine_gets(
    write: Callable[..., Path], stored: tuple[int | None, ...], spec: ModelSpec, options: dict[str, object],
    shape: tuple[int | None, ...],
) -> None:  # fmt: skip
    graph = read_graph(write(stored), spec, BackendOptions(**options))  # type: ignore[arg-type]
    assert (graph.shape, graph.input, graph.quantised) == (shape, "picture", False)
    dims = onnx.load_from_string(graph.onnx).graph.input[0].type.tensor_type.shape.dim
    assert tuple(dim.dim_value or None for dim in dims)[2:] == shape[2:]


def test_quantised_models_are_known_by_their_nodes(write: Callable[..., Path]) -> None:
    assert read_graph(write((1, 3, 64, 64), quantised=True), SPEC, BackendOptions()).quantised


def test_weights_among_the_inputs_are_no_inputs(write: Callable[..., Path]) -> None:
    path = write((1, 3, 64, 64))
    proto = onnx.load(str(path))
    proto.graph.input.append(helper.make_tensor_value_info("two", TensorProto.FLOAT, []))
    onnx.save(proto, str(path))
    assert read_graph(path, SPEC, BackendOptions()).input == "picture"


def test_other_forms_of_input_become_one_picture(write: Callable[..., Path]) -> None:
    path = write((None, None, None, 3))
    proto = onnx.load(str(path))
    proto.graph.input.append(helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, [None, 2]))
    onnx.save(proto, str(path))
    graph = read_graph(path, SPEC, BackendOptions(input_size=(64, 96)))
    assert graph.shape == (None, 3, 64, 96)
    assert [value.name for value in onnx.load_from_string(graph.onnx).graph.input] == [graph.input]


def test_what_is_not_one_picture_is_refused(write: Callable[..., Path], tmp_path: Path) -> None:
    flat = write((1, 64)).rename(tmp_path / "flat.onnx")
    path = write((1, 3, 64, 64))
    proto = onnx.load(str(path))
    proto.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    onnx.save(proto, str(path))
    for file, said in {
        path: r"has 2 inputs \(picture, more\)",
        flat: r"takes float \[1, 64\]",
        tmp_path / "absent.onnx": "There is no model file",
    }.items():
        with pytest.raises(ModelLoadError, match=said):
            read_graph(file, SPEC, BackendOptions())


@given(
    width=st.integers(16, 4000),
    height=st.integers(16, 4000),
    step=st.sampled_from([1, 8, 32]),
    longest=st.integers(32, 1300),
    batch=st.integers(1, 16),
)
def test_every_size_that_a_detector_may_ask_for_is_in_the_range(
    width: int, height: int, step: int, longest: int, batch: int
) -> None:
    spec = ModelSpec(name="m", head="auto", dynamic_size=True, size_multiple=step, input_size=(longest, longest))
    low, usual, high = shape_range((None, 3, None, None), spec, batch)
    asked = (batch, 3, *input_size_for(spec, width, height))
    assert all(a <= n <= b for a, n, b in zip(low, asked, high, strict=True))
    assert all(a <= n <= b for a, n, b in zip(low, usual, high, strict=True))


def test_what_is_stored_stays() -> None:
    spec = ModelSpec(name="m", head="auto", input_size=(480, 640))
    assert shape_range((2, 3, 64, 96), spec, 8) == ((2, 3, 64, 96),) * 3
    assert shape_range((None, 3, None, None), spec, 8) == ((1, 3, 32, 32), (8, 3, 480, 640), (8, 3, 640, 640))
