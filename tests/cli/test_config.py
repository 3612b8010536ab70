"""``streamtrack config show`` says what a run would do, and where each setting came from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest

from streamtrack import cli
from streamtrack.settings import Config


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("STREAMTRACK_DETECTOR__MIN_SIZE", raising=False)


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
    monkeypatch.setenv("COLUMNS", "160")
    lines = shown(capsys, "--profile", "fast_cpu", "--set", "tracker.max_gap_s=4s").splitlines()
    # The mark, then what follows the key with its columns closed up.
    found = (re.fullmatch(r"([* ]) (\w+\.\w+) +(.*)", line) for line in lines)
    rows = {match[2]: f"{match[1]}  {re.sub('  +', '  ', match[3])}" for match in found if match}
    every = [f"{s}.{name}" for s, values in msgspec.to_builtins(Config()).items() for name in values]
    assert list(rows) == every
    assert (
        rows["source.stride"]
        == "*  10  profile fast_cpu  Look at frames 0, stride, 2 stride, ... in presentation order"
    )
    assert rows["source.fps"].startswith("*  4 fps  profile fast_cpu  Look at no more")
    assert rows["tracker.new_thresh"].startswith("*  0.6  environment STREAMTRACK_TRACKER__NEW_THRESH  A detection")
    assert rows["tracker.max_gap_s"].startswith("*  4 s  command line  A track")
    assert rows["tracker.low_thresh"].startswith("   0.1  default  Detections")
    assert rows["output.save_crops"].startswith("   off  profile fast_cpu  Write")
    assert rows["scene.cuts"].startswith("   on  default  Whether")
    assert lines[0].startswith("Profile fast_cpu. Use this on a weak or busy machine")
    assert "tracker: ByteTrack's parameters under their published names (Zhang et al., ECCV 2022)." in lines


@pytest.mark.parametrize("columns", [60, 80, 100, 160])
@pytest.mark.parametrize("profile", ["balanced", "fast_cpu", "high_accuracy", "live", "low_power"])
def test_it_fits_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int, profile: str
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = shown(capsys, "--profile", profile).splitlines()
    assert max(map(len, lines)) <= max(columns, 80)


def test_at_stride_6_a_gap_of_seconds_binds(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "--stride", "6", "--source-fps", "30fps")
    assert "a source of 30 frames a second\n" in text
    found = follows(text)
    assert found["Frames looked at"] == "every 6th frame: 5 a second, 300 a minute of video, one every 0.2 s"
    assert found["track_buffer"] == "90 x 6 = 540 source frames = 18 s"
    assert found["max_gap_s"] == "2.5 s = 75 source frames, 12.5 of them looked at"
    assert found["Lost tracks"].startswith("max_gap_s binds")


def test_at_a_high_rate_the_buffer_binds(capsys: pytest.CaptureFixture[str]) -> None:
    found = follows(shown(capsys, "--stride", "1", "--source-fps", "60", "--set", "scene.cuts=false"))
    assert found["track_buffer"] == "90 x 1 = 90 source frames = 1.5 s"
    assert found["Lost tracks"].startswith("track_buffer binds")
    assert "found again within 1.5 s keeps its id" in found["Lost tracks"]
    assert found["Scene cuts"].startswith("are not looked for")


def test_frames_by_time_are_counted_as_they_come(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "--fps", "7")
    assert "30 frames a second (assumed; --source-fps says otherwise)" in text
    assert follows(text)["track_buffer"] == "90 frames looked at = 12.9 s"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads(shown(capsys, "--json", "--set", "source.stride=6", "--set", "tracker.max_gap_s=20"))
    assert report["profile"] == "balanced"
    assert report["settings"]["source.stride"] == {
        "value": 6,
        "unit": "",
        "from": "command line",
        "default": 1,
        "meaning": "Look at frames 0, stride, 2 stride, ... in presentation order",
    }
    assert report["settings"]["tracker.max_gap_s"]["unit"] == "s"
    assert report["settings"]["tracker.low_thresh"]["from"] == "default"
    assert report["source_fps"] == 30.0
    assert (report["sampling"]["text"], report["sampling"]["fps"]) == ("every 6th frame", 5.0)
    kept = report["keeps_id"]
    assert (kept["track_buffer_s"], kept["max_gap_s"], kept["binds"], kept["seconds"]) == (18, 20, "track_buffer", 18)
    assert report["findings"] == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--source-fps", "0"], "0 frames a second cannot be"),
        (["--source-fps", "nan"], "--source-fps 'nan' does not fit: it must be a rate, in fps or /min."),
        (["--source-fps", "2s"], "'s' does not measure it: it is a rate, in fps or /min."),
        (["--set", "tracker.max_gap=2"], "Did you mean 'tracker.max_gap_s'?"),
        (["--set", "tracker.max_gap_s=2 px"], "'px' does not measure it: it is a time, in ms, s, min or h"),
        (["--profile", "fast_cp"], "fast_cpu"),
        (["--stride", "0"], "source.stride = '0'"),
    ],
)
def test_a_mistake_is_one_sentence(capsys: pytest.CaptureFixture[str], options: list[str], words: str) -> None:
    assert cli.main(["config", "show", *options]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""


def test_traps_are_shown_with_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "--set", "detector.confidence_th=0.6")
    assert "warning: detector.confidence_th: nothing below 0.6 reaches the tracker" in " ".join(text.split())


def test_lint_says_by_its_exit_code_whether_there_is_something_to_change(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "lint"]) == 0
    assert capsys.readouterr().out == "Nothing to be looked at.\n"
    assert cli.main(["config", "lint", "--set", "output.save_crops=true"]) == 0
    assert capsys.readouterr().out.startswith("note: crops.every_frames: 8 source frames are no whole number")
    assert cli.main(["config", "lint", "--live", "--source-fps", "25", "--source-size", "320x240", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [each["key"] for each in report["findings"]] == ["output.save_frames", "detector.min_size"]
    assert set(report["findings"][0]) == {"key", "level", "what", "do"}
    assert cli.main(["config", "lint", "--source-size", "320"]) == 2
    assert "'320' is no size: write --source-size 640x480" in capsys.readouterr().err


def test_diff_shows_only_what_differs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMTRACK_TRACKER__MAX_GAP_S", "9s")  # the environment does not matter
    assert cli.main(["config", "diff", "balanced", "fast_cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert rows["setting"] == ["balanced", "fast_cpu"]
    assert rows["detector.min_size"] == ["64", "px", "90", "px"]
    assert rows["output.save_frames"] == ["on", "off"]
    assert "tracker.max_gap_s" not in rows
    mine = tmp_path / "mine.yaml"
    mine.write_text("tracker: {max_gap_s: 4s}")
    assert cli.main(["config", "diff", str(mine), str(mine)]) == 0
    assert "are the same" in capsys.readouterr().out
    assert cli.main(["config", "diff", "low_power", str(mine), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["differences"]
    assert found["tracker.max_gap_s"] == {"a": 2.5, "b": 4.0, "unit": "s"}
    assert cli.main(["config", "diff", "balanced", "blanced"]) == 2
    assert "Did you mean 'balanced'?" in capsys.readouterr().err


def test_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert set(schema["properties"]) == set(Config.__struct_fields__)
