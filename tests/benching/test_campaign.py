from pathlib import Path
from typing import Any

import pytest

from streamtrack.benching import campaign
from streamtrack.benching.campaign import Campaign, Matrix, Plan, Step, cases_of
from streamtrack.benching.capacity import Promise
from streamtrack.benching.material import Model
from streamtrack.benching.results import Report, Runtime, StageTime
from streamtrack.benching.tasks import (
    Answer,
    Failed,
    Found,
    InferenceTask,
    Measured,
    PipelineMeasured,
    PipelineTask,
    Task,
    Unfit,
)
from streamtrack.models.heads import conventions

from .samples import make_capacity, make_report

BOX = (0.0, 0.0, 10.0, 10.0)


def plan(**changes: Any) -> Plan:
    matrix = Matrix(
        backends=("onnx", "broken:x"), devices=("cpu",), sizes=(320, 640), threads=(1, 2), batches=(1,),
        precisions=("auto",),
    )  # fmt: skip
    known: dict[str, Any] = {
        "matrix": matrix, "models": (Model("m", Path("m.onnx"), conventions("centerface", "m"), "m"),), "seconds": 1.0,
        "rounds": 2, "profiles": ("balanced",), "clip": "clip.mp4", "feed": "", "promise": None, "most_streams": 8,
        "cores": 2.0,
    }  # fmt: skip
    return Plan(**(known | changes))


def empty() -> Report:
    return make_report(status="running", runtimes=[], cases=[], pipelines=[], capacity=[])


def answer(task: Task, timeout_s: float) -> Answer:
    """A machine on which one backend is broken, one size is unfit, and one number of threads crashes."""
    if isinstance(task, PipelineTask):
        stages = {"detect": StageTime(wall_ms=1, cpu_ms=1, items=10, busy=0.5)}
        return PipelineMeasured(
            device="cpu", source_frames=100, processed_frames=20, tracks=2, wall_s=1.0, cpu_s=0.5,
            peak_memory_mb=100, stages=stages,
        )  # fmt: skip
    assert isinstance(task, InferenceTask)
    case = task.case
    if case.backend == "broken":
        return Failed("cannot be imported")
    if case.size == 640:
        return Unfit("its input is fixed at 320x320")
    if case.threads == 2:
        return Failed("crashed: killed by SIGSEGV")
    calls = [2.0] * 10 if task.seconds else []
    return Measured(
        device="cpu", input_hw=(320, 320), load_s=0.1, call_ms=calls, detect_ms=calls, wall_s=0.02, cpu_s=0.02,
        frames=len(calls), peak_memory_mb=100, preprocess_ms=0.1, postprocess_ms=0.1, joules=None, energy_source="",
        found=[Found([BOX], [0.9], [0])],
    )  # fmt: skip


def conduct(what: Plan, report: Report, run: Any = answer) -> list[Step]:
    steps: list[Step] = []
    Campaign(what, report, on_step=steps.append, on_result=lambda: None, run=run).conduct()
    return steps


def test_every_case_is_kept_whatever_became_of_it() -> None:
    report = empty()
    steps = conduct(plan(), report)
    assert [(each.backend, each.available, each.reason) for each in report.runtimes] == [
        ("onnx", True, ""),
        ("broken", False, "cannot be imported"),
    ]
    outcomes = [(each.case.size, each.case.threads, each.outcome, each.rounds) for each in report.cases]
    assert outcomes == [(320, 1, "ok", 2), (320, 2, "failed", 0), (640, 1, "skipped", 0), (640, 2, "skipped", 0)]
    done = report.cases[0]
    assert done.agreement is not None
    assert (done.agreement.expected, done.agreement.missing, done.agreement.mean_iou) == (1, 0, 1.0)
    assert (done.calls, done.input_hw) == (20, (320, 320))
    assert done.figures is not None
    assert done.figures.fps == 500.0
    (pipeline,) = report.pipelines
    assert (pipeline.rounds, pipeline.figures["source_fps"]) == (2, 100.0)
    assert steps[-1].done < steps[-1].total
    assert all(step.eta_s is None or step.eta_s >= 0 for step in steps)


def test_a_failure_is_not_repeated() -> None:
    asked: list[tuple[int, int]] = []

    def run(task: Task, timeout_s: float) -> Answer:
        if isinstance(task, InferenceTask) and task.seconds:
            asked.append((task.case.size, task.case.threads))
        return answer(task, timeout_s)

    conduct(plan(rounds=3), empty(), run)
    assert sorted(asked) == [(320, 1)] * 3 + [(320, 2), (640, 1), (640, 2)]


def test_an_interrupt_keeps_what_was_done() -> None:
    report, seen = empty(), 0

    def run(task: Task, timeout_s: float) -> Answer:
        nonlocal seen
        seen += 1
        if seen == 6:
            raise KeyboardInterrupt
        return answer(task, timeout_s)

    with pytest.raises(KeyboardInterrupt):
        conduct(plan(), report, run)
    assert [each.outcome for each in report.cases] == ["ok", "failed"]


def test_no_reference_is_no_agreement() -> None:
    def run(task: Task, timeout_s: float) -> Answer:
        return Failed("no") if isinstance(task, InferenceTask) and task.case.precision == "fp32" else answer(task, 1)

    report = empty()
    conduct(plan(), report, run)
    assert report.cases[0].agreement is None


def test_a_promise_is_asked_about_for_each_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(task: Any, promise: Promise, cores: float, tell: Any, most: int) -> Any:
        found = make_capacity(3)
        found.model = task.model
        for trial in found.trials:
            tell(trial)
        assert (task.clip, task.profile, task.model, cores, most) == ("feed.mkv", "balanced", "there/m.onnx", 2.0, 8)
        return found

    monkeypatch.setattr(campaign, "measure_capacity", measure)
    report = empty()
    written = plan().models[0]._replace(written="there/m.onnx")
    steps = conduct(plan(promise=Promise(95, 200.0), feed="feed.mkv", models=(written,)), report)
    assert [(each.streams, each.model) for each in report.capacity] == [(3, "m")]
    assert steps[-1].label == "4 streams, profile balanced: not held: p95 late"


def test_cases_are_those_of_the_runtimes_that_work() -> None:
    runtimes = [Runtime(backend="onnx", provider="cuda", device="cuda", available=True)]
    cases = [case for _, case in cases_of(plan(), runtimes)]
    assert [(case.runtime, case.size, case.threads) for case in cases] == [
        ("onnx:cuda cuda", size, threads) for size in (320, 640) for threads in (1, 2)
    ]
