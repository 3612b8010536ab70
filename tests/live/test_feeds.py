"""Feeds of every kind from a real ffmpeg or over HTTP: watched, killed, and found again; and a hundred reconnects."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import groupby, islice, pairwise
from pathlib import Path

import pytest
from servers import (
    CLIP_FRAMES,
    Clips,
    FlvFeed,
    HlsFeed,
    MjpegFeed,
    MutePort,
    RefusedPort,
    RtmpFeed,
    RtspServer,
    Server,
    TsHttpFeed,
    TsTcpFeed,
    TsUdpFeed,
    Wire,
    needs_servers,
    wait_for,
)
from watching import Watch

from streamtrack.api import SourceOptions
from streamtrack.sources import _backoff
from streamtrack.sources.live import LiveSource

pytestmark = needs_servers

KINDS = (RtmpFeed, FlvFeed, TsHttpFeed, TsTcpFeed, TsUdpFeed, MjpegFeed, HlsFeed)
QUICK = {"timeout_s": 3.0, "first_frame_s": 6.0}
# MJPEG shows the first 4 s.
TURNS = {MjpegFeed: 100}


def _kill_and_restart(kind: type[Server], clips: Clips, folder: Path) -> Watch:
    server: Server = kind(clips, folder) if kind is HlsFeed else kind(clips)  # type: ignore[call-arg,arg-type]
    # What ends in .ts is a recording unless one says otherwise.
    with server, Watch(f"live:{server.url}", **QUICK) as watch:
        watch.see(30)
        killed_s = time.monotonic()
        server.kill()
        lost = watch.hear("reconnecting", after_s=killed_s)
        server.start()
        back = watch.hear("live", after_s=lost.at_s)
        watch.see(30, after_s=back.at_s)
        watch.stop()
        wait_for(watch.is_gone, "the connection is still there")
    return watch


@pytest.fixture(scope="module")
def watches(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> dict[type[Server], Future[Watch]]:
    """What became of a feed of each kind; they are killed at the same time."""
    with ThreadPoolExecutor(len(KINDS)) as pool:
        folder = tmp_path_factory.mktemp("feeds")
        return {kind: pool.submit(_kill_and_restart, kind, clips, folder) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_feed_that_is_killed_is_found_again(watches: dict[type[Server], Future[Watch]], kind: type[Server]) -> None:
    watch = watches[kind].result()
    states = [state for state, _ in groupby(watch.states)]
    assert [state for state in states if state != "stalled"] == ["connecting", "live", "reconnecting", "live"]
    assert watch.info is not None
    assert watch.info.live
    assert watch.stats.reconnects == 1
    assert all(a.index < b.index and a.pts_ns < b.pts_ns for a, b in pairwise(watch.shown))
    (lost_s,) = (told.at_s for told in watch.told if told.state == "reconnecting" and "attempt 1)" in told.reason)
    turn = TURNS.get(kind, CLIP_FRAMES)
    for part in ([s for s in watch.shown if s.at_s < lost_s], [s for s in watch.shown if s.at_s > lost_s]):
        assert len(part) >= 25
        # Pictures and indexes go on side by side, but for one step: killing cuts a picture in two, and the playlist of
        # HLS leads from what was there before over to what is new.
        steps = [(b.number - a.number - b.index + a.index) % turn for a, b in pairwise(part)]
        assert sum(step != 0 for step in steps) <= 1
    assert watch.ledger is not None
    assert sum(watch.ledger[1:]) == watch.ledger.seen


def test_a_cable_that_is_pulled_in_the_middle_of_a_packet(clips: Clips) -> None:
    with RtspServer(clips) as server, Wire(server) as wire, Watch(wire.url, **QUICK) as watch:
        watch.see(10)
        wire.cut()
        lost = watch.hear("reconnecting", saying="no frame for")
        wire.mend()
        back = watch.hear("live", after_s=lost.at_s)
        watch.see(10, after_s=back.at_s)
    assert [state for state, _ in groupby(watch.states)] == ["connecting", "live", "stalled", "reconnecting", "live"]
    assert all(a.index < b.index and a.pts_ns < b.pts_ns for a, b in pairwise(watch.shown))


def test_who_does_not_want_to_wait_for_ever_is_told_why_it_ended(clips: Clips) -> None:
    with RtspServer(clips) as server, Watch(server.url, give_up_s=1.5) as watch:
        watch.see(5)
        server.kill()
        error = watch.end()
        assert "broke off: nothing listens there" in str(error)
        assert "given up after" in str(error)
        assert watch.states[-1] == "failed"
    with RefusedPort() as port, Watch(f"rtsp://127.0.0.1:{port.port}/live", reconnect=False) as watch:
        assert "cannot be opened: nothing listens there" in str(watch.end())
    with MutePort() as mute, Watch(f"rtsp://127.0.0.1:{mute.port}/live", reconnect=False, first_frame_s=0.5) as watch:
        assert "check that it is up" in str(watch.end())


@contextmanager
def hanging_up(data: bytes) -> Iterator[int]:
    """Serve ``data`` on a port, whole, to one client after the other, and hang up."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                client, _ = listener.accept()
                with client:
                    client.sendall(data)
                    client.shutdown(socket.SHUT_WR)
                    client.recv(1)

    thread = threading.Thread(target=serve, name="test-hanging-up")
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        with contextlib.suppress(OSError), socket.create_connection(listener.getsockname(), timeout=1):
            pass
        thread.join()
        listener.close()


def _resident_kb() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE") // 1024


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_hundred_reconnects_leave_nothing_behind(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_backoff.Backoff, "next_s", lambda self, *, lasting=False: 0.01)
    short = clips.ts(20)
    per_connection = 20
    with hanging_up(short.read_bytes()) as port:
        source = LiveSource(f"tcp://127.0.0.1:{port}", SourceOptions())
        source.open()
        frames = iter(source)
        seen = []
        for _ in range(4):
            for frame in islice(frames, 34 * per_connection):
                last = frame
            gc.collect()
            seen.append((source.stats.reconnects, threading.active_count(), _open_files(), _resident_kb()))
        source.close()
    reconnects, threads, files, memory_kb = zip(*seen, strict=True)
    assert reconnects[-1] >= 130
    assert last.index == 4 * 34 * per_connection - 1
    # A thread or a socket per connection would be a hundred more.
    assert max(threads) <= threads[0] + 3
    assert max(files) <= files[0] + 6
    # A connection that was kept would cost more than 100 kB each.
    assert memory_kb[-1] - memory_kb[0] < 4_000, seen
