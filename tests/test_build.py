"""The whole pipeline, as a library, on a real clip with a real model."""

from __future__ import annotations

import json
import threading
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import DEFAULT, Mock

import msgspec
import numpy as np
import pytest

import streamtrack
from streamtrack import Progress, SinkError
from streamtrack.errors import ConfigError, ModelLoadError, SourceOpenError
from streamtrack.metrics import Metrics
from streamtrack.records import DetectionRecord, FaceRecord, FrameRecord, TrackRecord
from streamtrack.testing.clips import write_clip
from streamtrack.testing.models import SIDE, square_frames, write_quarters_embedder, write_square_detector
from streamtrack.types import Result, RunInfo

FRAMES = 60
PATHS = [(40.0, 60.0, 4.0, 0.0), (500.0, 250.0, -3.0, 1.0)]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_square_detector(tmp_path_factory.mktemp("model") / "squares.onnx"))


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "squares.mp4", square_frames(FRAMES, PATHS))


def lines(path: Path, kind: type[msgspec.Struct]) -> list[msgspec.Struct]:
    return [msgspec.json.decode(line, type=kind) for line in path.read_bytes().splitlines()]


def test_iterating_gives_every_frame_with_boxes_where_the_squares_are(clip: Path, model: str) -> None:
    with streamtrack.Pipeline(clip, model=model, stride=1) as pipeline:
        results = list(pipeline)
    assert [result.frame.index for result in results] == list(range(FRAMES))
    for result in results:
        assert len(result.detections) == 2
        for x, y, dx, dy in PATHS:
            centre = np.array([x + result.frame.index * dx + SIDE / 2, y + result.frame.index * dy + SIDE / 2])
            centres = (result.detections.boxes[:, :2] + result.detections.boxes[:, 2:]) / 2
            assert np.abs(centres - centre).max(axis=1).min() < 5
    assert {tuple(result.tracks.ids) for result in results} == {(1, 2)}


