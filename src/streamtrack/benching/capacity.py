"""How many live streams a machine holds: a promise about latency, and a search for the most that keep it."""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from streamtrack.benching.children import Child
from streamtrack.benching.results import CapacityResult, Trial
from streamtrack.benching.tasks import Failed, Ready, StreamMeasured, StreamTask
from streamtrack.errors import ConfigError

MOST_STREAMS = 256
KEPT = 0.99
"""A stream is held if it processed at least so much of what the profile wants, latency aside: a live feed that is too
slow drops frames rather than being late."""
_START_S, _START_S_EACH = 60.0, 10.0
_SATURATED = 0.85
_BUSY = 0.9


class Promise(NamedTuple):
    """Such as ``p95=200ms``: 95 % of a stream's frames have their tracks within 200 ms."""

    percentile: int
    limit_ms: float

    def __str__(self) -> str:
        return f"p{self.percentile}={self.limit_ms:g}ms"


def parse_promise(text: str) -> Promise:
    """Read what ``--slo`` says.

    Raises:
        ConfigError: it is not like ``p95=200ms`` or ``p99=0.5s``.
    """
    found = re.fullmatch(r"p(\d{1,2})=(\d+(?:\.\d+)?)(ms|s)", text.strip())
    if not found or not 1 <= int(found[1]) <= 99 or float(found[2]) <= 0:
        raise ConfigError(f"--slo {text} cannot be read: write a percentile and a limit, such as p95=200ms.")
    return Promise(int(found[1]), float(found[2]) * (1000 if found[3] == "s" else 1))


def search(holds: Callable[[int], bool], most: int = MOST_STREAMS) -> int:
    """Return the largest number up to ``most`` that ``holds``, 0 if 1 does not.

    Doubles until it fails, then halves the gap: about 2 log2(n) trials. ``holds`` is taken to be monotonic.
    """
    held, failed = 0, most + 1
    step = 1
    while step < failed:
        if not holds(step):
            failed = step
        else:
            held, step = step, min(2 * step, most) if step < most else failed
    while failed - held > 1:
        middle = (held + failed) // 2
        if holds(middle):
            held = middle
        else:
            failed = middle
    return held


def measure_capacity(
    task: StreamTask, promise: Promise, cores: float, tell: Callable[[Trial], None], most: int = MOST_STREAMS
) -> CapacityResult:
    """Return how many streams as ``task`` says are held at once, each in a process of its own.

    Args:
        task: one stream.
        promise: what each must keep.
        cores: processors that this process may use.
        tell: called after each trial.
        most: try no more than this.
    """
    trials: list[Trial] = []
    devices: Counter[str] = Counter()

    def holds(count: int) -> bool:
        outcome = run_streams(task, count)
        trial = Trial(streams=count, held=False, latency_ms=0, kept=0, cpu_percent=0, memory_mb=0, why=str(outcome))
        if not isinstance(outcome, str):
            trial = judge(outcome.streams, promise)
            trial.machine_percent = outcome.machine_percent
            devices.update(stream.device for stream in outcome.streams)
        trials.append(trial)
        tell(trial)
        return trial.held

    result = CapacityResult(profile=task.profile, model=task.model, promise=str(promise), outcome="ok")
    result.streams = search(holds, most)
    result.trials = sorted(trials, key=lambda trial: trial.streams)
    failed = [trial for trial in result.trials if not trial.held]
    if failed and not any(trial.cpu_percent for trial in trials):
        result.outcome, result.reason = "failed", failed[0].why
    elif failed:
        # A trial that could not even be run has no figures, only a reason.
        ran = failed[0].cpu_percent > 0
        result.limited_by = limit(failed[0], cores, next(iter(devices), "cpu")) if ran else failed[0].why
    else:
        result.limited_by = f"nothing up to {most} streams, where the search ended"
    return result


class SideBySide(NamedTuple):
    """What became of streams that ran at once."""

    streams: list[StreamMeasured]
    machine_percent: float | None
    """What part of all processors was busy while they were measured, by whatever; None where it cannot be told."""


