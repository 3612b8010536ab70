"""The costs that people are told are those by which the kernels decide."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.params import TrackerParams
from streamtrack.tracking._association import Float64Array
from streamtrack.tracking.rounds import Round, pair_costs, rounds
from streamtrack.tracking.tracker import ByteTracker, Expected
from streamtrack.types import Detections, TrackUpdate

EXACT = 1e-9


def crowd(seed: int, frames: int = 12, people: int = 12) -> list[Detections]:
    """People that walk through a small picture, seen with noise, often not at all, and at times hardly."""
    rng = np.random.default_rng(seed)
    where, speed = rng.uniform(0, 300, (people, 2)), rng.normal(0, 8, (people, 2))
    found = []
    for k in range(frames):
        seen = rng.random(people) < 0.8
        corner = (where + k * speed + rng.normal(0, 4, where.shape))[seen]
        size = rng.uniform((30, 80), (40, 110), corner.shape)
        boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
        scores, kinds = rng.uniform(0.05, 1, len(boxes)).astype(np.float32), rng.integers(0, 2, len(boxes))
        found.append(Detections(boxes, scores, kinds.astype(np.int32), np.empty((len(boxes), 0, 2), np.float32)))
    return found


def all_costs(each: Round, before: Expected, found: Detections) -> Float64Array:
    scores = found.scores.astype(np.float64)
    return pair_costs(each, before.boxes, before.deviations, found.boxes.astype(np.float64), scores)


def decided(params: TrackerParams, seed: int) -> list[tuple[Expected, Detections, TrackUpdate]]:
    tracker = ByteTracker(params, max_lost_ns=200_000_000)
    steps = []
    for k, found in enumerate(crowd(seed)):
        before = tracker.expect(40_000_000 * k)
        steps.append((before, found, tracker.update(found, 40_000_000 * k)))
    return steps


@given(seed=st.integers(0, 2**32 - 1), fused=st.booleans(), mode=st.sampled_from(["time", "reference"]))
def test_what_was_matched_is_within_the_limit_and_what_was_not_is_beyond_it(
    seed: int, fused: bool, mode: Literal["time", "reference"]
) -> None:
    params = TrackerParams(mode=mode, fuse_score=fused)
    high, low = np.float32(params.high_thresh), np.float32(params.low_thresh)
    for before, found, after in decided(params, seed):
        rows = dict(zip(after.ids.tolist(), after.rows.tolist(), strict=True))
        claimed = {rows[track] for track in before.ids.tolist() if track in rows}
        matched = np.array([rows.get(track, -1) for track in before.ids.tolist()], np.int64)
        for each in rounds(params):
            costs = all_costs(each, before, found)
            strong = (found.scores > high) == each.strong
            usable = strong & (found.scores > low)
            of_round = np.isin(before.states, each.states)
            pairs = of_round & (matched >= 0) & usable[matched] if len(usable) else np.zeros(len(matched), np.bool_)
            assert (costs[pairs, matched[pairs]] <= each.limit + EXACT).all()
            # What a duplicate took with it is not told, so that only updates without an end are complete.
            if set(before.ids.tolist()) <= set(rows):
                free = usable & ~np.isin(np.arange(len(usable)), list(claimed))
                same = before.classes[:, None] == found.classes[None, :]
                left = (of_round & (matched < 0))[:, None] & free[None, :] & same
                assert (costs[left] >= each.limit - EXACT).all()
        meets = [each for each in rounds(params) if each.strong]
        assert {each.limit for each in meets} >= {params.match_thresh}


def test_a_cost_by_hand() -> None:
    box, other = np.array([[0.0, 0.0, 10.0, 20.0]]), np.array([[5.0, 0.0, 15.0, 20.0], [50.0, 0.0, 60.0, 20.0]])
    plain = Round("", True, (), 0.0, 0.0, 1.0, False, 0.0)
    none, scores = np.zeros(1), np.array([0.5, 0.5])
    assert pair_costs(plain, box, none, other, scores).tolist() == [[pytest.approx(2 / 3), np.inf]]
    assert pair_costs(plain._replace(fused=True), box, none, other, scores)[0, 0] == pytest.approx(5 / 6)
    # Grown by 5 px all around, two of 20 x 30 overlap by 15 x 30.
    grown = pair_costs(plain._replace(growth=2.0, margin=1.0), box, np.array([2.0]), other, scores)
    assert grown[0, 0] == pytest.approx(1 - 450 / 750)
    tall = pair_costs(plain._replace(height_cost=0.1), box, none, np.array([[0.0, 0.0, 10.0, 10.0]]), np.ones(1))
    assert tall.item() == pytest.approx(0.5 + 0.1 * np.log(2))


def test_a_box_that_is_inside_out_or_empty_overlaps_nothing() -> None:
    plain = Round("", True, (), 0.0, 0.0, 1.0, False, 0.05)
    odd = np.array([[10.0, 10.0, 0.0, 0.0], [5.0, 5.0, 5.0, 5.0]])
    assert np.isinf(pair_costs(plain, odd, np.zeros(2), np.array([[0.0, 0.0, 10.0, 10.0]]), np.ones(1))).all()
