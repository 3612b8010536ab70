"""``streamtrack config show`` says what a run would do, and where each setting came from."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from streamtrack import cli
from streamtrack.settings import Config


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "120")


def shown(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert cli.main(["config", "show", *options]) == 0
    return capsys.readouterr().out


def follows(text: str) -> dict[str, str]:
    """What follows, by its label."""
    lines = text.partition("What follows")[2].splitlines()[1:]
    return {line[:18].strip(): line[18:].strip() for line in lines if line[2] != " "}


def test_every_setting_has_a_line_with_its_layer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMTRACK_TRACKER__NEW_THRESH", "0.6")
    lines = shown(capsys, "--profile", "fast_cpu", "--set", "tracker.max_gap_s=4").splitlines()
    rows = {line.split()[0]: line for line in lines if line[:1].isalpha() and "." in line.split()[0]}
    every = [f"{s}.{name}" for s, values in msgspec.to_builtins(Config()).items() for name in values]
    assert list(rows) == every
    assert rows["source.stride"].split()[1:4] == ["10", "profile", "fast_cpu"]
    assert rows["tracker.new_thresh"].split()[1:3] == ["0.6", "environment"]
    assert rows["tracker.max_gap_s"].split()[1:4] == ["4", "command", "line"]
    assert rows["tracker.low_thresh"].split()[1:4] == ["0.1", "default", "Detections"]
    assert rows["scene.cuts"].split()[1:3] == ["on", "default"]
    assert max(map(len, lines)) <= 120


def test_at_stride_6_a_gap_of_seconds_binds(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "--stride", "6", "--fps-of-source", "30")
    assert "a source of 30 frames a second\n" in text
    found = follows(text)
    assert found["Frames looked at"] == "every 6th frame: 5 a second of video, one every 0.2 s"
    assert found["track_buffer"] == "90 x 6 = 540 source frames = 18 s"
    assert found["max_gap_s"] == "2.5 s"
    assert found["Lost tracks"].startswith("max_gap_s binds")


def test_at_a_high_rate_the_buffer_binds(capsys: pytest.CaptureFixture[str]) -> None:
    found = follows(shown(capsys, "--stride", "1", "--fps-of-source", "60", "--set", "scene.cuts=false"))
    assert found["track_buffer"] == "90 x 1 = 90 source frames = 1.5 s"
    assert found["Lost tracks"].startswith("track_buffer binds")
    assert "found again within 1.5 s keeps its id" in found["Lost tracks"]
    assert found["Scene cuts"].startswith("are not looked for")


def test_frames_by_time_are_counted_as_they_come(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "--fps", "7")
    assert "30 frames a second (assumed; --fps-of-source says otherwise)" in text
    assert follows(text)["track_buffer"] == "90 frames looked at = 12.9 s"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads(shown(capsys, "--json", "--set", "source.stride=6", "--set", "tracker.max_gap_s=20"))
    assert report["profile"] == "balanced"
    assert report["settings"]["source.stride"] == {"value": 6, "from": "command line"}
    assert report["settings"]["tracker.low_thresh"] == {"value": 0.1, "from": "default"}
    assert (report["source_fps"], report["sampling"]) == (30.0, {"text": "every 6th frame", "fps": 5.0})
    assert report["keeps_id"] == {"track_buffer_s": 18.0, "max_gap_s": 20.0, "binds": "track_buffer", "seconds": 18.0}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fps-of-source", "0"], "0 frames a second cannot be"),
        (["--fps-of-source", "nan"], "nan frames a second cannot be"),
        (["--set", "tracker.max_gap=2"], "Did you mean 'tracker.max_gap_s'?"),
        (["--profile", "fast_cp"], "fast_cpu"),
        (["--stride", "0"], "source.stride = 0"),
    ],
)
def test_a_mistake_is_one_sentence(capsys: pytest.CaptureFixture[str], options: list[str], words: str) -> None:
    assert cli.main(["config", "show", *options]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""
