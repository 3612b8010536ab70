"""What every backend must do: subclass ``BackendConformance`` in a test module and say how to make yours.

```
class TestMyBackend(BackendConformance):
    def make_backend(self) -> Backend:
        return MyBackend()

    def make_model(self, folder: Path, shape: Shape) -> Path:
        ...  # in the format of your runtime
```
"""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from streamtrack.api import Backend, BackendOptions, Session
from streamtrack.errors import BackendError, InferenceError, ModelLoadError
from streamtrack.models.spec import ModelSpec

Shape = tuple[int | None, ...]
"""Of an input, (batch, 3, height, width); None where a dimension is free."""

_FREE: Shape = (None, 3, None, None)
_FIXED: Shape = (1, 3, 32, 64)


class BackendConformance:
    """The contract of ``streamtrack.api.Backend`` and ``Session`` as tests."""

    device = "cpu"
    """What to load on."""
    tolerance = 1e-5
    """Largest relative error of an output; raise it for a runtime that computes in half precision."""

    def make_backend(self) -> Backend:
        """Return the backend under test."""
        raise NotImplementedError("a subclass of BackendConformance must say how to make its backend")

    def make_model(self, folder: Path, shape: Shape) -> Path:
        """Write a model and return its path.

        Its one input is float32 of ``shape``; its outputs are, in this order, ``doubled`` (the input times two) and
        ``means`` (batch, 3), the means over height and width.
        """
        raise NotImplementedError("a subclass of BackendConformance must say how to make its models")

    def load(
        self, folder: Path, shape: Shape, *, dynamic: bool = False, size: tuple[int, int] | None = None
    ) -> Session:
        """Load a new model; ``size`` is asked for as ``BackendOptions.input_size``."""
        spec = ModelSpec(name="conformance", head="auto", dynamic_size=dynamic)
        options = BackendOptions(device=self.device, threads=1, input_size=size)
        return self.make_backend().load(self.make_model(folder, shape), spec, options)

    def check(self, session: Session, batch: NDArray[np.float32]) -> None:
        """Run and compare with what numpy says."""
        before = batch.copy()
        tensors = session.run(batch)
        assert set(tensors) == {"doubled", "means"}
        np.testing.assert_allclose(tensors["doubled"], before * 2, rtol=self.tolerance)
        np.testing.assert_allclose(tensors["means"], before.mean(axis=(2, 3)), rtol=self.tolerance)
        assert np.array_equal(batch, before), "run changed its input"

    def test_says_what_it_is(self, tmp_path: Path) -> None:
        """A backend has a name; a session tells its device, its input and its outputs."""
        assert self.make_backend().name
        session = self.load(tmp_path, _FIXED)
        assert (session.device, session.max_batch) == (self.device, 1)
        assert session.input_shape == _FIXED
        assert session.outputs == (("doubled", _FIXED), ("means", (1, 3)))
        session.close()

    def test_free_dimensions_are_none(self, tmp_path: Path) -> None:
        """Heads and the detector ask for None, whatever the runtime calls a free dimension."""
        session = self.load(tmp_path, _FREE)
        assert session.input_shape[1:] == (3, None, None)
        assert session.max_batch >= 1
        assert [name for name, _ in session.outputs] == ["doubled", "means"]
        assert [len(shape) for _, shape in session.outputs] == [4, 2]
        session.close()

    @pytest.mark.parametrize("size", [(32, 64), (64, 32), (96, 96)])
    def test_computes(self, tmp_path: Path, size: tuple[int, int]) -> None:
        """The numbers are right, whatever size a free input is given."""
        session = self.load(tmp_path, _FREE)
        self.check(session, pictures(1, size))
        session.close()

    def test_sizes_may_alternate(self, tmp_path: Path) -> None:
        """Streams of different sizes share a session."""
        session = self.load(tmp_path, _FREE)
        for size in ((32, 64), (64, 32), (32, 64)):
            self.check(session, pictures(1, size))
        session.close()

    @pytest.mark.parametrize("stored", [4, None])
    def test_takes_every_batch_up_to_its_largest(self, tmp_path: Path, stored: int | None) -> None:
        """Smaller batches than a model insists on are filled up inside; each row is a picture's own."""
        session = self.load(tmp_path, (stored, 3, 32, 64))
        assert session.max_batch == stored or stored is None
        for count in range(1, min(session.max_batch, 5) + 1):
            self.check(session, pictures(count, (32, 64)))
        session.close()

    def test_same_input_same_output(self, tmp_path: Path) -> None:
        """Bit by bit, also with something else in between."""
        session = self.load(tmp_path, _FIXED)
        batch = pictures(1, (32, 64))
        first = {name: tensor.copy() for name, tensor in session.run(batch).items()}
        session.run(batch + 1)
        again = session.run(batch)
        assert all(np.array_equal(first[name], again[name]) for name in first)
        session.close()

    def test_fixes_a_free_size(self, tmp_path: Path) -> None:
        """``BackendOptions.input_size`` makes a free height and width fixed."""
        session = self.load(tmp_path, _FREE, size=(64, 96))
        assert session.input_shape[2:] == (64, 96)
        self.check(session, pictures(1, (64, 96)))
        with pytest.raises(InferenceError):
            session.run(pictures(1, (32, 64)))
        session.close()

    def test_frees_a_fixed_size(self, tmp_path: Path) -> None:
        """Where the spec knows that a model takes any size, the stored one does not count."""
        session = self.load(tmp_path, _FIXED, dynamic=True)
        assert session.input_shape[2:] == (None, None)
        self.check(session, pictures(1, (96, 32)))
        session.close()

    @pytest.mark.parametrize(
        "batch",
        [
            np.zeros((3, 32, 64), np.float32),
            np.zeros((1, 1, 32, 64), np.float32),
            np.zeros((1, 3, 64, 32), np.float32),
            np.zeros((2, 3, 32, 64), np.float32),
            np.zeros((0, 3, 32, 64), np.float32),
            np.zeros((1, 3, 32, 64), np.float64),
        ],
        ids=lambda batch: f"{batch.dtype}-{'x'.join(map(str, batch.shape))}",
    )
    def test_refuses_what_does_not_fit(self, tmp_path: Path, batch: NDArray[np.float32]) -> None:
        """Rank, channels, size, batch and type are the model's; the session works on afterwards."""
        session = self.load(tmp_path, _FIXED)
        with pytest.raises(InferenceError):
            session.run(batch)
        self.check(session, pictures(1, (32, 64)))
        session.close()

    def test_close_is_final_and_may_be_repeated(self, tmp_path: Path) -> None:
        """Running after ``close`` is an error, closing again is not."""
        session = self.load(tmp_path, _FIXED)
        session.close()
        session.close()
        with pytest.raises(InferenceError):
            session.run(pictures(1, (32, 64)))

    def test_lives_on_any_one_thread(self, tmp_path: Path) -> None:
        """The inference thread is not the main one."""
        failures: list[BaseException] = []

        def life() -> None:
            try:
                session = self.load(tmp_path, _FIXED)
                self.check(session, pictures(1, (32, 64)))
                session.close()
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=life)
        thread.start()
        thread.join()
        assert not failures, failures

    @pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "noise"])
    def test_a_file_that_is_no_model_is_a_load_error_that_names_it(self, tmp_path: Path, damage: str) -> None:
        """Whatever is wrong with a file, the message says which file, in one line."""
        path = self.make_model(tmp_path, _FIXED)
        if path.is_dir():
            pytest.skip("a model of this runtime is a folder")
        whole = path.read_bytes()
        path.unlink()
        if damage != "missing":
            noise = np.random.default_rng(0).bytes(len(whole))
            path.write_bytes({"empty": b"", "truncated": whole[: len(whole) // 2], "noise": noise}[damage])
        with pytest.raises(ModelLoadError) as caught:
            self.make_backend().load(path, ModelSpec(name="broken", head="auto"), BackendOptions(device=self.device))
        assert path.name in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_model_of_the_wrong_rank_is_a_load_error(self, tmp_path: Path) -> None:
        """An input that is not (batch, 3, height, width) cannot take a picture."""
        for shape in ((1, 3), (1, 1, 32, 64), (1, 3, 8, 32, 64)):
            with pytest.raises(ModelLoadError):
                self.load(tmp_path, shape)

    def test_an_unknown_device_is_a_backend_error_that_names_it(self, tmp_path: Path) -> None:
        """Nothing else is used in its place."""
        path = self.make_model(tmp_path, _FIXED)
        with pytest.raises(BackendError, match="abacus"):
            self.make_backend().load(path, ModelSpec(name="m", head="auto"), BackendOptions(device="abacus"))


def pictures(count: int, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return ``count`` different pictures of noise, (count, 3, height, width) in 1..255."""
    return np.random.default_rng(count).uniform(1, 255, (count, 3, *size)).astype(np.float32)
