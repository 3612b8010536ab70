"""OnnxBackend: the contract of every backend, and what is ONNX Runtime's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto

from streamtrack.api import Backend, BackendOptions
from streamtrack.errors import BackendError, ModelLoadError
from streamtrack.models.spec import ModelSpec
from streamtrack.testing.backends import BackendConformance, Shape, pictures
from streamtrack_onnx import OnnxBackend
from streamtrack_onnx import backend as backend_module
from streamtrack_onnx.backend import default_threads

Writer = Callable[..., Path]

PLAIN = ModelSpec(name="plain", head="auto")
ANY_SIZE = ModelSpec(name="any", head="auto", dynamic_size=True)
CPU = BackendOptions(device="cpu", threads=1)


class TestOnnxBackend(BackendConformance):
    @pytest.fixture(autouse=True)
    def _writer(self, write: Writer) -> None:
        self._write = write

    def make_backend(self) -> Backend:
        return OnnxBackend()

    def make_model(self, folder: Path, shape: Shape) -> Path:
        return self._write(shape)


def test_a_stored_size_that_is_arbitrary_goes_with_its_batch(write: Writer) -> None:
    """CenterFace is stored as (10, 3, 32, 32): filling up ten pictures would cost ten times the work."""
    session = OnnxBackend().load(write((10, 3, 32, 32)), ANY_SIZE, CPU)
    assert session.input_shape == (1, 3, None, None)
    assert session.max_batch == 1
    assert session.outputs[0] == ("doubled", (1, 3, None, None))


def test_another_size_than_the_stored_one(write: Writer) -> None:
    options = BackendOptions(device="cpu", input_size=(96, 160))
    session = OnnxBackend().load(write((1, 3, 32, 32)), PLAIN, options)
    assert session.input_shape == (1, 3, 96, 160)
    batch = pictures(1, (96, 160))
    np.testing.assert_array_equal(session.run(batch)["doubled"], batch * 2)


@pytest.mark.parametrize("options", [CPU, BackendOptions(device="cpu", input_size=(64, 64))])
def test_a_size_that_is_wired_into_the_graph_is_found_at_loading(write: Writer, options: BackendOptions) -> None:
    path = write((1, 3, 32, 32), hard_wired=True)
    OnnxBackend().load(path, PLAIN, CPU)
    with pytest.raises(ModelLoadError, match=r"cannot take an input of \d+x\d+"):
        OnnxBackend().load(path, ANY_SIZE, options)


def test_weights_listed_as_inputs_become_constants(write: Writer) -> None:
    path = write((1, 3, 32, 32), weights_as_inputs=True)
    assert ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).get_overridable_initializers()
    session = OnnxBackend().load(path, PLAIN, CPU)
    assert not session._session.get_overridable_initializers()
    np.testing.assert_array_equal(session.run(pictures(1, (32, 32)))["doubled"], pictures(1, (32, 32)) * 2)


@pytest.mark.parametrize(
    ("shape", "options", "complaint"),
    [
        ((1, 3, 32, 32), {"extra_input": True}, "2 inputs (picture, sizes)"),
        ((1, 3, 32, 32), {"dtype": TensorProto.FLOAT16}, "tensor(float16)"),
        ((1, 4, 32, 32), {}, "[1, 4, 32, 32]"),
    ],
)
def test_says_what_it_found_and_what_it_expects(
    write: Writer, shape: tuple[int, ...], options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ModelLoadError) as caught:
        OnnxBackend().load(write(shape, **options), PLAIN, CPU)
    assert complaint in str(caught.value)
    assert "expected" in str(caught.value)


def test_an_unknown_operator_or_format_is_told_without_the_runtimes_own_source(tmp_path: Path, write: Writer) -> None:
    import onnx

    path = write((1, 3, 32, 32))
    model = onnx.load(str(path))
    model.ir_version = 99
    onnx.save(model, str(path))
    with pytest.raises(ModelLoadError) as caught:
        OnnxBackend().load(path, PLAIN, CPU)
    assert "Unsupported model IR version: 99" in str(caught.value)
    assert ".cc" not in str(caught.value)


@pytest.mark.parametrize(
    ("device", "provider"), [("cuda", "CUDAExecutionProvider"), ("mps", "CoreMLExecutionProvider")]
)
def test_a_device_that_is_not_there_is_an_error_that_says_what_is_missing(
    write: Writer, device: str, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(BackendError, match=f"needs {provider}.*--device cpu"):
        OnnxBackend().load(write((1, 3, 32, 32)), PLAIN, BackendOptions(device=device))


def test_auto_is_the_cpu(write: Writer) -> None:
    assert OnnxBackend().load(write((1, 3, 32, 32)), PLAIN, BackendOptions()).device == "cpu"


def test_a_provider_that_gives_way_to_another_is_an_error(write: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime replaces a provider that cannot start by the CPU without a word."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    real = ort.InferenceSession
    monkeypatch.setattr(
        ort, "InferenceSession", lambda source, options, providers: real(source, options, ["CPUExecutionProvider"])
    )
    with pytest.raises(BackendError, match="CUDAExecutionProvider was asked for, but CPUExecutionProvider"):
        OnnxBackend().load(write((1, 3, 32, 32)), PLAIN, BackendOptions(device="cuda"))


def test_the_session_is_set_up_for_a_shared_machine(write: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[ort.SessionOptions] = []
    real = ort.InferenceSession
    monkeypatch.setattr(
        ort,
        "InferenceSession",
        lambda source, options, providers: seen.append(options) or real(source, options, providers),
    )
    OnnxBackend().load(write((1, 3, 32, 32)), PLAIN, BackendOptions(threads=3))
    (options,) = seen
    assert options.graph_optimization_level == ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    for pool in ("intra", "inter"):
        assert options.get_session_config_entry(f"session.{pool}_op.allow_spinning") == "0"


@pytest.mark.parametrize(("cpus", "threads"), [(1, 1), (2, 2), (4, 4), (64, 4)])
def test_default_threads_are_the_cpus_this_process_may_use(
    cpus: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cpus)), raising=False)
    assert default_threads() == threads
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: cpus)
    assert default_threads() == threads


def test_onnx_is_imported_only_to_rewrite(write: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: Path, shape: object) -> bytes:
        raise AssertionError("rewritten without need")

    monkeypatch.setattr(backend_module, "_rewritten", refuse)
    OnnxBackend().load(write((1, 3, 32, 32)), PLAIN, CPU)
    OnnxBackend().load(write((None, 3, None, None)), ANY_SIZE, CPU)
    with pytest.raises(AssertionError):
        OnnxBackend().load(write((1, 3, 32, 32)), ANY_SIZE, CPU)
