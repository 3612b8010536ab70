"""A stand-in for ``pycuda.driver`` that enforces the rules of CUDA: every breach is an error here.

What is copied asynchronously arrives when its stream is waited for, and not before; until then a host buffer for
results holds rubbish.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np


class Error(Exception):
    pass


class LogicError(Error):
    pass


class MemoryError(Error, MemoryError):
    pass


class Breach(AssertionError):
    """A rule of CUDA or TensorRT was broken: on a real GPU a crash or wrong numbers."""


class Device:
    def __init__(self, cuda: FakeCuda, number: int) -> None:
        self._cuda = cuda

    def name(self) -> str:
        return self._cuda.gpu

    def compute_capability(self) -> tuple[int, int]:
        return self._cuda.capability

    def retain_primary_context(self) -> Context:
        return Context(self._cuda)


class Context:
    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda, self._thread = cuda, threading.get_ident()
        cuda.retained += 1

    def push(self) -> None:
        if threading.get_ident() != self._thread:
            raise Breach("a context was used on another thread than its own")
        self._cuda.stack.append(self)

    def pop(self) -> None:
        self._cuda.stack.pop()

    def detach(self) -> None:
        if self in self._cuda.stack:
            raise Breach("a context was given back while it was current")
        self._cuda.retained -= 1


class DeviceAllocation:
    def __init__(self, cuda: FakeCuda, address: int, size: int) -> None:
        self._cuda, self._address, self.size = cuda, address, size

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        self._cuda.current()
        if self._cuda.memory.pop(self._address, None) is None:
            raise Breach("freed twice")


class Stream:
    def __init__(self, cuda: FakeCuda, flags: int = 0) -> None:
        cuda.current()
        self._cuda, self.work = cuda, list[Callable[[], None]]()
        self.handle = 0x5000 + len(cuda.streams)
        cuda.streams[self.handle] = self

    def synchronize(self) -> None:
        self._cuda.current()
        work, self.work = self.work, []
        for step in work:
            step()


class FakeCuda(ModuleType):
    """One GPU."""

    Error, LogicError, MemoryError = Error, LogicError, MemoryError

    def __init__(self, *, gpu: str = "Fake H200", capability: tuple[int, int] = (9, 0), memory: int = 1 << 34) -> None:
        super().__init__("pycuda.driver")
        self.gpu, self.capability, self.free_bytes = gpu, capability, memory
        self.driver, self.gpus = 13000, 1
        self.memory: dict[int, np.ndarray[Any, Any]] = {}
        self.pinned: list[np.ndarray[Any, Any]] = []
        self.streams: dict[int, Stream] = {}
        self.retained = 0
        self.allocations = 0
        self._next = 0x10000
        self._local = threading.local()
        cuda = self

        class BoundDevice(Device):
            def __init__(self, number: int) -> None:
                super().__init__(cuda, number)

            @staticmethod
            def count() -> int:
                return cuda.gpus

        self.Device = BoundDevice

    @property
    def stack(self) -> list[Context]:
        """Contexts that are current to this thread, the innermost last."""
        if not hasattr(self._local, "stack"):
            self._local.stack = []
        stack: list[Context] = self._local.stack
        return stack

    def current(self) -> None:
        if not self.stack:
            raise LogicError("cuCtxGetCurrent failed: invalid device context")

    def init(self, flags: int = 0) -> None:
        if not self.driver:
            raise LogicError("cuInit failed: CUDA driver version is insufficient for CUDA runtime version")

    def get_driver_version(self) -> int:
        return self.driver

    def Stream(self, flags: int = 0) -> Stream:  # noqa: N802
        return Stream(self, flags)

    def mem_alloc(self, bytes: int) -> DeviceAllocation:
        self.current()
        if bytes <= 0:
            raise LogicError("cuMemAlloc failed: invalid argument")
        if sum(block.nbytes for block in self.memory.values()) + bytes > self.free_bytes:
            raise MemoryError("cuMemAlloc failed: out of memory")
        address, self._next = self._next, self._next + (bytes + 511) // 512 * 512 + 512
        self.memory[address] = np.full(bytes, 0xAB, np.uint8)
        self.allocations += 1
        return DeviceAllocation(self, address, bytes)

    def pagelocked_empty(
        self, shape: tuple[int, ...], dtype: Any, order: str = "C", mem_flags: int = 0
    ) -> np.ndarray[Any, Any]:
        self.current()
        array = np.empty(shape, dtype)
        array.view(np.uint8)[...] = 0xCD
        self.pinned.append(array)
        self.allocations += 1
        return array

    def at(self, address: int, size: int) -> np.ndarray[Any, Any]:
        """Return ``size`` bytes of the GPU's memory."""
        for start, block in self.memory.items():
            if start <= address and address + size <= start + block.nbytes:
                return block[address - start : address - start + size]
        raise Breach(f"{size} bytes at {address:#x} are not allocated")

    def _host(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if not any(np.shares_memory(array, own) for own in self.pinned):
            raise Breach("asynchronous copy of memory that is not pinned")
        if not array.flags.c_contiguous:
            raise Breach("asynchronous copy of memory that is not contiguous")
        return array.reshape(-1).view(np.uint8)

    def memcpy_htod_async(self, dest: Any, src: np.ndarray[Any, Any], stream: Stream | None = None) -> None:
        self.current()
        host, device = self._host(src), self.at(int(dest), src.nbytes)
        self._queue(stream).append(lambda: np.copyto(device, host))

    def memcpy_dtoh_async(self, dest: np.ndarray[Any, Any], src: Any, stream: Stream | None = None) -> None:
        self.current()
        host, device = self._host(dest), self.at(int(src), dest.nbytes)
        host[...] = 0xEE
        self._queue(stream).append(lambda: np.copyto(host, device))

    def _queue(self, stream: Stream | None) -> list[Callable[[], None]]:
        if stream is None:
            raise Breach("asynchronous copy without a stream of its own")
        return stream.work
