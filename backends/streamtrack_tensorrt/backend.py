"""TensorRTBackend: model files to sessions, by way of the engine cache."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from streamtrack.api import BackendOptions
from streamtrack.errors import BackendError
from streamtrack.models.spec import ModelSpec
from streamtrack_tensorrt.building import Interrupted, Order, OutOfMemory, build_interruptibly, precision_for
from streamtrack_tensorrt.engines import EngineCache, EngineFile, key_of
from streamtrack_tensorrt.graph import read_graph, shape_range
from streamtrack_tensorrt.runtime import Gpu, Runtime, load_runtime
from streamtrack_tensorrt.session import StaleEngine, TensorRTSession

_FORMAT: Final = 1
"""Raised when engines are built differently from the same order."""

T = TypeVar("T")


class _Wanted(NamedTuple):
    """An order with all that its engine depends on."""

    order: Order
    recipe: dict[str, Any]

    @property
    def about(self) -> str:
        """What measurements of one build are good for in another."""
        return "tensorrt {tensorrt} {gpu} {capability}".format(**self.recipe)


class TensorRTBackend:
    """Runs ONNX files as TensorRT engines, which are built when they are first needed."""

    name = "tensorrt"

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._kept_here = EngineCache(None)

    def unavailable(self, device: str) -> str | None:
        """Return why TensorRT cannot run on ``device`` here, or None; see ``streamtrack.api.Backend``."""
        if device != "cuda":
            return f"TensorRT runs on NVIDIA GPUs (cuda), not on {device}"
        try:
            Gpu(load_runtime().cuda).close()
        except BackendError as error:
            return str(error)
        return None

    def load(self, model: Path, spec: ModelSpec, options: BackendOptions) -> TensorRTSession:
        """Load ``model``; see ``streamtrack.api.Backend.load``.

        Where there is no engine for it yet, one is built first: minutes, told through ``options.say``. Where the GPU's
        memory is not enough for ``options.batch`` pictures, it is tried once more with one.
        """
        return self._with_memory(options, lambda within: self._load(model, spec, within))

    def prepare(self, model: Path, spec: ModelSpec, options: BackendOptions) -> None:
        """Build the engine that ``load`` needs, if there is none. On any thread; raises as ``load`` does."""
        self._with_memory(options, lambda within: self._prepare(model, spec, within))

    def interrupt(self) -> None:
        """End a build that is under way, and let none begin. From any thread."""
        self._stop.set()

    def engines(self, cache_dir: Path | None) -> EngineCache:
        """Return the cache of engines below ``cache_dir``."""
        return self._kept_here if cache_dir is None else EngineCache(cache_dir / "tensorrt")

    def leftover(self, file: EngineFile) -> str:
        """Return why no run on this machine will use a cached engine again, or nothing.

        Raises:
            BackendError: TensorRT cannot run here, so that nobody can tell.
        """
        if not file.recipe:
            return "damaged"
        runtime = load_runtime()
        here = {"format": _FORMAT, "tensorrt": runtime.version} | _gpu_here(runtime)
        differing = [f"{name} {file.recipe.get(name)}, here {value}" for name, value in here.items()
                     if file.recipe.get(name) != value]  # fmt: skip
        return "; ".join(differing)

    def _with_memory(self, options: BackendOptions, attempt: Callable[[BackendOptions], T]) -> T:
        try:
            return attempt(options)
        except OutOfMemory as error:
            if options.batch == 1:
                raise
            options.say(f"{error} Trying with one picture at a time instead of {options.batch}.")
        return attempt(msgspec.structs.replace(options, batch=1))

    def _load(self, model: Path, spec: ModelSpec, options: BackendOptions) -> TensorRTSession:
        runtime, wanted, cache = self._order(model, spec, options)
        order, key = wanted.order, key_of(wanted.recipe)

        def open_engine() -> TensorRTSession:
            engine = self._engine(runtime, wanted, cache, options)
            return TensorRTSession(runtime, engine, order.graph.shape, order.shapes, order.precision)

        try:
            return open_engine()
        except StaleEngine as error:
            options.say(f"the cached engine of {model.name} cannot be used and is built again: {error}")
            cache.discard(key)
        try:
            return open_engine()
        except StaleEngine as error:
            raise BackendError(f"TensorRT refuses the engine that it has just built of {model}: {error}") from error

    def _prepare(self, model: Path, spec: ModelSpec, options: BackendOptions) -> None:
        runtime, wanted, cache = self._order(model, spec, options)
        self._engine(runtime, wanted, cache, options)

    def _order(self, model: Path, spec: ModelSpec, options: BackendOptions) -> tuple[Runtime, _Wanted, EngineCache]:
        if options.device not in ("auto", "cuda"):
            raise BackendError(f"TensorRT runs on NVIDIA GPUs, not on device '{options.device}': use --device cuda.")
        runtime = load_runtime()
        graph = read_graph(model, spec, options)
        precision, converted = precision_for(options.precision, graph, runtime, model, options.say)
        order = Order(model, converted, shape_range(graph.shape, spec, options.batch), precision)
        recipe = {
            "format": _FORMAT,
            "onnx": hashlib.sha256(converted.onnx).hexdigest(),
            "tensorrt": runtime.version,
            "precision": precision,
            "shapes": [list(shape) for shape in order.shapes],
            **_gpu_here(runtime),
        }
        cache = self.engines(options.cache_dir)
        if not cache.usable():
            options.say(f"engines cannot be kept in {cache.folder}, which cannot be written: they are built every time")
            cache = self._kept_here
        return runtime, _Wanted(order, recipe), cache

    def _engine(self, runtime: Runtime, wanted: _Wanted, cache: EngineCache, options: BackendOptions) -> bytes:
        key = key_of(wanted.recipe)
        if (found := cache.load(key)) is not None:
            return found
        with cache.building(key, self._waiting(options)):
            # Whoever had the lock has built it.
            if (found := cache.load(key)) is not None:
                return found
            if self._stop.is_set():
                raise Interrupted("The build of a TensorRT engine was interrupted.")
            built = build_interruptibly(runtime, wanted.order, cache.timing(wanted.about), options.say, self._stop)
            try:
                cache.store(wanted.recipe, built.engine, wanted.order.model.name)
                cache.store_timing(wanted.about, built.timing)
            except BackendError as error:
                options.say(f"{error} The engine is used for this run only.")
            return built.engine

    def _waiting(self, options: BackendOptions) -> Callable[[], None]:
        said = False

        def wait() -> None:
            nonlocal said
            if self._stop.is_set():
                raise Interrupted("Waiting for a TensorRT engine was interrupted.")
            if not said:
                options.say("another process is building this TensorRT engine: waiting for it")
                said = True

        return wait


def _gpu_here(runtime: Runtime) -> dict[str, str]:
    with closing(Gpu(runtime.cuda)) as gpu:
        return {"gpu": gpu.name, "capability": gpu.capability}
