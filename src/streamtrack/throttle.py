"""Which tracks are due for a crop, an embedding or a sample: at most one per track and interval of media time.

Pure and driven by timestamps, so that the answer does not depend on how fast the pipeline runs. What counts is the
time since the last one of the same track; ``index % n`` would alias with a stride (every 8th frame of every 6th fires
every 24th).
"""

from __future__ import annotations

from collections.abc import Iterable

from streamtrack.types import NS_PER_S

FALLBACK_RATE = 25.0
"""Frames a second assumed of a source that cannot tell its own, to turn frames into time."""


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
        # Half a frame short: rounding and jitter of timestamps must not push a frame over into the next one's turn.
        return cls(round(max(0.0, frames - 0.5) / (rate or FALLBACK_RATE) * NS_PER_S))

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
