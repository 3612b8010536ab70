"""A detector opened with fake accelerators: what runs in the end, what is said, what is remembered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import streamtrack
from streamtrack import registry
from streamtrack.api import BackendOptions, Session, Tensors
from streamtrack.errors import BackendError, InferenceError, ModelLoadError
from streamtrack.metrics import Metrics
from streamtrack.models.parity import CheckedDetector
from streamtrack.models.spec import ModelSpec
from streamtrack.models.zoo import ResolvedModel
from streamtrack.opening import (
    VERDICTS,
    Opened,
    OpenedEmbedder,
    Wanted,
    WantedEmbedder,
    open_detector,
    open_embedder,
)
from streamtrack.settings import DetectorConfig, EmbedderConfig, RuntimeConfig
from streamtrack.testing.clips import write_clip
from streamtrack.testing.models import square_frames, write_quarters_embedder, write_square_detector
from streamtrack.testing.results import ArrayPicture
from streamtrack.types import Frame
from streamtrack_onnx import OnnxBackend

PATHS = [(40.0, 60.0, 4.0, 0.0), (500.0, 250.0, -3.0, 1.0)]
_LONG_S = 0.2


class FakeSession:
    """The CPU in disguise, with the faults that accelerators have."""

    def __init__(self, inner: Session, backend: FakeBackend, device: str) -> None:
        self._inner, self._backend = inner, backend
        self.device, self.precision = device, backend.precision
        self.max_batch, self.outputs, self.input_shape = inner.max_batch, inner.outputs, inner.input_shape

    def run(self, batch: np.ndarray) -> Tensors:
        backend = self._backend
        backend.runs += 1
        if backend.runs == backend.fails_at:
            raise InferenceError("the device fell off the bus.")
        time.sleep(_LONG_S if backend.slow else 0)
        tensors = {name: tensor.copy() for name, tensor in self._inner.run(batch).items()}
        if "offset" in tensors:
            tensors["offset"] += backend.drift_px / 4
        return tensors

    def close(self) -> None:
        self._inner.close()
        self._backend.closed += 1


class FakeBackend:
    """Called like the backend it stands for; also its own factory."""

    def __init__(self, name: str, *, precision: str = "fp32", drift_px: float = 0.0, slow: bool = False) -> None:
        self.name, self.precision, self.drift_px, self.slow = name, precision, drift_px, slow
        self.fails_at = self.runs = self.loads = self.closed = 0
        self.refuses = ""
        self.asked: list[BackendOptions] = []

    def __call__(self) -> FakeBackend:
        return self

    def unavailable(self, device: str) -> str | None:
        return None if device == "cuda" else "cuda only"

    def load(self, model: Path, spec: ModelSpec, options: BackendOptions) -> FakeSession:
        self.loads += 1
        self.asked.append(options)
        if self.refuses:
            raise ModelLoadError(self.refuses)
        inner = OnnxBackend().load(model, spec, BackendOptions(device="cpu", threads=1))
        return FakeSession(inner, self, options.device)


class SlowCpu:
    """ONNX Runtime on the CPU, slowed down: beside it a fake accelerator is fast, however busy the machine is."""

    def __init__(self) -> None:
        self.loads: list[BackendOptions] = []
        self.slow = True

    def __call__(self) -> SlowCpu:
        return self

    name = "onnx"

    def unavailable(self, device: str) -> str | None:
        return None if device == "cpu" else f"no {device} here"

    def load(self, model: Path, spec: ModelSpec, options: BackendOptions) -> Session:
        self.loads.append(options)
        session = OnnxBackend().load(model, spec, options)
        run = session.run

        def slowly(batch: Any) -> Tensors:
            time.sleep(_LONG_S if self.slow else 0)
            return run(batch)

        session.run = slowly  # type: ignore[method-assign]
        return session


class Bench:
    """A machine with one fake accelerator."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write_square_detector(folder / "squares.onnx")
        self.model = ResolvedModel(path, ModelSpec(name="squares", head="auto"), "0" * 64, "squares", "file")
        self.cache, self.said = folder / "cache", list[str]()
        self.fake, self.cpu = FakeBackend("tensorrt"), SlowCpu()
        load = registry.load

        def installed(kind: str, name: str) -> Any:
            return {"tensorrt": self.fake, "onnx": self.cpu}.get(name) if kind == "backends" else load(kind, name)

        monkeypatch.setattr(registry, "load", installed)
        known = [each for each in streamtrack_order() if each.backend != "coreml"]
        monkeypatch.setattr("streamtrack.devices.ORDER", tuple(known))

    def open(self, **runtime: Any) -> Opened:
        settings = RuntimeConfig(**{"threads": 1, "parity_frames": 3, **runtime})
        return open_detector(Wanted(self.model, DetectorConfig(), settings, self.cache, self.said.append))

    def detect(self, opened: Opened, count: int = 6) -> list[np.ndarray]:
        pictures = square_frames(count, PATHS)
        frames = [Frame(n, n, 640, 384, ArrayPicture(picture)) for n, picture in enumerate(pictures)]
        try:
            return [opened.detector.detect([frame])[0].boxes for frame in frames]
        finally:
            opened.detector.close()


