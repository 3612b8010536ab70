"""Overlaps, and who is left out before anything is scored."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from streamtrack.errors import ConfigError, SourceError
from streamtrack.evaluation import Tracks, Truth, pair
from streamtrack.evaluation.pairing import iou

BOXES = arrays(np.float64, st.tuples(st.integers(0, 4), st.just(4)), elements=st.integers(-5, 5).map(float))


def naive_iou(a: np.ndarray, b: np.ndarray) -> float:
    """One pair of boxes, corner by corner."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = width * height if width > 0 and height > 0 else 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return shared / (sum(areas) - shared) if min(areas) > 0 else 0.0


@given(BOXES, BOXES)
def test_overlaps_are_those_of_the_twin(a: np.ndarray, b: np.ndarray) -> None:
    assert iou(a, b).tolist() == [[naive_iou(x, y) for y in b] for x in a]


def boxes(*corners: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(corners, np.float64).reshape(-1, 4)


def truth(frames: list[int], ids: list[int], at: np.ndarray, *, excuses: list[bool] | None = None) -> Truth:
    excused = np.array(excuses if excuses else [False] * len(ids), bool)
    return Truth(np.array(frames), np.array(ids), at, ~excused, excused, "mot17")


HERE, NEAR, THERE = (0.0, 0.0, 10.0, 10.0), (0.0, 0.0, 10.0, 9.0), (50.0, 0.0, 60.0, 10.0)


def test_identities_are_numbered_and_only_frames_with_both_are_kept() -> None:
    true = truth([3, 1, 2], [70, 70, 8], boxes(HERE, HERE, THERE))
    found = Tracks(np.array([1, 3, 3, 5]), np.array([900, 900, 2, 2]), boxes(NEAR, HERE, THERE, THERE))
    sequence = pair(true, found)
    assert sequence.truth_counts.tolist() == [1, 2]
    assert sequence.track_counts.tolist() == [2, 2]
    assert [(p.truth.tolist(), p.tracks.tolist(), p.iou.tolist()) for p in sequence.pairs] == [
        ([1], [1], [[0.9]]),
        ([1], [1, 0], [[1.0, 0.0]]),
    ]


def test_a_box_on_a_distractor_is_neither_right_nor_wrong() -> None:
    true = truth([1, 1], [1, 2], boxes(HERE, THERE), excuses=[False, True])
    found = Tracks(np.array([1, 1, 1]), np.array([5, 6, 7]), boxes(HERE, THERE, (50.0, 0.0, 60.0, 4.0)))
    sequence = pair(true, found)
    assert (sequence.truth_counts.tolist(), sequence.track_counts.tolist()) == ([1], [1, 1])
    assert sequence.pairs[0].iou.tolist() == [[1.0, 0.0]]


def test_a_distractor_beside_a_better_match_excuses_nobody() -> None:
    true = truth([1, 1], [1, 2], boxes(HERE, NEAR), excuses=[False, True])
    found = Tracks(np.array([1]), np.array([5]), boxes(HERE))
    assert pair(true, found).track_counts.tolist() == [1]


def test_frames_are_left_out_by_stride_and_by_what_was_looked_at() -> None:
    true = truth([1, 2, 3, 4, 5], [1] * 5, boxes(*[HERE] * 5))
    found = Tracks(np.array([1, 2, 3, 4, 5]), np.array([9] * 5), boxes(*[HERE] * 5))
    assert pair(true, found, stride=2).truth_counts.tolist() == [3]
    looked = found._replace(looked_at=np.array([1, 4, 5]))
    assert pair(true, looked).truth_counts.tolist() == [3]
    assert pair(true, looked, stride=4).track_counts.tolist() == [2]
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        pair(true, found, stride=0)


def test_tracks_beyond_the_end_are_an_error() -> None:
    true = truth([1], [1], boxes(HERE))._replace(frame_count=2)
    found = Tracks(np.array([3]), np.array([1]), boxes(HERE))
    with pytest.raises(SourceError, match="frame 3, but the sequence has 2"):
        pair(true, found)


def test_nothing_against_nothing() -> None:
    nothing = np.empty(0, np.int64)
    sequence = pair(truth([], [], boxes()), Tracks(nothing, nothing, boxes()))
    assert (len(sequence.truth_counts), len(sequence.track_counts), sequence.pairs) == (0, 0, [])
