"""Execution providers: ONNX Runtime's ways to run a model, how each is set up, and whether it really does the work."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import onnxruntime as ort

from streamtrack.api import BackendOptions
from streamtrack.errors import BackendError

Shape = tuple[int | str | None, ...]
"""Of an input as ONNX Runtime tells it: free dimensions as names or None."""

RECORD_PLACEMENT: Final = "session.record_ep_graph_assignment_info"
"""Entry of a session's configuration that makes it remember which provider took which node."""


class Provider(NamedTuple):
    """One execution provider."""

    key: str
    """What ``BackendOptions.provider`` calls it."""
    name: str
    """What ONNX Runtime calls it."""
    device: str
    package: str
    """What to install to have it."""
    precisions: tuple[str, ...]
    """What it can be asked to compute in, besides ``auto``. int8 is a property of the model as well."""
    compiles: bool = False
    """Turns parts of a graph into programs of its own: many small parts cost more than they save."""


CPU: Final = Provider("cpu", "CPUExecutionProvider", "cpu", "onnxruntime", ("fp32", "int8"))
PROVIDERS: Final = {
    provider.key: provider
    for provider in (
        CPU,
        Provider("cuda", "CUDAExecutionProvider", "cuda", "onnxruntime-gpu", ("fp32", "int8")),
        Provider(
            *("tensorrt", "TensorrtExecutionProvider", "cuda", "onnxruntime-gpu and TensorRT 10"),
            ("fp32", "fp16", "int8"),
            compiles=True,
        ),
        Provider("coreml", "CoreMLExecutionProvider", "mps", "onnxruntime on macOS", ("fp32", "fp16"), compiles=True),
    )
}
_OF_DEVICE: Final = {"auto": "cpu", "cpu": "cpu", "cuda": "cuda", "mps": "coreml"}


def choose(options: BackendOptions) -> Provider:
    """Return the provider that ``options`` ask for: by name, else that of the device.

    ``auto`` without a provider is the CPU: which device is best is decided before a backend is asked.

    Raises:
        BackendError: there is no such device or provider, this ONNX Runtime lacks it, or it cannot do what is asked.
    """
    if options.device not in _OF_DEVICE:
        raise BackendError(f"There is no device '{options.device}': use {', '.join(_OF_DEVICE)}.")
    provider = PROVIDERS.get(options.provider or _OF_DEVICE[options.device])
    if provider is None:
        raise BackendError(f"ONNX Runtime has no provider '{options.provider}': use {', '.join(PROVIDERS)}.")
    if options.device not in ("auto", provider.device):
        raise BackendError(
            f"Provider '{provider.key}' runs on device {provider.device}, not on '{options.device}': leave one out."
        )
    if provider.name not in ort.get_available_providers():
        asked = f"Provider '{options.provider}'" if options.provider else f"Device '{options.device}'"
        raise BackendError(
            f"{asked} needs {provider.name}, which this ONNX Runtime {ort.__version__} lacks: "
            f"install {provider.package}, or use --device cpu."
        )
    if options.precision not in ("auto", *provider.precisions):
        raise BackendError(
            f"ONNX Runtime's provider '{provider.key}' cannot compute in {options.precision}: "
            f"use auto, {', '.join(provider.precisions)}."
        )
    if provider.device == "cuda" and hasattr(ort, "preload_dlls"):
        # Finds the CUDA libraries that came as Python packages. It prints, and standard output belongs to the records.
        with contextlib.redirect_stdout(sys.stderr):
            ort.preload_dlls()
    return provider


def configured(
    provider: Provider, options: BackendOptions, shape: Shape, input_name: str, cache: Path | None
) -> list[tuple[str, dict[str, str]]]:
    """Return ``provider`` with its settings, and behind it those that may take what it cannot.

    Args:
        provider: the one that shall run.
        options: what was asked for.
        shape: of the input, free dimensions as names or None.
        input_name: of the input.
        cache: folder for what is compiled from just this model in just this shape; None for none.
    """
    chain = [(provider.name, _SETTINGS[provider.key](options, shape, input_name, cache))]
    if provider.key == "tensorrt":
        chain.append((PROVIDERS["cuda"].name, _cuda(options, shape, input_name, cache)))
    if provider is not CPU:
        chain.append((CPU.name, {}))
    return chain


