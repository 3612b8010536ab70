"""Frames into seconds and back: what the settings come to for a source."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack import config
from streamtrack.consequences import Consequence, cadence, consequences
from streamtrack.throttle import Throttle
from streamtrack.types import NS_PER_S


def follows(profile: str = "balanced", rate: float = 30.0, **overrides: object) -> dict[str, Consequence]:
    given = {key.replace("__", "."): value for key, value in overrides.items()}
    return {each.name: each for each in consequences(config.resolve(profile, given, environ={}), rate)}


@pytest.mark.parametrize(
    ("frames", "stride", "expected"),
    [
        (8, 1, 8),
        (8, 5, 2),
        (8, 6, 2),
        (8, 4, 2),
        (8, 10, 1),
        (30, 6, 5),
        (30, 5, 6),
        (0, 5, 1),
        (31, 5, 7),
        (8.4, 4, 2),
    ],
)
def test_an_interval_falls_due_at_frames_that_are_looked_at(frames: float, stride: int, expected: int) -> None:
    found = cadence(frames, 30, 30 / stride)
    assert found.processed_frames == expected
    assert found.seconds == pytest.approx(expected * stride / 30)


@given(st.integers(0, 100), st.integers(1, 40), st.sampled_from([24, 25, 30, 30000 / 1001, 60]))
def test_it_is_what_a_throttle_does(frames: int, stride: int, rate: float) -> None:
    throttle, step = Throttle.every_frames(frames, rate), stride / rate
    due = [k for k in range(300) if throttle.due(1, round(k * step * NS_PER_S))]
    assert due[1] - due[0] == cadence(frames, rate, rate / stride).processed_frames


def test_at_stride_6_everything_is_said_in_frames_and_seconds() -> None:
    found = follows(source__stride=6, output__save_crops=True, embedder__model="sface")
    assert found["sampling"].text == "every 6th frame: 5 a second, 300 a minute of video, one every 0.2 s"
    assert found["sampling"].values["frames_a_minute"] == 300
    assert found["track_buffer"].text == "90 x 6 = 540 source frames = 18 s"
    assert found["max_gap_s"].text == "2.5 s = 75 source frames, 12.5 of them looked at"
    assert found["keeps_id"].values["binds"] == "max_gap_s"
    assert found["crops"].text.startswith("a candidate a track every 2 frames looked at = 0.4 s; it is kept if scored")
    assert found["embeddings"].text == "one a track every 5 frames looked at = 1 s, of the best picture in that time"
    assert found["progress"].text == "progress.json is replaced every 30 processed frames = 6 s of video"
    assert found["frames"].values == {"on": True, "files_a_minute": 300}


def test_what_is_off_says_so() -> None:
    found = follows("live", scene__cuts=False)
    assert [found[name].values["on"] for name in ("cuts", "crops", "embeddings", "frames")] == [False] * 4
    assert found["crops"].text == "none are written: output.save_crops is off"
    assert found["live"].text == "only the newest frame waits for the detector, and none that is older than 0.5 s"


def test_an_hour_takes_as_long_as_the_processing_rate_says() -> None:
    # An hour at 4 fps are 14,400 frames: under 8 minutes, with margin.
    found = follows("fast_cpu", source__fps=4)["speed"].values["hour_takes_at_least_s"]
    assert found == 14_400 / 45
    assert found < 0.75 * 8 * 60
    assert follows("low_power")["speed"].text.endswith("an hour of video takes 12 min or longer")
    assert follows("balanced")["speed"].values["hour_takes_at_least_s"] is None


def test_threads_and_light_are_told() -> None:
    assert follows("fast_cpu")["threads"].text == (
        "2 for inference, 2 for decoding; thread pools of numerical libraries are held to 2"
    )
    assert follows("fast_cpu", source__threads=3)["threads"].text.startswith("2 for inference, 3 for decoding;")
    assert "take what the machine gives" in follows("balanced")["threads"].text
    found = follows("high_accuracy")["detections"]
    assert "in ordinary light, and from 0.05 to 0.125 as the light is" in found.text
    assert found.values["floor"] == 0.05
    assert "64 px or more (6% of 1080 or 13% of 480 lines)" in follows("balanced")["detections"].text


@pytest.mark.parametrize("profile", ["balanced", "fast_cpu", "high_accuracy", "live", "low_power"])
@pytest.mark.parametrize("rate", [0.5, 12.5, 30000 / 1001, 240])
def test_every_profile_has_consequences_at_any_rate(profile: str, rate: float) -> None:
    found = follows(profile, rate)
    assert all(each.text and each.label for each in found.values())
    values = [value for each in found.values() for value in each.values.values() if isinstance(value, float)]
    assert all(math.isfinite(value) and value >= 0 for value in values)
