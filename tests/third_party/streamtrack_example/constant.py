"""A runtime without inference, to measure all the rest."""

from pathlib import Path

import numpy as np

from streamtrack.api import BackendOptions
from streamtrack.errors import InferenceError, ModelLoadError
from streamtrack.models.spec import ModelSpec


class ConstantSession:
    max_batch = 8
    device = "cpu"

    def __init__(self, tensors: dict[str, np.ndarray], spec: ModelSpec) -> None:
        self._tensors = tensors
        self.outputs = tuple((name, (None, *tensor.shape[1:])) for name, tensor in tensors.items())
        self.input_shape = (None, 3, *spec.input_size)

    def run(self, batch):
        if batch.ndim != 4 or len(batch) > self.max_batch:
            raise InferenceError(f"Expected up to {self.max_batch} pictures of 3 planes, got shape {batch.shape}.")
        return {name: np.repeat(tensor, len(batch), axis=0) for name, tensor in self._tensors.items()}

    def close(self) -> None:
        self._tensors = {}


class ConstantBackend:
    name = "constant"

    def load(self, model: Path, spec: ModelSpec, options: BackendOptions) -> ConstantSession:
        try:
            with np.load(model) as file:
                return ConstantSession(dict(file), spec)
        except (OSError, ValueError) as error:
            raise ModelLoadError(f"'{model}' is not an .npz file of output tensors.") from error
