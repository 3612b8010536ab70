"""SCRFD: a face detector with or without five keypoints."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from streamtrack.api import Tensors
from streamtrack.models.heads.contract import ANY_SIZE, Candidates, InputSize, Outputs
from streamtrack.models.heads.decoding import P5, boxes_within, by_image, check_cells, level_shape, reaching
from streamtrack.models.spec import ModelSpec
from streamtrack.types import Float32Array, Int64Array

_Levels = tuple[tuple[str, ...], ...]


class SCRFD:
    """SCRFD (Guo et al.: "Sample and Computation Redistribution for Efficient Face Detection", 2021), by InsightFace.

    Two anchors a cell at strides 8, 16 and 32, or one at 8 to 128; sigmoids inside the model. With ``s`` the stride and
    (cx, cy) the cell: the anchor lies at (cx, cy) * s; box = the anchor less and plus its distances * s; keypoint =
    anchor + kps * s. Keypoints in the order of the model: left eye, right eye, nose, left and right corner of the
    mouth, as seen in the picture. Its authors' files have no batch dimension: the rows of all images of a batch follow
    each other.
    """

    conventions: ClassVar[ModelSpec] = ModelSpec(name="scrfd", head="scrfd", mean=127.5, scale=1 / 128, keypoints=5)
    expects: ClassVar[str] = (
        "for S = 8, 16, 32 (or 8 to 128), finest first: scores (.., 1), boxes (.., 4) and, with keypoints, (.., 10)"
    )
    classes: int | None = 1
    keypoints: int
    _STRIDES: ClassVar = {3: P5, 5: (8, 16, 32, 64, 128)}

    def __init__(self, scores: tuple[str, ...], boxes: tuple[str, ...], keypoints: tuple[str, ...] = ()) -> None:
        self._levels: _Levels = tuple(zip(scores, boxes, *(keypoints,) * bool(keypoints), strict=True))
        self._strides: tuple[int, ...] = self._STRIDES[len(scores)]
        self.keypoints = 5 if keypoints else 0
        self._anchors = 2 if len(scores) == 3 else 1

    @classmethod
    def bind(cls, outputs: Outputs, input_hw: InputSize = ANY_SIZE) -> SCRFD | None:
        """Recognise three or five levels of scores, boxes and perhaps keypoints by their last dimension."""
        if any(len(shape) not in (2, 3) for _, shape in outputs):
            return None
        kinds = [[output for output in outputs if output[1][-1] == channels] for channels in (1, 4, 10)]
        levels = len(kinds[0])
        if levels not in cls._STRIDES or sum(map(len, kinds)) != len(outputs):
            return None
        if len(kinds[1]) != levels or len(kinds[2]) not in (0, levels):
            return None
        return cls(*(tuple(name for name, _ in sorted(kind, key=_finest_first)) for kind in kinds))

    def decode(self, tensors: Tensors, input_hw: tuple[int, int], threshold: float) -> list[Candidates]:
        """Decode; see ``Head.decode``."""
        levels = [
            self._level([tensors[name] for name in names], names[0], stride, input_hw, threshold)
            for names, stride in zip(self._levels, self._strides, strict=True)
        ]
        images = {count for *_, count in levels}
        if len(images) != 1:
            check_cells(self._levels[0][0], max(images), min(images), input_hw)
        image, boxes, scores, keypoints = (np.concatenate(part) for part in list(zip(*levels, strict=True))[:4])
        return by_image(image, images.pop(), boxes, scores, keypoints=keypoints)

    def _level(
        self, found: list[NDArray[np.float32]], name: str, stride: int, input_hw: tuple[int, int], threshold: float
    ) -> tuple[Int64Array, Float32Array, Float32Array, Float32Array, int]:
        rows, columns = level_shape(input_hw, stride, whole=False)
        expected = rows * columns * self._anchors
        images = max(found[0].size // expected, 1)
        for tensor, channels in zip(found, (1, 4, 10), strict=False):
            check_cells(name, tensor.size // channels, images * expected, input_hw)
        score, bbox = found[0].reshape(images, expected), found[1].reshape(images, expected, 4)
        image, row = reaching(score, threshold)
        cell = row // self._anchors
        anchors = np.stack((cell % columns, cell // columns), axis=1).astype(np.float32)
        boxes = boxes_within(anchors, bbox[image, row]) * np.float32(stride)
        keypoints = np.empty((len(row), 0, 2), np.float32)
        if len(found) == 3:
            shifts = found[2].reshape(images, expected, 5, 2)[image, row]
            keypoints = (anchors[:, None] + shifts) * np.float32(stride)
        return image, boxes, score[image, row], keypoints, images


def _finest_first(output: tuple[str, tuple[int | None, ...]]) -> int:
    """Sort by falling number of cells, or by the stride at the end of the name; else leave the order as it is."""
    name, shape = output
    ending = name.rpartition("_")[2]
    return -(shape[-2] or 0) if shape[-2] else int(ending) if ending.isdecimal() else 0
