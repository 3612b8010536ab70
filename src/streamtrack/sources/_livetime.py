"""Time of a live feed: what its own clock says while that can be, and when its pictures came in."""

from __future__ import annotations

from streamtrack.types import NS_PER_S

# Pictures wait on their way, now more and now less; so much less than ever before, and the timestamp is wrong.
_MAX_LEAD_NS = 2 * NS_PER_S
# The least wait known is forgotten at this share of time (two clocks never run alike).
_FORGET = 100
# No codec reorders by so much: further back, the feed's clock started anew.
_RESTART_NS = NS_PER_S
# So many timestamps in a row that do not increase are a clock that stands still, not pictures out of order.
_MAX_BEHIND = 6
_UNKNOWN_STEP_NS = 40_000_000
# How long a feed in bursts may be late all the time before being late is what it is from now on.
_PATIENCE_NS = 10 * NS_PER_S
# A sender says about every 5 s what its clock is at a timestamp; twice that, and it has been set.
_CLOCK_SET_NS = 10 * NS_PER_S
_MAX_SLIP_NS = NS_PER_S


class LiveTime:
    """Places pictures in time, in ns from the first one; always increasing, whatever the feed does.

    The feed's timestamps are exact, while arrivals jitter, so the distance between two timestamps is used where it can
    be true. Where it cannot, the time between the arrivals stands in, and the feed's clock is taken up again from
    there:

    - missing;
    - back by more than a second, or not increasing time after time: the clock was set anew, or stands still;
    - forward, so that the picture would have come over two seconds sooner after its capture than others did;
    - on another connection: nothing is known of how its clock relates to the one before.

    A timestamp a little too early moves nothing: that picture is placed a quarter of a step (then an eighth, and so on)
    after the one before, so that the next good timestamp is still later and time is right again.
    """

    def __init__(self) -> None:
        self._pts: int | None = None
        """Timestamp of the latest picture whose timestamp was taken up."""
        self._time_ns = self._arrived_ns = 0
        """Its time, and when it arrived."""
        self._lag_ns = 0
        """How long after their time pictures arrive, at the least."""
        self._latest_ns = -1
        self._step_ns = _UNKNOWN_STEP_NS
        self._behind = 0

    def reconnected(self) -> None:
        """Note that the next picture is of another connection."""
        self._pts = None

    def place(self, pts_ns: int | None, arrived_ns: int) -> tuple[int, bool]:
        """Return the time of the next picture in ns, and whether its timestamp was missing or could not be.

        Args:
            pts_ns: by the feed's own clock; None where it has none.
            arrived_ns: by this machine's monotonic clock.
        """
        if self._latest_ns < 0:
            return self._take_up(pts_ns, arrived_ns, 0, anew=True), False
        if pts_ns is None:
            return self._later(self._by_arrival(arrived_ns)), self._pts is not None
        if self._pts is None:
            return self._take_up(pts_ns, arrived_ns, self._by_arrival(arrived_ns), anew=True), False
        step_ns = pts_ns - self._pts
        time_ns = self._time_ns + step_ns
        if arrived_ns - time_ns < self._lag_ns - _MAX_LEAD_NS or step_ns < -_RESTART_NS:
            return self._take_up(pts_ns, arrived_ns, self._by_arrival(arrived_ns), anew=True), True
        if time_ns > self._latest_ns:
            self._step_ns = time_ns - self._latest_ns
            return self._take_up(pts_ns, arrived_ns, time_ns), False
        self._behind += 1
        if self._behind > _MAX_BEHIND:
            return self._take_up(pts_ns, arrived_ns, self._by_arrival(arrived_ns), anew=True), True
        return self._later(self._latest_ns + (self._step_ns >> self._behind + 1)), True

    def _by_arrival(self, arrived_ns: int) -> int:
        return self._time_ns + arrived_ns - self._arrived_ns

    def _later(self, time_ns: int) -> int:
        self._latest_ns = max(self._latest_ns + 1, time_ns)
        return self._latest_ns

    def _take_up(self, pts_ns: int | None, arrived_ns: int, time_ns: int, *, anew: bool = False) -> int:
        lag_ns, forgotten_ns = arrived_ns - time_ns, (arrived_ns - self._arrived_ns) // _FORGET
        self._lag_ns = lag_ns if anew else min(lag_ns, self._lag_ns + forgotten_ns)
        self._time_ns = self._later(time_ns)
        self._pts, self._arrived_ns, self._behind = pts_ns, arrived_ns, 0
        return self._time_ns


class CaptureTime:
    """Says whether to believe when a feed tells that a picture was captured.

    It works that out from the timestamp, by its latest sender report. After a timestamp that jumped it is wrong by as
    much, until the next report.
    """

    def __init__(self) -> None:
        self._ahead_ns: int | None = None
        """How far the told time is ahead of that of the run, as last believed."""
        self._slipped_ns: int | None = None
        """Since when it is not."""

    def is_steady(self, told_ns: int, pts_ns: int) -> bool:
        """Return whether it goes on as before, or has gone on otherwise for long enough.

        Args:
            told_ns: when the picture was captured, as the feed tells.
            pts_ns: its time in the run, by ``LiveTime``.
        """
        ahead_ns = told_ns - pts_ns
        if self._ahead_ns is not None and abs(ahead_ns - self._ahead_ns) > _MAX_SLIP_NS:
            self._slipped_ns = pts_ns if self._slipped_ns is None else self._slipped_ns
            if pts_ns - self._slipped_ns < _CLOCK_SET_NS:
                return False
        self._ahead_ns, self._slipped_ns = ahead_ns, None
        return True


class Pacer:
    """Says when a picture is due that arrived together with many others, as from HLS, whose segments come whole.

    The first one is due at once and those after it by their timestamps. After an interruption pictures are late, and go
    out as they come until time is made good; where that never happens, or timestamps jump, it starts over.
    """

    def __init__(self) -> None:
        self._origin_ns: int | None = None
        """Monotonic time at which a timestamp of 0 would be due."""
        self._in_time_ns = 0

    def wait_ns(self, pts_ns: int | None, now_ns: int) -> int:
        """Return how long to hold a picture back, from ``now_ns`` by the monotonic clock."""
        if pts_ns is None:
            return 0
        early_ns = 0 if self._origin_ns is None else self._origin_ns + pts_ns - now_ns
        lost = abs(early_ns) > _PATIENCE_NS or (early_ns < 0 and now_ns - self._in_time_ns > _PATIENCE_NS)
        if self._origin_ns is None or lost:
            self._origin_ns, early_ns = now_ns - pts_ns, 0
        if early_ns >= 0:
            self._in_time_ns = now_ns + early_ns
        return max(0, early_ns)
