"""A player is a camera: it keeps the pace of the timestamps, goes on unwatched, and stops when told to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from streamtrack.errors import DecodeError, SourceOpenError
from streamtrack.sources._faults import parse_fault
from streamtrack.sources._playing import Player, Sent
from streamtrack.sources._spoiling import Spoiler
from streamtrack.testing.results import make_frame
from streamtrack.types import Frame, SourceInfo, SourceStats

MS = 1_000_000


class Ticking:
    """Frames every 10 ms of media, given as fast as they are taken, or each after ``takes_s``."""

    def __init__(self, count: int = 5, *, live: bool = False, takes_s: float = 0.0, breaks: bool = False) -> None:
        self.count, self.live, self.takes_s, self.breaks = count, live, takes_s, breaks
        self.stats = SourceStats()
        self.closed = 0

    def open(self) -> SourceInfo:
        if self.count < 0:
            raise SourceOpenError("It is not there.")
        return SourceInfo("ticks", 16, 16, 100.0, self.count, None, self.live)

    def __iter__(self) -> Iterator[Frame]:
        for n in range(self.count):
            time.sleep(self.takes_s)
            self.stats.corrupt = n // 2
            self.stats.damaged += n == 1
            yield Frame(n, n * 10 * MS, 16, 16, make_frame(0).picture, 12345 if self.live else None)
        if self.breaks:
            raise DecodeError("It broke.")

    def close(self) -> None:
        self.closed += 1


@contextmanager
def playing(make: Callable[[], Ticking], faults: str = "", *, loop: bool = False) -> Iterator[Player]:
    spoiler = Spoiler([parse_fault(fault) for fault in faults.split("&") if fault], 0)
    player = Player(make, spoiler, loop=loop)
    try:
        player.start()
        yield player
    finally:
        player.close()


def received(player: Player, count: int = 1_000_000) -> list[Sent]:
    out: list[Sent] = []
    with player.changed:
        while len(out) < count:
            player.changed.wait_for(lambda: player.over or player.head())
            if not player.head():
                break
            out.append(player.take())
    return out


def test_frames_come_when_they_are_due() -> None:
    began_ns = time.time_ns()
    with playing(lambda: Ticking(8)) as player:
        sent = received(player)
        assert player.now_ns() >= 70 * MS
    assert [each.at_ns for each in sent] == [n * 10 * MS for n in range(8)]
    assert [each.shot.pts_ns for each in sent] == [n * 10 * MS for n in range(8)]
    assert [each.shot.damaged for each in sent] == [False, True] + 6 * [False]
    assert began_ns <= sent[0].captured_ns < sent[-1].captured_ns <= time.time_ns()
    assert player.over
    assert player.error is None
    assert player.lost == 3


def test_time_goes_on_over_rounds() -> None:
    made: list[Ticking] = []

    def make() -> Ticking:
        made.append(Ticking(3))
        return made[-1]

    with playing(make, loop=True) as player:
        sent = received(player, 8)
    assert [each.shot.pts_ns // MS for each in sent] == [0, 10, 20, 30, 40, 50, 60, 70]
    assert [each.shot.damaged for each in sent] == [False, True, False] * 2 + [False, True]
    assert player.lost >= 2
    assert len(made) >= 3
    assert all(source.closed == 1 for source in made[:-1])


def test_faults_happen_on_the_way() -> None:
    with playing(lambda: Ticking(6), "drop@10ms&duplicate@30ms&jump@40ms=1s") as player:
        assert [each.shot.pts_ns // MS for each in received(player)] == [0, 20, 30, 30, 1040, 1050]


def test_a_live_source_keeps_its_own_pace_and_time_of_capture() -> None:
    with playing(lambda: Ticking(4, live=True, takes_s=0.02), loop=True) as player:
        sent = received(player)
        assert player.over
    assert [each.shot.pts_ns // MS for each in sent] == [0, 10, 20, 30]
    assert sent[-1].at_ns > 50 * MS
    assert {each.captured_ns for each in sent} == {12345}


def test_a_machine_too_slow_does_not_make_the_camera_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamtrack.sources._playing._SLIP_NS", 20 * MS)
    with playing(lambda: Ticking(6, takes_s=0.05)) as player:
        sent = received(player)
    assert all(each.shot.pts_ns == n * 10 * MS for n, each in enumerate(sent))
    assert sent[-1].at_ns >= 250 * MS


def test_who_comes_late_has_missed_what_was() -> None:
    with playing(lambda: Ticking(50)) as player:
        received(player, 1)
        time.sleep(0.1)
        player.tune_in(50 * MS)
        assert received(player, 1)[0].at_ns == 50 * MS


def test_what_goes_wrong_is_told() -> None:
    with pytest.raises(SourceOpenError, match="not there"), playing(lambda: Ticking(-1)):
        pass
    with playing(lambda: Ticking(2, breaks=True), loop=True) as player:
        assert len(received(player)) == 2
        assert isinstance(player.error, DecodeError)


def test_a_source_without_frames_is_not_tried_over_and_over() -> None:
    with playing(lambda: Ticking(0), loop=True) as player:
        assert received(player) == []
        assert player.over


def test_stops_while_it_waits() -> None:
    source = Ticking(2)
    source.stats.corrupt = 1
    spoiler = Spoiler([], 0)
    player = Player(lambda: source, spoiler, loop=True)
    player.start()
    player.stop()
    player.close()
    assert player.over
    assert source.closed >= 1


def test_may_be_stopped_before_it_starts() -> None:
    player = Player(Ticking, Spoiler([], 0), loop=True)
    player.stop()
    with pytest.raises(SourceOpenError, match="closed before"):
        player.start()
    player.close()


def test_may_be_closed_without_having_started() -> None:
    before = threading.active_count()
    Player(Ticking, Spoiler([], 0), loop=True).close()
    assert threading.active_count() == before
