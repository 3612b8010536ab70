"""OnnxBackend: model files to sessions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from streamtrack.api import BackendOptions
from streamtrack.errors import BackendError, ModelLoadError
from streamtrack.models.spec import ModelSpec
from streamtrack_onnx.session import OnnxSession, first_line

_PROVIDERS: Final = {
    "cpu": ("CPUExecutionProvider", "onnxruntime"),
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu"),
    "mps": ("CoreMLExecutionProvider", "onnxruntime on macOS"),
}
_MOST_THREADS = 4
"""Detectors of a few milliseconds stop gaining here, and the decoder wants cores too."""
_FATAL_ONLY = 4


class OnnxBackend:
    """Runs ONNX files with ONNX Runtime."""

    name = "onnx"

    def load(self, model: Path, spec: ModelSpec, options: BackendOptions) -> OnnxSession:
        """Load ``model``; see ``streamtrack.api.Backend.load``.

        The stored size of the input is replaced where ``options.input_size`` gives another, and made free where the
        spec says that the model takes any.
        """
        # What people run on their own machine is nobody else's business.
        ort.disable_telemetry_events()
        device, provider = _provider(options.device)
        if not model.is_file():
            raise ModelLoadError(f"There is no model file {model}.")
        threads = options.threads or default_threads()
        session = _create(str(model), model, provider, threads)
        shape = _input_shape(session, model)
        wanted = _corrected(shape, spec, options)
        if wanted is not None or session.get_overridable_initializers():
            session = _create(_rewritten(model, wanted), model, provider, threads)
        loaded = OnnxSession(session, device, str(model))
        if wanted is not None:
            _try(loaded, spec, options, model)
        return loaded


def default_threads() -> int:
    """Return how many threads one inference gets when nobody says: the CPUs this process may use, 4 at most."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    available = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(available, _MOST_THREADS)


def _provider(device: str) -> tuple[str, str]:
    chosen = "cpu" if device == "auto" else device
    if chosen not in _PROVIDERS:
        raise BackendError(f"There is no device '{device}': use auto, {', '.join(_PROVIDERS)}.")
    provider, package = _PROVIDERS[chosen]
    if provider not in ort.get_available_providers():
        raise BackendError(
            f"Device '{device}' needs {provider}, which this ONNX Runtime {ort.__version__} lacks: "
            f"install {package}, or use --device cpu."
        )
    return chosen, provider


def _create(source: str | bytes, model: Path, provider: str, threads: int) -> Any:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY  # whatever goes wrong is raised as well
    # Spinning threads burn a third of a core at 5 frames a second for nothing.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(source, options, providers=[provider])
    except Exception as error:  # the runtime's exceptions have no common base of their own
        raise ModelLoadError(f"Model {model} cannot be loaded: {first_line(error)}.") from error
    # A provider that cannot start is silently replaced by the CPU.
    if (running := session.get_providers()[0]) != provider:
        raise BackendError(f"{provider} was asked for, but {running} would run {model}: use --device cpu.")
    return session


def _input_shape(session: Any, model: Path) -> tuple[int | str | None, ...]:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs)
        raise ModelLoadError(f"Model {model} has {len(inputs)} inputs ({names}) where one picture is expected.")
    (value,) = inputs
    shape = tuple(value.shape)
    if value.type != "tensor(float)" or len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
        raise ModelLoadError(
            f"Model {model} takes {value.type} {list(shape)} where tensor(float) (batch, 3, height, width) is expected."
        )
    return shape


def _corrected(
    shape: tuple[int | str | None, ...], spec: ModelSpec, options: BackendOptions
) -> tuple[int | str | None, ...] | None:
    """Return the shape that the input should have, or None if it has it."""
    if options.input_size is not None:
        size: tuple[int | str | None, ...] = options.input_size
    elif spec.dynamic_size and any(isinstance(side, int) for side in shape[2:]):
        size = ("height", "width")
    else:
        return None
    if size == shape[2:]:
        return None
    # Where the size stored was arbitrary the batch was too (CenterFace: 10), and the CPU gains nothing from batches.
    batch = 1 if isinstance(shape[0], int) else shape[0]
    return (batch, 3, *size)


def _rewritten(model: Path, shape: tuple[int | str | None, ...] | None) -> bytes:
    from streamtrack_onnx import graph  # onnx takes a tenth of a second to import

    return graph.rewrite(model, shape)


def _try(session: OnnxSession, spec: ModelSpec, options: BackendOptions, model: Path) -> None:
    """Run once: a graph may have its stored size hard-wired further inside."""
    height, width = options.input_size or (2 * spec.size_multiple, 3 * spec.size_multiple)
    try:
        session.run(np.zeros((1, 3, height, width), np.float32))
    except BackendError as error:
        raise ModelLoadError(f"Model {model} cannot take an input of {width}x{height}: {error}") from error
