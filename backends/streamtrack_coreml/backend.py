"""CoreMLBackend: packages to sessions on macOS, ONNX files to packages anywhere."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from streamtrack.api import BackendOptions
from streamtrack.errors import BackendError, ModelLoadError
from streamtrack.models.spec import ModelSpec
from streamtrack_coreml import compiled, package
from streamtrack_coreml.package import Precision, Size
from streamtrack_coreml.session import CoreMLSession

UNITS: Final = {
    "all": "ALL",
    "cpu_and_ne": "CPU_AND_NE",
    "cpu_and_gpu": "CPU_AND_GPU",
    "cpu_only": "CPU_ONLY",
}
"""``BackendOptions.provider``: names of compute units, and what coremltools calls them."""
_DEVICES: Final = ("cpu", "mps")
_MACOS: Final = "Darwin"


class CoreMLBackend:
    """Runs ``.mlpackage`` folders with Core ML, and makes them."""

    name = "coreml"

    def unavailable(self, device: str) -> str | None:
        """Say why nothing can run on ``device`` here, or None; see ``streamtrack.api.Backend``."""
        if device not in _DEVICES:
            return f"Core ML does not run on '{device}', only on {' and '.join(_DEVICES)}."
        if (system := platform.system()) != _MACOS:
            return f"Core ML exists on macOS alone, and this is {system}."
        if importlib.util.find_spec("coremltools") is None:
            return "Core ML needs coremltools: pip install 'streamtrack[coreml]'."
        return None

    def load(self, model: Path, spec: ModelSpec, options: BackendOptions) -> CoreMLSession:
        """Load ``model``; see ``streamtrack.api.Backend.load``.

        Args:
            model: a ``.mlpackage``, or an ONNX file of which a package was exported: beside it, or in ``coreml``
                below ``options.cache_dir``.
            spec: its conventions.
            options: ``provider`` names the compute units (``UNITS``); ``input_size`` picks one of the sizes that the
                package takes.
        """
        units = _units(options)
        device = "mps" if options.device == "auto" else options.device
        if reason := self.unavailable(device):
            raise BackendError(f"{reason} Use --backend onnx, on --device cpu or, with an NVIDIA GPU, cuda.")
        path = model if model.suffix == package.SUFFIX else _exported(model, options)
        runtime = load_runtime()
        found = package.read(path, runtime)
        _check_precision(found, options)
        shape = found.shape_for(options.input_size)
        loaded = compiled.load(path, runtime.ComputeUnit[units], runtime, _own_folder(options), options.say)
        return CoreMLSession(loaded, found, shape, "cpu" if units == UNITS["cpu_only"] else "mps", options.batch)

    def export(
        self,
        model: Path,
        spec: ModelSpec,
        out: Path | None,
        *,
        sizes: Sequence[Size],
        precision: Precision,
        licence: str,
        say: Callable[[str], None],
    ) -> Path:
        """Convert an ONNX file to a package, on any system; see ``streamtrack_coreml.export.export``."""
        from streamtrack_coreml.export import export

        return export(model, spec, out, sizes=sizes, precision=precision, licence=licence, say=say)


def load_runtime() -> Any:
    """Return the module ``coremltools``.

    Raises:
        BackendError: it is not installed, or broken.
    """
    # Off macOS each of its parts that is missing is worth a warning to it; here they are not needed.
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    try:
        return importlib.import_module("coremltools")
    except Exception as error:  # a broken installation may raise anything
        raise BackendError(
            f"Core ML needs coremltools, which cannot be imported ({package.one_line(error)}): "
            "pip install 'streamtrack[coreml]'."
        ) from error


def _units(options: BackendOptions) -> str:
    if options.device not in ("auto", *_DEVICES):
        raise BackendError(f"Core ML does not run on '{options.device}': use auto, {', '.join(_DEVICES)}.")
    provider = options.provider or ("cpu_only" if options.device == "cpu" else "all")
    if provider not in UNITS:
        raise BackendError(f"Core ML has no compute units '{provider}': use {', '.join(UNITS)}.")
    if (options.device == "cpu") != (provider == "cpu_only") and options.device != "auto":
        raise BackendError(f"Compute units '{provider}' are not what --device {options.device} means: use one of them.")
    return UNITS[provider]


def _own_folder(options: BackendOptions) -> Path | None:
    return options.cache_dir / "coreml" if options.cache_dir else None


def _exported(model: Path, options: BackendOptions) -> Path:
    if not model.is_file():
        raise ModelLoadError(f"There is no model file {model}.")
    own = _own_folder(options)
    folders = [model.parent, own] if own else [model.parent]
    found = package.find(package.digest(model), folders, options.input_size, options.precision)
    if found is None:
        size = "{1}x{0}".format(*options.input_size) if options.input_size else ""
        wanted = "".join(
            f" --{name} {value}"
            for name, value in (("size", size), ("precision", options.precision))
            if value not in ("", "auto")
        )
        raise ModelLoadError(
            f"Core ML cannot run {model} as it is, and no package of it was found beside it"
            f"{f' or in {own}' if own else ''}: make one, here or on Linux, with "
            f"`streamtrack models export {model} --to coreml{wanted}`."
        )
    return found


def _check_precision(found: package.Package, options: BackendOptions) -> None:
    has = found.notes.precision if found.notes else None
    if options.precision not in ("auto", has) and (has is not None or options.precision == "int8"):
        raise BackendError(
            f"{options.precision} was asked for, but {found.path} computes in {has or 'a precision it does not tell'}: "
            "Core ML packages are exported with --precision fp16 or fp32."
        )
