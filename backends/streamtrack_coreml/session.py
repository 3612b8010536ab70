"""CoreMLSession: a loaded model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamtrack.api import Tensors
from streamtrack.errors import InferenceError
from streamtrack.models.spec import ModelSpec
from streamtrack_coreml.package import Package, Shape, one_line


class CoreMLSession:
    """Maps pictures to tensors; see ``streamtrack.api.Session``.

    A package made for one picture takes a batch as a list, which Core ML overlaps where the hardware allows.
    """

    def __init__(self, model: Any, package: Package, shape: Shape, device: str, batch: int) -> None:
        """Wrap a loaded model.

        Args:
            model: a ``coremltools.models.CompiledMLModel``.
            package: what it was compiled from.
            shape: of the input, one that the package takes; None where a dimension is free.
            device: what it runs on.
            batch: pictures that one call shall take, where the package leaves that open.
        """
        self.device = device
        self.input_shape = shape
        self.precision = package.notes.precision if package.notes else "fp16"
        self.conventions: ModelSpec | None = package.conventions()
        """What the package says of its input and head, for a model of which nothing else is known."""
        self.outputs = tuple((output.name, output.shape) for output in package.outputs)
        self._batch = shape[0]
        self.max_batch = self._batch if self._batch not in (None, 1) else max(batch, 1)
        self._model = model
        self._package = package

    def run(self, batch: NDArray[np.float32]) -> Tensors:
        """Run the model; see ``streamtrack.api.Session.run``."""
        if self._model is None:
            raise InferenceError(f"Model {self._package.path} was run after it was closed.")
        self._check(batch)
        count = len(batch)
        if self._batch and count < self._batch:
            batch = np.concatenate((batch, np.zeros((self._batch - count, *batch.shape[1:]), np.float32)))
        batch = np.ascontiguousarray(batch)
        try:
            answers = self._predict(batch)
        except Exception as error:  # coremltools raises RuntimeError, and what its parts raise
            raise InferenceError(f"Model {self._package.path} failed to run: {one_line(error)}.") from error
        return {output.name: self._tensor(answers, output.feature)[:count] for output in self._package.outputs}

    def close(self) -> None:
        """Release the model; more than once does no harm."""
        self._model = None

    def _predict(self, batch: NDArray[np.float32]) -> list[dict[str, Any]]:
        feature = self._package.feature
        if self._batch != 1 or len(batch) == 1:
            return [self._model.predict({feature: batch})]
        answers: list[dict[str, Any]] = self._model.predict([{feature: batch[n : n + 1]} for n in range(len(batch))])
        return answers

    def _tensor(self, answers: list[dict[str, Any]], feature: str) -> NDArray[Any]:
        try:
            parts = [np.asarray(answer[feature]) for answer in answers]
        except KeyError as error:
            raise InferenceError(f"Model {self._package.path} gave no '{feature}' though it lists it.") from error
        tensor = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return tensor.astype(np.float32, copy=False) if tensor.dtype.kind == "f" else tensor

    def _check(self, batch: NDArray[np.float32]) -> None:
        fits = batch.ndim == 4 and all(
            want is None or want == size for want, size in zip(self.input_shape[1:], batch.shape[1:], strict=True)
        )
        if batch.dtype != np.float32 or not fits or not 1 <= len(batch) <= self.max_batch:
            want = ", ".join("*" if size is None else str(size) for size in self.input_shape[1:])
            raise InferenceError(
                f"Model {self._package.path} takes float32 of shape (1..{self.max_batch}, {want}), "
                f"got {batch.dtype} of {batch.shape}."
            )
