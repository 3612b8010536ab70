"""TensorRTSession: an engine with its stream, its pinned host buffers and its memory on the GPU, allocated once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamtrack.api import Tensors
from streamtrack.errors import BackendError, InferenceError, ModelLoadError
from streamtrack_tensorrt.building import OutOfMemory, Precision, started
from streamtrack_tensorrt.graph import ShapeRange
from streamtrack_tensorrt.runtime import Gpu, Log, Runtime, one_line

Array = NDArray[Any]


class StaleEngine(BackendError):
    """An engine that this TensorRT or this GPU does not take, or that is not of this model: to be built again."""


class Buffer(NamedTuple):
    """One tensor's memory, large enough for its largest shape."""

    host: Array
    """Pinned, of one dimension."""
    device: Any
    """``pycuda.driver.DeviceAllocation``."""

    def view(self, shape: tuple[int, ...]) -> Array:
        """Return the host memory as a tensor of ``shape``."""
        return self.host[: int(np.prod(shape))].reshape(shape)


class Layout(NamedTuple):
    """The host's views of all tensors for one shape of the input."""

    rows: list[tuple[Array, int]]
    """Of the input: each picture's memory and where it goes on the GPU."""
    whole: dict[str, Array]
    """Outputs as the engine gives them: with a stored batch, also of the pictures that only fill it up."""
    by_count: dict[int, dict[str, Array]]
    """Outputs by the number of pictures that were asked for."""


