"""Real servers on loopback for the tests of live feeds, each a context manager with a ``url`` and switches for trouble.

========================= ======================================================================================
`RtspServer`              GStreamer's RTSP server, TCP and UDP: numbered frames or the clock in the pixels
`RtmpFeed` `FlvFeed`      ffmpeg, one client at a time: RTMP, FLV over HTTP
`TsHttpFeed` `TsTcpFeed`  ffmpeg, one client at a time: MPEG-TS over HTTP, over TCP
`TsUdpFeed`               ffmpeg, MPEG-TS over UDP to whoever listens
`HlsFeed`                 ffmpeg's live playlist behind an HTTP server
`MjpegFeed`               JPEGs over HTTP, multipart/x-mixed-replace
`Wire`                    a cable to any of them over TCP that can be cut and mended
`MutePort` `RefusedPort`  a port that takes connections and says nothing; one where nobody listens
========================= ======================================================================================

The feeds are child processes: ``kill`` (SIGKILL), ``restart`` on the same port, ``freeze`` and
``thaw`` (SIGSTOP, SIGCONT). Frame n of a numbered feed says n modulo `CLIP_FRAMES` to
``streamtrack.testing.clips.read_index``.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from streamtrack.testing.clips import UInt8Array, indexed_frames

needs_servers = pytest.mark.requires(
    program="ffmpeg",
    typelib="GstRtspServer-1.0",
    install="apt-get install --no-install-recommends ffmpeg gir1.2-gst-rtsp-server-1.0 gir1.2-gst-plugins-base-1.0 "
    "python3-gi gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly",
)

HERE = Path(__file__).resolve().parent
DEBIAN_PYTHON = "/usr/bin/python3"
FPS, GOP = 25, 15
# 10 s: a client that lost no more than that can tell how many frames it lost.
CLIP_FRAMES = 250
SIZE = "320x192"
_READY_S = 20.0
_CLOCK_COLUMNS, _CLOCK_ROWS = 8, 6
_BASE_WIDTH, _BASE_HEIGHT = 160, 96


def read_clock(rgb: UInt8Array) -> int:
    """Return the wall clock that a picture of a clock feed says, ms since the epoch.

    Args:
        rgb: uint8 (height, width, 3), at whatever size it is now.

    Raises:
        ValueError: the picture says no time.
    """
    height, width = rgb.shape[:2]
    word = 0
    for bit in range(_CLOCK_COLUMNS * _CLOCK_ROWS):
        row, column = divmod(bit, _CLOCK_COLUMNS)
        y, x = int((row + 0.5) * height / _CLOCK_ROWS), int((column + 0.5) * width / _CLOCK_COLUMNS)
        level = float(rgb[y - 2 : y + 3, x - 2 : x + 3].mean())
        if abs(level - 128) < 40:
            raise ValueError(f"block {bit} of the clock is neither dark nor bright: {level:.0f}")
        word |= int(level > 128) << bit
    if word.bit_count() % 2 == 0:
        raise ValueError("the clock's parity is wrong")
    return word >> 1


class Clips:
    """Makes each clip that feeds show once, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()

    def access_units(self, size: str = SIZE) -> Path:
        """Return a file of H.264 access units for rtsp_server.py: size, keyframe or not, data; again and again."""
        path = self.folder / f"{size}.au"
        with self._lock:
            if not path.exists():
                path.write_bytes(b"".join(struct.pack(">I?", len(data), key) + data for data, key in _encode(size)))
        return path

    def annexb(self) -> Path:
        """Return the same as a raw H.264 stream."""
        units, path = self.access_units(), self.folder / "clip.h264"
        with self._lock:
            if not path.exists():
                path.write_bytes(b"".join(data for data, _ in _read_units(units)))
        return path

    def mp4(self) -> Path:
        """Return the same as a file that ffmpeg can loop: the raw stream has no timestamps."""
        raw, path = self.annexb(), self.folder / "clip.mp4"
        with self._lock:
            if not path.exists():
                command = ["ffmpeg", "-v", "error", "-framerate", str(FPS), "-i", str(raw), "-c", "copy", str(path)]
                subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        return path

    def ts(self, frames: int) -> Path:
        """Return the first ``frames`` frames as MPEG-TS."""
        film, path = self.mp4(), self.folder / f"{frames}.ts"
        with self._lock:
            if not path.exists():
                command = ["ffmpeg", "-v", "error", "-i", str(film), "-c", "copy", "-frames:v", str(frames), str(path)]
                subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        return path

    def jpegs(self) -> Path:
        """Return a folder of the first frames as pictures."""
        folder = self.folder / "jpegs"
        with self._lock:
            if not folder.exists():
                folder.mkdir()
                for index, picture in enumerate(_pictures(SIZE, 4 * FPS)):
                    context = _encoder("mjpeg", picture, "yuvj420p")
                    (packet,) = [*context.encode(_frame(picture, "yuvj420p", 0)), *context.encode(None)]
                    (folder / f"{index:04}.jpg").write_bytes(bytes(packet))
        return folder


