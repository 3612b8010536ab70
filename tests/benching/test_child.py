"""The child's own side; ``test_children`` runs it as a process."""

from pathlib import Path

import pytest

from streamtrack.benching import child
from streamtrack.benching.tasks import Failed, InferenceTask, PipelineMeasured, PipelineTask, StreamTask
from streamtrack.errors import SourceError
from streamtrack.models.spec import ModelSpec

from .samples import make_case


def test_each_task_goes_to_whom_it_is_for(clip: Path, squares: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    task = PipelineTask(clip=str(clip), profile="fast_cpu", model=str(squares), seconds=0.1)
    found = child.perform(task, ready=lambda: said.append("ready"), wait_for_go=lambda: None)
    assert isinstance(found, PipelineMeasured)
    monkeypatch.setattr("streamtrack.benching.streaming.run_stream", lambda task, ready, wait: (ready(), "stream")[1])
    stream = StreamTask(clip=str(clip), profile="fast_cpu", model=str(squares), seconds=0.1)
    assert child.perform(stream, ready=lambda: said.append("ready"), wait_for_go=lambda: None) == "stream"  # type: ignore[comparison-overlap]
    assert said == ["ready"]


def test_errors_are_told_without_passwords(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise SourceError("rtsp://me:secret@host/x refuses")

    monkeypatch.setattr(child, "perform", refused)
    task = InferenceTask(case=make_case(), path="x.onnx", spec=spec, clip="x.mp4", seconds=0)
    assert child._attempt(task, lambda answer: None) == Failed("rtsp://***@host/x refuses")


def test_any_error_is_an_answer(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(child, "perform", broken)
    task = InferenceTask(case=make_case(), path="x.onnx", spec=spec, clip="x.mp4", seconds=0)
    assert child._attempt(task, lambda answer: None) == Failed("MemoryError: no room")


def test_pools_of_libraries_are_held_to_the_threads_of_the_task(
    spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[int] = []
    monkeypatch.setattr(child, "limit_library_threads", limits.append)
    monkeypatch.setattr(child, "perform", lambda *_, **__: Failed("stand-in"))
    case = make_case(threads=3)
    tasks = [
        InferenceTask(case=case, path="x.onnx", spec=spec, clip="x.mp4", seconds=0),
        PipelineTask(clip="x.mp4", profile="fast_cpu", model="x.onnx", seconds=0),
        StreamTask(clip="x.mp4", profile="low_power", model="x.onnx", seconds=0),
    ]
    assert [child._attempt(task, lambda answer: None) for task in tasks] == [Failed("stand-in")] * 3
    assert limits == [3, 2, 1]
