"""A TensorRT of either version and a GPU that are not there, and small models for them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_machine import install
from fake_trt import FakeTensorRT
from small_models import write_model


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """``write(shape, **options)`` writes a model into the test's folder."""
    return partial(write_model, tmp_path / "model.onnx")


@pytest.fixture(params=["10.16.1.11", "11.4.0.106"])
def trt(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorRT]:
    """A machine with a GPU, PyCUDA and TensorRT, which must be left as it was found."""
    yield from install(monkeypatch, request.param)


@pytest.fixture
def trt10(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorRT]:
    """As ``trt``, for what does not depend on the version."""
    yield from install(monkeypatch, "10.16.1.11")


@pytest.fixture
def trt11(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorRT]:
    """As ``trt``, for what only 11 does."""
    yield from install(monkeypatch, "11.4.0.106")