def _cpu(options: BackendOptions, shape: Shape, input_name: str, cache: Path | None) -> dict[str, str]:
    return {}


def _cuda(options: BackendOptions, shape: Shape, input_name: str, cache: Path | None) -> dict[str, str]:
    return {
        # The default tries every algorithm anew for each size of picture, for seconds.
        "cudnn_conv_algo_search": "HEURISTIC",
        # The default doubles what it takes, which ends where others use the device too.
        "arena_extend_strategy": "kSameAsRequested",
        # TensorFloat-32 keeps 10 bits of 23.
        "use_tf32": "0" if options.precision == "fp32" else "1",
    }


def _tensorrt(options: BackendOptions, shape: Shape, input_name: str, cache: Path | None) -> dict[str, str]:
    settings = {
        "trt_fp16_enable": str(options.precision == "fp16"),
        "trt_int8_enable": str(options.precision == "int8"),
    }
    if cache is not None:
        settings |= {
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": str(cache),
            "trt_timing_cache_enable": "True",
            "trt_timing_cache_path": str(cache),
        }
    if not isinstance(shape[0], int) and all(isinstance(side, int) for side in shape[2:]):
        # Without a profile the engine is built again for every number of pictures.
        for bound, batch in (("min", 1), ("opt", options.batch), ("max", options.batch)):
            settings[f"trt_profile_{bound}_shapes"] = f"{input_name}:{batch}x3x{shape[2]}x{shape[3]}"
    return settings


def _coreml(options: BackendOptions, shape: Shape, input_name: str, cache: Path | None) -> dict[str, str]:
    settings = {
        "ModelFormat": "MLProgram",
        "MLComputeUnits": "ALL",
        # The Neural Engine takes static shapes only; a graph of free ones would be cut into pieces around it.
        "RequireStaticInputShapes": "1" if all(isinstance(size, int) for size in shape) else "0",
        "AllowLowPrecisionAccumulationOnGPU": "1" if options.precision == "fp16" else "0",
    }
    if cache is not None:
        settings["ModelCacheDirectory"] = str(cache)
    return settings


_SETTINGS: Final = {"cpu": _cpu, "cuda": _cuda, "tensorrt": _tensorrt, "coreml": _coreml}


def verify(session: Any, provider: Provider, model: Path, say: Callable[[str], None]) -> None:
    """Check that a session runs where it was meant to, and tell of a graph that was cut into pieces.

    Args:
        session: an ``onnxruntime.InferenceSession``.
        provider: which one was asked for.
        model: for messages.
        say: told in one line of pieces that others run.

    Raises:
        BackendError: it was replaced by another, or takes not one operation of this model.
    """
    # A provider that cannot start is silently replaced by the CPU.
    if (running := session.get_providers()[0]) != provider.name:
        raise BackendError(f"{provider.name} was asked for, but {running} would run {model}: use --device cpu.")
    if provider is CPU or not hasattr(session, "get_provider_graph_assignment_info"):  # of ONNX Runtime 1.24 and later
        return
    parts = session.get_provider_graph_assignment_info()
    own = [len(part.get_nodes()) for part in parts if part.ep_name == provider.name]
    total = sum(len(part.get_nodes()) for part in parts)
    if parts and not own:
        raise BackendError(
            f"{provider.name} was asked for, but takes none of the {total} operations of {model}: use --device cpu."
        )
    if provider.compiles and (len(own) > 1 or sum(own) < total):
        say(
            f"{provider.name} takes {sum(own)} of {total} operations of {model.name} in {len(own)} pieces and leaves "
            "the rest to others: it may well be slower than the CPU"
        )
