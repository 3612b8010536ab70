"""The whole pipeline in a process of its own: over a file as fast as it goes, or on a live feed at its pace."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from streamtrack.benching.inference import peak_memory_mb
from streamtrack.benching.results import StageTime
from streamtrack.benching.tasks import PipelineMeasured, PipelineTask, StreamMeasured, StreamTask
from streamtrack.build import Pipeline
from streamtrack.errors import SourceError
from streamtrack.types import Result


class _Moment(NamedTuple):
    """What a pipeline had done at one moment."""

    wall_s: float
    cpu_s: float
    processed: int
    clocks: Mapping[str, tuple[float, float, int]]
    tracks: int
    frame_index: int
    """Of the latest result: the decoder is ahead of it."""


def _now(pipeline: Pipeline, result: Result) -> _Moment:
    clocks = {name: (clock.wall_s, clock.cpu_s, clock.items) for name, clock in pipeline.clocks.items()}
    wall_s, cpu_s, totals = time.perf_counter(), time.process_time(), pipeline.totals
    return _Moment(wall_s, cpu_s, totals.frames, clocks, totals.tracks, result.frame.index)


def _stages(begin: _Moment, end: _Moment) -> dict[str, StageTime]:
    wall_s, stages = end.wall_s - begin.wall_s, {}
    for name, (wall, cpu, items) in end.clocks.items():
        wall0, cpu0, items0 = begin.clocks[name]
        count = items - items0
        per_item = 1000 / count if count else 0.0
        stages[name] = StageTime(
            wall_ms=round((wall - wall0) * per_item, 4),
            cpu_ms=round((cpu - cpu0) * per_item, 4),
            items=count,
            # A clock moves when a piece of work is done: one that was begun before counts whole.
            busy=min(1.0, round((wall - wall0) / wall_s, 4)) if wall_s else 0.0,
        )
    return stages


def run_pipeline(task: PipelineTask) -> PipelineMeasured:
    """Run a profile over a file, with all that it writes; loading and the first result are not in the figures.

    Raises:
        StreamtrackError: it fails, or the clip is too short to measure.
    """
    begin = end = None
    with (
        tempfile.TemporaryDirectory() as folder,
        Pipeline(task.clip, profile=task.profile, model=task.model, out=Path(folder) / "run", say=_silent) as pipeline,
    ):
        for result in pipeline:
            end = _now(pipeline, result)
            begin = begin or end
            if end.wall_s - begin.wall_s >= task.seconds:
                break
    device = pipeline.summary().metrics.device
    if begin is None or end is None or end.wall_s <= begin.wall_s:
        raise SourceError(f"The clip {task.clip} is too short to measure profile {task.profile} with.")
    return PipelineMeasured(
        device=device,
        source_frames=end.frame_index - begin.frame_index,
        processed_frames=end.processed - begin.processed,
        tracks=end.tracks,
        wall_s=end.wall_s - begin.wall_s,
        cpu_s=end.cpu_s - begin.cpu_s,
        peak_memory_mb=peak_memory_mb(),
        stages=_stages(begin, end),
    )


def run_stream(task: StreamTask, ready: Callable[[], None], wait_for_go: Callable[[], None]) -> StreamMeasured:
    """Run a profile on a clip that is played as a camera would show it.

    Args:
        task: what to run.
        ready: called when the first result is there.
        wait_for_go: returns when to measure, in a thread of its own; the stream runs on meanwhile.

    Raises:
        StreamtrackError: it fails.
    """
    going = threading.Event()
    begin = end = None
    ages: list[float] = []
    with Pipeline(f"chaos:{task.clip}", profile=task.profile, model=task.model, say=_silent) as pipeline:
        for result in pipeline:
            now = time.perf_counter()
            if pipeline.totals.frames == 1:
                ready()
                # A daemon: where the parent is gone, nobody will ever say go.
                threading.Thread(target=_set_after, args=(wait_for_go, going), daemon=True).start()
            if begin is not None:
                ages.append(round(result.age_ms or 0.0, 2))
                if now - begin.wall_s >= task.seconds:
                    end = _now(pipeline, result)
                    break
            elif going.is_set():
                begin = _now(pipeline, result)
        rate = pipeline.info.sample_rate or pipeline.info.rate
    device = pipeline.summary().metrics.device
    if begin is None or end is None:
        raise SourceError(f"The feed of {task.clip} ended before it was measured.")
    return StreamMeasured(
        device=device,
        age_ms=ages,
        wanted=rate * (end.wall_s - begin.wall_s),
        processed=end.processed - begin.processed,
        wall_s=end.wall_s - begin.wall_s,
        cpu_s=end.cpu_s - begin.cpu_s,
        peak_memory_mb=peak_memory_mb(),
        stages=_stages(begin, end),
    )


def _set_after(wait: Callable[[], None], event: threading.Event) -> None:
    wait()
    event.set()


def _silent(text: str) -> None:
    """Tell nobody: the report has it all."""
