"""Do two runtimes find the same? Boxes matched by overlap, and how far their scores drift."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamtrack.benching.results import Agreement
from streamtrack.benching.tasks import Found

SCORE = 0.3
"""Boxes below this need not be found by the other: at the detector's own threshold they come and go with rounding."""
OVERLAP = 0.5


def agreement(reference: Sequence[Found], found: Sequence[Found]) -> Agreement:
    """Compare detections of the same pictures.

    Args:
        reference: picture by picture.
        found: likewise, in the same order.
    """
    expected = missing = extra = 0
    ious: list[float] = []
    drifts: list[float] = []
    for wanted, seen in zip(reference, found, strict=True):
        overlaps = _overlaps(wanted, seen)
        pairs = _matched(overlaps)
        left, right = {a for a, _ in pairs}, {b for _, b in pairs}
        strong = [row for row, score in enumerate(wanted.scores) if score >= SCORE]
        expected += len(strong)
        missing += sum(row not in left for row in strong)
        extra += sum(row not in right for row, score in enumerate(seen.scores) if score >= SCORE)
        for a, b in pairs:
            if max(wanted.scores[a], seen.scores[b]) >= SCORE:
                ious.append(float(overlaps[a, b]))
                drifts.append(abs(wanted.scores[a] - seen.scores[b]))
    return Agreement(
        expected=expected,
        missing=missing,
        extra=extra,
        mean_iou=round(statistics.fmean(ious), 5) if ious else None,
        worst_iou=round(min(ious), 5) if ious else None,
        max_score_drift=round(max(drifts), 6) if drifts else None,
    )


def _overlaps(a: Found, b: Found) -> NDArray[np.float64]:
    """Return the (len(a), len(b)) matrix of IoU, 0 between boxes of different classes."""
    first = np.array(a.boxes, np.float64).reshape(-1, 1, 4)
    second = np.array(b.boxes, np.float64).reshape(1, -1, 4)
    corners = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    shared = np.clip(corners, 0, None).prod(axis=2)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(axis=2) for boxes in (first, second)]
    union = areas[0] + areas[1] - shared
    same = np.array(a.classes).reshape(-1, 1) == np.array(b.classes).reshape(1, -1)
    iou: NDArray[np.float64] = np.where(same & (union > 0), shared / np.where(union > 0, union, 1), 0.0)
    return iou


def _matched(overlaps: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return pairs that overlap by at least OVERLAP, the best first, each row and column at most once."""
    rows, columns = np.nonzero(overlaps >= OVERLAP)
    order = np.argsort(-overlaps[rows, columns], kind="stable")
    pairs: list[tuple[int, int]] = []
    left: set[int] = set()
    right: set[int] = set()
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in left and column not in right:
            pairs.append((row, column))
            left.add(row)
            right.add(column)
    return pairs
