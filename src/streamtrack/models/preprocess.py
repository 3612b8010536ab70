"""From frames to a model's input: letterbox, channel order, mean and scale.

The picture is scaled with its aspect kept and put into the top-left corner of the input; what it does not cover is
padding, below or to the right. Coordinates are continuous (0 is the left edge of the leftmost pixel), so no half pixel
enters the way back: source = input * scale, for each axis with its own scale, because the scaled size is whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamtrack.models.spec import ModelSpec
from streamtrack.types import Float32Array, Frame

THUMBNAIL_ROWS, THUMBNAIL_COLUMNS = 18, 32


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where a picture lies in an input: its top-left ``width`` x ``height`` px."""

    width: int
    height: int
    scale_x: float
    """Source px per input px, horizontally."""
    scale_y: float

    @classmethod
    def fit(cls, source: tuple[int, int], room: tuple[int, int]) -> Letterbox:
        """Return the largest that shows ``source`` (width, height) with its aspect within ``room`` (width, height)."""
        shrink = min(room[0] / source[0], room[1] / source[1])
        width = min(max(round(source[0] * shrink), 1), room[0])
        height = min(max(round(source[1] * shrink), 1), room[1])
        return cls(width, height, source[0] / width, source[1] / height)


def input_size_for(spec: ModelSpec, width: int, height: int) -> tuple[int, int]:
    """Return the (height, width) of a free input for pictures of ``width`` x ``height``.

    The longer side is that of ``spec.input_size``; the other follows the picture's aspect. Both are rounded up to
    ``spec.size_multiple``.
    """
    longest = max(spec.input_size)
    fitted = Letterbox.fit((width, height), (longest, longest))
    rows, columns = (-(-side // spec.size_multiple) * spec.size_multiple for side in (fitted.height, fitted.width))
    return rows, columns


class InputBuffer:
    """A preallocated batch of one input size, float32 (batch, 3, height, width)."""

    def __init__(self, spec: ModelSpec, batch: int, input_hw: tuple[int, int]) -> None:
        self.height, self.width = input_hw
        self._array = np.empty((batch, 3, self.height, self.width), np.float32)
        self._placed: list[Letterbox | None] = [None] * batch
        self._bgr = spec.channels == "bgr"
        self._mean, self._scale = _of_channels(spec.mean), _of_channels(spec.scale)
        self._plain = spec.mean == 0.0 and spec.scale == 1.0
        self._sample_points: dict[Letterbox, NDArray[np.intp]] = {}
        self._pad = (np.float32(spec.pad) - self._mean) * self._scale

    def write(self, slot: int, frame: Frame) -> Letterbox:
        """Write a frame into row ``slot`` of the batch and return where it lies."""
        box = Letterbox.fit((frame.width, frame.height), (self.width, self.height))
        planes = frame.scaled(box.width, box.height).transpose(2, 0, 1)
        target = self._array[slot]
        if self._placed[slot] != box:
            target[...] = self._pad
            self._placed[slot] = box
        inner = target[:, : box.height, : box.width]
        np.copyto(inner, planes[::-1] if self._bgr else planes)
        if not self._plain:
            inner -= self._mean
            inner *= self._scale
        return box

    def thumbnail(self, slot: int) -> Float32Array:
        """Return the picture that was last written into row ``slot``, small: RGB (3, 18, 32), 0..255."""
        box = self._placed[slot]
        if box is None:
            raise ValueError(f"nothing was written into row {slot}")
        if box not in self._sample_points:
            self._sample_points = {box: _sample_points(box, self.height, self.width)}
        picked = self._array[slot].ravel().take(self._sample_points[box])
        rows = picked[:, ::2] + picked[:, 1::2]
        small: Float32Array = (rows[..., ::2] + rows[..., 1::2]) * np.float32(0.25)
        if not self._plain:
            small /= self._scale
            small += self._mean
        return small[::-1] if self._bgr else small

    def batch(self, size: int) -> Float32Array:
        """Return the first ``size`` rows, a contiguous view that the next ``write`` overwrites."""
        return self._array[:size]


def _of_channels(value: float | tuple[float, float, float]) -> NDArray[np.float32]:
    """Return what goes with planes of all three channels: a number, or (3, 1, 1)."""
    array = np.asarray(value, np.float32)
    return array.reshape(-1, 1, 1) if array.ndim else array


def _sample_points(box: Letterbox, height: int, width: int) -> NDArray[np.intp]:
    """Return where in a planar input the thumbnail's points lie: 2 x 2 in each of its pixels."""
    rows, columns = (
        ((np.arange(2 * count) + 0.5) * side / (2 * count)).astype(np.intp)
        for count, side in ((THUMBNAIL_ROWS, box.height), (THUMBNAIL_COLUMNS, box.width))
    )
    plane = rows[:, None] * width + columns
    return plane + np.arange(3)[:, None, None] * height * width
