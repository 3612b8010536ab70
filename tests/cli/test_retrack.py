"""``streamtrack retrack`` as a user meets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamtrack.cli import main
from streamtrack.evaluation import read_tracks

FRAMES = 30


@pytest.fixture
def sequence(tmp_path: Path) -> Path:
    """Two that walk side by side; the second is not seen in frames 11 to 20, and its truth is."""
    folder = tmp_path / "SEQ"
    (folder / "det").mkdir(parents=True)
    (folder / "gt").mkdir()
    (folder / "seqinfo.ini").write_text(f"[Sequence]\nframeRate=10\nseqLength={FRAMES}\n")
    boxes = [(f, k, f"{10 + 2 * f},{100 * k},40,80") for f in range(1, FRAMES + 1) for k in (1, 2)]
    (folder / "gt" / "gt.txt").write_text("".join(f"{f},{k},{box},1,-1,-1,-1\n" for f, k, box in boxes))
    seen = [(f, box) for f, k, box in boxes if k == 1 or not 11 <= f <= 20]
    (folder / "det" / "det.txt").write_text("".join(f"{f},-1,{box},0.9\n" for f, box in seen))
    return folder


def test_a_tape_is_tracked_and_the_tracker_timed(sequence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retrack", str(sequence / "det" / "det.txt")]) == 0
    captured = capsys.readouterr()
    tape, found, tracker = captured.out.splitlines()
    assert tape.endswith("det.txt, every frame: 30 frames, 50 detections")
    assert found.split(maxsplit=1)[1] == "2 tracks, seen in 25.0 frames on average"
    assert "frames/s" in tracker
    assert captured.err == ""


def test_a_setting_and_a_stride_change_what_is_found(sequence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retrack", str(sequence), "--set", "tracker.max_gap_s=0.2", "--stride", "2"]) == 0
    out = capsys.readouterr().out
    assert "frames 0, 2, 4, ... of the tape: 15 frames, 25 detections" in out
    assert "3 tracks" in out


def test_tracks_are_scored_in_the_frames_that_were_fed(sequence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for stride, switches in (("1", "0"), ("3", "0")):
        assert main(["retrack", str(sequence), "--gt", str(sequence), "--stride", stride]) == 0
        head, row = capsys.readouterr().out.splitlines()[-2:]
        scores = dict(zip(head.split(), row.split(), strict=True))
        assert scores["IDSW"] == switches
        assert 80 < float(scores["MOTA"]) < 90


def test_a_sweep_tries_every_combination(sequence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ["--sweep", "tracker.max_gap_s=0.2,2.5", "--sweep", "tracker.new_thresh=0.5,0.95"]
    assert main(["retrack", str(sequence), *sweep, "--gt", str(sequence / "gt" / "gt.txt")]) == 0
    head, *rows = (line.split() for line in capsys.readouterr().out.splitlines())
    assert head[:4] == ["tracker.max_gap_s", "tracker.new_thresh", "tracks", "length"]
    assert head[4:] == ["HOTA", "DetA", "AssA", "MOTA", "IDF1", "IDSW", "Frag", "frames/s"]
    assert [row[:3] for row in rows] == [
        ["0.2", "0.5", "3"], ["0.2", "0.95", "0"], ["2.5", "0.5", "2"], ["2.5", "0.95", "0"],
    ]  # fmt: skip
    assert [row[-3] for row in rows] == ["1", "0", "0", "0"]
    assert main(["retrack", str(sequence), *sweep[:2]]) == 0
    assert capsys.readouterr().out.splitlines()[0].split()[1:] == ["tracks", "length", "frames/s"]


def test_tracks_are_written_as_the_name_says(
    sequence: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("t.txt", "d.jsonl", "run"):
        assert main(["retrack", str(sequence), "--out", str(tmp_path / name)]) == 0
    capsys.readouterr()
    first = (tmp_path / "t.txt").read_text().splitlines()[0]
    assert first == "1,1,12.0000,100.0000,40.0000,80.0000,0.9000,-1,-1,-1"
    assert len((tmp_path / "d.jsonl").read_text().splitlines()) == 50
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "detections.jsonl", "frames.jsonl", "track_metrics.json", "tracks.jsonl",
    ]  # fmt: skip
    for name in ("t.txt", "d.jsonl", "run"):
        assert len(read_tracks(tmp_path / name).ids) == 50
    assert main(["retrack", str(tmp_path / "run"), "--gt", str(sequence)]) == 0
    assert main(["eval", str(tmp_path / "run"), str(sequence)]) == 0


def test_a_rate_that_nobody_knows_is_said(sequence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sequence / "seqinfo.ini").unlink()
    assert main(["retrack", str(sequence)]) == 0
    assert "30 are assumed" in capsys.readouterr().err
    assert main(["retrack", str(sequence), "--fps", "10"]) == 0
    assert capsys.readouterr().err == ""


def test_what_has_no_area_is_counted(sequence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (sequence / "det" / "det.txt").open("a") as file:
        file.write("30,-1,5,5,0,9,0.9\n")
    assert main(["retrack", str(sequence)]) == 0
    assert "1 of the detections, without area" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["missing"], 4, "Cannot read 'missing': No such file or directory"),
        (["{seq}/gt"], 4, "There is no tape in"),
        (["{seq}", "--stride", "0"], 2, "stride must be at least 1"),
        (["{seq}", "--set", "tracker.high_tresh=0.5"], 2, "Did you mean 'tracker.high_thresh'?"),
        (["{seq}", "--set", "tracker.high_thresh=5"], 2, "tracker.high_thresh = '5'"),
        (["{seq}", "--set", "source.stride=5"], 2, "'source.stride' has no effect on a tape"),
        (["{seq}", "--set", "nonsense"], 2, "section.key=value"),
        (["{seq}", "--sweep", "tracker.high_thresh=0.5,,0.6"], 2, "A value of tracker.high_thresh is empty"),
        (["{seq}", "--sweep", "tracker.high_thresh=0.5,7"], 2, "tracker.high_thresh = '7'"),
        (["{seq}", "--sweep", "tracker.high_thresh=0.5", "--out", "x"], 2, "give --sweep or --out"),
        (["{seq}", "--out", "{seq}/det"], 2, "is the tape itself"),
        (["{seq}/det/det.txt", "--out", "{seq}/det/det.txt", "--overwrite"], 2, "is the tape itself"),
        (["{seq}", "--out", "{seq}/gt"], 6, "is not empty"),
        (["{seq}", "--out", "{seq}/gt/gt.txt"], 6, "exists. Choose another"),
        (["{seq}", "--gt", "{seq}/det/det.txt"], 4, "id -1 is not a whole number"),
        (["{seq}", "--gt", "nowhere"], 4, "Cannot read 'nowhere'"),
        (["{seq}", "--fps", "0"], 2, "0 frames a second cannot be"),
    ],
)
def test_a_mistake_is_one_sentence_and_its_exit_code(
    sequence: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    assert main(["retrack", *(argument.format(seq=sequence) for argument in arguments)]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert captured.err.count("\n") == 1
