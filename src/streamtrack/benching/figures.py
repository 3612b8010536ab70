"""From timed calls to figures, and how far to trust them. Pure: no clock, no file."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np

from streamtrack.benching.results import Figures
from streamtrack.benching.tasks import Measured

LONGEST_PART_S = 60.0
"""First against last minute where a case is long; a quarter of it where it is not."""


def pooled(rounds: Sequence[Measured]) -> tuple[Figures, dict[str, float]]:
    """Return the figures of a case over all of its rounds, and the spread of each figure between them."""
    whole = _figures(rounds)
    parts = [_figures([each]) for each in (rounds if len(rounds) > 1 else _halves(rounds[0]))]
    return whole, spreads(msgspec.structs.asdict(part) for part in parts)


def spreads(parts: Iterable[Mapping[str, float | None]]) -> dict[str, float]:
    """Return (highest - lowest) / mean of each figure that every part has; none for a single part."""
    known = list(parts)
    if len(known) < 2:
        return {}
    columns = {name: [part.get(name) for part in known] for name in known[0]}
    whole = {name: [v for v in values if v is not None] for name, values in columns.items()}
    return {
        name: round((max(values) - min(values)) / statistics.fmean(values), 4) if statistics.fmean(values) else 0.0
        for name, values in whole.items()
        if len(values) == len(known)
    }


def _halves(measured: Measured) -> list[Measured]:
    middle = len(measured.call_ms) // 2
    if not middle:
        return [measured]
    shares = (middle / len(measured.call_ms), 1 - middle / len(measured.call_ms))
    return [
        msgspec.structs.replace(
            measured,
            call_ms=calls,
            detect_ms=detects,
            wall_s=sum(detects) / 1000,
            cpu_s=measured.cpu_s * share,
            frames=measured.frames * share,
            joules=None if measured.joules is None else measured.joules * share,
        )
        for calls, detects, share in zip(
            (measured.call_ms[:middle], measured.call_ms[middle:]),
            (measured.detect_ms[:middle], measured.detect_ms[middle:]),
            shares,
            strict=True,
        )
    ]


def _figures(rounds: Sequence[Measured]) -> Figures:
    calls = np.concatenate([each.call_ms for each in rounds])
    p50, p95, p99 = np.percentile(calls, (50, 95, 99), method="inverted_cdf").tolist()
    frames, wall_s = sum(each.frames for each in rounds), sum(each.wall_s for each in rounds)
    joules = [each.joules for each in rounds if each.joules is not None]
    return Figures(
        p50_ms=round(p50, 4),
        p95_ms=round(p95, 4),
        p99_ms=round(p99, 4),
        fps=round(frames / wall_s, 3),
        cpu_percent=round(100 * sum(each.cpu_s for each in rounds) / wall_s, 2),
        peak_memory_mb=round(max(each.peak_memory_mb for each in rounds), 1),
        preprocess_ms=round(statistics.fmean(each.preprocess_ms for each in rounds), 4),
        postprocess_ms=round(statistics.fmean(each.postprocess_ms for each in rounds), 4),
        first_p50_ms=round(_edge_median(rounds[0], first=True), 4),
        last_p50_ms=round(_edge_median(rounds[-1], first=False), 4),
        joules_per_frame=round(sum(joules) / frames, 6) if len(joules) == len(rounds) else None,
    )


def _edge_median(measured: Measured, *, first: bool) -> float:
    """Return the median call of the first or of the last part of a round."""
    part_s = min(LONGEST_PART_S, measured.wall_s / 4)
    ends = np.cumsum(measured.detect_ms) / 1000
    inside = ends <= part_s if first else ends > ends[-1] - part_s
    calls = np.asarray(measured.call_ms)
    # A call may be longer than a part.
    chosen = calls[inside] if inside.any() else calls[:1] if first else calls[-1:]
    return float(np.median(chosen))
