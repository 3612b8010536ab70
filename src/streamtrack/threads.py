"""Threads with an owner: no thread outlives its group, and no error is lost in one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from streamtrack.channel import Cancelled, ChannelClosed


@dataclass(slots=True)
class StageClock:
    """Wall and CPU seconds a stage spent working (not waiting), and on how many items.

    CPU is that of the stage's own thread; what a library's own threads burn shows in the process total only.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    items: int = 0

    @contextmanager
    def working(self, items: int = 1) -> Iterator[None]:
        """Count the time spent inside the block."""
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.wall_s += time.perf_counter() - wall
            self.cpu_s += time.thread_time() - cpu
            self.items += items


class ThreadGroup:
    """Starts threads, keeps the first error of any of them, and joins them all.

    ``on_error`` is called once, from the thread that failed first; it should cancel whatever the others wait for.
    ``Cancelled``
    and ``ChannelClosed`` end a thread quietly: somebody else already knows why.
    """

    def __init__(self, on_error: Callable[[], None]) -> None:
        self._on_error = on_error
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._first: BaseException | None = None

    @property
    def error(self) -> BaseException | None:
        """The first error of any thread, or None. Later ones hang on it as notes."""
        with self._lock:
            return self._first

    def start(self, name: str, work: Callable[[], None]) -> None:
        """Run ``work`` on a new thread called ``name``."""
        thread = threading.Thread(target=self._guarded, args=(work,), name=f"streamtrack-{name}")
        # In this order: a Ctrl-C while the thread starts must not leave one behind that nobody knows of.
        self._threads.append(thread)
        thread.start()

    def fail(self, error: BaseException) -> None:
        """Record an error as if a thread of this group had raised it."""
        with self._lock:
            first = self._first is None
            if self._first is None:
                self._first = error
            elif error is not self._first:
                self._first.add_note(f"also: {type(error).__name__}: {error}")
        if first:
            self._on_error()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (Cancelled, ChannelClosed):
            return
        except BaseException as error:
            # A worker must never die silently: whatever it raised belongs to the caller.
            self.fail(error)

    def join(self, timeout_s: float | None = None) -> list[str]:
        """Wait for every thread; return the names of those still alive after ``timeout_s`` seconds in all."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        for thread in self._threads:
            # One whose start was interrupted cannot be joined; it finds everything cancelled.
            with suppress(RuntimeError):
                thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return [thread.name for thread in self._threads if thread.is_alive()]
