"""``streamtrack doctor`` as a person and a program see it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from streamtrack import cli
from streamtrack.doctor import machine
from streamtrack.doctor.checks import Check
from streamtrack.doctor.machine import Probe
from streamtrack.testing.clips import indexed_frames, write_clip

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("STREAMTRACK_MODEL_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(
        tmp_path / "clip.mp4",
        indexed_frames(30),
        options={"x264-params": "keyint=10:min-keyint=10:scenecut=0:bframes=2:open-gop=1"},
    )


def probes(*checks: Check) -> tuple[Probe, ...]:
    return tuple(Probe(check.section, check.name, lambda check=check: check) for check in checks)  # type: ignore[misc]


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert cli.main(["doctor", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_the_machine_in_sections(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = (
        Check("video", "ffmpeg", "ok", "there"),
        Check("video", "gstreamer", "note", "absent " + "and so on " * 20, "apt-get install " + "package " * 20),
        Check("machine", "cpu", "ok", "fast"),
    )
    monkeypatch.setattr(machine, "PROBES", probes(*found))
    lines = printed(capsys).splitlines()
    assert lines[:2] == ["video", "  ffmpeg     there"]
    assert lines[2].startswith("! gstreamer  absent and")
    assert max(len(line) for line in lines if "->" not in line) <= 100
    # A command stays on one line: it is there to be pasted.
    (remedy,) = (line for line in lines if "->" in line)
    assert remedy.count("package") == 20
    assert lines[-1] == "streamtrack can run here."
    assert not any("\x1b" in line for line in lines)


def test_a_problem_is_the_exit_code(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Check("video", "ffmpeg", "problem", "broken", exit_code=3)
    monkeypatch.setattr(machine, "PROBES", probes(broken))
    text = printed(capsys, code=3)
    assert "X ffmpeg  broken" in text
    assert "cannot run here" in text
    told = json.loads(printed(capsys, "--json", code=3))
    assert (told["exit_code"], told["machine"]["ffmpeg"]["mark"], told["source"]) == (3, "problem", None)


def test_a_source_for_a_person(capsys: pytest.CaptureFixture[str], clip: Path) -> None:
    text = printed(capsys, str(clip), "--seconds", "20")
    rows = {line[2:14].strip(): line[14:] for line in text.splitlines() if re.match(r"[ !X] [a-z]", line)}
    assert rows["looked"].startswith("30 frames in")
    assert "h264" in rows["pictures"]
    assert rows["frame rate"] == "declared 25, measured 25 fps"
    assert rows["timestamps"].startswith("in order; steps of 40.0 ms")
    assert re.match(r"3, (\d+ frames apart|every \d+ to 10 frames)", rows["keyframes"])
    assert rows["order"].startswith("B-frames: ")
    assert rows["loss"] == "none in 30 decoded frames"
    assert "nothing unusual" in text
    assert text.splitlines()[-1].startswith(f"  streamtrack run {clip} --profile ")


def test_a_source_for_a_program_has_stable_keys(capsys: pytest.CaptureFixture[str], clip: Path) -> None:
    told = json.loads(printed(capsys, str(clip), "--seconds", "20", "--json"))
    assert list(told) == ["schema_version", "exit_code", "machine", "source"]
    assert (told["schema_version"], told["exit_code"], told["machine"]) == (1, 0, None)
    steps = "fps missing duplicates backward forward gaps longest_s median_s std_s p95_s variable"
    assert " ".join(told["source"]["steps"]) == steps
    advice = told["source"]["advice"]
    assert " ".join(advice) == "profile why command candidates fps threads assumed"
    assert " ".join(advice["candidates"][0]) == "profile sampling sample_fps load fits run_s"
    assert told["source"]["findings"] == [
        {
            "mark": "ok",
            "name": "healthy",
            "text": "nothing unusual: times, rates and pictures are as they should be",
        }
    ]


def test_every_key_is_documented(capsys: pytest.CaptureFixture[str], clip: Path) -> None:
    page = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", page))))
    source = json.loads(printed(capsys, str(clip), "--seconds", "20", "--json"))["source"]
    nested = {key for value in source.values() if isinstance(value, dict) for key in value}
    assert {*source, *nested} - documented == set()
    assert {probe.name for probe in machine.PROBES} - documented == set()


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "1e9"])
def test_a_duration_that_cannot_be_is_refused(capsys: pytest.CaptureFixture[str], seconds: str) -> None:
    assert cli.main(["doctor", "clip.mp4", "--seconds", seconds]) == 2
    assert "--seconds" in capsys.readouterr().err


def test_a_bad_source_is_one_sentence_and_exit_code_4(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["doctor", str(tmp_path / "absent.mp4")]) == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("streamtrack: error: There is no file")


def test_a_source_from_the_environment_stays_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, clip: Path
) -> None:
    monkeypatch.setenv("DOOR", str(clip))
    text = printed(capsys, "--source-from-env", "DOOR", "--seconds", "20")
    assert "streamtrack run --source-from-env DOOR --profile" in text


def test_no_password_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    url = "rtsp://me:hunter2@127.0.0.1:1/live"
    for more in ([], ["--json"]):
        assert cli.main(["doctor", url, *more]) == 4
        captured = capsys.readouterr()
        assert "hunter2" not in captured.out + captured.err
        assert "***@127.0.0.1" in captured.err
