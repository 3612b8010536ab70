"""The rounds of an update as plain facts, and what a pair costs in each: for people to see why the kernels decided.

The kernels do not use this; a test holds both together.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamtrack.params import TrackerParams
from streamtrack.tracking import _reference, _state, _timed
from streamtrack.tracking._association import Float64Array
from streamtrack.types import CONFIRMED, LOST, TENTATIVE


class Round(NamedTuple):
    """One association of an update: who takes part, and what a match may cost."""

    name: str
    strong: bool
    """Whether its detections score above ``high_thresh``, or below."""
    states: tuple[int, ...]
    growth: float
    """How far both boxes are grown, in standard deviations of the prediction."""
    margin: float
    """How far they are grown besides, px."""
    limit: float
    fused: bool
    """Whether the IoU is multiplied by the score."""
    height_cost: float


def rounds(params: TrackerParams) -> tuple[Round, ...]:
    """Return the rounds of one update, in order."""
    first, fused = params.match_thresh, params.fuse_score
    if params.mode == "reference":
        px = _state.HALF_PX
        return (
            Round("strong", True, (CONFIRMED, LOST), 0.0, px, first, fused, 0.0),
            Round("weak", False, (CONFIRMED,), 0.0, px, _reference.SECOND_LIMIT, False, 0.0),
            Round("tentative", True, (TENTATIVE,), 0.0, px, _reference.UNSURE_LIMIT, fused, 0.0),
        )
    known, grown, tall = (CONFIRMED, LOST), _timed.GROWTH, _timed.HEIGHT_COST
    return (
        Round("strong", True, known, grown, 0.0, first, fused, tall),
        Round("weak", False, known, 0.0, 0.0, _timed.WEAK_LIMIT, False, tall),
        Round("tentative", True, (TENTATIVE,), grown, 0.0, _timed.TENTATIVE_LIMIT, fused, tall),
    )


def pair_costs(
    each: Round, boxes: Float64Array, deviations: Float64Array, others: Float64Array, scores: Float64Array
) -> Float64Array:
    """Return what each pair of a track and a detection costs in a round, classes aside; inf where they do not overlap.

    Args:
        each: the round.
        boxes: (M, 4) expected boxes of the tracks, px.
        deviations: (M,) of them, px.
        others: (N, 4) boxes of the detections, px.
        scores: (N,).

    Returns:
        (M, N).
    """
    grown = (2.0 * (each.growth * deviations + each.margin))[:, None]
    a, b = boxes[:, None, :], others[None, :, :]
    wide = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0]) + grown
    tall = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1]) + grown
    area_a, area_b = ((side[..., 2] - side[..., 0] + grown) * (side[..., 3] - side[..., 1] + grown) for side in (a, b))
    overlap = wide * tall
    with np.errstate(divide="ignore", invalid="ignore"):
        iou = overlap / (area_a + area_b - overlap)
        ratio = (a[..., 3] - a[..., 1]) / (b[..., 3] - b[..., 1])
        cost = 1.0 - iou * (scores if each.fused else 1.0) + each.height_cost * np.abs(np.log(ratio))
    return np.where((wide > 0) & (tall > 0) & np.isfinite(cost), cost, np.inf)
