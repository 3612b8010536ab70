from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.throttle import Throttle, Windows, interval_ns

turns = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 10**9)), max_size=60)


def naive_due(history: list[tuple[int, int]], interval_ns: int) -> list[bool]:
    """The rule itself: nobody of the same track was let through less than one interval ago."""
    answers: list[bool] = []
    for i, (track, pts) in enumerate(history):
        through = [p for (t, p), a in zip(history[:i], answers, strict=True) if t == track and a]
        answers.append(all(pts - p >= interval_ns for p in through))
    return answers


@given(turns, st.integers(0, 10**9))
def test_lets_each_track_through_once_per_interval(steps: list[tuple[int, int]], interval_ns: int) -> None:
    clock, history = 0, []
    for track, step in steps:
        clock += step
        history.append((track, clock))
    throttle = Throttle(interval_ns)
    assert [throttle.due(*turn) for turn in history] == naive_due(history, interval_ns)


@pytest.mark.parametrize("rate", [5.0, 24000 / 1001, 25.0, 30000 / 1001, 60.0])
@pytest.mark.parametrize("stride", [1, 2, 3, 5, 6, 8])
def test_every_8_frames_does_not_alias_with_the_stride(rate: float, stride: int) -> None:
    throttle = Throttle.every_frames(8, rate)
    taken = [i for i in range(0, 240, stride) if throttle.due(1, round(i / rate * 1e9))]
    first_multiple_of_stride_from_8 = -(-8 // stride) * stride
    assert taken == list(range(0, 240, first_multiple_of_stride_from_8))


def test_every_frame_when_the_interval_is_one_frame_or_none() -> None:
    for frames in (0.0, 1.0):
        throttle = Throttle.every_frames(frames, 30.0)
        assert all(throttle.due(1, i * 33_333_333) for i in range(50))


def test_a_source_without_a_rate_counts_as_25_a_second() -> None:
    assert Throttle.every_frames(8, 0.0).interval_ns == Throttle.every_frames(8, 25.0).interval_ns == 300_000_000


@given(st.sets(st.integers(1, 50)), st.sets(st.integers(1, 50)))
def test_forgotten_tracks_cost_no_memory_and_start_afresh(seen: set[int], ended: set[int]) -> None:
    throttle = Throttle(10**9)
    for track in seen:
        assert throttle.due(track, 0)
    throttle.forget(ended)
    assert len(throttle) == len(seen - ended)
    assert all(throttle.due(track, 1) == (track in ended) for track in seen)


def test_a_negative_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="0 ns or more"):
        Throttle(-1)


class Offer(NamedTuple):
    track: int
    pts_ns: int
    quality: float


steps = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 400), st.sampled_from([0.0, 0.2, 0.5, 0.9])), max_size=60)


def naive_windows(history: list[Offer], interval_ns: int) -> list[Offer]:
    """The rule itself: cut each track's offers into windows from their first on, and take the best of each."""
    best = []
    for track in {offer.track for offer in history}:
        left = [offer for offer in history if offer.track == track]
        while left:
            end = left[0].pts_ns + max(interval_ns, 1)
            inside = [offer for offer in left if offer.pts_ns < end]
            left = left[len(inside) :]
            best.append(max(inside, key=lambda offer: (offer.quality, offer.pts_ns)))
    return sorted(best)


@given(steps, st.integers(0, 1000))
def test_each_window_of_each_track_gives_its_best(moves: list[tuple[int, int, float]], interval_ns: int) -> None:
    clock, outdone, history, found = 0, 0, [], []
    windows = Windows[Offer](interval_ns)
    for track, step, quality in moves:
        clock += 1 + step
        offer = Offer(track, clock, quality)
        history.append(offer)
        found += windows.over(clock)
        rank = quality, clock / 9
        outdone += windows.offer(track, clock, rank, lambda offer=offer: offer)
        assert windows.beaten(track, rank), "by itself"
    found += windows.close()
    assert len(found) + outdone == len(history)
    assert sorted(found) == naive_windows(history, interval_ns)
    assert {offer.track for offer in found} == {offer.track for offer in history}, "at least one of each track"
    assert len(windows) == 0


def test_what_is_worse_is_not_even_made() -> None:
    windows = Windows[str](100)
    assert not windows.beaten(1, (0.0,))
    assert windows.offer(1, 0, (0.5, 0.1), lambda: "first") == 0
    assert [windows.beaten(1, (0.5, other)) for other in (0.0, 0.1, 0.2)] == [True, True, False]
    assert windows.offer(1, 10, (0.5, 0.1), lambda: pytest.fail("made in vain")) == 1
    assert windows.offer(1, 20, (0.5, 0.2), lambda: "better") == 1
    assert windows.offer(1, 30, (0.9,), lambda: None) == 0, "nothing replaces nothing"
    assert windows.offer(2, 30, (0.9,), lambda: None) == 0
    assert windows.over(99) == []
    assert windows.over(100) == ["better"], "a window lasts from its first offer, not from its best"
    assert len(windows) == 0


def test_windows_of_ended_tracks_are_closed_early_and_others_go_on() -> None:
    windows = Windows[int](100)
    for track in (1, 2, 3):
        windows.offer(track, 0, (0.5,), lambda track=track: track)
    assert windows.close([3, 9, 1]) == [3, 1]
    assert windows.over(100) == [2]


@pytest.mark.parametrize("stride", [1, 2, 5, 6, 7])
def test_windows_of_30_frames_do_not_alias_with_the_stride(stride: int) -> None:
    rate = 30000 / 1001
    windows = Windows[int](interval_ns(30, rate))
    best = []
    for index in range(0, 600, stride):
        pts_ns = round(index / rate * 1e9)
        best += windows.over(pts_ns)
        windows.offer(1, pts_ns, (0.5,), lambda index=index: index)
    assert best == list(range(0, 600, -(-30 // stride) * stride))[: len(best)]
    assert len(best) >= 570 // (-(-30 // stride) * stride)


def test_a_negative_window_is_refused() -> None:
    with pytest.raises(ValueError, match="0 ns or more"):
        Windows[int](-1)
