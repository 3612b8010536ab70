"""Statistics of timestamps, against slow and obvious twins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.doctor import timing

UNIT_S = 0.001


def steps(pts: list[int | None], dts: list[int | None] | None = None) -> timing.Steps:
    return timing.measure_steps(pts, [None] * len(pts) if dts is None else dts, UNIT_S)


def test_a_steady_stream() -> None:
    found = steps([40 * n for n in range(51)])
    assert found.fps == pytest.approx(25)
    assert found.median_s == pytest.approx(0.04)
    assert (found.std_s, found.p95_s) == (pytest.approx(0), pytest.approx(0.04))
    assert (found.missing, found.duplicates, found.backward, found.forward, found.gaps) == (0, 0, 0, 0, 0)
    assert not found.variable


def test_frames_out_of_order_are_no_fault() -> None:
    found = steps([0, 160, 80, 40, 120, 320, 240, 200, 280], [-80, -40, 0, 40, 80, 120, 160, 200, 240])
    assert found.fps == pytest.approx(25)
    assert (found.backward, found.gaps, found.duplicates) == (0, 0, 0)
    assert steps([0, 160, 80, 40, 120]).backward == 0


def test_each_kind_of_fault_is_counted() -> None:
    assert steps([0, 40, None, 120]).missing == 1
    assert steps([0, 40, 40, 80]).duplicates == 1
    assert steps([0, 40, 80, 5000, 5040]).forward == 1
    assert steps([9000, 9040, 0, 40]).backward == 1
    gappy = steps([0, 40, 80, 280, 320])
    assert (gappy.gaps, gappy.forward, gappy.longest_s) == (1, 0, pytest.approx(0.2))


def test_leaps_of_the_clock_do_not_change_the_rate() -> None:
    assert steps([0, 40, 80, 3_600_000, 3_600_040, 0, 40]).fps == pytest.approx(25)


def test_decode_times_tell_of_small_steps_back() -> None:
    assert steps([100, 140, 60, 100], [100, 140, 60, 100]).backward == 1
    assert steps([100, 140, 60, 100]).backward == 0


def test_a_variable_rate_is_called_so() -> None:
    assert steps([0, 40, 100, 120, 190, 230, 250, 320]).variable
    # What a container rounds to whole milliseconds is not.
    assert not steps([round(n * 1000 / 30) for n in range(90)]).variable


@pytest.mark.parametrize("pts", [[], [0], [None, None], [5, 5]])
def test_too_little_says_nothing(pts: list[int | None]) -> None:
    assert steps(pts).fps is None


STAMPS = st.lists(st.one_of(st.none(), st.integers(-10_000, 10_000)), max_size=40)


@given(STAMPS, st.data())
def test_every_timestamp_is_in_one_segment_whatever_they_are(pts: list[int | None], data: st.DataObject) -> None:
    dts = data.draw(st.lists(st.one_of(st.none(), st.integers(0, 9000)), min_size=len(pts), max_size=len(pts)))
    parts = list(timing.segments(pts, dts, UNIT_S))
    assert [value for part in parts for value in part] == [value for value in pts if value is not None]
    found = timing.measure_steps(pts, dts, UNIT_S)
    assert min(found.missing, found.duplicates, found.backward, found.forward, found.gaps) >= 0
    assert found.fps is None or found.fps > 0


@given(st.lists(st.booleans(), max_size=60))
def test_gops_as_counted_by_hand(keys: list[bool]) -> None:
    found = timing.measure_gops(keys)
    spans, since = [], None
    for key in keys:
        if key and since is not None:
            spans.append(since)
        since = 1 if key else (since + 1 if since is not None else None)
    assert found.keyframes == sum(keys)
    assert found.complete == bool(spans)
    if spans:
        assert (found.shortest, found.longest) == (min(spans), max(spans))
    else:
        assert found.longest == (since if since is not None else len(keys))


@given(st.permutations(range(12)))
def test_the_depth_is_the_most_frames_that_overtake(order: list[int]) -> None:
    naive = max(sum(earlier > shown for earlier in order[:place]) for place, shown in enumerate(order))
    assert timing.reordering_depth(order, [None] * 12, UNIT_S) == naive


@given(st.lists(st.floats(0, 100), max_size=30), st.floats(0, 1))
def test_a_percentile_is_not_exceeded_by_its_share(values: list[float], share: float) -> None:
    found = timing.percentile(values, share)
    if not values:
        assert found == 0
    else:
        assert found in values
        assert sum(value <= found for value in values) >= share * len(values) - 1e-9


def test_what_comes_at_once_when_joining_is_left_out() -> None:
    found = timing.measure_arrivals([0.0, 0.001, 0.002, *(0.5 + 0.1 * n for n in range(11))], settle_s=0.4)
    assert found is not None
    assert (found.fps, found.longest_s) == (pytest.approx(10), pytest.approx(0.1))
    assert timing.measure_arrivals([0.0, 1.0], settle_s=0.5) is None
    assert timing.measure_arrivals([], settle_s=0.5) is None
