"""YOLOX: a detector of many classes whose cells are decoded outside the model."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import numpy as np

from streamtrack.api import Tensors
from streamtrack.models.classes import COCO
from streamtrack.models.heads.contract import ANY_SIZE, Candidates, InputSize, Outputs
from streamtrack.models.heads.decoding import P5, boxes_around, by_image, check_cells, counts_fit, grid
from streamtrack.models.heads.yolo import ULTRALYTICS, YOLOv5, best_of_sure, channels_fit
from streamtrack.models.spec import ModelSpec


class YOLOX:
    """YOLOX (Ge et al., 2021) as its authors and the OpenCV zoo export it, without ``--decode_in_inference``.

    Anchor-free, strides 8, 16 and 32, sigmoids inside the model. Each row is x y w h, objectness, a score for each
    class. With ``s`` the stride and (cx, cy) the cell: score = objectness * best class; centre = ((cx, cy) + xy) * s;
    size = exp(wh) * s.
    """

    conventions: ClassVar[ModelSpec] = ModelSpec(name="yolox", head="yolox", channels="bgr", pad=114.0, classes=COCO)
    expects: ClassVar[str] = "one output (.., cells, 5 + classes) for strides 8, 16, 32, boxes not decoded"
    classes: int | None
    keypoints: int = 0

    def __init__(self, name: str, classes: int | None = None) -> None:
        self._name, self.classes = name, classes

    @classmethod
    def bind(cls, outputs: Outputs, input_hw: InputSize = ANY_SIZE) -> YOLOX | None:
        """Recognise one output with a row for each cell."""
        if len(outputs) != 1 or outputs[0][0] == ULTRALYTICS or not channels_fit(outputs[0][1], 6):
            return None
        name, (_, rows, channels) = outputs[0]
        return cls(name, channels and channels - 5) if counts_fit(rows, input_hw, 1, P5) else None

    def decode(self, tensors: Tensors, input_hw: tuple[int, int], threshold: float) -> list[Candidates]:
        """Decode; see ``Head.decode``."""
        found = tensors[self._name]
        cells = grid(input_hw, P5)
        check_cells(self._name, found.shape[1], len(cells), input_hw)
        image, row, scores, classes = best_of_sure(found, threshold)
        boxes, origins, strides = found[image, row, :4], cells[row, :2], cells[row, 2:]
        placed = boxes_around((origins + boxes[:, :2]) * strides, np.exp(boxes[:, 2:]) * strides)
        return by_image(image, len(found), placed, scores, classes)


class DecodedYOLOX(YOLOv5):
    """YOLOX exported with ``--decode_in_inference``: boxes in px of the input, in rows as those of YOLOv5.

    Its outputs look like those of ``YOLOX``, so that it has to be asked for.
    """

    conventions: ClassVar[ModelSpec] = msgspec.structs.replace(
        YOLOX.conventions, name="yolox-decoded", head="yolox-decoded"
    )
    expects: ClassVar[str] = "one output (.., cells, 5 + classes) for strides 8, 16, 32, boxes decoded"

    @classmethod
    def bind(cls, outputs: Outputs, input_hw: InputSize = ANY_SIZE) -> DecodedYOLOX | None:
        """Take what ``YOLOX`` takes."""
        bound = YOLOX.bind(outputs, input_hw)
        return cls(outputs[0][0], bound.classes) if bound else None