def test_a_run_leaves_records_that_agree_with_each_other(clip: Path, model: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    summary = streamtrack.run(clip, model=model, stride=2, out=out, set={"output.save_frames": False})
    detections = lines(out / "detections.jsonl", DetectionRecord)
    tracks = lines(out / "tracks.jsonl", TrackRecord)
    metrics = msgspec.json.decode((out / "track_metrics.json").read_bytes(), type=Metrics)
    progress = msgspec.json.decode((out / "progress.json").read_bytes(), type=Progress)
    assert sorted({d.frame_idx for d in detections}) == list(range(0, FRAMES, 2))
    assert [(t.track_id, t.frame_span, t.frame_count) for t in tracks] == [(1, (0, 58), 30), (2, (0, 58), 30)]
    for track in tracks:
        claimed = [d for d in detections if d.track_id == track.track_id]
        assert len(claimed) == track.frame_count
        assert track.bboxes_sampled[0].bbox == claimed[0].bbox
        assert track.avg_conf == pytest.approx(np.mean([d.conf for d in claimed]), abs=1e-4)
    assert metrics.status == progress.phase == "complete"
    assert metrics.frame_ledger == {
        "seen": 60, "strided": 30, "detected": 30, "coasted": 0, "dropped_queue": 0, "dropped_stale": 0, "corrupt": 0,
    }  # fmt: skip
    assert metrics.totals == {"frames_processed": 30, "detections": 60, "tracks": 2, "cuts": 0, "progress_events": 1}
    assert (metrics.device, metrics.model.name) == ("cpu", "squares")
    assert metrics.detector is not None
    assert metrics.detector.kept == 60
    of_frames = [msgspec.to_builtins(frame.box_counts) for frame in lines(out / "frames.jsonl", FrameRecord)]
    for name in ("candidates", "suppressed", "too_small", "beyond_max", "kept"):
        assert sum(counts[name] for counts in of_frames) == getattr(metrics.detector, name)
    assert metrics.detector.threshold is None
    assert metrics.speed is None
    assert metrics.limits is not None
    assert (metrics.limits.threads, metrics.limits.max_fps) == (0, 0)
    assert metrics.limits.processed_fps > 0
    assert len(metrics.model.sha256) == 64
    assert (progress.frames_done, progress.frames_total, progress.eta_sec) == (30, 30, 0.0)
    assert set(metrics.stages) == {"decode", "detect", "track", "sink jsonl"}
    assert summary.metrics == metrics
    assert sorted(path.name for path in out.iterdir()) == [
        "detections.jsonl", "frames.jsonl", "progress.json", "track_metrics.json", "tracks.jsonl",
    ]  # fmt: skip


@pytest.mark.parametrize(("batch", "queue"), [(1, 1), (3, 1), (4, 16)])
def test_the_records_are_the_same_whatever_the_sizes_and_the_rate(
    clip: Path, model: str, tmp_path: Path, batch: int, queue: int
) -> None:
    given = {"output.save_frames": False, "detector.adaptive": True}
    paced = {"runtime.max_fps": 1000}
    settings = {"detector.batch_size": batch, "runtime.queue_size": queue, **given, **paced}
    streamtrack.run(clip, model=model, stride=3, out=tmp_path / "a", set=given)
    streamtrack.run(clip, model=model, stride=3, out=tmp_path / "b", set=settings)
    for name in ("detections.jsonl", "tracks.jsonl"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_sink_that_is_asked_for_replaces_the_runs_own(clip: Path, model: str, tmp_path: Path) -> None:
    crops = {"output.save_crops": True, "output.save_frames": False}
    sinks = ["jsonl:detections=", "crops:every_frames=1000,min_size=0,min_quality=0"]
    summary = streamtrack.run(clip, model=model, stride=1, out=tmp_path / "run", set=crops, sinks=sinks)
    assert not (tmp_path / "run" / "detections.jsonl").exists()
    assert len(lines(tmp_path / "run" / "tracks.jsonl", TrackRecord)) == 2
    assert len(list((tmp_path / "run" / "crops").glob("*/*.jpg"))) == 2
    assert [name for name in summary.metrics.stages if name.startswith("sink")] == ["sink jsonl", "sink crops"]


def test_two_sinks_of_one_kind_are_told_apart(clip: Path, model: str, tmp_path: Path) -> None:
    sinks = ["video:path=a.mp4", "video:path=b.mp4"]
    summary = streamtrack.run(clip, model=model, stride=20, out=tmp_path / "run", sinks=sinks)
    assert {"sink video", "sink video 2"} <= summary.metrics.stages.keys()
    assert summary.metrics.stages["sink video"].items == summary.metrics.stages["sink video 2"].items == 3


def test_how_results_reach_a_sink_is_an_option_of_every_sink(clip: Path, model: str, tmp_path: Path) -> None:
    said: list[str] = []
    sinks = ["jsonl:when_full=drop,queue=64", "frames:queue=7"]
    with streamtrack.Pipeline(clip, model=model, stride=3, out=tmp_path / "run", sinks=sinks, say=said.append) as run:
        list(run)
    capacities = {channel.name: channel.capacity for channel in run.summary().metrics.channels}
    assert (capacities["sink jsonl"], capacities["sink frames"]) == (64, 7)
    assert [text for text in said if "may lose frames" in text] == [
        "the sink 'jsonl' may lose frames now: a tape or table with gaps does not tell the whole run"
    ]
    with pytest.raises(ConfigError, match=r"no option 'when_ful'\. Did you mean 'when_full'"):
        streamtrack.Pipeline(clip, out=tmp_path / "no", sinks=["frames:when_ful=drop"])


def test_progress_is_told_after_every_frame_and_ends_at_the_total(clip: Path, model: str) -> None:
    seen: list[tuple[int, int | None]] = []
    streamtrack.run(clip, model=model, stride=7, progress=lambda p: seen.append((p.frames_done, p.frames_total)))
    assert [done for done, _ in seen] == list(range(1, 10))
    assert seen[-1][1] in (8, 9, 10)


def test_crops_and_frames_are_saved_when_asked_for(clip: Path, model: str, tmp_path: Path) -> None:
    settings = {"output.save_frames": True, "output.save_crops": True}
    settings |= {"crops.min_size": 20, "crops.min_quality": 0}
    streamtrack.run(clip, model=model, stride=10, out=tmp_path / "run", set=settings)
    assert len(list((tmp_path / "run" / "frames").glob("*.jpg"))) == 6
    assert len(list((tmp_path / "run" / "crops").glob("*/*.jpg"))) == 2


def test_the_gates_of_crops_are_settings_and_options_given_with_the_sink_go_before_them(
    clip: Path, model: str, tmp_path: Path
) -> None:
    settings = {"output.save_crops": True, "crops.min_quality": 0, "crops.min_size": SIDE}
    out = tmp_path / "run"
    refused = streamtrack.run(clip, model=model, stride=4, out=out, set=settings).metrics.sinks["crops"]
    assert {name: count for name, count in refused.items() if count} == {"candidates": 16, "too_small": 16}
    sinks = ["crops:min_size=1"]
    metrics = streamtrack.run(clip, model=model, stride=4, out=out, set=settings, sinks=sinks, overwrite=True).metrics
    assert {name: count for name, count in metrics.sinks["crops"].items() if count} == {"candidates": 16, "kept": 16}
    assert msgspec.json.decode((out / "track_metrics.json").read_bytes(), type=Metrics).sinks == metrics.sinks


def test_samples_and_progress_are_as_the_settings_say(clip: Path, model: str, tmp_path: Path) -> None:
    settings = {"output.samples_per_track": 3, "output.progress_every": 7, "output.save_frames": False}
    metrics = streamtrack.run(clip, model=model, stride=1, out=tmp_path, set=settings).metrics
    assert {len(track.bboxes_sampled) for track in lines(tmp_path / "tracks.jsonl", TrackRecord)} == {3}
    assert metrics.totals["progress_events"] == FRAMES // 7


def test_both_stride_and_fps_and_the_summary_says_which_won(clip: Path, model: str) -> None:
    sparse_stride = streamtrack.run(clip, model=model, stride=10, fps=5).metrics
    sparse_fps = streamtrack.run(clip, model=model, stride=2, fps=5).metrics
    assert (sparse_stride.totals["frames_processed"], sparse_fps.totals["frames_processed"]) == (6, 13)
    assert sparse_stride.source is not None
    assert sparse_fps.source is not None
    assert "sparser than" in sparse_stride.source.sampling
    assert "5 fps" in sparse_fps.source.sampling


@pytest.fixture(scope="module")
def large_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares of 80 px, too small for some profiles, on black: where it is dark, the lowest threshold may see grey."""
    rows, columns = np.arange(960) * 384 // 960, np.arange(1600) * 640 // 1600
    pictures = (picture[rows][:, columns] - np.uint8(16) for picture in square_frames(16, PATHS))
    return write_clip(tmp_path_factory.mktemp("clip") / "large.mp4", pictures, options={"preset": "ultrafast"})


@pytest.mark.parametrize(
    ("profile", "processed", "tracks", "threads", "max_fps", "writes"),
    [
        ("fast_cpu", 2, 0, 2, 45, set()),
        ("balanced", 4, 2, 0, 0, {"frames"}),
        ("high_accuracy", 16, 2, 0, 0, {"frames", "crops"}),
        ("live", 7, 2, 0, 0, set()),
        ("low_power", 2, 0, 1, 10, set()),
    ],
)
def test_a_profile_does_what_it_says(
    large_clip: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    profile: str, processed: int, tracks: int, threads: int, max_fps: float, writes: set[str],
) -> None:  # fmt: skip
    monkeypatch.delenv("STREAMTRACK_DETECTOR__MIN_SIZE")  # other tests have small pictures
    metrics = streamtrack.run(large_clip, profile=profile, model=model, out=tmp_path / "run").metrics
    assert (metrics.totals["frames_processed"], metrics.totals["tracks"]) == (processed, tracks)
    assert metrics.detector is not None
    assert (metrics.detector.kept, metrics.detector.too_small > 0) == (tracks * processed, not tracks)
    assert (metrics.detector.threshold is not None) == (profile == "high_accuracy")
    assert metrics.limits is not None
    assert (metrics.limits.threads, metrics.limits.max_fps) == (threads, max_fps)
    assert {name.removeprefix("sink ") for name in metrics.stages if name.startswith("sink")} == {"jsonl", *writes}
    assert len(list((tmp_path / "run" / "frames").glob("*.jpg"))) == processed * ("frames" in writes)


def test_a_failure_in_the_middle_leaves_complete_lines_and_says_so(clip: Path, model: str, tmp_path: Path) -> None:
    class Failing:
        written = 0

        def open(self, info: object) -> None: ...

        def write(self, result: object) -> None:
            self.written += 1
            if self.written == 10:
                raise SinkError("the broker at rtsp://me:secret@host went away")

        def close(self) -> None: ...

    with pytest.raises(SinkError, match="went away"):
        streamtrack.run(clip, model=model, stride=1, out=tmp_path / "run", sinks=[Failing()])
    metrics = msgspec.json.decode((tmp_path / "run" / "track_metrics.json").read_bytes(), type=Metrics)
    assert metrics.status == "failed"
    assert metrics.error is not None
    assert "went away" in metrics.error
    assert "secret" not in (tmp_path / "run" / "track_metrics.json").read_text()
    records = lines(tmp_path / "run" / "detections.jsonl", DetectionRecord)
    assert len(records) == 2 * metrics.frame_ledger["detected"]
    assert len(lines(tmp_path / "run" / "tracks.jsonl", TrackRecord)) == 2
    assert sum(metrics.frame_ledger.values()) == 2 * metrics.frame_ledger["seen"]


class Stopping:
    """Ends a run in its tenth frame."""

    def __init__(self, error: BaseException) -> None:
        self.error, self.written = error, 0

    def __call__(self, progress: Progress) -> None:
        self.written += 1
        if self.written == 10:
            raise self.error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, "detector.min_size"),
        (KeyboardInterrupt(), "The run was interrupted. What follows was found until then."),
        (RuntimeError("no <way> on"), "The run failed: RuntimeError: no &lt;way&gt; on. What follows"),
    ],
)
def test_the_report_tells_how_the_run_went_however_it_ended(
    error: BaseException | None, said: str, clip: Path, model: str, tmp_path: Path
) -> None:
    each = None if error is None else Stopping(error)
    settings: dict[str, object] = {"stride": 1, "sinks": ["report"], "set": {"detector.min_size": 21}}
    with nullcontext() if error is None else pytest.raises(type(error)):
        streamtrack.run(clip, model=model, out=tmp_path / "run", progress=each, **settings)
    page = (tmp_path / "run" / "report.html").read_text()
    metrics = json.loads((tmp_path / "run" / "track_metrics.json").read_text())
    assert said in page
    assert page.count("<article") == 2
    assert f"looked at: {metrics['frame_ledger']['detected']}" in page
    assert "sink report" in page


def test_warnings_are_in_the_metrics_too(clip: Path, model: str) -> None:
    said: list[str] = []
    summary = streamtrack.run(clip, model=model, stride=2, set={"tracker.max_gap_s": 0.01}, say=said.append)
    assert summary.metrics.warnings
    assert [f"warning: {text}" for text in summary.metrics.warnings] == [each for each in said if "warning: " in each]


def test_a_run_whose_last_page_cannot_be_written_is_not_complete(clip: Path, model: str, tmp_path: Path) -> None:
    class Concluding:
        def open(self, info: object) -> None: ...

        def write(self, result: object) -> None: ...

        def close(self) -> None: ...

        def conclude(self, metrics: dict[str, object]) -> None:
            assert metrics["status"] == "complete"
            assert json.loads((tmp_path / "run" / "track_metrics.json").read_text())["status"] == "running"
            raise SinkError("no room for the page")

    with pytest.raises(SinkError, match="no room for the page"):
        streamtrack.run(clip, model=model, stride=20, out=tmp_path / "run", sinks=[Concluding()])
    metrics = json.loads((tmp_path / "run" / "track_metrics.json").read_text())
    assert (metrics["status"], metrics["error"]) == ("failed", "SinkError: no room for the page")


def test_leaving_early_is_said_to_be_stopped(clip: Path, model: str, tmp_path: Path) -> None:
    with streamtrack.Pipeline(clip, model=model, stride=1, out=tmp_path / "run") as pipeline:
        for result in pipeline:
            if result.frame.index == 5:
                break
    metrics = json.loads((tmp_path / "run" / "track_metrics.json").read_text())
    assert metrics["status"] == "stopped"
    assert metrics["frame_ledger"]["detected"] == 6


def test_a_missing_source_touches_no_folder(model: str, tmp_path: Path) -> None:
    with pytest.raises(SourceOpenError):
        streamtrack.run(tmp_path / "none.mp4", model=model, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("resume", [False, True])
def test_a_model_that_is_no_model_is_said_in_the_metrics_and_is_in_no_ones_way(
    clip: Path, model: str, tmp_path: Path, resume: bool
) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelLoadError):
        streamtrack.run(clip, model=str(tmp_path / "bad.onnx"), out=tmp_path / "run")
    assert json.loads((tmp_path / "run" / "track_metrics.json").read_text())["status"] == "failed"
    summary = streamtrack.run(clip, model=model, out=tmp_path / "run", stride=30, resume=resume)
    assert summary.metrics.status == "complete"
    assert summary.metrics.resumed is None


def test_a_folder_in_use_is_refused(clip: Path, model: str, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(SinkError, match="not empty"):
        streamtrack.run(clip, model=model, out=tmp_path)
    streamtrack.run(clip, model=model, out=tmp_path, stride=30, overwrite=True)
    assert (tmp_path / "mine.txt").read_text() == "x"


@pytest.mark.parametrize(
    ("sink", "words"),
    [
        ("crops:min_siz=4", "Did you mean 'min_size'?"),
        ("crops:min_size=big", "min_size=big"),
        ("crops:min_size", "write section.key=value"),
        ("jsonl:tracks=../x.jsonl", "plain file name"),
    ],
)
def test_a_sink_that_cannot_be_is_refused(clip: Path, model: str, tmp_path: Path, sink: str, words: str) -> None:
    with pytest.raises((ConfigError, SinkError)) as caught:
        streamtrack.run(clip, model=model, out=tmp_path / "run", sinks=[sink])
    assert words in str(caught.value)


def test_no_summary_inside_the_block(clip: Path, model: str) -> None:
    pipeline = streamtrack.Pipeline(clip, model=model)
    with pytest.raises(streamtrack.InternalError, match="no summary"), pipeline:
        pipeline.summary()


def test_where_kernels_are_kept_is_said_if_it_is_not_the_usual_place(
    clip: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("streamtrack.build.cache_note", lambda: "kernels are kept elsewhere")
    with streamtrack.Pipeline(clip, model=model, stride=30, say=said.append) as pipeline:
        list(pipeline)
    assert said == ["kernels are kept elsewhere"]


# --- embeddings ---


@pytest.fixture(scope="session")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_quarters_embedder(tmp_path_factory.mktemp("embedder") / "quarters.onnx"))


QUICK = {"output.save_frames": False, "runtime.device": "cpu"}


def faces(folder: Path) -> list[FaceRecord]:
    return [msgspec.json.decode(line, type=FaceRecord) for line in (folder / "faces.jsonl").read_bytes().splitlines()]


def test_a_run_with_an_embedder_leaves_vectors_that_agree_with_its_records(
    clip: Path, model: str, embedder: str, tmp_path: Path
) -> None:
    settings = {**QUICK, "embedder.model": embedder, "embedder.every_frames": 20, "embedder.batch_size": 2}
    out = tmp_path / "run"
    summary = streamtrack.run(clip, model=model, stride=1, out=out, set=settings)
    vectors, records = np.load(out / "faces.npy", mmap_mode="r"), faces(out)
    assert vectors.shape == (6, 12)
    assert [record.track_id for record in records].count(1) == 3
    assert [record.frame_idx // 20 for record in records if record.track_id == 1] == [0, 1, 2]
    detections = lines(out / "detections.jsonl", DetectionRecord)
    seen = {(d.frame_idx, d.track_id): (d.bbox, d.conf, d.landmarks, d.ts_s) for d in detections}  # type: ignore[attr-defined]
    for record in records:
        told = (record.bbox, record.conf, record.landmarks, record.ts_s)
        assert told == seen[record.frame_idx, record.track_id]
        assert record.crop is not None
        assert (out / record.crop).is_file()
    assert np.load(out / "tracks.npy").shape == (2, 12)
    made = summary.metrics.embedder
    assert made is not None
    assert (made.name, made.dimension, made.batch_size, made.device, made.head) == ("quarters", 12, 2, "cpu", "arcface")
    assert (len(made.sha256), made.backend, made.passed_over) == (64, "onnx", ())
    assert made.prepare_ms > 0
    assert made.inference_ms > 0
    assert summary.metrics.sinks["embeddings"] == {
        "pictures": 120, "unseen": 0, "outdone": 114, "unusable": 0, "embedded": 6, "aligned": 0, "tracks": 2,
    }  # fmt: skip


@pytest.mark.parametrize("stage", ["detector.batch_size", "runtime.queue_size", "embedder.batch_size"])
def test_vectors_are_the_same_whatever_the_sizes(
    clip: Path, model: str, embedder: str, tmp_path: Path, stage: str
) -> None:
    settings = {**QUICK, "embedder.model": embedder, "embedder.every_frames": 10}
    streamtrack.run(clip, model=model, stride=3, out=tmp_path / "a", set=settings)
    streamtrack.run(clip, model=model, stride=3, out=tmp_path / "b", set={**settings, stage: 7})
    for name in ("faces.npy", "faces.jsonl", "tracks.npy", "tracks_index.jsonl"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_nothing_is_embedded_unless_somebody_asks(clip: Path, model: str, tmp_path: Path) -> None:
    summary = streamtrack.run(clip, model=model, stride=30, out=tmp_path / "run", set=QUICK)
    assert summary.metrics.embedder is None
    assert not list((tmp_path / "run").glob("*.npy"))


def test_the_sink_by_name_takes_the_embedder_and_its_own_options(
    clip: Path, model: str, embedder: str, tmp_path: Path
) -> None:
    settings, sinks = {**QUICK, "embedder.model": embedder}, ["embeddings:every_frames=0,save_faces=false"]
    streamtrack.run(clip, model=model, stride=6, out=tmp_path / "run", set=settings, sinks=sinks)
    assert [record.crop for record in faces(tmp_path / "run")] == [None] * 20


def test_a_detector_as_embedder_ends_the_run_before_the_first_frame(clip: Path, model: str, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"squares .*(centerface detector|as an embedder)"):
        streamtrack.run(clip, model=model, out=tmp_path / "run", set={**QUICK, "embedder.model": model})
    metrics = json.loads((tmp_path / "run" / "track_metrics.json").read_text())
    assert (metrics["status"], metrics["totals"]["frames_processed"]) == ("failed", 0)
    assert not list((tmp_path / "run").glob("*.npy"))


def test_an_embedder_as_detector_says_where_it_belongs(clip: Path, embedder: str) -> None:
    with pytest.raises(ModelLoadError, match="an embedder gives: name such a model with --embedder"):
        streamtrack.run(clip, model=embedder, set=QUICK)


@pytest.mark.parametrize(
    ("out", "chosen", "sinks", "words"),
    [
        (False, True, [], "name one with --out"),
        (True, False, ["embeddings"], "choose it with --embedder"),
        (True, True, ["embeddings:save_face=no"], "Did you mean 'save_faces'"),
    ],
)
def test_embeddings_that_cannot_be_are_refused(
    clip: Path, model: str, embedder: str, tmp_path: Path, out: bool, chosen: bool, sinks: list[str], words: str
) -> None:
    settings = QUICK | ({"embedder.model": embedder} if chosen else {})
    with pytest.raises(ConfigError, match=words):
        streamtrack.Pipeline(clip, model=model, out=tmp_path / "run" if out else None, set=settings, sinks=sinks)


def test_an_embedder_that_aligns_says_once_that_there_are_no_keypoints(
    clip: Path, model: str, embedder: str, tmp_path: Path
) -> None:
    """A recording of a detector that gives none stands for such a detector."""
    streamtrack.run(clip, model=model, stride=3, out=tmp_path / "tape", set={**QUICK, "output.save_frames": True})
    records = lines(tmp_path / "tape" / "detections.jsonl", DetectionRecord)
    bare = [msgspec.json.encode(msgspec.structs.replace(record, landmarks=[])) for record in records]
    (tmp_path / "tape" / "detections.jsonl").write_bytes(b"\n".join([*bare, b""]))
    said: list[str] = []
    settings = {**QUICK, "embedder.model": embedder}
    streamtrack.run(f"replay:{tmp_path / 'tape'}", stride=1, out=tmp_path / "run", set=settings, say=said.append)
    assert [text for text in said if "keypoints" in text] == [
        "quarters wants faces brought upright by 5 keypoints, and the detector gives none: it sees what is in their "
        "boxes, which tells people apart less well"
    ]
    assert len(faces(tmp_path / "run")) == 4


def test_a_replay_embeds_saved_pictures_and_refuses_where_there_are_none(
    clip: Path, model: str, embedder: str, tmp_path: Path
) -> None:
    settings = {**QUICK, "embedder.model": embedder}
    for name, saved in (("with", True), ("without", False)):
        streamtrack.run(clip, model=model, stride=3, out=tmp_path / name, set={**QUICK, "output.save_frames": saved})
    streamtrack.run(f"replay:{tmp_path / 'with'}", stride=1, out=tmp_path / "again", set=settings)
    assert len(faces(tmp_path / "again")) == 4
    with pytest.raises(ConfigError, match="has no pictures to embed: record it with --save-frames"):
        streamtrack.run(f"replay:{tmp_path / 'without'}", out=tmp_path / "never", set=settings)


# --- options of sinks ---
class Keeps:
    """A sink that remembers its options."""

    def __init__(self, *, url: str = "", servers: str = "", old_env: str = "") -> None:
        self.given = url, servers, old_env


@pytest.mark.parametrize(
    ("written", "given"),
    [
        ("keeps:url=a://b?x=1,servers=a:1,b:2", ("a://b?x=1", "a:1,b:2", "")),
        ("keeps:url_env=STREAMTRACK_TEST_URL", ("a://hunter2@b", "", "")),
        ("keeps:url_file={folder}/url", ("a://hunter3@b", "", "")),
        ("keeps:old_env=x", ("", "", "x")),
    ],
)
def test_a_sinks_option_may_hold_commas_or_come_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, given: tuple[str, str, str]
) -> None:
    monkeypatch.setattr("streamtrack.registry.load", lambda kind, name: Keeps)
    monkeypatch.setenv("STREAMTRACK_TEST_URL", "a://hunter2@b")
    (tmp_path / "url").write_text("a://hunter3@b\n")
    ((_, sink, _),) = streamtrack.Pipeline("x.mp4", sinks=[written.format(folder=tmp_path)])._stages.sinks
    assert isinstance(sink, Keeps)
    assert sink.given == given


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("keeps:url_env=STREAMTRACK_NOT_SET", "STREAMTRACK_NOT_SET is not set"),
        ("keeps:url_file=nowhere", "'nowhere', which url_file names, cannot be read"),
        ("keeps:uri_env=HOME", "no option 'uri_env'"),
    ],
)
def test_an_option_that_cannot_be_had_from_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, written: str, said: str
) -> None:
    monkeypatch.setattr("streamtrack.registry.load", lambda kind, name: Keeps)
    with pytest.raises(ConfigError, match=said):
        streamtrack.Pipeline("x.mp4", sinks=[written])


class Waiting:
    """A sink that waits for somebody who never comes, until it is told that nobody waits any more."""

    def __init__(self) -> None:
        self.hurried, self.frames, self.closed = threading.Event(), 0, False

    def open(self, info: RunInfo) -> None: ...

    def write(self, result: Result) -> None:
        assert self.hurried.wait(20), "nobody told it"
        self.frames += 1

    def interrupt(self) -> None:
        self.hurried.set()

    def close(self) -> None:
        self.closed = True


class Failing(Waiting):
    """A sink that fails at the first frame."""

    def write(self, result: Result) -> None:
        raise SinkError("disk full")


def test_a_sink_that_waits_for_somebody_else_is_told_that_the_run_stops(clip: Path, model: str) -> None:
    sink = Waiting()
    with streamtrack.Pipeline(clip, model=model, stride=1, sinks=[sink]) as pipeline:
        next(iter(pipeline))
    assert (sink.frames, sink.closed) == (1, True)


def test_a_sink_that_waits_for_somebody_else_is_told_that_another_one_failed(clip: Path, model: str) -> None:
    sinks = [Waiting(), Failing()]
    pipeline = streamtrack.Pipeline(clip, model=model, stride=1, sinks=sinks)
    with pytest.raises(SinkError, match="disk full"), pipeline:
        list(pipeline)
    assert all(sink.closed for sink in sinks)


def test_a_sink_that_waits_when_all_is_read_is_told_by_ctrl_c(
    clip: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = Waiting()
    pipeline = streamtrack.Pipeline(clip, model=model, stride=30, sinks=[sink])
    join = Mock(wraps=pipeline._group.join, side_effect=[KeyboardInterrupt, DEFAULT])
    monkeypatch.setattr(pipeline._group, "join", join)
    with pytest.raises(KeyboardInterrupt), pipeline:
        list(pipeline)
    assert (sink.frames, sink.closed) == (2, True)
