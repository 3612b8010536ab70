"""Ultra-Light-Fast-Generic-Face-Detector (RFB and slim): a face detector for 320 or 640 px, without keypoints."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from streamtrack.api import Tensors
from streamtrack.models.heads.contract import ANY_SIZE, Candidates, InputSize, Outputs
from streamtrack.models.heads.decoding import by_image, check_cells, reaching
from streamtrack.models.spec import ModelSpec


class RFB:
    """Ultra-Light-Fast-Generic-Face-Detector-1MB (Linzaer, 2019), both its variants, RFB and slim.

    Softmax and the decoding of its priors are inside the model: score = scores[:, 1]; box = x0 y0 x1 y1 as shares of
    the input's width and height.
    """

    conventions: ClassVar[ModelSpec] = ModelSpec(
        name="rfb", head="rfb", input_size=(240, 320), size_multiple=1, mean=127.0, scale=1 / 128
    )
    expects: ClassVar[str] = "scores (.., N, 2) and boxes (.., N, 4), called so"
    classes: int | None = 1
    keypoints: int = 0

    @classmethod
    def bind(cls, outputs: Outputs, input_hw: InputSize = ANY_SIZE) -> RFB | None:
        """Recognise the two outputs by name and last dimension."""
        shapes = dict(outputs)
        if shapes.keys() != {"scores", "boxes"} or any(len(shape) != 3 for shape in shapes.values()):
            return None
        return cls() if (shapes["scores"][2], shapes["boxes"][2]) == (2, 4) else None

    def decode(self, tensors: Tensors, input_hw: tuple[int, int], threshold: float) -> list[Candidates]:
        """Decode; see ``Head.decode``."""
        scores, shares = tensors["scores"][..., 1], tensors["boxes"]
        check_cells("boxes", shares.shape[1], scores.shape[1], input_hw)
        image, row = reaching(scores, threshold)
        size = np.array((input_hw[1], input_hw[0]) * 2, np.float32)
        return by_image(image, len(scores), shares[image, row] * size, scores[image, row])
