"""How much every track's box overlaps every true one, frame by frame, after the benchmark's rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamtrack.errors import ConfigError, SourceError
from streamtrack.evaluation.boxes import Tracks, Truth
from streamtrack.evaluation.matching import match

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]

EPSILON = float(np.finfo(np.float64).eps)
EXCUSED_FROM = 0.5
"""IoU with a distractor from which a track's box may be left out."""


class Pairs(NamedTuple):
    """One frame in which there are both: n true boxes and m of tracks."""

    truth: Int64Array  # (n,) numbers of the identities, from 0
    tracks: Int64Array  # (m,) likewise
    iou: Float64Array  # (n, m)


class Sequence(NamedTuple):
    """All that the scores need to know of a sequence, G true identities and T tracks."""

    truth_counts: Int64Array  # (G,) boxes of each identity
    track_counts: Int64Array  # (T,) boxes of each track
    pairs: list[Pairs]
    """Only the frames in which there are both."""


def iou(a: Float64Array, b: Float64Array) -> Float64Array:
    """Return (n, m), the intersection over union of each box of ``a`` (n, 4) with each of ``b`` (m, 4), x0 y0 x1 y1."""
    size = np.minimum(a[:, None, 2:], b[:, 2:]) - np.maximum(a[:, None, :2], b[:, :2])
    np.maximum(size, 0.0, out=size)
    shared = size[..., 0] * size[..., 1]
    area_a = ((a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1]))[:, None]
    area_b = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    union = area_a + area_b - shared
    valid = (area_a > EPSILON) & (area_b > EPSILON) & (union > EPSILON)
    ratio: Float64Array = np.divide(shared, union, out=np.zeros_like(shared), where=valid)
    return ratio


def pair(truth: Truth, tracks: Tracks, stride: int = 1) -> Sequence:
    """Apply the benchmark's rules and compute the overlaps.

    Args:
        truth: ground truth.
        tracks: what was found. Where it knows which frames were looked at, the others are left out.
        stride: leave out all frames but 1, 1 + stride, 1 + 2 stride, ...

    Raises:
        ConfigError: ``stride`` is below 1.
        SourceError: there are tracks beyond the end of the sequence.
    """
    if stride < 1:
        raise ConfigError(f"The stride must be at least 1, got {stride}.")
    last = int(tracks.frames.max(initial=0))
    if truth.frame_count and last > truth.frame_count:
        raise SourceError(f"The tracks have a frame {last}, but the sequence has {truth.frame_count}.")
    wanted = [_wanted(frames, tracks.looked_at, stride) for frames in (truth.frames, tracks.frames)]
    true_rows, track_rows = (np.flatnonzero(rows) for rows in wanted)
    true_rows = true_rows[np.argsort(truth.frames[true_rows], kind="stable")]
    track_rows = track_rows[np.argsort(tracks.frames[track_rows], kind="stable")]
    kept = np.ones(len(track_rows), bool)
    frames: list[tuple[slice, slice, Float64Array]] = []
    for mine, theirs in _frames_with_both(truth.frames[true_rows], tracks.frames[track_rows]):
        overlap = iou(truth.boxes[true_rows[mine]], tracks.boxes[track_rows[theirs]])
        kept[theirs] = ~_excused(overlap, truth.excuses[true_rows[mine]])
        frames.append((mine, theirs, overlap))
    counted = truth.counts[true_rows]
    true_ids, truth_counts = _numbered(truth.ids[true_rows], counted)
    track_ids, track_counts = _numbered(tracks.ids[track_rows], kept)
    pairs = [
        Pairs(true_ids[mine][counted[mine]], track_ids[theirs][kept[theirs]], overlap[counted[mine]][:, kept[theirs]])
        for mine, theirs, overlap in frames
    ]
    return Sequence(truth_counts, track_counts, [p for p in pairs if p.iou.size])


def _wanted(frames: Int64Array, looked_at: Int64Array | None, stride: int) -> NDArray[np.bool_]:
    wanted: NDArray[np.bool_] = (frames - 1) % stride == 0
    return wanted if looked_at is None else wanted & np.isin(frames, looked_at)


def _frames_with_both(a: Int64Array, b: Int64Array) -> Iterator[tuple[slice, slice]]:
    """Yield the rows of each frame number that is in both; both ascend."""
    both = np.intersect1d(a, b)
    bounds = [np.searchsorted(frames, both, side).tolist() for frames in (a, b) for side in ("left", "right")]
    for a0, a1, b0, b1 in zip(*bounds, strict=True):
        yield slice(a0, a1), slice(b0, b1)


def _excused(overlap: Float64Array, excuses: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (m,) whether a track's box, matched to all that is there, is matched to what excuses it."""
    excused = np.zeros(overlap.shape[1], bool)
    if excuses.any():
        enough = np.where(overlap < EXCUSED_FROM - EPSILON, 0.0, overlap)
        rows, columns = match(enough)
        excused[columns[excuses[rows] & (enough[rows, columns] > EPSILON)]] = True
    return excused


def _numbered(ids: Int64Array, kept: NDArray[np.bool_]) -> tuple[Int64Array, Int64Array]:
    """Number the ids that are left from 0 in ascending order; return (N,) numbers and how often each occurs."""
    left, counts = np.unique(ids[kept], return_counts=True)
    return np.searchsorted(left, ids), counts
