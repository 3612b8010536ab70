"""What goes wrong with a camera, done to a real one while a run watches it: the rows of the table of faults."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, Final

from servers import CLIP_FRAMES, FPS, SIZE, Clips, RtspServer
from watching import Told, Watch

from streamtrack.types import NS_PER_S, FeedState

OTHER_SIZE: Final = "160x96"
USER, PASSWORD, ANOTHER = "anna", "pass-9", "word-8"
_BEFORE, _AFTER = 20, 20

Act = Callable[[RtspServer], object]


def _nothing(server: RtspServer) -> None:
    """Some faults mend themselves."""


def _lock(server: RtspServer) -> None:
    server.kill()
    server.password = ANOTHER
    server.start()


def _unlock(server: RtspServer) -> None:
    server.kill()
    server.password = PASSWORD
    server.start()


def _move(server: RtspServer) -> None:
    server.kill()
    server.path = "/moved"
    server.start()


def _move_back(server: RtspServer) -> None:
    server.kill()
    server.path = "/live"
    server.start()


class _Impostor:
    """Takes connections on a dead server's port and says nothing."""

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}

    def strike(self, server: RtspServer) -> None:
        server.kill()
        self._sockets[server.port] = socket.create_server(("127.0.0.1", server.port))

    def mend(self, server: RtspServer) -> None:
        self._sockets.pop(server.port).close()
        server.start()


_IMPOSTOR = _Impostor()


@dataclass(frozen=True)
class Fault:
    """Something that happens to a camera, and how it is put right."""

    name: str
    strike: Act
    mend: Act = _nothing
    lasts_s: float = 0.0
    """From the strike to the mending, at least."""
    noticed: FeedState | None = None
    """What is told; mending waits for it."""
    saying: str = ""
    """Part of the reason."""
    states: tuple[FeedState, ...] = ("connecting", "live")
    """All that are told, in order."""
    at_start: bool = False
    """Whether it strikes before the run begins."""
    restarts: bool = False
    """Whether the camera counts its frames anew afterwards."""
    keeps_ids: bool | None = None
    """Whether tracks go on; None where that depends on how long the gap becomes."""
    most_lost: int = 0
    """Frames that the camera made and the run may never see, beside those made between mending and recovery."""


RECONNECTED: Final[tuple[FeedState, ...]] = ("connecting", "live", "reconnecting", "live")
STALLED: Final[tuple[FeedState, ...]] = ("connecting", "live", "stalled", "live")
GIVEN_UP: Final[tuple[FeedState, ...]] = ("connecting", "live", "stalled", "reconnecting", "live")

# A new connection begins at a keyframe, and the camera has been up for a moment.
_JOINED = 100

