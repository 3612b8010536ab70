"""From a frame to a model's input wherever that lies: turned, scaled and normalised in one pass over a small crop.

Only the region that is needed is converted to RGB, at the resolution of the source or, where the input shows it several
times smaller, shrunk by a whole factor on the way, so that the two by two pixels which are then interpolated stand for
all of them.

Importing this imports numba, so it is imported only where it is needed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamtrack.models.alignment import Similarity
from streamtrack.models.spec import ModelSpec
from streamtrack.tracking import kernel
from streamtrack.types import Float32Array, Frame, UInt8Array


class Patch(NamedTuple):
    """A region of a frame in RGB, perhaps smaller than it was."""

    pixels: UInt8Array  # (h, w, 3)
    origin: tuple[int, int]
    """x, y of its top-left corner in the source."""
    shrunk: tuple[float, float]
    """Source px per px of the patch, across and down."""


class Warper:
    """Writes what lies at a place of a frame into a model's input, as its specification says."""

    def __init__(self, spec: ModelSpec) -> None:
        self._mean, self._scale = (
            np.array(np.broadcast_to(np.asarray(value, np.float32), 3)) for value in (spec.mean, spec.scale)
        )
        self._channels = np.array((2, 1, 0) if spec.channels == "bgr" else (0, 1, 2), np.int64)
        self._pad = np.float32(spec.pad)
        # Compiles the kernel, or loads it from the disk: here and not in a frame.
        one = np.zeros((3, 1, 1), np.float32)
        warp(np.zeros((1, 1, 3), np.uint8), np.zeros((2, 3)), self._channels, self._mean, self._scale, self._pad, one)

    def write(self, frame: Frame, place: Similarity, out: Float32Array) -> bool:
        """Write into ``out`` what lies at ``place`` of ``frame``; outside of it there is ``spec.pad``.

        Args:
            frame: the frame.
            place: from px of the input to px of the frame, both by their centres.
            out: (3, height, width), C-contiguous.

        Returns:
            Whether any of the frame is in it; if not, ``out`` is left as it is.
        """
        patch = cut(frame, place, out.shape[1], out.shape[2])
        if patch is None:
            return False
        warp(patch.pixels, _within(patch, place), self._channels, self._mean, self._scale, self._pad, out)
        return True


def cut(frame: Frame, place: Similarity, height: int, width: int) -> Patch | None:
    """Return the part of ``frame`` that an input of this size at ``place`` needs; None where it needs none."""
    with np.errstate(over="ignore", invalid="ignore"):
        corners = place.apply(np.array(((0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1))))
    if not np.isfinite(corners).all():
        return None
    factor = max(int(min(place.scale, frame.width, frame.height)), 1)
    x0, x1 = _span(corners[:, 0], frame.width, factor)
    y0, y1 = _span(corners[:, 1], frame.height, factor)
    if x0 >= x1 or y0 >= y1:
        return None
    size = -(-(x1 - x0) // factor), -(-(y1 - y0) // factor)
    pixels = frame.picture.rgb((x0, y0, x1, y1), size, planar=False)
    return Patch(pixels, (x0, y0), ((x1 - x0) / size[0], (y1 - y0) / size[1]))


def _span(coordinates: NDArray[np.float64], size: int, factor: int) -> tuple[int, int]:
    """Return the first px and the one after the last px that interpolation at ``coordinates`` reads."""
    # What is far outside must not overflow; even numbers of whole squares are shrunk the fast way.
    low, high = np.clip((coordinates.min(), coordinates.max()), -2 * factor - 2, size + 2 * factor + 2)
    unit, margin = (1, 0) if factor == 1 else (2 * factor, factor)
    first, last = int(np.floor(low)) - margin, int(np.floor(high)) + 2 + margin
    return max(first // unit * unit, 0), min(-(-last // unit) * unit, size)


def _within(patch: Patch, place: Similarity) -> NDArray[np.float64]:
    """Return ``place`` as a matrix (2, 3) from px of the input to px of the patch, both by their centres."""
    matrix = np.array(((place.cos, -place.sin, place.right), (place.sin, place.cos, place.down)), np.float64)
    matrix[:, 2] += 0.5 - np.array(patch.origin)
    matrix /= np.array(patch.shrunk)[:, None]
    matrix[:, 2] -= 0.5
    return matrix


@kernel
def warp(
    pixels: UInt8Array,
    matrix: NDArray[np.float64],
    channels: NDArray[np.int64],
    mean: Float32Array,
    scale: Float32Array,
    pad: np.float32,
    out: Float32Array,
) -> None:
    """Interpolate between the four nearest pixels, what is outside being ``pad``; then subtract, scale, and sort.

    Args:
        pixels: (h, w, 3).
        matrix: (2, 3), from (column, row, 1) of ``out`` to column and row of ``pixels``.
        channels: which channel of ``pixels`` goes into each plane of ``out``.
        mean: of each plane of ``out``.
        scale: of each plane of ``out``.
        pad: the value outside of ``pixels``, before mean and scale.
        out: (3, height, width).
    """
    height, width = pixels.shape[0], pixels.shape[1]
    whole = np.float32(1)
    next_one = np.uint32(1)  # unsigned, or every index is first checked for being negative
    for v in range(out.shape[1]):
        for u in range(out.shape[2]):
            x = matrix[0, 0] * u + matrix[0, 1] * v + matrix[0, 2]
            y = matrix[1, 0] * u + matrix[1, 1] * v + matrix[1, 2]
            if 0 <= x < width - 1 and 0 <= y < height - 1:
                column, row = np.uint32(x), np.uint32(y)
                right, down = np.float32(x - column), np.float32(y - row)
                w11 = right * down
                w01, w10 = right - w11, down - w11
                w00 = whole - right - w10
                above, below = pixels[row], pixels[row + next_one]
                for c in range(3):
                    k = channels[c]
                    value = (
                        w00 * above[column, k]
                        + w01 * above[column + next_one, k]
                        + w10 * below[column, k]
                        + w11 * below[column + next_one, k]
                    )
                    out[c, v, u] = (value - mean[c]) * scale[c]
            else:
                first_column, first_row = int(np.floor(x)), int(np.floor(y))
                for c in range(3):
                    value = np.float32(0)
                    for row_near in range(first_row, first_row + 2):
                        for column_near in range(first_column, first_column + 2):
                            weight = np.float32((1 - abs(x - column_near)) * (1 - abs(y - row_near)))
                            if 0 <= row_near < height and 0 <= column_near < width:
                                value += weight * pixels[row_near, column_near, channels[c]]
                            else:
                                value += weight * pad
                    out[c, v, u] = (value - mean[c]) * scale[c]