def run_streams(task: StreamTask, count: int) -> SideBySide | str:
    """Run ``count`` streams side by side and return what became of each; text where one failed."""
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(Child(task)) for _ in range(count)]
        deadline = time.monotonic() + _START_S + _START_S_EACH * count
        for child in children:
            first = child.answer(max(1.0, deadline - time.monotonic()))
            if not isinstance(first, Ready):
                return _failure(first)
        for child in children:
            child.go()
        deadline = time.monotonic() + 2 * task.seconds + _START_S
        # Not from their start on: that loads every processor, and is not measured of the streams either.
        before, outcomes, machine_percent = busy_ticks(), [], None
        for child in children:
            outcomes.append(child.answer(max(1.0, deadline - time.monotonic())))
            machine_percent = machine_percent or busy_percent(before, busy_ticks())
    measured = [outcome for outcome in outcomes if isinstance(outcome, StreamMeasured)]
    if len(measured) < count:
        return _failure(next(outcome for outcome in outcomes if not isinstance(outcome, StreamMeasured)))
    return SideBySide(measured, machine_percent)


def _failure(answer: object) -> str:
    return answer.reason if isinstance(answer, Failed) else f"an unexpected answer, {type(answer).__name__}"


def judge(streams: Sequence[StreamMeasured], promise: Promise) -> Trial:
    """Say whether every stream kept the promise and its frames."""
    latencies = [float(np.percentile(stream.age_ms, promise.percentile, method="inverted_cdf")) for stream in streams]
    # At the edges of the time measured there is a frame more or less.
    kept = [min(1.0, (stream.processed + 1) / stream.wanted) if stream.wanted else 1.0 for stream in streams]
    stages: Counter[str] = Counter()
    for stream in streams:
        for name, stage in stream.stages.items():
            stages[name] += stage.cpu_ms * stage.items / 1000 / stream.wall_s  # type: ignore[assignment]
    why = []
    if max(latencies) > promise.limit_ms:
        why.append(f"p{promise.percentile} {max(latencies):.0f} ms")
    if min(kept) < KEPT:
        why.append(f"{100 * min(kept):.0f} % of the wanted frames processed")
    return Trial(
        streams=len(streams),
        held=not why,
        latency_ms=round(max(latencies), 1),
        kept=round(min(kept), 4),
        cpu_percent=round(sum(100 * stream.cpu_s / stream.wall_s for stream in streams), 1),
        memory_mb=round(sum(stream.peak_memory_mb for stream in streams), 1),
        why="; ".join(why),
        stages={name: round(float(share), 4) for name, share in stages.items()},
    )


def busy_ticks(stat: Path = Path("/proc/stat")) -> tuple[int, int] | None:
    """Return the busy and all ticks of all processors since the machine started; None but on Linux."""
    try:
        fields = [int(field) for field in stat.read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    idle = sum(fields[3:5])  # idle, iowait; see proc_stat(5)
    return sum(fields) - idle, sum(fields)


def busy_percent(before: tuple[int, int] | None, after: tuple[int, int] | None) -> float | None:
    """Return what part of all processors was busy between two readings."""
    if not before or not after or after[1] <= before[1]:
        return None
    return round(100 * (after[0] - before[0]) / (after[1] - before[1]), 1)


def limit(trial: Trial, cores: float, device: str) -> str:
    """Say in words what was used up in a trial that was not held."""
    used = trial.cpu_percent / 100 / cores
    busiest, share = max(trial.stages.items(), key=lambda item: item[1], default=("", 0.0))
    if used >= _SATURATED:
        told = f"the processor ({100 * used:.0f} % of {cores:g} cores"
        return f"{told}, most of it in the thread that does '{busiest}')" if busiest else f"{told})"
    if (trial.machine_percent or 0) >= 100 * _SATURATED:
        return f"other work: the processors are at {trial.machine_percent:.0f} %, the streams at {100 * used:.0f} %"
    if share >= _BUSY * trial.streams:
        return f"one thread: '{busiest}' is busy all the time, and one stream cannot use more"
    if device not in ("cpu", ""):
        return f"the device ({device}): the processor is at {100 * used:.0f} %"
    return f"latency alone: the processor is at {100 * used:.0f} % of {cores:g} cores"
