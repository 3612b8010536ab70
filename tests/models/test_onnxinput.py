"""What is rewritten answers as the file does, to pictures with their planes first and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from streamtrack.models.onnxinput import take_one_picture

Shape = Sequence[int | str | None]
PLANES: Shape = (None, 3, None, None)


def model_of(nodes: list[onnx.NodeProto], inputs: dict[str, tuple[int, Shape]], *outputs: str) -> onnx.ModelProto:
    """A model that knows the types of its inputs and nothing of its outputs."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def scaled_boxes(picture: Shape = PLANES, sizes: Shape = (None, 2), kind: int = TensorProto.INT64) -> onnx.ModelProto:
    """Give the sizes back as a deployment export scales its boxes by them, and the mean of each plane."""
    nodes = [
        helper.make_node("Cast", ["orig_target_sizes"], ["boxes"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["images"], ["means"], axes=[2, 3], keepdims=0),
    ]
    inputs = {"images": (TensorProto.FLOAT, picture), "orig_target_sizes": (kind, sizes)}
    return model_of(nodes, inputs, "boxes", "means")


def answers(proto: onnx.ModelProto, **feed: np.ndarray) -> list[Any]:
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feed)


def inputs_of(proto: onnx.ModelProto) -> dict[str, list[int | str]]:
    return {v.name: [d.dim_value or d.dim_param for d in v.type.tensor_type.shape.dim] for v in proto.graph.input}


def pictures(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)


@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT])
@pytest.mark.parametrize(("stored", "batch"), [(PLANES, 1), (PLANES, 3), ((1, 3, 32, 64), 1), (("n", 3, 32, 64), 2)])
def test_sizes_are_those_of_the_picture_itself(kind: int, stored: Shape, batch: int) -> None:
    proto = scaled_boxes(stored, (stored[0], 2), kind)
    take_one_picture(proto)
    assert list(inputs_of(proto)) == ["images"]
    boxes, _ = answers(proto, images=pictures(batch, 3, 32, 64))
    assert boxes.tolist() == [[64, 32]] * batch


def test_the_order_of_the_inputs_does_not_matter() -> None:
    proto = scaled_boxes()
    first, second = proto.graph.input
    del proto.graph.input[:]
    proto.graph.input.extend([second, first])
    take_one_picture(proto)
    assert answers(proto, images=pictures(1, 3, 8, 16))[0].tolist() == [[16, 8]]


@pytest.mark.parametrize(
    ("stored", "becomes"),
    [
        ((1, 24, 40, 3), [1, 3, 24, 40]),
        ((None, None, None, 3), ["", 3, "", ""]),
        (("n", "h", "w", 3), ["n", 3, "h", "w"]),
    ],
)
def test_planes_come_first(stored: Shape, becomes: list[int | str]) -> None:
    nodes = [helper.make_node("ReduceMax", ["x"], ["rows"], axes=[2], keepdims=0)]
    proto = model_of(nodes, {"x": (TensorProto.FLOAT, stored)}, "rows")
    picture = pictures(1, 24, 40, 3)
    (wanted,) = answers(proto, x=picture)
    take_one_picture(proto)
    ((name, shape),) = inputs_of(proto).items()
    assert shape == becomes
    (found,) = answers(proto, **{name: np.ascontiguousarray(picture.transpose(0, 3, 1, 2))})
    np.testing.assert_array_equal(found, wanted)


def test_sizes_of_pictures_with_their_channels_last() -> None:
    proto = scaled_boxes((None, None, None, 3))
    take_one_picture(proto)
    ((name, _),) = inputs_of(proto).items()
    boxes, _ = answers(proto, **{name: pictures(2, 3, 8, 16)})
    assert boxes.tolist() == [[16, 8]] * 2


def test_a_branch_still_sees_the_pictures_as_they_were() -> None:
    inside = helper.make_graph(
        [helper.make_node("Shape", ["x"], ["seen"])], "b", [], [helper.make_empty_tensor_value_info("seen")]
    )
    yes = numpy_helper.from_array(np.array(True), "yes")
    nodes = [helper.make_node("If", ["yes"], ["shape"], then_branch=inside, else_branch=inside)]
    proto = model_of(nodes, {"x": (TensorProto.FLOAT, ("n", "h", "w", 3))}, "shape")
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    proto.graph.initializer.append(yes)
    take_one_picture(proto)
    assert answers(proto, streamtrack_planes=pictures(1, 3, 8, 16))[0].tolist() == [1, 8, 16, 3]


@pytest.mark.parametrize("stored", [(1, 3, 24, 40), (1, 3, 40, 3), (None, 3, None, None), (None,) * 4, (1, 64), (3,)])
def test_other_inputs_stay(stored: Shape) -> None:
    proto = model_of([helper.make_node("Identity", ["x"], ["same"])], {"x": (TensorProto.FLOAT, stored)}, "same")
    before = proto.SerializeToString()
    take_one_picture(proto)
    assert proto.SerializeToString() == before


@pytest.mark.parametrize(("name", "shape"), [("im_shape", (1, 2)), ("orig_target_sizes", (1, 4)), ("more", PLANES)])
def test_other_second_inputs_are_left_to_be_refused(name: str, shape: Shape) -> None:
    proto = scaled_boxes()
    proto.graph.input[1].CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    before = proto.SerializeToString()
    take_one_picture(proto)
    assert proto.SerializeToString() == before


def test_weights_among_the_inputs_are_none() -> None:
    proto = scaled_boxes((None, None, None, 3))
    weight = numpy_helper.from_array(np.zeros((1, 2), np.float32), "weight")
    proto.graph.initializer.append(weight)
    proto.graph.input.append(helper.make_tensor_value_info("weight", TensorProto.FLOAT, [1, 2]))
    take_one_picture(proto)
    assert list(inputs_of(proto)) == ["streamtrack_planes"]
