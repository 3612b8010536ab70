"""TensorRT and PyCUDA: imported when a model is loaded, and what can go wrong with that and with the GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from streamtrack.errors import BackendError

_MAJORS: Final = (10, 11)
_INSTALL = "pip install 'streamtrack[tensorrt]'"
_INSTEAD = "or use --device cpu"


class Runtime(NamedTuple):
    """The two modules. They come without types."""

    trt: Any
    """``tensorrt``."""
    cuda: Any
    """``pycuda.driver``."""

    @property
    def version(self) -> str:
        """Version of TensorRT, such as ``10.16.1.11``."""
        return str(self.trt.__version__)


def load_runtime() -> Runtime:
    """Import TensorRT and PyCUDA.

    Raises:
        BackendError: one of them is missing or cannot be loaded, or TensorRT is neither 10 nor 11.
    """
    try:
        import pycuda.driver as cuda
        import tensorrt as trt
    except ModuleNotFoundError as error:
        raise BackendError(f"TensorRT needs the package '{error.name}': {_INSTALL}, {_INSTEAD}.") from error
    except (ImportError, OSError) as error:
        if "libcuda" in str(error) or "nvcuda" in str(error):
            raise BackendError(f"There is no NVIDIA driver ({one_line(error)}): install it, {_INSTEAD}.") from error
        raise BackendError(f"TensorRT cannot be loaded: {one_line(error)}; {_INSTALL}, {_INSTEAD}.") from error
    found = Runtime(trt, cuda)
    if int(found.version.partition(".")[0]) not in _MAJORS:
        raise BackendError(f"TensorRT {found.version} is neither 10 nor 11: {_INSTALL}, {_INSTEAD}.")
    return found


class Gpu:
    """The first GPU that this process sees, and its primary context, which TensorRT uses too.

    Of one thread: whoever opens it also uses and closes it.
    """

    def __init__(self, cuda: Any) -> None:
        """Open the GPU with the module ``pycuda.driver``.

        Raises:
            BackendError: there is no GPU, or no driver that is recent enough.
        """
        try:
            cuda.init()
            if not cuda.Device.count():
                raise BackendError(f"This machine shows no NVIDIA GPU to this process: check nvidia-smi, {_INSTEAD}.")
            device = cuda.Device(0)
            self.name = str(device.name())
            self.capability = "{}.{}".format(*device.compute_capability())
            self._context = device.retain_primary_context()
        except cuda.Error as error:
            raise BackendError(
                f"CUDA cannot start ({one_line(error)}): update the NVIDIA driver to one for this CUDA, {_INSTEAD}."
            ) from error

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make the context current to this thread; around every use of the GPU."""
        # Left on its thread's stack at the end of that thread, PyCUDA would abort the process.
        self._context.push()
        try:
            yield
        finally:
            self._context.pop()

    def close(self) -> None:
        """Give the context back."""
        self._context.detach()


class Log:
    """What TensorRT said of itself, worst last: its calls return None or False and tell why only here."""

    def __init__(self) -> None:
        self._errors: list[str] = []

    def logger(self, trt: Any) -> Any:
        """Return a ``tensorrt.ILogger`` that writes here."""
        errors = self._errors
        grave = (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR)

        class Logger(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, msg: str) -> None:
                if severity in grave:
                    errors.append(one_line(msg))

        return Logger()

    def reason(self) -> str:
        """Return the first error since the last call, which the others follow from, and forget them all."""
        first = self._errors[0] if self._errors else "no reason given"
        self._errors.clear()
        return first

    @property
    def out_of_memory(self) -> bool:
        """Whether the GPU's memory was not enough."""
        return any("out of memory" in text.lower() or "outofmemory" in text.lower() for text in self._errors)


def one_line(error: object) -> str:
    """Return a message in one line and without its full stop."""
    return " ".join(str(error).split()).rstrip(". ") or type(error).__name__
