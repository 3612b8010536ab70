"""The scores: HOTA, CLEAR and identity, as TrackEval computes them.

HOTA: Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking", IJCV 2021. CLEAR: Bernardin and
Stiefelhagen, "Evaluating Multiple Object Tracking Performance", 2008. Identity: Ristani et al., "Performance Measures
and a Data Set for Multi-Target, Multi-Camera Tracking", 2016.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import add
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamtrack.evaluation.matching import match
from streamtrack.evaluation.pairing import EPSILON, Sequence

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]

ALPHAS: Final = np.arange(0.05, 0.99, 0.05)  # (19,)
"""Overlaps from which HOTA takes a true box as found; HOTA, DetA, AssA and LocA are means over them."""
THRESHOLD: Final = 0.5
"""The one overlap of CLEAR and of the identity scores."""
_STAY = 1000.0
"""What continuing a match is worth in CLEAR, against an overlap of at most 1."""


class Scores(NamedTuple):
    """The sums that scores are made of. Sums of several sequences are added, and so are the scores of all together.

    Scores are shares, 1 is perfect; ``mota`` may be negative. Without any true box they are 0.
    """

    truth_boxes: int
    track_boxes: int
    truth_ids: int
    track_ids: int
    hota_found: Float64Array  # (19,) matched pairs at each alpha
    association: Float64Array  # (19,) sum over them of their identities' agreement
    localisation: Float64Array  # (19,) sum over them of their overlap
    found: int
    """Matched pairs of CLEAR."""
    overlap: float
    """Sum over them of their overlap."""
    switches: int
    fragments: int
    mostly_tracked: int
    """True identities found in more than 80 % of their frames."""
    mostly_lost: int
    """True identities found in less than 20 % of their frames."""
    identity_found: int
    """Boxes that agree under the best one-to-one matching of whole identities."""

    @property
    def deta_alpha(self) -> Float64Array:
        """Detection accuracy at each alpha, (19,)."""
        return self.hota_found / np.maximum(1.0, self.truth_boxes + self.track_boxes - self.hota_found)

    @property
    def assa_alpha(self) -> Float64Array:
        """Association accuracy at each alpha, (19,)."""
        return self.association / np.maximum(1.0, self.hota_found)

    @property
    def hota_alpha(self) -> Float64Array:
        """HOTA at each alpha, (19,)."""
        return np.sqrt(self.deta_alpha * self.assa_alpha)

    @property
    def hota(self) -> float:
        """Higher order tracking accuracy."""
        return float(self.hota_alpha.mean())

    @property
    def deta(self) -> float:
        """Detection accuracy."""
        return float(self.deta_alpha.mean())

    @property
    def assa(self) -> float:
        """Association accuracy."""
        return float(self.assa_alpha.mean())

    @property
    def loca(self) -> float:
        """Localisation accuracy; 1 where nothing was found."""
        return float((np.maximum(1e-10, self.localisation) / np.maximum(1e-10, self.hota_found)).mean())

    @property
    def false_positives(self) -> int:
        """Boxes of tracks without a true one."""
        return self.track_boxes - self.found

    @property
    def false_negatives(self) -> int:
        """True boxes without a track."""
        return self.truth_boxes - self.found

    @property
    def mota(self) -> float:
        """Multiple object tracking accuracy."""
        if not self.truth_boxes:
            return 0.0
        return (self.found - self.false_positives - self.switches) / self.truth_boxes

    @property
    def motp(self) -> float:
        """Multiple object tracking precision: mean overlap of matched pairs."""
        return self.overlap / max(1, self.found)

    @property
    def idf1(self) -> float:
        """Identity F1."""
        return self.identity_found / max(1.0, 0.5 * (self.truth_boxes + self.track_boxes))

    @property
    def idp(self) -> float:
        """Identity precision."""
        return self.identity_found / max(1, self.track_boxes)

    @property
    def idr(self) -> float:
        """Identity recall."""
        return self.identity_found / max(1, self.truth_boxes)


class _Hota(NamedTuple):
    found: Float64Array
    association: Float64Array
    localisation: Float64Array


class _Clear(NamedTuple):
    found: int
    overlap: float
    switches: int
    fragments: int
    mostly_tracked: int
    mostly_lost: int


def score(sequence: Sequence) -> Scores:
    """Return the scores of one sequence."""
    hota, clear = _hota(sequence), _clear(sequence)
    return Scores(
        truth_boxes=int(sequence.truth_counts.sum()),
        track_boxes=int(sequence.track_counts.sum()),
        truth_ids=len(sequence.truth_counts),
        track_ids=len(sequence.track_counts),
        hota_found=hota.found,
        association=hota.association,
        localisation=hota.localisation,
        found=clear.found,
        overlap=clear.overlap,
        switches=clear.switches,
        fragments=clear.fragments,
        mostly_tracked=clear.mostly_tracked,
        mostly_lost=clear.mostly_lost,
        identity_found=_identity_found(sequence),
    )


def combine(scores: Iterable[Scores]) -> Scores:
    """Return the scores of several sequences taken together: at least one."""
    return Scores(*(reduce(add, column) for column in zip(*scores, strict=True)))


def _hota(sequence: Sequence) -> _Hota:
    # How well two identities agree over the whole sequence decides who is matched with whom in a frame; a pair's
    # overlap counts less there the more others overlap either of the two.
    totals = sequence.truth_counts[:, None] + sequence.track_counts
    shared = np.zeros(totals.shape)
    for truth, tracks, iou in sequence.pairs:
        around = iou.sum(0) + iou.sum(1)[:, None] - iou
        shared[truth[:, None], tracks] += np.divide(iou, around, out=np.zeros_like(iou), where=around > EPSILON)
    agreement = shared / (totals - shared)

    matched = []
    for truth, tracks, iou in sequence.pairs:
        rows, columns = match(agreement[truth[:, None], tracks] * iou)
        matched.append((truth[rows], tracks[columns], iou[rows, columns]))
    if not matched:
        return _Hota(np.zeros(len(ALPHAS)), np.zeros(len(ALPHAS)), np.zeros(len(ALPHAS)))
    truth, tracks, overlap = (np.concatenate(column) for column in zip(*matched, strict=True))

    sums = []
    for alpha in ALPHAS:
        near = overlap >= alpha - EPSILON
        together = np.zeros(totals.shape)
        np.add.at(together, (truth[near], tracks[near]), 1.0)
        association = together * (together / np.maximum(1.0, totals - together))
        sums.append((near.sum(), association.sum(), overlap[near].sum()))
    return _Hota(*np.array(sums, np.float64).T)


def _clear(sequence: Sequence) -> _Clear:
    count = len(sequence.truth_counts)
    # The track of each true identity: when it was last found, and in the frame before (-1: not found there).
    last, before = np.full(count, -1), np.full(count, -1)
    times_found, times_begun = np.zeros(count, np.int64), np.zeros(count, np.int64)
    switches, overlap = 0, 0.0
    for truth, tracks, iou in sequence.pairs:
        worth = _STAY * (tracks == before[truth][:, None]) + iou
        worth[iou < THRESHOLD - EPSILON] = 0.0
        rows, columns = match(worth)
        near = worth[rows, columns] > EPSILON
        rows, columns = rows[near], columns[near]
        found, by = truth[rows], tracks[columns]
        switches += int(((last[found] >= 0) & (last[found] != by)).sum())
        times_found[found] += 1
        times_begun[found] += before[found] < 0
        last[found] = by
        before[:] = -1
        before[found] = by
        overlap += float(iou[rows, columns].sum())
    share = times_found / np.maximum(1, sequence.truth_counts)
    return _Clear(
        found=int(times_found.sum()),
        overlap=overlap,
        switches=switches,
        fragments=int(np.maximum(times_begun - 1, 0).sum()),
        mostly_tracked=int((share > 0.8).sum()),
        mostly_lost=int((share < 0.2).sum()),
    )


def _identity_found(sequence: Sequence) -> int:
    # Leaving two identities unmatched costs all boxes of both, matching them saves each box they share twice: so the
    # cheapest matching is the one that shares the most boxes.
    shared = np.zeros((len(sequence.truth_counts), len(sequence.track_counts)))
    for truth, tracks, iou in sequence.pairs:
        rows, columns = np.nonzero(iou >= THRESHOLD)
        shared[truth[rows], tracks[columns]] += 1.0
    return int(shared[match(shared)].sum())
