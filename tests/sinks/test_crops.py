"""Every candidate is accounted for, what is kept is on disk and in the index, and nothing else is."""

from __future__ import annotations

import dataclasses
import errno
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from streamtrack.api import Sink
from streamtrack.errors import ConfigError, SinkError
from streamtrack.models.alignment import FACE_POINTS
from streamtrack.quality import at_best
from streamtrack.records import CropRecord
from streamtrack.sinks.crops import CropsSink
from streamtrack.testing.results import ArrayPicture, Box, make_frame, make_info, make_result
from streamtrack.testing.sinks import SinkConformance
from streamtrack.types import Detections, Frame, Result

BOX = (40.0, 40.0, 80.0, 100.0)
OPEN: dict[str, Any] = {"min_confidence": 0.0, "min_size": 0.0, "min_quality": 0.0}


class TestCropsSink(SinkConformance):
    def make_sink(self) -> Sink:
        return CropsSink(every_frames=2)


class TestOpenGates(SinkConformance):
    def make_sink(self) -> Sink:
        return CropsSink(every_frames=2, max_crops_per_track=2, **OPEN)


def write(folder: Path, sink: CropsSink, results: list[Result], rate: float = 25.0) -> list[str]:
    sink.open(make_info(folder, rate=rate))
    for result in results:
        sink.write(result)
        counts = dict(sink.counts())
        assert counts.pop("candidates") == sum(counts.values())
    sink.close()
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))


def index(folder: Path) -> list[CropRecord]:
    return msgspec.json.Decoder(CropRecord).decode_lines((folder / "crops/index.jsonl").read_bytes())


def counts(sink: CropsSink) -> dict[str, int]:
    return {name: count for name, count in sink.counts().items() if count}


def waves(n: int, *, width: int = 320, height: int = 240, period: int = 6, light: int = 255) -> Frame:
    """Return a picture of waves in both directions; the longer they are, the less sharp it is."""
    y, x = (np.sin(2 * np.pi / period * np.arange(size)) for size in (height, width))
    grey = np.rint(light * (0.5 + 0.25 * (y[:, None] + x)))
    picture = ArrayPicture(np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2))
    return dataclasses.replace(make_frame(n, width=8, height=8), width=width, height=height, picture=picture)


def with_face(result: Result) -> Result:
    """Return ``result`` with the five points of a frontal face in each box."""
    boxes = result.detections.boxes
    points = boxes[:, None, :2] + FACE_POINTS / 112 * (boxes[:, None, 2:] - boxes[:, None, :2])
    found = dataclasses.replace(result.detections, keypoints=points.astype(np.float32))
    return dataclasses.replace(result, detections=found)


def test_one_candidate_per_track_in_every_8_source_frames(tmp_path: Path) -> None:
    results = [make_result(make_frame(n), [(1, BOX)] + [(12, BOX)] * (n >= 3)) for n in range(17)]
    sink = CropsSink(**OPEN)
    assert write(tmp_path, sink, results) == [
        *(f"crops/000001/{n:08d}.jpg" for n in (0, 8, 16)),
        *(f"crops/000012/{n:08d}.jpg" for n in (3, 11)),
    ]
    assert counts(sink) == {"candidates": 5, "kept": 5}


def test_the_interval_is_media_time_and_does_not_alias_with_the_stride(tmp_path: Path) -> None:
    results = [make_result(make_frame(n), [(1, BOX)]) for n in range(0, 49, 6)]
    names = [Path(name).stem for name in write(tmp_path, CropsSink(every_frames=8, **OPEN), results)]
    assert [int(name) for name in names] == [0, 12, 24, 36, 48]


def test_only_confirmed_tracks_with_a_detection_in_this_frame(tmp_path: Path) -> None:
    results = [
        make_result(make_frame(0), lost=[(1, BOX)], tentative=[(2, BOX)]),
        make_result(make_frame(1), [(3, BOX)]),
    ]
    assert write(tmp_path, CropsSink(**OPEN), results) == ["crops/000003/00000001.jpg"]


def test_a_candidate_that_is_refused_has_taken_its_turn(tmp_path: Path) -> None:
    results = [make_result(make_frame(n), [(1, BOX)], score=0.3 if n == 0 else 0.9) for n in range(10)]
    sink = CropsSink(**OPEN | {"min_confidence": 0.5})
    assert write(tmp_path, sink, results) == ["crops/000001/00000008.jpg"]
    assert counts(sink) == {"candidates": 2, "low_confidence": 1, "kept": 1}


