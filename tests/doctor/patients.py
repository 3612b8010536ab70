"""Reports of sources that were never looked at."""

from __future__ import annotations

from typing import Any

from streamtrack.doctor.observing import Pictures
from streamtrack.doctor.report import SourceReport
from streamtrack.doctor.timing import Arrivals, Gop, Steps


def steps(**changes: Any) -> Steps:
    """Of a steady 25 fps."""
    usual: dict[str, Any] = {
        "fps": 25.0,
        "missing": 0,
        "duplicates": 0,
        "backward": 0,
        "forward": 0,
        "gaps": 0,
        "longest_s": 0.04,
        "median_s": 0.04,
        "std_s": 0.0,
        "p95_s": 0.04,
        "variable": False,
    }
    return Steps(**usual | changes)


def gop(longest: int = 25, *, complete: bool = True) -> Gop:
    return Gop(
        keyframes=4,
        shortest=longest if complete else None,
        median=longest if complete else None,
        longest=longest,
        complete=complete,
    )


def arrivals(**changes: float) -> Arrivals:
    return Arrivals(**{"fps": 25.0, "std_s": 0.001, "p95_s": 0.04, "longest_s": 0.05} | changes)


def report(**changes: Any) -> SourceReport:
    """Of a healthy file of 100 s."""
    usual: dict[str, Any] = {
        "uri": "clip.mp4",
        "plugin": "pyav",
        "live": False,
        "container": "mov",
        "pictures": Pictures(codec="h264", width=1280, height=720, pixel_format="yuv420p"),
        "others": (),
        "duration_s": 100.0,
        "frames_estimate": 2500,
        "cut_short": False,
        "looked_s": 2.0,
        "ended": True,
        "broke_off": "",
        "open_s": 0.1,
        "first_packet_s": 0.1,
        "first_frame_s": 0.2,
        "frames_seen": 2500,
        "declared_fps": 25.0,
        "steps": steps(),
        "arrivals": None,
        "bitrate": 1e6,
        "gop": gop(),
        "reordering_depth": 0,
        "b_frame_share": 0.0,
        "disposable_share": None,
        "corrupt_packets": 0,
        "decode_errors": 0,
        "damaged_frames": 0,
        "lost_frames": 0,
        "decoded_frames": 400,
        "decode_ms": 4.0,
        "wall_clock_offset_s": None,
    }
    return SourceReport(**usual | changes)


def live_report(**changes: Any) -> SourceReport:
    """Of a healthy camera."""
    usual: dict[str, Any] = {
        "uri": "rtsp://camera/live",
        "plugin": "live",
        "live": True,
        "container": "rtsp",
        "duration_s": None,
        "frames_estimate": None,
        "ended": False,
        "frames_seen": 125,
        "arrivals": arrivals(),
        "wall_clock_offset_s": 0.05,
    }
    return report(**usual | changes)
