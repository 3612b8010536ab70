"""How many threads one inference should have, measured once for each machine and model."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Final

CANDIDATES: Final = (1, 2, 4)
"""Detectors of a few milliseconds stop gaining at four, and the decoder wants cores too."""
WORTH: Final = 0.10
"""More threads cost CPU time for waking and waiting, so they must bring at least this share of the latency."""
_ROUNDS = 5
_ENOUGH_S = 0.4


def available_cpus() -> int:
    """Return how many CPUs this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def default_threads() -> int:
    """Return how many threads one inference gets where nobody says and nothing is measured."""
    return min(available_cpus(), CANDIDATES[-1])


def fewest_threads(latency: Mapping[int, float]) -> int:
    """Return the smallest number of threads whose latency is within ``WORTH`` of the best.

    Args:
        latency: of one inference by number of threads, in any unit.
    """
    best = min(latency.values())
    return min(threads for threads, taken in latency.items() if taken <= best * (1 + WORTH))


def measure(make: Callable[[int], Callable[[], object]], *, clock: Callable[[], float] = time.perf_counter) -> int:
    """Return the fewest threads that are about as fast as any number of them.

    The candidates take turns, so that a machine that is busy for a while is busy for all of them, and each counts by
    its best run. It takes about half a second, less for a fast model.

    Args:
        make: makes what runs one inference with so many threads; called once for each candidate.
        clock: tells seconds.
    """
    runs = {threads: make(threads) for threads in CANDIDATES if threads <= available_cpus()}
    if len(runs) == 1:
        return min(runs)
    for run in runs.values():
        run()  # the first run allocates
    latency = dict.fromkeys(runs, float("inf"))
    started = clock()
    for _ in range(_ROUNDS):
        for threads, run in runs.items():
            before = clock()
            run()
            latency[threads] = min(latency[threads], clock() - before)
        if clock() - started > _ENOUGH_S:
            break
    return fewest_threads(latency)


def remembered(file: Path, measured: Callable[[], int]) -> int:
    """Return the number of threads kept in ``file``, measuring and keeping it where there is none.

    A file that cannot be read is measured anew, one that cannot be written is done without.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        threads = json.loads(file.read_text(encoding="utf-8"))["threads"]
        if threads in CANDIDATES:
            return int(threads)
    threads = measured()
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, suffix=".part", delete=False, encoding="utf-8") as part:
            json.dump({"threads": threads}, part)
        os.replace(part.name, file)
    return threads


def identify(model: Path, *circumstances: object) -> str:
    """Return 24 hex digits for a model's content and the circumstances under which it runs.

    Raises:
        OSError: the model cannot be read.
    """
    with model.open("rb") as stream:
        content = file_digest(stream, "sha256").hexdigest()
    return sha256(repr((content, *circumstances)).encode()).hexdigest()[:24]


def machine() -> tuple[str, ...]:
    """Return what tells one machine's speed from another's: kind, processor, and the CPUs this process may use."""
    processor = platform.processor()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next(line for line in lines if line.startswith("model name")).partition(":")[2].strip()
    return (platform.machine(), processor, str(available_cpus()))
