"""The exports of the YOLO family whose boxes are decoded inside the model: v5, v8 and later, and with NMS inside."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from streamtrack.api import Tensors
from streamtrack.models.classes import COCO
from streamtrack.models.heads.contract import ANY_SIZE, Candidates, InputSize, Outputs
from streamtrack.models.heads.decoding import P5, P6, are_cells, boxes_around, by_image, counts_fit, reaching
from streamtrack.models.spec import ModelSpec
from streamtrack.types import Float32Array, Int64Array

ULTRALYTICS: Final = "output0"
"""What Ultralytics calls its output, and nobody else."""
MOST_QUERIES: Final = 1000
"""More rows than this are cells, not the chosen few of a model that needs no suppression."""
_GREY: Final = 114.0


class YOLOv5:
    """YOLOv5 to v7 as Ultralytics exports them, and every other with the same rows, boxes decoded inside the model.

    Each row is centre x y and size w h in px of the input, objectness, a score for each class; score = objectness *
    best class.
    """

    conventions: ClassVar[ModelSpec] = ModelSpec(name="yolov5", head="yolov5", scale=1 / 255, pad=_GREY, classes=COCO)
    expects: ClassVar[str] = "one output (.., 3 x cells, 5 + classes) for strides 8, 16, 32 (and 64)"
    classes: int | None
    keypoints: int = 0

    def __init__(self, name: str, classes: int | None = None) -> None:
        self._name, self.classes = name, classes

    @classmethod
    def bind(cls, outputs: Outputs, input_hw: InputSize = ANY_SIZE) -> YOLOv5 | None:
        """Recognise one output with three rows for each cell."""
        if len(outputs) != 1 or not channels_fit(outputs[0][1], 6):
            return None
        name, (_, rows, channels) = outputs[0]
        return cls(name, channels and channels - 5) if counts_fit(rows, input_hw, 3, P5, P6) else None

    def decode(self, tensors: Tensors, input_hw: tuple[int, int], threshold: float) -> list[Candidates]:
        """Decode; see ``Head.decode``."""
        found = tensors[self._name]
        image, row, scores, classes = best_of_sure(found, threshold)
        boxes = found[image, row, :4]
        return by_image(image, len(found), boxes_around(boxes[:, :2], boxes[:, 2:]), scores, classes)


class YOLOv8:
    """YOLOv8, v9, v11 and v12 as Ultralytics exports them, with neither objectness nor NMS.

    Each column is centre x y and size w h in px of the input, then a score for each class; score = best class.
    """

    conventions: ClassVar[ModelSpec] = ModelSpec(name="yolov8", head="yolov8", scale=1 / 255, pad=_GREY, classes=COCO)
    expects: ClassVar[str] = "one output (.., 4 + classes, cells) for strides 8, 16, 32 (and 64)"
    classes: int | None
    keypoints: int = 0

    def __init__(self, name: str, classes: int | None = None) -> None:
        self._name, self.classes = name, classes

    @classmethod
    def bind(cls, outputs: Outputs, input_hw: InputSize = ANY_SIZE) -> YOLOv8 | None:
        """Recognise one output with a column for each cell."""
        if len(outputs) != 1 or len(outputs[0][1]) != 3:
            return None
        name, (_, channels, columns) = outputs[0]
        if not channels_fit((None, columns, channels), 5) or not counts_fit(columns, input_hw, 1, P5, P6):
            return None
        return cls(name, channels and channels - 4)

    def decode(self, tensors: Tensors, input_hw: tuple[int, int], threshold: float) -> list[Candidates]:
        """Decode; see ``Head.decode``."""
        found = tensors[self._name]
        scores = found[:, 4:].max(axis=1)
        image, column = reaching(scores, threshold)
        columns = found[image, :, column]
        boxes = boxes_around(columns[:, :2], columns[:, 2:4])
        return by_image(image, len(found), boxes, scores[image, column], columns[:, 4:].argmax(axis=1))


class EndToEnd:
    """YOLOv10, and any YOLO exported with ``nms=True``: a few rows that need no suppression.

    Each row is x0 y0 x1 y1 in px of the input, score, class; rows that are not needed have score 0.
    """

    conventions: ClassVar[ModelSpec] = ModelSpec(
        name="yolo-nms", head="yolo-nms", scale=1 / 255, pad=_GREY, classes=COCO
    )
    expects: ClassVar[str] = f"one output (.., N, 6) of x0 y0 x1 y1 score class, N up to {MOST_QUERIES}"
    classes: int | None = None
    keypoints: int = 0

    def __init__(self, name: str) -> None:
        self._name = name

    @classmethod
    def bind(cls, outputs: Outputs, input_hw: InputSize = ANY_SIZE) -> EndToEnd | None:
        """Recognise one output with a few rows of six."""
        if len(outputs) != 1 or len(outputs[0][1]) != 3:
            return None
        name, (_, rows, channels) = outputs[0]
        few = rows is None or (rows <= MOST_QUERIES and not are_cells(rows, input_hw))
        return cls(name) if channels == 6 and few else None

    def decode(self, tensors: Tensors, input_hw: tuple[int, int], threshold: float) -> list[Candidates]:
        """Decode; see ``Head.decode``."""
        found = tensors[self._name]
        image, row = reaching(found[..., 4], threshold)
        rows = found[image, row]
        sound = np.flatnonzero((rows[:, 5] >= 0) & (rows[:, 5] < np.iinfo(np.int32).max))
        image, rows = image[sound], rows[sound]
        return by_image(image, len(found), rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int32))


def channels_fit(shape: tuple[int | None, ...], least: int) -> bool:
    """Return whether (batch, rows, channels) has at least this many channels, and fewer than rows.

    How many channels a model has never depends on the picture: where only they are free, the shape is another's.
    """
    if len(shape) != 3:
        return False
    _, rows, channels = shape
    if channels is None:
        return rows is None
    return channels >= least and (rows is None or rows > channels)


def best_of_sure(
    found: NDArray[np.float32], threshold: float
) -> tuple[Int64Array, Int64Array, Float32Array, NDArray[np.integer]]:
    """Return image, row, score and class of the rows (B, N, 4 + 1 + classes) whose score reaches the threshold.

    No class is surer than that there is an object at all, so few rows have their classes looked at.
    """
    image, row = reaching(found[..., 4], threshold)
    rows = found[image, row]
    classes = rows[:, 5:].argmax(axis=1)
    scores = rows[:, 4] * rows[np.arange(len(rows)), 5 + classes]
    sure = np.flatnonzero(scores >= threshold)
    return image[sure], row[sure], scores[sure], classes[sure]