@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        ({"min_confidence": 0.89}, "kept"),
        ({"min_confidence": float(np.float32(0.9))}, "low_confidence"),
        ({"min_size": 39.0}, "kept"),
        ({"min_size": 40.0}, "too_small"),
        ({"min_quality": 1.0}, "low_quality"),
        ({"min_quality": 1.0, "min_size": 40.0}, "too_small"),
        ({"min_confidence": 0.95, "min_size": 40.0}, "low_confidence"),
    ],
)
def test_each_gate_refuses_and_counts_in_order(tmp_path: Path, options: dict[str, float], outcome: str) -> None:
    sink = CropsSink(**OPEN | options)
    write(tmp_path, sink, [make_result(make_frame(0), [(1, BOX)])])
    assert counts(sink) == {"candidates": 1, outcome: 1}


@pytest.mark.parametrize("box", [(-30.0, 40.0, 40.0, 140.0), (280.0, 100.0, 390.0, 200.0), (10.0, 200.0, 90.0, 290.0)])
def test_size_is_that_of_what_is_within_the_frame(tmp_path: Path, box: Box) -> None:
    sink = CropsSink(**OPEN | {"min_size": 40.0})
    write(tmp_path, sink, [make_result(make_frame(0), [(1, box)])])
    assert counts(sink) == {"candidates": 1, "too_small": 1}


@pytest.mark.parametrize(("light", "outcome"), [(0, "blank"), (3, "blank"), (255, "kept")])
def test_a_blank_picture_is_never_kept(tmp_path: Path, light: int, outcome: str) -> None:
    sink = CropsSink(**OPEN)
    write(tmp_path, sink, [make_result(waves(0, light=light), [(1, BOX)])])
    assert counts(sink) == {"candidates": 1, outcome: 1}


def test_by_default_a_sharp_face_into_the_camera_is_kept_and_others_are_not(tmp_path: Path) -> None:
    box = (100.0, 60.0, 200.0, 170.0)
    good = with_face(make_result(waves(0), [(1, box)]))
    for name, result, outcome in (
        ("good", good, "kept"),
        ("blurred", dataclasses.replace(good, frame=waves(0, period=40)), "low_quality"),
        ("small", with_face(make_result(waves(0), [(1, (100.0, 60.0, 150.0, 130.0))])), "too_small"),
        ("not sure", with_face(make_result(waves(0), [(1, box)], score=0.75)), "low_confidence"),
        ("turned", make_result(waves(0), [(1, box)]), "low_quality"),
    ):
        sink = CropsSink()
        (tmp_path / name).mkdir()
        write(tmp_path / name, sink, [result])
        assert counts(sink) == {"candidates": 1, outcome: 1}, name


@pytest.mark.parametrize(("pad", "size"), [(0.0, (60, 40)), (0.25, (90, 60))])
def test_crops_have_the_pixels_of_the_box(tmp_path: Path, pad: float, size: tuple[int, int]) -> None:
    result = make_result(make_frame(0), [(1, BOX)])
    write(tmp_path, CropsSink(pad=pad, **OPEN), [result])
    pixels = simplejpeg.decode_jpeg((tmp_path / "crops/000001/00000000.jpg").read_bytes())
    assert pixels.shape[:2] == size
    assert np.abs(pixels.astype(int) - result.frame.crop(BOX, pad)).mean() < 4


def test_jpeg_quality_matters(tmp_path: Path) -> None:
    sizes = []
    for quality in (10, 95):
        folder = tmp_path / str(quality)
        folder.mkdir()
        write(folder, CropsSink(jpeg_quality=quality, **OPEN), [make_result(make_frame(0), [(1, BOX)])])
        sizes.append((folder / "crops/000001/00000000.jpg").stat().st_size)
    assert sizes[0] < sizes[1]


# --- which are kept, and the index ---


def test_of_more_than_fit_the_best_stay_and_the_files_of_the_others_go(tmp_path: Path) -> None:
    periods = {0: 16, 8: 12, 16: 32, 24: 16, 32: 8}
    results = [make_result(waves(n, period=period), [(1, BOX)], keypoints=0) for n, period in periods.items()]
    sink = CropsSink(max_crops_per_track=2, **OPEN)
    names = write(tmp_path, sink, results)
    assert len(names) == 2
    assert names[1] == "crops/000001/00000032.jpg"
    assert [record.path for record in index(tmp_path)] == names
    found = counts(sink)
    assert (found["candidates"], found["kept"], found["replaced"] + found.get("outdone", 0)) == (5, 2, 3)


def test_a_line_of_the_index_tells_all_of_a_crop(tmp_path: Path) -> None:
    result = with_face(make_result(dataclasses.replace(waves(50), captured_ns=1_764_000_000_500_000_000), [(7, BOX)]))
    write(tmp_path, CropsSink(**OPEN), [result])
    (record,) = index(tmp_path)
    assert (record.track_id, record.frame_idx, record.ts_s, record.bbox) == (7, 50, 2.0, list(BOX))
    assert record.conf == pytest.approx(0.9)
    assert record.time_utc == "2025-11-24T16:00:00.500Z"
    assert np.array_equal(np.array(record.landmarks, np.float32), result.detections.keypoints[0])
    quality = at_best(record.conf, result.detections.keypoints[0], 40.0).seen(result.frame.crop(BOX))
    assert record.quality == quality.rounded()
    assert (tmp_path / record.path).is_file()
    assert b"time_utc" not in msgspec.json.encode(msgspec.structs.replace(record, time_utc=msgspec.UNSET))


