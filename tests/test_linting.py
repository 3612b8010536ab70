"""Each trap is found where it is, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack import catalogue, config
from streamtrack.linting import Finding, Surroundings, lint

CROPS = {"output.save_crops": True}


def found(overrides: dict[str, Any] | None = None, *, profile: str = "balanced", **around: Any) -> list[Finding]:
    resolved = config.resolve(profile, overrides or {}, environ={})
    source = resolved.config.source
    rate = around.pop("rate", 30.0)
    sample_rate = min(rate / source.stride, source.fps or rate)
    return lint(resolved, Surroundings(rate=rate, sample_rate=sample_rate, **around))


@pytest.mark.parametrize("profile", ["balanced", "fast_cpu", "high_accuracy", "live", "low_power"])
def test_the_shipped_profiles_are_clean(profile: str) -> None:
    pictures = {"width": 1920, "height": 1080, "cores": 2}
    assert [each for each in found(profile=profile, **pictures) if each.level == "warning"] == []
    assert [each for each in found(CROPS, profile=profile, **pictures) if each.level == "warning"] == []


def test_live_is_made_for_live_feeds() -> None:
    assert found(profile="live", live=True, width=1280, height=720) == []


@pytest.mark.parametrize(
    ("overrides", "around", "key", "words"),
    [
        (
            {"detector.confidence_th": 0.6},
            {},
            "detector.confidence_th",
            "nothing below 0.6 reaches the tracker, so that",
        ),
        ({"detector.confidence_th": 0.5}, {}, "detector.confidence_th", "scores from 0.1 to 0.45: tracks break"),
        ({"tracker.new_thresh": 0.3}, {}, "tracker.new_thresh", "only detections above tracker.high_thresh (0.45)"),
        ({"tracker.low_thresh": 0.45}, {}, "tracker.low_thresh", "the second association"),
        ({"tracker.new_thresh": 0.99}, {}, "tracker.new_thresh", "hardly any detection scores 0.99"),
        ({"tracker.mode": "reference", "tracker.min_track_s": 1}, {}, "tracker.min_track_s", "does not read it"),
        (
            {"tracker.max_gap_s": "100ms"},
            {},
            "tracker.max_gap_s",
            "kept for 0.1 s, and the next frame is looked at 0.167",
        ),
        ({"tracker.track_buffer": 0.5}, {}, "tracker.track_buffer", "kept for 0.0833 s"),
        (CROPS | {"crops.every_frames": 8}, {}, "crops.every_frames", "no whole number of steps of 5"),
        (CROPS | {"crops.every_frames": 9}, {}, "crops.every_frames", "it falls due every 10 source frames"),
        (CROPS | {"crops.every_frames": 3}, {}, "crops.every_frames", "less than the step of 5"),
        (
            {"embedder.model": "sface", "embedder.every_frames": 32},
            {},
            "embedder.every_frames",
            "it falls due every 35 source frames = 1.17 s",
        ),
        ({}, {"live": True}, "output.save_frames", "518,400 pictures a day"),
        (CROPS, {"live": True}, "output.save_crops", "a live feed does not end"),
        ({}, {"width": 320, "height": 240}, "detector.min_size", "faces lower than 27% of the picture"),
        ({}, {"width": 80, "height": 60}, "detector.min_size", "nothing is found"),
        ({"crops.min_size": 60}, {}, "crops.min_size", "no crops are written"),
        (CROPS | {"crops.min_size": 60}, {}, "crops.min_size", "detector.min_size leaves out what is under 64 px"),
        (CROPS | {"crops.min_size": 500}, {"width": 640, "height": 480}, "crops.min_size", "above 500 px: no crops"),
        (CROPS | {"crops.min_confidence": "99%"}, {}, "crops.min_confidence", "hardly anything reaches 0.99: no crops"),
        (CROPS | {"crops.min_quality": 1}, {}, "crops.min_quality", "hardly anything reaches 1: no crops"),
        ({"runtime.max_fps": 3}, {"live": True}, "runtime.max_fps", "50% of them are dropped"),
        ({"runtime.threads": 9}, {"cores": 2}, "runtime.threads", "9 threads have 2 cores between them"),
        ({"source.threads": 3}, {"cores": 2}, "source.threads", "3 threads have 2 cores"),
    ],
)
def test_a_trap_is_named(overrides: dict[str, Any], around: dict[str, Any], key: str, words: str) -> None:
    warnings = [each for each in found(overrides, **around) if each.level == "warning"]
    assert key in [each.key for each in warnings]
    (finding,) = (each for each in warnings if each.key == key and words in each.what)
    assert finding.do
    assert str(finding) == f"{finding.key}: {finding.what}; {finding.do}"


@pytest.mark.parametrize(
    ("overrides", "around", "key"),
    [
        (CROPS, {}, "crops.every_frames"),
        (CROPS, {"width": 1920, "height": 1080}, "crops.min_size"),
        ({"runtime.max_fps": 3}, {}, "runtime.max_fps"),
        ({"source.max_staleness_s": 1}, {}, "source.max_staleness_s"),
    ],
)
def test_what_does_no_harm_is_a_note(overrides: dict[str, Any], around: dict[str, Any], key: str) -> None:
    assert key in [each.key for each in found(overrides, **around) if each.level == "note"]


@pytest.mark.parametrize(
    ("overrides", "around"),
    [
        ({"detector.confidence_th": 0.4}, {}),
        ({"tracker.max_gap_s": 0.17}, {}),
        ({"tracker.track_buffer": 1}, {}),
        ({"tracker.new_thresh": 0.45}, {}),
        (CROPS | {"crops.every_frames": 10, "crops.min_size": 64}, {}),
        (CROPS | {"crops.every_frames": 0, "crops.min_size": 64}, {}),
        (CROPS | {"crops.every_frames": 5, "crops.min_size": 64}, {}),
        ({"embedder.every_frames": 32}, {}),
        ({"output.save_frames": False}, {"live": True}),
        ({}, {"width": 1280, "height": 720}),
        ({"runtime.max_fps": 10}, {"live": True, "profile": "live"}),
        ({"runtime.threads": 2}, {"cores": 2}),
    ],
)
def test_what_is_no_trap_is_left_alone(overrides: dict[str, Any], around: dict[str, Any]) -> None:
    keys = {each.key for each in found(overrides, **around)}
    assert not keys & set(overrides)


def test_a_cadence_is_a_warning_only_where_somebody_asked_for_it() -> None:
    levels = {each.key: each.level for each in found(CROPS)}
    assert levels["crops.every_frames"] == "note"
    asked = {each.key: each.level for each in found(CROPS | {"crops.every_frames": 8})}
    assert asked["crops.every_frames"] == "warning"


def test_nothing_is_said_of_what_is_not_known() -> None:
    resolved = config.resolve("balanced", {"tracker.max_gap_s": 0.001, "runtime.threads": 99} | CROPS, environ={})
    assert [each for each in lint(resolved, Surroundings()) if each.level == "warning"] == []


@given(
    st.floats(0, 240),
    st.integers(0, 4000),
    st.integers(0, 4000),
    st.integers(1, 60),
    st.booleans(),
    st.lists(st.sampled_from([key for key, each in catalogue.settings().items() if each.kind is float]), max_size=5),
)
def test_findings_name_settings_and_warnings_come_first(
    rate: float, width: int, height: int, stride: int, live: bool, keys: list[str]
) -> None:
    settings = catalogue.settings()
    overrides = {key: settings[key].most or settings[key].least or 0.001 for key in keys}
    resolved = config.resolve("high_accuracy", overrides | {"source.stride": stride}, environ={})
    around = Surroundings(rate, rate / stride, live, width, height, cores=2)
    findings = lint(resolved, around)
    assert {each.key for each in findings} <= set(settings)
    assert [each.level for each in findings] == sorted((each.level for each in findings), reverse=True)
