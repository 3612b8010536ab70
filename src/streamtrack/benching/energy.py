"""Energy, where the platform tells: Intel's and AMD's RAPL counters, nvidia-smi, macOS's powermetrics.

RAPL counts what the processor packages of the whole machine use, and is as a rule readable by root alone; nvidia-smi
tells the power of all GPUs; powermetrics, which runs as root only, that of CPU, GPU and Neural Engine together.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

POWERCAP = Path("/sys/class/powercap")
_EVERY_MS = 200
_PATIENCE_S = 2.0


class Meter:
    """Used between entering and leaving the block; ``joules`` is None where nobody tells.

    Args:
        device: of the case: a GPU's own meter is asked for ``cuda``.
        powercap: folder of the RAPL counters.
    """

    def __init__(self, device: str, powercap: Path = POWERCAP) -> None:
        self.source = ""
        self.joules: float | None = None
        self._device, self._powercap = device, powercap
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Meter:
        if self._device == "cuda" and shutil.which("nvidia-smi"):
            self.source = "nvidia-smi"
            command = ["nvidia-smi", "--query-gpu=power.draw", "--format=csv,noheader,nounits", f"-lms={_EVERY_MS}"]
            self._stack.enter_context(self._sampled(command, watts_of_nvidia))
        elif sys.platform == "darwin" and os.geteuid() == 0 and shutil.which("powermetrics"):
            self.source = "powermetrics"
            command = ["powermetrics", "--samplers", "cpu_power", "-i", str(_EVERY_MS)]
            self._stack.enter_context(self._sampled(command, watts_of_powermetrics))
        elif (before := rapl_joules(self._powercap)) is not None:
            self.source = "RAPL"
            self._stack.callback(self._count, before)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        if self.joules is None:
            self.source = ""

    def _count(self, before: dict[str, tuple[float, float]]) -> None:
        after = rapl_joules(self._powercap)
        if after and after.keys() == before.keys():
            self.joules = sum(rise(before[name], after[name][0]) for name in before)

    @contextlib.contextmanager
    def _sampled(self, command: list[str], watts_of: Callable[[str], list[float]]) -> Iterator[None]:
        with tempfile.TemporaryFile("w+") as out:
            started = time.perf_counter()
            process = _started(command, out)
            try:
                yield
            finally:
                seconds = time.perf_counter() - started
                if process:
                    _ended(process)
                out.seek(0)
                watts = watts_of(out.read())
                self.joules = seconds * sum(watts) / len(watts) if watts else None


def _started(command: list[str], out: IO[str]) -> subprocess.Popen[str] | None:
    try:
        return subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True)
    except OSError:
        return None


def _ended(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def rapl_joules(powercap: Path = POWERCAP) -> dict[str, tuple[float, float]] | None:
    """Return counter and range in joules of each processor package; None where they cannot be read."""
    counters = {}
    for folder in sorted(powercap.glob("*-rapl:*")):
        with contextlib.suppress(OSError, ValueError):
            # What lies within a package (core, uncore, dram) is part of it or counted elsewhere.
            if (folder / "name").read_text().startswith("package"):
                values = [int((folder / name).read_text()) for name in ("energy_uj", "max_energy_range_uj")]
                counters[folder.name] = (values[0] / 1e6, values[1] / 1e6)
    return counters or None


def rise(before: tuple[float, float], after: float) -> float:
    """Return how far a counter rose that starts again at 0 beyond its range.

    Args:
        before: counter and range in joules.
        after: the same counter later, less than one range on.
    """
    counter, span = before
    return after - counter if after >= counter else after + span - counter


def watts_of_nvidia(text: str) -> list[float]:
    """Return the watts in what ``nvidia-smi -lms`` printed, one line per GPU and sample; several GPUs are averaged."""
    return [float(line) for line in text.splitlines() if re.fullmatch(r"\s*\d+(\.\d+)?\s*", line)]


def watts_of_powermetrics(text: str) -> list[float]:
    """Return the watts of each sample that ``powermetrics`` printed."""
    return [float(milliwatts) / 1000 for milliwatts in re.findall(r"^Combined Power .*: (\d+) mW$", text, re.M)]
