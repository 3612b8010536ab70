"""The matching: the best there is, and among equals the one that scipy (and so TrackEval) takes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

from streamtrack.evaluation.matching import cheapest, match

SHAPES = st.tuples(st.integers(0, 7), st.integers(0, 7))
SMOOTH = arrays(np.float64, SHAPES, elements=st.floats(0, 1))
# Few different values, half of them 0: what overlaps of boxes in whole pixels look like.
TIED = arrays(np.float64, SHAPES, elements=st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0, 1000.5]))


def best_total(scores: np.ndarray) -> float:
    """The slow, obvious twin: try every matching."""
    wide = scores if scores.shape[0] <= scores.shape[1] else scores.T
    rows = range(wide.shape[0])
    return max(
        sum(wide[i, j] for i, j in zip(rows, p, strict=True))
        for p in itertools.permutations(range(wide.shape[1]), len(rows))
    )


@given(st.one_of(SMOOTH, TIED).filter(lambda scores: max(scores.shape) <= 5))
def test_no_matching_is_better(scores: np.ndarray) -> None:
    rows, columns = match(scores)
    assert len(rows) == len(columns) == min(scores.shape)
    assert len(set(columns.tolist())) == len(columns)
    assert scores[rows, columns].sum() == pytest.approx(best_total(scores))


@given(st.one_of(SMOOTH, TIED))
def test_it_is_the_one_that_scipy_takes(scores: np.ndarray) -> None:
    rows, columns = match(scores)
    expected = linear_sum_assignment(-scores)
    assert (rows.tolist(), columns.tolist()) == (expected[0].tolist(), expected[1].tolist())


@pytest.mark.parametrize("shape", [(40, 55), (55, 40), (60, 60)])
def test_it_is_the_one_that_scipy_takes_in_a_crowd(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        scores = np.where(rng.random(shape) < 0.9, 0.0, np.round(rng.random(shape), 1))
        assert np.array_equal(np.array(match(scores)), np.array(linear_sum_assignment(-scores)))


def test_every_memory_layout_is_the_same_kernel() -> None:
    scores = np.random.default_rng(2).random((6, 8))
    for layout in (scores, scores.T, np.asfortranarray(scores), scores[::2, ::2], scores.T[1:]):
        rows, columns = match(layout)
        assert np.array_equal(np.array((rows, columns)), np.array(linear_sum_assignment(-layout)))
    assert len(getattr(cheapest, "signatures", [None])) == 1
