"""OnnxBackend: model files to sessions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from streamtrack.api import BackendOptions
from streamtrack.errors import BackendError, InferenceError, ModelLoadError
from streamtrack.models.spec import ModelSpec
from streamtrack.types import Float32Array
from streamtrack_onnx import providers, tuning
from streamtrack_onnx.reasons import reason
from streamtrack_onnx.session import OnnxSession, first_line, is_out_of_memory

_Shape = tuple[int | str | None, ...]
_FATAL_ONLY = 4
SPIN_US = "50"
"""How long a thread waits awake for its next part. On two cores (docs/benchmarks.md): as fast as one that always does
where cores are idle (a sleeping one is 1.1 to 1.4 times slower), faster where they are busy, and 5 % of a core at 5 fps
where the default takes 22 %."""


class OnnxBackend:
    """Runs ONNX files with ONNX Runtime."""

    name = "onnx"

    def unavailable(self, device: str) -> str | None:
        """Say why this ONNX Runtime cannot run on ``device``; see ``streamtrack.api.Backend``."""
        try:
            providers.choose(BackendOptions(device=device))
        except BackendError as error:
            return str(error)
        return None

    def load(self, model: Path, spec: ModelSpec, options: BackendOptions) -> OnnxSession:
        """Load ``model``; see ``streamtrack.api.Backend.load``.

        The stored size of the input is replaced where ``options.input_size`` gives another, and made free where the
        spec says that the model takes any. Where the model's batch is free, ``options.batch`` pictures are taken at
        once; on the CPU nothing is gained by more than one. With ``options.threads == 0`` and a cache the number of
        threads is measured once for this machine and model.
        """
        # What people run on their own machine is nobody else's business.
        ort.disable_telemetry_events()
        provider = providers.choose(options)
        if not model.is_file():
            raise ModelLoadError(f"There is no model file {model}.")
        loading = _Loading(model, spec, options, provider)
        session = OnnxSession(loading.open(), provider.device, str(model), batch=options.batch, say=options.say)
        session.precision = "fp32" if options.precision == "auto" else options.precision
        if loading.reshaped:
            _try(session, spec, options, model)
        if session.max_batch > 1 and session.input_shape[0] is None:
            _try_batch(session, spec, options)
        return session

    def quantize(
        self, model: Path, out: Path, spec: ModelSpec, batches: Iterable[Float32Array], say: Callable[[str], None]
    ) -> None:
        """Write a copy of ``model`` that computes in int8; see ``streamtrack_onnx.quantizing.quantize``."""
        from streamtrack_onnx import quantizing  # half a second to import

        options = BackendOptions(device="cpu", threads=1)
        quantizing.quantize(_Loading(model, spec, options, providers.CPU).corrected(), out, batches, say)


class _Loading:
    """A model on its way to a session: what is in the file, and what of it is changed."""

    def __init__(self, model: Path, spec: ModelSpec, options: BackendOptions, provider: providers.Provider) -> None:
        self._model, self._options, self._provider = model, options, provider
        self._on_cpu = provider is providers.CPU
        # Elsewhere it may take minutes to compile: look at the model on the CPU first, where it loads at once.
        threads = options.threads or tuning.default_threads()
        self._probe = self._create(str(model), providers.CPU, threads)
        self._wanted: _Shape | None = None
        self._rewritten = not _takes_planes(self._probe)
        if self._rewritten:
            self._probe = self._create(self.corrected(), providers.CPU, threads)
        self._shape = _input_shape(self._probe, model)
        self._input = self._probe.get_inputs()[0].name
        self._wanted = _corrected(self._shape, spec, options)
        self._size = options.input_size or _fixed_size(self._shape, self.reshaped) or spec.input_size

    @property
    def reshaped(self) -> bool:
        """Whether the input's shape is not the one in the file."""
        return self._wanted is not None

    def corrected(self) -> bytes:
        """Return the model with pictures as its only input, of its new shape, and its weights constant."""
        from streamtrack_onnx import graph  # onnx takes a tenth of a second to import

        return graph.rewrite(self._model, self._wanted)

    def open(self) -> Any:
        """Return an ``onnxruntime.InferenceSession``."""
        self._check_precision()
        changed = self.reshaped or self._rewritten or bool(self._probe.get_overridable_initializers())
        source = self.corrected() if changed else str(self._model)
        threads = self._options.threads or tuning.default_threads()
        opened = {threads: self._probe} if self._on_cpu and not changed else {}
        if self._on_cpu and not self._options.threads and self._options.cache_dir is not None:
            threads = self._measured_threads(source, opened, self._options.cache_dir)
        self._probe = None  # two copies of a model are one too many
        return opened.get(threads) or self._create(source, self._provider, threads)

    def _measured_threads(self, source: str | bytes, opened: dict[int, Any], cache_dir: Path) -> int:
        circumstances = (self._size, ort.__version__, *tuning.machine())
        file = cache_dir / "onnx" / f"threads-{tuning.identify(self._model, *circumstances)}.json"
        picture = np.random.default_rng(0).uniform(0, 255, (_rows(self._shape, self._wanted), 3, *self._size))
        feed = {self._input: picture.astype(np.float32)}

        def make(threads: int) -> Callable[[], object]:
            session = opened.get(threads) or self._create(source, self._provider, threads)
            opened[threads] = session
            return lambda: session.run(None, feed)

        try:
            return tuning.remembered(file, lambda: tuning.measure(make))
        except Exception as error:  # the runtime's exceptions have no common base of their own
            width, height = self._size[1], self._size[0]
            raise ModelLoadError(
                f"Model {self._model} cannot take an input of {width}x{height}: {first_line(error)}."
            ) from error

    def _check_precision(self) -> None:
        if self._options.precision == "int8":
            from streamtrack_onnx import graph

            if not graph.is_quantized(self._model):
                raise BackendError(
                    f"Model {self._model} is not quantized: make one that is with "
                    "'streamtrack models quantize', or leave precision at auto."
                )

    def _cache(self) -> Path | None:
        """Return the folder for what is compiled of this model, or None."""
        if self._options.cache_dir is None or not self._provider.compiles:
            return None
        circumstances = (self._wanted, self._options.batch, self._options.precision, ort.__version__)
        name = tuning.identify(self._model, *circumstances)
        folder = self._options.cache_dir / "onnx" / self._provider.key / name
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        return folder if folder.is_dir() else None

    def _create(self, source: str | bytes, provider: providers.Provider, threads: int) -> Any:
        chain: list[tuple[str, dict[str, str]]] = [(provider.name, {})]
        if provider is not providers.CPU:
            shape, cache = self._wanted or self._shape, self._cache()
            chain = providers.configured(provider, self._options, shape, self._input, cache)
        # What only looks at a model need not optimise it.
        options = _session_options(threads, optimise=provider is self._provider, record=provider is not providers.CPU)
        try:
            session = ort.InferenceSession(source, options, providers=chain, enable_fallback=0)
        except Exception as error:  # the runtime's exceptions have no common base of their own
            if is_out_of_memory(error):
                raise BackendError(
                    f"{provider.device} has not enough memory for {self._model}: free some, or use --device cpu."
                ) from error
            raise ModelLoadError(f"Model {self._model} cannot be loaded: {reason(self._model, error)}.") from error
        providers.verify(session, provider, self._model, self._options.say)
        return session


