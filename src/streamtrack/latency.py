"""How old results are when they are there: percentiles of a run of any length, in constant memory."""

from __future__ import annotations

import math
from collections import Counter

import msgspec

_STEP = 1.02
"""Ratio of two neighbouring bins: what is reported is at most 1 % off."""
_FLOOR_MS = 0.1


class LatencyMetrics(msgspec.Struct, kw_only=True):
    """Milliseconds from the capture of a frame (its arrival, where the feed does not tell) to its tracks."""

    frames: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


class Latency:
    """Collects ages; a histogram whose bins grow in proportion."""

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()
        self._count = 0
        self._max_ms = 0.0

    def add(self, age_ms: float) -> None:
        """Count one result that was ``age_ms`` old."""
        # A camera's clock may run a little ahead of ours.
        age_ms = max(age_ms, _FLOOR_MS)
        self._bins[round(math.log(age_ms, _STEP))] += 1
        self._count += 1
        self._max_ms = max(self._max_ms, age_ms)

    def percentile(self, share: float) -> float:
        """Return the age in ms that at least ``share`` (0 to 1) of the results do not exceed, to 1 %."""
        wanted, below = math.ceil(share * self._count), 0
        for number in sorted(self._bins):
            below += self._bins[number]
            if below >= wanted:
                return min(_STEP**number, self._max_ms)
        return 0.0

    def metrics(self) -> LatencyMetrics | None:
        """Return the figures, or None where nothing had an age."""
        if not self._count:
            return None
        p50, p95, p99 = (round(self.percentile(share), 1) for share in (0.5, 0.95, 0.99))
        return LatencyMetrics(frames=self._count, p50_ms=p50, p95_ms=p95, p99_ms=p99, max_ms=round(self._max_ms, 1))
