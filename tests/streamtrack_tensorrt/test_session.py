"""A session keeps the rules of CUDA and TensorRT, allocates nothing per call and gives everything back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_cuda import Breach
from fake_trt import FakeTensorRT

from streamtrack.api import BackendOptions
from streamtrack.errors import BackendError, InferenceError, ModelLoadError
from streamtrack.models.spec import ModelSpec
from streamtrack.testing.backends import pictures
from streamtrack_tensorrt import TensorRTBackend
from streamtrack_tensorrt.session import TensorRTSession

SPEC = ModelSpec(name="m", head="auto")
FREE = (None, 3, None, None)


def load(model: Path, batch: int = 1) -> TensorRTSession:
    return TensorRTBackend().load(model, SPEC, BackendOptions(batch=batch, precision="fp32"))


def test_nothing_is_allocated_per_call_and_shapes_are_set_only_when_they_change(
    trt10: FakeTensorRT, write: Callable[..., Path]
) -> None:
    session = load(write(FREE), batch=2)
    for size in ((64, 64), (32, 96)):
        session.run(pictures(2, size))
    allocations, changes = trt10.cuda.allocations, trt10.shape_changes
    first = session.run(pictures(2, (32, 96)))
    for _ in range(3):
        again = session.run(pictures(2, (32, 96)))
    assert all(again[name] is first[name] for name in first)
    assert trt10.cuda.allocations == allocations == 6
    assert trt10.shape_changes == changes
    session.close()


def test_the_rows_that_fill_up_a_stored_batch_are_empty_and_stay_inside(
    trt10: FakeTensorRT, write: Callable[..., Path]
) -> None:
    session = load(write((4, 3, 32, 32)))
    session.run(pictures(4, (32, 32)))
    found = session.run(pictures(1, (32, 32)))
    assert found["doubled"].shape == (1, 3, 32, 32)
    whole = session._layouts[(4, 3, 32, 32)].whole["doubled"]
    assert not whole[1:].any()
    session.close()


def test_it_is_of_one_thread(trt10: FakeTensorRT, write: Callable[..., Path]) -> None:
    session = load(write(FREE))
    caught: list[BaseException] = []

    def use() -> None:
        try:
            session.run(pictures(1, (64, 64)))
        except Breach as breach:
            caught.append(breach)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(caught) == 1
    session.close()


def test_a_failed_run_is_an_error_with_its_reason_and_the_next_works(
    trt10: FakeTensorRT, write: Callable[..., Path]
) -> None:
    session = load(write(FREE))
    trt10.run_error = ["an illegal memory access was encountered", "Cuda Runtime (out of memory)"]
    with pytest.raises(InferenceError, match=r"failed to run \(an illegal memory access"):
        session.run(pictures(1, (64, 64)))
    with pytest.raises(InferenceError, match="memory is not enough"):
        session.run(pictures(1, (64, 64)))
    np.testing.assert_array_equal(session.run(pictures(1, (64, 64)))["doubled"], pictures(1, (64, 64)) * 2)
    session.close()


def test_an_error_of_cuda_is_translated(trt10: FakeTensorRT, write: Callable[..., Path]) -> None:
    session = load(write(FREE))

    def fails(*args: object) -> None:
        raise trt10.cuda.LogicError("cuMemcpyHtoDAsync failed: unspecified launch failure")

    trt10.cuda.memcpy_htod_async = fails  # type: ignore[method-assign]
    with pytest.raises(InferenceError, match="CUDA failed: cuMemcpyHtoDAsync failed"):
        session.run(pictures(1, (64, 64)))
    session.close()


def test_what_does_not_fit_names_what_does(trt10: FakeTensorRT, write: Callable[..., Path]) -> None:
    session = load(write((None, 3, None, 64)), batch=2)
    with pytest.raises(InferenceError, match=r"shape \(1\.\.2, 3, 32\.\.640, 64\), got float32 of \(3, 3, 64, 64\)"):
        session.run(pictures(3, (64, 64)))
    session.close()


def test_outputs_whose_size_depends_on_the_picture_are_refused(trt10: FakeTensorRT, write: Callable[..., Path]) -> None:
    trt10.unknowable = ["means"]
    with pytest.raises(ModelLoadError, match="output 'means' depends on what is in the picture"):
        load(write(FREE))


def test_an_engine_that_is_refused_twice_is_an_error(
    trt10: FakeTensorRT, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeTensorRT, "label", property(lambda fake: f"{len(fake.builds)} {fake.__version__}"))
    session = load(write(FREE))
    session.close()
    monkeypatch.setattr("fake_trt.Runtime.deserialize_cuda_engine", lambda runtime, engine: None)
    with pytest.raises(BackendError, match="refuses the engine that it has just built"):
        load(write(FREE))
