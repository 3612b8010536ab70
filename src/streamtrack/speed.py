"""How fast a run was in its first minute and in its last: a machine that grows hot slows down."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

SPAN_S: Final = 60.0
"""Seconds at either end of a run that are compared."""
SLOWER: Final = 0.15
"""A last span that is slower than the first by more than this share is worth a word."""
_STEP_S: Final = 1.0
_TASKS: Final = Path("/proc/self/task")


class SpeedSpan(msgspec.Struct, kw_only=True):
    """Frames processed in a part of a run."""

    from_s: float
    """Of wall time, from the first processed frame."""
    to_s: float
    frames: int
    fps: float
    """Frames a second of wall time."""
    frames_per_cpu_s: float
    """Frames a second of CPU of the whole process: what heat lowers, and other programs hardly do."""


class SpeedMetrics(msgspec.Struct, kw_only=True):
    """The first minute of a run against its last."""

    first: SpeedSpan
    last: SpeedSpan

    @property
    def slowdown(self) -> float:
        """By which share the last span was slower; below 0 where it was faster."""
        return 1 - self.last.fps / self.first.fps if self.first.fps else 0.0


class _Mark(NamedTuple):
    wall_s: float
    cpu_s: float
    frames: int


class SpeedLog:
    """Remembers a mark a second of the latest minute, and the first minute: some 60 marks, however long a run is."""

    def __init__(
        self,
        wall: Callable[[], float] = time.perf_counter,
        cpu: Callable[[], float] = time.process_time,
        threads: Callable[[], int | None] = lambda: thread_count(),
    ) -> None:
        """Start before the first frame.

        Args:
            wall: gives seconds.
            cpu: gives CPU seconds of the process.
            threads: counts the threads of the process; None where that cannot be known.
        """
        self._wall, self._cpu, self._threads = wall, cpu, threads
        self._frames = 0
        self._latest_s = 0.0
        self._begun: _Mark | None = None
        self._first: SpeedSpan | None = None
        self._marks: deque[_Mark] = deque()
        self.threads_peak: int | None = None
        """Most threads of the process seen at a time, looked at once a second; None where they cannot be counted."""

    def add(self) -> None:
        """Count a processed frame."""
        self._frames += 1
        self._latest_s = self._wall()
        if not self._marks or self._latest_s - self._marks[-1].wall_s >= _STEP_S:
            self._mark()

    @property
    def fps(self) -> float:
        """Frames a second of wall time between the first and the latest."""
        if self._begun is None or self._latest_s <= self._begun.wall_s:
            return 0.0
        return (self._frames - 1) / (self._latest_s - self._begun.wall_s)

    def _mark(self) -> None:
        now = _Mark(self._wall(), self._cpu(), self._frames)
        counted = self._threads()
        if counted is not None:
            self.threads_peak = max(counted, self.threads_peak or 0)
        if self._begun is None:
            # What comes before the first frame, such as loading a model, is no speed.
            self._begun = now
        self._marks.append(now)
        while len(self._marks) > 2 and self._marks[1].wall_s <= now.wall_s - SPAN_S:
            self._marks.popleft()
        if self._first is None and now.wall_s - self._begun.wall_s >= SPAN_S:
            self._first = self._span(self._begun, now)

    def metrics(self) -> SpeedMetrics | None:
        """Return both spans; None for a run too short for two of them."""
        if self._frames:
            self._mark()
        if self._begun is None or self._first is None or self._marks[-1].wall_s - self._begun.wall_s < 2 * SPAN_S:
            return None
        return SpeedMetrics(first=self._first, last=self._span(self._marks[0], self._marks[-1]))

    def _span(self, a: _Mark, b: _Mark) -> SpeedSpan:
        assert self._begun is not None
        wall_s, cpu_s, frames = b.wall_s - a.wall_s, b.cpu_s - a.cpu_s, b.frames - a.frames
        return SpeedSpan(
            from_s=round(a.wall_s - self._begun.wall_s, 1),
            to_s=round(b.wall_s - self._begun.wall_s, 1),
            frames=frames,
            fps=round(frames / wall_s, 3) if wall_s > 0 else 0.0,
            frames_per_cpu_s=round(frames / cpu_s, 3) if cpu_s > 0 else 0.0,
        )


def thread_count() -> int | None:
    """Return how many threads the process has, those of libraries included; None where that cannot be known."""
    try:
        return len(os.listdir(_TASKS))
    except OSError:
        # Only Linux has this folder; elsewhere there is no way without another library.
        return None
