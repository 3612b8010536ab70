"""The conformance suite of backends passes on a backend that keeps the contract, and catches those that do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamtrack.api import Backend, BackendOptions, Tensors
from streamtrack.errors import BackendError, InferenceError, ModelLoadError
from streamtrack.models.spec import ModelSpec
from streamtrack.testing.backends import BackendConformance, Shape


class NumpySession:
    device = "cpu"

    def __init__(self, shape: Shape) -> None:
        self.input_shape = shape
        self.max_batch = shape[0] or 8
        self.outputs = (("doubled", shape), ("means", shape[:2]))
        self.open = True

    def run(self, batch: np.ndarray) -> Tensors:
        fits = batch.ndim == 4 and all(
            want in (None, got) for want, got in zip(self.input_shape[1:], batch.shape[1:], strict=True)
        )
        if not (self.open and fits and batch.dtype == np.float32 and 1 <= len(batch) <= self.max_batch):
            raise InferenceError(f"cannot run {batch.dtype} of {batch.shape}")
        return {"doubled": batch * 2, "means": batch.mean(axis=(2, 3))}

    def close(self) -> None:
        self.open = False


class NumpyBackend:
    """Its models are JSON files that hold the input's shape."""

    name = "numpy"
    session: type[NumpySession] = NumpySession

    def load(self, model: Path, spec: ModelSpec, options: BackendOptions) -> NumpySession:
        if options.device not in ("auto", "cpu"):
            raise BackendError(f"There is no device '{options.device}'.")
        try:
            shape: Shape = tuple(json.loads(model.read_text()))
        except (OSError, ValueError) as error:
            raise ModelLoadError(f"{model} is no model.") from error
        if len(shape) != 4 or shape[1] != 3:
            raise ModelLoadError(f"{model} takes no pictures.")
        size = options.input_size or ((None, None) if spec.dynamic_size else shape[2:])
        return self.session((*shape[:2], *size))


class TestNumpyBackend(BackendConformance):
    def make_backend(self) -> Backend:
        return NumpyBackend()

    def make_model(self, folder: Path, shape: Shape) -> Path:
        (folder / "model.json").write_text(json.dumps(shape))
        return folder / "model.json"


class Careless(NumpySession):
    """Runs whatever it is given."""

    def run(self, batch: np.ndarray) -> Tensors:
        return {"doubled": batch * 2, "means": batch.mean(axis=(-2, -1))}


class Destructive(NumpySession):
    """Computes in place."""

    def run(self, batch: np.ndarray) -> Tensors:
        means = batch.mean(axis=(2, 3))
        batch *= 2
        return {"doubled": batch, "means": means}


class Moody(NumpySession):
    """Never twice the same."""

    calls = 0

    def run(self, batch: np.ndarray) -> Tensors:
        Moody.calls += 1
        return {"doubled": batch * 2 + 1e-3 * Moody.calls, "means": batch.mean(axis=(2, 3))}


class Mixed(NumpySession):
    """Gives every row the first picture."""

    def run(self, batch: np.ndarray) -> Tensors:
        return super().run(np.repeat(batch[:1], len(batch), axis=0))


@pytest.mark.parametrize(
    ("session", "check", "arguments"),
    [
        (Careless, "refuses_what_does_not_fit", (np.zeros((3, 32, 64), np.float32),)),
        (Careless, "close_is_final_and_may_be_repeated", ()),
        (Destructive, "computes", ((32, 64),)),
        (Moody, "same_input_same_output", ()),
        (Mixed, "takes_every_batch_up_to_its_largest", (4,)),
    ],
)
def test_the_suite_catches(session: type[NumpySession], check: str, arguments: tuple[Any, ...], tmp_path: Path) -> None:
    class Broken(TestNumpyBackend):
        def make_backend(self) -> Backend:
            backend = NumpyBackend()
            backend.session = session
            return backend

    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(Broken(), f"test_{check}")(tmp_path, *arguments)


def test_a_subclass_must_say_how() -> None:
    with pytest.raises(NotImplementedError, match="how to make its backend"):
        BackendConformance().make_backend()
    with pytest.raises(NotImplementedError, match="how to make its models"):
        BackendConformance().make_model(Path(), (1, 3, 32, 32))
