"""OnnxSession: a loaded model."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamtrack.api import Tensors
from streamtrack.errors import InferenceError


def _unsaid(text: str) -> None:
    """Tell nobody."""


class OnnxSession:
    """Maps pictures to tensors; see ``streamtrack.api.Session``."""

    def __init__(
        self, session: Any, device: str, model: str, *, batch: int = 1, say: Callable[[str], None] = _unsaid
    ) -> None:
        """Wrap an ``onnxruntime.InferenceSession`` with one float32 input of four dimensions.

        Args:
            session: the runtime's.
            device: what it runs on.
            model: for messages.
            batch: how many pictures are taken at once where the model's batch is free. On the CPU a batch takes as
                long as its frames one by one, and holds them up.
            say: told in one line when memory allows only smaller batches.
        """
        (value,) = session.get_inputs()
        self.device = device
        self.precision = "fp32"
        """What it computes in."""
        self.input_shape = _shape(value.shape)
        self.outputs = tuple((output.name, _shape(output.shape)) for output in session.get_outputs())
        self._fixed_batch = self.input_shape[0]
        self.max_batch = self._fixed_batch or batch
        self._room: int | None = None
        """Pictures that fit into memory at once, where it has been seen that ``max_batch`` do not."""
        self._session = session
        self._model = model
        self._input = value.name
        self._names = [name for name, _ in self.outputs]
        self._say = say

    def run(self, batch: NDArray[np.float32]) -> Tensors:
        """Run the model; see ``streamtrack.api.Session.run``.

        Where the device's memory is too small, batches are cut in half from then on; where that is not enough, it is
        an error.
        """
        if self._session is None:
            raise InferenceError(f"Model {self._model} was run after it was closed.")
        self._check(batch)
        count = len(batch)
        if self._fixed_batch and count < self._fixed_batch:
            batch = np.concatenate((batch, np.zeros((self._fixed_batch - count, *batch.shape[1:]), np.float32)))
        tensors = self._in_memory(batch)
        if count < len(batch):  # else untouched: for one picture, some models (SCRFD) leave the batch dimension out
            tensors = [tensor[:count] for tensor in tensors]
        return dict(zip(self._names, tensors, strict=True))

    def close(self) -> None:
        """Release the model; more than once does no harm."""
        self._session = None

    def _in_memory(self, batch: NDArray[np.float32]) -> list[NDArray[Any]]:
        """Run as many pictures at once as there is memory for."""
        if self._room is not None and len(batch) > self._room:
            return self._in_parts(batch, self._room)
        try:
            return self._run(batch)
        except InferenceError as error:
            if error.__cause__ is None or not is_out_of_memory(error.__cause__):
                raise
            rows, _, height, width = batch.shape
            if rows == 1 or self._fixed_batch or self._room is not None:
                raise InferenceError(
                    f"{self.device} has not enough memory to run {self._model} on {rows} of {width}x{height}: "
                    "use a smaller batch or input size, or --device cpu."
                ) from error.__cause__
            self._room = (rows + 1) // 2
        self._say(f"{self.device} has not enough memory for {rows} pictures at once: taking {self._room}")
        return self._in_parts(batch, self._room)

    def _in_parts(self, batch: NDArray[np.float32], size: int) -> list[NDArray[Any]]:
        parts = [self._in_memory(batch[start : start + size]) for start in range(0, len(batch), size)]
        return [np.concatenate(tensors) for tensors in zip(*parts, strict=True)]

    def _run(self, batch: NDArray[np.float32]) -> list[NDArray[Any]]:
        try:
            tensors: list[NDArray[Any]] = self._session.run(self._names, {self._input: batch})
        except Exception as error:  # the runtime's exceptions have no common base of their own
            raise InferenceError(f"Model {self._model} failed to run: {first_line(error)}.") from error
        for name, tensor in zip(self._names, tensors, strict=True):
            if len(batch) > 1 and tensor.shape[:1] != batch.shape[:1]:
                raise InferenceError(
                    f"Output {name} of {self._model} has shape {tensor.shape} for {len(batch)} pictures: its first "
                    "dimension is not the batch."
                )
        return tensors

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


_NO_MEMORY = re.compile(
    r"(?i)out of memory|out_of_memory|failed to allocate memory|cudaErrorMemoryAllocation|ALLOC_FAILED|bad_alloc"
)
_NOISE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from .* failed:|/\S+\.(?:cc|h):\d+ .*?\) (?=[A-Z])"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception of the runtime says that memory, its own or the device's, was too small."""
    return isinstance(error, MemoryError) or bool(_NO_MEMORY.search(str(error)))


def first_line(error: Exception) -> str:
    """Return what an exception of the runtime says, without its code, its place in the runtime and further lines."""
    line = str(error).strip().partition("\n")[0]
    return _NOISE.sub("", line).rstrip(". ") or type(error).__name__


def _shape(shape: list[int | str | None]) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) else None for size in shape)
