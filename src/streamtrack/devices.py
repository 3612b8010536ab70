"""Which runtime takes a model on which device: what was wanted, what this machine offers, and why the rest was not it.

``auto`` means CUDA (TensorRT where it is installed, else ONNX Runtime's CUDA provider), then Apple with CoreML, then
the CPU. Whatever is passed over has its reason, and the reasons are kept with the run.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from streamtrack import registry
from streamtrack.api import Backend
from streamtrack.errors import BackendError, PluginError

AUTO: Final = "auto"
CPU: Final = "cpu"
COREML: Final = "coreml"
REFERENCE: Final = "onnx"
"""The backend whose CPU is what every accelerator is held against."""
_DEVICE_OF_PROVIDER: Final = {"cpu": "cpu", "cuda": "cuda", "tensorrt": "cuda", "coreml": "mps"}
"""Of ONNX Runtime's providers, where each runs."""
_RUNTIMES: Final = (
    *("streamtrack", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt-cu12", "tensorrt-cu13", "pycuda"),
    "coremltools",
)
_NVIDIA: Final = Path("/proc/driver/nvidia")

T = TypeVar("T")


class Candidate(NamedTuple):
    """A backend, and what it would be asked for."""

    backend: str
    device: str
    """``cpu``, ``cuda`` or ``mps``; ``auto`` for a backend that is not one of streamtrack's own."""
    provider: str = ""
    """See ``api.BackendOptions.provider``."""

    def __str__(self) -> str:
        name = f"{self.backend} ({self.provider})" if self.provider else self.backend
        return name if self.device == AUTO else f"{name} on {self.device}"


ORDER: Final = (
    Candidate("tensorrt", "cuda"),
    Candidate("onnx", "cuda"),
    Candidate("coreml", "mps"),
    Candidate("onnx", "mps"),
    Candidate("onnx", "cpu"),
)
"""What ``auto`` tries."""


class PassedOver(msgspec.Struct, frozen=True, kw_only=True):
    """A backend that would have come first."""

    backend: str
    device: str
    reason: str


class Choice(NamedTuple, Generic[T]):
    """What was chosen."""

    candidate: Candidate
    opened: T
    """What the attempt returned."""
    passed: tuple[PassedOver, ...]
    """What came before it, in order."""


class Failed(NamedTuple):
    """A candidate that is out, and whether that was only known when it was tried."""

    candidate: Candidate
    error: Exception
    tried: bool


def candidates(device: str = AUTO, backend: str = AUTO, provider: str = "") -> tuple[Candidate, ...]:
    """Return what may run a model, the best first.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        backend: ``auto``, or an entry point that is then the only one.
        provider: one of a runtime's own ways to run; without a backend it is ONNX Runtime's. Empty: the device's.

    Raises:
        BackendError: the provider does not run on the device.
    """
    if provider:
        backend = REFERENCE if backend == AUTO else backend
        return (Candidate(backend, _device_of(provider, device) if backend == REFERENCE else device, provider),)
    known = [each for each in ORDER if backend in (AUTO, each.backend)]
    if not known:
        return (Candidate(backend, device),)
    fitting = tuple(each for each in known if device in (AUTO, each.device))
    # A device that nobody knows, or that the backend is not for: the backend itself says so.
    return fitting or (Candidate(REFERENCE if backend == AUTO else backend, device),)


def _device_of(provider: str, device: str) -> str:
    own = _DEVICE_OF_PROVIDER.get(provider, device)
    if device not in (AUTO, own):
        raise BackendError(f"Provider '{provider}' runs on {own}, not on {device}: use --device {own} or auto.")
    return own


def unavailable(backend: Backend, device: str) -> str | None:
    """Return why ``backend`` cannot run on ``device`` here, as far as it can tell without a model, or None."""
    tells: Callable[[str], str | None] | None = getattr(backend, "unavailable", None)
    return tells(device) if tells is not None and device != AUTO else None


def survey(among: Sequence[Candidate] = ORDER) -> Iterator[tuple[Candidate, str | None]]:
    """Yield each candidate with why it cannot run here, or None, as far as that is known without loading a model."""
    for each in among:
        try:
            yield each, unavailable(registry.load("backends", each.backend)(), each.device)
        except PluginError as error:
            yield each, str(error)


def choose(
    among: Sequence[Candidate],
    attempt: Callable[[Candidate, Backend], T],
    *,
    tell: Callable[[str], None] = lambda text: None,
) -> Choice[T]:
    """Return the first candidate that ``attempt`` succeeds with.

    Args:
        among: as ``candidates`` returns them.
        attempt: loads the model; its ``BackendError`` or ``PluginError`` means the next candidate.
        tell: told in one line of each candidate that failed only when it was tried.

    Raises:
        BackendError: none is left; the last one's own error where it can run here or is alone, else all reasons.
        PluginError: the only one is not installed, or broken.
    """
    failed: list[Failed] = []
    for each in among:
        tried = False
        try:
            backend: Backend = registry.load("backends", each.backend)()
            if len(among) > 1 and (reason := unavailable(backend, each.device)):
                failed.append(Failed(each, BackendError(reason), tried))
                continue
            tried = True
            return Choice(each, attempt(each, backend), tuple(_passed(one) for one in failed))
        except (BackendError, PluginError) as error:
            failed.append(Failed(each, error, tried))
            if tried and each != among[-1]:
                tell(f"{each} cannot be used: {error}")
    raise _nothing_left(failed)


def _passed(failed: Failed) -> PassedOver:
    return PassedOver(backend=failed.candidate.backend, device=failed.candidate.device, reason=str(failed.error))


def _nothing_left(failed: Sequence[Failed]) -> Exception:
    last = failed[-1]
    if len(failed) == 1 or (last.tried and last.candidate.device == CPU):
        return last.error
    reasons = "; ".join(f"{each.candidate}: {str(each.error).rstrip('.')}" for each in failed)
    error = BackendError(f"Nothing here can run the model on {last.candidate.device}: {reasons}.")
    error.__cause__ = last.error
    return error


def fingerprint() -> tuple[str, ...]:
    """Return what a verdict about this machine depends on: its processors, its drivers and the runtimes' versions."""
    mac = platform.mac_ver()[0]
    machine = [platform.node(), platform.system(), platform.machine(), f"macOS {mac}" if mac else ""]
    return tuple(text for text in (*machine, *_nvidia(), *_versions()) if text)


def _nvidia() -> Iterator[str]:
    """Yield the driver's version and each GPU's model, as the Linux driver shows them."""
    for path in (_NVIDIA / "version", *sorted(_NVIDIA.glob("gpus/*/information"))):
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        yield from (" ".join(line.split()) for line in lines[:1])


def _versions() -> Iterator[str]:
    for name in _RUNTIMES:
        try:
            yield f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
