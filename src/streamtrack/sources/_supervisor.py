"""Keeps a live feed going: notices that it fell silent or broke off, connects anew, and holds time and count together.

```
connecting ──first frame──> live ──silence──> stalled ──more silence──> reconnecting ──first frame──> live
     └─────────── given up ──────┴───────────── broken off ────────────────┘└── given up ──> failed
```

It runs on the decode thread and never waits for longer than a quarter of a second at a time: whatever blocks belongs to
the ``Connection``, which is abandoned where it does not answer.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Final, NamedTuple

from streamtrack.api import SourceOptions
from streamtrack.errors import ConfigError, SourceError, SourceOpenError, redact
from streamtrack.sources._backoff import Backoff
from streamtrack.sources._connection import Arrival, Connection, FeedEnded, FeedError
from streamtrack.sources._livetime import CaptureTime, LiveTime, Pacer
from streamtrack.sources._timeline import Timeline
from streamtrack.sources.sampling import choose
from streamtrack.types import NS_PER_S, FeedState, Frame, SourceInfo, SourceStats

_log = logging.getLogger("streamtrack")

_POLL_S: Final = 0.25
_STALL_S: Final = 2.0
_STALL_PERIODS: Final = 5
_KEYFRAME_PATIENCE: Final = 6
"""So many times as long as for a first frame is waited while frames come that cannot be decoded yet."""
_HEALTHY_S: Final = 60.0
# Falling behind a feed is told again only if it had kept up for so long.
_KEPT_UP_NS: Final = 60 * NS_PER_S
# Rates that feeds declare and do not have: the clock of the container, or that of fields.
MAX_RATE: Final = 240.0
_MEASURED_S: Final = 0.5
_MEASURED_FRAMES: Final = 5
_MAX_MEASURING_S: Final = 2.0
# A time of capture that is older than this, or that is still to come, is told by a clock that is wrong.
_MAX_AGE_NS: Final = 10 * NS_PER_S
_MAX_AHEAD_NS: Final = NS_PER_S // 2
# Connections that were given up and still wait, for a name server say: more than so many are not started beside them.
_MAX_ABANDONED: Final = 4


@dataclass(frozen=True)
class Policy:
    """When to lose patience with a feed, and what to do then."""

    timeout_s: float = 5.0
    """Without a frame for so long, the connection is given up."""
    first_frame_s: float = 10.0
    """Likewise before its first frame."""
    reconnect: bool = True
    """Whether to connect anew; without, the first failure ends the run."""
    give_up_s: float = 0.0
    """End the run after so long without a frame; 0 never does."""

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            ConfigError: a value that cannot be.
        """
        for key in ("timeout_s", "first_frame_s", "give_up_s"):
            value = getattr(self, key)
            if not 0 <= value < math.inf or (value == 0 and key != "give_up_s"):
                allowed = "0 (never) or more" if key == "give_up_s" else "more than 0"
                raise ConfigError(f"Option {key} of a live source must be {allowed}, got {value:g}.")


class Clock:
    """The time of this machine."""

    def monotonic_ns(self) -> int:
        """Return ns since whenever; never set."""
        return time.monotonic_ns()

    def time_ns(self) -> int:
        """Return ns since the epoch."""
        return time.time_ns()

    def wait(self, seconds: float, stopped: threading.Event) -> None:
        """Return after ``seconds``, or as soon as ``stopped`` is set."""
        stopped.wait(seconds)


