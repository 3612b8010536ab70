"""From a model file to a session, through the cache of engines, on machines that are whole and on others."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_trt import FakeTensorRT
from small_models import write_model

from streamtrack.api import Backend, BackendOptions
from streamtrack.errors import BackendError, ModelLoadError
from streamtrack.models.spec import ModelSpec
from streamtrack.testing.backends import BackendConformance, Shape, pictures
from streamtrack_tensorrt import TensorRTBackend
from streamtrack_tensorrt.building import Interrupted
from streamtrack_tensorrt.session import TensorRTSession

SPEC = ModelSpec(name="m", head="auto")
FREE = (None, 3, None, None)


@pytest.mark.usefixtures("trt10")
class TestConformance10(BackendConformance):
    device = "cuda"

    def make_backend(self) -> Backend:
        return TensorRTBackend()

    def make_model(self, folder: Path, shape: Shape) -> Path:
        return write_model(folder / "model.onnx", shape)


@pytest.mark.usefixtures("trt11")
class TestConformance11(TestConformance10):
    tolerance = 2e-3  # in half precision


def load(model: Path, said: list[str] | None = None, **options: object) -> TensorRTSession:
    told = said if said is not None else []
    return TensorRTBackend().load(model, SPEC, BackendOptions(say=told.append, **options))  # type: ignore[arg-type]


def test_an_engine_is_built_once(trt: FakeTensorRT, write: Callable[..., Path], tmp_path: Path) -> None:
    model, said = write(FREE), list[str]()
    for _ in range(2):
        load(model, said, cache_dir=tmp_path / "cache").close()
    assert len(trt.builds) == 1
    assert said == ["building a TensorRT engine of model.onnx in fp16: this takes minutes, once"]


def test_the_key_is_the_content_and_not_the_name(
    trt10: FakeTensorRT, write: Callable[..., Path], tmp_path: Path
) -> None:
    model = write(FREE)
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(model.read_bytes())
    for path in (model, copy):
        load(path, cache_dir=tmp_path).close()
    assert len(trt10.builds) == 1


def test_whatever_an_engine_depends_on_makes_it_another(
    trt10: FakeTensorRT, write: Callable[..., Path], tmp_path: Path
) -> None:
    model = write(FREE)

    def builds(**options: object) -> int:
        before = len(trt10.builds)
        load(model, cache_dir=tmp_path, **options).close()
        return len(trt10.builds) - before

    assert builds() == 1
    assert [builds(batch=4), builds(precision="fp32"), builds(input_size=(64, 64))] == [1, 1, 1]
    trt10.cuda.gpu = "Other"
    assert builds() == 1
    trt10.__version__ = "10.99"
    assert builds() == 1
    trt10.cuda.capability = (12, 0)
    assert builds() == 1
    write(FREE, exotic=True)
    assert (builds(), builds()) == (1, 0)


def test_a_damaged_or_foreign_engine_is_built_again(
    trt10: FakeTensorRT, write: Callable[..., Path], tmp_path: Path
) -> None:
    model, said = write(FREE), list[str]()
    load(model, cache_dir=tmp_path).close()
    cache = TensorRTBackend().engines(tmp_path)
    (engine,) = cache.list()
    engine.path.write_bytes(engine.path.read_bytes()[:-1])
    load(model, cache_dir=tmp_path).close()
    assert len(trt10.builds) == 2
    # Whole, of the right name, and yet for another GPU.
    cache.store(engine.recipe, b'{"for": "elsewhere"}\n', engine.model)
    load(model, said, cache_dir=tmp_path).close()
    assert len(trt10.builds) == 3
    assert "cannot be used and is built again" in said[0]
    assert "elsewhere" in said[0]


def test_the_flags_are_those_of_the_version(trt: FakeTensorRT, write: Callable[..., Path]) -> None:
    model = write(FREE)
    precisions = []
    for precision in ("auto", "fp16", "fp32"):
        session = load(model, precision=precision)
        precisions.append(session.precision)
        session.close()
    assert precisions == ["fp16", "fp16", "fp32"]
    with_flags = [["FP16", "TF32"], ["FP16", "TF32"], []]
    assert trt.builds == (with_flags if trt.__version__.startswith("10") else [["TF32"], ["TF32"], []])


def test_int8_is_for_models_that_bring_their_scales(trt: FakeTensorRT, write: Callable[..., Path]) -> None:
    with pytest.raises(BackendError, match="no quantisation scales"):
        load(write(FREE), precision="int8")
    session = load(write(FREE, quantised=True))
    assert session.precision == "int8"
    session.close()
    assert ("INT8" in trt.builds[0]) == trt.__version__.startswith("10")


def test_what_cannot_be_halved_stays_in_fp32_and_that_is_said(trt11: FakeTensorRT, write: Callable[..., Path]) -> None:
    said: list[str] = []
    session = load(write(FREE, exotic=True), said)
    assert session.precision == "fp32"
    assert "it holds Round" in said[0]
    session.close()


def test_a_batch_is_as_large_as_was_asked_for(trt10: FakeTensorRT, write: Callable[..., Path]) -> None:
    session = load(write(FREE), batch=5)
    assert session.max_batch == 5
    for count in (5, 2):
        np.testing.assert_allclose(session.run(pictures(count, (64, 96)))["doubled"], pictures(count, (64, 96)) * 2)
    session.close()


def test_where_the_stored_size_does_not_count_neither_does_the_batch(
    trt10: FakeTensorRT, write: Callable[..., Path]
) -> None:
    spec = ModelSpec(name="m", head="auto", dynamic_size=True)
    session = TensorRTBackend().load(write((10, 3, 32, 32)), spec, BackendOptions(batch=3))
    assert (session.max_batch, session.input_shape) == (3, (None, 3, None, None))
    assert session.run(pictures(3, (360 // 32 * 32, 640)))["means"].shape == (3, 3)
    session.close()


def test_too_little_memory_for_the_batch_is_tried_with_one(trt10: FakeTensorRT, write: Callable[..., Path]) -> None:
    said: list[str] = []
    trt10.context_elements = 3 * 640 * 640
    session = load(write(FREE), said, batch=8)
    assert session.max_batch == 1
    assert any("Trying with one picture at a time instead of 8" in text for text in said)
    session.close()
    trt10.context_elements = 1
    with pytest.raises(BackendError, match="memory is not enough"):
        load(write(FREE), batch=8)


def test_too_little_memory_for_the_buffers(trt10: FakeTensorRT, write: Callable[..., Path]) -> None:
    trt10.cuda.free_bytes = 3 * 640 * 640 * 4 * 3
    session = load(write(FREE), batch=8)
    assert session.max_batch == 1
    session.close()
    trt10.build_error = ["[virtualMemoryBuffer] Error: out of memory", "Cuda Runtime (out of memory)"]
    with pytest.raises(BackendError, match="not enough memory to build"):
        load(write((1, 3, 64, 64)), batch=2)


def test_a_model_that_tensorrt_cannot_build_says_why(trt10: FakeTensorRT, write: Callable[..., Path]) -> None:
    trt10.build_error = ["Could not find any implementation for node Mul."]
    with pytest.raises(ModelLoadError, match=r"model\.onnx: Could not find any implementation for node Mul\."):
        load(write(FREE))


def test_no_gpu_no_driver_or_an_old_one(trt: FakeTensorRT, write: Callable[..., Path]) -> None:
    model, backend = write(FREE), TensorRTBackend()
    assert backend.unavailable("cuda") is None
    assert "not on mps" in (backend.unavailable("mps") or "")
    trt.starts = False
    with pytest.raises(BackendError, match=r"CUDA 13\.0 \(CUDA initialization failure with error: 35\): update"):
        load(model)
    trt.cuda.gpus = 0
    assert "no NVIDIA GPU" in (backend.unavailable("cuda") or "")
    trt.cuda.driver = 0
    assert "insufficient" in (backend.unavailable("cuda") or "")
    with pytest.raises(BackendError, match="update the NVIDIA driver"):
        load(model)


def test_without_its_packages(monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path]) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    assert "pip install 'streamtrack[tensorrt]'" in (TensorRTBackend().unavailable("cuda") or "")


def test_an_interrupted_build_ends_at_the_next_step(
    trt10: FakeTensorRT, write: Callable[..., Path], tmp_path: Path
) -> None:
    backend = TensorRTBackend()
    trt10.steps = 10**9
    trt10.on_step = backend.interrupt
    options = BackendOptions(cache_dir=tmp_path)
    for _ in range(2):
        with pytest.raises(Interrupted):
            backend.load(write(FREE), SPEC, options)
    assert len(trt10.builds) == 1
    assert backend.engines(tmp_path).list() == []


def test_what_say_raises_ends_the_build(trt10: FakeTensorRT, write: Callable[..., Path]) -> None:
    def say(text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TensorRTBackend().load(write(FREE), SPEC, BackendOptions(say=say))


def test_two_that_need_the_same_engine_build_it_once(
    trt10: FakeTensorRT, write: Callable[..., Path], tmp_path: Path
) -> None:
    model, said = write(FREE), list[str]()
    second_waits, first_builds = threading.Event(), threading.Event()

    def on_step() -> None:
        first_builds.set()
        assert second_waits.wait(30)

    def say(text: str) -> None:
        said.append(text)
        if text.startswith("another process"):
            second_waits.set()

    trt10.on_step = on_step
    options = BackendOptions(cache_dir=tmp_path, say=say)
    first = threading.Thread(target=TensorRTBackend().prepare, args=(model, SPEC, options))
    first.start()
    assert first_builds.wait(30)
    TensorRTBackend().prepare(model, SPEC, options)
    first.join()
    assert len(trt10.builds) == 1
    assert said.count("another process is building this TensorRT engine: waiting for it") == 1


def test_prepared_without_a_folder_it_is_kept_in_memory(trt10: FakeTensorRT, write: Callable[..., Path]) -> None:
    backend, model = TensorRTBackend(), write(FREE)
    backend.prepare(model, SPEC, BackendOptions())
    backend.load(model, SPEC, BackendOptions()).close()
    assert len(trt10.builds) == 1


def test_a_folder_that_cannot_be_written_is_said_and_survived(
    trt10: FakeTensorRT, write: Callable[..., Path], tmp_path: Path
) -> None:
    said: list[str] = []
    (tmp_path / "file").write_text("no folder")
    load(write(FREE), said, cache_dir=tmp_path / "file").close()
    assert "cannot be kept" in said[0]


def test_another_device_is_refused(write: Callable[..., Path]) -> None:
    with pytest.raises(BackendError, match="device 'cpu'"):
        load(write(FREE), device="cpu")
