"""Any source with scheduled faults, to rehearse what a feed does sooner or later: ``chaos:video.mp4?freeze@5s=10s``."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial

import msgspec

from streamtrack.api import Source, SourceOptions
from streamtrack.errors import ConfigError, SourceError, redact
from streamtrack.plugins import convert_options, known_options, make_source
from streamtrack.sources._connection import Arrival, FeedEnded, FeedError, FeedInfo
from streamtrack.sources._faults import BREAKS, NEVER_NS, Fault, parse_schedule
from streamtrack.sources._playing import Player, Sent
from streamtrack.sources._spoiling import Shot, Spoiler
from streamtrack.sources._supervisor import Policy, Supervisor
from streamtrack.sources._timeline import Timeline
from streamtrack.sources.sampling import Sampler, choose
from streamtrack.types import NS_PER_S, FeedState, Frame, SourceInfo, SourceStats

_ONLY_LIVE = frozenset({"refuse", "deny", "mute", "slow"})


class ChaosSource:
    """A ``Source`` around another one, with faults as ``docs/chaos.md`` lists them.

    It is a live feed: a file is played in real time, over and over, and whatever the faults do is dealt with as with a
    camera's. With ``live=0`` it is a finite source that gives its frames as fast as they are taken, always the same.
    """

    reads_query = True
    stats: SourceStats

    def __init__(
        self,
        uri: str,
        options: SourceOptions,
        *,
        live: bool | None = None,
        loop: bool | None = None,
        seed: int | None = None,
        timeout_s: float | None = None,
        first_frame_s: float | None = None,
        reconnect: bool | None = None,
        give_up_s: float | None = None,
    ) -> None:
        """Take note of the source and its faults.

        Args:
            uri: ``SOURCE?FAULT&FAULT&OPTION=VALUE``. The options below may stand there, too; None leaves it to that.
            options: what any source is asked for.
            live: whether to play it as a live feed; by default yes.
            loop: whether a live feed starts again at the end of a file; by default yes.
            seed: of everything that is left to chance; by default 0.
            timeout_s: as of the ``live`` source, and so the rest.
            first_frame_s: likewise.
            reconnect: likewise.
            give_up_s: likewise.

        Raises:
            ConfigError: a fault or an option that cannot be, here or of the source within.
            PluginError: the plug-in of the source within is broken.
        """
        choose(options.stride, options.fps, 0.0)
        text = uri.removeprefix("chaos://")
        inner, faults, written = parse_schedule(text, known_options(ChaosSource))
        patience = {
            "timeout_s": timeout_s, "first_frame_s": first_frame_s, "reconnect": reconnect, "give_up_s": give_up_s
        }  # fmt: skip
        given = {"live": live, "loop": loop, "seed": seed, **patience}
        own = convert_options("source", "chaos", ChaosSource, written)
        own |= {key: value for key, value in given.items() if value is not None}
        seed = own.get("seed", 0)
        if seed < 0:
            raise ConfigError(f"Option seed of the source 'chaos' must be 0 or more, got {seed}.")
        policy = Policy(**{key: value for key, value in own.items() if key in patience})
        label, spoiler = redact(f"chaos:{text}"), Spoiler(faults, seed)
        self._source: Source
        if own.get("live", True):
            player = partial(Player, spoiler=spoiler, loop=own.get("loop", True))
            self._source = _Feed(label, inner, options, faults, player, policy)
        else:
            self._source = _Spoiled(label, inner, options, faults, spoiler)
        self.stats = self._source.stats

    def open(self) -> SourceInfo:
        """Open the source within.

        Raises:
            SourceOpenError: it cannot be opened, or holds no video.
        """
        return self._source.open()

    def __iter__(self) -> Iterator[Frame]:
        """Yield the wanted frames that the faults leave.

        Raises:
            SourceError: the source is closed, or can no longer be read; with ``live=0``, a ``disconnect``.
        """
        return iter(self._source)

    def interrupt(self) -> None:
        """End every wait. May be called from any thread, at any time."""
        getattr(self._source, "interrupt", lambda: None)()

    def close(self) -> None:
        """Release the source within."""
        self._source.close()


class _Spoiled:
    """A source whose frames are spoilt, and nothing else: no clock, no thread, no chance."""

    def __init__(
        self, label: str, inner: str, options: SourceOptions, faults: Sequence[Fault], spoiler: Spoiler
    ) -> None:
        unfit = sorted({fault.name for fault in faults} & _ONLY_LIVE)
        if unfit:
            raise ConfigError(f"The fault '{unfit[0]}' happens to live feeds only: leave out live=0.")
        self.stats = SourceStats()
        self._label, self._options, self._spoiler = label, options, spoiler
        self._breaks = [fault for fault in faults if fault.name in BREAKS]
        self._inner = make_source(inner, msgspec.structs.replace(options, stride=1, fps=0.0), {})
        self._frames: Generator[Frame] | None = None

    def open(self) -> SourceInfo:
        info = self._inner.open()
        sampler = choose(self._options.stride, self._options.fps, info.rate)
        self._frames = self._spoil(sampler, Timeline(Fraction(1, NS_PER_S), info.rate))
        return replace(info, uri=self._label, sampling=sampler.text, sample_rate=sampler.rate)

    def _spoil(self, sampler: Sampler, timeline: Timeline) -> Generator[Frame]:
        inner, damaged, index = self._inner.stats, 0, 0
        for frame in self._inner:
            self._count_lost(inner)
            broken = next((fault for fault in self._breaks if fault.at_ns <= frame.pts_ns), None)
            if broken and broken.name == "end":
                return
            if broken:
                raise SourceError(f"{self._label} broke off, as '{broken}' says.")
            shot = Shot(frame.picture, frame.width, frame.height, frame.pts_ns, damaged=inner.damaged > damaged)
            damaged = inner.damaged
            for spoilt in self._spoiler.spoil(frame.pts_ns, shot):
                time_ns, repaired = timeline.place(spoilt.pts_ns)
                wanted = sampler.wants(index, time_ns)
                self._count(wanted, damaged=spoilt.damaged, repaired=repaired)
                if wanted:
                    yield Frame(index, time_ns, spoilt.width, spoilt.height, spoilt.picture, frame.captured_ns)
                index += 1
        self._count_lost(inner)

    def _count_lost(self, inner: SourceStats) -> None:
        self.stats.seen += inner.corrupt - self.stats.corrupt
        self.stats.corrupt = inner.corrupt

    def _count(self, wanted: bool, *, damaged: bool, repaired: bool) -> None:
        self.stats.seen += 1
        self.stats.delivered += wanted
        self.stats.strided += not wanted
        self.stats.damaged += wanted and damaged
        self.stats.pts_repaired += wanted and repaired

    def __iter__(self) -> Iterator[Frame]:
        if self._frames is None:
            raise SourceError(f"{self._label} is closed: open it again to read it.")
        return self._frames

    def interrupt(self) -> None:
        getattr(self._inner, "interrupt", lambda: None)()

    def close(self) -> None:
        frames, self._frames = self._frames, None
        if frames is not None:
            frames.close()
        self._inner.close()


class _Feed:
    """A source played as a camera, and looked after like one."""

    def __init__(
        self,
        label: str,
        inner: str,
        options: SourceOptions,
        faults: Sequence[Fault],
        make_player: Callable[[Callable[[], Source]], Player],
        policy: Policy,
    ) -> None:
        self._faults, self._on_state, self._opened = faults, options.on_state, False
        whole = msgspec.structs.replace(options, stride=1, fps=0.0, on_state=self._tell_of_opening)
        self._player = make_player(partial(make_source, inner, whole, {}))
        self._supervisor = Supervisor(label, options, self._connect, policy)
        self.stats = self._supervisor.stats
        self._connections = 0

    def _tell_of_opening(self, state: FeedState, reason: str) -> None:
        # Later on the feed's state is what comes out of here, not what goes in.
        if not self._opened:
            self._on_state(state, reason)

    def open(self) -> SourceInfo:
        self._inner_info = self._player.start()
        self._opened = True
        return self._supervisor.open()

    def _connect(self) -> _Connection:
        # The first attempt comes a moment after the clock has begun, and means its beginning.
        opened_ns = self._player.now_ns() if self._connections else 0
        self._connections += 1
        info = FeedInfo(self._inner_info.codec, self._inner_info.rate)
        return _Connection(self._player, self._faults, info, opened_ns, self._supervisor.interrupt)

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._supervisor)

    def interrupt(self) -> None:
        self._supervisor.interrupt()
        self._player.stop()

    def close(self) -> None:
        self._supervisor.close()
        self._player.close()


class _Connection:
    """What one connection gets of what is played.

    Args:
        player: plays the source.
        faults: the schedule.
        info: of the source.
        opened_ns: when it was made, by the player's clock.
        on_end: called when there is nothing more to play.
    """

    def __init__(
        self, player: Player, faults: Sequence[Fault], info: FeedInfo, opened_ns: int, on_end: Callable[[], None]
    ) -> None:
        self.info = info
        self._player, self._on_end = player, on_end
        self.lost, self.dropped, self._lost_before = 0, 0, player.lost
        holding = {fault.name for fault in faults if fault.name not in BREAKS and fault.holds(opened_ns)}
        self._error: FeedError | None = None
        if "refuse" in holding:
            self._error = FeedError("connection refused, by the schedule")
        elif "deny" in holding:
            self._error = FeedError("wrong user name or password, by the schedule", lasting=True)
        self._mute = "mute" in holding
        self._delays = [fault for fault in faults if fault.name == "slow"]
        breaks = [(fault.following(opened_ns), fault.name) for fault in faults if fault.name in BREAKS]
        self._breaks_ns, self._break = min(
            ((at, name) for at, name in breaks if at is not None), default=(NEVER_NS, "")
        )
        player.tune_in(opened_ns)

    def read(self, timeout_s: float) -> Arrival | None:
        """Return the next picture, as ``Connection.read``."""
        if self._error:
            raise self._error
        player = self._player
        deadline_ns = player.now_ns() + round(timeout_s * NS_PER_S)
        with player.changed:
            while True:
                self.lost = player.lost - self._lost_before
                now_ns = player.now_ns()
                due_ns = self._due_ns()
                if due_ns <= now_ns and due_ns < self._breaks_ns:
                    return _arrival(player.take(), time.monotonic_ns() - (player.now_ns() - due_ns))
                if now_ns >= self._breaks_ns:
                    raise FeedEnded if self._break == "end" else FeedError("broken off, by the schedule")
                if player.over and not player.head():
                    if player.error:
                        raise player.error
                    self._on_end()
                    return None
                if now_ns >= deadline_ns:
                    return None
                player.changed.wait((min(due_ns, deadline_ns, self._breaks_ns) - now_ns) / NS_PER_S)

    def _due_ns(self) -> int:
        sent = self._player.head()
        if sent is None or self._mute:
            return NEVER_NS
        return sent.at_ns + max((fault.amount_ns for fault in self._delays if fault.holds(sent.at_ns)), default=0)

    def close(self) -> None:
        """Let go of it, as ``Connection.close``."""


def _arrival(sent: Sent, arrived_ns: int) -> Arrival:
    shot = sent.shot
    return Arrival(shot.picture, shot.width, shot.height, shot.pts_ns, arrived_ns, sent.captured_ns, shot.damaged)
