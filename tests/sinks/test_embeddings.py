"""Embeddings of tracks: which pictures, in which order, in which batches, and what is left after a failure."""

from __future__ import annotations

import gc
import itertools
import json
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from streamtrack import quality
from streamtrack.api import Sink, Tensors
from streamtrack.errors import ConfigError, InferenceError, ModelLoadError, SinkError
from streamtrack.models.embedder import EMBEDDINGS, Embedder
from streamtrack.quality import Quality
from streamtrack.records import FaceRecord, TrackVectorRecord
from streamtrack.sinks import embeddings
from streamtrack.sinks._table import VectorTable
from streamtrack.sinks.embeddings import EmbeddingsSink
from streamtrack.testing.results import ArrayPicture, Box, make_frame, make_info, make_result, walk
from streamtrack.testing.sinks import SinkConformance
from streamtrack.types import NS_PER_S, Frame, Result

SPEC = msgspec.structs.replace(EMBEDDINGS["arcface"], input_size=(16, 16), keypoints=0)
BOX = (40.0, 40.0, 80.0, 100.0)
OTHER = (140.0, 40.0, 180.0, 90.0)


class Session:
    """Its vector is the mean of each quarter of the red and the green plane."""

    def __init__(self, batch: int = 1) -> None:
        self.input_shape, self.outputs = (None, 3, 16, 16), (("vector", (None, 8)),)
        self.max_batch, self.device = batch, "cpu"
        self.batches: list[int] = []
        self.fails_at = -1
        self.closed = 0

    def run(self, batch: np.ndarray) -> Tensors:
        self.batches.append(len(batch))
        if len(self.batches) == self.fails_at:
            raise InferenceError("out of memory.")
        return {"vector": batch[:, :2].reshape(len(batch), 2, 2, 8, 2, 8).mean(axis=(3, 5)).reshape(len(batch), 8)}

    def close(self) -> None:
        self.closed += 1


def make_sink(session: Session | None = None, **options: Any) -> EmbeddingsSink:
    session = session or Session()
    return EmbeddingsSink(lambda: Embedder(SPEC, session, session.max_batch), **options)


class TestEmbeddingsSink(SinkConformance):
    def make_sink(self) -> Sink:
        return make_sink(Session(3))


class TestEmbeddingsSinkOfEveryPicture(SinkConformance):
    def make_sink(self) -> Sink:
        return make_sink(every_frames=0, save_faces=False)


class Written(NamedTuple):
    """What a run leaves behind."""

    faces: np.ndarray
    face_records: list[FaceRecord]
    tracks: np.ndarray
    track_records: list[TrackVectorRecord]

    @property
    def rows(self) -> list[tuple[int, int]]:
        return [(record.frame_idx, record.track_id) for record in self.face_records]


def read(folder: Path) -> Written:
    def records(name: str, kind: type) -> list[Any]:
        return [msgspec.json.decode(line, type=kind) for line in (folder / name).read_bytes().splitlines()]

    found = Written(
        np.load(folder / "faces.npy"),
        records("faces.jsonl", FaceRecord),
        np.load(folder / "tracks.npy", mmap_mode="r"),
        records("tracks_index.jsonl", TrackVectorRecord),
    )
    assert (len(found.faces), len(found.tracks)) == (len(found.face_records), len(found.track_records))
    return found


def run(folder: Path, results: Iterable[Result], sink: EmbeddingsSink | None = None, **info: Any) -> Written:
    folder.mkdir(exist_ok=True)
    sink = sink or make_sink()
    sink.open(make_info(folder, **info))
    feed(sink, results)
    sink.close()
    return read(folder)


def feed(sink: EmbeddingsSink, results: Iterable[Result]) -> None:
    for result in results:
        sink.write(result)


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quality of a picture is the detector's score and nothing else, so that a test can say it."""

    def score_alone(score: float, keypoints: np.ndarray, side: float) -> Quality:
        return Quality(1, 1, score, 1, score)

    monkeypatch.setattr(embeddings, "at_best", score_alone)
    monkeypatch.setattr(quality, "focus", lambda pixels: 1.0)


def one(index: int, score: float = 0.9, track: int = 1, **more: Any) -> Result:
    return make_result(make_frame(index), [(track, BOX)], score=score, **more)


@pytest.mark.usefixtures("scored")
def test_the_best_picture_of_each_window_is_embedded(tmp_path: Path) -> None:
    """Windows of 10 frames from the first on; the last is cut short by the end of the run."""
    scores = {3: 0.9, 7: 0.95, 9: 0.95, 10: 0.8, 11: 0.85, 24: 0.6, 25: 0.7}
    found = run(tmp_path, [one(n, scores.get(n, 0.5)) for n in range(28)], make_sink(every_frames=10))
    assert found.rows == [(7, 1), (11, 1), (25, 1)]
    assert [record.quality["total"] for record in found.face_records] == [0.95, 0.85, 0.7]


