"""RetinaFace: a face detector with five keypoints."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar

import numpy as np

from streamtrack.api import Tensors
from streamtrack.models.heads.contract import ANY_SIZE, Candidates, InputSize, Outputs
from streamtrack.models.heads.decoding import P5, boxes_around, by_image, check_cells, grid, reaching
from streamtrack.models.spec import ModelSpec
from streamtrack.types import Float32Array

_SIDES = {8: (16, 32), 16: (64, 128), 32: (256, 512)}
_CENTRE_VARIANCE, _SIZE_VARIANCE = np.float32(0.1), np.float32(0.2)


class RetinaFace:
    """RetinaFace (Deng et al., 2019), as the PyTorch reimplementation of biubug6 exports it.

    Two square priors a cell at strides 8, 16 and 32, softmax inside the model. With (px, py) the prior's centre
    ``(cell + 0.5) * stride`` and s its side: score = conf[:, 1]; centre = (px, py) + loc[:2] * 0.1 * s;
    size = s * exp(loc[2:] * 0.2); keypoint = (px, py) + landms * 0.1 * s. Keypoints in the order of the model: left
    eye, right eye, nose, left and right corner of the mouth, as seen in the picture.
    """

    conventions: ClassVar[ModelSpec] = ModelSpec(
        name="retinaface", head="retinaface", channels="bgr", mean=(104.0, 117.0, 123.0), keypoints=5
    )
    expects: ClassVar[str] = "locations (.., N, 4), softmax scores (.., N, 2) and landmarks (.., N, 10)"
    classes: int | None = 1
    keypoints: int = 5

    def __init__(self, loc: str, conf: str, landms: str) -> None:
        self._names = (loc, conf, landms)

    @classmethod
    def bind(cls, outputs: Outputs, input_hw: InputSize = ANY_SIZE) -> RetinaFace | None:
        """Recognise the three outputs by their last dimension."""
        by_channels = {shape[-1]: name for name, shape in outputs if len(shape) == 3}
        if len(outputs) != 3 or by_channels.keys() != {4, 2, 10}:
            return None
        return cls(by_channels[4], by_channels[2], by_channels[10])

    def decode(self, tensors: Tensors, input_hw: tuple[int, int], threshold: float) -> list[Candidates]:
        """Decode; see ``Head.decode``."""
        loc, conf, landms = (tensors[name] for name in self._names)
        priors = _priors(input_hw)
        check_cells(self._names[1], conf.shape[1], len(priors), input_hw)
        scores = conf[..., 1]
        image, row = reaching(scores, threshold)
        centres, sides = priors[row, :2], priors[row, 2:]
        shifts, keypoints = loc[image, row], landms[image, row].reshape(-1, 5, 2)
        reach = sides * _CENTRE_VARIANCE
        boxes = boxes_around(centres + shifts[:, :2] * reach, sides * np.exp(shifts[:, 2:] * _SIZE_VARIANCE))
        points = centres[:, None] + keypoints * reach[:, None]
        return by_image(image, len(scores), boxes, scores[image, row], keypoints=points)


@lru_cache(maxsize=32)
def _priors(input_hw: tuple[int, int]) -> Float32Array:
    """Return (N, 3): x, y and side in px of each prior."""
    cells = np.repeat(grid(input_hw, P5, whole=False), 2, axis=0)
    sides = np.array([_SIDES[int(stride)] for stride in cells[::2, 2]], np.float32).reshape(-1)
    return np.concatenate(((cells[:, :2] + np.float32(0.5)) * cells[:, 2:], sides[:, None]), axis=1)