class TensorRTSession:
    """Maps pictures to tensors; see ``streamtrack.api.Session``. Of one thread."""

    def __init__(
        self, runtime: Runtime, engine: bytes, shape: tuple[int | None, ...], shapes: ShapeRange, precision: Precision
    ) -> None:
        """Load an engine.

        Args:
            runtime: the modules.
            engine: as it was built.
            shape: of the input, None where it is free.
            shapes: the range it was built for.
            precision: what it was built for.

        Raises:
            StaleEngine: the engine is not for this TensorRT, this GPU or this input.
            OutOfMemory: the GPU's memory is not enough.
            ModelLoadError: the size of an output depends on what is in the picture.
            BackendError: TensorRT or CUDA cannot start.
        """
        self.device = "cuda"
        self.precision = precision
        self.input_shape = shape
        self.max_batch = shapes.largest[0]
        self._fixed_batch = shape[0]
        self._cuda, self._log = runtime.cuda, Log()
        self._layouts: dict[tuple[int, ...], Layout] = {}
        self._shape: tuple[int, ...] = ()
        self._range = shapes
        self._closed = False
        self._gpu = Gpu(runtime.cuda)
        with ExitStack() as undo:
            undo.callback(self.close)
            with _translated(runtime.cuda), self._gpu.active():
                self._open(runtime, engine)
            undo.pop_all()

    def _open(self, runtime: Runtime, engine: bytes) -> None:
        trt = runtime.trt
        self._buffers: dict[str, Buffer] = {}
        self._context = self._engine = self._runtime = self._stream = None
        logger = self._logger = self._log.logger(trt)
        trt.init_libnvinfer_plugins(logger, "")
        self._runtime = started(lambda: trt.Runtime(logger), runtime, self._log)
        self._engine = self._runtime.deserialize_cuda_engine(engine)
        if self._engine is None:
            raise self._refusal(StaleEngine, "the engine was refused")
        names = [self._engine.get_tensor_name(n) for n in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        if len(inputs) != 1:
            raise StaleEngine(f"the engine has {len(inputs)} inputs")
        (self._input,) = inputs
        self._names = [name for name in names if name not in inputs]
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise self._refusal(OutOfMemory, "there is no room for what the engine computes with")
        self._stream = self._cuda.Stream()
        self.outputs = tuple((name, _free(self._engine.get_tensor_shape(name))) for name in self._names)
        self._types = {name: np.dtype(trt.nptype(self._engine.get_tensor_dtype(name))) for name in names}
        self._allocate()

    def _allocate(self) -> None:
        self._enter_shape(self._range.largest)
        for name in (self._input, *self._names):
            shape = tuple(self._context_of().get_tensor_shape(name))
            if min(shape, default=1) < 0:
                raise ModelLoadError(
                    f"The size of output '{name}' depends on what is in the picture, which is not supported with "
                    "TensorRT: use --backend onnx."
                )
            size = int(np.prod(shape))
            # Zero-sized allocations are refused.
            host = self._cuda.pagelocked_empty((max(size, 1),), self._types[name])
            buffer = self._buffers[name] = Buffer(host, self._cuda.mem_alloc(host.nbytes))
            if not self._context_of().set_tensor_address(name, int(buffer.device)):
                raise self._refusal(BackendError, f"tensor '{name}' was refused its memory")

    def run(self, batch: NDArray[np.float32]) -> Tensors:
        """Run the engine; see ``streamtrack.api.Session.run``. The tensors are views of pinned memory."""
        if self._closed:
            raise InferenceError("A TensorRT engine was run after it was closed.")
        self._check(batch)
        with _translated(self._cuda, InferenceError), self._gpu.active():
            return self._run(batch)

    def _run(self, batch: NDArray[np.float32]) -> Tensors:
        count = len(batch)
        layout = self._layout((self._fixed_batch or count, *batch.shape[1:]))
        stream = self._stream
        # While one picture is on its way to the GPU, the next is copied to where it can start from.
        for row, (picture, address) in enumerate(layout.rows):
            picture[...] = batch[row] if row < count else 0
            self._cuda.memcpy_htod_async(address, picture, stream)
        if not self._context_of().execute_async_v3(self._handle()):
            self._handle_failure()
        for name in self._names:
            if layout.whole[name].nbytes:
                self._cuda.memcpy_dtoh_async(layout.whole[name], self._buffers[name].device, stream)
        self._synchronize()
        if count not in layout.by_count:
            layout.by_count[count] = {name: tensor[:count] for name, tensor in layout.whole.items()}
        return layout.by_count[count]

    def _handle_failure(self) -> None:
        # What was copied so far must have arrived before the next call writes to the same memory.
        self._synchronize()
        raise self._refusal(InferenceError, "the engine failed to run")

    def _layout(self, shape: tuple[int, ...]) -> Layout:
        if shape != self._shape:
            self._enter_shape(shape)
        if shape not in self._layouts:
            outputs = {name: tuple(self._context_of().get_tensor_shape(name)) for name in self._names}
            views = {name: self._buffers[name].view(size) for name, size in outputs.items()}
            host, device = self._buffers[self._input].view(shape), int(self._buffers[self._input].device)
            rows = [(picture, device + row * picture.nbytes) for row, picture in enumerate(host)]
            self._layouts[shape] = Layout(rows, views, {})
        return self._layouts[shape]

    def _enter_shape(self, shape: tuple[int, ...]) -> None:
        if not self._context_of().set_input_shape(self._input, shape):
            raise self._refusal(StaleEngine, f"the engine does not take an input of {shape}")
        missing = self._context_of().infer_shapes()
        if missing:
            raise self._refusal(BackendError, f"the shapes of {', '.join(missing)} are unknown")
        self._shape = shape

    def _check(self, batch: NDArray[np.float32]) -> None:
        low, high = self._range.smallest, self._range.largest
        fits = batch.ndim == 4 and all(a <= n <= b for a, n, b in zip(low[1:], batch.shape[1:], high[1:], strict=True))
        if batch.dtype != np.float32 or not fits or not 1 <= len(batch) <= self.max_batch:
            limits = zip(low[1:], high[1:], strict=True)
            want = ", ".join(str(a) if a == b else f"{a}..{b}" for a, b in limits)
            raise InferenceError(
                f"The engine takes float32 of shape (1..{self.max_batch}, {want}), got {batch.dtype} of {batch.shape}."
            )

    def close(self) -> None:
        """Release everything; more than once does no harm."""
        if self._closed:
            return
        self._closed = True
        with self._gpu.active():
            # The context uses the engine, and the engine the runtime.
            self._context = None
            self._layouts.clear()
            for buffer in getattr(self, "_buffers", {}).values():
                buffer.device.free()
            self._buffers = {}
            self._stream = None
            self._engine = None
            self._runtime = None
        self._gpu.close()

    def _context_of(self) -> Any:
        return self._context

    def _handle(self) -> int:
        stream: Any = self._stream
        return int(stream.handle)

    def _synchronize(self) -> None:
        stream: Any = self._stream
        stream.synchronize()

    def _refusal(self, kind: type[BackendError], what: str) -> BackendError:
        if self._log.out_of_memory:
            kind = kind if kind is InferenceError else OutOfMemory
            what = "the GPU's memory is not enough"
        return kind(f"TensorRT: {what} ({self._log.reason()}).")


@contextmanager
def _translated(cuda: Any, kind: type[BackendError] = BackendError) -> Iterator[None]:
    try:
        yield
    except cuda.MemoryError as error:
        kind = kind if kind is InferenceError else OutOfMemory
        raise kind(f"The GPU's memory is not enough ({one_line(error)}).") from error
    except cuda.Error as error:
        raise kind(f"CUDA failed: {one_line(error)}.") from error


def _free(shape: Any) -> tuple[int | None, ...]:
    return tuple(int(size) if size >= 0 else None for size in shape)
