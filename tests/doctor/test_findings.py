"""What is said of a source, and what is not."""

from __future__ import annotations

from typing import Any

import pytest
from patients import arrivals, gop, live_report, report, steps

from streamtrack.doctor.findings import findings
from streamtrack.doctor.observing import Pictures


def said(**changes: Any) -> dict[str, str]:
    return {finding.name: finding.text for finding in findings(report(**changes))}


def said_live(**changes: Any) -> dict[str, str]:
    return {finding.name: finding.text for finding in findings(live_report(**changes))}


def pictures(**changes: Any) -> Pictures:
    return Pictures(**{"codec": "h264", "width": 1280, "height": 720} | changes)


def test_of_a_healthy_source_there_is_nothing_to_say() -> None:
    assert list(said()) == list(said_live()) == ["healthy"]


def test_a_camera_that_sends_half_is_said_to() -> None:
    text = said_live(declared_fps=30.0, steps=steps(fps=14.9))["rate"]
    assert text == "declared 30 fps, measured 14.9: the camera sends half of them"


@pytest.mark.parametrize(
    ("measured", "more", "words"),
    [
        (50.0, {}, "the file holds twice"),
        (20.0, {"variable": True}, "its rate varies"),
        (20.0, {"gaps": 3, "longest_s": 0.5}, "3 gaps of up to 0.5 s"),
        (20.0, {}, "the file holds 80% of that"),
    ],
)
def test_why_rates_differ(measured: float, more: dict[str, Any], words: str) -> None:
    assert words in said(steps=steps(fps=measured, **more))["rate"]


def test_a_rate_that_cannot_be_known_is_said() -> None:
    assert "no_rate" in said(declared_fps=None, steps=steps(fps=None))


def test_a_long_gop_is_a_matter_of_reconnecting() -> None:
    text = said_live(gop=gop(250))["long_gop"]
    assert text.startswith("GOP of 250 frames: after a reconnect it takes up to 10 s until a picture")
    assert said_live(gop=gop(130, complete=False))["long_gop"].startswith("GOP of at least 130 frames")
    assert "long_gop" not in said(gop=gop(250))
    assert "intra_only" in said(gop=gop(1))


def test_b_frames_delay_only_what_is_live() -> None:
    assert "80 ms of delay" in said_live(reordering_depth=2)["reordering"]
    assert "reordering" not in said(reordering_depth=2)


def test_bursts_are_told_from_pauses_and_from_slowness() -> None:
    assert "bursts" in said_live(arrivals=arrivals(longest_s=4.0))
    paused = said_live(arrivals=arrivals(longest_s=4.0), steps=steps(longest_s=4.0, gaps=1))
    assert "bursts" not in paused
    assert "gaps" in paused
    assert "slow_arrival" in said_live(arrivals=arrivals(fps=12.0))


def test_what_is_wrong_with_timestamps_is_said() -> None:
    found = said(steps=steps(missing=5, duplicates=1, backward=1, forward=2, variable=True))
    assert found.keys() == {"missing_timestamps", "duplicates", "jumps", "variable_rate"}
    assert found["jumps"].startswith("its clock went back 1 time and leapt ahead 2 times")
    assert found["duplicates"].startswith("1 frame with")


def test_the_first_frame_of_a_feed_may_lack_its_timestamp_and_a_frame_may_be_skipped() -> None:
    assert list(said_live(steps=steps(missing=1, gaps=1, longest_s=0.1))) == ["healthy"]


def test_damage_comes_first() -> None:
    found = findings(report(pictures=None, decoded_frames=0, decode_errors=3, open_s=3.0, cut_short=True))
    assert [finding.name for finding in found] == ["no_picture", "cut_short", "damage", "slow_open"]
    assert found[0].mark == "problem"
    assert "3 decoder errors" in found[2].text
    assert findings(live_report(broke_off="rtsp://camera broke off: gone."))[0].text.endswith("broke off: gone")


@pytest.mark.parametrize(
    ("shown", "name"),
    [
        ({"rotation": 90}, "rotation"),
        ({"interlaced": True}, "interlaced"),
        ({"colour_transfer": "PQ"}, "hdr"),
        ({"width": 3840, "height": 2160}, "large"),
    ],
)
def test_unusual_pictures_are_pointed_out(shown: dict[str, Any], name: str) -> None:
    assert list(said(pictures=pictures(**shown))) == [name]


def test_a_camera_whose_clock_is_wrong_is_told_from_one_without() -> None:
    assert "behind ours" in said_live(wall_clock_offset_s=3600.0)["wall_clock"]
    assert "ahead of ours" in said_live(wall_clock_offset_s=-30.0)["wall_clock"]
    assert "no_wall_clock" in said_live(wall_clock_offset_s=None)
    assert "slow_first_frame" in said_live(first_frame_s=4.0)
