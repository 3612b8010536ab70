"""A stand-in for ``tensorrt``, version 10 or 11, that enforces TensorRT's rules and computes with ONNX Runtime.

The classes here hold nothing that the real ones lack: ``test_contract`` compares them with the real bindings.
"""

from __future__ import annotations

import enum
import json
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from fake_cuda import Breach, FakeCuda

NUMPY = {"FLOAT": np.float32, "HALF": np.float16, "INT32": np.int32, "INT64": np.int64, "BOOL": np.bool_}
DataType = enum.Enum("DataType", list(NUMPY))  # type: ignore[misc]
OF_ONNX = {1: DataType.FLOAT, 10: DataType.HALF, 6: DataType.INT32, 7: DataType.INT64, 9: DataType.BOOL}
TensorIOMode = enum.Enum("TensorIOMode", "NONE INPUT OUTPUT")
FLAGS_10 = "FP16 INT8 BF16 TF32"
FLAGS_11 = "TF32"


class ILogger:
    Severity = enum.Enum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")

    def __init__(self) -> None:
        self.ready = True

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError


class IProgressMonitor:
    def __init__(self) -> None:
        self.ready = True

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        raise NotImplementedError

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise NotImplementedError

    def phase_finish(self, phase_name: str) -> None:
        raise NotImplementedError


class IHostMemory(bytes):
    @property
    def nbytes(self) -> int:
        return len(self)


class IOptimizationProfile:
    def __init__(self) -> None:
        self._shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        if not all(a <= b <= c for a, b, c in zip(min, opt, max, strict=True)):
            raise ValueError("min <= opt <= max does not hold")
        self._shapes[input] = [list(min), list(opt), list(max)]


class ITimingCache:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> IHostMemory:
        return IHostMemory(self._content)


class IBuilderConfig:
    def __init__(self, trt: FakeTensorRT) -> None:
        self._trt = trt
        self._flags: set[Any] = {trt.BuilderFlag.TF32}
        self._profiles: list[IOptimizationProfile] = []
        self._timing: ITimingCache | None = None
        self.progress_monitor: Any = None

    def set_flag(self, flag: Any) -> None:
        self._flags.add(self._trt.BuilderFlag(flag))

    def clear_flag(self, flag: Any) -> None:
        self._flags.discard(self._trt.BuilderFlag(flag))

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
        return ITimingCache(bytes(serialized_timing_cache) or b"timing of " + self._trt.label.encode())

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if not ignore_mismatch and not bytes(cache.serialize()).startswith(b"timing of " + self._trt.label.encode()):
            return False
        self._timing = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self._timing


class INetworkDefinition:
    def __init__(self) -> None:
        self._onnx = b""


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network = network
        self._errors: list[str] = []

    def parse(self, model: bytes, path: str | None = None) -> bool:
        try:
            ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        except Exception as error:
            self._errors.append(f"In node 0: {error}")
            return False
        self._network._onnx = model
        return True

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        text = self._errors[index]
        return SimpleNamespace(desc=lambda: text)


class Builder:
    def __init__(self, trt: FakeTensorRT, logger: ILogger) -> None:
        trt.start(logger)
        self._trt, self._logger = trt, logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig(self._trt)

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        self._trt.cuda.current()
        self._trt.builds.append(sorted(flag.name for flag in config._flags))
        if self._trt.build_error:
            self._logger.log(ILogger.Severity.ERROR, self._trt.build_error.pop(0))
            return None
        if not self._report(config.progress_monitor):
            return None
        shapes: dict[str, Any] = {}
        for profile in config._profiles:
            shapes |= profile._shapes
        said = {"for": self._trt.label, "shapes": shapes}
        return IHostMemory(json.dumps(said).encode() + b"\n" + network._onnx)

    def _report(self, monitor: Any) -> bool:
        """Go through the phases on a thread of TensorRT's own."""
        if not monitor.ready:
            raise Breach("the monitor's own constructor was not called")
        going = True

        def work() -> None:
            nonlocal going
            monitor.phase_start("Building", None, 2)
            for outer in range(2):
                monitor.phase_start("Tactics", "Building", self._trt.steps)
                for step in range(self._trt.steps):
                    self._trt.on_step()
                    going = going and monitor.step_complete("Tactics", step)
                    if not going:
                        return
                monitor.phase_finish("Tactics")
                going = monitor.step_complete("Building", outer)
            monitor.phase_finish("Building")

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return going


class Runtime:
    def __init__(self, trt: FakeTensorRT, logger: ILogger) -> None:
        trt.start(logger)
        self._trt, self._logger = trt, logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        self._trt.cuda.current()
        head, _, model = bytes(serialized_engine).partition(b"\n")
        try:
            said = json.loads(head)
        except ValueError:
            said = {"for": "nothing"}
        if said["for"] != self._trt.label:
            self._logger.log(ILogger.Severity.ERROR, f"The engine plan file is not compatible: it is for {said['for']}")
            return None
        return ICudaEngine(self._trt, said["shapes"], model, self._logger)


