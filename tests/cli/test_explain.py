"""``streamtrack explain`` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamtrack.cli import main


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    """One that walks and is hidden in frames 11 to 20, when a weak flicker is near; and one that comes in frame 5."""
    seen = [(f, f"{10 + 2 * f},100,40,80", 0.9) for f in range(1, 41) if not 11 <= f <= 20]
    seen += [(f, f"{10 + 2 * f},300,40,80", 0.8) for f in range(5, 25)]
    seen += [(11, "60,100,40,80", 0.2), (30, "85,100,40,80", 0.3), (35, "500,500,9,9", 0.7)]
    (tmp_path / "det.txt").write_text("".join(f"{f},-1,{box},{score}\n" for f, box, score in seen))
    return tmp_path / "det.txt"


def lines(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["explain", *arguments, "--fps", "10"]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_life_in_words(tape: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = lines(capsys, str(tape), "1")
    assert out[0] == f"Track 1 of {tape}, tracker.mode=time; frames count from 1"
    assert out[1] == "Born       frame 1 at 0.00 s with the detection 40x80 at 12,100 (score 0.90); new_thresh is 0.55"
    assert out[3] == "Matched    30 times, that of its birth included; none of these in doubt"
    assert out[4] == "  frames 11 to 20: no match in 10 updates, 1.10 s out of sight, then found again"
    assert out[6].startswith("      40x80 at 60,100 (score 0.20): cost ")
    assert out[6].endswith(" over 0.50 (weak)")
    assert out[7] == "Ended      frame 40 at 3.90 s: the last frame there is; the track was confirmed"
    assert max(map(len, out)) < 130


def test_a_track_that_came_later_and_was_lost(tape: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = lines(capsys, str(tape), "2", "--set", "tracker.max_gap_s=1")
    assert "             track 1: no overlap, 2.5 heights away; it matched another at 0.10" in out
    assert "Confirmed  frame 7 at 0.60 s: still matched 0.20 s after its birth, with 3 detections" in out
    assert "Ended      frame 35 at 3.40 s: lost for 1.10 s, longer than the 1.00 s of max_gap_s" in out


def test_a_track_that_nobody_believed(tape: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = lines(capsys, str(tape), "3")
    assert "Confirmed  never: it stayed tentative" in out
    assert "Ended      frame 36 at 3.50 s: no match while tentative, which ends a track at once" in out


def test_every_update(tape: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = lines(capsys, str(tape), "1", "--all")
    assert sum(line.endswith(": no match") for line in out) == 10
    assert sum(line.startswith("  frame ") and " for 40x80 at " in line for line in out) == 29
    assert "    there was no detection at all" not in out


def test_the_same_facts_as_json(tape: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(tape), "1", "--json"]) == 0
    captured = capsys.readouterr()
    life = json.loads(captured.out)
    assert "30 are assumed" in captured.err
    assert (life["schema_version"], life["track"], life["frames_from"], life["updates"]) == (1, 1, 1, [])
    assert life["gaps"][0]["start"]["others"][0]["verdict"] == "over"
    assert main(["explain", str(tape), "1", "--json", "--all"]) == 0
    assert len(json.loads(capsys.readouterr().out)["updates"]) == 39


def test_the_official_mode_at_a_stride(tape: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = lines(capsys, str(tape), "1", "--stride", "2", "--set", "tracker.mode=reference")
    assert "tracker.mode=reference" in out[0]
    assert out[3].startswith("Matched    15 times")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [(["TAPE", "77"], 2, "There is no track 77. Confirmed were 1-2"), (["nowhere", "1"], 4, "Cannot read 'nowhere'")],
)
def test_what_cannot_be_told(
    tape: Path, arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tape) if each == "TAPE" else each for each in arguments]
    assert main(["explain", *arguments]) == code
    assert message in capsys.readouterr().err