class _Watchdog:
    """How long a connection has been silent, and for how long it may be."""

    def __init__(self, policy: Policy, connection: Connection, now_ns: int, give_up_ns: float) -> None:
        """Begin to watch.

        Args:
            policy: for how long it may be.
            connection: the one to watch.
            now_ns: by the monotonic clock, as all times here.
            give_up_ns: when the search for a first frame ends.
        """
        self._policy, self._connection = policy, connection
        self._patience_ns = policy.first_frame_s * NS_PER_S
        self._began_ns = self._fed_ns = now_ns
        self._give_up_ns = give_up_ns
        self._lost = self._dropped = 0
        self._pictured_ns = now_ns
        self._connected = False

    def fed(self, now_ns: int) -> None:
        """Note that there was a frame."""
        self._fed_ns = self._pictured_ns = now_ns
        self._connected = True

    def silent_s(self, now_ns: int) -> float:
        """Return for how long there was nothing."""
        return (now_ns - self._fed_ns) / NS_PER_S

    def waited_s(self, now_ns: int) -> float:
        """Return for how long it has been watched."""
        return (now_ns - self._began_ns) / NS_PER_S

    def is_stalled(self, now_ns: int) -> bool:
        """Return whether the silence is longer than usual."""
        rate = self._connection.info.rate
        period_s = 1 / rate if 0 < rate <= MAX_RATE else 0.0
        return self._connected and self.silent_s(now_ns) >= max(_STALL_S, _STALL_PERIODS * period_s)

    def patience_s(self) -> float:
        """Return for how long it may be silent."""
        if not self._connected:
            return self._policy.first_frame_s
        # Between two segments of HLS there is silence by nature.
        in_bursts = self._connection.info.in_bursts
        return max(self._policy.timeout_s, self._policy.first_frame_s) if in_bursts else self._policy.timeout_s

    def check(self, now_ns: int) -> None:
        """Notice that it has been silent for too long.

        Raises:
            FeedError: it has.
        """
        lost, dropped = self._connection.lost, self._connection.dropped
        if not self._connected and lost > self._lost:
            # Frames do come, and a keyframe may yet: with some cameras that takes most of a minute.
            self._fed_ns, self._lost = now_ns, lost
        if dropped > self._dropped and now_ns - self._pictured_ns < _KEYFRAME_PATIENCE * self._patience_ns:
            # Likewise where all is left out up to a keyframe.
            self._fed_ns, self._dropped = now_ns, dropped
        waited_s = self.waited_s(now_ns)
        if self._connected:
            if self.silent_s(now_ns) >= self.patience_s():
                raise FeedError(f"no frame for {self.silent_s(now_ns):.1f} s")
        elif lost and waited_s >= _KEYFRAME_PATIENCE * self._policy.first_frame_s:
            raise FeedError(f"none of the first {lost} frames could be decoded; check the camera's keyframe interval")
        elif self.silent_s(now_ns) >= self.patience_s() or now_ns >= self._give_up_ns:
            raise FeedError(f"no frame within {waited_s:.1f} s; check that it is up and sends video")


class _Placed(NamedTuple):
    """A picture and its place in time."""

    arrival: Arrival
    pts_ns: int
    repaired: bool


