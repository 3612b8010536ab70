"""Where a benchmark ran: the machine, the versions of everything that matters, and the commit."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from streamtrack.doctor import hardware

PACKAGES = (
    *("streamtrack", "onnxruntime", "onnxruntime-gpu", "tensorrt", "pycuda", "coremltools"),
    *("av", "numpy", "numba", "msgspec"),
)
_PATIENCE_S = 5
_BUSY = 0.5


def machine() -> dict[str, Any]:
    """Return what the machine is, as JSON knows it."""
    processor, memory, accelerators = hardware.processor(), hardware.memory(), hardware.accelerators()
    return {
        "processor": processor.text,
        "memory": memory.text,
        "accelerators": accelerators.text,
        "system": platform.platform(),
        "load_at_start": load(),
        "facts": {check.name: dict(check.facts) for check in (processor, memory, accelerators)},
    }


def load() -> float | None:
    """Return how many threads wanted to run over the last minute, on the average; None where nobody tells."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def other_work(known: Mapping[str, Any]) -> str:
    """Say that the machine was busy when the benchmark began, if it was; else ``""``."""
    found, cores = known.get("load_at_start") or 0.0, known.get("facts", {}).get("cpu", {}).get("usable_cores", 1)
    if found < _BUSY * cores:
        return ""
    return (
        f"Other work ran here when the benchmark began (load {found:.1f} on {cores:g} cores): the machine can do more."
    )


def devices() -> list[str]:
    """Return the devices that this machine has, the processor first."""
    kinds = {each["kind"] for each in hardware.accelerators().facts["accelerators"]}
    return ["cpu", *["cuda"] * ("nvidia" in kinds), *["mps"] * ("apple" in kinds)]


def versions() -> dict[str, str]:
    """Return the version of Python and of every package that matters and is installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit(folder: Path | None = None) -> str | None:
    """Return the commit that streamtrack runs from, with ``+`` where files were changed since; None from a wheel."""
    here = folder or Path(__file__).resolve().parents[3]
    if not (here / ".git").exists():
        return None
    try:
        found = _git(here, "rev-parse", "HEAD")
        return found + "+" * bool(_git(here, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=_PATIENCE_S).stdout.strip()
