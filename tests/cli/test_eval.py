"""``streamtrack eval`` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamtrack.cli import main
from streamtrack.sinks.jsonl import JsonlSink
from streamtrack.testing.results import make_info, walk

GOLDENS = Path(__file__).resolve().parent.parent / "golden" / "evaluation"
MOT15 = ("crowd", "floats", "nothing", "ties")


@pytest.fixture
def tracks(tmp_path: Path) -> Path:
    """A folder of NAME.txt, as trackers write it."""
    for name in MOT15:
        (tmp_path / f"{name}.txt").write_bytes((GOLDENS / name / "tracks.txt").read_bytes())
    return tmp_path


def expected(benchmark: str, stride: int) -> dict[str, dict[str, float]]:
    cases = json.loads((GOLDENS / "expected.json").read_text())
    scores: dict[str, dict[str, float]] = next(
        case["scores"] for case in cases if (case["benchmark"], case["stride"]) == (benchmark, stride)
    )
    return scores


@pytest.mark.parametrize("stride", [1, 3])
def test_json_holds_the_scores_of_each_and_of_all(
    tracks: Path, capsys: pytest.CaptureFixture[str], stride: int
) -> None:
    chosen = [word for name in MOT15 for word in ("--seq", name)]
    assert main(["eval", str(tracks), str(GOLDENS), *chosen, "--stride", str(stride), "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert (captured.err, found["schema_version"], found["stride"]) == ("", 1, stride)
    assert list(found["sequences"]) == list(MOT15)
    golden = expected("mot15", stride)
    for name, scores in {**found["sequences"], "COMBINED_SEQ": found["combined"]}.items():
        for key, value in golden[name].items():
            assert key == "hota_alpha" or scores[key] == pytest.approx(value, abs=1e-9)
    assert {scores["benchmark"] for scores in found["sequences"].values()} == {"mot15"}


def test_the_table_is_plain_and_says_by_which_rules(tracks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(tracks / "floats.txt"), str(GOLDENS / "floats"), "--stride", "3"]) == 0
    head, row, combined, rules = capsys.readouterr().out.splitlines()
    golden = expected("mot15", 3)["floats"]
    assert head.split() == ["sequence", "HOTA", "DetA", "AssA", "MOTA", "IDF1", "IDSW", "Frag"]
    shares = [f"{100 * golden[key]:.2f}" for key in ("hota", "deta", "assa", "mota", "idf1")]
    assert row.split() == ["floats", *shares, str(golden["switches"]), str(golden["fragments"])]
    assert combined.split() == ["combined", *row.split()[1:]]
    assert rules == "rules: mot15 (told by the columns of the ground truth); frames 1, 4, 7, ..."


def test_rules_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(GOLDENS / "vehicles" / "tracks.txt"), str(GOLDENS / "vehicles" / "gt" / "gt.txt")]
    assert main(["eval", *files, "--benchmark", "mot20", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["sequences"]["vehicles"]
    assert found["hota"] == pytest.approx(expected("mot20", 1)["vehicles"]["hota"], abs=1e-9)
    assert main(["eval", *files, "--benchmark", "none"]) == 0
    assert "rules: none (as told); all frames" in capsys.readouterr().out


def test_a_run_is_scored_in_the_frames_it_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sink = JsonlSink()
    sink.open(make_info(tmp_path))
    lines = []
    for result in walk(12, stride=5):
        sink.write(result)
        for box in result.detections.boxes[result.tracks.rows[result.tracks.states == 1]].tolist():
            # A truth for every frame, of which the run looked at every fifth.
            x0, y0, x1, y1 = box
            lines += [f"{result.frame.index + 1 + k},{len(lines)},{x0},{y0},{x1 - x0},{y1 - y0}\n" for k in range(5)]
    sink.close()
    (tmp_path / "gt.txt").write_text("".join(lines))
    assert main(["eval", str(tmp_path), str(tmp_path / "gt.txt"), "--json"]) == 0
    combined = json.loads(capsys.readouterr().out)["combined"]
    assert (combined["deta"], combined["false_negatives"], combined["false_positives"]) == (1.0, 0, 0)
    assert main(["eval", str(tmp_path), str(tmp_path / "gt.txt"), "--stride", "10"]) == 0
    assert "rules: none" in (text := capsys.readouterr().out)
    assert "the frames that the run looked at, of them frames 1, 11, 21, ..." in text


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["missing", "{goldens}"], 4, "Cannot read 'missing': No such file or directory"),
        (["{tracks}", "{goldens}"], 4, "There is no sequence 'distractors' among the tracks"),
        (["{tracks}", "{goldens}", "--seq", "crowds"], 4, "Did you mean 'crowd'? Choose sequences with --seq"),
        (["{tracks}/bad.txt", "{goldens}/floats"], 4, "bad.txt', line 2: id 1 is in frame 1 already"),
        (["{tracks}/floats.txt", "{goldens}/floats", "--stride", "0"], 2, "stride must be at least 1"),
        (["{tracks}/floats.txt", "{goldens}/floats", "--benchmark", "mot17"], 4, "line 1: class -1"),
    ],
)
def test_a_mistake_is_one_sentence_and_its_exit_code(
    tracks: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    (tracks / "bad.txt").write_text("1,1,0,0,9,9\n1,1,5,5,9,9\n")
    given = [argument.format(tracks=tracks, goldens=GOLDENS) for argument in arguments]
    assert main(["eval", *given]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert captured.err.count("\n") == 1
