"""NanoDet: a small detector of many classes that gives each side of a box as a distribution."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from streamtrack.api import Tensors
from streamtrack.models.classes import COCO
from streamtrack.models.heads.contract import ANY_SIZE, Candidates, InputSize, Outputs
from streamtrack.models.heads.decoding import P6, boxes_within, by_image, cell_count, check_cells, grid, rows_reaching
from streamtrack.models.heads.yolo import ULTRALYTICS, channels_fit
from streamtrack.models.spec import ModelSpec
from streamtrack.types import Float32Array

_BINS = 8
_SIDES = 4 * _BINS


class NanoDet:
    """NanoDet-Plus (RangiLyu, 2021), in one output as its author exports it or in eight as the OpenCV zoo does.

    Anchor-free, strides 8 to 64, sigmoids inside the model. With ``s`` the stride and (cx, cy) the cell, which lies at
    (cx, cy) * s: score = best class; each distance to left, top, right and bottom is the mean of 0..7 under the softmax
    of its eight numbers, * s (Li et al.: "Generalized Focal Loss", 2020).
    """

    conventions: ClassVar[ModelSpec] = ModelSpec(
        name="nanodet",
        head="nanodet",
        input_size=(416, 416),
        channels="bgr",
        mean=(103.53, 116.28, 123.675),
        scale=(1 / 57.375, 1 / 57.12, 1 / 58.395),
        classes=COCO,
    )
    expects: ClassVar[str] = (
        "one output (.., cells, classes + 32) for strides 8, 16, 32, 64, or for each of them scores (.., classes) "
        "followed by distances (.., 32)"
    )
    classes: int | None
    keypoints: int = 0

    def __init__(self, names: tuple[str, ...], classes: int | None = None) -> None:
        self._names, self.classes = names, classes

    @classmethod
    def bind(cls, outputs: Outputs, input_hw: InputSize = ANY_SIZE) -> NanoDet | None:
        """Recognise one output with a row for each cell, or four pairs of them."""
        names = tuple(name for name, _ in outputs)
        if len(outputs) == 1:
            name, shape = outputs[0]
            fits = name != ULTRALYTICS and channels_fit(shape, _SIDES + 1) and _fits(shape[1], input_hw)
            return cls(names, shape[2] and shape[2] - _SIDES) if fits else None
        last = [shape[-1] if len(shape) in (2, 3) else None for _, shape in outputs]
        if len(outputs) != 2 * len(P6) or last[1::2] != [_SIDES] * len(P6) or len(set(last[::2])) != 1 or not last[0]:
            return None
        return cls(names, last[0])

    def decode(self, tensors: Tensors, input_hw: tuple[int, int], threshold: float) -> list[Candidates]:
        """Decode; see ``Head.decode``."""
        found = [_of_images(tensors[name]) for name in self._names]
        if len(found) == 1:
            scores, sides = found[0][..., :-_SIDES], found[0][..., -_SIDES:]
        else:
            scores, sides = (np.concatenate(part, axis=1) for part in (found[::2], found[1::2]))
        cells = grid(input_hw, P6, whole=False)
        check_cells(self._names[0], scores.shape[1], len(cells), input_hw)
        image, row = rows_reaching(scores, threshold)
        place, stride, sure = cells[row, :2], cells[row, 2:], scores[image, row]
        boxes = boxes_within(place, _means(sides[image, row]))
        return by_image(image, len(scores), boxes * stride, sure.max(axis=1), sure.argmax(axis=1))


def _fits(rows: int | None, input_hw: InputSize) -> bool:
    """Return whether there is a row for each cell, the cut ones at the edge included (416 px are 7 of 64)."""
    height, width = input_hw
    if rows is None:
        return True
    return height is not None and width is not None and rows == cell_count((height, width), P6, whole=False)


def _of_images(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give a tensor of one image without a batch dimension one."""
    return tensor if tensor.ndim == 3 else tensor[None]


def _means(sides: NDArray[np.float32]) -> Float32Array:
    """Return (N, 4) the means of the distributions whose logits are (N, 4 * 8)."""
    logits = sides.reshape(-1, 4, _BINS)
    weights = np.exp(logits - logits.max(axis=2, keepdims=True))
    means: Float32Array = (weights @ np.arange(_BINS, dtype=np.float32)) / weights.sum(axis=2)
    return means
