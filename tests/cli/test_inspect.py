"""``streamtrack inspect``: for people, for programs, and into other formats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamtrack.cli import main
from streamtrack.sinks.msgpack import MsgpackSink
from streamtrack.testing.results import make_frame, make_info, make_result, walk


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    sink = MsgpackSink()
    sink.open(make_info(folder))
    for result in walk(20):
        sink.write(result)
    sink.close()
    return folder / "tape.msgpack"


def test_a_person_reads_what_it_holds(tape: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tape)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = dict(line.split(maxsplit=1) for line in out.partition("\n\n")[0].splitlines())
    assert lines["Source"] == "synthetic.mp4, 320 x 240, none, 25 fps, every frame"
    assert lines["Model"] == "synthetic: face, 5 keypoints a detection"
    assert lines["Frames"] == "20: 0 to 19, 0.000 s to 0.760 s"
    assert lines["Found"].endswith("detections, 2 tracks")
    assert lines["Index"] == "1 chunk of up to 256 frames"
    assert lines["State"] == "closed, every checksum read is right"
    assert out.splitlines()[-1].split()[:2] == ["2", "face"]


def test_a_program_reads_it_too(tape: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tape), "--json", "--from", "0.2", "--to", "0.4"]) == 0
    held = json.loads(capsys.readouterr().out)
    assert (held["schema_version"], held["kind"], held["frames"]) == (1, "tape", 5)
    assert [track["track_id"] for track in held["tracks"]] == [1, 2]
    assert (held["closed"], held["damage"], held["start_s"]) == (True, [], 0.2)


def test_of_many_tracks_the_longest_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sink = MsgpackSink()
    sink.open(make_info(tmp_path))
    tracks = [(k, (1.0, 1.0, 9.0, 9.0)) for k in range(1, 24)]
    for n in range(3):
        sink.write(make_result(make_frame(n), tracks[: 23 - 2 * n]))
    sink.close()
    assert main(["inspect", str(tmp_path / "tape.msgpack")]) == 0
    shown = capsys.readouterr().out.partition("\n\n")[2].splitlines()
    assert len(shown) == 1 + 20 + 1
    assert shown[-1] == "3 shorter tracks not shown: --json has all"


def test_half_written_is_said_and_damaged_is_an_error(tape: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = tape.read_bytes()
    middle = len(whole) // 2
    tape.write_bytes(whole[:middle])
    for command in (["inspect", str(tape)], ["inspect", str(tape), "--out", str(tape.with_name("a.csv"))]):
        assert main(command) == 0
        out, err = capsys.readouterr()
        assert "its last entry is half written" in err
        assert "was not closed: its run was killed" in err
    tape.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    for command in (["inspect", str(tape)], ["inspect", str(tape), "--out", str(tape.with_name("b.csv"))]):
        assert main(command) == 4
        out, err = capsys.readouterr()
        assert "are damaged and were left out" in err
        assert out


def test_it_is_written_elsewhere(tape: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tracks.csv"
    assert main(["inspect", str(tape), "--out", str(out), "--records", "tracks"]) == 0
    assert capsys.readouterr().out == f"{out}  (csv)\n"
    assert len(out.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--json", "--out", "x.csv"], 2, "give one of them"),
        (["--records", "tracks"], 2, "give both"),
        (["--from", "3", "--to", "2"], 2, "There is no time from 3 s to 2 s"),
        (["--out", "x.xlsx"], 2, "No format has files that end in '.xlsx'"),
    ],
)
def test_what_cannot_be_is_said(
    tape: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, words: str
) -> None:
    assert main(["inspect", str(tape), *options]) == code
    assert words in capsys.readouterr().err


def test_another_file_is_said_to_be_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.msgpack"
    path.write_bytes(b"\x82\xa1a\x01")
    assert main(["inspect", str(path)]) == 4
    assert "is not a tape" in capsys.readouterr().err
