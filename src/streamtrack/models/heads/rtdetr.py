"""RT-DETR and D-FINE: transformers that give a few hundred boxes and need no suppression."""

from __future__ import annotations

import math
from typing import ClassVar

import msgspec
import numpy as np

from streamtrack.api import Tensors
from streamtrack.models.classes import COCO
from streamtrack.models.heads.contract import ANY_SIZE, Candidates, InputSize, Outputs
from streamtrack.models.heads.decoding import are_cells, boxes_around, by_image, check_cells, reaching
from streamtrack.models.heads.yolo import MOST_QUERIES, EndToEnd
from streamtrack.models.spec import ModelSpec

_FEWEST_QUERIES = 100
_NAMES = (("logits", "pred_boxes"), ("pred_logits", "pred_boxes"))


class RTDETR:
    """RT-DETR (Zhao et al., 2023), its second version and D-FINE (Peng et al., 2024), without their postprocessor.

    Each query has a logit for each class and a box, centre x y and size w h as shares of the input's sides; score =
    sigmoid(logit). Ultralytics' export has both in one output, its sigmoids inside the model. A query is one object, so
    its best class alone is taken; the authors' best 300 of all queries and classes differ only where one query reaches
    the threshold in two classes.
    """

    conventions: ClassVar[ModelSpec] = ModelSpec(name="rtdetr", head="rtdetr", scale=1 / 255, classes=COCO)
    expects: ClassVar[str] = (
        "logits (or pred_logits) (.., N, classes) and pred_boxes (.., N, 4), "
        f"or one output (.., N, 4 + classes), N up to {MOST_QUERIES}, 3 classes or more"
    )
    classes: int | None
    keypoints: int = 0

    def __init__(self, boxes: str, logits: str | None = None, classes: int | None = None) -> None:
        """Read ``boxes`` and ``logits``; without ``logits``, scores as well from the columns behind the boxes."""
        self._boxes, self._logits, self.classes = boxes, logits, classes

    @classmethod
    def bind(cls, outputs: Outputs, input_hw: InputSize = ANY_SIZE) -> RTDETR | None:
        """Recognise the two outputs by name, or the single one by its few rows."""
        shapes = dict(outputs)
        if any(len(shape) != 3 for shape in shapes.values()):
            return None
        if len(outputs) == 1:
            name, (_, rows, channels) = outputs[0]
            if rows is None or channels is None or not _FEWEST_QUERIES <= rows <= MOST_QUERIES:
                return None
            if not 6 < channels <= MOST_QUERIES or are_cells(rows, input_hw) or are_cells(channels, input_hw):
                return None
            return cls(name, None, channels - 4)
        names = next((pair for pair in _NAMES if shapes.keys() == set(pair)), None)
        if names is None or shapes[names[1]][2] not in (4, None):
            return None
        return cls(names[1], names[0], shapes[names[0]][2])

    def decode(self, tensors: Tensors, input_hw: tuple[int, int], threshold: float) -> list[Candidates]:
        """Decode; see ``Head.decode``."""
        shares = tensors[self._boxes]
        if self._logits is None:
            shares, values = shares[..., :4], shares[..., 4:]
            image, row = reaching(values.max(axis=2), threshold)
            scores = values[image, row]
        else:
            values = tensors[self._logits]
            check_cells(self._boxes, shares.shape[1], values.shape[1], input_hw)
            # A little below, since what is compared in the end are the scores themselves.
            image, row = reaching(values.max(axis=2), _logit(threshold) - 1e-3)
            scores = 1 / (1 + np.exp(-values[image, row]))
            sure = np.flatnonzero(scores.max(axis=1) >= threshold) if len(row) else np.empty(0, np.int64)
            image, row, scores = image[sure], row[sure], scores[sure]
        classes = scores.argmax(axis=1)
        boxes = shares[image, row] * np.array((input_hw[1], input_hw[0]) * 2, np.float32)
        placed = boxes_around(boxes[:, :2], boxes[:, 2:])
        return by_image(image, len(shares), placed, scores[np.arange(len(row)), classes], classes)


class ChosenRTDETR(EndToEnd):
    """RT-DETR as Ultralytics exports it since 2026: the best of all queries and classes, chosen inside the model.

    Each row is centre x y and size w h as shares of the input's sides, score, class. Its outputs look like those of
    ``EndToEnd``.
    """

    conventions: ClassVar[ModelSpec] = msgspec.structs.replace(
        RTDETR.conventions, name="rtdetr-chosen", head="rtdetr-chosen"
    )
    expects: ClassVar[str] = (
        f"one output (.., N, 6) of centre x y, size w h as shares, score, class, N up to {MOST_QUERIES}"
    )

    @classmethod
    def bind(cls, outputs: Outputs, input_hw: InputSize = ANY_SIZE) -> ChosenRTDETR | None:
        """Take what ``EndToEnd`` takes."""
        return cls(outputs[0][0]) if EndToEnd.bind(outputs, input_hw) else None

    def decode(self, tensors: Tensors, input_hw: tuple[int, int], threshold: float) -> list[Candidates]:
        """Decode; see ``Head.decode``."""
        size = np.array((input_hw[1], input_hw[0]) * 2, np.float32)
        found = super().decode(tensors, input_hw, threshold)
        placed = [each.boxes * size for each in found]
        return [
            each._replace(boxes=boxes_around(boxes[:, :2], boxes[:, 2:]))
            for each, boxes in zip(found, placed, strict=True)
        ]


class ScaledRTDETR:
    """RT-DETR, its second version, D-FINE and DEIM as their authors export them, with their postprocessor.

    The best 300 of all queries and classes: x0 y0 x1 y1 scaled by ``orig_target_sizes``, for which a session gives the
    input's own size (``models.onnxinput``), score and class.
    """

    conventions: ClassVar[ModelSpec] = msgspec.structs.replace(
        RTDETR.conventions, name="rtdetr-scaled", head="rtdetr-scaled"
    )
    expects: ClassVar[str] = "labels (.., N), boxes (.., N, 4) in px of the input and scores (.., N)"
    classes: int | None = None
    keypoints: int = 0

    @classmethod
    def bind(cls, outputs: Outputs, input_hw: InputSize = ANY_SIZE) -> ScaledRTDETR | None:
        """Recognise the three outputs by name."""
        ranks = {name: len(shape) for name, shape in outputs}
        if ranks != {"labels": 2, "boxes": 3, "scores": 2} or dict(outputs)["boxes"][2] not in (4, None):
            return None
        return cls()

    def decode(self, tensors: Tensors, input_hw: tuple[int, int], threshold: float) -> list[Candidates]:
        """Decode; see ``Head.decode``."""
        scores = tensors["scores"]
        image, row = reaching(scores, threshold)
        found = (tensors[name][image, row] for name in ("boxes", "scores", "labels"))
        return by_image(image, len(scores), *found)


def _logit(score: float) -> float:
    return math.log(score / (1 - score)) if 0 < score < 1 else math.copysign(math.inf, score - 0.5)
