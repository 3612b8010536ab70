"""Real models small enough to write down: one finds white squares on a dark ground, one tells pictures apart.

They need no download and no training, so a test of the whole pipeline runs anywhere; the detector's outputs are those
of CenterFace.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from streamtrack.types import UInt8Array

SIDE = 32
"""Side in px of the squares it finds, in its own input."""
_STRIDE = 4


def write_square_detector(path: Path) -> Path:
    """Write the model to ``path`` and return it.

    Its score is the mean brightness of the SIDE x SIDE px around a cell: 1 where a white square fills them, less the
    further off.
    """
    margin = (SIDE - _STRIDE) // 2
    nodes = [
        helper.make_node("Gather", ["image", "red"], ["channel"], axis=1),
        helper.make_node("Mul", ["channel", "unit"], ["light"]),
        helper.make_node(
            "AveragePool", ["light"], ["heat"], kernel_shape=[SIDE, SIDE], strides=[_STRIDE] * 2,
            pads=[margin] * 4, count_include_pad=1,
        ),
        helper.make_node("Mul", ["heat", "none"], ["zero"]),
        helper.make_node("Add", ["zero", "log_size"], ["scale"]),
        helper.make_node("Concat", ["zero", "zero"], ["offset"], axis=1),
        helper.make_node("Add", ["zero", "corners"], ["keypoints"]),
    ]  # fmt: skip
    constants = {
        "red": np.array([0], np.int64),
        "unit": np.float32(1 / 255),
        "none": np.float32(0),
        "log_size": np.full((1, 2, 1, 1), np.log(SIDE / _STRIDE), np.float32),
        "corners": np.full((1, 10, 1, 1), 0.5, np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "squares",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, "height", "width"])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", channels, "rows", "columns"])
            for name, channels in (("heat", 1), ("scale", 2), ("offset", 2), ("keypoints", 10))
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def write_quarters_embedder(path: Path, side: int = 16) -> Path:
    """Write to ``path`` a model that maps a picture of ``side`` px squared to the means of its quarters, 12 numbers."""
    half = side // 2
    nodes = [
        helper.make_node("AveragePool", ["image"], ["quarters"], kernel_shape=[half, half], strides=[half, half]),
        helper.make_node("Flatten", ["quarters"], ["vector"]),
    ]
    graph = helper.make_graph(
        nodes,
        "quarters",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, side, side])],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["batch", 12])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def square_frames(
    count: int, paths: Sequence[tuple[float, float, float, float]], *, width: int = 640, height: int = 384
) -> Iterator[UInt8Array]:
    """Yield RGB pictures (height, width, 3) with a white square for each of ``paths``.

    Args:
        count: how many pictures.
        paths: x, y of the top-left corner in picture 0, and how many px it moves a picture in x and in y.
        width: of the pictures; 640 keeps the size at which the model looks at them.
        height: of the pictures.
    """
    for index in range(count):
        picture = np.full((height, width, 3), 16, np.uint8)
        for x, y, dx, dy in paths:
            left, top = round(x + index * dx), round(y + index * dy)
            picture[max(top, 0) : max(top + SIDE, 0), max(left, 0) : max(left + SIDE, 0)] = 255
        yield picture
