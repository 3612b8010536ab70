"""Hours of feed in no time: connections are scripts, and the clock moves where somebody waits."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.api import SourceOptions
from streamtrack.errors import ConfigError, SourceError, SourceOpenError
from streamtrack.sources._connection import Arrival, FeedEnded, FeedError, FeedInfo
from streamtrack.sources._supervisor import Clock, Policy, Supervisor
from streamtrack.types import NS_PER_S, Frame

PERIOD_S = 0.04
EPOCH_NS = 1_700_000_000 * NS_PER_S
CAMERA = FeedInfo("h264", 25.0)

Event = tuple[str, Any]
"""A frame with its timestamp (s or None), a silence (s), a loss or frames left out (how many), or an error."""


class FakeClock(Clock):
    def __init__(self) -> None:
        self.now_ns = 1000 * NS_PER_S
        self.longest_s = 0.0
        self.at: list[tuple[int, Callable[[], None]]] = []

    def monotonic_ns(self) -> int:
        return self.now_ns

    def time_ns(self) -> int:
        return EPOCH_NS + self.now_ns

    def wait(self, seconds: float, stopped: threading.Event) -> None:
        self.longest_s = max(self.longest_s, seconds)
        self.now_ns += round(seconds * NS_PER_S)
        for due_ns, act in self.at:
            if self.now_ns >= due_ns:
                act()


class Picture:
    def rgb(self, region: tuple[int, int, int, int], size: tuple[int, int], *, planar: bool) -> Any:
        raise AssertionError("a supervisor looks at no pixels")


class Script:
    """A connection on which ``events`` happen, and then nothing more."""

    def __init__(self, clock: FakeClock, events: Sequence[Event], info: FeedInfo = CAMERA, **arrival: Any) -> None:
        self.info, self.lost, self.dropped, self.closed = info, 0, 0, False
        self._clock, self._arrival, self._silent_s = clock, arrival, 0.0
        self._events = iter(events)

    def read(self, timeout_s: float) -> Arrival | None:
        assert not self.closed
        while True:
            if self._silent_s > 0:
                waited_s = min(self._silent_s, timeout_s)
                self._silent_s -= waited_s
                self._clock.wait(waited_s, threading.Event())
                if self._silent_s > 0 or waited_s == timeout_s:
                    return None
            kind, value = next(self._events, ("silence", float("inf")))
            if kind == "silence":
                self._silent_s = value
            elif kind == "lose":
                self.lost += value
            elif kind == "drop":
                self.dropped += value
            elif kind == "frame":
                pts_ns = None if value is None else round(value * NS_PER_S)
                return Arrival(Picture(), 64, 48, pts_ns, self._clock.now_ns, **self._arrival)
            else:
                raise value

    def close(self) -> None:
        self.closed = True


def playing(seconds: float, start: float = 0.0, period: float = PERIOD_S) -> list[Event]:
    """A steady feed with timestamps from ``start``."""
    count = round(seconds / period)
    return [event for n in range(count) for event in (("frame", start + n * period), ("silence", period))]


def broken(reason: str = "the wire was cut", **kind: bool) -> Event:
    return "error", FeedError(reason, **kind)


ENDED: Event = "error", FeedEnded()


class World:
    """A supervised feed and all that it said."""

    def __init__(
        self,
        *connections: Sequence[Event] | Callable[[FakeClock], Script],
        stride: int = 1,
        fps: float = 0,
        **policy: Any,
    ) -> None:
        self.clock = FakeClock()
        self.told: list[tuple[float, str, str]] = []
        self.made: list[Script] = []
        self._connections = iter(connections)
        options = SourceOptions(stride=stride, fps=fps, on_state=self._tell)
        self.began_ns = self.clock.now_ns
        self.source = Supervisor(
            "rtsp://user:pass@camera/1",
            options,
            self._connect,
            Policy(**policy),
            clock=self.clock,
            rng=random.Random(7),
        )

    def _tell(self, state: str, reason: str) -> None:
        self.told.append(((self.clock.now_ns - self.began_ns) / NS_PER_S, state, reason))

    def _connect(self) -> Script:
        planned = next(self._connections, ())
        script = planned(self.clock) if callable(planned) else Script(self.clock, planned)
        self.made.append(script)
        return script

    def frames(self, count: int | None = None) -> list[Frame]:
        if not hasattr(self.source, "info"):
            self.source.open()
        taken: Iterator[Frame] = iter(self.source)
        return list(islice(taken, count))

    @property
    def states(self) -> list[str]:
        return [state for _, state, _ in self.told]

    def check_ledger(self) -> None:
        stats = self.source.stats
        assert stats.seen == stats.strided + stats.corrupt + stats.dropped + stats.delivered


def test_a_healthy_feed_is_connecting_and_then_live() -> None:
    world = World(playing(10))
    info = world.source.open()
    assert (info.uri, info.width, info.height, info.rate) == ("rtsp://***@camera/1", 64, 48, 25.0)
    assert (info.live, info.duration_s, info.frames_estimate, info.codec) == (True, None, None, "h264")
    frames = world.frames(250)
    assert [frame.index for frame in frames] == list(range(250))
    assert [frame.pts_ns for frame in frames] == [n * 40_000_000 for n in range(250)]
    assert world.states == ["connecting", "live"]
    assert world.source.stats.delivered == world.source.stats.seen == 250


def test_a_broken_feed_is_found_again_and_time_counts_the_gap() -> None:
    frames = World([*playing(2), broken()], playing(2, start=500)).frames(100)
    assert [frame.index for frame in frames] == list(range(100))
    times = [frame.pts_ns for frame in frames]
    assert times[49] == 49 * 40_000_000
    assert times[50] - times[49] in range(440_000_000, 700_000_000)
    assert all(b - a == 40_000_000 for a, b in pairwise(times[50:]))


def test_each_change_is_told_with_its_reason_and_what_is_done_next() -> None:
    world = World([*playing(2), broken()], [broken("nothing listens there")], playing(1))
    world.frames(60)
    assert world.states == ["connecting", "live", "reconnecting", "reconnecting", "live"]
    reasons = [reason for _, _, reason in world.told]
    assert reasons[0] == "opening rtsp://***@camera/1"
    assert reasons[2].startswith("the wire was cut; next try in 0.")
    assert reasons[2].endswith("(attempt 1)")
    assert reasons[3].startswith("nothing listens there; next try in ")
    assert reasons[3].endswith("(attempt 2)")
    assert reasons[4].startswith("back after ")
    assert world.source.stats.reconnects == 1


def test_silence_is_stalled_after_2_s_and_given_up_after_5() -> None:
    world = World([*playing(2)], playing(2))
    world.frames(51)
    at = {state: seconds for seconds, state, _ in world.told}
    assert at["stalled"] == pytest.approx(2 + 2, abs=0.3)
    assert at["reconnecting"] == pytest.approx(2 + 5, abs=0.3)
    assert world.states == ["connecting", "live", "stalled", "reconnecting", "live"]
    assert world.made[0].closed


def test_a_short_silence_passes() -> None:
    world = World([*playing(2), ("silence", 3), *playing(2, start=5)])
    frames = world.frames(100)
    assert world.states == ["connecting", "live", "stalled", "live"]
    assert world.told[-1][2].startswith("frames again after 3.")
    assert frames[50].pts_ns == 5 * NS_PER_S


def test_a_slow_feed_is_not_stalled_between_two_frames() -> None:
    slow = lambda clock: Script(clock, playing(60, period=4.0), FeedInfo("h264", 0.25))  # noqa: E731
    world = World(slow)
    world.frames(15)
    assert world.states == ["connecting", "live"]


def test_a_mute_connection_is_given_up_after_10_s() -> None:
    world = World([], playing(1))
    world.source.open()
    assert world.told[1][0] == pytest.approx(10, abs=0.3)
    assert world.told[1][1] == "connecting"
    assert "no frame within 10" in world.told[1][2]
    assert world.made[0].closed


def test_a_camera_with_few_keyframes_is_waited_for() -> None:
    """Frames come and cannot be decoded yet: cutting such a feed off every 10 s would never show any."""
    rare = [event for _ in range(30) for event in (("lose", 25), ("silence", 1.0))]
    world = World([*rare, *playing(2)])
    world.frames(50)
    assert world.states == ["connecting", "live"]
    assert world.source.stats.corrupt == 750
    world.check_ledger()


def test_a_feed_that_never_can_be_decoded_is_no_feed() -> None:
    rubbish = [event for _ in range(300) for event in (("lose", 25), ("silence", 1.0))]
    world = World(rubbish, playing(1))
    world.source.open()
    assert world.told[1][0] == pytest.approx(60, abs=1.5)
    assert "could be decoded" in world.told[1][2]


def test_the_end_of_a_live_feed_is_a_fault() -> None:
    world = World([*playing(2), ENDED], playing(2))
    world.frames(60)
    assert "the server ended the feed" in world.told[2][2]
    assert world.source.stats.reconnects == 1


def waits(world: World) -> list[float]:
    return [
        float(reason.partition("next try in ")[2].partition(" s")[0]) for _, _, reason in world.told if "next" in reason
    ]


def test_it_tries_for_ever_and_ever_more_slowly() -> None:
    refused = [broken("nothing listens there")]
    world = World(*[refused] * 200, playing(1))
    world.source.open()
    expected = [0.5, 1, 2, 4, 8, 16] + [30] * 194
    assert waits(world) == pytest.approx(expected, rel=0.25)
    assert len(set(waits(world)[6:])) > 50
    assert set(world.states[:-1]) == {"connecting"}


def test_after_a_healthy_minute_it_begins_quickly_again() -> None:
    refused = [broken("nothing listens there")]
    world = World(
        [*playing(1), broken()], *[refused] * 5, [*playing(61), broken()], [*playing(30), broken()], playing(1)
    )
    world.frames(25 * 92 + 1)
    assert waits(world)[5] > 10
    assert waits(world)[6:] == pytest.approx([0.5, 1.0], rel=0.25)


def test_what_will_last_is_told_at_once_and_tried_slowly() -> None:
    world = World([broken("wrong password", lasting=True)], playing(1))
    world.source.open()
    assert world.told[1][0] == 0
    assert waits(world) == pytest.approx([30], rel=0.25)


@pytest.mark.parametrize("error", [broken(), ENDED])
def test_without_reconnecting_the_first_failure_is_the_end(error: Event) -> None:
    world = World([*playing(1), error], playing(1), reconnect=False)
    world.source.open()
    with pytest.raises(SourceError, match=r"^rtsp://\*\*\*@camera/1 broke off: .*\.$"):
        world.frames()
    assert world.states[-1] == "failed"
    assert len(world.made) == 1
    world.check_ledger()


def test_without_reconnecting_what_cannot_be_opened_says_why() -> None:
    world = World([broken("nothing listens there")], reconnect=False)
    with pytest.raises(SourceOpenError, match=r"cannot be opened: nothing listens there\.$"):
        world.source.open()


def test_it_gives_up_when_told_to() -> None:
    refused = [broken("nothing listens there")]
    world = World([*playing(2), broken()], *[refused] * 50, give_up_s=60)
    world.source.open()
    with pytest.raises(SourceError, match="given up after 60 s"):
        world.frames()
    assert world.told[-1][:2] == (pytest.approx(62, abs=1), "failed")


def test_it_gives_up_on_a_mute_feed_in_time() -> None:
    world = World([], [], give_up_s=15)
    with pytest.raises(SourceOpenError, match="given up after 15 s"):
        world.source.open()


def test_an_interrupt_ends_it_wherever_it_is() -> None:
    cases: list[Sequence[Event]] = [[], [broken("down")], [*playing(1), broken()], playing(100)]
    for first in cases:
        world = World(first, *[[broken("down")]] * 20)
        world.clock.at.append((world.began_ns + 3 * NS_PER_S, world.source.interrupt))
        # Before its first frame there is nothing that could end quietly.
        with contextlib.suppress(SourceOpenError):
            world.frames()
        assert world.clock.now_ns - world.began_ns <= 3.3 * NS_PER_S
        assert all(script.closed for script in world.made)
        world.check_ledger()


def test_interrupted_before_it_was_opened_it_connects_to_nothing() -> None:
    world = World(playing(1))
    world.source.interrupt()
    with pytest.raises(SourceOpenError):
        world.source.open()
    assert not world.made


def test_no_wait_is_longer_than_a_quarter_of_a_second() -> None:
    world = World([*playing(1), ("silence", 20)], [broken("down", lasting=True)], playing(1))
    world.frames(30)
    assert world.clock.longest_s <= 0.25


def test_closing_lets_go_of_the_connection() -> None:
    world = World(playing(10))
    world.frames(3)
    world.source.close()
    world.source.close()
    assert world.made[0].closed


def test_strides_go_on_across_connections() -> None:
    world = World([*playing(0.4), broken()], playing(0.4), stride=4)
    frames = world.frames(5)
    assert [frame.index for frame in frames] == [0, 4, 8, 12, 16]
    world.check_ledger()


def test_losses_of_all_connections_are_counted() -> None:
    world = World([("lose", 7), *playing(1), ("lose", 2), broken()], [("lose", 5), *playing(1)], stride=2)
    world.frames(20)
    assert world.source.stats.corrupt == 14
    world.check_ledger()


def test_a_recording_has_an_end_and_no_reconnect() -> None:
    film = FeedInfo("h264", 25.0, duration_s=2.0)
    world = World(lambda clock: Script(clock, [*playing(2), ENDED], film))
    info = world.source.open()
    assert (info.live, info.duration_s, info.frames_estimate) == (False, 2.0, 50)
    frames = world.frames()
    assert len(frames) == 50
    assert {frame.captured_ns for frame in frames} == {None}
    world = World(lambda clock: Script(clock, [*playing(1), broken()], film), playing(1))
    world.source.open()
    with pytest.raises(SourceError, match="the wire was cut"):
        world.frames()


def test_a_broadcast_that_is_over_is_not_played_again_from_its_recording() -> None:
    film = FeedInfo("h264", 25.0, duration_s=2.0)
    world = World([*playing(1), ENDED], lambda clock: Script(clock, playing(2), film))
    assert len(world.frames()) == 25


@pytest.mark.parametrize("declared", [0.0, 90000.0])
def test_a_rate_that_nobody_declares_is_measured(declared: float) -> None:
    world = World(lambda clock: Script(clock, playing(3, period=0.05), FeedInfo("h264", declared)))
    info = world.source.open()
    assert info.rate == 20.0
    assert [frame.index for frame in world.frames(30)] == list(range(30))


def test_a_rate_that_cannot_be_measured_soon_stays_unknown() -> None:
    world = World(lambda clock: Script(clock, playing(60, period=3.0), FeedInfo("h264", 0.0)))
    assert world.source.open().rate == 0.0
    assert len(world.frames(5)) == 5


def test_bursts_are_spread_by_their_timestamps() -> None:
    burst = [event for n in range(4) for event in [*[("frame", 2 * n + k * 0.04) for k in range(50)], ("silence", 2.0)]]
    world = World(lambda clock: Script(clock, burst, FeedInfo("h264", 25.0, in_bursts=True)))
    world.source.open()
    out = [world.clock.now_ns for _ in islice(iter(world.source), 200)]
    gaps = [b - a for a, b in pairwise(out[:45])]
    assert set(gaps) == {40_000_000}


def test_segments_may_take_longer_than_frames() -> None:
    world = World(
        lambda clock: Script(
            clock, [*playing(1), ("silence", 8), *playing(1, start=9)], FeedInfo("h264", 25.0, in_bursts=True)
        )
    )
    world.frames(50)
    assert world.source.stats.reconnects == 0


@pytest.mark.parametrize(("offset_s", "believed"), [(0.1, True), (9, True), (-0.2, True), (11, False), (-2, False)])
def test_the_feeds_own_clock_is_believed_where_it_can_be(
    offset_s: float, believed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    now_ns = EPOCH_NS + FakeClock().now_ns
    told_ns = now_ns - round(offset_s * NS_PER_S)
    world = World(lambda clock: Script(clock, [("frame", 0.0)] * 2, captured_ns=told_ns))
    with caplog.at_level(logging.WARNING, "streamtrack"):
        frames = world.frames(2)
    assert [frame.captured_ns for frame in frames] == [told_ns if believed else now_ns] * 2
    assert len(caplog.messages) == (not believed)


class Reporting(Script):
    """A camera that sees what it shows at once, and tells when: by its timestamp and its latest sender report."""

    def __init__(self, clock: FakeClock, events: Sequence[Event], **arrival: Any) -> None:
        super().__init__(clock, events, **arrival)
        self.reported = True
        self._zero_ns: int | None = None

    def read(self, timeout_s: float) -> Arrival | None:
        arrival = super().read(timeout_s)
        if arrival is None or arrival.pts_ns is None:
            return arrival
        if self._zero_ns is None or arrival.pts_ns // NS_PER_S % 5 == 0:
            self._zero_ns = self._clock.time_ns() - arrival.pts_ns
        return arrival._replace(captured_ns=self._zero_ns + arrival.pts_ns)


@pytest.mark.parametrize("to_s", [62.0, 3.0, 6.0, 9000.0])
def test_after_timestamps_that_jump_the_feeds_clock_waits_for_its_next_report(
    to_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(lambda clock: Reporting(clock, [*playing(10.0), *playing(20.0, start=to_s)]))
    with caplog.at_level(logging.WARNING, "streamtrack"):
        world.source.open()
        ages = [EPOCH_NS + world.clock.now_ns - (frame.captured_ns or 0) for frame in islice(world.source, 750)]
    assert max(ages) == min(ages) == 0
    assert not caplog.messages


def test_a_stalled_network_does_not_move_the_times_of_capture() -> None:
    burst: list[Event] = [("frame", 11 + n * PERIOD_S) for n in range(75)]
    world = World(lambda clock: Reporting(clock, [*playing(11), ("silence", 3.0), *burst, *playing(9, start=14)]))
    times = [frame.captured_ns or 0 for frame in world.frames(550)]
    assert all(b - a == 40_000_000 for a, b in pairwise(times))


def test_what_was_left_out_is_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    events = [*playing(1), ("drop", 3), *playing(1, start=1.2), ("drop", 4), *playing(1, start=2.3)]
    world = World([*events, ("drop", 2), broken()], [*playing(80), ("drop", 1), *playing(1, start=81)])
    with caplog.at_level(logging.WARNING, "streamtrack"):
        assert world.frames(75 + 2000)[-1].index == 2074
    world.check_ledger()
    assert world.source.stats.dropped == 9
    assert [message for message in caplog.messages if "slower than the feed" in message] == caplog.messages[:1]
    with caplog.at_level(logging.WARNING, "streamtrack"):
        world.frames(10)
    assert (world.source.stats.dropped, len(caplog.messages)) == (10, 2)
    assert "***@camera" in caplog.messages[1]


def test_leaving_out_everything_up_to_a_keyframe_is_no_silence_but_not_for_ever() -> None:
    waiting: list[Event] = [event for _ in range(1000) for event in (("drop", 25), ("silence", 1.0))]
    world = World([*playing(5), *waiting[:80], *playing(5, start=45), *waiting], playing(1, start=5))
    world.frames(255)
    assert world.states == ["connecting", "live", "stalled", "reconnecting", "live"]
    (at_s,) = (at_s for at_s, state, _ in world.told if state == "reconnecting")
    assert 110 < at_s < 116


def test_without_a_clock_of_its_own_a_frame_was_captured_when_it_arrived() -> None:
    frames = World(playing(1)).frames(2)
    assert frames[1].captured_ns == EPOCH_NS + 1000 * NS_PER_S + 40_000_000


def test_damage_and_repairs_are_counted() -> None:
    world = World(lambda clock: Script(clock, [("frame", 0.0), ("frame", None), ("frame", 0.08)], damaged=True))
    world.frames(3)
    assert (world.source.stats.damaged, world.source.stats.pts_repaired) == (3, 1)


def test_a_connection_that_does_not_end_keeps_others_from_piling_up() -> None:
    class Stuck(Script):
        ended = False

    stuck: list[Stuck] = []

    def make(clock: FakeClock) -> Script:
        stuck.append(Stuck(clock, []))
        return stuck[-1]

    world = World(*[make] * 20)
    release = world.began_ns + 1000 * NS_PER_S
    world.clock.at.append((release, world.source.interrupt))
    with pytest.raises(SourceOpenError):
        world.source.open()
    assert len(stuck) == 4


def test_what_cannot_be_is_refused_before_anything_is_opened() -> None:
    for bad in ({"timeout_s": 0}, {"first_frame_s": -1}, {"give_up_s": -1}, {"timeout_s": float("nan")}):
        with pytest.raises(ConfigError, match=next(iter(bad))):
            World(**bad)
    with pytest.raises(ConfigError, match="stride"):
        World(stride=0)


def collect(source: Supervisor, frames: list[Frame]) -> None:
    source.open()
    frames.extend(iter(source))


@given(
    st.lists(
        st.lists(
            st.one_of(
                st.tuples(st.just("frame"), st.none() | st.floats(-1e5, 1e5)),
                st.tuples(st.just("silence"), st.floats(0, 8)),
                st.tuples(st.just("lose"), st.integers(1, 5)),
                st.just(broken()),
                st.just(ENDED),
            ),
            max_size=25,
        ),
        max_size=6,
    ),
    st.integers(1, 4),
)
def test_whatever_happens_time_and_count_go_on(connections: list[list[Event]], stride: int) -> None:
    world = World(*connections, stride=stride, give_up_s=100)
    frames: list[Frame] = []
    with pytest.raises(SourceError, match="given up"):
        collect(world.source, frames)
    assert all(a.pts_ns < b.pts_ns and a.index < b.index for a, b in pairwise(frames))
    assert all(frame.index % stride == 0 for frame in frames)
    assert world.source.stats.delivered == len(frames)
    assert world.source.stats.corrupt == sum(script.lost for script in world.made)
    assert world.states[-1] == "failed"
    assert world.clock.longest_s <= 0.25
    world.check_ledger()
