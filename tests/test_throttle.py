import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.throttle import Throttle

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
