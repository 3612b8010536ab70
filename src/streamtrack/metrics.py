"""What a run tells about itself: ``progress.json`` while it goes on, ``track_metrics.json`` when it is over."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from streamtrack import folder
from streamtrack.channel import ChannelStats
from streamtrack.devices import PassedOver
from streamtrack.errors import SinkError
from streamtrack.latency import LatencyMetrics
from streamtrack.lighting import ThresholdStats
from streamtrack.models.embedder import Embedder
from streamtrack.models.verdicts import ParityMetrics
from streamtrack.models.zoo import ResolvedModel
from streamtrack.pipeline import Ledger, StagePipeline
from streamtrack.records import SCHEMA_VERSION
from streamtrack.resuming import FileIdentity, ResumeMetrics
from streamtrack.speed import SpeedLog, SpeedMetrics
from streamtrack.types import BoxCounts, FeedState, Result, SourceInfo

_FEW = 30
"""Processed frames that say little about the share of the source that has gone by."""

Status = Literal["running", "complete", "stopped", "interrupted", "failed"]


class Progress(msgspec.Struct, kw_only=True):
    """How far a run is."""

    schema_version: int = SCHEMA_VERSION
    phase: Status = "running"
    frames_done: int = 0
    """Frames processed (wanted by stride and fps, detected and tracked)."""
    frames_taped: int = 0
    """The first so many of them were found by interrupted runs, and the model is not asked again."""
    frames_total: int | None = None
    """About how many will be; an estimate that corrects itself, None where nobody can know."""
    elapsed_sec: float = 0.0
    fps_detected: float = 0.0
    """Frame rate of the source."""
    analyzed_fps: float = 0.0
    """Processed frames a second of wall time so far."""
    source_fps: float = 0.0
    """Source frames got through a second of wall time so far, skipped ones included."""
    eta_sec: float | None = None
    tracks_alive: int = 0
    tracks_total: int = 0
    queue_depth: int = 0
    queue_capacity: int = 0
    source_state: FeedState | None = None
    """Of a live feed, what it is doing; None for a file."""
    source_reason: str = ""
    """Why, in words."""
    reconnects: int = 0
    age_ms: float | None = None
    """Of a live feed, how old the latest frame was when its tracks were known."""


class StageMetrics(msgspec.Struct, kw_only=True):
    """Seconds a stage worked; its own thread's CPU only, so that of a library's threads is missing here."""

    wall_s: float
    cpu_s: float
    items: int


class SourceMetrics(msgspec.Struct, kw_only=True):
    """The source as it was found."""

    uri: str
    codec: str
    width: int
    height: int
    fps: float
    sample_rate: float
    """Frames a second of media that were looked at; 0 where it cannot be known."""
    duration_s: float | None
    sampling: str
    live: bool
    file: FileIdentity | None = None
    """What tells the file from others; None where it is none."""
    frames_damaged: int
    """Delivered although the decoder marked them as damaged."""
    timestamps_repaired: int
    packets_undecoded: int = 0
    """Never decoded, because their frame was not wanted and nothing refers to it."""
    decoding: str = ""
    """In words, which packets are decoded, and why all of them where that is so."""
    reconnects: int = 0
    """How often a live feed was lost and found again."""


class ModelMetrics(msgspec.Struct, kw_only=True):
    """Which model ran, and where it came from."""

    name: str
    sha256: str
    source: str
    note: str = ""
    """Why it was not the first choice, if so."""


class ThresholdMetrics(msgspec.Struct, kw_only=True):
    """The thresholds that adaptive confidence has chosen."""

    min: float
    mean: float
    max: float


class DetectorMetrics(msgspec.Struct, kw_only=True):
    """Where the model's boxes have gone: the other counts sum to ``candidates``."""

    candidates: int
    """Boxes over the threshold, in any light where it is adaptive."""
    suppressed: int
    """Another box on the same thing stayed."""
    too_small: int
    """Smaller than ``detector.min_size``; several boxes on one thing count as one."""
    beyond_max: int
    """Weaker than ``detector.max_detections`` others in the frame."""
    kept: int
    """Those that the light then refused included; ``totals`` holds what was left."""
    threshold: ThresholdMetrics | None
    """In place of ``detector.confidence_th``, by the frame; None where it is fixed."""


class LimitMetrics(msgspec.Struct, kw_only=True):
    """What the run was to keep to, and what it took."""

    threads: int
    """``runtime.threads``; 0: no limit."""
    threads_peak: int | None
    """Most threads of the process seen at a time, those that only wait and those of libraries included; None where they
    cannot be counted."""
    max_fps: float
    """``runtime.max_fps``, processed frames a second of wall time; 0: no limit."""
    processed_fps: float
    """What was reached, between the first and the last processed frame."""


