"""The steps that decoding has in common: cells of a pyramid, boxes around centres, rows to images."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from streamtrack.errors import InferenceError
from streamtrack.models.heads.contract import Candidates, InputSize
from streamtrack.types import Float32Array, Int32Array, Int64Array

P5 = (8, 16, 32)
"""Strides in px of the usual pyramid of feature maps."""
P6 = (8, 16, 32, 64)


def level_shape(input_hw: tuple[int, int], stride: int, *, whole: bool = True) -> tuple[int, int]:
    """Return (rows, columns) of the cells of one stride: ``whole`` ones only, or the cut ones at the edge as well."""
    rows, columns = (side // stride if whole else -(-side // stride) for side in input_hw)
    return rows, columns


def cell_count(input_hw: tuple[int, int], strides: tuple[int, ...], *, whole: bool = True) -> int:
    """Return how many cells a pyramid has."""
    shapes = (level_shape(input_hw, stride, whole=whole) for stride in strides)
    return sum(rows * columns for rows, columns in shapes)


@lru_cache(maxsize=32)
def grid(input_hw: tuple[int, int], strides: tuple[int, ...], *, whole: bool = True) -> Float32Array:
    """Return (N, 3) float32, read-only: column, row and stride of each cell, level by level and row by row."""
    levels = []
    for stride in strides:
        rows, columns = level_shape(input_hw, stride, whole=whole)
        y, x = np.divmod(np.arange(rows * columns), max(columns, 1))
        levels.append(np.stack((x, y, np.full_like(x, stride)), axis=1))
    cells = np.concatenate(levels).astype(np.float32)
    cells.flags.writeable = False
    return cells


def counts_fit(found: int | None, input_hw: InputSize, per_cell: int, *pyramids: tuple[int, ...]) -> bool:
    """Return whether ``found`` predictions are ``per_cell`` for each cell of one of these pyramids.

    Where the input's size is free, it may be any multiple of the coarsest stride.
    """
    if found is None:
        return True
    height, width = input_hw
    if height is not None and width is not None:
        return any(found == per_cell * cell_count((height, width), strides) for strides in pyramids)
    return any(found % (per_cell * cell_count((strides[-1], strides[-1]), strides)) == 0 for strides in pyramids)


def are_cells(count: int, input_hw: InputSize) -> bool:
    """Return whether a model that predicts in each cell of this input would have ``count`` rows or columns."""
    height, width = input_hw
    if height is None or width is None:
        return counts_fit(count, input_hw, 1, P5, P6)
    counts = {cell_count((height, width), strides, whole=whole) for strides in (P5, P6) for whole in (True, False)}
    return count in counts or (count % 3 == 0 and count // 3 in counts)


def check_cells(name: str, found: int, expected: int, input_hw: tuple[int, int]) -> None:
    """Refuse a tensor with another number of cells than its input has.

    Raises:
        InferenceError: it has.
    """
    if found != expected:
        size = f"{input_hw[1]}x{input_hw[0]}"
        raise InferenceError(f"Output '{name}' has {found} cells where an input of {size} gives {expected}.")


def reaching(scores: NDArray[np.float32], threshold: float) -> tuple[Int64Array, Int64Array]:
    """Return image and column of the scores (B, N) that reach the threshold."""
    image, column = np.divmod(np.flatnonzero(scores >= threshold), scores.shape[1])  # far faster than nonzero in 2-D
    return image, column


def rows_reaching(scores: NDArray[np.float32], threshold: float) -> tuple[Int64Array, Int64Array]:
    """Return image and row of those of (B, N, classes) of which any class reaches the threshold."""
    _, rows, classes = scores.shape
    # A quarter of the time of the maxima of all rows.
    image, row = np.divmod(np.unique(np.flatnonzero(scores >= threshold) // classes), rows)
    return image, row


def boxes_around(centres: NDArray[np.float32], sizes: NDArray[np.float32]) -> Float32Array:
    """Return (N, 4) x0 y0 x1 y1 from centres x y and sizes w h, both (N, 2)."""
    half = sizes * np.float32(0.5)
    return np.concatenate((centres - half, centres + half), axis=1)


def boxes_within(points: NDArray[np.float32], distances: NDArray[np.float32]) -> Float32Array:
    """Return (N, 4) x0 y0 x1 y1 from points (N, 2) and their distances (N, 4) to the left, top, right and bottom."""
    return np.concatenate((points - distances[:, :2], points + distances[:, 2:]), axis=1)


def by_image(
    image: Int64Array,
    images: int,
    boxes: Float32Array,
    scores: Float32Array,
    classes: NDArray[np.integer] | None = None,
    keypoints: Float32Array | None = None,
) -> list[Candidates]:
    """Return the candidates of each of ``images``; all of class 0 and without keypoints where none are given."""
    named: Int32Array = np.zeros(len(boxes), np.int32) if classes is None else classes.astype(np.int32)
    points = np.empty((len(boxes), 0, 2), np.float32) if keypoints is None else keypoints
    if images == 1:
        return [Candidates(boxes, scores, named, points)]
    rows = [np.flatnonzero(image == i) for i in range(images)]
    return [Candidates(boxes[r], scores[r], named[r], points[r]) for r in rows]
