"""The equipment itself: every feed is one, and each switch for trouble makes that trouble, seen with plain PyAV."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from servers import (
    CLIP_FRAMES,
    FPS,
    GOP,
    SIZE,
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
    read_clock,
)

from streamtrack.testing.clips import UInt8Array, read_index

pytestmark = needs_servers

QUICK = {"fpsprobesize": "0", "analyzeduration": "200000"}


@contextmanager
def opened(url: str, transport: str = "tcp", silence_s: float = 20.0) -> Iterator[Any]:
    """Open a feed and wait for each packet for ``silence_s`` at most."""
    options = {**QUICK, "rtsp_transport": transport} if url.startswith("rtsp") else QUICK
    with av.open(url, options=options, timeout=(20.0, silence_s)) as container:
        container.streams.video[0].thread_type = "SLICE"
        yield container


def pictures(container: Any) -> Iterator[UInt8Array]:
    for frame in container.decode(video=0):
        yield frame.to_ndarray(format="rgb24")


def numbers(container: Any, count: int) -> list[int]:
    stream = pictures(container)
    return [read_index(next(stream)) for _ in range(count)]


def follow(first: int, count: int) -> list[int]:
    return [(first + offset) % CLIP_FRAMES for offset in range(count)]


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_rtsp_shows_every_frame_in_order(clips: Clips, transport: str) -> None:
    with RtspServer(clips) as server, opened(server.url, transport) as container:
        seen = numbers(container, 20)
    assert seen == follow(seen[0], 20)


@pytest.mark.parametrize("size", [SIZE, "160x96"])
def test_the_clock_in_the_pixels_is_the_wall_clock(clips: Clips, size: str) -> None:
    with RtspServer(clips, clock=True, size=size) as server, opened(server.url) as container:
        before = time.time_ns() // 1_000_000 - 2_000
        seen = [read_clock(next(pictures(container))) for _ in range(5)]
    assert before < seen[0]
    assert seen == sorted(set(seen))
    assert seen[-1] <= time.time_ns() // 1_000_000


@pytest.mark.parametrize("digest", [False, True], ids=["basic", "digest"])
def test_rtsp_lets_in_who_may_watch(clips: Clips, digest: bool) -> None:
    with RtspServer(clips, user="anna", password="pass-9", digest=digest) as server:
        with opened(server.url) as container:
            assert numbers(container, 1)
        for url, error in (
            (server.url_for(), av.HTTPUnauthorizedError),
            (server.url_for("anna", "wrong"), av.HTTPUnauthorizedError),
            (server.url_for("anna", "pass-9", "/nowhere"), av.HTTPNotFoundError),
        ):
            with pytest.raises(error), opened(url):
                pass


def test_rtsp_trouble_that_a_client_may_sit_out(clips: Clips) -> None:
    """A pause, a freeze, a new size and timestamps that begin again: one connection sees them all."""
    with RtspServer(clips, sizes=["160x96"]) as server, opened(server.url) as container:
        frames = container.decode(video=0)
        first, times = read_index(next(frames).to_ndarray(format="rgb24")), [0.0]

        def watch(count: int) -> list[int]:
            shown = list(itertools.islice(frames, count))
            times.extend(frame.time for frame in shown if frame.pts is not None)
            return [read_index(frame.to_ndarray(format="rgb24")) for frame in shown]

        seen = [first, *watch(5)]
        server.pause(0.6)
        seen += watch(5)
        assert max(np.diff(times)) > 0.5
        server.freeze()
        time.sleep(0.6)
        server.thaw()
        seen += watch(5)
        server.set_size("160x96")
        seen += watch(GOP + 2)
        server.restart_timestamps()
        # On a busy machine, some frames of before are still on their way.
        while min(np.diff(times)) > 0 and len(seen) < 100:
            seen += watch(5)
        last = next(frames)
    assert seen == follow(first, len(seen))
    assert (last.width, last.height) == (160, 96)
    assert min(np.diff(times)) < -0.5


def test_rtsp_loses_packets(clips: Clips) -> None:
    with RtspServer(clips) as server, opened(server.url) as container:
        packets = container.demux(video=0)
        server.set_loss(0.3)
        stamps = [packet.pts for packet in itertools.islice(packets, 40) if packet.pts is not None]
        server.set_loss(0.0)
    assert max(np.diff(stamps)) > 90_000 // FPS


def test_rtsp_mute_answers_but_shows_nothing(clips: Clips) -> None:
    with RtspServer(clips, mute=True) as server:
        sizes: list[int] = []
        with opened(server.url, "udp", silence_s=0.5) as container, pytest.raises(av.ExitError):
            sizes.extend(packet.size for packet in container.demux(video=0))
        assert sum(sizes) < 10
        server.set_mute(False)
        with opened(server.url) as container:
            assert numbers(container, 1)


FEEDS = (RtspServer, RtmpFeed, FlvFeed, TsHttpFeed, TsTcpFeed, TsUdpFeed, MjpegFeed, HlsFeed)


def feed(kind: type[Any], clips: Clips, folder: Path) -> Server:
    server: Server = kind(clips, folder) if kind is HlsFeed else kind(clips)
    return server


@pytest.mark.parametrize("kind", FEEDS)
def test_a_feed_that_is_killed_comes_back_where_it_was(clips: Clips, tmp_path: Path, kind: type[Server]) -> None:
    with feed(kind, clips, tmp_path) as server:
        url = server.url
        for _ in range(2):
            # A dead UDP feed is silence, which takes two timeouts.
            with opened(url, silence_s=1.0) as container:
                seen = numbers(container, 10)
                assert seen == follow(seen[0], 10)
                server.kill()
                with contextlib.suppress(av.FFmpegError):
                    left = sum(1 for _ in container.demux(video=0))
                    # What was on its way: a playlist has some seconds of it.
                    assert left < 100
            server.restart()
        assert server.url == url


def test_a_feed_for_one_client_at_a_time_waits_for_the_next(clips: Clips) -> None:
    with TsTcpFeed(clips) as server:
        for _ in range(2):
            server.wait_until_listening()
            with opened(server.url) as container:
                assert numbers(container, 3) == [0, 1, 2]


def test_hls_stands_still_with_its_encoder(clips: Clips, tmp_path: Path) -> None:
    with HlsFeed(clips, tmp_path) as server:
        server.freeze_encoder()
        playlist = urllib.request.urlopen(server.url).read()
        time.sleep(0.8)
        assert urllib.request.urlopen(server.url).read() == playlist
    assert b"ENDLIST" not in playlist


def test_http_says_what_it_will_not_serve(clips: Clips) -> None:
    with MjpegFeed(clips) as server:
        with pytest.raises(av.HTTPUnauthorizedError):
            av.open(server.url_for("/locked"))
        with pytest.raises(av.HTTPNotFoundError):
            av.open(server.url_for("/nothing.ts"))


def test_a_wire_that_is_cut_and_mended_in_time_loses_nothing(clips: Clips) -> None:
    with RtspServer(clips) as server, Wire(server) as wire, opened(wire.url) as container:
        first = numbers(container, 5)
        wire.cut()
        threading.Timer(0.7, wire.mend).start()
        before = time.monotonic()
        seen = first + numbers(container, 10)
    assert seen == follow(first[0], 15)
    assert time.monotonic() - before > 0.5


def test_a_wire_that_stays_cut_is_silent(clips: Clips) -> None:
    with RtspServer(clips) as server, Wire(server) as wire, opened(wire.url, silence_s=0.5) as container:
        wire.cut()
        with pytest.raises(av.ExitError):
            numbers(container, 50)


def test_ports_that_refuse_or_never_answer() -> None:
    with RefusedPort() as refused, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", refused.port))
    with MutePort() as mute, socket.create_connection(("127.0.0.1", mute.port), timeout=0.2) as client:
        client.sendall(b"OPTIONS * RTSP/1.0\r\n\r\n")
        with pytest.raises(TimeoutError):
            client.recv(1)


@pytest.mark.parametrize("kind", FEEDS)
def test_nothing_is_left_when_the_tests_are_killed(clips: Clips, tmp_path: Path, kind: type[Server]) -> None:
    """Every child ends with its stdin, which is all that a killed parent can do for it."""
    server = feed(kind, clips, tmp_path)
    with server:
        children = server.children
        for child in children:
            assert child.stdin is not None
            child.stdin.close()
        for child in children:
            child.wait(timeout=10)
