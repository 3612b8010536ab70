"""How much a picture of a detection is worth: sharpness x size x confidence x pose, each in [0, 1].

Each factor is 1 where more of it gains nothing, and 0 where nothing is left of it. Their product is strict on purpose:
no factor makes up for another, so a picture that is below a bar in one of them is below it in all.

Importing this imports numba, so it is imported only where it is needed.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamtrack.models.alignment import FACE_POINTS, fit
from streamtrack.tracking import kernel
from streamtrack.types import Float32Array, Frame, UInt8Array

SIDE: Final = 64
"""Sharpness is measured in a picture of this many px squared with the crop's aspect, whatever the crop's size."""
_LEAST_SIDE: Final = 4
_BLANK: Final = 2.0
"""Standard deviation of luma, of 255 levels, under which a picture shows nothing."""
_SHARP: Final = 0.7
"""Focus of a sharp face: photographs have 0.8 to 1.3, blurred by 2 % of the face's width 0.5, by 4 % 0.2."""
_FULL_SIDE_PX: Final = 112.0
"""What face recognition looks at (Deng et al.: "ArcFace", 2019): a larger face tells it no more."""
_FULL_SCORE: Final = 0.9
_TURNED, _FRONTAL = 0.78, 0.95
"""What the template explains of a face that is turned by 60 degrees, and by 30, of usual proportions; of a full profile
it is a half."""


class Quality(NamedTuple):
    """The factors and their product, each in [0, 1]."""

    sharpness: float
    """0 only where the picture is blank."""
    size: float
    confidence: float
    pose: float
    total: float

    def seen(self, pixels: UInt8Array) -> Quality:
        """Return the same with the sharpness of its picture, (h, w, 3) RGB at source resolution; the rest is as it was.

        Sharpness is how fine the edges are, not how strong: the energy of the picture's Laplacian over that of its
        gradient (two of the focus measures in Pertuz et al.: "Analysis of focus measure operators for
        shape-from-focus", 2013; the quotient is the mean square frequency of the gradient). It depends neither on
        brightness nor on contrast, and no blur raises it.
        """
        sharpness = _up_to_one(focus(pixels) / _SHARP)
        return self._replace(sharpness=sharpness, total=sharpness * self.size * self.confidence * self.pose)

    def rounded(self) -> dict[str, float]:
        """Return it as records have it."""
        return {name: round(value, 4) for name, value in self._asdict().items()}


def at_best(score: float, keypoints: NDArray[Any], side: float) -> Quality:
    """Return what a picture of a detection is worth if it is sharp; no pixel is looked at.

    Whatever is ``seen`` in it then, no number becomes larger: one that is not good enough at best need not be cut out.

    Size is the square root of the face's shorter side over 112 px, confidence the score over 0.9, and pose how much of
    the keypoints a frontal face explains (``models.alignment.fit``): 1 up to about 30 degrees from the camera, 0.7 at
    45, 0 from 60 on, at any tilt.

    Args:
        score: of the detection, in [0, 1].
        keypoints: (K, 2) x y px, wherever their origin is; where they are not the five of a face, pose is 1.
        side: ``shorter_side`` of its box, in source px.
    """
    size = math.sqrt(_up_to_one(side / _FULL_SIDE_PX))
    confidence = _up_to_one(score / _FULL_SCORE)
    pose = 1.0 if len(keypoints) != len(FACE_POINTS) else _frontal(keypoints)
    return Quality(1.0, size, confidence, pose, size * confidence * pose)


def shorter_side(box: NDArray[Any], frame: Frame) -> float:
    """Return the shorter side of what of ``box`` is within ``frame``, in px; 0 or less where nothing is."""
    x0, y0, x1, y1 = (float(v) for v in box)
    return min(min(x1, frame.width) - max(x0, 0.0), min(y1, frame.height) - max(y0, 0.0))


def warm_up() -> None:
    """Compile the kernels, or load them from the disk."""
    # Black above white: of a blank picture not all is measured.
    focus(np.array([[[0] * 3], [[255] * 3]], np.uint8))


