"""Tracks and ground truth as they are read, and every way in which a file of them can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamtrack.cli import eval as eval_command
from streamtrack.errors import ConfigError, SourceError
from streamtrack.evaluation import BENCHMARKS, read_tracks, read_truth
from streamtrack.sinks.jsonl import JsonlSink
from streamtrack.testing.results import make_info, walk

MOT15 = "1,1,10,20,30,40,1,-1,-1,-1\n1,2,50,20,30,40,0,-4.2,1.5,0\n"
MOT17 = "1,1,10,20,30,40,1,1,0.9\n1,2,50,20,30,40,1,7,1\n1,3,90,20,30,40,0,1,1\n1,4,0,0,9,9,1,6,1\n"


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "benchmark", "rule", "counts", "excuses"),
    [
        (MOT15, None, "mot15", [True, False], [False, False]),
        (MOT17, None, "mot17", [True, False, False, False], [False, True, False, False]),
        (MOT17, "mot20", "mot20", [True, False, False, False], [False, True, False, True]),
        (MOT17, "mot15", "mot15", [True, True, False, True], [False] * 4),
        (MOT17, "none", "none", [True] * 4, [False] * 4),
        ("1,1,10,20,30,40\n", None, "none", [True], [False]),
        ("1,1,10,20,30,40,0.7\n", None, "mot15", [False], [False]),
        (MOT17.replace(",7,", ",14,"), None, "mot15", [True, True, False, True], [False] * 4),
        ("", None, "none", [], []),
    ],
)
def test_the_columns_tell_what_counts(
    tmp_path: Path, text: str, benchmark: str | None, rule: str, counts: list[bool], excuses: list[bool]
) -> None:
    truth = read_truth(put(tmp_path / "gt.txt", text), benchmark)
    assert (truth.benchmark, truth.counts.tolist(), truth.excuses.tolist()) == (rule, counts, excuses)


def test_boxes_are_corners_and_the_length_is_that_of_the_sequence(tmp_path: Path) -> None:
    put(tmp_path / "SEQ" / "seqinfo.ini", "[Sequence]\nseqLength=77\nframeRate=25\n")
    truth = read_truth(put(tmp_path / "SEQ" / "gt" / "gt.txt", MOT15))
    assert truth.boxes.tolist() == [[10.0, 20.0, 40.0, 60.0], [50.0, 20.0, 80.0, 60.0]]
    assert (truth.frames.tolist(), truth.ids.tolist(), truth.frame_count) == ([1, 1], [1, 2], 77)
    tracks = read_tracks(put(tmp_path / "tracks.txt", "4 9 1 2 3 4\n2 9 1 2 3 4\n"))
    assert (tracks.frames.tolist(), tracks.ids.tolist(), tracks.looked_at) == ([4, 2], [9, 9], None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,1,1,2,3,4\n2,1,1,2,3,4\n\n2,1,5,6,7,8\n", r"line 4: id 1 is in frame 2 already, in .*line 2"),
        ("0,1,1,2,3,4\n", "line 1: frame 0 is not a whole number from 1 up"),
        ("1,1,1,2,3,4\n1,2.5,1,2,3,4\n", "line 2: id 2.5 is not a whole number"),
        ("1,1,1,2,3\n", "line 1: 5 columns where at least 6"),
        ("1,1,1,2,x,4\n", "line 1: 'x' is not a finite number"),
        ("1,-1,1,2,3,4\n1,-1,5,6,7,8\n", "detections, not tracks"),
    ],
)
def test_what_is_wrong_with_tracks_is_said_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        read_tracks(put(tmp_path / "t.txt", text))


@pytest.mark.parametrize(
    ("text", "benchmark", "words"),
    [
        ("1,1,1,2,3,4\n", "mot15", "has 6 columns and mot15 needs 7"),
        ("1,1,1,2,3,4,1\n", "mot17", "has 7 columns and mot17 needs 8"),
        (MOT15, "mot17", "line 1: class -1 is not a whole number from 1"),
        (MOT15 + "1,1,1,2,3,4,1,-1,-1,-1\n", None, "line 3: id 1 is in frame 1 already"),
    ],
)
def test_what_is_wrong_with_ground_truth(tmp_path: Path, text: str, benchmark: str | None, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        read_truth(put(tmp_path / "gt.txt", text), benchmark)


def test_an_unknown_benchmark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no benchmark 'mot99'"):
        read_truth(put(tmp_path / "gt.txt", MOT15), "mot99")
    assert eval_command.BENCHMARKS == BENCHMARKS


def test_a_run_gives_its_claimed_detections_and_the_frames_it_looked_at(tmp_path: Path) -> None:
    sink = JsonlSink()
    sink.open(make_info(tmp_path))
    results = list(walk(9, stride=3))
    for result in results:
        sink.write(result)
    sink.close()
    tracks = read_tracks(tmp_path)
    assert tracks.looked_at is not None
    assert tracks.looked_at.tolist() == [1, 4, 7, 10, 13, 16, 19, 22, 25]
    claimed = [
        (r.frame.index + 1, i) for r in results for i, s in zip(r.tracks.ids, r.tracks.states, strict=True) if s == 1
    ]
    assert sorted(zip(tracks.frames.tolist(), tracks.ids.tolist(), strict=True)) == sorted(claimed)
    assert read_tracks(tmp_path / "detections.jsonl").ids.tolist() == tracks.ids.tolist()
    (tmp_path / "frames.jsonl").unlink()
    assert read_tracks(tmp_path).looked_at is None


def test_a_run_with_an_id_twice_in_a_frame_is_refused(tmp_path: Path) -> None:
    line = '{"frame_idx":4,"ts_s":0.1,"bbox":[0,0,9,9],"conf":1,"class_id":0,"landmarks":[],"track_id":3}\n'
    put(tmp_path / "detections.jsonl", 2 * line)
    with pytest.raises(SourceError, match="id 3 occurs twice in frame 4"):
        read_tracks(tmp_path)
