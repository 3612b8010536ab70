"""Which tracks are due for a crop or an embedding: at most one per track and interval of media time.

Pure and driven by timestamps, so that the answer does not depend on how fast the pipeline runs. What counts is the
time since the last one of the same track; ``index % n`` would alias with a stride (every 8th frame of every 6th fires
every 24th).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

from streamtrack.types import NS_PER_S

FALLBACK_RATE = 25.0
"""Frames a second assumed of a source that cannot tell its own, to turn frames into time."""

T = TypeVar("T")


def interval_ns(frames: float, rate: float) -> int:
    """Return how long ``frames`` source frames last in ns of media, at ``rate`` frames a second (0.0: unknown)."""
    # Half a frame short: rounding and jitter of timestamps must not push a frame over into the next one's turn.
    return round(max(0.0, frames - 0.5) / (rate or FALLBACK_RATE) * NS_PER_S)


class Throttle:
    """Remembers when each track last had its turn."""

    def __init__(self, interval_ns: int) -> None:
        """Let each track through when at least ``interval_ns`` of media time passed since it last was.

        Raises:
            ValueError: the interval is negative.
        """
        if interval_ns < 0:
            raise ValueError(f"interval must be 0 ns or more, got {interval_ns}")
        self.interval_ns = interval_ns
        self._last_ns: dict[int, int] = {}

    @classmethod
    def every_frames(cls, frames: float, rate: float) -> Throttle:
        """Return a throttle of one in ``frames`` source frames, at ``rate`` frames a second (0.0: unknown)."""
        return cls(interval_ns(frames, rate))

    def __len__(self) -> int:
        return len(self._last_ns)

    def due(self, track_id: int, pts_ns: int) -> bool:
        """Tell whether it is the track's turn, and take it: the next is one interval later. The first always is."""
        last_ns = self._last_ns.get(track_id)
        if last_ns is not None and pts_ns - last_ns < self.interval_ns:
            return False
        self._last_ns[track_id] = pts_ns
        return True

    def forget(self, track_ids: Iterable[int]) -> None:
        """Drop tracks that ended, so that memory follows the tracks alive and not those ever seen."""
        for track_id in track_ids:
            self._last_ns.pop(int(track_id), None)


class _Window(NamedTuple, Generic[T]):
    opened_ns: int
    rank: tuple[float, ...]
    best: T


class Windows(Generic[T]):
    """Keeps the best of what each track offers within each interval of media time.

    A track's first offer opens its first window, and the first one after that window was over the next: every offer is
    in exactly one window, and every window gives exactly one thing.
    """

    def __init__(self, interval_ns: int) -> None:
        """Let a window last ``interval_ns`` of media time; 0 gives every offer a window of its own.

        Raises:
            ValueError: the interval is negative.
        """
        if interval_ns < 0:
            raise ValueError(f"interval must be 0 ns or more, got {interval_ns}")
        self.interval_ns = interval_ns
        self._open: dict[int, _Window[T]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def over(self, pts_ns: int) -> list[T]:
        """Close the windows that are over at ``pts_ns``, whether their track is still seen or not.

        To be called with each frame before its offers are made; returns the best of each.
        """
        return self.close(
            [track for track, window in self._open.items() if pts_ns - window.opened_ns >= self.interval_ns]
        )

    def beaten(self, track_id: int, rank: tuple[float, ...]) -> bool:
        """Tell whether the track's window holds something at least as good: an offer of this rank would be outdone."""
        window = self._open.get(track_id)
        return window is not None and rank <= window.rank

    def offer(self, track_id: int, pts_ns: int, rank: tuple[float, ...], make: Callable[[], T | None]) -> int:
        """Offer what ``make`` returns; it is called only if it would be the best so far.

        What turns out to be nothing (None) opens no window and replaces nothing.

        Args:
            track_id: whose it is.
            pts_ns: when it is from.
            rank: how good it is, compared number by number; of equals the earlier one is kept.
            make: returns it.

        Returns:
            How many were outdone: 1 if this one or the one before it goes for good, else 0.
        """
        if self.beaten(track_id, rank):
            return 1
        window = self._open.get(track_id)
        if (best := make()) is None:
            return 0
        self._open[track_id] = _Window(window.opened_ns if window else pts_ns, rank, best)
        return int(window is not None)

    def close(self, track_ids: Iterable[int] | None = None) -> list[T]:
        """Close the windows of these tracks, or of all, before their time; return the best of each."""
        tracks = list(self._open) if track_ids is None else track_ids
        return [self._open.pop(track).best for track in tracks if track in self._open]
