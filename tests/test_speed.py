"""The first minute against the last one, in memory that does not grow."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack import speed
from streamtrack.speed import SpeedLog, thread_count


class Run:
    """Frames at a rate, each with its CPU, without any time going by."""

    def __init__(self) -> None:
        self.now = self.cpu = 0.0
        self.threads: int | None = 3
        self.log = SpeedLog(lambda: self.now, lambda: self.cpu, lambda: self.threads)

    def go(self, seconds: float, fps: float, cpu_ms: float = 10.0) -> Run:
        for _ in range(round(seconds * fps)):
            self.now += 1 / fps
            self.cpu += cpu_ms / 1000
            self.log.add()
        return self


def test_a_hot_machine_shows_in_both_speeds() -> None:
    found = Run().go(70, 20, 25).go(200, 10, 50).log.metrics()
    assert found is not None
    assert (found.first.fps, found.last.fps) == pytest.approx((20, 10), rel=1e-3)
    assert (found.first.frames_per_cpu_s, found.last.frames_per_cpu_s) == pytest.approx((40, 20), rel=1e-3)
    assert (found.first.from_s, found.first.to_s) == pytest.approx((0, 60), abs=1.1)
    assert (found.last.from_s, found.last.to_s) == pytest.approx((210, 270), abs=1.1)
    assert found.slowdown == pytest.approx(0.5, rel=1e-3)


def test_other_work_shows_in_wall_time_alone() -> None:
    found = Run().go(70, 20, 25).go(200, 10, 25).log.metrics()
    assert found is not None
    assert found.slowdown == pytest.approx(0.5, rel=1e-3)
    assert found.first.frames_per_cpu_s == pytest.approx(found.last.frames_per_cpu_s)


def test_the_speed_is_that_between_the_first_frame_and_the_latest() -> None:
    run = Run()
    assert run.log.fps == 0
    run.now = 100.0  # of loading
    run.log.add()
    assert run.log.fps == 0
    assert run.go(10, 4).log.fps == pytest.approx(4)


@given(seconds=st.floats(0, 119), fps=st.floats(0.1, 3))
def test_a_run_of_less_than_two_minutes_has_no_two_to_compare(seconds: float, fps: float) -> None:
    assert Run().go(seconds, fps).log.metrics() is None


@given(
    parts=st.lists(st.tuples(st.floats(1, 200), st.floats(0.05, 4)), min_size=1, max_size=5),
)
def test_the_spans_are_of_a_minute_at_least_and_never_overlap(parts: list[tuple[float, float]]) -> None:
    run = Run()
    for seconds, fps in parts:
        run.go(seconds, fps)
    found = run.log.metrics()
    assert len(run.log._marks) <= 63
    if found is not None:
        longest = max(1 / fps for _, fps in parts)
        assert found.first.from_s == 0
        for span in (found.first, found.last):
            assert 59.9 <= span.to_s - span.from_s <= 60 + 1.2 + 2 * longest
        assert found.last.to_s >= 119.9
        # Where frames are seconds apart, the first span ends with the frame that comes after its minute.
        assert found.first.to_s <= found.last.from_s + 1.2 + 2 * longest


def test_memory_does_not_depend_on_the_length_of_a_run() -> None:
    run = Run().go(3600, 5)
    assert len(run.log._marks) <= 63


def test_the_highest_number_of_threads_is_kept() -> None:
    run = Run().go(2, 10)
    run.threads = 9
    run.go(2, 10)
    run.threads = 4
    run.go(2, 10)
    assert run.log.threads_peak == 9


def test_nothing_is_said_of_threads_where_they_cannot_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run()
    run.threads = None
    assert run.go(2, 10).log.threads_peak is None
    monkeypatch.setattr(speed, "_TASKS", "/nowhere/at/all")
    assert thread_count() is None


@pytest.mark.skipif(thread_count() is None, reason="threads can be counted on Linux only")
def test_threads_are_counted_while_they_live() -> None:
    before, go = thread_count(), threading.Event()
    one = threading.Thread(target=go.wait)
    one.start()
    during = thread_count()
    go.set()
    one.join()
    assert before is not None
    assert during == before + 1
