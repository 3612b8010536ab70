"""The tracker over a tape: with the settings of the run its tracks again, bit for bit; with others, other tracks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from streamtrack import config, folder, registry
from streamtrack.build import make_tracker
from streamtrack.errors import ConfigError, SinkError, SourceError
from streamtrack.evaluation import Tracks
from streamtrack.metrics import Metrics, ModelMetrics, SourceMetrics, StageMetrics, Stopwatch, measure_process
from streamtrack.params import TrackerParams
from streamtrack.pipeline import Ledger
from streamtrack.tape import Tape
from streamtrack.types import CONFIRMED, Result, RunInfo

Write = Callable[[Result], None]
_SECTION = "tracker."


class Outcome(NamedTuple):
    """What came of one go over a tape."""

    tracks: Tracks
    """The boxes of confirmed tracks, as the tracker reports them, in the frames with a detection of theirs."""
    detections: int
    ignored: int
    """Detections without area, which the tracker passes over."""
    seconds: float
    """Spent in the tracker."""

    @property
    def track_count(self) -> int:
        """Tracks that were ever confirmed."""
        return len(np.unique(self.tracks.ids))

    @property
    def mean_length(self) -> float:
        """Frames with a detection, on average over the tracks."""
        return len(self.tracks.ids) / max(1, self.track_count)


@dataclass(slots=True)
class _Collected:
    """Confirmed tracks, a list of arrays with an entry per frame that has any."""

    frames: list[int] = field(default_factory=list)
    ids: list[Any] = field(default_factory=list)
    boxes: list[Any] = field(default_factory=list)

    def add(self, result: Result) -> None:
        seen = np.flatnonzero(result.tracks.states == CONFIRMED)
        if len(seen):
            self.frames.append(result.frame.index + 1)
            self.ids.append(result.tracks.ids[seen])
            self.boxes.append(result.tracks.boxes[seen])

    def tracks(self, tape: Tape) -> Tracks:
        if not self.frames:
            nothing = np.empty(0, np.int64)
            return Tracks(nothing, nothing, np.empty((0, 4)), tape.frames + 1)
        frames = np.repeat(np.array(self.frames), [len(ids) for ids in self.ids])
        return Tracks(frames, np.concatenate(self.ids), np.concatenate(self.boxes).astype(np.float64), tape.frames + 1)


def params_for(tape: Tape, overrides: Mapping[str, Any]) -> TrackerParams:
    """Return the tracker's settings: those of the run, or what is configured where there was none, and ``overrides``.

    Args:
        tape: the tape.
        overrides: dotted keys of the section ``tracker``, to values.

    Raises:
        ConfigError: a key or a value that cannot be, or settings of the run that this version does not know.
    """
    for key in overrides:
        if not key.startswith(_SECTION):
            raise ConfigError(f"Setting '{key}' has no effect on a tape: only tracker.* are used again.")
    try:
        msgspec.convert(tape.settings, TrackerParams)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"The settings of the run '{tape.source.uri}' are of another version: {' '.join(str(error).split())}."
        ) from error
    settings = {f"{_SECTION}{key}": value for key, value in tape.settings.items()}
    return config.resolve(None, settings | dict(overrides)).config.tracker


def retrack(tape: Tape, params: TrackerParams, write: Write | None = None) -> Outcome:
    """Send every frame of a tape through a new tracker.

    Args:
        tape: the tape.
        params: settings of the tracker.
        write: told the result of every frame.

    Raises:
        SourceError: a detection that the tracker refuses; the frame is named.
    """
    tracker = make_tracker(params, tape.source.sample_rate)
    collected = _Collected()
    seconds, detected = 0.0, 0
    counts = tape.box_counts or (None,) * len(tape)
    for (frame, detections), cut, box_counts in zip(tape, tape.cuts.tolist(), counts, strict=True):
        start = time.perf_counter()
        try:
            if cut:
                tracker.cut()
            tracks = tracker.update(detections, frame.pts_ns)
        except ValueError as error:
            raise SourceError(f"Frame {frame.index + tape.frames_from} of '{tape.source.uri}': {error}.") from error
        seconds += time.perf_counter() - start
        detected += len(detections)
        result = Result(frame, detections, tracks, cut, box_counts=box_counts)
        collected.add(result)
        if write:
            write(result)
    return Outcome(collected.tracks(tape), detected, tracker.ignored, seconds)


# --- what is written ---


@contextmanager
def writing_text(path: Path, tape: Tape, *, overwrite: bool) -> Iterator[Write]:
    """Write tracks to ``path`` in MOTChallenge's text format, as the tracker reports them.

    Raises:
        SinkError: it exists and may not be replaced, or it cannot be written.
    """
    _refuse_existing(path, overwrite)
    with _opened(registry.load("sinks", "mot")(path=path.name), tape, path.parent) as write:
        yield write


@contextmanager
def writing_records(path: Path, tape: Tape, *, overwrite: bool) -> Iterator[Write]:
    """Write detections with the tracks that claim them to ``path``, a line each, as a run does.

    Raises:
        SinkError: it exists and may not be replaced, or it cannot be written.
    """
    _refuse_existing(path, overwrite)
    sink = registry.load("sinks", "jsonl")(detections=path.name, frames="", tracks="")
    with _opened(sink, tape, path.parent) as write:
        yield write


@contextmanager
def writing_run(path: Path, tape: Tape, params: TrackerParams, *, overwrite: bool) -> Iterator[Write]:
    """Write what a run writes, but for pictures, into the folder ``path``: it is a tape, too.

    Raises:
        SinkError: the folder is not empty and may not be replaced, or it cannot be written.
    """
    folder.prepare(path, overwrite=overwrite)
    watch, totals = Stopwatch(), {"frames_processed": 0, "detections": 0, "tracks": 0, "cuts": 0}
    known: set[int] = set()
    samples = tape.samples_per_track or config.resolve(None, {}).config.output.samples_per_track
    with _opened(registry.load("sinks", "jsonl")(samples_per_track=samples), tape, path) as write:

        def write_and_count(result: Result) -> None:
            write(result)
            known.update(result.tracks.ids[result.tracks.states == CONFIRMED].tolist())
            totals["frames_processed"] += 1
            totals["detections"] += len(result.detections)
            totals["cuts"] += result.cut

        yield write_and_count
    totals["tracks"] = len(known)
    folder.replace_json(path / folder.METRICS, _metrics(tape, params, samples, watch, totals))


@contextmanager
def _opened(sink: Any, tape: Tape, path: Path) -> Iterator[Write]:
    keypoints = tape.found.keypoints.shape[1]
    try:
        sink.open(RunInfo(source=tape.source, model=tape.model, class_names=(), keypoints=keypoints, folder=path))
        yield sink.write
    finally:
        sink.close()


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise SinkError(f"'{path}' exists. Choose another with --out, or replace it with --overwrite.")


def _metrics(tape: Tape, params: TrackerParams, samples: int, watch: Stopwatch, totals: dict[str, int]) -> Metrics:
    source, frames = tape.source, totals["frames_processed"]
    # A tape knows only the frames that were looked at.
    ledger = Ledger(frames, 0, frames, 0, 0, 0, 0)
    return Metrics(
        streamtrack_version=version("streamtrack"),
        status="complete",
        error=None,
        device="none",
        backend="none",
        model=ModelMetrics(name=tape.model, sha256="", source="", note="not run: tracked again from a tape"),
        profile="",
        settings={"tracker": msgspec.to_builtins(params), "output": {"samples_per_track": samples}},
        settings_from={},
        source=SourceMetrics(
            uri=source.uri,
            codec=source.codec,
            width=source.width,
            height=source.height,
            fps=source.rate,
            sample_rate=source.sample_rate,
            duration_s=source.duration_s,
            sampling=source.sampling,
            live=source.live,
            frames_damaged=0,
            timestamps_repaired=0,
        ),
        totals=totals,
        frame_ledger=ledger._asdict(),
        stages={"track": StageMetrics(wall_s=round(watch.wall_s, 4), cpu_s=round(watch.cpu_s, 4), items=frames)},
        channels=[],
        process=measure_process(watch, ledger),
    )
