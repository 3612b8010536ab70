"""A build tells how far it is, can be ended, and uses what earlier ones measured."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_trt import FakeTensorRT

from streamtrack.api import BackendOptions
from streamtrack.errors import ModelLoadError
from streamtrack.models.spec import ModelSpec
from streamtrack_tensorrt import building
from streamtrack_tensorrt.building import Interrupted, Order, Progress, build_interruptibly, precision_for
from streamtrack_tensorrt.graph import read_graph, shape_range
from streamtrack_tensorrt.runtime import load_runtime

SPEC = ModelSpec(name="m", head="auto")


def order(model: Path) -> Order:
    graph = read_graph(model, SPEC, BackendOptions())
    return Order(model, graph, shape_range(graph.shape, SPEC, 2), "fp32")


def build(model: Path, timing: bytes = b"", said: list[str] | None = None) -> building.Built:
    told = said if said is not None else []
    return build_interruptibly(load_runtime(), order(model), timing, told.append, threading.Event())


def test_the_timing_cache_of_the_last_build_goes_on_and_a_foreign_one_does_not(
    trt: FakeTensorRT, write: Callable[..., Path]
) -> None:
    model = write((1, 3, 64, 64))
    first = build(model).timing
    assert build(model, first + b" and more").timing == first + b" and more"
    assert build(model, b"timing of something else").timing == first


def test_progress_is_said_now_and_then(
    trt10: FakeTensorRT, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "_SAY_EVERY_S", 0.0)
    monkeypatch.setattr(building, "_POLL_S", 0.001)
    said: list[str] = []
    spoken = threading.Event()
    trt10.on_step = lambda: spoken.wait(0.05)
    build(write((1, 3, 64, 64)), said=said)
    assert "building a TensorRT engine: Building 0/2, Tactics 1/3" in said
    assert len(set(said)) == len(said)


def test_ctrl_c_while_it_builds_ends_it(trt10: FakeTensorRT, write: Callable[..., Path]) -> None:
    trt10.steps = 10**9

    def say(text: str) -> None:
        if "this takes minutes" not in text:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "_SAY_EVERY_S", 0.0)
        with pytest.raises(KeyboardInterrupt):
            build_interruptibly(load_runtime(), order(write((1, 3, 64, 64))), b"", say, threading.Event())
    assert "streamtrack-engine-build" not in {thread.name for thread in threading.enumerate()}


def test_a_stop_that_was_asked_for_before(trt10: FakeTensorRT, write: Callable[..., Path]) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted, match=r"model\.onnx was interrupted"):
        build_interruptibly(load_runtime(), order(write((1, 3, 64, 64))), b"", print, stop)


def test_a_graph_that_the_parser_refuses(trt10: FakeTensorRT, write: Callable[..., Path]) -> None:
    wanted = order(write((1, 3, 64, 64)))
    spoiled = wanted._replace(graph=wanted.graph._replace(onnx=b"no graph"))
    with pytest.raises(ModelLoadError, match=r"model\.onnx cannot be used with TensorRT: In node 0"):
        build_interruptibly(load_runtime(), spoiled, b"", lambda text: None, threading.Event())


def test_phases_within_phases() -> None:
    progress = Progress(threading.Event())
    assert progress.text() == ""
    progress.set("outer", 0, 4)
    progress.set("inner", 2, 9)
    assert progress.text() == "building a TensorRT engine: outer 0/4, inner 2/9"
    progress.finish("inner")
    progress.finish("inner")
    progress.set("outer", 1)
    assert progress.text() == "building a TensorRT engine: outer 1/4"
    assert not progress.cancelled
    progress.cancel()
    assert progress.cancelled


@pytest.mark.parametrize(
    ("wanted", "quantised", "precision"),
    [
        ("auto", False, "fp16"),
        ("auto", True, "int8"),
        ("fp32", True, "fp32"),
        ("fp16", False, "fp16"),
        ("int8", True, "int8"),
    ],
)
def test_the_precision(
    trt: FakeTensorRT, write: Callable[..., Path], wanted: str, quantised: bool, precision: str
) -> None:
    model = write((1, 3, 64, 64), quantised=quantised)
    graph = read_graph(model, SPEC, BackendOptions())
    found, converted = precision_for(wanted, graph, load_runtime(), model, lambda text: None)
    assert found == precision
    assert (converted != graph) == (precision == "fp16" and trt.__version__.startswith("11"))
