"""Evenly spaced, never more than was asked for, and woken at once."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.pacing import Pacer


class Clock:
    """Time that goes on only where somebody waits or works."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_frames_are_spaced_evenly() -> None:
    clock = Clock()
    pacer = Pacer(4, clock=clock, sleep=clock.sleep)
    begun = []
    for _ in range(6):
        pacer.wait()
        begun.append(clock.now - 1000)
        pacer.took(1)
        clock.now += 0.1  # of work, which is part of the period
    assert begun == pytest.approx([0, 0.25, 0.5, 0.75, 1.0, 1.25])


@given(
    fps=st.floats(0.1, 100),
    work=st.lists(st.tuples(st.integers(1, 8), st.floats(0, 3)), min_size=1, max_size=30),
)
def test_whatever_the_work_takes_there_are_never_more(fps: float, work: list[tuple[int, float]]) -> None:
    clock = Clock()
    pacer = Pacer(fps, clock=clock, sleep=clock.sleep)
    begun = []
    for frames, seconds in work:
        pacer.wait()
        begun.append((clock.now, frames))
        pacer.took(frames)
        clock.now += seconds
    for first in range(len(begun)):
        for last in range(first + 1, len(begun)):
            done = sum(frames for _, frames in begun[first:last])
            # One frame's period of lateness may be made up for.
            assert done <= (begun[last][0] - begun[first][0]) * fps * (1 + 1e-9) + 1 + 1e-6


def test_a_sleep_that_lasts_too_long_does_not_lower_the_rate() -> None:
    clock = Clock()
    pacer = Pacer(10, clock=clock, sleep=lambda seconds: clock.sleep(seconds + 0.03))
    for _ in range(101):
        pacer.wait()
        pacer.took(1)
    assert clock.now - 1000 == pytest.approx(10.03)


def test_after_a_pause_there_is_no_burst() -> None:
    clock = Clock()
    pacer = Pacer(10, clock=clock, sleep=clock.sleep)
    pacer.took(1)
    clock.now += 60
    begun = []
    for _ in range(4):
        pacer.wait()
        begun.append(clock.now - 1060)
        pacer.took(1)
    assert begun == pytest.approx([0, 0, 0.1, 0.2])


@given(st.lists(st.floats(0, 3), max_size=20))
def test_who_is_slower_than_that_never_waits(work: list[float]) -> None:
    clock = Clock()
    pacer = Pacer(10, clock=clock, sleep=clock.sleep)
    for seconds in work:
        pacer.wait()
        pacer.took(1)
        clock.now += 0.1001 + seconds
    assert clock.slept == []


def test_without_a_limit_nobody_waits() -> None:
    clock = Clock()
    pacer = Pacer(clock=clock, sleep=clock.sleep)
    for _ in range(5):
        pacer.wait()
        pacer.took(100)
    assert clock.slept == []


def test_who_waits_is_woken_at_once_and_never_waits_again() -> None:
    pacer = Pacer(1e-4)  # one frame in nearly three hours
    pacer.took(1)
    waiting = threading.Thread(target=pacer.wait)
    waiting.start()
    pacer.release()
    waiting.join(60)
    assert not waiting.is_alive()
    pacer.wait()