def streamtrack_order() -> tuple[Any, ...]:
    from streamtrack.devices import ORDER

    return ORDER


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_one_that_agrees_is_used_and_not_tried_again(bench: Bench) -> None:
    opened = bench.open()
    assert isinstance(opened.detector, CheckedDetector)
    boxes = bench.detect(opened)
    assert [len(each) for each in boxes] == [2] * 6
    assert opened.parity is not None
    assert (opened.backend, opened.parity.verdict, opened.parity.remembered) == ("tensorrt", "agreed", False)
    assert (bench.fake.runs, bench.said, opened.passed) == (6, [], ())
    again = bench.open()
    assert not isinstance(again.detector, CheckedDetector)
    assert again.parity == msgspec.structs.replace(opened.parity, remembered=True)
    np.testing.assert_array_equal(bench.detect(again), boxes)
    assert len(bench.cpu.loads) == 1
    assert bench.fake.closed == 2


def test_the_backend_is_told_what_was_set(bench: Bench) -> None:
    opened = bench.open(precision="fp16", threads=3, device="cuda")
    opened.detector.close()
    (asked,) = bench.fake.asked
    assert (asked.device, asked.precision, asked.threads, asked.cache_dir) == ("cuda", "fp16", 3, bench.cache)
    assert bench.cpu.loads[0].device == "cpu"


@pytest.mark.parametrize(
    "change", [{"threads": 2}, {"precision": "fp16"}, {"parity_frames": 2}], ids=lambda change: next(iter(change))
)
def test_other_circumstances_are_another_trial(bench: Bench, change: dict[str, Any]) -> None:
    bench.detect(bench.open())
    opened = bench.open(**change)
    assert isinstance(opened.detector, CheckedDetector)
    opened.detector.close()


def test_one_that_drifts_is_an_error_in_every_run(bench: Bench) -> None:
    bench.fake.drift_px = 6
    for _ in range(2):
        with pytest.raises(InferenceError, match=r"tensorrt on cuda does not agree with the CPU: in frame 0 it sees"):
            bench.detect(bench.open())
    opened = bench.open(allow_drift=True)
    assert len(bench.detect(opened)) == 6
    assert opened.parity is not None
    assert (opened.parity.verdict, opened.backend) == ("drifted", "tensorrt")


@pytest.mark.parametrize(("precision", "agrees"), [("fp32", False), ("fp16", True), ("int8", True)])
def test_precision_says_how_far_boxes_may_be(bench: Bench, precision: str, agrees: bool) -> None:
    bench.fake.drift_px, bench.fake.precision = 1.0, precision
    opened = bench.open(allow_drift=True)
    bench.detect(opened)
    assert opened.parity is not None
    assert (opened.parity.verdict, opened.parity.precision) == ("agreed" if agrees else "drifted", precision)


