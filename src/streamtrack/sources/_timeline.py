"""Timestamps as a stream has them, made into times that start at 0 and always increase."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from fractions import Fraction

from streamtrack.sources.sampling import Sampler
from streamtrack.types import NS_PER_S

# Further back than this is a clock that was set anew, not frames out of order: no codec reorders by so much.
_RESTART_NS = NS_PER_S
_UNKNOWN_STEP_NS = 40_000_000


class Timeline:
    """Places frames in time, in whole nanoseconds from the first one, without drift.

    A timestamp that increases is taken as it is. Others are repaired:

    - missing: one frame period after the frame before;
    - not later than the frame before by less than a second: half a period after it, the next such one a quarter and so
      on, so that the next good timestamp is still later and time is right again;
    - further back: the stream's clock started anew. Time continues from here, one period after the frame before.
    """

    def __init__(self, time_base: Fraction, rate: float) -> None:
        """Start a timeline.

        Args:
            time_base: unit of the timestamps in seconds.
            rate: average frames a second; 0 where it cannot be known.
        """
        # Whole numbers: a Fraction's arithmetic would take ten times as long.
        self._unit_ns = (Fraction(time_base) * NS_PER_S).as_integer_ratio()
        self._step_ns = max(1, round(NS_PER_S / rate)) if rate > 0 else _UNKNOWN_STEP_NS
        self._origin: int | None = None
        self._origin_ns = 0
        self._last_ns = -self._step_ns
        self._behind = 0

    def place(self, pts: int | None) -> tuple[int, bool]:
        """Return the time of the next frame in ns, and whether it had to be repaired.

        Args:
            pts: the frame's timestamp in units of the time base, or None where it has none.
        """
        repaired = True
        if pts is None:
            time_ns = self._last_ns + self._step_ns
        elif self._origin is None:
            time_ns, repaired = self._anchor(pts), False
        else:
            time_ns = self._origin_ns + self._to_ns(pts - self._origin)
            if time_ns > self._last_ns:
                self._behind, repaired = 0, False
            elif self._last_ns - time_ns >= _RESTART_NS:
                time_ns = self._anchor(pts)
            else:
                self._behind += 1
                time_ns = self._last_ns + max(1, self._step_ns >> self._behind)
        self._last_ns = time_ns
        return time_ns, repaired

    def _to_ns(self, ticks: int) -> int:
        numerator, denominator = self._unit_ns
        return (2 * ticks * numerator + denominator) // (2 * denominator)

    def _anchor(self, pts: int) -> int:
        self._origin, self._origin_ns, self._behind = pts, self._last_ns + self._step_ns, 0
        return self._origin_ns


@dataclass(slots=True)
class Place:
    """Where a frame stands in its stream."""

    index: int
    """0-based presentation order."""
    pts_ns: int
    """From the start of the stream."""
    repaired: bool
    """Whether its timestamp was missing or went backwards, and was replaced."""
    wanted: bool
    """Whether the sampling wants it."""


class Numbering:
    """Numbers frames in presentation order, places them in time, and says which are wanted."""

    def __init__(self, timeline: Timeline, sampler: Sampler) -> None:
        """Start at frame 0 with a timeline and a sampler that are used for nothing else."""
        self.index = 0
        """Of the next frame."""
        self._timeline = timeline
        self._sampler = sampler

    def next(self, pts: int | None) -> Place:
        """Return the place of the next frame, whose timestamp is ``pts``."""
        index = self.index
        pts_ns, repaired = self._timeline.place(pts)
        self.index += 1
        return Place(index, pts_ns, repaired, self._sampler.wants(index, pts_ns))

    def copy(self) -> Numbering:
        """Return one that goes on from here by itself."""
        other = Numbering(copy(self._timeline), copy(self._sampler))
        other.index = self.index
        return other
