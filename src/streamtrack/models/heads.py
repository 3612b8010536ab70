"""Heads: what decodes a model's output tensors into boxes, one small class for each family of models.

A head is bound to the names and shapes of a session's outputs, and then turns tensors into candidates. Candidates are
in pixels of the model's input, unsuppressed (no NMS) and unclamped; ``Detector`` does the rest, which is the same for
every model. Coordinates are continuous: 0 is the left edge of the leftmost pixel, the input's width its right edge.
Whatever numbers a model gives are decoded as they are: infinite and undefined ones are left to the detector too.
"""

from __future__ import annotations

from typing import ClassVar, Final, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamtrack.api import Tensors
from streamtrack.errors import ConfigError, InferenceError, did_you_mean
from streamtrack.models.spec import ModelSpec
from streamtrack.types import Float32Array, Int32Array, Int64Array

Outputs = tuple[tuple[str, tuple[int | None, ...]], ...]
"""Name and shape of each output, as in ``Session.outputs``."""

AUTO: Final = "auto"
"""As ``ModelSpec.head``: the model's outputs shall tell."""


class Candidates(NamedTuple):
    """The N boxes of one image whose score reaches the threshold, in no particular order."""

    boxes: Float32Array  # (N, 4) x0 y0 x1 y1 px of the model's input
    scores: Float32Array  # (N,)
    classes: Int32Array  # (N,)
    keypoints: Float32Array  # (N, K, 2) x y px of the model's input


class Head(Protocol):
    """Decodes the outputs of one family of models."""

    conventions: ClassVar[ModelSpec]
    """What holds for a model of this family of which nothing else is known."""
    expects: ClassVar[str]
    """In words, the outputs it reads."""

    @classmethod
    def bind(cls, outputs: Outputs) -> Head | None:
        """Return a head that reads these outputs, or None where they are not of this family."""
        ...

    def decode(self, tensors: Tensors, input_hw: tuple[int, int], threshold: float) -> list[Candidates]:
        """Return the candidates of each image of a batch.

        Args:
            tensors: outputs by name, each with the batch as first dimension.
            input_hw: (height, width) of the input they came from, in px.
            threshold: lowest score kept.

        Raises:
            InferenceError: the tensors do not belong to an input of this size.
        """
        ...


