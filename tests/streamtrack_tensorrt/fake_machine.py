"""A machine with a GPU, PyCUDA and TensorRT, for the time of one test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from fake_cuda import FakeCuda
from fake_trt import FakeTensorRT


def install(monkeypatch: pytest.MonkeyPatch, version: str) -> Iterator[FakeTensorRT]:
    """Put the modules where an import finds them; in the end the GPU must be as it was found."""
    cuda = FakeCuda()
    fake = FakeTensorRT(cuda, version)
    package = ModuleType("pycuda")
    package.driver = cuda  # type: ignore[attr-defined]
    for name, module in {"tensorrt": fake, "pycuda": package, "pycuda.driver": cuda}.items():
        monkeypatch.setitem(sys.modules, name, module)
    yield fake
    assert fake.breaches == []
    assert cuda.memory == {}, "memory of the GPU was not given back"
    assert cuda.retained == 0, "a context was not given back"
    assert cuda.stack == [], "a context was left current"
