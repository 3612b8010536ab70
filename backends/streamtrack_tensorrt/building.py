"""Builds an engine from a graph: minutes of measuring, with progress, and with a way out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from streamtrack.errors import BackendError, ModelLoadError
from streamtrack_tensorrt.graph import Graph, ShapeRange
from streamtrack_tensorrt.halving import halved
from streamtrack_tensorrt.runtime import Gpu, Log, Runtime, one_line

Precision = Literal["fp32", "fp16", "int8"]

_SAY_EVERY_S: Final = 5.0
_POLL_S = 0.1


class Interrupted(BackendError):
    """The build was given up because somebody asked for it."""


class OutOfMemory(BackendError):
    """The memory of the GPU is not enough."""


class Order(NamedTuple):
    """What is to be built."""

    model: Path
    """For messages."""
    graph: Graph
    shapes: ShapeRange
    precision: Precision


class Built(NamedTuple):
    """An engine, and what was measured on the way."""

    engine: bytes
    timing: bytes
    """Timing cache for the next build."""


def precision_for(
    wanted: str, graph: Graph, runtime: Runtime, model: Path, say: Callable[[str], None]
) -> tuple[Precision, Graph]:
    """Return the precision that will be built for, and the graph in it.

    TensorRT 10 chooses per layer when told that half precision is allowed; 11 computes in the types of the graph, which
    is converted then. ``auto`` is int8 for a model that brings its scales, else fp16, else fp32 where that cannot be.

    Raises:
        BackendError: int8 is asked for, and the model does not bring its scales.
    """
    if wanted == "int8" and not graph.quantised:
        raise BackendError(
            f"Model {model} holds no quantisation scales for int8: quantise it first (streamtrack models quantize), or "
            "use --precision fp16."
        )
    if graph.quantised and wanted in ("auto", "int8"):
        return "int8", graph
    if wanted == "fp32":
        return "fp32", graph
    if _flag(runtime.trt, "FP16") is not None:
        return "fp16", graph
    converted, reason = halved(graph.onnx)
    if not reason:
        return "fp16", graph._replace(onnx=converted)
    say(f"TensorRT {runtime.version} takes its types from the model, and {model.name} stays in fp32: {reason}")
    return "fp32", graph


def build_interruptibly(
    runtime: Runtime, order: Order, timing: bytes, say: Callable[[str], None], stop: threading.Event
) -> Built:
    """Build on a thread of its own, so that Ctrl-C and ``stop`` end it within a step.

    Args:
        runtime: the modules.
        order: what to build.
        timing: timing cache of earlier builds, or nothing.
        say: told every few seconds how far it is, on this thread; what it raises ends the build.
        stop: set by whoever wants the build to end.

    Raises:
        Interrupted: ``stop`` was set.
        OutOfMemory: the GPU's memory is not enough.
        ModelLoadError: TensorRT cannot build this model.
        BackendError: TensorRT cannot start.
    """
    progress = Progress(stop)
    outcome: list[Built | BaseException] = []

    def work() -> None:
        try:
            outcome.append(_build(runtime, order, timing, progress))
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=work, name="streamtrack-engine-build")
    say(f"building a TensorRT engine of {order.model.name} in {order.precision}: this takes minutes, once")
    thread.start()
    try:
        _watch(thread, progress, say)
    except BaseException:
        progress.cancel()
        raise
    finally:
        thread.join()
    (result,) = outcome
    if isinstance(result, Built):
        return result
    raise result


def _watch(thread: threading.Thread, progress: Progress, say: Callable[[str], None]) -> None:
    said_at, said = time.monotonic(), ""
    while thread.is_alive():
        thread.join(_POLL_S)
        now, text = time.monotonic(), progress.text()
        if text and text != said and now - said_at >= _SAY_EVERY_S:
            say(text)
            said_at, said = now, text


class Progress:
    """How far a build is. TensorRT writes it from several threads."""

    def __init__(self, stop: threading.Event) -> None:
        """Watch ``stop``: once it is set, the next step is the last."""
        self._stop = stop
        self._cancelled = False
        self._phases: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def monitor(self, trt: Any) -> Any:
        """Return a ``tensorrt.IProgressMonitor`` that writes here."""
        progress = self

        class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.IProgressMonitor.__init__(self)

            def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
                progress.set(phase_name, 0, num_steps)

            def phase_finish(self, phase_name: str) -> None:
                progress.finish(phase_name)

            def step_complete(self, phase_name: str, step: int) -> bool:
                progress.set(phase_name, step + 1)
                return not progress.cancelled

        return Monitor()

    def set(self, phase: str, step: int, steps: int | None = None) -> None:
        """Note that ``step`` of so many ``steps`` of a phase are done."""
        with self._lock:
            self._phases[phase] = (step, steps if steps is not None else self._phases.get(phase, (0, 0))[1])

    def finish(self, phase: str) -> None:
        """Note that a phase is over."""
        with self._lock:
            self._phases.pop(phase, None)

    def text(self) -> str:
        """Return the phases under way, the outermost first, or nothing."""
        with self._lock:
            shown = [f"{name} {step}/{steps}" for name, (step, steps) in self._phases.items()]
        return f"building a TensorRT engine: {', '.join(shown[:3])}" if shown else ""

    def cancel(self) -> None:
        """Let the next step be the last."""
        self._cancelled = True

    @property
    def cancelled(self) -> bool:
        """Whether the build shall end."""
        return self._cancelled or self._stop.is_set()


def _build(runtime: Runtime, order: Order, timing: bytes, progress: Progress) -> Built:
    gpu = Gpu(runtime.cuda)
    with closing(gpu), gpu.active():
        return _build_here(runtime, order, timing, progress)


def _build_here(runtime: Runtime, order: Order, timing: bytes, progress: Progress) -> Built:
    trt, log = runtime.trt, Log()
    logger = log.logger(trt)
    # Plug-ins of TensorRT's own, such as its suppression of boxes, are known to the parser only after this.
    trt.init_libnvinfer_plugins(logger, "")
    builder = started(lambda: trt.Builder(logger), runtime, log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(order.graph.onnx):
        said = parser.get_error(0).desc() if parser.num_errors else log.reason()
        raise ModelLoadError(f"Model {order.model} cannot be used with TensorRT: {one_line(said)}.")
    config = _configured(runtime, builder, order)
    cache = config.create_timing_cache(timing)
    # A timing cache of another GPU or version is refused, and this build starts with an empty one.
    if not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    monitor = progress.monitor(trt)
    config.progress_monitor = monitor
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise _failure(order, progress, log)
    return Built(bytes(engine), bytes(config.get_timing_cache().serialize()))


def _configured(runtime: Runtime, builder: Any, order: Order) -> Any:
    config = builder.create_builder_config()
    if (flag := _flag(runtime.trt, order.precision.upper())) is not None:
        config.set_flag(flag)
    if order.precision == "fp32":
        # Otherwise products are rounded to ten bits, and nobody who asks for fp32 expects that.
        config.clear_flag(runtime.trt.BuilderFlag.TF32)
    profile = builder.create_optimization_profile()
    profile.set_shape(order.graph.input, *order.shapes)
    config.add_optimization_profile(profile)
    return config


def _flag(trt: Any, name: str) -> Any:
    """Return a builder flag, or None where this version has none of the name: 11 has no flags for types."""
    return getattr(trt.BuilderFlag, name, None)


def _failure(order: Order, progress: Progress, log: Log) -> BackendError:
    if progress.cancelled:
        return Interrupted(f"The build of a TensorRT engine of {order.model.name} was interrupted.")
    if log.out_of_memory:
        return OutOfMemory(f"The GPU has not enough memory to build an engine of {order.model}: {log.reason()}.")
    return ModelLoadError(f"TensorRT cannot build an engine of {order.model}: {log.reason()}.")


def started(make: Callable[[], Any], runtime: Runtime, log: Log) -> Any:
    """Return what ``make`` makes: one of the two objects with which TensorRT starts.

    Raises:
        BackendError: TensorRT cannot start, mostly because the driver is too old for it.
    """
    try:
        return make()
    except TypeError as error:  # what its bindings make of a null pointer
        major, minor = divmod(runtime.cuda.get_driver_version() // 10, 100)
        raise BackendError(
            f"TensorRT {runtime.version} cannot start with this NVIDIA driver, which is for CUDA {major}.{minor} "
            f"({log.reason()}): update the driver, or use --device cpu."
        ) from error