class EmbedderMetrics(msgspec.Struct, kw_only=True):
    """Which model turned faces into vectors, how it ran, and how long a vector took; what it made is in ``sinks``."""

    name: str
    sha256: str
    source: str
    head: str
    """How it is fed."""
    dimension: int
    """Of its vectors."""
    batch_size: int
    device: str
    backend: str
    passed_over: tuple[PassedOver, ...] = ()
    """As of the detector, as far as it was not passed over for it, too."""
    prepare_ms: float
    """Wall ms a vector to cut out and align pictures, those of its window that a better one replaced included."""
    inference_ms: float
    """Wall ms a vector in the model."""


class ProcessMetrics(msgspec.Struct, kw_only=True):
    """The whole process during the run."""

    wall_s: float
    cpu_s: float
    cores: float
    """Cores used on average: CPU seconds of all threads, libraries' included, a second of wall time."""
    cpu_ms_per_source_frame: float
    peak_memory_mb: float
    """Highest resident memory of the process since it started."""


class Metrics(msgspec.Struct, kw_only=True):
    """Everything of a run that is neither a detection nor a track."""

    schema_version: int = SCHEMA_VERSION
    streamtrack_version: str
    status: Status
    error: str | None
    device: str
    backend: str
    passed_over: tuple[PassedOver, ...] = ()
    """What ``auto`` would have preferred, and why it was not to be."""
    changed_after: int | None = None
    """With a warm start, how many calls of the model the CPU answered before ``backend`` took over."""
    parity: ParityMetrics | None = None
    """How the accelerator compares with the CPU; None on the CPU."""
    model: ModelMetrics
    embedder: EmbedderMetrics | None = None
    """None where nothing is embedded."""
    run_id: str = ""
    """Of no other run, and the same after it was resumed; empty where no pipeline has run."""
    resumed: ResumeMetrics | None = None
    """How often it was interrupted and taken up again; None where never."""
    warnings: tuple[str, ...] = ()
    """Traps among the settings that the run warned of."""
    profile: str
    settings: Mapping[str, Any]
    settings_from: Mapping[str, str]
    """Layer of every setting that is not a default."""
    source: SourceMetrics | None
    detector: DetectorMetrics | None = None
    """None where no model has run."""
    latency: LatencyMetrics | None = None
    """From camera to tracks; only of a live feed."""
    totals: Mapping[str, int]
    frame_ledger: Mapping[str, int]
    """Every source frame in exactly one bucket; the buckets sum to ``seen``."""
    sinks: Mapping[str, Mapping[str, int]] = {}
    """What sinks that choose did with what they were given, such as how many crops each gate refused."""
    stages: Mapping[str, StageMetrics]
    channels: list[ChannelStats]
    speed: SpeedMetrics | None = None
    """The first minute against the last one; None for runs shorter than two."""
    limits: LimitMetrics | None = None
    """None where no pipeline has run."""
    process: ProcessMetrics


def read_metrics(path: Path) -> Metrics:
    """Return the metrics of the run in the folder ``path``.

    Raises:
        SinkError: they cannot be read, or are of another version.
    """
    file = path / folder.METRICS
    try:
        return msgspec.json.decode(file.read_bytes(), type=Metrics)
    except OSError as error:
        raise SinkError(f"Cannot read '{file}': {error.strerror}.") from error
    except msgspec.DecodeError as error:
        raise SinkError(f"'{file}' does not hold the metrics of a run: {' '.join(str(error).split())}.") from error


class Stopwatch:
    """Wall time and CPU time of the process since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    @property
    def wall_s(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._wall

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all threads of the process since the start."""
        return time.process_time() - self._cpu


def measure_progress(
    pipeline: StagePipeline, result: Result, watch: Stopwatch, *, taped: int = 0, taped_s: float = 0.0
) -> Progress:
    """Return how far ``pipeline`` is after ``result``.

    Args:
        pipeline: that is being iterated.
        result: the latest.
        watch: begun with the run.
        taped: the first so many frames come from the tape of an interrupted run.
        taped_s: seconds that they took; they say nothing of how long the others will take.
    """
    info, done, elapsed = pipeline.info, pipeline.totals.frames, watch.wall_s
    seen = result.frame.index + 1
    total = _expected(info, done, seen, result.frame.ts_s)
    queue = pipeline.channel_stats()[0]
    return Progress(
        frames_done=done,
        frames_taped=taped,
        frames_total=total,
        elapsed_sec=round(elapsed, 3),
        fps_detected=round(info.rate, 3),
        analyzed_fps=round(done / elapsed, 2),
        source_fps=round(seen / elapsed, 2),
        eta_sec=None
        if total is None or done <= taped
        else round((total - done) * (elapsed - taped_s) / (done - taped), 1),
        tracks_alive=len(pipeline.totals.alive),
        tracks_total=pipeline.totals.tracks,
        queue_depth=queue.depth,
        queue_capacity=queue.capacity,
        age_ms=None if result.age_ms is None else round(result.age_ms, 1),
    )


