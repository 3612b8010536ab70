"""A tape gives back what a run saw, to the last bit, and refuses what cannot be one."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.errors import ConfigError, SourceError
from streamtrack.sinks.jsonl import JsonlSink
from streamtrack.sinks.msgpack import MsgpackSink
from streamtrack.tape import Tape, holds_run, read_tape
from streamtrack.testing.results import make_frame, make_info, make_result, walk
from streamtrack.types import Detections, Frame, Result


def record(
    folder: Path, results: list[Result], *, rate: float = 25.0, settings: dict[str, float] | None = None
) -> Path:
    """Write what a run leaves of ``results``."""
    folder.mkdir(exist_ok=True)
    sink = JsonlSink()
    sink.open(make_info(folder))
    for result in results:
        sink.write(result)
    sink.close()
    source = {"uri": "clip.mp4", "width": 320, "height": 240, "fps": 25.0, "sample_rate": rate, "sampling": "some"}
    metrics = {"source": source, "model": {"name": "yunet"}, "settings": {"tracker": settings or {}}, "more": 1}
    (folder / "track_metrics.json").write_text(json.dumps(metrics))
    return folder


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def assert_same(tape: Tape, expected: list[tuple[Frame, Detections]]) -> None:
    found = list(tape)
    assert len(tape) == len(found) == len(expected)
    for (frame, detections), (frame_then, then) in zip(found, expected, strict=True):
        assert (frame.index, frame.pts_ns) == (frame_then.index, frame_then.pts_ns)
        for name in ("boxes", "scores", "classes", "keypoints"):
            a, b = getattr(detections, name), getattr(then, name)
            assert a.dtype == b.dtype
            # How many keypoints a model has cannot be told from a run that found nothing.
            assert np.array_equal(a, b) or (name == "keypoints" and len(a) == len(b) == tape.found.boxes.size == 0)


@pytest.mark.parametrize("keypoints", [0, 5])
def test_a_run_comes_back_as_it_was(tmp_path: Path, keypoints: int) -> None:
    results = [*walk(20, tracks=3, keypoints=keypoints), make_result(make_frame(23), keypoints=keypoints)]
    tape = read_tape(record(tmp_path, results, settings={"new_thresh": 0.7}))
    assert_same(tape, [(result.frame, result.detections) for result in results])
    owners = [dict(zip(r.tracks.rows.tolist(), r.tracks.ids.tolist(), strict=True)) for r in results]
    confirmed = [set(r.tracks.ids[r.tracks.states == 1].tolist()) for r in results]
    claims = [
        owner[row] if owner.get(row) in ids else -1
        for r, owner, ids in zip(results, owners, confirmed, strict=True)
        for row in range(len(r.detections))
    ]
    assert tape.track_ids.tolist() == claims
    assert (tape.source.uri, tape.source.width, tape.source.height) == ("clip.mp4", 320, 240)
    assert (tape.source.rate, tape.source.sample_rate, tape.source.sampling) == (25.0, 25.0, "some")
    assert (tape.model, tape.settings, tape.notes, tape.complete) == ("yunet", {"new_thresh": 0.7}, (), True)


@given(st.lists(st.integers(1, 2**40), min_size=1, max_size=30), st.data())
def test_every_time_comes_back(tmp_path_factory: pytest.TempPathFactory, steps: list[int], data: st.DataObject) -> None:
    times = np.cumsum(steps).tolist()
    picture = make_frame(0).picture
    box = (1.0, 2.0, 30.0, 40.0)
    results = [
        make_result(Frame(3 * n, pts, 320, 240, picture), [(1, box)] * data.draw(st.integers(0, 2)))
        for n, pts in enumerate(times)
    ]
    assert_same(read_tape(record(tmp_path_factory.mktemp("run"), results)), [(r.frame, r.detections) for r in results])


def test_a_frame_of_a_tape_has_no_pixels(tmp_path: Path) -> None:
    frame, _ = next(iter(read_tape(record(tmp_path, list(walk(3))))))
    with pytest.raises(SourceError, match="not pictures"):
        frame.rgb()


def test_a_run_that_was_killed_ends_with_its_last_whole_frame(tmp_path: Path) -> None:
    results = list(walk(12))
    record(tmp_path, results)
    frames = (tmp_path / "frames.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "frames.jsonl").write_text("".join(frames[:-1]))
    assert_same(read_tape(tmp_path), [(r.frame, r.detections) for r in results[:-1]])


@pytest.mark.parametrize("options", [{"compress": "gzip"}, {"rotate_s": 0.2}, {"rotate_mb": 1e-3, "compress": "gzip"}])
def test_compressed_files_and_parts_are_the_same_tape(tmp_path: Path, options: dict[str, Any]) -> None:
    results = list(walk(20))
    sink = JsonlSink(**options)
    sink.open(make_info(tmp_path))
    for result in results:
        sink.write(result)
    unfinished = read_tape(tmp_path)
    sink.close()
    expected = [(result.frame, result.detections) for result in results]
    assert_same(unfinished, expected)
    assert any("was not closed" in note for note in unfinished.notes) is ("compress" in options)
    tape = read_tape(tmp_path)
    assert_same(tape, expected)
    assert not any("was not closed" in note for note in tape.notes)
    assert_same(read_tape(tape.file), expected)
    assert holds_run(tmp_path)
    assert holds_run(tape.file)


def test_a_damaged_compressed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "detections.jsonl.gz"
    path.write_bytes(b"\x1f\x8b\x08\x00" + b"\xff" * 40)
    with pytest.raises(SourceError, match=r"detections\.jsonl\.gz': it is damaged"):
        read_tape(tmp_path)


def record_file(folder: Path, results: list[Result], *, close: bool = True) -> Path:
    folder.mkdir(exist_ok=True)
    sink = MsgpackSink()
    sink.open(replace(make_info(folder), settings={"tracker": {"new_thresh": 0.7}, "source": {"stride": 1}}))
    for result in results:
        sink.write(result)
    if close:
        sink.close()
    return folder / "tape.msgpack"


def test_one_file_is_the_same_tape_as_a_folder(tmp_path: Path) -> None:
    results = [*walk(20, tracks=3), make_result(make_frame(23))]
    a, b = read_tape(record(tmp_path / "a", results)), read_tape(record_file(tmp_path / "b", results))
    assert_same(b, list(a))
    assert_same(read_tape(tmp_path / "b"), list(a))
    assert b.track_ids.tolist() == a.track_ids.tolist()
    assert b.source == make_info(tmp_path).source
    assert (b.model, b.settings, b.notes, b.complete) == ("synthetic", {"new_thresh": 0.7}, (), True)
    (tmp_path / "b" / "tape.msgpack").rename(tmp_path / "b" / "any.name")
    assert_same(read_tape(tmp_path / "b" / "any.name"), list(a))
    with pytest.raises(ConfigError, match="knows when its frames were"):
        read_tape(tmp_path / "b" / "any.name", 25.0)


def test_one_file_of_a_run_that_was_killed_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    results = list(walk(9))
    path = record_file(tmp_path, results)
    data = path.read_bytes()
    path.write_bytes(data[: 7 * len(data) // 10])
    tape = read_tape(path)
    assert 0 < len(tape) < 9
    assert_same(tape, [(result.frame, result.detections) for result in results[: len(tape)]])
    assert "its last entry is half written" in tape.notes[0]
    assert "was not closed" in tape.notes[1]


def test_an_empty_run_in_one_file_is_an_empty_tape(tmp_path: Path) -> None:
    tape = read_tape(record_file(tmp_path, []))
    assert len(tape) == len(list(tape)) == 0
    assert tape.found.keypoints.shape == (0, 5, 2)


def test_without_frames_the_empty_ones_are_missing_and_it_says_so(tmp_path: Path) -> None:
    results = [make_result(make_frame(0)), *list(walk(8, stride=2))[1:], make_result(make_frame(40))]
    record(tmp_path, results)
    (tmp_path / "frames.jsonl").unlink()
    tape = read_tape(tmp_path / "detections.jsonl")
    assert_same(tape, [(r.frame, r.detections) for r in results[1:-1]])
    assert not tape.complete
    assert "no frames.jsonl" in tape.notes[0]
    (tmp_path / "track_metrics.json").unlink()
    tape = read_tape(tmp_path)
    assert "no track_metrics.json" in tape.notes[1]
    assert (tape.settings, tape.source.rate) == ({}, 0.0)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("detections.jsonl", "{}\n", r"detections.jsonl', line 1 is not a record of a run: .*missing required field"),
        ("detections.jsonl", "\n", "not of one run"),
        ("frames.jsonl", '{"frame_idx": 1}\nx', r"frames.jsonl', line 1 is not a record"),
        ("frames.jsonl", '{"frame_idx":9,"ts_s":0,"pts_ns":5,"detections":0}\n' * 2, "not of one run"),
        ("track_metrics.json", "[]", "does not hold the metrics of a run"),
    ],
)
def test_what_is_wrong_with_a_run_is_said(tmp_path: Path, name: str, text: str, words: str) -> None:
    record(tmp_path, list(walk(12)))
    put(tmp_path / name, text)
    with pytest.raises(SourceError, match=words):
        read_tape(tmp_path)


def test_frames_out_of_order_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "detections.jsonl", "")
    line = '{{"frame_idx":{},"ts_s":0,"pts_ns":{},"detections":0}}\n'
    for second in ((4, 9), (5, 5), (3, 9)):
        put(tmp_path / "frames.jsonl", line.format(4, 5) + line.format(*second))
        with pytest.raises(SourceError, match=f"frame {second[0]} comes after frame 4"):
            read_tape(tmp_path)


@pytest.mark.parametrize(
    ("bbox", "landmarks", "words"),
    [("[1,2,3]", "[]", "without 4"), ("[1,2,3,4]", "[[1]]", "without 2"), ("[1,2,3,4]", "[[1,2]]", "mixes")],
)
def test_detections_of_the_wrong_shape(tmp_path: Path, bbox: str, landmarks: str, words: str) -> None:
    line = '{{"frame_idx":0,"ts_s":0,"bbox":{},"conf":1,"class_id":0,"landmarks":{},"track_id":null}}\n'
    other = line.format("[1,2,3,4]", "[]") if words == "mixes" else ""
    put(tmp_path / "detections.jsonl", line.format(bbox, landmarks) + other)
    with pytest.raises(SourceError, match=words):
        read_tape(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="There is no tape in"):
        read_tape(tmp_path)
    with pytest.raises(SourceError, match=r"Cannot read .*x\.jsonl': No such file"):
        read_tape(tmp_path / "x.jsonl")
    with pytest.raises(SourceError, match=r"Cannot read .*x\.txt': No such file"):
        read_tape(tmp_path / "x.txt")


# --- strides ---


def test_a_stride_keeps_the_frames_that_a_run_at_it_would_see(tmp_path: Path) -> None:
    results = list(walk(13))
    tape = read_tape(record(tmp_path, results)).strided(4)
    assert_same(tape, [(r.frame, r.detections) for r in results[::4]])
    assert tape.source.sample_rate == 25.0 / 4
    assert tape.source.sampling == "frames 0, 4, 8, ... of the tape"
    with pytest.raises(ConfigError, match="at least 1"):
        tape.strided(0)


@given(stride=st.integers(1, 9), cut=st.lists(st.booleans(), min_size=1, max_size=30))
def test_a_shot_that_begins_between_the_frames_of_a_stride_begins_in_the_next(
    tmp_path_factory: pytest.TempPathFactory, stride: int, cut: list[bool]
) -> None:
    results = [replace(make_result(make_frame(n)), cut=n > 0 and flag) for n, flag in enumerate(cut)]
    tape = read_tape(record(tmp_path_factory.mktemp("run"), results)).strided(stride)
    flags = [result.cut for result in results]
    expected = [any(flags[max(0, n - stride + 1) : n + 1]) for n in range(0, len(flags), stride)]
    assert tape.cuts.tolist() == expected


def test_a_stride_of_a_strided_tape_counts_source_frames(tmp_path: Path) -> None:
    results = list(walk(12, stride=4))
    tape = read_tape(record(tmp_path, results, rate=25.0 / 4))
    assert tape.strided(1) is tape
    assert_same(tape.strided(8), [(r.frame, r.detections) for r in results[::2]])
    assert tape.strided(8).source.sample_rate == 25.0 / 8
    assert tape.strided(6).frames.tolist() == [0, 12, 24, 36]
    assert tape.strided(6).source.sample_rate == 25.0 / 12


def test_a_tape_sampled_by_time_keeps_its_share(tmp_path: Path) -> None:
    results = [make_result(make_frame(n)) for n in (0, 3, 6, 9, 13, 16)]
    tape = read_tape(record(tmp_path, results, rate=8.0)).strided(2)
    assert tape.frames.tolist() == [0, 6, 16]
    assert tape.source.sample_rate == 4.0


# --- MOTChallenge ---

DET = "2,-1,10,20,30,40,0.5\n1,-1,1,2,3,4,0.75\n2,-1,11,21,31,41,1\n4,-1,0.1,0.2,0.3,0.4,0.9\n"


def test_a_det_txt_is_a_tape_with_its_empty_frames(tmp_path: Path) -> None:
    put(tmp_path / "SEQ" / "seqinfo.ini", "[Sequence]\nframeRate=14\nseqLength=6\nimWidth=640\nimHeight=480\n")
    put(tmp_path / "SEQ" / "det" / "det.txt", DET)
    tape = read_tape(tmp_path / "SEQ")
    assert tape.frames.tolist() == list(range(6))
    assert tape.pts_ns.tolist() == [round(Fraction(n * 10**9, 14)) for n in range(6)]
    assert [len(detections) for _, detections in tape] == [1, 2, 0, 1, 0, 0]
    frames = dict(enumerate(detections for _, detections in tape))
    assert frames[1].boxes.tolist() == [[10, 20, 40, 60], [11, 21, 42, 62]]
    assert frames[1].scores.tolist() == [0.5, 1.0]
    assert frames[3].boxes.tolist() == np.array([[0.1, 0.2, 0.1 + 0.3, 0.2 + 0.4]]).astype(np.float32).tolist()
    assert (tape.source.rate, tape.source.sample_rate, tape.source.width, tape.notes) == (14.0, 14.0, 640, ())
    assert tape.strided(3).source.sample_rate == 14 / 3
    assert tape.strided(3).frames.tolist() == [0, 3]


def test_the_rate_of_a_det_txt_is_assumed_or_told(tmp_path: Path) -> None:
    file = put(tmp_path / "det.txt", DET)
    tape = read_tape(file)
    assert (len(tape), tape.source.rate) == (4, 30.0)
    assert "30 are assumed" in tape.notes[0]
    tape = read_tape(file, 29.97)
    assert (tape.source.rate, tape.notes) == (29.97, ())
    assert tape.pts_ns[3] == round(Fraction(3 * 10**9 * 100, 2997))
    for rate in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="frames a second cannot be"):
            read_tape(file, rate)


def test_a_run_is_not_told_its_rate(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="knows when its frames were"):
        read_tape(record(tmp_path, list(walk(3))), 30.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (DET + "7,-1,1,1,1,1,1\n", r"has a frame 7, but its seqinfo\.ini says that there are 6"),
        ("1,-1,1,2,3,4\n", "6 columns where at least 7"),
        ("0,-1,1,2,3,4,1\n", "frame 0"),
    ],
)
def test_what_is_wrong_with_a_det_txt(tmp_path: Path, text: str, words: str) -> None:
    put(tmp_path / "seqinfo.ini", "[Sequence]\nframeRate=14\nseqLength=6\n")
    with pytest.raises(SourceError, match=words):
        read_tape(put(tmp_path / "det.txt", text))


def test_an_empty_det_txt_is_an_empty_tape(tmp_path: Path) -> None:
    tape = read_tape(put(tmp_path / "det.txt", ""))
    assert len(tape) == len(list(tape)) == len(tape.strided(3)) == 0


@pytest.mark.parametrize("sink", [JsonlSink(), JsonlSink(compress="gzip"), JsonlSink(rotate_s=0.1), MsgpackSink()])
def test_the_frames_of_a_run_count_from_0_however_it_is_kept(tmp_path: Path, sink: JsonlSink | MsgpackSink) -> None:
    sink.open(make_info(tmp_path))
    for result in walk(4):
        sink.write(result)
    sink.close()
    assert read_tape(tmp_path).frames_from == 0


def test_the_frames_of_the_benchmark_count_from_1(tmp_path: Path) -> None:
    assert read_tape(put(tmp_path / "det.txt", "1,-1,1,2,3,4,1")).frames_from == 1
