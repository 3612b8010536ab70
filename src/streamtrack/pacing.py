"""No more than so many frames a second of wall time: to keep a machine cool, or to leave it to others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pacer:
    """Spaces work evenly; one thread waits, and any thread may end its waiting for good.

    What is late by less than a frame's period is made up for, so that the rate is reached; more is not: after a pause
    the rate is what it was before, never a burst.
    """

    def __init__(
        self,
        max_fps: float = 0.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        """Allow ``max_fps`` frames a second.

        Args:
            max_fps: 0 for any number.
            clock: gives seconds.
            sleep: waits for so many seconds; None for a wait that ``release`` ends.
        """
        self._period_s = 1 / max_fps if max_fps else 0.0
        self._clock = clock
        self._released = threading.Event()
        self._sleep = sleep or self._released.wait
        self._due_s: float | None = None

    def wait(self) -> None:
        """Wait until the next frame may be processed."""
        if self._due_s is not None and (left_s := self._due_s - self._clock()) > 0:
            self._sleep(left_s)

    def took(self, frames: int) -> None:
        """Say that ``frames`` are processed from now on: the next is due when each has had its period."""
        if self._period_s:
            now_s = self._clock()
            due_s = now_s if self._due_s is None else max(self._due_s, now_s - self._period_s)
            self._due_s = due_s + frames * self._period_s

    def release(self) -> None:
        """End the waiting, now and from now on. May be called from any thread, at any time."""
        self._released.set()
