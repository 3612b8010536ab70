from __future__ import annotations

from fractions import Fraction
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.sources._timeline import Timeline
from streamtrack.types import NS_PER_S

time_bases = st.sampled_from([Fraction(1, 1000), Fraction(1, 90000), Fraction(1, 15360), Fraction(1001, 30000)])
rates = st.sampled_from([0.0, 10.0, 25.0, 30000 / 1001, 60.0])
anything = st.lists(st.none() | st.integers(-(10**6), 10**6) | st.integers(0, 5000), max_size=80)


@given(time_bases, rates, anything)
def test_always_increases_from_0(time_base: Fraction, rate: float, stamps: list[int | None]) -> None:
    timeline = Timeline(time_base, rate)
    times = [timeline.place(pts)[0] for pts in stamps]
    assert times[:1] in ([], [0])
    assert all(a < b for a, b in pairwise(times))


@given(time_bases, rates, st.integers(-(10**9), 10**9), st.lists(st.integers(1, 10**7), max_size=80))
def test_good_timestamps_are_kept_exactly(time_base: Fraction, rate: float, start: int, steps: list[int]) -> None:
    stamps = list(accumulate(steps, initial=start))
    timeline = Timeline(time_base, rate)
    placed = [timeline.place(pts) for pts in stamps]
    for pts, (time_ns, repaired) in zip(stamps, placed, strict=True):
        assert not repaired
        assert abs(Fraction(time_ns) - (pts - start) * time_base * NS_PER_S) <= Fraction(1, 2)


def test_a_day_at_29_97_has_no_drift() -> None:
    timeline = Timeline(Fraction(1001, 30000), 30000 / 1001)
    last = 24 * 3600 * 30
    timeline.place(0)
    assert timeline.place(last) == (86_486_400_000_000_000 // 1000, False)


@given(st.integers(2, 60), st.data())
def test_time_is_right_again_after_frames_out_of_order(count: int, data: st.DataObject) -> None:
    """Frames whose timestamps are too early by less than a second do not move the ones after them."""
    stamps = [40 * n for n in range(count)]
    bad = data.draw(st.sets(st.integers(1, count - 1)))
    bent = [max(0, pts - data.draw(st.integers(40, 900))) if n in bad else pts for n, pts in enumerate(stamps)]
    timeline = Timeline(Fraction(1, 1000), 25.0)
    placed = [timeline.place(pts) for pts in bent]
    for n, (time_ns, repaired) in enumerate(placed):
        if n not in bad:
            assert (time_ns, repaired) == (stamps[n] * 1_000_000, False)
        else:
            assert stamps[n - 1] * 1_000_000 < time_ns or n - 1 in bad


def test_missing_timestamps_take_their_place() -> None:
    timeline = Timeline(Fraction(1, 1000), 25.0)
    stamps = [100, None, 180, None, None, 300]
    assert [timeline.place(pts)[0] // 1_000_000 for pts in stamps] == [0, 40, 80, 120, 160, 200]


def test_a_stream_without_any_runs_at_its_rate() -> None:
    timeline = Timeline(Fraction(1, 1000), 50.0)
    assert [timeline.place(None) for _ in range(3)] == [(0, True), (20_000_000, True), (40_000_000, True)]


def test_a_first_frame_without_one_costs_a_period() -> None:
    timeline = Timeline(Fraction(1, 1000), 25.0)
    assert [timeline.place(pts) for pts in (None, 7000, 7040)] == [
        (0, True),
        (40_000_000, False),
        (80_000_000, False),
    ]


@pytest.mark.parametrize("restart", [0, 5, -(10**8)])
def test_a_clock_that_starts_anew_goes_on(restart: int) -> None:
    timeline = Timeline(Fraction(1, 1000), 25.0)
    before = [timeline.place(pts)[0] for pts in range(0, 4000, 40)]
    after = [timeline.place(pts) for pts in range(restart, restart + 400, 40)]
    assert [time_ns - before[-1] for time_ns, _ in after] == [40_000_000 * n for n in range(1, 11)]
    assert [repaired for _, repaired in after] == [True] + [False] * 9