def focus(pixels: UInt8Array) -> float:
    """Return how fine the edges in a picture (h, w, 3) RGB are: up to about 2; 0 where it is blank."""
    height, width = pixels.shape[:2]
    stretch = math.sqrt(height / width)
    small = np.empty((max(round(SIDE * stretch), _LEAST_SIDE), max(round(SIDE / stretch), _LEAST_SIDE)), np.float32)
    shrink(pixels, small)
    if not small.std() >= _BLANK:
        return 0.0
    return float(fineness(small))


def _up_to_one(value: float) -> float:
    return min(float(value), 1.0) if value > 0 else 0.0


def _frontal(keypoints: NDArray[Any]) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        found = fit(keypoints, FACE_POINTS)
    return 0.0 if found is None else _up_to_one((found.explained - _TURNED) / (_FRONTAL - _TURNED))


@kernel
def triangle(source: int, target: int) -> tuple[NDArray[np.int64], Float32Array]:
    """Return the filter that brings ``source`` px to ``target``: linear interpolation, widened where it shrinks.

    Returns:
        For each target px the first source px it reads, and (target, taps) weights that sum to 1 in each row.
    """
    scale = source / target
    reach = max(scale, 1.0)
    taps = min(int(np.ceil(2 * reach)) + 1, source)
    first = np.empty(target, np.int64)
    weights = np.zeros((target, taps), np.float32)
    for u in range(target):
        middle = (u + 0.5) * scale
        first[u] = min(max(int(np.floor(middle - reach)), 0), source - taps)
        total = 0.0
        for k in range(taps):
            weight = max(1 - abs(first[u] + k + 0.5 - middle) / reach, 0.0)
            weights[u, k] = weight
            total += weight
        weights[u] /= total
    return first, weights


@kernel
def shrink(pixels: UInt8Array, out: Float32Array) -> None:
    """Write the luma (BT.601) of ``pixels`` (h, w, 3) RGB into ``out``, at its size."""
    height, width = pixels.shape[0], pixels.shape[1]
    luma = np.empty((height, width), np.float32)
    for y in range(height):
        for x in range(width):
            luma[y, x] = (
                np.float32(0.299) * pixels[y, x, 0]
                + np.float32(0.587) * pixels[y, x, 1]
                + np.float32(0.114) * pixels[y, x, 2]
            )
    # Down first: whole rows are added at the speed of vectors, and there are fewer left to go across.
    rows, down = triangle(height, out.shape[0])
    columns, across = triangle(width, out.shape[1])
    low = np.zeros((out.shape[0], width), np.float32)
    for v in range(out.shape[0]):
        for k in range(down.shape[1]):
            for x in range(width):
                low[v, x] += down[v, k] * luma[rows[v] + k, x]
        for u in range(out.shape[1]):
            value = np.float32(0)
            for k in range(across.shape[1]):
                value += across[u, k] * low[v, columns[u] + k]
            out[v, u] = value


@kernel
def laplacian(picture: Float32Array, out: Float32Array) -> None:
    """Write the sum of the differences to the (two to four) neighbours of every pixel."""
    height, width = picture.shape
    for v in range(height):
        above, below = max(v - 1, 0), min(v + 1, height - 1)
        for u in range(width):
            left, right = max(u - 1, 0), min(u + 1, width - 1)
            around = picture[above, u] + picture[below, u] + picture[v, left] + picture[v, right]
            out[v, u] = around - np.float32(4) * picture[v, u]


@kernel
def fineness(picture: Float32Array) -> float:
    """Return the energy of the Laplacian over that of the gradient, once noise is smoothed a little; 0 if flat.

    Smoothing is a step of diffusion. That, the Laplacian and the gradient share their eigenvectors (cosines), so one
    step more can only lower the quotient: it takes more from what is finer.
    """
    height, width = picture.shape
    curved = np.empty_like(picture)
    laplacian(picture, curved)
    smooth = picture + curved / np.float32(8)
    laplacian(smooth, curved)
    fine, coarse = 0.0, 0.0
    for v in range(height):
        for u in range(width):
            fine += curved[v, u] * curved[v, u]
            # The energy of the gradient, by parts: what the Laplacian takes away from the picture.
            coarse -= curved[v, u] * (smooth[v, u] - smooth[0, 0])
    return fine / coarse if coarse > 0 else 0.0
