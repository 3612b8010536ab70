from __future__ import annotations

from itertools import accumulate, pairwise

from hypothesis import given
from hypothesis import strategies as st

from streamtrack.sources._livetime import LiveTime, Pacer
from streamtrack.types import NS_PER_S

MS = 1_000_000
PERIOD = 40 * MS

stamps = st.none() | st.integers(-(10**14), 10**14) | st.integers(0, 10**10)
waits = st.integers(0, 20 * NS_PER_S) | st.integers(0, 100 * MS)


@given(st.lists(st.tuples(stamps, waits, st.booleans()), max_size=60))
def test_always_increases_from_0_and_never_runs_away(feed: list[tuple[int | None, int, bool]]) -> None:
    """Whatever a feed says, media time is at most 2 s ahead of the clock for each time that the feed was believed."""
    time, arrived, placed = LiveTime(), 5 * NS_PER_S, []
    for pts, wait, reconnected in feed:
        arrived += wait
        if reconnected:
            time.reconnected()
        placed.append(time.place(pts, arrived)[0])
    assert placed[:1] in ([], [0])
    assert all(a < b for a, b in pairwise(placed))
    elapsed = sum(wait for _, wait, _ in feed[1:])
    assert not placed or placed[-1] <= elapsed + len(placed) * (2 * NS_PER_S + 1)


@given(
    st.integers(-(10**12), 10**12),
    st.lists(st.tuples(st.integers(1, 3 * NS_PER_S), st.integers(0, 1900 * MS)), max_size=60),
)
def test_timestamps_are_kept_exactly_however_arrivals_jitter(origin: int, frames: list[tuple[int, int]]) -> None:
    time, arrived = LiveTime(), 0
    for pts, (_, late) in zip(accumulate((step for step, _ in frames), initial=origin), frames, strict=False):
        arrived = max(arrived, pts - origin + late)
        assert time.place(pts, arrived) == (pts - origin, False)


def steady(time: LiveTime, *, pts: int | None, arrived: int, count: int = 25) -> list[int]:
    """Place frames at 25 a second; return the distances between them."""
    placed = [time.place(None if pts is None else pts + n * PERIOD, arrived + n * PERIOD)[0] for n in range(count)]
    return [b - a for a, b in pairwise(placed)]


def test_a_feed_without_timestamps_is_timed_by_its_arrivals_without_complaint() -> None:
    time = LiveTime()
    assert [time.place(None, 7 + n * n) for n in range(4)] == [(0, False), (1, False), (4, False), (9, False)]


def test_a_single_missing_timestamp_changes_nothing_after_it() -> None:
    time = LiveTime()
    placed = [time.place(pts, 40 * MS * n) for n, pts in enumerate([0, PERIOD, None, 3 * PERIOD])]
    assert placed == [(0, False), (PERIOD, False), (2 * PERIOD, True), (3 * PERIOD, False)]


def test_a_clock_set_back_or_forward_costs_one_repair_and_no_time() -> None:
    for jump in (-(10**12), -2 * NS_PER_S, 3 * NS_PER_S, 10**12):
        time = LiveTime()
        steady(time, pts=0, arrived=0)
        arrived = 25 * PERIOD
        assert time.place(arrived + jump, arrived) == (arrived, True)
        assert time.place(arrived + PERIOD + jump, arrived + PERIOD) == (arrived + PERIOD, False)


def test_two_frames_out_of_order_move_nothing_after_them() -> None:
    time = LiveTime()
    placed = [time.place(40 * MS * n, PERIOD * at) for at, n in enumerate([0, 1, 3, 2, 4, 5])]
    assert [repaired for _, repaired in placed] == [False, False, False, True, False, False]
    assert placed[3][0] in range(3 * PERIOD + 1, 4 * PERIOD)
    assert [at for at, _ in placed[4:]] == [4 * PERIOD, 5 * PERIOD]


def test_a_clock_that_stands_still_goes_on_by_arrivals() -> None:
    time = LiveTime()
    placed = [time.place(123, n * PERIOD)[0] for n in range(200)]
    assert all(a < b for a, b in pairwise(placed))
    assert abs(placed[-1] - 199 * PERIOD) < 10 * PERIOD


def test_a_pause_is_no_jump_although_the_frame_before_it_comes_late() -> None:
    """FFmpeg holds each frame back until the next one begins, so the last one before a pause arrives after it."""
    time = LiveTime()
    steady(time, pts=0, arrived=0)
    end = 25 * PERIOD
    after = end + 4 * NS_PER_S
    assert time.place(end, after) == (end, False)
    assert time.place(after, after + 1) == (after, False)


def test_frames_kept_for_a_newcomer_come_at_once_and_keep_their_time() -> None:
    time = LiveTime()
    assert [time.place(n * PERIOD, n) for n in range(100)] == [(n * PERIOD, False) for n in range(100)]


def test_across_a_reconnect_the_gap_is_what_went_by() -> None:
    for pts in (0, 10**15, None):
        time = LiveTime()
        steady(time, pts=10**9, arrived=0)
        time.reconnected()
        back = 24 * PERIOD + 7 * NS_PER_S
        assert time.place(pts, back) == (back, False)
        assert time.place(None if pts is None else pts + PERIOD, back + PERIOD)[0] == back + PERIOD


def replay(pacer: Pacer, frames: list[tuple[int, int]]) -> list[int]:
    """Hold frames (timestamp, arrival) back as told, one after the other; return when each went out."""
    now, out = 0, []
    for pts, arrival in frames:
        now = max(now, arrival)
        now += pacer.wait_ns(pts, now)
        out.append(now)
    return out


def test_bursts_go_out_evenly() -> None:
    frames = [(n * PERIOD, n // 50 * 50 * PERIOD) for n in range(200)]
    out = replay(Pacer(), frames)
    assert {b - a for a, b in pairwise(out)} == {PERIOD}


def test_after_an_interruption_time_is_made_good() -> None:
    late = [(n * PERIOD, n * PERIOD if n < 100 else 150 * PERIOD) for n in range(300)]
    out = replay(Pacer(), late)
    assert out[149] == out[100] == 150 * PERIOD
    assert out[160] == 160 * PERIOD


def test_a_feed_that_is_late_for_good_is_taken_as_it_is() -> None:
    """Without that it would come in bursts for ever after."""
    frames = [(n * PERIOD, (n if n < 100 else (n // 50 * 50) + 175) * PERIOD) for n in range(900)]
    out = replay(Pacer(), frames)
    assert {b - a for a, b in pairwise(out[700:])} == {PERIOD}


def test_a_jump_of_timestamps_holds_nothing_back() -> None:
    for jump in (3600 * NS_PER_S, -3600 * NS_PER_S):
        pacer = Pacer()
        assert pacer.wait_ns(0, 0) == 0
        assert pacer.wait_ns(PERIOD + jump, PERIOD) == 0
        assert pacer.wait_ns(2 * PERIOD + jump, PERIOD) == PERIOD


def test_what_has_no_timestamp_is_due_at_once() -> None:
    assert Pacer().wait_ns(None, 5) == 0
