"""CoreMLSession: batches, names and errors; the rest is in the contract that test_backend.py runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamtrack.api import BackendOptions
from streamtrack.errors import InferenceError
from streamtrack.models.spec import ModelSpec
from streamtrack.testing.backends import pictures
from streamtrack_coreml import CoreMLBackend
from streamtrack_coreml.session import CoreMLSession

Writer = Callable[..., Path]
NAMES = {"doubled": "output_537", "means": "means"}


def load(path: Path, **options: Any) -> CoreMLSession:
    return CoreMLBackend().load(path, ModelSpec(name="m", head="auto"), BackendOptions(device="mps", **options))


def test_outputs_have_the_names_of_the_model_they_were_exported_from(write: Writer, runtime: Any) -> None:
    session = load(write((1, 3, 32, 64), names={"doubled": "output_537", "means": "means"}))
    assert [name for name, _ in session.outputs] == ["doubled", "means"]
    batch = pictures(1, (32, 64))
    np.testing.assert_array_equal(session.run(batch)["doubled"], batch * 2)
    assert session.conventions == ModelSpec(name="conformance", head="yunet", channels="bgr")


def test_a_package_of_somebody_elses_is_taken_as_it_is(write: Writer, runtime: Any) -> None:
    session = load(write((1, 3, 32, 64), names=NAMES, noted=False))
    assert session.outputs == (("output_537", (1, 3, 32, 64)), ("means", (1, 3)))
    assert session.conventions is None


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_package_for_one_picture_takes_a_batch_as_a_list(write: Writer, runtime: Any, count: int) -> None:
    session = load(write((1, 3, 32, 64)), batch=5)
    assert session.max_batch == 5
    batch = pictures(count, (32, 64))
    tensors = session.run(batch)
    np.testing.assert_array_equal(tensors["doubled"], batch * 2)
    np.testing.assert_allclose(tensors["means"], batch.mean(axis=(2, 3)), rtol=1e-6)
    assert len(runtime.asked) == 1
    assert isinstance(runtime.asked[0], dict if count == 1 else list)


def test_a_package_of_a_free_batch_takes_it_whole(write: Writer, runtime: Any) -> None:
    session = load(write((None, 3, 32, 64)), batch=3)
    assert (session.max_batch, session.input_shape) == (3, (None, 3, 32, 64))
    np.testing.assert_array_equal(session.run(pictures(2, (32, 64)))["doubled"], pictures(2, (32, 64)) * 2)
    assert runtime.asked[0]["picture"].shape == (2, 3, 32, 64)


def test_a_view_with_strides_is_copied(write: Writer, runtime: Any) -> None:
    session = load(write((1, 3, 32, 64)))
    view = np.moveaxis(np.ascontiguousarray(np.moveaxis(pictures(1, (32, 64)), 1, 3)), 3, 1)
    assert not view.flags.c_contiguous
    np.testing.assert_array_equal(session.run(view)["doubled"], view * 2)


@pytest.mark.parametrize(("dtype", "gives"), [("float16", np.float32), ("float64", np.float32), ("int32", np.int32)])
def test_fractions_are_float32(
    write: Writer, runtime: Any, change: Callable[..., None], dtype: str, gives: type
) -> None:
    path = write((1, 3, 32, 64))
    change(path, lambda described: described["outputs"]["means"].update(dtype=dtype))
    assert load(path).run(pictures(1, (32, 64)))["means"].dtype == gives


def test_a_failure_of_core_ml_is_told_in_one_line(write: Writer, runtime: Any) -> None:
    session = load(write((1, 3, 32, 64)))
    runtime.failure = "predict"
    with pytest.raises(
        InferenceError, match=r"model\.mlpackage failed to run: Unable .* model\. It gave an error -1\."
    ):
        session.run(pictures(1, (32, 64)))


def test_an_output_that_does_not_come_is_named(write: Writer, runtime: Any, change: Callable[..., None]) -> None:
    path = write((1, 3, 32, 64))
    change(path, lambda described: described["outputs"]["means"].update(computes="nothing"))
    with pytest.raises(InferenceError, match="gave no 'means' though it lists it"):
        load(path).run(pictures(1, (32, 64)))
