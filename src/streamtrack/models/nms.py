"""Non-maximum suppression in numpy: greedy, or soft (Bodla et al., ICCV 2017).

Measured against a numba kernel: for the few dozen candidates that thresholded heads leave, the numpy calls cost some
40 us, next to an inference of milliseconds, and nothing has to be compiled.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamtrack.params import DetectorParams
from streamtrack.types import Float32Array, Int32Array, Int64Array

_BLOCK = 128
_TINY = 1e-300


def nms(boxes: Float32Array, scores: Float32Array, classes: Int32Array, iou: float, limit: int) -> Int64Array:
    """Return the rows that survive, strongest first.

    Walks the boxes by falling score (of equal scores the earlier row first) and keeps one unless it overlaps a kept
    box of its own class by more than ``iou``. Works in blocks, so that memory stays small for any number of boxes, and
    stops as soon as ``limit`` are kept.

    Args:
        boxes: (N, 4) x0 y0 x1 y1, finite.
        scores: (N,).
        classes: (N,).
        iou: largest intersection over union two boxes of one class may have.
        limit: keep at most this many.
    """
    order = np.argsort(-scores, kind="stable")
    kept = np.empty(0, np.int64)
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        if len(kept):
            covered = _overlaps(boxes[block], boxes[kept], classes[block], classes[kept], iou).any(axis=1)
            block = block[~covered]
        inside = _overlaps(boxes[block], boxes[block], classes[block], classes[block], iou)
        kept = np.concatenate((kept, block[_survivors(inside)]))
        if len(kept) >= limit:
            return kept[:limit]
    return kept


def soft_nms(
    boxes: Float32Array, scores: Float32Array, classes: Int32Array, sigma: float, least: float, limit: int
) -> tuple[Int64Array, Float32Array]:
    """Return the rows that survive and their lowered scores, strongest first.

    Takes the strongest box (of equal ones the earlier row) and multiplies the score of every other box of its class by
    ``exp(-IoU^2 / sigma)``, until ``limit`` are taken or none scores ``least``: the Gaussian Soft-NMS of Bodla et al.,
    2017. Takes a step per box it returns.

    Args:
        boxes: (N, 4) x0 y0 x1 y1, finite.
        scores: (N,).
        classes: (N,).
        sigma: above 0; the larger, the gentler.
        least: boxes whose score falls below this go.
        limit: return at most this many.
    """
    candidates = np.flatnonzero(scores >= np.float32(least))
    lowered, kinds = scores[candidates].astype(np.float64), classes[candidates]
    x0, y0, x1, y1 = np.ascontiguousarray(boxes[candidates].T, np.float64)
    areas = (x1 - x0) * (y1 - y0)
    rows: list[int] = []
    taken: list[float] = []
    while len(rows) < min(limit, len(candidates)):
        k = int(lowered.argmax())
        if lowered[k] < np.float32(least):
            break
        rows.append(k)
        taken.append(lowered[k])
        inter = np.maximum(np.minimum(x1, x1[k]) - np.maximum(x0, x0[k]), 0.0)
        inter *= np.maximum(np.minimum(y1, y1[k]) - np.maximum(y0, y0[k]), 0.0)
        # Two boxes without an area share nothing.
        shared = inter / np.maximum(areas + areas[k] - inter, _TINY)
        shared *= kinds == kinds[k]
        lowered *= np.exp(shared * shared / -sigma)
        lowered[k] = -1.0
    return candidates[rows], np.array(taken, np.float32)


def suppress(
    boxes: Float32Array, scores: Float32Array, classes: Int32Array, params: DetectorParams
) -> tuple[Int64Array, Float32Array]:
    """Return the rows that survive what ``params`` ask for, strongest first, and their scores then."""
    if params.nms == "soft":
        return soft_nms(boxes, scores, classes, params.soft_nms_sigma, params.floor, params.max_detections)
    kept = nms(boxes, scores, classes, params.nms_iou, params.max_detections)
    return kept, scores[kept]


def _overlaps(
    a: Float32Array, b: Float32Array, a_classes: Int32Array, b_classes: Int32Array, iou: float
) -> NDArray[np.bool_]:
    """Return (len(a), len(b)): whether two boxes are of one class and overlap by more than ``iou``."""
    ax0, ay0, ax1, ay1 = a.T[:, :, None]
    bx0, by0, bx1, by1 = b.T[:, None, :]
    width = np.maximum(np.minimum(ax1, bx1) - np.maximum(ax0, bx0), 0.0)
    height = np.maximum(np.minimum(ay1, by1) - np.maximum(ay0, by0), 0.0)
    inter = width * height
    union = (ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - inter
    over: NDArray[np.bool_] = inter > np.float32(iou) * union
    over &= a_classes[:, None] == b_classes
    return over


def _survivors(overlaps: NDArray[np.bool_]) -> list[int]:
    """Return the rows kept by walking a symmetric matrix of overlaps from the top."""
    # One whole number for each row: or-ing two of them is faster than any numpy call on so little.
    masks = [int.from_bytes(row, "little") for row in np.packbits(overlaps, axis=1, bitorder="little")]
    suppressed = 0
    kept = []
    for row, mask in enumerate(masks):
        if not suppressed >> row & 1:
            kept.append(row)
            suppressed |= mask
    return kept
