"""Compiled models (``.mlmodelc``), kept so that the next start does not compile again."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from streamtrack.errors import ModelLoadError
from streamtrack_coreml.package import digest, one_line

SUFFIX: Final = ".mlmodelc"


def load(package: Path, units: Any, runtime: Any, cache_dir: Path | None, say: Callable[[str], None]) -> Any:
    """Return the package compiled and loaded, a ``coremltools.models.CompiledMLModel``.

    What was compiled is found again by the package's content and the version of macOS, which is what Core ML makes it
    for. One that does not load any more is compiled anew, once. Two processes may do this at the same time: each
    compiles for itself, and what one moves into place serves both.

    Args:
        package: a ``.mlpackage`` folder.
        units: a ``coremltools.ComputeUnit``.
        runtime: the module ``coremltools``.
        cache_dir: where compiled models are kept; None for nowhere.
        say: told that it compiles, which may take a while.

    Raises:
        ModelLoadError: Core ML cannot compile or load it, or the cache cannot be written.
    """
    if cache_dir is None:
        # Once loaded, Core ML holds what it needs in memory.
        with tempfile.TemporaryDirectory(prefix="streamtrack-coreml-") as work:
            return _load(_compile(package, Path(work), runtime), package, units, runtime)
    kept = cache_dir / f"{package.stem}-{_key(package)}{SUFFIX}"
    if kept.is_dir():
        try:
            return _load(kept, package, units, runtime)
        except ModelLoadError as error:
            say(f"what was compiled of {package.name} no longer loads, compiling it again: {error}")
            shutil.rmtree(kept, ignore_errors=True)
    say(f"compiling {package.name} for this machine")
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{package.stem}.", dir=cache_dir) as work:
            _move(_compile(package, Path(work), runtime), kept)
    except OSError as error:
        raise ModelLoadError(
            f"What is compiled of {package} cannot be kept in {cache_dir}: {error.strerror or error}."
        ) from error
    return _load(kept, package, units, runtime)


def _key(package: Path) -> str:
    system = f"{platform.mac_ver()[0]} {platform.machine()}"
    return hashlib.sha256(f"{digest(package)} {system}".encode()).hexdigest()[:16]


def _compile(package: Path, work: Path, runtime: Any) -> Path:
    target = work / f"model{SUFFIX}"
    try:
        runtime.models.utils.compile_model(str(package), str(target))
    except Exception as error:  # coremltools raises bare exceptions
        raise ModelLoadError(f"Core ML cannot compile {package}: {one_line(error)}.") from error
    return target


def _load(compiled: Path, package: Path, units: Any, runtime: Any) -> Any:
    try:
        return runtime.models.CompiledMLModel(str(compiled), compute_units=units)
    except Exception as error:  # coremltools raises bare exceptions
        raise ModelLoadError(f"Core ML cannot load {package}: {one_line(error)}.") from error


def _move(compiled: Path, kept: Path) -> None:
    try:
        os.rename(compiled, kept)
    except OSError:
        # Another process was first: a folder that is not empty cannot be replaced, and need not be.
        if not kept.is_dir():
            raise
