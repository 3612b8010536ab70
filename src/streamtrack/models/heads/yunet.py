"""YuNet: a small face detector with five keypoints."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from streamtrack.api import Tensors
from streamtrack.models.heads.contract import ANY_SIZE, Candidates, InputSize, Outputs
from streamtrack.models.heads.decoding import P5, boxes_around, by_image, check_cells, reaching
from streamtrack.models.spec import ModelSpec
from streamtrack.types import Float32Array, Int64Array


class YuNet:
    """YuNet (Wu, Peng, Yu: "YuNet: A Tiny Millisecond-level Face Detector", 2023), as its authors export it.

    Anchor-free, strides 8, 16 and 32, one prediction a cell, sigmoids inside the model. With ``s`` the stride and
    (cx, cy) the cell: score = sqrt(cls * obj); centre = ((cx, cy) + bbox[:2]) * s; size = exp(bbox[2:]) * s;
    keypoint = ((cx, cy) + kps) * s. Keypoints in the order of the model: the eye, nose tip and mouth corners as seen
    in the picture, left before right: left eye, right eye, nose, left corner, right corner.
    """

    conventions: ClassVar[ModelSpec] = ModelSpec(name="yunet", head="yunet", channels="bgr", keypoints=5)
    expects: ClassVar[str] = "cls_S (.., 1), obj_S (.., 1), bbox_S (.., 4) and kps_S (.., 10) for S = 8, 16, 32"
    classes: int | None = 1
    keypoints: int = 5
    _STRIDES: ClassVar = P5
    _CHANNELS: ClassVar = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}

    @classmethod
    def bind(cls, outputs: Outputs, input_hw: InputSize = ANY_SIZE) -> YuNet | None:
        """Recognise the twelve outputs by name and last dimension."""
        shapes = dict(outputs)
        for kind, channels in cls._CHANNELS.items():
            for stride in cls._STRIDES:
                shape = shapes.get(f"{kind}_{stride}", ())
                if len(shape) != 3 or shape[2] != channels:
                    return None
        return cls()

    def decode(self, tensors: Tensors, input_hw: tuple[int, int], threshold: float) -> list[Candidates]:
        """Decode; see ``Head.decode``."""
        levels = [self._level(tensors, stride, input_hw, threshold) for stride in self._STRIDES]
        image, boxes, scores, keypoints = (np.concatenate(part) for part in zip(*levels, strict=True))
        return by_image(image, len(tensors["cls_8"]), boxes, scores, keypoints=keypoints)

    @staticmethod
    def _level(
        tensors: Tensors, stride: int, input_hw: tuple[int, int], threshold: float
    ) -> tuple[Int64Array, Float32Array, Float32Array, Float32Array]:
        columns = input_hw[1] // stride
        cls, obj = tensors[f"cls_{stride}"][..., 0], tensors[f"obj_{stride}"][..., 0]  # (B, cells)
        check_cells(f"cls_{stride}", cls.shape[1], (input_hw[0] // stride) * columns, input_hw)
        score = np.sqrt(np.maximum(cls * obj, 0.0))
        image, cell = reaching(score, threshold)
        origin = np.stack((cell % columns, cell // columns), axis=1).astype(np.float32)
        bbox = tensors[f"bbox_{stride}"][image, cell]
        kps = tensors[f"kps_{stride}"][image, cell].reshape(-1, 5, 2)
        boxes = boxes_around((origin + bbox[:, :2]) * stride, np.exp(bbox[:, 2:]) * stride)
        return image, boxes, score[image, cell], (kps + origin[:, None]) * np.float32(stride)
