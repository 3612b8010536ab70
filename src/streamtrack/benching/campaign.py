"""A whole benchmark: which cases there are, in which order they run, and what is kept of each."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec

from streamtrack.benching import children
from streamtrack.benching.agreement import agreement
from streamtrack.benching.capacity import Promise, measure_capacity
from streamtrack.benching.figures import pooled, spreads
from streamtrack.benching.material import Model
from streamtrack.benching.results import Case, CaseResult, PipelineResult, Report, Runtime, Trial
from streamtrack.benching.tasks import (
    Answer,
    Failed,
    Found,
    InferenceTask,
    Measured,
    PipelineMeasured,
    PipelineTask,
    StreamTask,
    Unfit,
)

_LOAD_S = 60.0
"""Time to load and warm up, beyond the time measured; an engine may have to be built first."""
_BUILD_S = 1800.0
_OVERHEAD_S = 3.0
"""Guess of what a child costs besides its measuring, for the first estimate of the time left."""

REFERENCE = Case(backend="onnx", device="cpu", model="", size=0, precision="fp32", provider="")


class Matrix(msgspec.Struct, frozen=True, kw_only=True):
    """What is varied."""

    backends: tuple[str, ...]
    """``NAME`` or ``NAME:PROVIDER``."""
    devices: tuple[str, ...]
    sizes: tuple[int, ...]
    threads: tuple[int, ...]
    batches: tuple[int, ...]
    precisions: tuple[str, ...]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a benchmark does."""

    matrix: Matrix
    models: tuple[Model, ...]
    seconds: float
    rounds: int
    profiles: tuple[str, ...]
    clip: str
    feed: str
    """The clip at the pace of a feed; empty where no promise is asked about."""
    promise: Promise | None
    most_streams: int
    cores: float
    cache_dir: str = ""


class Step(msgspec.Struct, frozen=True):
    """Where a benchmark is."""

    done: int
    total: int
    label: str
    eta_s: float | None