def test_one_that_is_slower_is_left_and_not_tried_again(bench: Bench) -> None:
    bench.fake.slow, bench.cpu.slow = True, False
    opened = bench.open()
    boxes = bench.detect(opened)
    assert [len(each) for each in boxes] == [2] * 6
    assert (opened.backend, opened.detector.device, bench.fake.runs) == ("onnx", "cpu", 3)
    (said,) = bench.said
    assert said.startswith("tensorrt on cuda, ")
    assert said.endswith(" times slower than the CPU: using the CPU")
    assert [(each.backend, each.reason) for each in opened.passed] == [("tensorrt", said)]
    again = bench.open()
    assert (again.backend, again.parity, bench.fake.loads) == ("onnx", None, 1)
    assert "as an earlier run has found" in again.passed[0].reason
    again.detector.close()
    forced = bench.open(device="cuda")
    assert (forced.backend, forced.detector.device) == ("tensorrt", "cuda")
    assert forced.parity is not None
    assert (forced.parity.verdict, forced.parity.remembered) == ("slower", True)
    forced.detector.close()


def test_one_that_fails_to_load_is_passed_over_or_an_error_if_asked_for(bench: Bench) -> None:
    bench.fake.refuses = "out of GPU memory."
    opened = bench.open()
    assert (opened.backend, opened.parity) == ("onnx", None)
    assert bench.said == ["tensorrt on cuda cannot be used: out of GPU memory."]
    assert [each.reason for each in opened.passed[:2]] == ["out of GPU memory.", "no cuda here"]
    opened.detector.close()
    with pytest.raises(BackendError, match="tensorrt on cuda: out of GPU memory; onnx on cuda: no cuda here"):
        bench.open(device="cuda")
    with pytest.raises(ModelLoadError, match=r"^out of GPU memory\.$"):
        bench.open(backend="tensorrt")


def test_one_that_fails_in_the_middle(bench: Bench) -> None:
    bench.fake.fails_at = 2
    opened = bench.open()
    assert [len(each) for each in bench.detect(opened)] == [2] * 6
    assert (opened.backend, opened.parity and opened.parity.verdict) == ("onnx", "failed")
    bench.fake.runs, bench.fake.fails_at = 0, 5
    with pytest.raises(InferenceError, match="fell off the bus"):
        bench.detect(bench.open())
    bench.fake.runs, bench.fake.fails_at = 0, 2
    with pytest.raises(InferenceError, match="fell off the bus"):
        bench.detect(bench.open(backend="tensorrt", parity_frames=2))


def test_without_a_reference_it_runs_unchecked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_onnx(*given: Any) -> Session:
        raise ModelLoadError("not an ONNX file.")

    monkeypatch.setattr(bench.cpu, "load", no_onnx)
    opened = bench.open(device="cuda")
    assert len(bench.detect(opened)) == 6
    assert opened.parity is not None
    assert (opened.parity.verdict, opened.parity.note) == ("unchecked", "not an ONNX file.")
    assert bench.said == ["tensorrt on cuda cannot be compared with the CPU: not an ONNX file."]


def test_the_gate_can_be_switched_off(bench: Bench) -> None:
    bench.fake.drift_px = 50
    opened = bench.open(parity_frames=0)
    assert (opened.parity, opened.backend) == (None, "tensorrt")
    bench.detect(opened)
    assert not (bench.cache / VERDICTS).exists()


def test_on_the_cpu_there_is_nothing_to_compare(bench: Bench) -> None:
    bench.cpu.slow = False
    opened = bench.open(device="cpu")
    assert (opened.backend, opened.parity, opened.passed) == ("onnx", None, ())
    assert len(bench.cpu.loads) == 1
    opened.detector.close()