def _session_options(threads: int, *, optimise: bool, record: bool) -> Any:
    options = ort.SessionOptions()
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY  # whatever goes wrong is raised as well
    # Within a call, threads are needed again after some microseconds, and waking one takes longer than waiting. Between
    # frames, spinning for ever as is the default burns a third of a core at 5 frames a second for nothing.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.intra_op.spin_duration_us", SPIN_US)
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if record:
        options.add_session_config_entry(providers.RECORD_PLACEMENT, "1")
    return options


def _takes_planes(session: Any) -> bool:
    """Return whether pictures, planes first, are the one input, as far as their shape tells."""
    shapes = [tuple(value.shape) for value in session.get_inputs()]
    return len(shapes) == 1 and not (len(shapes[0]) == 4 and shapes[0][3] == 3 and shapes[0][1] != 3)


def _input_shape(session: Any, model: Path) -> _Shape:
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


def _corrected(shape: _Shape, spec: ModelSpec, options: BackendOptions) -> _Shape | None:
    """Return the shape that the input should have, or None if it has it."""
    if options.input_size is not None:
        size: _Shape = options.input_size
    elif spec.dynamic_size and any(isinstance(side, int) for side in shape[2:]):
        size = ("height", "width")
    else:
        return None
    if size == shape[2:]:
        return None
    # Where the size stored was arbitrary the batch was too (CenterFace: 10).
    batch = shape[0] if not isinstance(shape[0], int) else "batch" if options.batch > 1 else 1
    return (batch, 3, *size)


def _fixed_size(shape: _Shape, reshaped: bool) -> tuple[int, int] | None:
    """Return the (height, width) that a model insists on, or None."""
    height, width = shape[2:]
    return (height, width) if isinstance(height, int) and isinstance(width, int) and not reshaped else None


def _rows(shape: _Shape, wanted: _Shape | None) -> int:
    batch = (wanted or shape)[0]
    return batch if isinstance(batch, int) else 1


def _trial_size(session: OnnxSession, spec: ModelSpec) -> tuple[int, int]:
    height, width = session.input_shape[2:]
    return height or 2 * spec.size_multiple, width or 3 * spec.size_multiple


def _try(session: OnnxSession, spec: ModelSpec, options: BackendOptions, model: Path) -> None:
    """Run once: a graph may have its stored size hard-wired further inside."""
    height, width = _trial_size(session, spec)
    try:
        session.run(np.zeros((1, 3, height, width), np.float32))
    except BackendError as error:
        raise ModelLoadError(f"Model {model} cannot take an input of {width}x{height}: {error}") from error


def _try_batch(session: OnnxSession, spec: ModelSpec, options: BackendOptions) -> None:
    """Run a whole batch once: a graph may declare its batch free and merge the pictures further inside."""
    try:
        session.run(np.zeros((session.max_batch, 3, *_trial_size(session, spec)), np.float32))
    except InferenceError as error:
        session.max_batch = 1
        options.say(f"batches of {options.batch} do not work, taking pictures one by one: {error}")