class YuNet:
    """YuNet (Wu, Peng, Yu: "YuNet: A Tiny Millisecond-level Face Detector", 2023), as its authors export it.

    Anchor-free, strides 8, 16 and 32, one prediction a cell, sigmoids inside the model. With ``s`` the stride and
    (cx, cy) the cell: score = sqrt(cls * obj); centre = ((cx, cy) + bbox[:2]) * s; size = exp(bbox[2:]) * s;
    keypoint = ((cx, cy) + kps) * s. Keypoints in the order of the model: the eye, nose tip and mouth corners as seen
    in the picture, left before right: left eye, right eye, nose, left corner, right corner.
    """

    conventions: ClassVar[ModelSpec] = ModelSpec(name="yunet", head="yunet", channels="bgr", keypoints=5)
    expects: ClassVar[str] = "cls_S (.., 1), obj_S (.., 1), bbox_S (.., 4) and kps_S (.., 10) for S = 8, 16, 32"
    _STRIDES: ClassVar = (8, 16, 32)
    _CHANNELS: ClassVar = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}

    @classmethod
    def bind(cls, outputs: Outputs) -> YuNet | None:
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
        return _split(image, len(tensors["cls_8"]), boxes, scores, keypoints)

    @staticmethod
    def _level(
        tensors: Tensors, stride: int, input_hw: tuple[int, int], threshold: float
    ) -> tuple[Int64Array, Float32Array, Float32Array, Float32Array]:
        columns = input_hw[1] // stride
        cls, obj = tensors[f"cls_{stride}"][..., 0], tensors[f"obj_{stride}"][..., 0]  # (B, cells)
        _check_cells(f"cls_{stride}", cls.shape[1], (input_hw[0] // stride) * columns, input_hw)
        score = np.sqrt(np.maximum(cls * obj, 0.0))
        image, cell = np.divmod(np.flatnonzero(score >= threshold), score.shape[1])  # far faster than nonzero in 2-D
        origin = np.stack((cell % columns, cell // columns), axis=1).astype(np.float32)
        bbox = tensors[f"bbox_{stride}"][image, cell]
        kps = tensors[f"kps_{stride}"][image, cell].reshape(-1, 5, 2)
        boxes = _boxes((origin + bbox[:, :2]) * stride, np.exp(bbox[:, 2:]) * stride)
        return image, boxes, score[image, cell], (kps + origin[:, None]) * np.float32(stride)


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
    _STRIDE: ClassVar = 4

    def __init__(self, heat: str, scale: str, offset: str, keypoints: str) -> None:
        self._names = (heat, scale, offset, keypoints)

    @classmethod
    def bind(cls, outputs: Outputs) -> CenterFace | None:
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
        _check_cells(self._names[0], heat[0, 0].size, rows * columns, input_hw)
        image, y, x = _peaks(heat[:, 0], threshold)
        size = np.exp(scale[image, :, y, x][:, ::-1]) * self._STRIDE  # (N, 2) w h
        shift = offset[image, :, y, x][:, ::-1] + np.float32(0.5)
        boxes = _boxes((np.stack((x, y), axis=1).astype(np.float32) + shift) * self._STRIDE, size)
        shares = landmarks[image, :, y, x].reshape(-1, 5, 2)[..., ::-1]
        keypoints = shares * size[:, None] + boxes[:, None, :2]
        return _split(image, len(heat), boxes, heat[image, 0, y, x], keypoints)


HEADS: Final[dict[str, type[Head]]] = {"yunet": YuNet, "centerface": CenterFace}


def head_named(name: str) -> type[Head]:
    """Return the head called ``name``.

    Raises:
        ConfigError: there is none.
    """
    if name not in HEADS:
        raise ConfigError(f"There is no head '{name}'.{did_you_mean(name, HEADS)} Known: {', '.join(HEADS)}.")
    return HEADS[name]


def recognise(outputs: Outputs) -> str | None:
    """Return the name of the head that reads these outputs, or None."""
    return next((name for name, head in HEADS.items() if head.bind(outputs) is not None), None)


def conventions(head: str, name: str) -> ModelSpec:
    """Return the conventions of a head for a model called ``name``, of which nothing else is known.

    Raises:
        ConfigError: there is no such head.
    """
    return msgspec.structs.replace(head_named(head).conventions, name=name)


def _check_cells(name: str, found: int, expected: int, input_hw: tuple[int, int]) -> None:
    if found != expected:
        size = f"{input_hw[1]}x{input_hw[0]}"
        raise InferenceError(f"Output '{name}' has {found} cells where an input of {size} gives {expected}.")


def _boxes(centres: NDArray[np.float32], sizes: NDArray[np.float32]) -> Float32Array:
    half = sizes * np.float32(0.5)
    return np.concatenate((centres - half, centres + half), axis=1)


_NEIGHBOURS_Y = np.repeat(np.arange(-1, 2), 3)
_NEIGHBOURS_X = np.tile(np.arange(-1, 2), 3)


def _peaks(heat: NDArray[np.float32], threshold: float) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Return image, y and x of the cells of (B, h, w) that reach the threshold and no neighbour exceeds."""
    image, y, x = np.unravel_index(np.flatnonzero(heat >= threshold), heat.shape)
    near_y = np.clip(y[:, None] + _NEIGHBOURS_Y, 0, heat.shape[1] - 1)
    near_x = np.clip(x[:, None] + _NEIGHBOURS_X, 0, heat.shape[2] - 1)
    peak = heat[image[:, None], near_y, near_x].max(axis=1) <= heat[image, y, x]
    return image[peak], y[peak], x[peak]


def _split(
    image: Int64Array, images: int, boxes: Float32Array, scores: Float32Array, keypoints: Float32Array
) -> list[Candidates]:
    """Return the candidates of each image of the batch, all of class 0."""
    classes = np.zeros(len(boxes), np.int32)
    if images == 1:
        return [Candidates(boxes, scores, classes, keypoints)]
    rows = [np.flatnonzero(image == i) for i in range(images)]
    return [Candidates(boxes[r], scores[r], classes[r], keypoints[r]) for r in rows]
