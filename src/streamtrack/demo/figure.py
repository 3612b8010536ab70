"""A person of the demo as geometry and as paint: the same affine map places the picture, the face's box and its mask.

A pose is (x, y, size, tilt): centre of the face and its height in px of the frame, and degrees clockwise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from streamtrack.demo.portraits import Box, Portrait, body_mask, face_mask
from streamtrack.demo.scenery import FRONT_TOP, HEIGHT, WIDTH

Pose = NDArray[np.float64]  # (4,) x y size tilt
Matrix = NDArray[np.float64]  # (2, 3) affine
Region = tuple[int, int, int, int]

COARSE = 4
"""Visibility is measured on a grid of every fourth pixel."""
_COPIES = (1.0, 0.7, 0.5, 0.35)


class Figure:
    """Where a person is in the frame, and what of the frame they cover."""

    def __init__(self, portrait: Portrait) -> None:
        self.portrait = portrait
        x0, y0, x1, y1 = portrait.face
        self._centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
        self._half = np.array([(x1 - x0) / 2, (y1 - y0) / 2])
        self._masks = [_resized(mask, 1 / COARSE) for mask in (body_mask(portrait), face_mask(portrait))]

    def scale(self, pose: Pose) -> float:
        """Return px of the frame per px of the portrait."""
        return float(pose[2] / (2 * self._half[1]))

    def to_frame(self, pose: Pose) -> Matrix:
        """Return the map from the portrait's px to the frame's."""
        angle = np.radians(pose[3])
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * self.scale(pose)
        return np.column_stack([turn, pose[:2] - turn @ self._centre])

    def face_box(self, pose: Pose) -> Box:
        """Return the tight box around the face's ellipse, x0 y0 x1 y1 px of the frame."""
        half = np.hypot(*(self.to_frame(pose)[:, :2] * self._half).T)
        x0, y0, x1, y1 = (round(float(v), 2) for v in (*(pose[:2] - half), *(pose[:2] + half)))
        return x0, y0, x1, y1

    def coarse_masks(self, pose: Pose) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return how much of each cell of the coarse grid the person covers, and the face alone, 0 to 1."""
        matrix = self.to_frame(pose)
        matrix[:, 2] /= COARSE
        region = (0, 0, WIDTH // COARSE, HEIGHT // COARSE)
        body, face = (np.asarray(_warped(mask, matrix, region)) / 255.0 for mask in self._masks)
        return body, face

    def coarse_face_area(self, pose: Pose) -> float:
        """Return the area of the whole face, seen or not, in cells of the coarse grid."""
        return float(np.pi * self._half.prod() * (self.scale(pose) / COARSE) ** 2)


class Painter:
    """Puts a person's picture into frames, in the light of a place."""

    def __init__(self, figure: Figure, picture: Image.Image, light: tuple[float, float, float]) -> None:
        """Prepare ``picture``, the RGBA cut-out of the figure's portrait."""
        self._figure = figure
        gains = [*light, 1.0]
        bands = [band.point([round(v * k) for v in range(256)]) for band, k in zip(picture.split(), gains, strict=True)]
        lit = Image.merge("RGBA", bands)
        # Smaller copies, because an affine transform does not average what it skips.
        self._copies = [(scale, _resized(lit, scale)) for scale in _COPIES]

    def paint(self, canvas: Image.Image, pose: Pose) -> None:
        """Put the person into ``canvas``."""
        matrix = self._figure.to_frame(pose)
        region = _covered(matrix, self._copies[0][1].size, (WIDTH, FRONT_TOP))
        if region is None:
            return
        wanted = 0.95 * self._figure.scale(pose)
        scale, copy = next((c for c in reversed(self._copies) if c[0] >= wanted), self._copies[0])
        part = _warped(copy, matrix @ np.diag([1 / scale, 1 / scale, 1.0]), region)
        canvas.paste(part, region, part)


def _resized(picture: Image.Image, scale: float) -> Image.Image:
    size = round(picture.width * scale), round(picture.height * scale)
    return picture if scale == 1.0 else picture.resize(size, Image.Resampling.LANCZOS)


def _covered(matrix: Matrix, size: tuple[int, int], frame: tuple[int, int]) -> Region | None:
    """Return the part of the frame that a picture of ``size`` covers, or None."""
    w, h = size
    corners = matrix @ np.array([[0, w, w, 0], [0, 0, h, h], [1, 1, 1, 1]])
    x0, y0 = (int(v) for v in np.maximum(np.floor(corners.min(axis=1)), 0))
    x1, y1 = (int(v) for v in np.minimum(np.ceil(corners.max(axis=1)), frame))
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def _warped(picture: Image.Image, matrix: Matrix, region: Region) -> Image.Image:
    """Return ``region`` of the frame, with ``picture`` mapped into it by ``matrix``."""
    x0, y0, x1, y1 = region
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]])) @ [[1, 0, x0], [0, 1, y0], [0, 0, 1]]
    return picture.transform(
        (x1 - x0, y1 - y0), Image.Transform.AFFINE, inverse[:2].ravel().tolist(), Image.Resampling.BILINEAR
    )
