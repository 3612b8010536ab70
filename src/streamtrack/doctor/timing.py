"""Statistics over the timestamps, keyframes and arrivals of a stream's packets. Pure: no clock, no decoder."""

from __future__ import annotations

import bisect
import math
import statistics
from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec

# Without decode times a timestamp that goes back by less than this is a frame out of order, not a clock set anew.
_RESTART_S = 1.0
# A step is a gap (frames are missing) from so many usual ones on, and a jump of the clock from so many, and seconds.
_GAP_STEPS, _JUMP_STEPS, _JUMP_S = 2.5, 10.0, 2.0
# Steps that differ by more than a quarter differ; from a tenth of them on the rate is variable.
_OFF, _VARIABLE_SHARE = 0.25, 0.1
# No codec reorders by more.
_MAX_DEPTH = 32


class Steps(msgspec.Struct, frozen=True, kw_only=True):
    """The time from one frame to the next, in presentation order."""

    fps: float | None
    """Frames a second by their timestamps, jumps of the clock left out; None where they do not tell."""
    missing: int
    """Frames without a timestamp."""
    duplicates: int
    """Frames with the timestamp of another."""
    backward: int
    """Times that the clock went back."""
    forward: int
    """Times that it leapt ahead."""
    gaps: int
    """Steps as long as 2.5 usual ones or more: frames are missing there, or the rate varies."""
    longest_s: float
    """The longest step that is no leap."""
    median_s: float
    std_s: float
    """Standard deviation of the steps; gaps and leaps left out."""
    p95_s: float
    """95th percentile of the same."""
    variable: bool
    """Whether more than a tenth of the steps is more than a quarter longer or shorter than the usual one."""


class Gop(msgspec.Struct, frozen=True, kw_only=True):
    """From one keyframe to the next, in frames."""

    keyframes: int
    shortest: int | None
    """None where fewer than two keyframes were seen; the same goes for the median."""
    median: float | None
    longest: int
    """Of those seen whole; where there is none, so many frames at least."""
    complete: bool
    """Whether at least one was seen whole."""


class Arrivals(msgspec.Struct, frozen=True, kw_only=True):
    """When packets came in, by the clock on the wall."""

    fps: float
    std_s: float
    """Of the time from one to the next; so is the percentile."""
    p95_s: float
    longest_s: float


def segments(pts: Sequence[int | None], dts: Sequence[int | None], unit_s: float) -> Iterator[list[int]]:
    """Yield the timestamps between moments at which the stream's clock went back, in decode order.

    Args:
        pts: in decode order, in units of ``unit_s``; None where there is none.
        dts: likewise; where it is None the pts stands for it.
        unit_s: seconds.
    """
    current: list[int] = []
    last: tuple[int, bool] | None = None
    for shown, decoded in zip(pts, dts, strict=True):
        key = shown if decoded is None else decoded
        if key is None:
            continue
        exact = decoded is not None and last is not None and last[1]
        if last is not None and last[0] - key > (0 if exact else _RESTART_S / unit_s):
            yield current
            current = []
        last = (key, decoded is not None)
        if shown is not None:
            current.append(shown)
    if current:
        yield current


def measure_steps(pts: Sequence[int | None], dts: Sequence[int | None], unit_s: float) -> Steps:
    """Return the statistics of the steps; arguments as of ``segments``."""
    parts = list(segments(pts, dts, unit_s))
    steps = [(b - a) * unit_s for part in parts for a, b in pairwise(sorted(part))]
    positive = [step for step in steps if step > 0]
    usual = statistics.median(positive) if positive else 0.0
    leaps = [step for step in positive if step > max(_JUMP_STEPS * usual, _JUMP_S)]
    steady = [step for step in positive if step < _GAP_STEPS * usual]
    told = [step for step in steps if step <= max(_JUMP_STEPS * usual, _JUMP_S)]
    off = sum(abs(step - usual) > _OFF * usual for step in steady)
    return Steps(
        fps=len(told) / sum(told) if sum(told) else None,
        missing=sum(value is None for value in pts),
        duplicates=len(steps) - len(positive),
        backward=max(0, len(parts) - 1),
        forward=len(leaps),
        gaps=len(positive) - len(steady) - len(leaps),
        longest_s=max(told, default=0.0),
        median_s=usual,
        std_s=statistics.pstdev(steady) if steady else 0.0,
        p95_s=percentile(steady, 0.95),
        variable=off > _VARIABLE_SHARE * len(steady),
    )


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least ``share`` of the values do not exceed; 0.0 of none."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else 0.0


def measure_gops(keys: Sequence[bool]) -> Gop:
    """Return the distances between keyframes.

    Args:
        keys: whether each packet, in decode order, holds a keyframe.
    """
    places = [place for place, key in enumerate(keys) if key]
    spans = [b - a for a, b in pairwise(places)]
    return Gop(
        keyframes=len(places),
        shortest=min(spans, default=None),
        median=statistics.median(spans) if spans else None,
        longest=max(spans, default=len(keys) - (places[0] if places else 0)),
        complete=bool(spans),
    )


def reordering_depth(pts: Sequence[int | None], dts: Sequence[int | None], unit_s: float) -> int:
    """Return how many frames a decoder must hold back to show them in order; arguments as of ``segments``."""
    depth = 0
    for part in segments(pts, dts, unit_s):
        newest: list[int] = []  # the latest few timestamps seen so far, in order
        for shown in part:
            depth = max(depth, len(newest) - bisect.bisect_right(newest, shown))
            bisect.insort(newest, shown)
            del newest[:-_MAX_DEPTH]
    return depth


def measure_arrivals(arrived_s: Sequence[float], settle_s: float) -> Arrivals | None:
    """Return how steadily packets came in, or None where too few did.

    Args:
        arrived_s: when each came in, increasing.
        settle_s: so much is left out at the beginning, where servers send what they have kept.
    """
    settled = [at for at in arrived_s if at - arrived_s[0] >= settle_s]
    steps = [b - a for a, b in pairwise(settled)]
    span = sum(steps)
    if len(steps) < 2 or not span:
        return None
    return Arrivals(
        fps=len(steps) / span, std_s=statistics.pstdev(steps), p95_s=percentile(steps, 0.95), longest_s=max(steps)
    )
