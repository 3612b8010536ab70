"""What can be wrong with the runtime and the GPU, and what is said of it."""

from __future__ import annotations

import builtins
import sys
from typing import Any

import pytest
from fake_trt import FakeTensorRT, ILogger

from streamtrack.errors import BackendError
from streamtrack_tensorrt.runtime import Gpu, Log, load_runtime, one_line


def test_both_modules_are_there(trt: FakeTensorRT) -> None:
    found = load_runtime()
    assert (found.trt, found.cuda, found.version) == (trt, trt.cuda, trt.__version__)


@pytest.mark.parametrize("version", ["8.6.1", "9.0", "12.0"])
def test_other_versions_are_refused(trt10: FakeTensorRT, version: str) -> None:
    trt10.__version__ = version
    with pytest.raises(BackendError, match=f"TensorRT {version} is neither 10 nor 11"):
        load_runtime()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ImportError("libcuda.so.1: cannot open shared object file"), r"no NVIDIA driver \(libcuda"),
        (ImportError("libnvinfer.so.10: cannot open\nshared object file"), r"cannot be loaded: libnvinfer\.so\.10: c"),
        (FileNotFoundError("Could not find: nvinfer_10.dll"), "cannot be loaded"),
        (ModuleNotFoundError("No module named 'tensorrt'", name="tensorrt"), "needs the package 'tensorrt': pip inst"),
    ],
)
def test_what_cannot_be_imported(monkeypatch: pytest.MonkeyPatch, error: Exception, said: str) -> None:
    real = builtins.__import__

    def importing(name: str, *rest: Any) -> Any:
        if name.startswith("pycuda"):
            raise error
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "pycuda", raising=False)
    monkeypatch.setattr(builtins, "__import__", importing)
    with pytest.raises(BackendError, match=said) as caught:
        load_runtime()
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is error


def test_a_gpu_says_what_it_is_and_is_current_only_inside(trt10: FakeTensorRT) -> None:
    gpu = Gpu(trt10.cuda)
    assert (gpu.name, gpu.capability) == ("Fake H200", "9.0")
    with gpu.active():
        assert len(trt10.cuda.stack) == 1
        with pytest.raises(ZeroDivisionError), gpu.active():
            raise ZeroDivisionError
        assert len(trt10.cuda.stack) == 1
    assert trt10.cuda.stack == []
    gpu.close()


def test_a_gpu_that_gives_no_context_is_an_error(trt10: FakeTensorRT, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(device: object) -> None:
        raise trt10.cuda.LogicError("cuDevicePrimaryCtxRetain failed: exclusive (process) compute mode")

    monkeypatch.setattr(trt10.cuda.Device, "retain_primary_context", refuse)
    with pytest.raises(BackendError, match=r"CUDA cannot start \(cuDevicePrimaryCtxRetain"):
        Gpu(trt10.cuda)


def test_two_gpus_of_one_thread_may_be_closed_in_any_order(trt10: FakeTensorRT) -> None:
    first, second = Gpu(trt10.cuda), Gpu(trt10.cuda)
    first.close()
    with second.active():
        assert len(trt10.cuda.stack) == 1
    second.close()


def test_the_log_keeps_the_first_error_until_it_is_asked(trt10: FakeTensorRT) -> None:
    log = Log()
    logger = log.logger(trt10)
    logger.log(ILogger.Severity.WARNING, "never mind")
    assert log.reason() == "no reason given"
    for text in ("the first\nof two.", "OutOfMemory (no further information)"):
        logger.log(ILogger.Severity.ERROR, text)
    assert log.out_of_memory
    assert log.reason() == "the first of two"
    assert not log.out_of_memory
    assert log.reason() == "no reason given"


def test_one_line() -> None:
    assert one_line("a\n  b. ") == "a b"
    assert one_line("") == "str"
