"""CenterFace: a face detector that reads a heatmap, with five keypoints."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from streamtrack.api import Tensors
from streamtrack.models.heads.contract import ANY_SIZE, Candidates, InputSize, Outputs
from streamtrack.models.heads.decoding import boxes_around, by_image, check_cells
from streamtrack.models.spec import ModelSpec
from streamtrack.types import Int64Array


class CenterFace:
    """CenterFace (Xu et al.: "CenterFace: Joint Face Detection and Alignment Using Face as Point", 2019).

    One heatmap at stride 4, its sigmoid inside the model. At cell (x, y): score = heat; size (h, w) = exp(scale) * 4;
    centre (y, x) = (cell + offset + 0.5) * 4; keypoint (y, x) = its share of the size, from the box's top-left corner.
    Only local maxima of the heatmap are read (3 x 3, Zhou et al.: "Objects as Points", 2019): its neighbours describe
    the same face less well. Keypoints in the order of the model: left eye, right eye, nose, left and right corner of
    the mouth, as seen in the picture.
    """

    conventions: ClassVar[ModelSpec] = ModelSpec(name="centerface", head="centerface", dynamic_size=True, keypoints=5)
    expects: ClassVar[str] = (
        "a heatmap (.., 1, h, w), scale (.., 2, h, w), offset (.., 2, h, w), keypoints (.., 10, h, w)"
    )
    classes: int | None = 1
    keypoints: int = 5
    _STRIDE: ClassVar = 4

    def __init__(self, heat: str, scale: str, offset: str, keypoints: str) -> None:
        self._names = (heat, scale, offset, keypoints)

    @classmethod
    def bind(cls, outputs: Outputs, input_hw: InputSize = ANY_SIZE) -> CenterFace | None:
        """Recognise the four outputs by their channels; of the two with two, the scale comes first."""
        if len(outputs) != 4 or any(len(shape) != 4 for _, shape in outputs):
            return None
        ordered = sorted(outputs, key=lambda output: output[1][1] or 0)
        if [shape[1] for _, shape in ordered] != [1, 2, 2, 10]:
            return None
        return cls(*(name for name, _ in ordered))

    def decode(self, tensors: Tensors, input_hw: tuple[int, int], threshold: float) -> list[Candidates]:
        """Decode; see ``Head.decode``."""
        heat, scale, offset, landmarks = (tensors[name] for name in self._names)
        rows, columns = input_hw[0] // self._STRIDE, input_hw[1] // self._STRIDE
        check_cells(self._names[0], heat[0, 0].size, rows * columns, input_hw)
        image, y, x = _peaks(heat[:, 0], threshold)
        size = np.exp(scale[image, :, y, x][:, ::-1]) * self._STRIDE  # (N, 2) w h
        shift = offset[image, :, y, x][:, ::-1] + np.float32(0.5)
        boxes = boxes_around((np.stack((x, y), axis=1).astype(np.float32) + shift) * self._STRIDE, size)
        shares = landmarks[image, :, y, x].reshape(-1, 5, 2)[..., ::-1]
        keypoints = shares * size[:, None] + boxes[:, None, :2]
        return by_image(image, len(heat), boxes, heat[image, 0, y, x], keypoints=keypoints)


_NEIGHBOURS_Y = np.repeat(np.arange(-1, 2), 3)
_NEIGHBOURS_X = np.tile(np.arange(-1, 2), 3)


def _peaks(heat: NDArray[np.float32], threshold: float) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Return image, y and x of the cells of (B, h, w) that reach the threshold and no neighbour exceeds."""
    image, y, x = np.unravel_index(np.flatnonzero(heat >= threshold), heat.shape)
    near_y = np.clip(y[:, None] + _NEIGHBOURS_Y, 0, heat.shape[1] - 1)
    near_x = np.clip(x[:, None] + _NEIGHBOURS_X, 0, heat.shape[2] - 1)
    peak = heat[image[:, None], near_y, near_x].max(axis=1) <= heat[image, y, x]
    return image[peak], y[peak], x[peak]
