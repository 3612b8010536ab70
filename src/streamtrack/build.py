"""Puts a pipeline together from settings: the only module that knows everybody."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

from streamtrack import config, folder
from streamtrack.allowance import usable_cores
from streamtrack.api import Sink, Source, SourceOptions
from streamtrack.claim import FolderClaim, SourceFile
from streamtrack.endpoint import MetricsEndpoint
from streamtrack.errors import ConfigError, InternalError, SinkError, redact
from streamtrack.exposition import Exposition
from streamtrack.inference import RunModels
from streamtrack.latency import Latency
from streamtrack.lighting import AdaptiveConfidence
from streamtrack.linting import Surroundings, lint
from streamtrack.metrics import (
    DetectorMetrics,
    Metrics,
    Progress,
    Status,
    Stopwatch,
    measure_detector,
    measure_limits,
    measure_process,
    measure_progress,
    measure_source,
    measure_stages,
    read_metrics,
)
from streamtrack.pacing import Pacer
from streamtrack.params import TrackerParams
from streamtrack.pipeline import (
    NEVER_NS,
    FrameDetector,
    Outlet,
    Plan,
    RecordedDetector,
    StagePipeline,
    Stages,
    told_apart,
)
from streamtrack.plugins import local_file, make_sink, make_source, read_sink
from streamtrack.resuming import KnownModel, Now
from streamtrack.scenes import CutDetector
from streamtrack.settings import Config
from streamtrack.speed import SpeedLog
from streamtrack.tracking import cache_note
from streamtrack.tracking.tracker import ByteTracker
from streamtrack.types import NS_PER_S, FeedState, Result, RunInfo, SourceInfo

STDOUT = "-"
EMBEDDINGS = "embeddings"
_METRICS_ROOM = 16_384
"""Bytes kept for the metrics from the start, so that they can say that the disk was full."""
_log = logging.getLogger("streamtrack")


class RunSummary(NamedTuple):
    """What a run leaves behind."""

    folder: Path | None
    """Where its files are; None if it wrote none."""
    metrics: Metrics


class Pipeline(StagePipeline):
    """Tracks from a source, frame by frame.

    ``with Pipeline("video.mp4", stride=5) as pipeline: for result in pipeline: ...``. Each ``Result`` holds the frame,
    its detections and its tracks.

    Args:
        source: path of a video, URL, folder of pictures, or ``-`` for standard input; see ``streamtrack.address``.
        profile: name of a profile or path to one; None for ``balanced``.
        stride: look at every ``stride``-th frame; replaces the profile's stride and fps.
        fps: look at no more than this many frames a second of media (0: no limit); likewise.
        model: name of a zoo model, path to an ONNX file, or ``auto``.
        head: how to read the outputs of a model that does not tell itself.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        threads: threads for inference and decoding; 0 for as many as the machine gives.
        out: folder for the records, ``-`` for track records on standard output, None for no output.
        overwrite: replace an earlier run's outputs in ``out``.
        resume: go on with the run of a file that was interrupted in ``out``; without one, begin it. One that is
            complete is left as it is and gives no results.
        source_options: options of the source's own, such as ``{"transport": "udp"}``; they may also follow a ``?``.
        sinks: further sinks: ``"name:key=value,key=value"``, or objects that are sinks. One named like a sink of the
            run's own, such as ``jsonl``, replaces it.
        set: any further settings by dotted key, such as ``{"tracker.max_gap_s": 2}``.
        say: told in one line what a person should know, such as which model was chosen.

    Raises:
        ConfigError: a setting that cannot be. Errors of sources, models and sinks are raised on entering the block.
    """

    _summary: RunSummary | None = None
    _taped_s = 0.0
    """Seconds that frames took which an interrupted run had found."""

    def __init__(
        self,
        source: str | os.PathLike[str],
        *,
        profile: str | None = None,
        stride: int | None = None,
        fps: float | None = None,
        model: str | None = None,
        head: str | None = None,
        device: str | None = None,
        threads: int | None = None,
        out: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        resume: bool = False,
        source_options: Mapping[str, Any] | None = None,
        sinks: Sequence[str | Sink] = (),
        set: Mapping[str, Any] | None = None,
        say: Callable[[str], None] = _log.info,
    ) -> None:
        given = {
            "source.stride": stride,
            "source.fps": fps,
            "detector.model": model,
            "detector.head": head,
            "runtime.device": device,
            "runtime.threads": threads,
        }
        overrides = {key: value for key, value in given.items() if value is not None} | dict(set or {})
        self.resolved = config.resolve(profile, overrides)
        self.folder = None if out is None or os.fspath(out) == STDOUT else Path(out)
        written = os.fspath(source)
        self._file = SourceFile(lambda: local_file(written))
        self._claim = FolderClaim(self.folder, self._file, overwrite=overwrite, resume=resume)
        self._say = say
        self._watch = Stopwatch()
        self.progress = Progress()
        self._told_at = self._progress_events = 0
        self._latency, self._speed = Latency(), SpeedLog()
        self._light = AdaptiveConfidence(self._config.detector)
        self._state_lock = threading.Lock()
        self._models = RunModels(self._config, say)
        self._warnings: list[str] = []
        self._feed_state: tuple[FeedState | None, str] = (None, "")
        self._exposition = Exposition(self, self._models.about, lambda: self._feed_state)
        output = self._config.output
        self._endpoint = MetricsEndpoint(self._exposition, output.metrics_host, output.metrics_port, say)
        super().__init__(
            Stages(
                make_source=lambda: self._make_source(written, source_options or {}),
                plan=self._plan,
                sinks=self._make_sinks(to_stdout=out is not None and os.fspath(out) == STDOUT, extra=sinks),
                batch_size=self._config.detector.batch_size,
                queue_size=self._config.runtime.queue_size,
                max_staleness_ns=_or_never(self._config.source.max_staleness_s),
                pacer=Pacer(self._config.runtime.max_fps),
            )
        )
        if resume and (obstacle := self._obstacle_to_resuming()):
            raise ConfigError(obstacle)

    @property
    def _config(self) -> Config:
        return self.resolved.config

    def __enter__(self) -> Self:
        self._watch = Stopwatch()
        try:
            self._endpoint.open()
            if self._claim.resume:
                self._look_back()
            if not self._claim.complete:
                super().__enter__()
        except BaseException as error:
            self._conclude(error)
            raise
        return self

    def __iter__(self) -> Iterator[Result]:
        if self._claim.complete:
            return
        for result in super().__iter__():
            if result.age_ms is not None:
                self._latency.add(result.age_ms)
            self._speed.add()
            self._exposition.observe(result)
            if self.totals.frames == (taped := self._claim.taped_frames):
                self._taped_s = self._watch.wall_s
            self.progress = measure_progress(self, result, self._watch, taped=taped, taped_s=self._taped_s)
            if self.totals.frames - self._told_at >= self._config.output.progress_every:
                self._told_at = self.totals.frames
                self._progress_events += 1
                self._write_progress()
            yield result
        if self._claim.taped:
            self._claim.taped.check_finished()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._claim.complete:
            return
        try:
            super().__exit__(kind, error, trace)
        except BaseException as late:
            self._conclude(late)
            raise
        self._conclude(error)

    def summary(self) -> RunSummary:
        """Return what the run left behind, once the block is left.

        Raises:
            InternalError: inside the block.
        """
        if self._summary is None:
            raise InternalError("A run has no summary before its 'with' block is left.")
        return self._summary

    def _make_source(self, written: str, given: Mapping[str, Any]) -> Source:
        settings = self._config.source
        threads = settings.threads or self._config.runtime.threads
        options = SourceOptions(
            stride=settings.stride, fps=settings.fps, threads=threads, on_state=self._source_state_changed
        )
        return make_source(written, options, given)

    @property
    def resumable(self) -> bool:
        """Whether the run, once it is interrupted, can be resumed."""
        return not self._obstacle_to_resuming()

    def _obstacle_to_resuming(self) -> str:
        # From records with gaps nothing can be resumed.
        return self._claim.obstacle([each.sink for each in self._stages.sinks if not each.drops(live=False)])

    def _look_back(self) -> None:
        """See what an earlier run has left in the folder; nothing in it is touched."""
        self._claim.look_back(self._identify, looks=self._config.scene.cuts or self._config.detector.adaptive)
        if self._claim.complete and self.folder:
            self._say(f"The run in '{self.folder}' is complete: there is nothing to resume.")
            self._finished = True
            self._summary = RunSummary(self.folder, read_metrics(self.folder))
            self._claim.release()
        elif self._claim.taped:
            self._say(f"resuming: {self._claim.taped_frames:,} frames from the tape")

    def _identify(self) -> Now:
        return Now(
            version=version("streamtrack"),
            settings=msgspec.to_builtins(self._config),
            sinks=frozenset(name for name, _, _ in self._stages.sinks),
            file=self._file.identity,
            model=KnownModel.of(self._models.resolve()),
            embedder=KnownModel.of(self._models.resolve_embedder()),
        )

    def _begin(self, info: SourceInfo) -> RunInfo:
        """Write what run this is before any sink writes what it finds."""
        self._claim.begin()
        now = self._models.device
        if self._claim.earlier and self._claim.taped and (then := self._claim.earlier.then.device) != now:
            self._say(
                f"the frames on the tape were found on {then}, those to come will be on {now}: "
                "boxes may differ in their last digits"
            )
        self._write_state(self._metrics("running", None))
        return self._run_info(info)

    def _source_state_changed(self, state: FeedState, reason: str) -> None:
        # A feed may be waited for a long time, and whoever watches the folder should see that.
        self._claim.prepare()
        self._say(f"source {state}: {redact(reason)}")
        self._feed_state = (state, redact(reason))
        self._write_progress()

    def _plan(self, info: SourceInfo) -> Plan:
        self._claim.prepare()
        self._models.resolve_embedder()
        if (recorded := getattr(self._source, "detector", None)) is not None:
            return self._plan_replay(info, recorded())
        for finding in lint(self.resolved, _surroundings(info)):
            if finding.level == "warning":
                self._warnings.append(str(finding))
                self._say(f"warning: {finding}")
        # Here, where it stops the run before anything starts.
        self._models.resolve()
        return Plan(
            open_detector=self._open_detector,
            interrupt=self._models.interrupt,
            make_tracker=lambda: self._make_tracker(info),
            run_info=lambda: self._begin(info),
            is_cut=CutDetector(self._config.scene).is_cut,
            adapt=self._claim.taped.adapting(self._light.adapt) if self._claim.taped else self._light.adapt,
        )

    def _plan_replay(self, info: SourceInfo, recorded: RecordedDetector) -> Plan:
        """Return the plan for a source that brings along what a detector found: no model is needed."""
        if self._models.embedding and not recorded.pictures:
            raise ConfigError(
                f"{info.uri} has no pictures to embed: record it with --save-frames, or replay it without --embedder."
            )
        for note in recorded.notes:
            self._say(note)
        self._models.replay(recorded)
        return Plan(
            open_detector=lambda: recorded,
            make_tracker=lambda: self._make_tracker(info),
            run_info=lambda: self._begin(info),
            is_cut=recorded.is_cut,
        )

    def _open_detector(self) -> FrameDetector:
        detector = self._models.open_detector()
        return self._claim.taped.around(detector) if self._claim.taped else detector

    def _make_tracker(self, info: SourceInfo) -> ByteTracker:
        note = cache_note()
        if note:
            self._say(note)
        return make_tracker(self._config.tracker, info.sample_rate)

    def _run_info(self, info: SourceInfo) -> RunInfo:
        spec = self._models.spec
        return RunInfo(
            source=info,
            model=self._models.resolve().name,
            class_names=spec.classes,
            keypoints=spec.keypoints,
            folder=self.folder,
            settings=msgspec.to_builtins(self._config),
            run_id=self._claim.run_id,
        )

    def _make_sinks(self, *, to_stdout: bool, extra: Sequence[str | Sink]) -> list[Outlet]:
        output = self._config.output
        embedder = self._config.embedder
        own = ["stdout"] * to_stdout
        if embedder.model and self.folder is None:
            raise ConfigError("Embeddings are files in the run's folder, and there is none: name one with --out.")
        if self.folder is not None:
            own += ["jsonl", *["frames"] * output.save_frames, *["crops"] * output.save_crops]
            own += [EMBEDDINGS] * bool(embedder.model)
        # One that is asked for takes the place of the run's own: two would write the same files.
        asked = {sink.partition(":")[0] for sink in extra if isinstance(sink, str)}
        wanted = [*(sink for sink in own if sink.partition(":")[0] not in asked), *extra]
        settings = config.sink_options(self._config)
        return told_apart([self._make_sink(sink, settings) for sink in wanted])

    def _make_sink(self, sink: str | Sink, settings: Mapping[str, Mapping[str, Any]]) -> Outlet:
        if not isinstance(sink, str):
            return Outlet(type(sink).__name__, sink)
        name, factory, given = read_sink(sink)
        brought: tuple[Any, ...] = ()
        if name == EMBEDDINGS:
            if not self._config.embedder.model:
                raise ConfigError(f"The sink '{name}' needs a model: choose it with --embedder.")
            brought = (self._models.open_embedder,)
        outlet = Outlet(name, *make_sink(name, factory, brought, {**settings.get(name, {}), **given}))
        if outlet.delivery.when_full == "drop" and getattr(outlet.sink, "when_full", None) == "wait":
            self._say(f"the sink '{name}' may lose frames now: a tape or table with gaps does not tell the whole run")
        return outlet

    def _conclude(self, error: BaseException | None) -> None:
        self._endpoint.close()
        status: Status
        if isinstance(error, KeyboardInterrupt):
            status, reason = "interrupted", "interrupted"
        elif error is not None:
            status, reason = "failed", redact(f"{type(error).__name__}: {error}")
        else:
            status, reason = "complete" if self.finished else "stopped", None
        self.progress.phase = status
        if self.finished:
            self.progress.frames_total, self.progress.eta_sec = self.totals.frames, 0.0
        # A run that ended while its source was awaited has no folder yet.
        self._summary = RunSummary(self.folder if self._claim.ready else None, self._metrics(status, reason))
        metrics = self._summary.metrics
        try:
            try:
                # First: a run that says that it is complete has nothing more to write, and nothing left of one before.
                self.conclude_sinks(msgspec.to_builtins(metrics))
            except SinkError as late:
                if error is None:
                    metrics.status, metrics.error = "failed", redact(f"{type(late).__name__}: {late}")
                raise
            finally:
                if metrics.status == "complete":
                    self._claim.forget_tape()
                self._write_state(metrics)
        except SinkError:
            # A full disk must not hide the error that ended the run; without one it is the error.
            if error is None:
                raise
        finally:
            self._claim.release()

    def _write_state(self, metrics: Metrics) -> None:
        reserve = _METRICS_ROOM if metrics.status == "running" else 0
        self._claim.replace(folder.METRICS, metrics, reserve=reserve)
        self._write_progress()

    def _write_progress(self) -> None:
        # The decode thread tells of its feed, the caller's of all the rest.
        with self._state_lock:
            state, reason = self._feed_state
            told = {"source_state": state, "source_reason": reason, "reconnects": self.source_stats.reconnects}
            self._claim.replace(folder.PROGRESS, msgspec.structs.replace(self.progress, **told))

    def _measure_detector(self) -> DetectorMetrics | None:
        return measure_detector(self.totals.boxes, self._light.stats) if self.totals.boxes else None

    def _metrics(self, status: Status, reason: str | None) -> Metrics:
        ledger = self.ledger()
        models = self._models
        return Metrics(
            streamtrack_version=version("streamtrack"),
            status=status,
            error=reason,
            device=models.device,
            backend=models.backend,
            passed_over=models.passed_over,
            changed_after=models.changed_after,
            parity=models.parity,
            model=models.measure(),
            embedder=models.measure_embedder(),
            warnings=tuple(self._warnings),
            profile=self.resolved.profile,
            settings=msgspec.to_builtins(self._config),
            settings_from=self.resolved.origins,
            run_id=self._claim.run_id,
            resumed=self._claim.earlier.resumed if self._claim.earlier else None,
            source=measure_source(self, self._file.identity) if self._info else None,
            detector=self._measure_detector(),
            latency=self._latency.metrics(),
            totals={
                "frames_processed": self.totals.frames,
                "detections": self.totals.detections,
                "tracks": self.totals.tracks,
                "cuts": self.totals.cuts,
                "progress_events": self._progress_events,
            },
            frame_ledger=ledger._asdict(),
            sinks=self.sink_counts(),
            stages=measure_stages(self),
            channels=self.channel_stats(),
            speed=self._speed.metrics(),
            limits=measure_limits(self._config.runtime.threads, self._config.runtime.max_fps, self._speed),
            process=measure_process(self._watch, ledger),
        )


def _surroundings(info: SourceInfo) -> Surroundings:
    return Surroundings(
        rate=info.rate,
        sample_rate=info.sample_rate,
        live=info.live,
        width=info.width,
        height=info.height,
        cores=max(1, int(usable_cores())),
    )


def make_tracker(params: TrackerParams, sample_rate: float) -> ByteTracker:
    """Return the tracker that a run uses; a tape that is tracked again gets the same.

    Args:
        params: its settings.
        sample_rate: frames a second of media that it will see; 0 where that cannot be known.
    """
    seconds = config.lifetime(params, sample_rate).seconds
    # Frames that are looked at seldom are no gap, and where nobody knows how seldom, nothing is.
    gap_s = max(seconds, 2 / sample_rate) if sample_rate else 0.0
    tracker = ByteTracker(params, max_lost_ns=_or_never(seconds), max_gap_ns=_or_never(gap_s))
    tracker.warm_up()
    return tracker


def run(
    source: str | os.PathLike[str],
    *,
    progress: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> RunSummary:
    """Run a pipeline to the end of its source.

    Args:
        source: path of a video, URL, or ``-`` for standard input.
        progress: called after every processed frame.
        settings: as those of ``Pipeline``.

    Raises:
        StreamtrackError: one of its kinds; what was written until then is complete.
    """
    with Pipeline(source, **settings) as pipeline:
        for _ in pipeline:
            if progress:
                progress(pipeline.progress)
    return pipeline.summary()


def _or_never(seconds: float) -> int:
    """Return ``seconds`` in ns; 0 and what is too long to tell mean never."""
    return min(round(seconds * NS_PER_S), NEVER_NS) or NEVER_NS