class Supervisor:
    """A ``Source`` over one connection after the other.

    Time, count and sampling go on across connections. A feed that knows how long it is (a recording over HTTP or HLS)
    is no live one: it has an end, keeps its own time, and is not begun anew when it breaks off.
    """

    info: SourceInfo
    stats: SourceStats

    def __init__(
        self,
        uri: str,
        options: SourceOptions,
        connect: Callable[[], Connection],
        policy: Policy | None = None,
        *,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """Take note of it; nothing is connected yet.

        Args:
            uri: where it is, for people.
            options: what any source is asked for.
            connect: starts a connection, without waiting for it. May raise what ``Connection.read`` may.
            policy: when to lose patience; the default reconnects for ever.
            clock: another than this machine's.
            rng: of the waits between attempts.

        Raises:
            ConfigError: the options make no sense.
        """
        choose(options.stride, options.fps, 0.0)
        self.stats = SourceStats(decoding="everything: a live feed may need any packet")
        self._label = redact(uri)
        self._options, self._connect, self._policy = options, connect, policy or Policy()
        self._clock = clock or Clock()
        self._backoff = Backoff(rng or random.Random())
        self._stopped = threading.Event()
        self._connection: Connection | None = None
        self._abandoned: list[Connection] = []
        self._lost = self._dropped = 0
        """Pictures lost, and left out, by the connections before this one."""
        self._late_ns: int | None = None
        """When pictures were last left out."""
        self._state: FeedState = "connecting"
        self._attempt = 0
        self._was_live = self._finite = False
        self._latest_ns = self._live_ns = 0
        """When the latest frame came (before any: when the search began), and when this connection's first one did."""
        self._time: LiveTime | Timeline = LiveTime()
        self._capture_time = CaptureTime()
        self._told_of_clock = False

    def open(self) -> SourceInfo:
        """Connect, again and again if need be, and wait for the first frame.

        Raises:
            SourceOpenError: it cannot be opened, and is not to be tried for ever; or ``interrupt`` was called.
        """
        self._tell("connecting", f"opening {self._label}")
        self._latest_ns = self._clock.monotonic_ns()
        placed = self._receive()
        first = next(filter(None, placed), None)
        if first is None:
            raise SourceOpenError(f"{self._label} gave no frame before it was stopped.")
        connection = self._connection
        assert connection is not None
        feed = connection.info
        held, rate = [first], feed.rate
        if not 0 < rate <= MAX_RATE:
            rate = self._measure(placed, held)
        self._sampler = choose(self._options.stride, self._options.fps, rate)
        duration_s = feed.duration_s
        self.info = SourceInfo(
            uri=self._label,
            width=first.arrival.width,
            height=first.arrival.height,
            rate=rate,
            frames_estimate=max(1, round(duration_s * rate)) if duration_s and rate else None,
            duration_s=duration_s,
            live=not self._finite,
            codec=feed.codec,
            sampling=self._sampler.text,
            sample_rate=self._sampler.rate,
        )
        self._frames = self._deliver(chain(_drain(held), placed))
        return self.info

    def _measure(self, placed: Iterator[_Placed | None], held: list[_Placed]) -> float:
        """Return the rate of a feed that does not say, by watching it for a moment; 0.0 where that is not enough."""
        until_ns = self._clock.monotonic_ns() + round(_MAX_MEASURING_S * NS_PER_S)
        for each in placed:
            if each is not None:
                held.append(each)
            span_ns = held[-1].pts_ns - held[0].pts_ns
            if len(held) >= _MEASURED_FRAMES and span_ns >= _MEASURED_S * NS_PER_S:
                return round((len(held) - 1) * NS_PER_S / span_ns, 2)
            if self._clock.monotonic_ns() >= until_ns:
                break
        return 0.0

    def __iter__(self) -> Iterator[Frame]:
        """Yield the wanted frames; there is one pass. It ends with the feed where that has an end, or when stopped.

        Raises:
            SourceError: the feed broke off, and is not to be tried for ever.
        """
        return self._frames

    def interrupt(self) -> None:
        """End it: ``open`` and iteration return soon. May be called from any thread, at any time."""
        self._stopped.set()

    def close(self) -> None:
        """Let go of the feed; frames already given keep their pixels. May be called again."""
        self._stopped.set()
        if hasattr(self, "_frames"):
            self._frames.close()
        self._let_go()

    def _deliver(self, placed: Iterator[_Placed | None]) -> Generator[Frame]:
        stats, index = self.stats, 0
        for each in placed:
            if each is None:
                self._count()
                continue
            arrival, pts_ns, repaired = each
            wanted = self._sampler.wants(index, pts_ns)
            stats.delivered += wanted
            stats.strided += not wanted
            self._count()
            if wanted:
                stats.damaged += arrival.damaged
                stats.pts_repaired += repaired
                captured_ns = None if self._finite else self._captured_ns(arrival, pts_ns)
                yield Frame(index, pts_ns, arrival.width, arrival.height, arrival.picture, captured_ns)
            index += 1
        self._count()

    def _count(self) -> None:
        stats, connection = self.stats, self._connection
        stats.corrupt = self._lost + (connection.lost if connection else 0)
        dropped = self._dropped + (connection.dropped if connection else 0)
        if dropped > stats.dropped:
            self._tell_of_being_late()
        stats.dropped = dropped
        stats.seen = stats.strided + stats.corrupt + stats.dropped + stats.delivered

    def _tell_of_being_late(self) -> None:
        now_ns, late_ns = self._clock.monotonic_ns(), self._late_ns
        if late_ns is None or now_ns - late_ns > _KEPT_UP_NS:
            _log.warning(
                "Decoding %s is slower than the feed: frames are left out so that it is not late. A smaller or "
                "slower stream of the camera costs less.",
                self._label,
            )
        self._late_ns = now_ns

    def _captured_ns(self, arrival: Arrival, pts_ns: int) -> int:
        """Return when a picture was captured, UTC: as the feed tells where that can be true, else its arrival."""
        arrived_ns = self._clock.time_ns() - (self._clock.monotonic_ns() - arrival.arrived_ns)
        told_ns = arrival.captured_ns
        if told_ns is None or not self._capture_time.is_steady(told_ns, pts_ns):
            return arrived_ns
        age_ns = arrived_ns - told_ns
        if -_MAX_AHEAD_NS <= age_ns <= _MAX_AGE_NS:
            return told_ns
        if not self._told_of_clock:
            self._told_of_clock = True
            side = "behind" if age_ns > 0 else "ahead of"
            _log.warning(
                "The clock of %s is %.1f s %s this machine's: the time of arrival stands for that of capture.",
                self._label,
                abs(age_ns) / NS_PER_S,
                side,
            )
        return arrived_ns

    def _receive(self) -> Generator[_Placed | None]:
        """Yield what comes in over one connection after the other, and None a few times a second while nothing does."""
        while not self._stopped.is_set():
            self._attempt += 1
            try:
                self._connection = self._connect()
                yield from self._follow(self._connection)
                return
            except FeedError as error:
                failure = error
            finally:
                self._let_go()
            yield from self._wait_to_retry(failure)

    def _follow(self, connection: Connection) -> Generator[_Placed | None]:
        """Yield what comes in over one connection, until its end if it has one."""
        now_ns = self._clock.monotonic_ns()
        give_up_ns = self._latest_ns + self._policy.give_up_s * NS_PER_S if self._policy.give_up_s else math.inf
        watchdog = _Watchdog(self._policy, connection, now_ns, give_up_ns)
        pacer: Pacer | None = None
        connected = False
        while not self._stopped.is_set():
            try:
                arrival = connection.read(_POLL_S)
            except FeedEnded:
                if connected and self._finite:
                    return
                raise FeedError("the server ended the feed") from None
            now_ns = self._clock.monotonic_ns()
            if arrival is None:
                self._watch(watchdog, now_ns)
                yield None
                continue
            if not connected:
                if self._is_over(connection):
                    return
                self._connected(connection, watchdog.waited_s(now_ns))
                connected = True
                pacer = Pacer() if connection.info.in_bursts and not self._finite else None
            elif self._state == "stalled":
                self._tell("live", f"frames again after {watchdog.silent_s(now_ns):.1f} s")
            if pacer is not None:
                yield from self._pause(now_ns + pacer.wait_ns(arrival.pts_ns, now_ns))
                arrival = arrival._replace(arrived_ns=self._clock.monotonic_ns())
            yield self._placed(arrival)
            # Whoever takes the frames may have taken its time; that was not the feed's silence.
            self._latest_ns = self._clock.monotonic_ns()
            watchdog.fed(self._latest_ns)

    def _watch(self, watchdog: _Watchdog, now_ns: int) -> None:
        watchdog.check(now_ns)
        if self._state == "live" and watchdog.is_stalled(now_ns):
            silent_s, patience_s = watchdog.silent_s(now_ns), watchdog.patience_s()
            self._tell("stalled", f"no frame for {silent_s:.1f} s; connecting anew after {patience_s:g} s")

    def _is_over(self, connection: Connection) -> bool:
        """Return whether a live feed has turned into a recording of itself, as HLS does when a broadcast ends."""
        return self._was_live and not self._finite and connection.info.duration_s is not None

    def _connected(self, connection: Connection, waited_s: float) -> None:
        now_ns = self._clock.monotonic_ns()
        if self._was_live:
            self.stats.reconnects += 1
            gone_s = (now_ns - self._latest_ns) / NS_PER_S
            reason = f"back after {gone_s:.1f} s (attempt {self._attempt})"
            if isinstance(self._time, LiveTime):
                self._time.reconnected()
            self._capture_time = CaptureTime()
        else:
            reason = f"first frame after {waited_s:.1f} s"
            if connection.info.duration_s is not None:
                self._finite, self._time = True, Timeline(Fraction(1, NS_PER_S), connection.info.rate)
        self._was_live, self._live_ns, self._attempt = True, now_ns, 0
        self._tell("live", reason)

    def _placed(self, arrival: Arrival) -> _Placed:
        if isinstance(self._time, LiveTime):
            return _Placed(arrival, *self._time.place(arrival.pts_ns, arrival.arrived_ns))
        return _Placed(arrival, *self._time.place(arrival.pts_ns))

    def _pause(self, until_ns: int) -> Generator[None]:
        while not self._stopped.is_set():
            left_s = (until_ns - self._clock.monotonic_ns()) / NS_PER_S
            if left_s <= 0:
                return
            self._clock.wait(min(left_s, _POLL_S), self._stopped)
            yield None

    def _let_go(self) -> None:
        """Close the connection, if there is one, and keep count of what it lost."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
            self._lost += connection.lost
            self._dropped += connection.dropped
            self._abandoned.append(connection)
            self._count()
        self._abandoned = [other for other in self._abandoned if not getattr(other, "ended", True)]

    def _wait_to_retry(self, failure: FeedError) -> Generator[None]:
        """Say what happened and what is done next, and wait for as long as that takes.

        Raises:
            SourceError: nothing is done next.
        """
        now_ns = self._clock.monotonic_ns()
        if self._state in ("live", "stalled") and now_ns - self._live_ns >= _HEALTHY_S * NS_PER_S:
            self._backoff.reset()
        left_s = self._policy.give_up_s - (now_ns - self._latest_ns) / NS_PER_S if self._policy.give_up_s else math.inf
        if not self._policy.reconnect or self._finite or left_s <= 0:
            raise self._given_up(failure) from failure
        wait_s = min(self._backoff.next_s(lasting=failure.lasting), left_s)
        reason = f"{failure}; next try in {wait_s:.1f} s (attempt {self._attempt + 1})"
        self._tell("reconnecting" if self._was_live else "connecting", reason)
        yield from self._pause(now_ns + round(wait_s * NS_PER_S))
        while len(self._abandoned) >= _MAX_ABANDONED and not self._stopped.is_set():
            yield from self._pause(self._clock.monotonic_ns() + round(_POLL_S * NS_PER_S))
            self._let_go()

    def _given_up(self, failure: FeedError) -> SourceError:
        seeking_s = (self._clock.monotonic_ns() - self._latest_ns) / NS_PER_S
        after = f" (given up after {seeking_s:.0f} s)" if self._policy.reconnect and not self._finite else ""
        self._tell("failed", f"{failure}{after}")
        if self._was_live:
            return SourceError(f"{self._label} broke off: {failure}{after}.")
        return SourceOpenError(f"{self._label} cannot be opened: {failure}{after}.")

    def _tell(self, state: FeedState, reason: str) -> None:
        self._state = state
        self._options.on_state(state, redact(reason))


def _drain(held: list[_Placed]) -> Iterator[_Placed]:
    """Yield and forget: pictures are large."""
    while held:
        yield held.pop(0)