def _expected(info: SourceInfo, done: int, seen: int, ts_s: float) -> int | None:
    """Estimate the processed frames in all from the share of the source that has gone by."""
    if info.sample_rate and done < _FEW and info.frames_estimate is not None:
        # The share says little while few frames have gone by; the sampling is known from the start.
        return max(done, round(info.frames_estimate * info.sample_rate / info.rate)) if info.rate else None
    if info.duration_s:
        # Containers know their duration better than their number of frames, and a rate may vary.
        period_s = 1 / info.rate if info.rate else 0.0
        share = min(1.0, (ts_s + period_s) / info.duration_s)
    elif info.frames_estimate is not None:
        share = seen / max(info.frames_estimate, seen)
    else:
        return None
    return max(done, round(done / share)) if share > 0 else None


def measure_stages(pipeline: StagePipeline) -> dict[str, StageMetrics]:
    """Return the clocks of every stage."""
    return {
        name: StageMetrics(wall_s=round(c.wall_s, 4), cpu_s=round(c.cpu_s, 4), items=c.items)
        for name, c in pipeline.clocks.items()
    }


def measure_source(pipeline: StagePipeline, file: FileIdentity | None = None) -> SourceMetrics:
    """Return the source as it was found, which is ``file`` if it is one."""
    info, stats = pipeline.info, pipeline.source_stats
    return SourceMetrics(
        uri=info.uri,
        codec=info.codec,
        width=info.width,
        height=info.height,
        # Not rounded: retracking turns frames into seconds with them, and must do as the run did.
        fps=info.rate,
        sample_rate=info.sample_rate,
        duration_s=info.duration_s,
        sampling=info.sampling,
        live=info.live,
        file=file,
        frames_damaged=stats.damaged,
        timestamps_repaired=stats.pts_repaired,
        packets_undecoded=stats.undecoded,
        decoding=stats.decoding,
        reconnects=stats.reconnects,
    )


def measure_detector(counts: BoxCounts, thresholds: ThresholdStats) -> DetectorMetrics:
    """Return where the model's boxes have gone."""
    chosen = None
    if thresholds.frames:
        mean = thresholds.total / thresholds.frames
        chosen = ThresholdMetrics(min=round(thresholds.least, 4), mean=round(mean, 4), max=round(thresholds.most, 4))
    return DetectorMetrics(
        candidates=counts.candidates,
        suppressed=counts.suppressed,
        too_small=counts.too_small,
        beyond_max=counts.beyond_max,
        kept=counts.kept,
        threshold=chosen,
    )


def measure_embedder(
    model: ResolvedModel, embedder: Embedder, backend: str, passed_over: tuple[PassedOver, ...]
) -> EmbedderMetrics:
    """Return which model made vectors, how it ran, and how long one took."""
    stats = embedder.stats
    made = max(stats.items - stats.unseen, 1)
    return EmbedderMetrics(
        name=model.name,
        sha256=model.sha256,
        source=model.source,
        head=embedder.spec.head,
        dimension=embedder.dimension,
        batch_size=embedder.batch_size,
        device=embedder.device,
        backend=backend,
        passed_over=passed_over,
        prepare_ms=round(1000 * stats.preprocess_s / made, 3),
        inference_ms=round(1000 * stats.inference_s / made, 3),
    )


def measure_limits(threads: int, max_fps: float, speed: SpeedLog) -> LimitMetrics:
    """Return what the run was to keep to, and what it took."""
    return LimitMetrics(
        threads=threads, threads_peak=speed.threads_peak, max_fps=max_fps, processed_fps=round(speed.fps, 3)
    )


def measure_process(watch: Stopwatch, ledger: Ledger) -> ProcessMetrics:
    """Return what the process used since ``watch`` was made."""
    wall, cpu = watch.wall_s, watch.cpu_s
    # ru_maxrss is in kilobytes on Linux and in bytes on macOS (getrusage(2) of each).
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return ProcessMetrics(
        wall_s=round(wall, 3),
        cpu_s=round(cpu, 3),
        cores=round(cpu / wall, 2) if wall else 0.0,
        cpu_ms_per_source_frame=round(1000 * cpu / ledger.seen, 3) if ledger.seen else 0.0,
        peak_memory_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1),
    )