FAULTS: Final = (
    Fault("absent at start", RtspServer.kill, RtspServer.start, 1.0, "connecting", "nothing listens", at_start=True),
    Fault(
        "restarted at once", RtspServer.kill, RtspServer.start, 0.0, "reconnecting",
        states=RECONNECTED, restarts=True, most_lost=_JOINED,
    ),
    Fault(
        "killed, back after 4 s", RtspServer.kill, RtspServer.start, 4.0, "reconnecting",
        states=RECONNECTED, restarts=True, keeps_ids=False, most_lost=_JOINED,
    ),
    Fault("frozen for 1 s", RtspServer.freeze, RtspServer.thaw, 1.0, keeps_ids=True),
    Fault("frozen for longer", RtspServer.freeze, RtspServer.thaw, 3.5, "reconnecting", "no frame for",
          states=GIVEN_UP, keeps_ids=False, most_lost=_JOINED),
    Fault("paused for 1 s", lambda server: server.pause(1.0), lasts_s=1.0, keeps_ids=True),
    Fault("paused for 2.8 s", lambda server: server.pause(2.8), lasts_s=2.8, noticed="stalled",
          states=STALLED, keeps_ids=False),
    Fault("password changed", _lock, _unlock, 0.5, "reconnecting", "refuses these credentials",
          states=RECONNECTED, restarts=True, most_lost=_JOINED),
    Fault("wrong password", _lock, _unlock, 0.5, "connecting", "refuses these credentials", at_start=True),
    Fault("missing path", _move, _move_back, 0.5, "connecting", "nothing under that path", at_start=True),
    Fault("another size", lambda server: server.set_size(OTHER_SIZE), lasts_s=1.5, keeps_ids=False),
    Fault("5 % of packets lost", lambda server: server.set_loss(0.05), lambda server: server.set_loss(0.0), 3.0,
          keeps_ids=True, most_lost=75),
    Fault("timestamps begin again", RtspServer.restart_timestamps, lasts_s=0.5, keeps_ids=True),
    Fault("timestamps jump 1 h ahead", lambda server: server.jump(3600), lasts_s=0.5, keeps_ids=True),
    Fault("timestamps jump 30 s back", lambda server: server.jump(-30), lasts_s=0.5, keeps_ids=True),
    Fault("takes connections, says nothing", _IMPOSTOR.strike, _IMPOSTOR.mend, 0.5, "connecting", "next try",
          at_start=True),
    Fault("answers, sends no frame", lambda server: server.set_mute(True), lambda server: server.set_mute(False), 0.5,
          "connecting", "next try", at_start=True),
    Fault("falls silent", lambda server: server.set_mute(True), lambda server: server.set_mute(False), 0.5,
          "reconnecting", "no frame for", states=GIVEN_UP, keeps_ids=False, most_lost=CLIP_FRAMES - 1),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What a run made of a fault. Times are monotonic seconds."""

    fault: Fault
    watch: Watch
    struck_s: float
    noticed: Told | None
    mended_s: float
    back_s: float
    """When the run was told that the feed is back; when it was mended, where it was told nothing."""
    recovered_s: float
    """When the next result was there."""

    @property
    def states(self) -> tuple[FeedState, ...]:
        """What was told, each state once in a row."""
        return tuple(state for state, _ in groupby(self.watch.states))

    @property
    def next_try_s(self) -> float:
        """The wait that the last failure before the recovery announced; 0 where none did."""
        waits = [told.reason for told in self.watch.told if "next try in " in told.reason]
        return float(waits[-1].partition("next try in ")[2].split()[0]) if waits else 0.0

    @property
    def lost(self) -> int:
        """Frames that the camera made between the first and the last one seen, and that never became a frame."""
        numbered = [shown for shown in self.watch.shown if shown.number is not None]
        lost = 0
        for a, b in pairwise(numbered):
            assert a.number is not None
            assert b.number is not None
            made = _least_turn(b.number - a.number, round((b.pts_ns - a.pts_ns) * FPS / NS_PER_S))
            if self.fault.restarts and a.at_s < self.back_s <= b.at_s:
                made = b.number + 1
            lost += made - (b.index - a.index)
        return lost

    @property
    def kept_id(self) -> bool:
        """Whether what was there before the fault has the same id after it."""
        before = [shown.ids for shown in self.watch.shown if shown.at_s <= self.struck_s and shown.ids]
        return not before or self.watch.shown[-1].ids == before[-1]

    @property
    def longest_gap_s(self) -> float:
        """Media time between two results."""
        return max(b.pts_ns - a.pts_ns for a, b in pairwise(self.watch.shown)) / NS_PER_S


def _least_turn(difference: int, expected: int) -> int:
    """Return by how many a number that starts again after the clip has advanced.

    A garbled picture may say a wrong number: then what is nearest to ``expected`` makes up for it at the next one. A
    camera that stood still advanced by less than the time says.
    """
    if expected >= 2 * FPS:
        return difference % CLIP_FRAMES
    return difference + CLIP_FRAMES * round((expected - difference) / CLIP_FRAMES)


def rehearse(clips: Clips, fault: Fault, *, transport: str, digest: bool, options: Mapping[str, Any]) -> Outcome:
    """Let ``fault`` happen to a camera that a run watches.

    Args:
        clips: what it shows.
        fault: what happens.
        transport: ``tcp`` or ``udp``.
        digest: ask for the password the digest way.
        options: further ones of the source.
    """
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(
            RtspServer(clips, sizes=[OTHER_SIZE], user=USER, password=PASSWORD, digest=digest, size=SIZE)
        )
        watch = Watch(server.url, transport=transport, **options)
        if not fault.at_start:
            stack.enter_context(watch)
            watch.see(_BEFORE)
        struck_s = time.monotonic()
        fault.strike(server)
        if fault.at_start:
            struck_s = time.monotonic()
            stack.enter_context(watch)
        noticed = watch.hear(fault.noticed, after_s=struck_s, saying=fault.saying) if fault.noticed else None
        time.sleep(max(0.0, struck_s + fault.lasts_s - time.monotonic()))
        fault.mend(server)
        mended_s = back_s = time.monotonic()
        if noticed is not None:
            # A server is up before it says so.
            back_s = watch.hear("live", after_s=noticed.at_s).at_s
        recovered_s = watch.see(_AFTER, after_s=back_s)[0].at_s
    return Outcome(fault, watch, struck_s, noticed, mended_s, back_s, recovered_s)
