"""Real feeds from a thread of the test; the many ways in which real servers fail are in tests/live."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path

import pytest
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamtrack.api import SourceOptions
from streamtrack.errors import ConfigError, SourceError, SourceOpenError
from streamtrack.sources._avfeed import _Receiver
from streamtrack.sources.live import LiveSource
from streamtrack.testing.clips import indexed_frames, read_index, write_clip
from streamtrack.types import FeedState, Frame, SourceStats

FPS = 25
CLIP = 50
GOP = {"g": "10", "tune": "zerolatency", "sc_threshold": "0"}
LONG_S = 20.0


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Two seconds of MPEG-TS."""
    folder = tmp_path_factory.mktemp("feed")
    return write_clip(folder / "clip.ts", indexed_frames(CLIP), rate=FPS, options=GOP).read_bytes()


@pytest.fixture(scope="module")
def jpegs(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("jpegs")
    return [
        write_clip(folder / f"{n}.mjpeg", [picture], codec="mjpeg", pix_fmt="yuvj420p").read_bytes()
        for n, picture in enumerate(indexed_frames(10))
    ]


class TcpServer:
    """Sends each client in turn what its part of the script says, and hangs up or, at the end, stays silent."""

    def __init__(self, *script: Callable[[socket.socket], None]) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> TcpServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        # Closing alone does not wake whoever waits in accept.
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            pass
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        for part in self._script:
            client, _ = self._listener.accept()
            with client, contextlib.suppress(OSError):
                if self._over.is_set():
                    return
                part(client)
        with contextlib.suppress(OSError):
            client, _ = self._listener.accept()
            with client:
                self._over.wait(LONG_S)


def in_pieces(data: bytes, seconds: float) -> Callable[[socket.socket], None]:
    """Return what sends ``data`` at an even pace."""

    def send(client: socket.socket) -> None:
        pieces = [data[at : at + 1316] for at in range(0, len(data), 1316)]
        for piece in pieces:
            client.sendall(piece)
            time.sleep(seconds / len(pieces))

    return send


def multipart(jpegs: Sequence[bytes], times: int) -> Callable[[socket.socket], None]:
    def send(client: socket.socket) -> None:
        client.recv(4096)
        client.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=cut\r\n\r\n")
        for jpeg in list(jpegs) * times:
            client.sendall(b"--cut\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(jpeg), jpeg))
            time.sleep(0.03)

    return send


def status(line: str) -> Callable[[socket.socket], None]:
    def send(client: socket.socket) -> None:
        client.recv(4096)
        client.sendall(f"HTTP/1.0 {line}\r\nContent-Length: 0\r\n\r\n".encode())

    return send


class Told:
    def __init__(self) -> None:
        self.states: list[tuple[FeedState, str]] = []
        self.options = SourceOptions(on_state=lambda state, reason: self.states.append((state, reason)))


@contextlib.contextmanager
def opened(uri: str, told: Told | None = None, **own: float | bool | str) -> Iterator[LiveSource]:
    source = LiveSource(uri, (told or Told()).options, **own)  # type: ignore[arg-type]
    try:
        source.open()
        yield source
    finally:
        source.close()


def numbers(frames: Sequence[Frame]) -> list[int]:
    return [read_index(frame.rgb()) for frame in frames]


def test_a_feed_is_decoded_from_its_first_keyframe_with_its_own_time(clip: bytes) -> None:
    with TcpServer(in_pieces(clip, 1.0)) as server, opened(f"tcp://127.0.0.1:{server.port}") as source:
        frames = list(islice(source, 40))
    assert (source.info.live, source.info.codec, source.info.width, source.info.rate) == (True, "h264", 160, 25.0)
    assert numbers(frames) == list(range(40))
    assert [frame.pts_ns for frame in frames] == [n * 40_000_000 for n in range(40)]
    assert all(abs(frame.captured_ns - time.time_ns()) < 60e9 for frame in frames if frame.captured_ns is not None)
    assert {frame.captured_ns is None for frame in frames} == {False}
    assert source.stats.dropped == 0


def test_joined_in_the_middle_it_waits_for_a_keyframe_and_counts_what_it_left_out(clip: bytes) -> None:
    packets = [clip[at : at + 188] for at in range(0, len(clip), 188)]
    tables = b"".join(packets[:3])
    middle = tables + b"".join(packets[len(packets) // 2 :])
    with TcpServer(in_pieces(middle, 1.0)) as server, opened(f"tcp://127.0.0.1:{server.port}") as source:
        frames = list(islice(source, 8))
    first = read_index(frames[0].rgb())
    assert first % 10 == 0
    assert numbers(frames) == list(range(first, first + 8))
    assert frames[0].index == 0
    stats = source.stats
    assert stats.seen == stats.corrupt + stats.delivered + stats.strided


def test_a_server_that_hangs_up_is_found_again_and_time_goes_on(clip: bytes) -> None:
    told = Told()
    with (
        TcpServer(in_pieces(clip, 0.5), in_pieces(clip, 0.5)) as server,
        opened(f"tcp://127.0.0.1:{server.port}", told) as source,
    ):
        frames = list(islice(source, 2 * CLIP - 10))
    assert numbers(frames) == [*range(CLIP), *range(CLIP - 10)]
    assert all(a.pts_ns < b.pts_ns and a.index + 1 == b.index for a, b in pairwise(frames))
    assert source.stats.reconnects == 1
    assert [state for state, _ in told.states] == ["connecting", "live", "reconnecting", "live"]


def late(clip: bytes, monkeypatch: pytest.MonkeyPatch, cost_s: float) -> tuple[list[int], SourceStats]:
    """Return the numbers of the frames of a feed of 4 s of which each packet takes ``cost_s`` to decode."""
    decode = _Receiver._decode

    def slowly(self: _Receiver, packet: Packet[VideoStream]) -> list[VideoFrame]:
        time.sleep(cost_s)
        return decode(self, packet)

    monkeypatch.setattr(_Receiver, "_decode", slowly)
    frames: list[Frame] = []
    with TcpServer(in_pieces(clip, 4.0)) as server:
        source = LiveSource(f"tcp://127.0.0.1:{server.port}", SourceOptions(), reconnect=False)
        source.open()
        with contextlib.closing(source), pytest.raises(SourceError, match="ended the feed"):
            frames.extend(source)
    assert all(a.pts_ns < b.pts_ns and a.index + 1 == b.index for a, b in pairwise(frames))
    stats = source.stats
    assert stats.seen == stats.dropped + stats.corrupt + stats.delivered
    assert (stats.corrupt, stats.damaged, stats.pts_repaired) == (0, 0, 0)
    return numbers(frames), stats


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {"g": "20", "bf": "0", "sc_threshold": "0"}),
        ("libx264", {"x264-params": "keyint=20:min-keyint=20:bframes=2:b-adapt=0:scenecut=0:open-gop=1"}),
        ("libx265", {"x265-params": "keyint=20:min-keyint=20:bframes=2:b-adapt=0:scenecut=0:open-gop=1:log-level=0"}),
        ("mpeg2video", {"g": "20", "bf": "0", "sc_threshold": "1000000000"}),
    ],
)
def test_what_is_decoded_too_slowly_loses_frames_and_is_not_late(
    codec: str, options: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = write_clip(tmp_path / "clip.ts", indexed_frames(200), codec=codec, rate=50, options=options).read_bytes()
    seen, stats = late(film, monkeypatch, 0.05)
    assert seen == sorted(set(seen))
    # Decoders may hold the last few when the feed breaks off.
    assert 195 <= stats.seen <= 200
    assert stats.dropped > 40
    assert max(seen) > 100


def test_what_is_hardly_too_slow_loses_only_what_nothing_refers_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"x264-params": "keyint=250:bframes=1:b-adapt=0:scenecut=0"}
    film = write_clip(tmp_path / "clip.ts", indexed_frames(200), rate=50, options=options).read_bytes()
    seen, stats = late(film, monkeypatch, 0.028)
    left_out = set(range(max(seen))) - set(seen)
    assert len(left_out) > 10
    assert stats.dropped - len(left_out) in range(3)
    assert {number % 2 for number in left_out} == {min(left_out) % 2}


def test_pictures_over_http_are_timed_by_their_arrival(jpegs: list[bytes]) -> None:
    with TcpServer(multipart(jpegs, 4)) as server, opened(f"http://127.0.0.1:{server.port}/cam") as source:
        frames = list(islice(source, 30))
    assert (source.info.codec, source.info.live) == ("mjpeg", True)
    assert numbers(frames) == [n % 10 for n in range(30)]
    assert 5 < source.info.rate < 40
    assert source.stats.pts_repaired == 0


def test_a_recording_over_http_has_an_end(tmp_path: Path) -> None:
    film = write_clip(
        tmp_path / "film.mp4", indexed_frames(12), options=GOP, container_options={"movflags": "faststart"}
    ).read_bytes()

    def send(client: socket.socket) -> None:
        client.recv(4096)
        client.sendall(
            b"HTTP/1.0 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: %d\r\n\r\n%b" % (len(film), film)
        )

    with TcpServer(send) as server, opened(f"http://127.0.0.1:{server.port}/watch") as source:
        assert (source.info.live, source.info.frames_estimate) == (False, 12)
        frames = list(source)
    assert numbers(frames) == list(range(12))
    assert {frame.captured_ns for frame in frames} == {None}


@pytest.mark.parametrize(
    ("line", "reason"),
    [("401 Unauthorized", "credentials"), ("404 Not Found", "nothing under that path"), ("500 Oops", "server")],
)
def test_a_refusal_says_why_and_keeps_the_password(line: str, reason: str) -> None:
    told = Told()
    # FFmpeg asks a second time with the password.
    with TcpServer(status(line), status(line)) as server:
        uri = f"http://us3r:s3cr3t@127.0.0.1:{server.port}/cam?token=s3cr3t"
        source = LiveSource(uri, told.options, reconnect=False)
        with pytest.raises(SourceOpenError, match=reason) as caught:
            source.open()
    said = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__cause__) + repr(told.states)
    assert "s3cr3t" not in said
    assert "us3r" not in said
    assert [state for state, _ in told.states] == ["connecting", "failed"]


