"""A model in half precision says nearly what it said before, and one that would not is left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from streamtrack_tensorrt.halving import halved


def make(nodes: list[onnx.NodeProto], weights: dict[str, Any], shape: tuple[int, ...] = (1, 3, 8, 8)) -> bytes:
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        tensors,
    )
    model: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10
    ).SerializeToString()
    return model


def run(model: bytes, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    found: np.ndarray[Any, Any] = session.run(["y"], {"x": x})[0]
    return found


RNG = np.random.default_rng(0)
CONV = {"w": RNG.normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32), "b": RNG.normal(0, 1, 4).astype(np.float32)}


def test_a_network_with_its_scales_and_constants() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Resize", ["r", "", "scales"], ["big"], mode="nearest"),
        helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(np.float32(0.25))),
        helper.make_node("Mul", ["big", "k"], ["m"]),
        helper.make_node("Cast", ["m"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Sigmoid", ["f"], ["y"]),
    ]
    model = make(nodes, CONV | {"scales": np.array([1, 1, 2, 2], np.float32)})
    half, reason = halved(model)
    assert reason == ""
    kinds = {weight.name: weight.data_type for weight in onnx.load_from_string(half).graph.initializer}
    assert kinds == {"w": TensorProto.FLOAT16, "b": TensorProto.FLOAT16, "scales": TensorProto.FLOAT}
    x = RNG.uniform(0, 1, (1, 3, 8, 8)).astype(np.float32)
    found = run(half, x)
    assert (found.dtype, found.shape) == (np.float32, (1, 4, 16, 16))
    np.testing.assert_allclose(found, run(model, x), atol=2e-3)
    assert not np.array_equal(found, run(model, x))


def test_the_input_may_be_an_output_s_neighbour() -> None:
    half, reason = halved(make([helper.make_node("Identity", ["x"], ["y"])], {}))
    assert reason == ""
    np.testing.assert_array_equal(run(half, np.full((1, 3, 8, 8), 255, np.float32)), 255)


@pytest.mark.parametrize(
    ("nodes", "weights", "reason"),
    [
        ([helper.make_node("Round", ["x"], ["y"])], {}, "it holds Round"),
        ([helper.make_node("Mine", ["x"], ["y"], domain="my.own")], {}, "it holds Mine"),
        ([helper.make_node("Mul", ["x", "k"], ["y"])], {"k": np.float32(1e5)}, "its weights are too large"),
        (
            [
                helper.make_node("Mul", ["one", "one"], ["scales"]),
                helper.make_node("Resize", ["x", "", "scales"], ["y"]),
            ],
            {"one": np.ones(4, np.float32)},
            "the scales of its Resize are computed",
        ),
    ],
)
def test_what_is_left_alone(nodes: list[onnx.NodeProto], weights: dict[str, Any], reason: str) -> None:
    assert halved(make(nodes, weights)) == (b"", reason)