class ICudaEngine:
    def __init__(self, trt: FakeTensorRT, shapes: dict[str, Any], model: bytes, logger: ILogger) -> None:
        self._trt, self._shapes, self._model, self._logger = trt, shapes, model, logger
        graph = onnx.load_from_string(model).graph
        weights = {weight.name for weight in graph.initializer}
        self._inputs = [value for value in graph.input if value.name not in weights]
        self._values = {value.name: value for value in [*self._inputs, *graph.output]}
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._free = {value.name: value.shape for value in (*self._session.get_inputs(), *self._session.get_outputs())}

    @property
    def num_io_tensors(self) -> int:
        return len(self._values)

    def get_tensor_name(self, index: int) -> str:
        return list(self._values)[index]

    def get_tensor_mode(self, name: str) -> Any:
        return TensorIOMode.INPUT if name in {value.name for value in self._inputs} else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(size if isinstance(size, int) else -1 for size in self._free[name])

    def get_tensor_dtype(self, name: str) -> Any:
        return OF_ONNX[self._values[name].type.tensor_type.elem_type]

    def create_execution_context(self) -> IExecutionContext | None:
        self._trt.cuda.current()
        largest = max(int(np.prod(shapes[2])) for shapes in self._shapes.values())
        if largest > self._trt.context_elements:
            self._logger.log(ILogger.Severity.ERROR, "Requested amount of GPU memory could not be allocated.")
            self._logger.log(ILogger.Severity.ERROR, "OutOfMemory (no further information)")
            return None
        return IExecutionContext(self)


class IExecutionContext:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine, self._trt = engine, engine._trt
        self._thread = threading.get_ident()
        self._addresses: dict[str, int] = {}
        self._input: tuple[int, ...] | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._trt.contexts.append(self)

    def _used(self) -> None:
        self._trt.cuda.current()
        if threading.get_ident() != self._thread:
            raise Breach("an execution context was used on another thread than its own")

    def __del__(self) -> None:
        if threading.get_ident() != self._thread:
            self._trt.breaches.append("an execution context was destroyed on another thread than its own")
        if not self._trt.cuda.stack:
            self._trt.breaches.append("an execution context was destroyed while no CUDA context was current")

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._used()
        low, _, high = self._engine._shapes[name]
        if len(shape) != len(low) or not all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True)):
            self._engine._logger.log(ILogger.Severity.ERROR, f"{shape} is not within the profile")
            return False
        self._input = tuple(shape)
        self._trt.shape_changes += 1
        picture = np.zeros(shape, NUMPY[self._engine.get_tensor_dtype(name).name])
        found = self._engine._session.run(None, {name: picture})
        names = [value.name for value in self._engine._session.get_outputs()]
        self._shapes = {name: self._input} | {n: a.shape for n, a in zip(names, found, strict=True)}
        for unknown in self._trt.unknowable:
            self._shapes[unknown] = (-1, *self._shapes[unknown][1:])
        return True

    def infer_shapes(self) -> list[str]:
        self._used()
        return [] if self._input else ["input"]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._used()
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        self._used()
        stream = self._trt.cuda.streams.get(stream_handle)
        if stream is None:
            raise Breach("executed on the default stream, or on one that is gone")
        if self._trt.run_error:
            self._engine._logger.log(ILogger.Severity.ERROR, self._trt.run_error.pop(0))
            return False
        tensors = {}
        for name, shape in self._shapes.items():
            if name not in self._addresses:
                raise Breach(f"tensor {name} has no address")
            dtype = np.dtype(NUMPY[self._engine.get_tensor_dtype(name).name])
            memory = self._trt.cuda.at(self._addresses[name], int(np.prod(shape)) * dtype.itemsize)
            tensors[name] = memory.view(dtype).reshape(shape)
        stream.work.append(lambda: self._compute(tensors))
        return True

    def _compute(self, tensors: dict[str, Any]) -> None:
        (given,) = (value.name for value in self._engine._inputs)
        names = [value.name for value in self._engine._session.get_outputs()]
        for name, found in zip(names, self._engine._session.run(names, {given: tensors[given]}), strict=True):
            tensors[name][...] = found


class FakeTensorRT(ModuleType):
    """The module; ``version`` decides which flags there are."""

    ILogger, IProgressMonitor, TensorIOMode, DataType = ILogger, IProgressMonitor, TensorIOMode, DataType
    OnnxParser = OnnxParser

    def __init__(self, cuda: FakeCuda, version: str = "10.16.1.11") -> None:
        super().__init__("tensorrt")
        self.__version__, self.cuda = version, cuda
        self.BuilderFlag = enum.Enum("BuilderFlag", FLAGS_10 if version.startswith("10.") else FLAGS_11)
        self.starts, self.steps, self.context_elements = True, 3, 1 << 40
        self.builds: list[list[str]] = []
        self.build_error: list[str] = []
        self.run_error: list[str] = []
        self.unknowable: list[str] = []
        self.contexts: Any = _Counted()
        self.breaches: list[str] = []
        self.shape_changes = 0
        self.on_step: Any = lambda: None

    @property
    def label(self) -> str:
        return f"{self.__version__} {self.cuda.gpu}"

    def start(self, logger: ILogger) -> None:
        if not logger.ready:
            raise Breach("the logger's own constructor was not called")
        if not self.starts:
            logger.log(ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self.cuda.current()

    def init_libnvinfer_plugins(self, logger: Any, namespace: str) -> bool:
        return True

    def nptype(self, trt_type: Any) -> Any:
        return NUMPY[trt_type.name]

    def Builder(self, logger: ILogger) -> Builder:  # noqa: N802
        return Builder(self, logger)

    def Runtime(self, logger: ILogger) -> Runtime:  # noqa: N802
        return Runtime(self, logger)


class _Counted:
    """How many contexts there were, without keeping any alive."""

    def __init__(self) -> None:
        self.made = 0

    def append(self, context: IExecutionContext) -> None:
        self.made += 1