def _pictures(size: str, count: int) -> Iterator[UInt8Array]:
    """Yield numbered pictures, drawn small and enlarged: that is most of the work."""
    width, height = map(int, size.split("x"))
    rows = np.arange(height) * _BASE_HEIGHT // height
    columns = np.arange(width) * _BASE_WIDTH // width
    return (picture[rows][:, columns] for picture in indexed_frames(count, _BASE_WIDTH, _BASE_HEIGHT))


def _frame(rgb: UInt8Array, pix_fmt: str, pts: int) -> VideoFrame:
    frame = VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pix_fmt)
    frame.pts = pts
    return frame


def _encoder(codec: str, rgb: UInt8Array, pix_fmt: str, **options: str) -> VideoCodecContext:
    context = cast(VideoCodecContext, VideoCodecContext.create(codec, "w"))
    context.height, context.width = rgb.shape[:2]
    context.pix_fmt, context.framerate, context.time_base = pix_fmt, Fraction(FPS), Fraction(1, FPS)
    context.thread_count, context.options = 1, options
    return context


def _encode(size: str) -> Iterator[tuple[bytes, bool]]:
    """Yield the access units of the clip: baseline, no B-frames, one slice, parameter sets before each keyframe."""
    pictures = _pictures(size, CLIP_FRAMES)
    first = next(pictures)
    x264 = f"keyint={GOP}:min-keyint={GOP}:scenecut=0:sliced-threads=0:threads=1"
    options = {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline", "crf": "30", "x264-params": x264}
    context = _encoder("libx264", first, "yuv420p", **options)
    for index, picture in enumerate(itertools.chain([first], pictures)):
        for packet in context.encode(_frame(picture, "yuv420p", index)):
            yield bytes(packet), packet.is_keyframe
    for packet in context.encode(None):
        yield bytes(packet), packet.is_keyframe


def _read_units(path: Path) -> Iterator[tuple[bytes, bool]]:
    data, at = path.read_bytes(), 0
    while at < len(data):
        size, key = struct.unpack_from(">I?", data, at)
        yield data[at + 5 : at + 5 + size], key
        at += 5 + size


def free_port() -> int:
    """Return a port of loopback, for TCP or UDP, that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def wait_for(condition: Callable[[], bool], complaint: str) -> None:
    """Return as soon as ``condition`` holds; a server that never gets there is an error, not a hang."""
    deadline = time.monotonic() + _READY_S
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(complaint)
        time.sleep(0.02)


def looping(clip: Path, output: Sequence[str], *, paced: bool = True) -> list[str]:
    """Return the command that feeds ``clip`` to ``output``, again and again, until its stdin ends.

    In real time, or as fast as it is taken where it is not ``paced``.
    """
    feed = ["ffmpeg", "-v", "quiet", *["-re"] * paced, "-stream_loop", "-1", "-i", str(clip), "-c", "copy", *output]
    script = 'exec 3<&0; (cat <&3 >/dev/null; kill -9 0) & while :; do "$@" </dev/null; sleep 0.05; done'
    return ["sh", "-c", script, "sh", *feed]


_CONNECTED, _LISTENING = "01", "0A"  # include/net/tcp_states.h of Linux


def is_listening(port: int) -> bool:
    """Return whether somebody listens on a TCP port, without connecting: some servers take one client only."""
    return _LISTENING in _states(port)


def _states(port: int) -> set[str]:
    """Return the states of the sockets whose own port is ``port``."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    return {line[3] for line in lines if line[1].endswith(f":{port:04X}")}


class Server(ABC):
    """A feed on a port, served by one or more child processes."""

    def __init__(self) -> None:
        self.port = 0
        self.children: list[subprocess.Popen[str]] = []

    @property
    @abstractmethod
    def url(self) -> str:
        """What to open: known once the server has started."""

    @abstractmethod
    def start(self) -> None:
        """Start serving on ``port``, or on a free port where that is 0, and wait until a client can connect."""

    def kill(self) -> None:
        """End the server without a word to its clients."""
        for child in self.children:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        for child in self.children:
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
        self.children.clear()

    def restart(self) -> None:
        """Serve again on the same port."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Stop the server's processes where they are; the kernel goes on taking connections and data for them."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let frozen processes go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for child in self.children:
            os.killpg(child.pid, number)

    def _run(self, command: Sequence[str]) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, start_new_session=True
        )
        self.children.append(child)
        return child

    def _run_until_ready(self, command: Sequence[str]) -> int:
        """Run a server of ours and return the port that it took."""
        child = self._run(command)
        line = _read_line(child)
        if not line.startswith("READY "):
            self.kill()
            raise RuntimeError(f"{command[1]} did not start: {line!r}")
        return int(line.split()[1])

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def _read_line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    ready, _, _ = select.select([child.stdout], [], [], _READY_S)
    return child.stdout.readline() if ready else ""


class RtspServer(Server):
    """A camera that speaks RTSP, over TCP or UDP as the client likes, any number of clients at once.

    Args:
        clips: where clips are made.
        size: of the frames.
        sizes: others that `set_size` may ask for; any multiple of 16x12 with ``clock``.
        clock: show the wall clock in the pixels (`read_clock`) instead of a number.
        user: who may watch; everybody if empty.
        password: of ``user``.
        digest: ask for the password the digest way.
        loss: share of RTP packets that get lost.
        mute: answer every request but never send a frame.
        path: of the feed.

    ``password`` and ``path`` may be changed: that counts from the next start.
    """

    def __init__(
        self,
        clips: Clips,
        *,
        size: str = SIZE,
        sizes: Sequence[str] = (),
        clock: bool = False,
        user: str = "",
        password: str = "",
        digest: bool = False,
        loss: float = 0.0,
        mute: bool = False,
        path: str = "/live",
    ) -> None:
        super().__init__()
        self._user, self.password, self.path = user, password, path
        self._command = [DEBIAN_PYTHON, str(HERE / "rtsp_server.py"), "--size", size, "--loss", str(loss)]
        self._command += ["--fps", str(FPS), "--gop", str(GOP)]
        self._command += ["--clock"] * clock + ["--digest"] * digest + ["--mute"] * mute
        if not clock:
            for each in (size, *sizes):
                self._command += ["--clip", f"{each}={clips.access_units(each)}"]

    def start(self) -> None:
        login = ["--user", self._user, "--password", self.password] if self._user else []
        own = [*self._command, *login, "--path", self.path]
        self.port = self._run_until_ready([*own, "--port", str(self.port)])

    @property
    def url(self) -> str:
        """The feed's URL, with the credentials that it asks for."""
        return self.url_for(self._user, self.password, self.path)

    def url_for(self, user: str = "", password: str = "", path: str = "/live") -> str:
        """Return a URL that may well be wrong."""
        login = f"{user}:{password}@" if user else ""
        return f"rtsp://{login}127.0.0.1:{self.port}{path}"

    def pause(self, seconds: float) -> None:
        """Make no frame for a while: connections stay, numbers go on where they were, timestamps follow the clock."""
        self._order(f"pause {seconds}")

    def set_size(self, size: str) -> None:
        """Change the frames' size at the next keyframe."""
        self._order(f"size {size}")

    def set_loss(self, share: float) -> None:
        """Lose this share of RTP packets from now on."""
        self._order(f"loss {share}")

    def set_mute(self, mute: bool) -> None:
        """Drop every packet, or no longer: here frames are lost, unlike in a pause."""
        self._order(f"mute {'on' if mute else 'off'}")

    def jump(self, seconds: float) -> None:
        """Move the RTP timestamps on, or back if negative, without a word."""
        self._order(f"jump {seconds}")

    def restart_timestamps(self) -> None:
        """Let the RTP timestamps begin again where they began when the server started."""
        self._order("restart-timestamps")

    def _order(self, line: str) -> None:
        (child,) = self.children
        assert child.stdin is not None
        child.stdin.write(f"{line}\n")
        if _read_line(child) != "OK\n":
            raise RuntimeError(f"the RTSP server did not obey '{line}'")


class FfmpegFeed(Server):
    """The numbered clip, looped by ffmpeg without encoding; it starts anew when its one client leaves."""

    form: str
    target: str
    arguments: Sequence[str] = ()
    listens = True

    def __init__(self, clips: Clips, *, paced: bool = True) -> None:
        super().__init__()
        self._clip, self._paced = clips.mp4(), paced

    @property
    def url(self) -> str:
        return self.target.partition("?")[0].format(port=self.port)

    def start(self) -> None:
        self.port = self.port or free_port()
        output = ["-f", self.form, *self.arguments, self.target.format(port=self.port)]
        self._run(looping(self._clip, output, paced=self._paced))
        if self.listens:
            # A client that was waiting may be there before anybody looks; then it listens no more.
            begun = {_LISTENING, _CONNECTED}
            wait_for(lambda: bool(begun & _states(self.port)), f"ffmpeg does not serve on port {self.port}")

    def wait_until_listening(self) -> None:
        """Wait until a client can connect: at the start, and again once the one before has left."""
        wait_for(lambda: is_listening(self.port), f"ffmpeg does not listen on port {self.port}")


class RtmpFeed(FfmpegFeed):
    form, target, arguments = "flv", "rtmp://127.0.0.1:{port}/live/feed", ("-listen", "1")


class FlvFeed(FfmpegFeed):
    form, target, arguments = "flv", "http://127.0.0.1:{port}/feed.flv", ("-listen", "1")


class TsHttpFeed(FfmpegFeed):
    form, target, arguments = "mpegts", "http://127.0.0.1:{port}/feed.ts", ("-listen", "1")


class TsTcpFeed(FfmpegFeed):
    form, target = "mpegts", "tcp://127.0.0.1:{port}?listen=1"


class TsUdpFeed(FfmpegFeed):
    """Sends whether anybody listens or not; a client may come at any time."""

    form, target, listens = "mpegts", "udp://127.0.0.1:{port}?pkt_size=1316", False


class HttpServer(Server):
    """The files of a folder over HTTP; ``/locked`` asks for a password that nobody has."""

    def __init__(self, folder: Path, path: str) -> None:
        super().__init__()
        self._folder, self._path = folder, path

    def start(self) -> None:
        command = [sys.executable, str(HERE / "http_server.py"), str(self._folder), "--fps", str(FPS)]
        self.port = self._run_until_ready([*command, "--port", str(self.port)])

    @property
    def url(self) -> str:
        return self.url_for(self._path)

    def url_for(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


class MjpegFeed(HttpServer):
    """The first 4 s of the clip as JPEGs, looped, any number of clients at once."""

    def __init__(self, clips: Clips) -> None:
        super().__init__(clips.jpegs(), "/feed.mjpg")


class HlsFeed(HttpServer):
    """A live playlist: segments of 0.6 s, the last five kept, any number of clients at once."""

    def __init__(self, clips: Clips, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, "/live.m3u8")
        self._clip = clips.mp4()

    def start(self) -> None:
        hls = ["-f", "hls", "-hls_time", "0.6", "-hls_list_size", "5"]
        hls += ["-hls_flags", "delete_segments+temp_file+append_list"]
        playlist = self._folder / "live.m3u8"
        self._run(looping(self._clip, [*hls, str(playlist)]))
        wait_for(playlist.exists, "ffmpeg wrote no playlist")
        super().start()

    def freeze_encoder(self) -> None:
        """Let the playlist stay as it is; the HTTP server goes on."""
        os.killpg(self.children[0].pid, signal.SIGSTOP)


class RefusedPort:
    """A TCP port kept for us on which nobody listens."""

    def __enter__(self) -> Self:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()


class MutePort(RefusedPort):
    """A TCP port on which the kernel takes connections that nobody ever answers."""

    def __enter__(self) -> Self:
        super().__enter__()
        self._socket.listen(128)
        return self


class Wire:
    """A cable to a server's TCP port that can be cut: then nothing comes through any more, and no end hears of it.

    It is cut in the middle of what is just coming, as real ones are, while a frozen server stops between two packets.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._whole, self._closing = threading.Event(), threading.Event()
        self._other_end: dict[socket.socket, socket.socket] = {}

    @property
    def url(self) -> str:
        """The server's URL, through the cable."""
        return self._server.url.replace(f":{self._server.port}", f":{self.port}")

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        self._whole.set()

    def _run(self) -> None:
        while not self._closing.is_set():
            ready, _, _ = select.select([self._listener, *self._other_end], [], [], 0.05)
            for end in ready:
                with contextlib.suppress(OSError):
                    self._accept() if end is self._listener else self._forward(end)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        far = socket.create_connection(("127.0.0.1", self._server.port))
        self._other_end |= {near: far, far: near}

    def _forward(self, end: socket.socket) -> None:
        other, data = self._other_end.get(end), end.recv(65536)
        if other is None or not data:
            for closed in (end, self._other_end.pop(end, end)):
                self._other_end.pop(closed, None)
                closed.close()
        elif self._whole.is_set():
            other.sendall(data)
        else:
            half = len(data) // 2
            other.sendall(data[:half])
            while not self._whole.wait(0.05) and not self._closing.is_set():
                pass
            other.sendall(data[half:])

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._whole.set()
        self._thread = threading.Thread(target=self._run, name="test-wire")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._thread.join()
        for end in (self._listener, *self._other_end):
            end.close()