def test_a_port_where_nobody_listens_is_tried_until_told_to_give_up() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        uri, told = f"rtsp://127.0.0.1:{taken.getsockname()[1]}/live", Told()
        with pytest.raises(SourceOpenError, match=r"nothing listens there.*given up after"):
            LiveSource(uri, told.options, give_up_s=0.7).open()
    assert len(told.states) >= 3


def test_a_mute_server_is_no_obstacle_to_an_interrupt() -> None:
    with TcpServer() as server:
        source = LiveSource(f"rtsp://127.0.0.1:{server.port}/live", Told().options)
        threading.Timer(0.2, source.interrupt).start()
        with pytest.raises(SourceError, match="before it was stopped"):
            source.open()
        source.close()


def test_what_this_ffmpeg_cannot_do_is_not_tried_again() -> None:
    told = Told()
    with pytest.raises(SourceOpenError, match=r"^srt://\*\*\*@cam:1 cannot .* knows no srt; try GStreamer"):
        LiveSource("srt://us3r:s3cr3t@cam:1", told.options).open()
    assert len(told.states) == 1


def test_a_camera_that_is_not_there_is_waited_for() -> None:
    told = Told()
    with pytest.raises(SourceOpenError, match=r"/dev/video99 cannot be opened: (there is no such camera|.*GStreamer)"):
        LiveSource("/dev/video99", told.options, reconnect=False).open()


def test_ctrl_c_while_connecting_ends_the_program_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        uri = f"rtsp://us3r:s3cr3t@127.0.0.1:{mute.getsockname()[1]}/live"
        command = [sys.executable, "-m", "streamtrack", "run", uri, "--out", str(tmp_path / "out")]
        run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "HOME": str(tmp_path)})
        assert run.stderr is not None
        said = run.stderr.readline()
        assert "connecting" in said
        run.send_signal(signal.SIGINT)
        _, rest = run.communicate(timeout=LONG_S)
    assert run.returncode == 130
    assert "Interrupted" in rest
    assert "s3cr3t" not in said + rest


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"transport": "tpc"}, "Did you mean 'tcp'"),
        ({"timeout_s": 0.0}, "timeout_s"),
        ({"camera_size": "big"}, "1280x720"),
    ],
)
def test_options_that_cannot_be_are_refused_at_once(own: dict[str, str | float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LiveSource("rtsp://camera", SourceOptions(), **own)  # type: ignore[arg-type]
