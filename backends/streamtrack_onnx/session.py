"""OnnxSession: a loaded model."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamtrack.api import Tensors
from streamtrack.errors import InferenceError


class OnnxSession:
    """Maps pictures to tensors; see ``streamtrack.api.Session``.

    A free batch dimension is not used: on the CPU a batch takes as long as its frames one by one, and holds them up.
    """

    def __init__(self, session: Any, device: str, model: str) -> None:
        """Wrap an ``onnxruntime.InferenceSession`` with one float32 input of four dimensions."""
        (value,) = session.get_inputs()
        self.device = device
        self.input_shape = _shape(value.shape)
        self.outputs = tuple((output.name, _shape(output.shape)) for output in session.get_outputs())
        self._fixed_batch = self.input_shape[0]
        self.max_batch = self._fixed_batch or 1
        self._session = session
        self._model = model
        self._input = value.name
        self._names = [name for name, _ in self.outputs]

    def run(self, batch: NDArray[np.float32]) -> Tensors:
        """Run the model; see ``streamtrack.api.Session.run``."""
        if self._session is None:
            raise InferenceError(f"Model {self._model} was run after it was closed.")
        self._check(batch)
        count = len(batch)
        if self._fixed_batch and count < self._fixed_batch:
            batch = np.concatenate((batch, np.zeros((self._fixed_batch - count, *batch.shape[1:]), np.float32)))
        try:
            tensors = self._session.run(self._names, {self._input: batch})
        except Exception as error:  # the runtime's exceptions have no common base of their own
            raise InferenceError(f"Model {self._model} failed to run: {first_line(error)}.") from error
        return {name: tensor[:count] for name, tensor in zip(self._names, tensors, strict=True)}

    def close(self) -> None:
        """Release the model; more than once does no harm."""
        self._session = None

    def _check(self, batch: NDArray[np.float32]) -> None:
        fits = batch.ndim == 4 and all(
            want is None or want == size for want, size in zip(self.input_shape[1:], batch.shape[1:], strict=True)
        )
        if batch.dtype != np.float32 or not fits or not 1 <= len(batch) <= self.max_batch:
            want = ", ".join("*" if size is None else str(size) for size in self.input_shape[1:])
            raise InferenceError(
                f"Model {self._model} takes float32 of shape (1..{self.max_batch}, {want}), "
                f"got {batch.dtype} of {batch.shape}."
            )


_NOISE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from .* failed:|/\S+\.(?:cc|h):\d+ .*?\) (?=[A-Z])"
)


def first_line(error: Exception) -> str:
    """Return what an exception of the runtime says, without its code, its place in the runtime and further lines."""
    line = str(error).strip().partition("\n")[0]
    return _NOISE.sub("", line).rstrip(". ") or type(error).__name__


def _shape(shape: list[int | str | None]) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) else None for size in shape)
