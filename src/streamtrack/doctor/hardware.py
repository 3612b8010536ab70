"""The machine itself: processor, memory, accelerators, disk. Needs the standard library alone."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamtrack.allowance import cgroup_cores, cgroup_memory, usable_cores
from streamtrack.doctor.checks import Check

_PATIENCE_S = 5
_LITTLE_ROOM = 1 << 30
_LITTLE_MEMORY = 1 << 30
_GIB = 1 << 30


def processor() -> Check:
    """Check the processor."""
    count, usable, limit = os.cpu_count() or 1, usable_cores(), cgroup_cores()
    text = f"{_processor_name()}, {count} cores"
    if usable < count:
        why = "the control group of this container" if limit == usable else "the affinity of this process"
        text += f", of which {why} grants {usable:g}"
    facts = {"name": _processor_name(), "cores": count, "usable_cores": usable, "cgroup_cores": limit}
    if limit is not None and limit < count:
        threads = max(1, int(limit))
        return Check("machine", "cpu", "note", text, f"streamtrack run ... --threads {threads}", facts)
    return Check("machine", "cpu", "ok", text, facts=facts)


def _processor_name() -> str:
    with contextlib.suppress(OSError):
        found = re.search(r"^(?:model name|Hardware|Model)\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
        if found:
            return found[1].strip()
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if platform.system() == "Darwin":
            return _output(["sysctl", "-n", "machdep.cpu.brand_string"])
    return platform.processor() or platform.machine() or "unknown processor"


def memory() -> Check:
    """Check the memory."""
    total, free = _memory()
    limit = cgroup_memory()
    granted = min((amount for amount in (total, limit) if amount), default=0)
    facts = {"total_bytes": total, "available_bytes": free, "cgroup_bytes": limit}
    if not granted:
        return Check("machine", "memory", "ok", "cannot be told on this system", facts=facts)
    text = f"{granted / _GIB:.1f} GiB" + (f", {free / _GIB:.1f} GiB of it free" if free and granted == total else "")
    if limit and granted == limit:
        text += " granted by the control group of this container"
    little = min(granted, free or granted) < _LITTLE_MEMORY
    return Check("machine", "memory", "note" if little else "ok", text + " (little)" * little, facts=facts)


def _memory() -> tuple[int | None, int | None]:
    with contextlib.suppress(OSError):
        found = dict(re.findall(r"^(\w+):\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.M))
        return int(found["MemTotal"]) << 10, int(found["MemAvailable"]) << 10
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), None
    return None, None


def disk() -> Check:
    """Check the room for results in the current folder."""
    here = Path.cwd()
    free = shutil.disk_usage(here).free
    facts = {"folder": str(here), "free_bytes": free, "writable": os.access(here, os.W_OK)}
    if not facts["writable"]:
        text, remedy = f"{here} cannot be written to, and results go there by default", "streamtrack run ... --out DIR"
        return Check("machine", "disk", "note", text, remedy, facts)
    little = free < _LITTLE_ROOM
    text = f"{free / _GIB:.1f} GiB free in {here}" + " (little)" * little
    return Check("machine", "disk", "note" if little else "ok", text, facts=facts)


def accelerators() -> Check:
    """Check for graphics processors that could run a model."""
    found: list[dict[str, Any]] = []
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        try:
            found = [_gpu(line) for line in _output(query).splitlines() if line.strip()]
        except (OSError, subprocess.SubprocessError) as error:
            text = f"nvidia-smi is there but fails ({_cause(error)}): the driver does not work, so no GPU will"
            return Check("inference", "accelerators", "note", text, facts={"accelerators": []})
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        found.append({"kind": "apple", "name": _processor_name()})
    text = ", ".join(_described(each) for each in found) or "none: models run on the CPU"
    return Check("inference", "accelerators", "ok", text, facts={"accelerators": found})


def _gpu(line: str) -> dict[str, Any]:
    name, memory, driver = (part.strip() for part in line.rsplit(",", 2))
    return {"kind": "nvidia", "name": name, "memory": memory, "driver": driver}


def _described(accelerator: Mapping[str, Any]) -> str:
    if accelerator["kind"] == "nvidia":
        return f"{accelerator['name']} ({accelerator['memory']}, driver {accelerator['driver']})"
    return f"{accelerator['name']} (GPU and Neural Engine)"


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=True)
    return done.stdout.strip()


def _cause(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return (error.stdout or error.stderr or "").strip().partition("\n")[0] or f"exit code {error.returncode}"
    return "no answer" if isinstance(error, subprocess.TimeoutExpired) else str(error)
