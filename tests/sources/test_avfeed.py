"""What FFmpeg is asked for. Whether it then gives pictures is in test_live.py."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import av
import pytest

from streamtrack.errors import SourceOpenError
from streamtrack.sources._avfeed import Captures, Limits, Target, _why_not, escaped, pictures, target
from streamtrack.sources._connection import FeedError, ThreadedConnection


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("rtsp://camera/live", "rtsp://camera/live"),
        ("rtsp://user:pass@camera:554/live", "rtsp://user:pass@camera:554/live"),
        ("rtsp://user:p%40ss@camera/live", "rtsp://user:p%40ss@camera/live"),
        ("rtsp://user:p@ss@camera/live", "rtsp://user:p%40ss@camera/live"),
        ("rtsp://user:a/b?c#d@camera:554/live?x=1", "rtsp://user:a%2Fb%3Fc%23d@camera:554/live?x=1"),
        ("rtsp://user:a/b@c@camera/live", "rtsp://user:a%2Fb%40c@camera/live"),
        ("rtsp://camera:554/live@2", "rtsp://camera:554/live@2"),
        ("rtsp://user:pass@camera/live@2", "rtsp://user:pass@camera/live@2"),
        ("rtsp://camera/live@2", "rtsp://camera/live@2"),
        ("rtsp://[fe80::1]:554/live@2", "rtsp://[fe80::1]:554/live@2"),
    ],
)
def test_a_password_may_hold_what_would_end_it(written: str, asked: str) -> None:
    assert escaped(written) == asked


def ask(uri: str, **own: str | float) -> tuple[str, str | None, dict[str, str]]:
    asked = target(uri, **{"transport": "auto", "camera_size": "", "camera_fps": 0.0, **own})  # type: ignore[arg-type]
    return asked.url, asked.format, dict(asked.options)


def test_each_kind_of_source_is_asked_for_in_its_own_way() -> None:
    assert ask("rtsp://c/1")[2]["rtsp_flags"] == "prefer_tcp"
    assert ask("rtsp://c/1", transport="udp")[2]["rtsp_transport"] == "udp"
    assert ask("udp://@:5000")[2]["overrun_nonfatal"] == "1"
    assert "rtp" in ask("feed.sdp")[2]["protocol_whitelist"]
    assert ask("/dev/video0", camera_size="640x480", camera_fps=15.0) == (
        "/dev/video0",
        "v4l2",
        {"video_size": "640x480", "framerate": "15"},
    )
    assert ask("v4l2:/dev/video2") == ("/dev/video2", "v4l2", {})
    assert ask("avfoundation:0") == ("0", "avfoundation", {})
    assert ask("dshow:video=My Camera") == ("video=My Camera", "dshow", {})


@pytest.fixture
def mute_port() -> Iterator[int]:
    """A TCP port on which the kernel takes connections that nobody ever answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("url", ["rtsp://127.0.0.1:{}/live", "http://127.0.0.1:{}/live.m3u8", "tcp://127.0.0.1:{}"])
@pytest.mark.parametrize("open_s", [0.02, 0.3])
def test_who_says_nothing_is_said_not_to_answer(mute_port: int, url: str, open_s: float) -> None:
    asked = target(url.format(mute_port), transport="auto", camera_size="", camera_fps=0.0)
    connection = ThreadedConnection(lambda _: iter(()))  # type: ignore[arg-type, return-value]
    with pytest.raises(FeedError, match=rf"^no answer within {open_s} s; check that it is up") as caught:
        next(pictures(asked, Limits(open_s, read_s=5.0), connection))
    assert not caught.value.lasting


def test_what_makes_no_sense_is_told_from_silence_and_from_what_this_ffmpeg_lacks() -> None:
    limits, senseless = Limits(open_s=5.0, read_s=5.0), av.InvalidDataError(1, "invalid")
    for asked in (Target("rtsp://camera/live", {}), Target("/dev/video0", {}, "v4l2", camera=True)):
        assert str(_why_not(asked, limits, senseless, 4.9)).startswith("what it sends is not a video")
        assert str(_why_not(asked, limits, senseless, 5.0)).startswith("no answer within 5 s")
    for lacking in (ValueError("no container format 'v4l2'"), av.DemuxerNotFoundError(1, "no demuxer")):
        error = _why_not(Target("/dev/video0", {}, "v4l2", camera=True), limits, lacking, 0.0)
        assert isinstance(error, SourceOpenError)
        assert "this FFmpeg knows no v4l2; try GStreamer" in str(error)


def test_the_first_reference_time_is_that_of_another_frame_and_is_not_used() -> None:
    captures = Captures()
    for pts in range(1000):
        captures.note(pts, struct.pack("=qi", 1_700_000_000_000_000 + pts, 24))
    assert captures.take(0) is None
    assert captures.take(999) == 1_700_000_000_000_999_000
    assert captures.take(999) is None
