"""The thread group: no error is lost, none is invented, and nobody is forgotten."""

from __future__ import annotations

import threading

import pytest

from streamtrack.channel import Cancelled, ChannelClosed
from streamtrack.threads import StageClock, ThreadGroup

PROMPT_S = 5.0


def fail_with(error: BaseException) -> None:
    raise error


def test_the_first_error_wins_and_later_ones_hang_on_it() -> None:
    calls: list[str] = []
    released = threading.Event()

    def on_error() -> None:
        calls.append(threading.current_thread().name)
        released.set()

    def second() -> None:
        released.wait(PROMPT_S)
        raise ValueError("second")

    group = ThreadGroup(on_error)
    group.start("late", second)
    group.start("early", lambda: fail_with(OSError("first")))
    assert group.join(PROMPT_S) == []
    assert isinstance(group.error, OSError)
    assert group.error.__notes__ == ["also: ValueError: second"]
    assert calls == ["streamtrack-early"]


@pytest.mark.parametrize("quiet", [Cancelled("frames"), ChannelClosed("frames")])
def test_being_told_to_stop_is_no_error(quiet: Exception) -> None:
    group = ThreadGroup(lambda: pytest.fail("nobody failed"))
    group.start("stopped", lambda: fail_with(quiet))
    assert group.join(PROMPT_S) == []
    assert group.error is None


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), MemoryError()])
def test_whatever_kills_a_thread_reaches_the_owner(error: BaseException) -> None:
    group = ThreadGroup(lambda: None)
    group.start("dies", lambda: fail_with(error))
    assert group.join(PROMPT_S) == []
    assert group.error is error


def test_the_owner_may_fail_the_group_itself() -> None:
    calls: list[int] = []
    group = ThreadGroup(lambda: calls.append(1))
    error = OSError("from outside")
    group.fail(error)
    group.fail(error)
    group.fail(ValueError("another"))
    assert group.error is error
    assert error.__notes__ == ["also: ValueError: another"]
    assert calls == [1]


def test_join_names_those_still_alive() -> None:
    release = threading.Event()
    group = ThreadGroup(lambda: None)
    group.start("stuck", lambda: fail_with(Cancelled()) if release.wait(PROMPT_S) else None)
    group.start("done", lambda: None)
    assert group.join(0.05) == ["streamtrack-stuck"]
    release.set()
    assert group.join() == []


def test_no_error_is_lost_among_many_threads() -> None:
    barrier = threading.Barrier(8)

    def work(n: int) -> None:
        barrier.wait(PROMPT_S)
        raise RuntimeError(f"thread {n}")

    calls: list[int] = []
    group = ThreadGroup(lambda: calls.append(1))
    for n in range(8):
        group.start(f"worker-{n}", lambda n=n: work(n))
    assert group.join(PROMPT_S) == []
    assert group.error is not None
    reported = {str(group.error), *(note.rpartition(": ")[2] for note in group.error.__notes__)}
    assert reported == {f"thread {n}" for n in range(8)}
    assert calls == [1]


def test_a_clock_counts_work_also_when_it_fails() -> None:
    clock = StageClock()
    with clock.working(3):
        sum(range(10_000))
    with pytest.raises(OSError, match="boom"), clock.working():
        raise OSError("boom")
    assert clock.items == 4
    assert clock.wall_s > 0.0
    assert clock.cpu_s >= 0.0
