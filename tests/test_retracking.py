"""The tracker over a tape does what it did in the run, bit for bit."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import streamtrack
from streamtrack.errors import ConfigError, SinkError, SourceError
from streamtrack.evaluation import pair, read_tracks, read_truth, score
from streamtrack.retracking import params_for, retrack, writing_records, writing_run, writing_text
from streamtrack.tape import read_tape
from streamtrack.testing.clips import write_clip
from streamtrack.testing.models import square_frames, write_square_detector
from streamtrack.types import UInt8Array

FRAMES, DARK = 90, range(40, 52)
# The second one leaves for good, the third comes late; in between there is nothing to see at all.
PATHS = [(40.0, 60.0, 4.0, 0.0), (560.0, 250.0, 5.0, 0.0), (-300.0, 180.0, 5.0, 1.0)]
RECORDS = ("detections.jsonl", "frames.jsonl", "tracks.jsonl")


def pictures() -> Iterator[UInt8Array]:
    for index, picture in enumerate(square_frames(FRAMES, PATHS)):
        yield np.full_like(picture, 16) if index in DARK else picture


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_square_detector(tmp_path_factory.mktemp("model") / "squares.onnx"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "squares.mp4", pictures())


@pytest.fixture(scope="module")
def run(clip: Path, model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(clip, model, tmp_path_factory.mktemp("run"), stride=1)


def record(clip: Path, model: str, out: Path, *, stride: int, tracker: dict[str, float] | None = None) -> Path:
    settings = {"output.save_frames": False} | {f"tracker.{key}": value for key, value in (tracker or {}).items()}
    streamtrack.run(clip, model=model, stride=stride, out=out, set=settings, sinks=["msgpack"])
    return out


def again(run: Path, out: Path, *, stride: int = 1, **overrides: object) -> Path:
    tape = read_tape(run).strided(stride)
    params = params_for(tape, {f"tracker.{key}": value for key, value in overrides.items()})
    with writing_run(out, tape, params, overwrite=False) as write:
        retrack(tape, params, write)
    return out


def assert_same_records(a: Path, b: Path) -> None:
    for name in RECORDS:
        assert (a / name).read_bytes() == (b / name).read_bytes(), name


def test_a_run_is_repeated_to_the_byte(run: Path, tmp_path: Path) -> None:
    assert len((run / "frames.jsonl").read_text().splitlines()) == FRAMES
    seen = {json.loads(line)["frame_idx"] for line in (run / "detections.jsonl").read_text().splitlines()}
    assert set(DARK).isdisjoint(seen)
    once = again(run, tmp_path / "once")
    assert_same_records(run, once)
    assert_same_records(run, again(once, tmp_path / "twice"))


def test_the_tape_in_one_file_is_as_good_as_the_folder(run: Path, tmp_path: Path) -> None:
    alone = shutil.copy(run / "tape.msgpack", tmp_path / "alone.msgpack")
    assert read_tape(alone).notes == ()
    assert (read_tape(alone).settings, read_tape(alone).model) == (read_tape(run).settings, read_tape(run).model)
    assert_same_records(run, again(alone, tmp_path / "once"))
    streamtrack.run(f"replay:{alone}", out=tmp_path / "replayed", stride=1, set={"output.save_frames": False})
    assert_same_records(run, tmp_path / "replayed")


def two_shots() -> Iterator[UInt8Array]:
    """One square that goes on through a cut at frame 33, over grounds in which the model sees nothing."""
    shots = np.zeros((2, 384, 640, 3), np.uint8)
    shots[0, :, 320:, 1], shots[1, 192:, :, 2] = 200, 255
    for index, picture in enumerate(square_frames(60, [(40.0, 60.0, 4.0, 0.0)])):
        yield np.where(picture == 255, picture, shots[int(index >= 33)])


@pytest.mark.parametrize("stride", [1, 5])
def test_a_cut_ends_the_tracks_in_the_run_and_on_the_tape(tmp_path: Path, model: str, stride: int) -> None:
    clip = write_clip(tmp_path / "shots.mp4", two_shots())
    run = record(clip, model, tmp_path / "run", stride=stride)
    frames = [json.loads(line) for line in (run / "frames.jsonl").read_text().splitlines()]
    begins = -(-33 // stride) * stride
    assert [frame["frame_idx"] for frame in frames if frame["cut"]] == [begins]
    tracks = [json.loads(line) for line in (run / "tracks.jsonl").read_text().splitlines()]
    assert [track["frame_span"][0] for track in tracks] == [0, begins]
    assert json.loads((run / "track_metrics.json").read_text())["totals"]["cuts"] == 1
    repeated = again(run, tmp_path / "again")
    assert_same_records(run, repeated)
    assert json.loads((repeated / "track_metrics.json").read_text())["totals"]["cuts"] == 1


def test_without_cuts_a_track_goes_on(tmp_path: Path, model: str) -> None:
    clip = write_clip(tmp_path / "shots.mp4", two_shots())
    summary = streamtrack.run(clip, model=model, stride=1, set={"scene.cuts": False})
    assert (summary.metrics.totals["tracks"], summary.metrics.totals["cuts"]) == (1, 0)


@pytest.mark.parametrize("stride", [3, 7])
def test_a_stride_is_what_a_run_at_that_stride_does(
    clip: Path, model: str, run: Path, tmp_path: Path, stride: int
) -> None:
    strided = record(clip, model, tmp_path / "run", stride=stride, tracker={"max_gap_s": 50, "track_buffer": 4})
    assert_same_records(strided, again(run, tmp_path / "again", stride=stride, max_gap_s=50, track_buffer=4))


def test_the_settings_are_those_of_the_run_unless_told(clip: Path, model: str, tmp_path: Path) -> None:
    run = record(clip, model, tmp_path / "run", stride=2, tracker={"max_gap_s": 0.1, "new_thresh": 0.6})
    tape = read_tape(run)
    params = params_for(tape, {"tracker.match_thresh": "0.5"})
    assert (params.max_gap_s, params.new_thresh, params.match_thresh) == (0.1, 0.6, 0.5)
    # The twelve dark frames last longer than 0.1 s and less than 2.5 s.
    assert (
        retrack(tape, params_for(tape, {})).track_count
        > retrack(tape, params_for(tape, {"tracker.max_gap_s": 2.5})).track_count
    )
    metrics = json.loads((again(run, tmp_path / "again", match_thresh=0.5) / "track_metrics.json").read_text())
    assert metrics["settings"]["tracker"] == json.loads((run / "track_metrics.json").read_text())["settings"][
        "tracker"
    ] | {"match_thresh": 0.5}
    assert metrics["totals"]["frames_processed"] == metrics["frame_ledger"]["seen"] == FRAMES / 2


def test_what_came_of_it_is_counted(run: Path) -> None:
    tape = read_tape(run)
    outcome = retrack(tape, params_for(tape, {}))
    metrics = json.loads((run / "track_metrics.json").read_text())
    claimed = [json.loads(line)["track_id"] for line in (run / "detections.jsonl").read_text().splitlines()]
    assert outcome.track_count == metrics["totals"]["tracks"] == 3
    assert outcome.detections == len(claimed)
    assert outcome.mean_length == sum(track is not None for track in claimed) / 3
    assert outcome.tracks.looked_at is not None
    assert len(outcome.tracks.looked_at) == FRAMES
    assert (outcome.ignored, outcome.seconds > 0) == (0, True)


def test_nothing_on_the_tape_is_no_track(tmp_path: Path) -> None:
    (tmp_path / "det.txt").write_text("")
    tape = read_tape(tmp_path / "det.txt")
    outcome = retrack(tape, params_for(tape, {}))
    assert (outcome.track_count, outcome.mean_length, outcome.detections) == (0, 0.0, 0)


def test_a_run_with_other_samples_is_repeated_to_the_byte_too(clip: Path, model: str, tmp_path: Path) -> None:
    settings = {"output.save_frames": False, "output.samples_per_track": 3}
    streamtrack.run(clip, model=model, stride=2, out=tmp_path / "run", set=settings)
    once = again(tmp_path / "run", tmp_path / "once")
    assert_same_records(tmp_path / "run", once)
    assert_same_records(once, again(once, tmp_path / "twice"))


def test_text_and_records_hold_the_tracks(run: Path, tmp_path: Path) -> None:
    tape = read_tape(run)
    params = params_for(tape, {})
    text, records = tmp_path / "t.txt", tmp_path / "d.jsonl"
    with writing_text(text, tape, overwrite=False) as write:
        outcome = retrack(tape, params, write)
    found = read_tracks(text)
    assert np.array_equal(found.frames, outcome.tracks.frames)
    assert np.array_equal(found.ids, outcome.tracks.ids)
    assert np.allclose(found.boxes, outcome.tracks.boxes, atol=1e-3)
    assert text.read_text().splitlines()[0].endswith(",-1,-1,-1")
    with writing_records(records, tape, overwrite=False) as write:
        retrack(tape, params, write)
    assert records.read_bytes() == (run / "detections.jsonl").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.jsonl", "t.txt"]


def test_what_is_there_is_replaced_only_if_told(run: Path, tmp_path: Path) -> None:
    tape = read_tape(run)
    params = params_for(tape, {})
    for name, writing in (
        ("t.txt", lambda path, overwrite: writing_text(path, tape, overwrite=overwrite)),
        ("d.jsonl", lambda path, overwrite: writing_records(path, tape, overwrite=overwrite)),
        ("folder", lambda path, overwrite: writing_run(path, tape, params, overwrite=overwrite)),
    ):
        for overwrite in (False, True):
            with writing(tmp_path / name, overwrite) as write:
                retrack(tape, params, write)
        with pytest.raises(SinkError, match="--overwrite"), writing(tmp_path / name, False):
            pytest.fail("it was replaced")
    under_a_file = tmp_path / "t.txt" / "t.txt"
    with pytest.raises(SinkError, match="Cannot write"), writing_text(under_a_file, tape, overwrite=False):
        pytest.fail("it was written")


def test_only_settings_of_the_tracker_matter(run: Path) -> None:
    tape = read_tape(run)
    with pytest.raises(ConfigError, match=r"'detector\.confidence_th' has no effect on a tape"):
        params_for(tape, {"detector.confidence_th": 0.5})
    with pytest.raises(ConfigError, match=r"Did you mean 'tracker\.new_thresh'"):
        params_for(tape, {"tracker.new_tresh": 0.5})
    tape.settings["of_the_future"] = 1  # type: ignore[index]
    with pytest.raises(ConfigError, match=r"of another version: .*of_the_future"):
        params_for(tape, {})


@pytest.mark.parametrize(
    ("line", "words"),
    [("1,-1,1,2,3,4,52.3", "Frame 1 of .*score 0"), ("3,-1,1,2,-3,4,1", "Frame 3 of .*box 0 .*inside out")],
)
def test_what_the_tracker_refuses_is_said_with_its_frame(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "det.txt").write_text(line)
    tape = read_tape(tmp_path / "det.txt")
    with pytest.raises(SourceError, match=words):
        retrack(tape, params_for(tape, {}))


@pytest.mark.parametrize("stride", [1, 3, 6, 10])
def test_the_official_tracks_come_of_the_public_detections(shared_data: Path, stride: int) -> None:
    # track_buffer counts processed frames, as the official code does; a gap in seconds shall not bind.
    official = {
        "mode": "reference",
        "high_thresh": 0.6,
        "new_thresh": 0.7,
        "match_thresh": 0.9,
        "track_buffer": 30,
        "max_gap_s": 1e9,
    }
    tape = read_tape(shared_data / "mot" / "TUD-Stadtmitte").strided(stride)
    outcome = retrack(tape, params_for(tape, {f"tracker.{key}": value for key, value in official.items()}))
    with gzip.open(shared_data / "golden" / "bytetrack" / f"stride{stride}" / "TUD-Stadtmitte.txt.gz", "rt") as lines:
        golden = np.loadtxt(lines, delimiter=",")
    order = np.lexsort((outcome.tracks.ids, outcome.tracks.frames))
    found = np.column_stack((outcome.tracks.frames, outcome.tracks.ids, outcome.tracks.boxes))[order]
    golden = golden[np.lexsort((golden[:, 1], golden[:, 0]))]
    assert np.array_equal(found[:, :2], golden[:, :2])
    assert np.abs(found[:, 2:] - golden[:, 2:]).max() < 1e-3
    truth = read_truth(shared_data / "mot" / "TUD-Stadtmitte" / "gt" / "gt.txt")
    assert score(pair(truth, outcome.tracks)).hota > 0.3
