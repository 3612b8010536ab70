"""What of the machine this process may use, as its affinity and control groups (the limits of a container) say."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_NO_LIMIT = 1 << 60


def usable_cores() -> float:
    """Return how many processors this process may use: its affinity, less what a control group leaves of it."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    cores = float(len(affinity(0)) if affinity else os.cpu_count() or 1)
    limit = cgroup_cores()
    return min(cores, limit) if limit else cores


def cgroup_cores(root: Path = Path("/")) -> float | None:
    """Return the processors a Linux control group grants, a container's usually; None for no limit.

    Args:
        root: where the file systems of the kernel are mounted.
    """
    for folder in _cgroups(root, "cpu"):
        with contextlib.suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            return None if quota == "max" else int(quota) / int(period)
        with contextlib.suppress(OSError, ValueError):
            quota_us = int((folder / "cpu.cfs_quota_us").read_text())
            period_us = int((folder / "cpu.cfs_period_us").read_text())
            return quota_us / period_us if quota_us > 0 else None
    return None


def cgroup_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes of memory that a control group grants; None for no limit."""
    for folder in _cgroups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with contextlib.suppress(OSError, ValueError):
                limit = int((folder / name).read_text())
                # Version 1 says "no limit" with a number beyond any memory.
                return limit if limit < _NO_LIMIT else None
    return None


def _cgroups(root: Path, controller: str) -> list[Path]:
    mounted = root / "sys/fs/cgroup"
    own = []
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                own.append(mounted / path.lstrip("/"))
            elif controller in controllers.split(","):
                own.append(mounted / controller / path.lstrip("/"))
    return [*own, mounted, mounted / controller]