def test_lines_are_written_when_a_track_ends_and_the_rest_at_the_end(tmp_path: Path) -> None:
    sink = CropsSink(every_frames=1, **OPEN)
    sink.open(make_info(tmp_path))
    for n in range(3):
        sink.write(make_result(make_frame(n), [(9, BOX), (4, BOX), (2, BOX)], ended=[]))
    assert index(tmp_path) == []
    sink.write(make_result(make_frame(3), [(2, BOX)], ended=[9, 4]))
    assert [(record.track_id, record.frame_idx) for record in index(tmp_path)] == [
        (t, n) for t in (4, 9) for n in range(3)
    ]
    sink.close()
    assert [(record.track_id, record.frame_idx) for record in index(tmp_path)[6:]] == [(2, n) for n in range(4)]


def test_ended_tracks_are_forgotten(tmp_path: Path) -> None:
    sink = CropsSink(**OPEN)
    write(tmp_path, sink, [make_result(make_frame(n), [(n + 1, BOX)], ended=[n + 1]) for n in range(20)])
    assert len(sink._throttle) == len(sink._alive) == 0
    assert len(index(tmp_path)) == counts(sink)["kept"] == 20


STEPS = st.tuples(
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from((0.5, 0.8, 0.9)), st.integers(4, 20)), max_size=3),
    st.sampled_from((0, 4, 8, 16, 64)),
    st.lists(st.integers(1, 3), max_size=1),
)


def step(n: int, seen: list[tuple[int, float, int]], period: int, ended: list[int]) -> Result:
    tracks = {track: (score, size) for track, score, size in seen if track not in ended}
    boxes: list[tuple[int, Box]] = [(track, (2.0, 3.0, 2.0 + size, 9.0 + size)) for track, (_, size) in tracks.items()]
    result = make_result(
        waves(n, width=32, height=32, period=period or 8, light=255 if period else 0), boxes, ended=ended, keypoints=0
    )
    scores = np.array([score for score, _ in tracks.values()], np.float32)
    found = Detections(result.detections.boxes, scores, result.detections.classes, result.detections.keypoints)
    return dataclasses.replace(result, detections=found)


@settings(max_examples=60)
@given(steps=st.lists(STEPS, max_size=25), most=st.integers(1, 4), every=st.integers(0, 2))
def test_every_candidate_is_accounted_for_and_what_is_kept_is_on_disk_and_in_the_index(
    steps: list[tuple[list[tuple[int, float, int]], int, list[int]]], most: int, every: int
) -> None:
    sink = CropsSink(every_frames=every, min_confidence=0.6, min_size=6, min_quality=0.1, max_crops_per_track=most)
    with tempfile.TemporaryDirectory() as name:
        # Tracks that end do not come back, so ids are made new after each end.
        generation = dict.fromkeys((1, 2, 3), 0)
        results = []
        for n, (seen, period, ended) in enumerate(steps):
            fresh = {track: track + 10 * generation[track] for track in generation}
            results.append(step(n, [(fresh[t], s, z) for t, s, z in seen], period, [fresh[t] for t in ended]))
            for track in ended:
                generation[track] += 1
        names = write(Path(name), sink, results)
        records = index(Path(name))
    assert sorted(record.path for record in records) == names
    assert len(names) == sink.counts()["kept"]
    per_track = [record.track_id for record in records]
    assert all(per_track.count(track) <= most for track in per_track)
    assert all(record.conf > 0.6 and record.quality["total"] >= 0.1 for record in records)


# --- what goes wrong ---


def test_a_full_disk_is_one_clear_sentence_and_leaves_no_piece_and_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    sink = CropsSink(max_crops_per_track=1, **OPEN)
    sink.open(make_info(tmp_path))
    sink.write(make_result(waves(0, period=16), [(1, BOX)], keypoints=0))
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SinkError, match=r"00000008\.jpg': No space left on device; free space or choose"):
        sink.write(make_result(waves(8, period=8), [(1, BOX)], keypoints=0))
    sink.close()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["index.jsonl", "00000000.jpg"]
    assert index(tmp_path) == []


def test_closing_what_was_never_opened_is_quiet() -> None:
    CropsSink().close()


@pytest.mark.parametrize(
    "options",
    [
        {"jpeg_quality": 0},
        {"jpeg_quality": 101},
        {"every_frames": -1.0},
        {"pad": float("nan")},
        {"min_confidence": 1.5},
        {"min_quality": -0.1},
        {"max_crops_per_track": 0},
    ],
)
def test_options_out_of_range_are_refused_by_name(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=rf"crops\.{next(iter(options))} = "):
        CropsSink(**options)  # type: ignore[arg-type]
