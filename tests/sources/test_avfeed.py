"""What FFmpeg is asked for. Whether it then gives pictures is in test_live.py."""

from __future__ import annotations

import struct

import pytest

from streamtrack.sources._avfeed import Captures, escaped, target


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


def test_the_first_reference_time_is_that_of_another_frame_and_is_not_used() -> None:
    captures = Captures()
    for pts in range(1000):
        captures.note(pts, struct.pack("=qi", 1_700_000_000_000_000 + pts, 24))
    assert captures.take(0) is None
    assert captures.take(999) == 1_700_000_000_000_999_000
    assert captures.take(999) is None
