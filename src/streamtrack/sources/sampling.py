"""Which frames of a stream are delivered: every n-th, or so many a second of media."""

from __future__ import annotations

import math
from fractions import Fraction

from streamtrack.errors import ConfigError
from streamtrack.types import NS_PER_S


class Sampler:
    """Decides frame by frame, in presentation order, which ones are wanted.

    With a stride: exactly the frames with ``index % stride == 0``.

    With fps: time is divided at the points ``(k - 1/4) / fps`` seconds, and the first frame in each division is wanted.
    So there is at most one frame per grid point ``k / fps``, it comes at most a quarter of a period before it, and
    since the grid is fixed, neither jitter nor a variable frame rate makes it drift. A stream of at most ``fps`` evenly
    spaced frames a second is delivered whole.
    """

    def __init__(self, *, stride: int = 1, fps: Fraction = Fraction(0), text: str, rate: float) -> None:
        """Use ``choose``, which decides between the two."""
        self.text = text
        """In words, which frames are wanted."""
        self.rate = rate
        """Wanted frames a second of media; 0.0 where it cannot be known."""
        self.takes_all = stride == 1 and not fps
        """Whether every frame is wanted."""
        self._stride = stride
        self._fps = fps
        self._division = -1

    def wants(self, index: int, pts_ns: int) -> bool:
        """Return whether a frame is wanted. Ask once for every frame, in order.

        Args:
            index: 0-based presentation order.
            pts_ns: from the start of the stream, strictly increasing.
        """
        if index % self._stride:
            return False
        if not self._fps:
            return True
        # floor(time * fps + 1/4). Timestamps are rounded (to 1 ms in Matroska, 10 in GIF) and cameras jitter: without
        # the quarter, 30 fps sampled at 30 fps would lose frames.
        numerator, denominator = self._fps.numerator, self._fps.denominator * NS_PER_S
        division = (4 * pts_ns * numerator + denominator) // (4 * denominator)
        if division <= self._division:
            return False
        self._division = division
        return True


def choose(stride: int, fps: float, rate: float) -> Sampler:
    """Return the sampler for what was asked for.

    Args:
        stride: deliver every ``stride``-th frame.
        fps: deliver at most this many frames a second of media; 0 means no limit.
        rate: average frames a second of the stream; 0 where it cannot be known.

    When both are given, the one that delivers fewer frames at the stream's average rate is used and the other is
    ignored. Where the rate cannot be known both apply: the strided frames are resampled by timestamp.

    Raises:
        ConfigError: ``stride`` is below 1, or ``fps`` is negative or not a number.
    """
    if stride < 1:
        raise ConfigError(f"source.stride must be at least 1, got {stride}.")
    if not 0 <= fps < math.inf:
        raise ConfigError(f"source.fps must be 0 (no limit) or more, got {fps}.")
    # What people write as 29.97 or 0.1 is meant in decimal, and a binary fraction of it would drift off the grid.
    limit = Fraction(str(fps))
    by_stride = "every frame" if stride == 1 else f"every {_ordinal(stride)} frame"
    by_time = f"{fps:g} fps by timestamp"
    strided = rate / stride
    limited = min(fps, rate) if rate else fps
    if not limit:
        return Sampler(stride=stride, text=by_stride, rate=strided)
    if stride == 1:
        return Sampler(fps=limit, text=by_time, rate=limited)
    if not rate:
        return Sampler(stride=stride, fps=limit, text=f"{by_stride}, at most {by_time}", rate=0.0)
    if strided <= fps:
        return Sampler(stride=stride, text=f"{by_stride} (sparser than {fps:g} fps)", rate=strided)
    return Sampler(fps=limit, text=f"{by_time} (sparser than {by_stride})", rate=limited)


def _ordinal(number: int) -> str:
    teen = 10 <= number % 100 <= 20
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
