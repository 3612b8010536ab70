"""Where a model's input lies in a picture: upright by the keypoints of a face, else a crop around its box.

A place is a similarity from pixels of the input to pixels of the source, both counted by their centres: the pixel in
column u and row v is at (u, v). Keypoints are used as they are, as if they were given so too. That is what OpenCV's
``FaceRecognizerSF.alignCrop`` and InsightFace's ``norm_crop`` do, and so what face models were trained on; taking them
for the continuous coordinates they are would move every crop by half a pixel of the source.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

FACE_POINTS: Final = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""(5, 2) x y: the eyes, the nose tip and the corners of the mouth in an upright picture of 112 x 112 px, left before
right as seen (Deng et al.: "ArcFace", 2019). All heads with five keypoints give them in this order."""

FACE_POINTS.setflags(write=False)
_TEMPLATE_SIDE: Final = 112

_LEAST_SPREAD_PX: Final = 1.0
"""Keypoints closer together than this, as a root mean square from their middle, say nothing: a face of 5 px."""
_LEAST_EXPLAINED: Final = 0.25
"""Share of the keypoints' variance that the template must explain: faces in full profile have a half, mirrored ones a
twentieth."""


class Similarity(NamedTuple):
    """Turns, scales and moves: (x, y) becomes (cos x - sin y + right, sin x + cos y + down)."""

    cos: float
    """Of the angle, times the scale."""
    sin: float
    right: float
    down: float

    @property
    def scale(self) -> float:
        """Length of what had length 1."""
        return math.hypot(self.cos, self.sin)

    def inverse(self) -> Similarity:
        """Return the way back; ``scale`` must not be 0."""
        square = self.cos**2 + self.sin**2
        cos, sin = self.cos / square, -self.sin / square
        return Similarity(cos, sin, sin * self.down - cos * self.right, -sin * self.right - cos * self.down)

    def apply(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Return (N, 2) points moved."""
        x, y = np.asarray(points, np.float64).T
        return np.stack((self.cos * x - self.sin * y + self.right, self.sin * x + self.cos * y + self.down), axis=1)


class Fit(NamedTuple):
    """A similarity and how well it does."""

    similarity: Similarity
    explained: float
    """Share of the target's variance that it explains, in [0, 1]."""
    spread: float
    """Root mean square distance of the fitted points from their middle."""


def fit(points: NDArray[Any], target: NDArray[Any]) -> Fit | None:
    """Return the similarity without reflection that brings ``points`` closest to ``target`` by least squares.

    The solution of Umeyama ("Least-squares estimation of transformation parameters between two point patterns", 1991)
    for the plane, where a turn and a scale are one complex factor and it needs no singular values.

    Args:
        points: (N, 2) x y.
        target: (N, 2), not all equal.

    Returns:
        The fit, or None where ``points`` are not finite, too far out to square, or all equal.
    """
    found, wanted = _complex(points), _complex(target)
    middle, wanted_middle = complex(found.mean()), complex(wanted.mean())
    found, wanted = found - middle, wanted - wanted_middle
    variance = float(np.vdot(found, found).real)
    common = complex(np.vdot(found, wanted))
    if not 0 < variance < math.inf:
        return None
    factor = common / variance
    moved = wanted_middle - factor * middle
    explained = abs(common) ** 2 / (variance * float(np.vdot(wanted, wanted).real))
    similarity = Similarity(factor.real, factor.imag, moved.real, moved.imag)
    return Fit(similarity, explained, math.sqrt(variance / len(points)))


def face_template(height: int, width: int) -> NDArray[np.float64]:
    """Return where the five points of a face belong in an input of this size, (5, 2) x y px.

    The template is scaled with the height and centred across: 96 x 112 gives the narrower template of older models.
    """
    scale = height / _TEMPLATE_SIDE
    template: NDArray[np.float64] = FACE_POINTS * scale
    template[:, 0] += (width - _TEMPLATE_SIDE * scale) / 2
    return template


def face_place(keypoints: NDArray[Any], height: int, width: int) -> Similarity | None:
    """Return where an input of this size lies in the source, so that the face in it is upright and in its place.

    Args:
        keypoints: (5, 2) x y px of the source, in the order of ``FACE_POINTS``.
        height: of the input, in px.
        width: of the input, in px.

    Returns:
        The place, or None where the keypoints are none of a face: not finite, all in one place, or nothing like the
        template however it is turned.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        found = fit(keypoints, face_template(height, width))
    if found is None or found.spread < _LEAST_SPREAD_PX or not found.explained >= _LEAST_EXPLAINED:
        return None
    return found.similarity.inverse()


def box_place(box: NDArray[Any], height: int, width: int, pad: float) -> Similarity:
    """Return where an input of this size lies in the source, so that it shows a box in its middle.

    The aspect of the picture is kept: the input shows more than the box to its sides, or above and below it.

    Args:
        box: x0 y0 x1 y1 px of the source, finite and not empty.
        height: of the input, in px.
        width: of the input, in px.
        pad: grow the box by this share of its size on each side first.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    scale = (1 + 2 * pad) * max((x1 - x0) / width, (y1 - y0) / height)
    return Similarity(scale, 0.0, (x0 + x1 - 1 - scale * (width - 1)) / 2, (y0 + y1 - 1 - scale * (height - 1)) / 2)


def _complex(points: NDArray[Any]) -> NDArray[np.complex128]:
    return np.ascontiguousarray(points, np.float64).view(np.complex128)[:, 0]
