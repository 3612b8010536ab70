"""A tape as a source: the contract over its frames, and the run that it was, again."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import streamtrack
from streamtrack.api import Source, SourceOptions
from streamtrack.errors import ConfigError, SourceError, SourceOpenError
from streamtrack.records import FrameRecord
from streamtrack.sources.replay import ReplaySource, SavedPicture
from streamtrack.testing.clips import draw_index, write_clip
from streamtrack.testing.models import square_frames, write_square_detector
from streamtrack.testing.sources import SourceConformance, opened
from streamtrack.types import Frame, UInt8Array

PATHS = [(40.0, 60.0, 4.0, 0.0), (560.0, 250.0, 5.0, 0.0), (-300.0, 180.0, 5.0, 1.0)]
WIDTH, HEIGHT, RATE = 160, 96, 25.0


def write_tape(folder: Path, frames: range, *, cuts: tuple[int, ...] = (), **source: object) -> Path:
    """Write the files of a run with a detection in every frame: a box at (frame, 10)."""
    folder.mkdir(parents=True, exist_ok=True)
    found, seen = [], []
    for index in frames:
        ts_s, pts_ns = index / RATE, round(index * 1e9 / RATE)
        box = [float(index), 10.0, index + 20.0, 40.0]
        found.append(
            {"frame_idx": index, "ts_s": ts_s, "bbox": box, "conf": 0.9, "class_id": 0, "landmarks": [], "track_id": 1}
        )
        seen.append(FrameRecord(frame_idx=index, ts_s=ts_s, pts_ns=pts_ns, detections=1, cut=index in cuts))
    told = {"uri": "x.mp4", "width": WIDTH, "height": HEIGHT, "fps": RATE, "sample_rate": RATE / frames.step} | source
    (folder / "detections.jsonl").write_text("".join(json.dumps(record) + "\n" for record in found))
    (folder / "frames.jsonl").write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in seen))
    (folder / "track_metrics.json").write_text(json.dumps({"source": told, "model": {"name": "squares"}}))
    return folder


class TestReplaySource(SourceConformance):
    frames = 40

    @pytest.fixture(autouse=True)
    def tape(self, tmp_path: Path) -> None:
        self.run = write_tape(tmp_path / "run", range(self.frames))
        (self.run / "frames").mkdir()
        for index in range(self.frames):
            Image.fromarray(draw_index(index)).save(self.run / "frames" / f"{index:08d}.jpg", quality=90)

    def make_source(self, options: SourceOptions) -> Source:
        return ReplaySource(str(self.run), options)


# --- the run again ---


def two_shots() -> Iterator[UInt8Array]:
    """Squares that go on through a cut at frame 47, over grounds in which the model sees nothing."""
    shots = np.zeros((2, 384, 640, 3), np.uint8)
    shots[0, :, 320:, 1], shots[1, 192:, :, 2] = 200, 255
    for index, picture in enumerate(square_frames(90, PATHS)):
        yield np.where(picture == 255, 255, shots[int(index >= 47)]).astype(np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_square_detector(tmp_path_factory.mktemp("model") / "squares.onnx"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "squares.mp4", two_shots())


@pytest.mark.parametrize("sampling", [{"stride": 1, "fps": 0.0}, {"stride": 3, "fps": 0.0}, {"stride": 1, "fps": 8.0}])
def test_a_run_is_repeated_to_the_byte_without_video_and_model(
    clip: Path, model: str, tmp_path: Path, sampling: dict[str, float]
) -> None:
    run, again = tmp_path / "run", tmp_path / "again"
    first = streamtrack.run(clip, model=model, out=run, set={"output.save_frames": False}, **sampling)
    assert first.metrics.totals["cuts"] == 1
    assert first.metrics.totals["tracks"] >= 3
    second = streamtrack.run(f"replay:{run}", out=again, set={"output.save_frames": False}, **sampling)
    for name in ("tracks.jsonl", "detections.jsonl", "frames.jsonl"):
        assert (run / name).read_bytes() == (again / name).read_bytes(), name
    metrics = second.metrics
    assert metrics.totals == first.metrics.totals
    assert (metrics.model.name, metrics.model.source, metrics.device, metrics.backend) == (
        "replay",
        str(run / "detections.jsonl"),
        "none",
        "none",
    )
    assert metrics.source is not None
    assert metrics.source.sample_rate == first.metrics.source.sample_rate  # type: ignore[union-attr]


def test_a_run_with_other_settings_is_another_run_on_the_same_detections(
    clip: Path, model: str, tmp_path: Path
) -> None:
    run, sparse, replayed = tmp_path / "run", tmp_path / "sparse", tmp_path / "replayed"
    off = {"output.save_frames": False}
    streamtrack.run(clip, model=model, out=run, stride=1, set=off)
    streamtrack.run(clip, model=model, out=sparse, stride=3, set=off)
    streamtrack.run(f"replay:{run}", out=replayed, stride=3, set=off)
    assert (sparse / "tracks.jsonl").read_bytes() == (replayed / "tracks.jsonl").read_bytes()


def test_sinks_get_the_pictures_that_were_saved(clip: Path, model: str, tmp_path: Path) -> None:
    run, again = tmp_path / "run", tmp_path / "again"
    streamtrack.run(clip, model=model, out=run, stride=10, set={"output.save_frames": True})
    streamtrack.run(f"replay:{run}", out=again, stride=10, set={"output.save_frames": True})
    names = sorted(path.name for path in (run / "frames").iterdir())
    assert names == sorted(path.name for path in (again / "frames").iterdir())
    for name in names:
        before, after = (np.asarray(Image.open(folder / "frames" / name)).astype(int) for folder in (run, again))
        assert np.abs(before - after).mean() < 3


# --- frames ---


def everything(source: ReplaySource) -> list[Frame]:
    opened(source)
    try:
        return list(source)
    finally:
        source.close()


def test_frames_keep_index_and_time_of_the_run(tmp_path: Path) -> None:
    run = write_tape(tmp_path, range(10, 60, 5))
    frames = everything(ReplaySource(str(run), SourceOptions()))
    assert [frame.index for frame in frames] == list(range(10, 60, 5))
    assert frames[0].pts_ns == 400_000_000
    info = ReplaySource(str(run), SourceOptions()).open()
    assert (info.rate, info.sample_rate, info.frames_estimate, info.live) == (25.0, 5.0, 56, False)


def test_a_recorded_feed_is_replayed_as_a_file(tmp_path: Path) -> None:
    info = ReplaySource(str(write_tape(tmp_path, range(5), live=True)), SourceOptions()).open()
    assert not info.live


@given(step=st.integers(1, 6), stride=st.integers(1, 9), cuts=st.sets(st.integers(0, 59), max_size=4))
def test_a_cut_in_a_frame_that_is_passed_over_is_in_the_next_one(
    tmp_path_factory: pytest.TempPathFactory, step: int, stride: int, cuts: set[int]
) -> None:
    run = write_tape(tmp_path_factory.mktemp("run"), range(0, 60, step), cuts=tuple(cuts))
    source = opened(ReplaySource(str(run), SourceOptions(stride=stride)))
    detector = source.detector()
    frames = list(source)
    source.close()
    assert [frame.index for frame in frames] == [n for n in range(0, 60, step) if n % stride == 0]
    found = detector.detect(frames)
    assert [len(detections) for detections in found] == [1] * len(frames)
    assert [float(detections.boxes[0, 0]) for detections in found] == [frame.index for frame in frames]
    recorded = {cut for cut in cuts if cut % step == 0}
    seen = {
        b.index
        for (a, b), thumbnail in zip(itertools.pairwise(frames), detector.thumbnails, strict=False)
        if detector.is_cut(thumbnail, b.pts_ns)
    }
    assert seen == {b.index for a, b in itertools.pairwise(frames) if any(a.index < cut <= b.index for cut in recorded)}


def test_a_mot_file_is_a_tape_too(tmp_path: Path) -> None:
    file = tmp_path / "det.txt"
    file.write_text("1,-1,10,20,30,40,0.9\n3,-1,12,20,30.5,40,0.8\n")
    source = opened(ReplaySource(str(file), SourceOptions()))
    detector = source.detector()
    frames = list(source)
    source.close()
    assert [len(found) for found in detector.detect(frames)] == [1, 0, 1]
    assert (frames[0].width, frames[0].height) == (43, 60)
    assert np.unique(frames[0].rgb()).tolist() == [128]
    assert "30 are assumed" in source.stats.decoding


# --- the pace ---


def test_speed_paces_the_frames_and_an_interrupt_ends_the_wait(tmp_path: Path) -> None:
    source = opened(ReplaySource(str(write_tape(tmp_path, range(100))), SourceOptions(), speed=2.0))
    start, frames = time.monotonic(), iter(source)
    arrived = [time.monotonic() - start for _ in zip(range(11), frames, strict=False)]
    source.close()
    assert arrived[10] >= 10 / RATE / 2
    slow = opened(ReplaySource(str(tmp_path), SourceOptions(), speed=0.0001))
    frames = iter(slow)
    next(frames)
    threading.Timer(0.05, slow.interrupt).start()
    assert next(frames, None) is None
    slow.close()
    assert slow.stats.seen == slow.stats.delivered == 1


def test_interrupted_before_it_is_open_it_gives_nothing(tmp_path: Path) -> None:
    source = ReplaySource(str(write_tape(tmp_path, range(3))), SourceOptions(), speed=1.0)
    source.interrupt()
    assert everything(source) == []


# --- pictures ---


def test_a_saved_picture_of_another_size_is_fitted_to_the_frame(tmp_path: Path) -> None:
    halves = np.zeros((48, 80, 3), np.uint8)
    halves[:, 40:] = 250
    Image.fromarray(halves).save(tmp_path / "00000000.jpg", quality=95)
    frame = Frame(0, 0, 160, 96, SavedPicture(tmp_path / "00000000.jpg", 160, 96))
    assert frame.rgb().shape == (96, 160, 3)
    assert frame.crop((0, 0, 70, 96)).mean() < 10
    assert frame.crop((90, 0, 160, 96)).mean() > 240
    assert frame.crop((159.5, 95.5, 160, 96)).shape == (1, 1, 3)


def test_a_broken_or_missing_picture_is_grey(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    for name in ("broken.jpg", "missing.jpg"):
        frame = Frame(0, 0, 160, 96, SavedPicture(tmp_path / name, 160, 96))
        assert np.unique(frame.rgb()).tolist() == np.unique(frame.scaled(64, 40)).tolist() == [128]
        assert frame.scaled(64, 40).transpose(2, 0, 1).flags.c_contiguous


# --- what cannot be replayed ---


@pytest.mark.parametrize(
    ("row", "said"),
    [("3,-1,10,20,-30,40,0.9", "Frame 3 .* inside out"), ("2,-1,10,20,30,40,57.3", r"Frame 2 .* score not in 0\.\.1")],
)
def test_a_detection_that_no_tracker_takes_is_named(tmp_path: Path, row: str, said: str) -> None:
    (tmp_path / "det.txt").write_text(f"1,-1,10,20,30,40,0.9\n{row}\n")
    with pytest.raises(SourceOpenError, match=said):
        opened(ReplaySource(str(tmp_path / "det.txt"), SourceOptions()))


def test_what_is_no_tape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceOpenError, match="no tape"):
        opened(ReplaySource(str(tmp_path), SourceOptions()))
    with pytest.raises(SourceOpenError, match="nothing to replay"):
        opened(ReplaySource(str(write_tape(tmp_path, range(0))), SourceOptions()))
    with pytest.raises(SourceError, match="not open"):
        ReplaySource(str(tmp_path), SourceOptions()).detector()


@pytest.mark.parametrize("speed", [-1.0, float("nan"), float("inf")])
def test_a_speed_that_cannot_be(speed: float) -> None:
    with pytest.raises(ConfigError, match="speed"):
        ReplaySource("run", SourceOptions(), speed=speed)