def test_a_run_tells_what_it_ran_on_and_why(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMTRACK_CACHE_DIR", str(bench.cache))
    bench.fake.slow, bench.cpu.slow = True, False
    clip = write_clip(tmp_path / "squares.mp4", square_frames(12, PATHS))

    def run(out: str, **more: Any) -> Metrics:
        streamtrack.run(clip, model=str(bench.model.path), out=tmp_path / out, stride=1, say=bench.said.append, **more)
        return msgspec.json.decode((tmp_path / out / "track_metrics.json").read_bytes(), type=Metrics)

    metrics = run("auto", set={"runtime.parity_frames": 3})
    assert (metrics.device, metrics.backend) == ("cpu", "onnx")
    assert metrics.parity is not None
    assert (metrics.parity.verdict, metrics.parity.device, metrics.parity.frames) == ("slower", "cuda", 4)
    assert [each.backend for each in metrics.passed_over] == ["tensorrt"]
    assert (metrics.frame_ledger["detected"], metrics.totals["detections"]) == (12, 24)
    cpu = run("cpu", device="cpu")
    assert (cpu.backend, cpu.parity, cpu.passed_over) == ("onnx", None, ())
    lines = [(tmp_path / out / "detections.jsonl").read_bytes() for out in ("auto", "cpu")]
    assert lines[0] == lines[1]
    bench.fake.refuses = "no driver."
    with pytest.raises(BackendError, match="tensorrt on cuda: no driver; onnx on cuda: no cuda here"):
        run("cuda", device="cuda")


class Builder(FakeBackend):
    """A backend that builds for a while before it can load."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.built, self.broken = threading.Event(), ""

    def prepare(self, model: Path, spec: ModelSpec, options: BackendOptions) -> None:
        self.built.wait()
        if self.broken:
            raise BackendError(self.broken)

    def interrupt(self) -> None:
        self.built.set()


def warmly(bench: Bench, count: int, ready: int) -> tuple[Opened, list[np.ndarray]]:
    """Detect in ``count`` frames; after ``ready`` of them the build is through."""
    builder = bench.fake = Builder("tensorrt")
    opened = bench.open(warm_start=True)
    found = []
    with closing(opened.detector):
        for n, picture in enumerate(square_frames(count, PATHS)):
            if n == ready:
                builder.built.set()
                preparing = [each for each in threading.enumerate() if "prepare" in each.name]
                _ = [each.join() for each in preparing]
            found.append(opened.detector.detect([Frame(n, n, 640, 384, ArrayPicture(picture))])[0].boxes)
    return opened, found


def test_a_warm_start_changes_over_and_is_compared_from_there_on(bench: Bench) -> None:
    opened, found = warmly(bench, 9, ready=2)
    assert [len(each) for each in found] == [2] * 9
    assert (opened.backend, opened.changed_after, bench.fake.runs) == ("tensorrt", 2, 7)
    assert opened.parity is not None
    assert (opened.parity.verdict, opened.parity.device, opened.parity.frames) == ("agreed", "cuda", 3)
    assert bench.said == ["tensorrt is ready: changed over from cpu to cuda after 2 calls"]


def test_a_warm_start_that_ends_before_the_build_does_runs_on_the_cpu(bench: Bench) -> None:
    opened, found = warmly(bench, 3, ready=9)
    assert (len(found), opened.backend, opened.changed_after, bench.fake.runs) == (3, "onnx", None, 0)


def test_a_warm_start_whose_build_fails_stays_on_the_cpu(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Builder, *given: Any) -> None:
        raise BackendError("out of GPU memory.")

    monkeypatch.setattr(Builder, "prepare", fail)
    opened, found = warmly(bench, 5, ready=1)
    assert [len(each) for each in found] == [2] * 5
    assert (opened.backend, opened.changed_after, opened.detector.device) == ("onnx", None, "cpu")
    assert bench.said == [
        "tensorrt cannot take over, the run goes on without it: out of GPU memory.",
        "tensorrt on cuda could not take over: using the CPU",
    ]


def test_classes_are_called_what_was_asked_for(bench: Bench) -> None:
    wanted = Wanted(bench.model, DetectorConfig(classes="square"), RuntimeConfig(device="cpu", threads=1))
    with closing(open_detector(wanted).detector) as detector:
        assert detector.spec.classes == ("square",)


def test_the_size_that_is_wanted_is_the_specs(bench: Bench) -> None:
    small: Callable[[int], Wanted] = lambda size: Wanted(  # noqa: E731
        bench.model, DetectorConfig(input_size=size), RuntimeConfig()
    )
    assert small(320).spec.input_size == (320, 320)
    assert small(0).spec is bench.model.spec


@pytest.mark.parametrize(("backend", "asked"), [("coreml", (320, 320)), ("tensorrt", None)])
def test_the_size_of_a_core_ml_package_is_for_core_ml_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, asked: tuple[int, int] | None
) -> None:
    bench = Bench(tmp_path, monkeypatch)
    fake, load = FakeBackend(backend), registry.load
    monkeypatch.setattr(registry, "load", lambda kind, name: fake if name == backend else load(kind, name))
    runtime = RuntimeConfig(threads=1, parity_frames=0, backend=backend, device="cuda")
    wanted = Wanted(bench.model, DetectorConfig(coreml_det_size=320), runtime)
    open_detector(wanted).detector.close()
    assert fake.asked[0].input_size == asked


# --- embedders ---


def embedder_of(bench: Bench, *, batch_size: int = 0, **runtime: Any) -> OpenedEmbedder:
    path = write_quarters_embedder(bench.model.path.parent / "quarters.onnx")
    model = ResolvedModel(path, ModelSpec(name="quarters", head="auto"), "0" * 64, "quarters", "file")
    settings = EmbedderConfig(model=str(path), batch_size=batch_size)
    return open_embedder(
        WantedEmbedder(model, settings, RuntimeConfig(**{"threads": 1, **runtime}), bench.cache, bench.said.append)
    )


@pytest.mark.parametrize(("asked", "told"), [(0, 8), (3, 3)])
def test_an_embedder_takes_the_accelerator_and_several_faces_a_call(bench: Bench, asked: int, told: int) -> None:
    opened = embedder_of(bench, batch_size=asked, precision="fp16")
    with closing(opened.embedder) as embedder:
        assert (opened.candidate.backend, embedder.device, opened.passed) == ("tensorrt", "cuda", ())
        assert embedder.spec.head == "arcface"
        frame = Frame(0, 0, 640, 384, ArrayPicture(next(square_frames(1, PATHS))))
        assert embedder.embed([(frame, np.array([30, 50, 90, 110]), None)] * 2).shape == (2, 12)
    options = bench.fake.asked[0]
    assert (options.batch, options.precision, options.threads, options.cache_dir) == (told, "fp16", 1, bench.cache)
    assert bench.cpu.loads == [], "nothing is compared with the CPU"


def test_an_embedder_goes_on_to_the_next_backend_and_says_why(bench: Bench) -> None:
    bench.fake.refuses = "no room for the engine."
    opened = embedder_of(bench)
    opened.embedder.close()
    assert (opened.candidate.backend, opened.embedder.device, opened.embedder.batch_size) == ("onnx", "cpu", 1)
    reason = "quarters cannot be loaded as an embedder: no room for the engine."
    assert opened.passed[0].reason == reason
    assert bench.said == [f"tensorrt on cuda cannot be used: {reason}"]


def test_an_embedder_on_a_device_that_was_asked_for_is_there_or_an_error(bench: Bench) -> None:
    bench.fake.refuses = "no room for the engine."
    with pytest.raises(BackendError, match=r"on cuda: tensorrt on cuda: quarters cannot be loaded .* no cuda here"):
        embedder_of(bench, device="cuda")