def test_of_faces_in_profile_the_best_picture_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have no quality, all alike."""
    sharpness = iter([0.2, 0.2, 0.2, 0.3, 0.2, 0.2])
    monkeypatch.setattr(embeddings, "warm_up", lambda: None)
    monkeypatch.setattr(embeddings, "at_best", lambda *_: Quality(1, 1, 0.9, 0, 0))
    monkeypatch.setattr(quality, "focus", lambda pixels: next(sharpness))
    assert run(tmp_path, [one(n) for n in range(6)]).rows == [(3, 1)]


def blurry(index: int, block: int) -> Frame:
    """Blocks of noise: the larger they are, the less sharp; 0 is blank."""
    noise = np.random.default_rng(index).integers(0, 256, (240, 320), np.uint8)
    grey = np.kron(noise[: 240 // block, : 320 // block], np.ones((block, block), np.uint8)) if block else noise * 0
    return replace(make_frame(index), picture=ArrayPicture(np.repeat(grey[..., None], 3, axis=2)))


def test_pictures_that_cannot_win_are_not_looked_at_and_nothing_else_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(5)
    results = []
    for n in range(60):
        boxes = [(1, (40.0, 40.0, 70.0 + 10 * random.integers(0, 6), 150.0)), (2, OTHER), (3, (-50.0, 0.0, -9.0, 80.0))]
        frame = blurry(n, int(random.choice([0, 1, 8, 16, 40])))
        results.append(make_result(frame, boxes, score=random.uniform(0.2, 1), keypoints=5 * (n < 30)))
    monkeypatch.setattr(embeddings, "warm_up", lambda: None)
    looked: list[int] = []
    measured = quality.focus
    monkeypatch.setattr(quality, "focus", lambda pixels: looked.append(1) or measured(pixels))

    def outcome(name: str) -> tuple[dict[str, bytes], dict[str, int], int]:
        looked.clear()
        sink = make_sink(every_frames=12)
        run(tmp_path / name, results, sink)
        folder = tmp_path / name
        files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        return files, dict(sink.counts()), len(looked)

    *found, few = outcome("skipping")
    # Whoever hopes for endless sharpness looks at everything.
    at_best = embeddings.at_best
    hopeful = {"sharpness": np.inf, "total": np.inf}
    monkeypatch.setattr(embeddings, "at_best", lambda *face: at_best(*face)._replace(**hopeful))
    *expected, all_of_them = outcome("looking")
    assert found == expected
    assert all_of_them == found[1]["pictures"] == 180
    assert few < 0.8 * all_of_them


@pytest.mark.usefixtures("scored")
def test_a_track_that_ends_is_embedded_and_written_at_once(tmp_path: Path) -> None:
    sink = make_sink(Session(8))
    sink.open(make_info(tmp_path))
    for n in range(4):
        sink.write(one(n, 0.5 + n / 10))
    assert len(read(tmp_path).faces) == 0
    sink.write(make_result(make_frame(4), ended=[1, 7]))
    found = read(tmp_path)
    assert (found.rows, [record.track_id for record in found.track_records]) == ([(3, 1)], [1])
    sink.close()
    assert read(tmp_path).rows == [(3, 1)]


def test_a_window_that_is_over_does_not_wait_for_its_track_to_be_seen_again(tmp_path: Path) -> None:
    sink = make_sink(every_frames=5)
    sink.open(make_info(tmp_path))
    for n in range(7):
        sink.write(one(n) if n < 2 else make_result(make_frame(n), lost=[(1, BOX)]))
        assert len(read(tmp_path).faces) == (n >= 5)
    sink.close()


def test_only_confirmed_tracks_with_a_detection_in_this_frame(tmp_path: Path) -> None:
    results = [
        make_result(make_frame(0), lost=[(1, BOX)], tentative=[(2, BOX)]),
        make_result(make_frame(1), [(3, BOX)]),
    ]
    assert run(tmp_path, results).rows == [(1, 3)]


def test_each_row_has_its_line_and_its_picture(tmp_path: Path) -> None:
    spec = msgspec.structs.replace(EMBEDDINGS["arcface"], input_size=(16, 16))
    sink = EmbeddingsSink(lambda: Embedder(spec, Session()), jpeg_quality=100)
    results = [make_result(make_frame(n), [(1, BOX), (12, OTHER)]) for n in range(30)]
    found = run(tmp_path, results, sink)
    first, second = sorted(found.face_records, key=lambda record: record.track_id)
    assert first == FaceRecord(
        track_id=1, frame_idx=first.frame_idx, ts_s=first.frame_idx / 25, bbox=list(BOX), conf=0.9,
        landmarks=results[0].detections.keypoints[0].tolist(), aligned=True, quality=first.quality,
        crop=f"faces/000001/{first.frame_idx:08d}.jpg",
    )  # fmt: skip
    assert second.track_id == 12
    embedder = Embedder(spec, Session())
    for vector, record in zip(found.faces, found.face_records, strict=True):
        frame = make_frame(record.frame_idx)
        prepared = embedder.prepare((frame, np.array(record.bbox), np.array(record.landmarks)))
        assert prepared is not None
        np.testing.assert_array_equal(embedder.embed_prepared([prepared])[0], vector)
        assert record.crop is not None
        pixels = simplejpeg.decode_jpeg((tmp_path / record.crop).read_bytes())
        assert np.abs(pixels.astype(int) - embedder.shown(prepared)).mean() < 8
        assert 0 <= record.quality["total"] <= 1


def test_pictures_of_faces_can_be_left_out(tmp_path: Path) -> None:
    found = run(tmp_path, [one(0)], make_sink(save_faces=False))
    assert (found.face_records[0].crop, found.track_records[0].crop) == (None, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "faces.jsonl", "faces.npy", "tracks.npy", "tracks_index.jsonl",
    ]  # fmt: skip


def test_a_live_feed_tells_when_the_frame_was_captured(tmp_path: Path) -> None:
    result = one(0)
    live = replace(result, frame=replace(result.frame, captured_ns=1_700_000_000 * NS_PER_S))
    assert run(tmp_path / "live", [live], live=True).face_records[0].time_utc == "2023-11-14T22:13:20.000Z"
    assert b"time_utc" not in (run(tmp_path / "file", [result]) and (tmp_path / "file/faces.jsonl").read_bytes())


@pytest.mark.usefixtures("scored")
def test_a_track_is_the_mean_of_its_faces_by_quality(tmp_path: Path) -> None:
    scores = itertools.cycle([0.3, 0.8, 0.9, 0.5])
    results = [make_result(make_frame(n), [(4, BOX), (2, OTHER)], score=next(scores)) for n in range(0, 20, 5)]
    found = run(tmp_path, results, make_sink(every_frames=5))
    assert [(r.track_id, r.faces, r.quality["total"], r.frame_idx) for r in found.track_records] == [
        (2, 4, 0.9, 10), (4, 4, 0.9, 10),
    ]  # fmt: skip
    assert found.track_records[0].crop == "faces/000002/00000010.jpg"
    for vector, record in zip(found.tracks, found.track_records, strict=True):
        rows = [n for n, face in enumerate(found.face_records) if face.track_id == record.track_id]
        weights = np.array([found.face_records[n].quality["total"] for n in rows])
        mean = (weights[:, None] * found.faces[rows]).sum(axis=0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-6)


@pytest.mark.parametrize("total", [0.0, 0.5])
def test_vectors_that_cancel_each_other_out_give_the_best_one(total: float) -> None:
    mean = embeddings._Mean(2)
    record = run_record(total)
    for vector in ([1.0, 0.0], [-1.0, 0.0]):
        mean.add(record, np.array(vector, np.float32))
    assert mean.vector().tolist() == [1, 0]


def test_a_track_without_any_quality_is_the_mean_of_all_its_faces() -> None:
    mean = embeddings._Mean(2)
    for vector in ([1.0, 0.0], [0.0, 1.0]):
        mean.add(run_record(0.0), np.array(vector, np.float32))
    np.testing.assert_allclose(mean.vector(), [0.5**0.5] * 2, atol=1e-6)


def run_record(total: float) -> FaceRecord:
    return FaceRecord(
        track_id=1, frame_idx=0, ts_s=0, bbox=[], conf=1, landmarks=[], aligned=False, quality={"total": total},
        crop=None,
    )  # fmt: skip


def test_pictures_of_no_quality_still_make_a_track(tmp_path: Path) -> None:
    blank = Frame(0, 0, 320, 240, ArrayPicture(np.full((240, 320, 3), 200, np.uint8)))
    found = run(tmp_path, [make_result(blank, [(1, BOX)])])
    assert [record.quality["total"] for record in found.face_records] == [0]
    assert np.linalg.norm(found.tracks[0]) == pytest.approx(1, abs=1e-6)


def test_what_gives_no_vector_is_counted_and_not_written(tmp_path: Path) -> None:
    """Black gives a vector without direction here, and of what is outside of the frame there is no picture."""
    black = Frame(0, 0, 320, 240, ArrayPicture(np.zeros((240, 320, 3), np.uint8)))
    spec = msgspec.structs.replace(SPEC, mean=0.0)
    sink = EmbeddingsSink(lambda: Embedder(spec, Session()))
    found = run(tmp_path, [make_result(black, [(1, BOX), (2, (-90.0, -90.0, -10.0, -10.0))])], sink)
    assert (len(found.faces), len(found.tracks)) == (0, 0)
    assert not (tmp_path / "faces").exists()
    assert sink.counts() == {
        "pictures": 2, "unseen": 1, "outdone": 0, "unusable": 1, "embedded": 0, "aligned": 0, "tracks": 0,
    }  # fmt: skip


def test_counts_before_during_and_after(tmp_path: Path) -> None:
    sink = make_sink(every_frames=4)
    assert set(sink.counts().values()) == {0}
    sink.open(make_info(tmp_path))
    feed(sink, walk(20, tracks=3))
    during = sink.counts()
    sink.close()
    after = sink.counts()
    found = read(tmp_path)
    assert after["embedded"] == len(found.faces) >= during["embedded"] > 0
    assert after["tracks"] == len(found.tracks) == 3
    assert after["aligned"] == sum(record.aligned for record in found.face_records)
    assert after["outdone"] > 0
    for counts in (during, after):
        seen = counts["unseen"] + counts["outdone"] + counts["unusable"] + counts["embedded"]
        assert counts["pictures"] - seen == (counts is during), "one waits in the window of the track alive"


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_batches_hold_several_tracks_and_the_files_do_not_depend_on_them(tmp_path: Path, batch: int) -> None:
    results = list(walk(40, tracks=5))
    session = Session(batch)
    found = run(tmp_path / "batched", results, make_sink(session, every_frames=4))
    single = run(tmp_path / "single", results, make_sink(every_frames=4))
    assert max(session.batches) == batch
    assert sum(session.batches) == len(single.faces)
    assert found.rows == single.rows
    np.testing.assert_array_equal(found.faces, single.faces)
    np.testing.assert_array_equal(found.tracks, single.tracks)
    assert found.track_records == single.track_records


def test_rows_that_are_due_together_are_in_order_of_frame_and_track(tmp_path: Path) -> None:
    def boxes(n: int) -> list[tuple[int, Box]]:
        largest = {9: 1, 2: 4, 5: 1}
        return [(track, (10.0, 10.0, 50.0 + 40 * (n % 6 == at), 110.0)) for track, at in largest.items()]

    results = [make_result(make_frame(n), boxes(n)) for n in range(12)]
    rows = run(tmp_path, results, make_sink(every_frames=6)).rows
    assert rows == [(1, 5), (1, 9), (4, 2), (7, 5), (7, 9), (10, 2)]


def test_a_batch_that_does_not_fill_waits_for_a_second_of_media(tmp_path: Path) -> None:
    sink = make_sink(Session(8), every_frames=1)
    sink.open(make_info(tmp_path))
    written = []
    for n in range(60):
        sink.write(one(n) if n == 10 else make_result(make_frame(n), lost=[(1, BOX)] if n > 10 else []))
        written.append(len(read(tmp_path).faces))
    assert written.index(1) == 11 + 25
    sink.close()


offers = st.lists(st.tuples(st.integers(1, 12), st.sets(st.integers(1, 3)), st.booleans()), min_size=1, max_size=14)


@settings(max_examples=50)
@given(offers, st.integers(0, 12), st.integers(1, 4))
def test_at_most_one_a_window_and_at_least_one_a_track(
    tmp_path_factory: pytest.TempPathFactory, story: list[tuple[int, set[int], bool]], every: int, batch: int
) -> None:
    index, results, seen = 0, [], set()
    for step, tracks, ends in story:
        index += step
        boxes = {track: (12.0 * track, 4.0, 12.0 * track + 14, 24.0) for track in tracks}
        ended = [track for track in seen - tracks if ends]
        seen = (seen | tracks) - set(ended)
        results.append(make_result(make_frame(index, width=64, height=48), list(boxes.items()), ended=ended))
    folder = tmp_path_factory.mktemp("story")
    found = run(folder, results, make_sink(Session(batch), every_frames=every, save_faces=False))
    ever = {track for result in results for track in result.tracks.ids.tolist()}
    assert {record.track_id for record in found.face_records} == ever == {r.track_id for r in found.track_records}
    np.testing.assert_allclose(np.linalg.norm(found.faces, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found.tracks, axis=1), 1, atol=1e-6)
    for track in ever:
        times = [result.frame.pts_ns for result in results if track in result.tracks.ids]
        taken = [round(r.ts_s * NS_PER_S) for r in found.face_records if r.track_id == track]
        assert len(set(taken)) == len(taken)
        window = max(0.0, every - 0.5) / 25 * NS_PER_S
        restarts = sum(track in result.tracks.ended for result in results)
        assert len(taken) <= restarts + 1 + (times[-1] - times[0]) / max(window, 1)


def test_a_kill_in_the_middle_leaves_whole_files(tmp_path: Path) -> None:
    """Nothing is closed: the files are what a dead process leaves."""
    sink = make_sink(every_frames=4)
    sink.open(make_info(tmp_path))
    feed(sink, itertools.islice(walk(40, tracks=3), 25))
    found = read(tmp_path)
    assert len(found.faces) > 5
    for record in found.face_records:
        assert record.crop is not None
        assert (tmp_path / record.crop).is_file()
    sink.close()


def test_a_model_that_fails_ends_the_run_once_and_keeps_what_there_was(tmp_path: Path) -> None:
    session = Session()
    session.fails_at = 3
    sink = make_sink(session, every_frames=4)
    sink.open(make_info(tmp_path))
    with pytest.raises(InferenceError, match="out of memory"):
        feed(sink, walk(40, tracks=2))
    sink.close()
    found = read(tmp_path)
    assert (len(found.faces), session.closed, len(session.batches)) == (2, 1, 3)
    assert {record.track_id for record in found.track_records} == {record.track_id for record in found.face_records}


def test_a_model_that_does_not_load_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Embedder:
        raise ModelLoadError("no vector")

    sink = EmbeddingsSink(broken)
    with pytest.raises(ModelLoadError):
        sink.open(make_info(tmp_path))
    sink.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("blocked", ["faces.npy", "tracks.npy", "tracks_index.jsonl"])
def test_the_model_is_released_where_the_files_cannot_be_created(tmp_path: Path, blocked: str) -> None:
    (tmp_path / blocked).mkdir()
    session = Session()
    sink = make_sink(session)
    with pytest.raises(SinkError, match=blocked):
        sink.open(make_info(tmp_path))
    sink.close()
    assert session.closed == 1


def test_a_full_disk_is_a_sink_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = make_sink(every_frames=1)
    sink.open(make_info(tmp_path))
    sink.write(one(0))
    sink.write(one(1))

    def full(self: VectorTable, vectors: np.ndarray, records: Sequence[Any]) -> None:
        raise SinkError("no space")

    monkeypatch.setattr(VectorTable, "append", full)
    with pytest.raises(SinkError, match="no space"):
        sink.write(one(2))
    monkeypatch.undo()
    sink.close()
    found = read(tmp_path)
    assert (found.rows, len(found.tracks)) == ([(0, 1)], 1)


def test_frames_are_not_held_while_their_pictures_wait(tmp_path: Path) -> None:
    """They pin a decoder's memory."""

    class Watched(ArrayPicture):
        pass

    sink = make_sink(Session(8), every_frames=100)
    sink.open(make_info(tmp_path))
    watched = []
    for n in range(3):
        frame = make_frame(n)
        picture = Watched(np.array(frame.rgb()))
        watched.append(weakref.ref(picture))
        sink.write(make_result(replace(frame, picture=picture), [(1, BOX)], score=0.5 + n / 10))
        del picture, frame
    gc.collect()
    assert [ref() for ref in watched] == [None] * 3
    sink.close()
    assert len(read(tmp_path).faces) == 1


@pytest.mark.parametrize("options", [{"every_frames": -1.0}, {"every_frames": float("nan")}, {"jpeg_quality": 0}])
def test_values_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"embeddings\."):
        make_sink(**options)


def test_records_are_plain_json(tmp_path: Path) -> None:
    run(tmp_path, [one(0)])
    line = json.loads((tmp_path / "faces.jsonl").read_text())
    assert list(line) == [
        "schema_version", "track_id", "frame_idx", "ts_s", "bbox", "conf", "landmarks", "aligned", "quality", "crop",
    ]  # fmt: skip
    index = json.loads((tmp_path / "tracks_index.jsonl").read_text())
    assert list(index) == ["schema_version", "track_id", "faces", "quality", "frame_idx", "crop"]
    assert list(index["quality"]) == list(line["quality"]) == ["sharpness", "size", "confidence", "pose", "total"]