class Campaign:
    """Fills a report.

    Args:
        plan: what to do.
        report: where results go, from the first one on.
        on_step: called before each step.
        on_result: called after each.
        run: runs one task in a child process.
    """

    def __init__(
        self,
        plan: Plan,
        report: Report,
        *,
        on_step: Callable[[Step], None],
        on_result: Callable[[], None],
        run: Callable[[msgspec.Struct, float], Answer] = children.run,  # type: ignore[assignment]
    ) -> None:
        self._plan, self._report = plan, report
        self._on_step, self._on_result, self._run = on_step, on_result, run
        self._measured: dict[Case, list[Measured]] = {}
        self._references: dict[tuple[str, int], list[Found] | None] = {}
        self._pipelines: dict[str, list[PipelineMeasured]] = {}
        self._started, self._done, self._total = time.monotonic(), 0, 0

    def conduct(self) -> None:
        """Do it all. An interrupt leaves in the report what was done until then."""
        runtimes = self._usable()
        cases = list(cases_of(self._plan, runtimes))
        plan = self._plan
        self._total = self._done + plan.rounds * (len(cases) + len(plan.profiles))
        self._total += len(plan.profiles) * (plan.promise is not None)
        # Round by round, so that what changes meanwhile (heat, other work) shows as spread, not as a difference.
        for number in range(plan.rounds):
            for model, case in cases:
                self._measure(model, case, number)
        for number in range(plan.rounds):
            for profile in plan.profiles:
                self._measure_pipeline(profile, number)
        for profile in plan.profiles if plan.promise else ():
            self._measure_capacity(profile)

    def _step(self, label: str) -> None:
        spent = time.monotonic() - self._started
        each = spent / self._done if self._done else self._plan.seconds + _OVERHEAD_S
        left = (self._total - self._done) * each if self._total else None
        self._on_step(Step(self._done, self._total, label, left))
        self._done += 1

    def _usable(self) -> list[Runtime]:
        """Load the first model on every runtime and device, and note which of them work."""
        matrix, found = self._plan.matrix, []
        for written, device in itertools.product(matrix.backends, matrix.devices):
            backend, _, provider = written.partition(":")
            case = Case(backend=backend, provider=provider, device=device, model=self._plan.models[0].name, size=0)
            self._step(f"looking whether {case.runtime} works")
            answer = self._run(self._task(self._plan.models[0], case, 0.0), _BUILD_S)
            reason = answer.reason if isinstance(answer, Failed) else ""
            found.append(
                Runtime(backend=backend, provider=provider, device=device, available=not reason, reason=reason)
            )
        self._report.runtimes = found
        self._on_result()
        return [runtime for runtime in found if runtime.available]

    def _task(self, model: Model, case: Case, seconds: float) -> InferenceTask:
        return InferenceTask(
            case=case,
            path=str(model.path),
            spec=model.spec,
            clip=self._plan.clip,
            seconds=seconds,
            cache_dir=self._plan.cache_dir,
        )

    def _measure(self, model: Model, case: Case, number: int) -> None:
        result = next((known for known in self._report.cases if known.case == case), None)
        if result is not None and result.outcome != "ok":
            self._done += 1
            return
        self._step(case.label + (f", round {number + 1}" if self._plan.rounds > 1 else ""))
        seconds = self._plan.seconds / self._plan.rounds
        answer = self._run(self._task(model, case, seconds), seconds + (_LOAD_S if number else _BUILD_S))
        if result is None:
            result = CaseResult(case=case, outcome="ok")
            self._report.cases.append(result)
        if isinstance(answer, Measured):
            self._keep(model, result, answer)
        else:
            result.outcome = "skipped" if isinstance(answer, Unfit) else "failed"
            result.reason = getattr(answer, "reason", "an answer of the wrong kind")
        self._on_result()

    def _keep(self, model: Model, result: CaseResult, measured: Measured) -> None:
        known = self._measured.setdefault(result.case, [])
        if not known:
            reference = self._reference(model, result.case.size)
            result.agreement = agreement(reference, measured.found) if reference else None
            result.ran_on, result.input_hw, result.load_s = measured.device, measured.input_hw, measured.load_s
        known.append(measured)
        result.rounds, result.calls = len(known), sum(len(each.call_ms) for each in known)
        result.energy_source = measured.energy_source
        result.figures, result.spread = pooled(known)

    def _reference(self, model: Model, size: int) -> list[Found] | None:
        """Return what ONNX Runtime on the CPU finds in fp32; None where it cannot run the model."""
        key = (model.name, size)
        if key not in self._references:
            case = msgspec.structs.replace(REFERENCE, model=model.name, size=size)
            answer = self._run(self._task(model, case, 0.0), _LOAD_S)
            self._references[key] = answer.found if isinstance(answer, Measured) else None
        return self._references[key]

    def _measure_pipeline(self, profile: str, number: int) -> None:
        model = self._plan.models[0]
        result = next((known for known in self._report.pipelines if known.profile == profile), None)
        if result is not None and result.outcome != "ok":
            self._done += 1
            return
        self._step(f"pipeline, profile {profile}" + (f", round {number + 1}" if self._plan.rounds > 1 else ""))
        task = PipelineTask(
            clip=self._plan.clip, profile=profile, model=model.written, seconds=max(2.0, self._plan.seconds)
        )
        answer = self._run(task, task.seconds + _BUILD_S)
        if result is None:
            result = PipelineResult(profile=profile, model=model.name, outcome="ok")
            self._report.pipelines.append(result)
        if isinstance(answer, PipelineMeasured):
            rounds = self._pipelines.setdefault(profile, [])
            rounds.append(answer)
            _fill(result, rounds)
        else:
            result.outcome, result.reason = "failed", getattr(answer, "reason", "an answer of the wrong kind")
        self._on_result()

    def _measure_capacity(self, profile: str) -> None:
        plan = self._plan
        assert plan.promise
        self._step(f"streams at {plan.promise}, profile {profile}")
        position, total = self._done, self._total

        def tell(trial: Trial) -> None:
            verdict = "held" if trial.held else f"not held: {trial.why}"
            label = f"{trial.streams} stream{'s' * (trial.streams != 1)}, profile {profile}: {verdict}"
            self._on_step(Step(position, total, label, None))

        task = StreamTask(clip=plan.feed, profile=profile, model=plan.models[0].written, seconds=max(4.0, plan.seconds))
        result = measure_capacity(task, plan.promise, plan.cores, tell, plan.most_streams)
        # Not where its file lies: reports of two machines are compared.
        result.model = plan.models[0].name
        self._report.capacity.append(result)
        self._on_result()


def cases_of(plan: Plan, runtimes: Sequence[Runtime]) -> Iterator[tuple[Model, Case]]:
    """Yield every case of a plan on the runtimes that work, the fastest varying last."""
    matrix = plan.matrix
    for runtime, model, precision in itertools.product(runtimes, plan.models, matrix.precisions):
        for size, threads, batch in itertools.product(matrix.sizes, matrix.threads, matrix.batches):
            yield (
                model,
                Case(
                    backend=runtime.backend,
                    provider=runtime.provider,
                    device=runtime.device,
                    model=model.name,
                    size=size,
                    threads=threads,
                    batch=batch,
                    precision=precision,
                ),
            )


def _fill(result: PipelineResult, rounds: Sequence[PipelineMeasured]) -> None:
    """Put the mean of the rounds into a result."""
    each = [
        {
            "source_fps": run.source_frames / run.wall_s,
            "processed_fps": run.processed_frames / run.wall_s,
            "cpu_percent": 100 * run.cpu_s / run.wall_s,
            "cpu_ms_per_source_frame": 1000 * run.cpu_s / run.source_frames if run.source_frames else 0.0,
            "peak_memory_mb": run.peak_memory_mb,
        }
        for run in rounds
    ]
    last = rounds[-1]
    result.rounds, result.device, result.stages = len(rounds), last.device, last.stages
    result.source_frames, result.processed_frames = last.source_frames, last.processed_frames
    result.tracks = last.tracks
    result.figures = {name: round(sum(run[name] for run in each) / len(each), 3) for name in each[0]}
    result.spread = spreads(each)
