"""What a benchmark found, as it is written to ``bench.json`` and read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from streamtrack import folder
from streamtrack.errors import ConfigError

SCHEMA_VERSION = 1
REPORT = "bench.json"

Outcome = Literal["ok", "failed", "skipped"]


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One way to run one model."""

    backend: str
    device: str
    model: str
    size: int
    """Longest side of the input in px; 0: the model's own."""
    threads: int = 0
    """0: as many as the backend chooses."""
    batch: int = 1
    precision: str = "auto"
    provider: str = ""

    @property
    def runtime(self) -> str:
        """Backend, provider and device in short, e.g. ``onnx cpu``."""
        name = f"{self.backend}:{self.provider}" if self.provider else self.backend
        return f"{name} {self.device}" + (f" {self.precision}" if self.precision != "auto" else "")

    @property
    def label(self) -> str:
        """The case in words."""
        parts = [self.runtime, self.model, f"{self.size} px" if self.size else "own size"]
        parts.append(f"{self.threads} thread{'s' * (self.threads != 1)}" if self.threads else "threads auto")
        return ", ".join([*parts, f"batch {self.batch}"])


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of a case; latencies are those of one call of the model."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    fps: float
    """Pictures a second through the whole detector: preprocessing, model, boxes."""
    cpu_percent: float
    """CPU time of the process per wall time: 100 is one core."""
    peak_memory_mb: float
    """Highest resident memory of the process, Python and libraries included."""
    preprocess_ms: float
    """Mean per picture, as is the next."""
    postprocess_ms: float
    first_p50_ms: float
    """Median of the first part of the case: its first minute, or its first quarter where that is shorter."""
    last_p50_ms: float
    """Median of a part as long at the end: higher than the first where a machine grows hot."""
    joules_per_frame: float | None = None
    """Of the whole machine or the whole GPU; None where the platform does not tell."""


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How a case's detections compare with those of ONNX Runtime on the CPU in fp32, on the same pictures."""

    expected: int
    """Boxes of the reference with a score of at least 0.3."""
    missing: int
    """Those of them that nothing overlaps by half."""
    extra: int
    """Boxes of this case with such a score that no box of the reference overlaps by half."""
    mean_iou: float | None
    """Of the matched pairs; None where nothing was found."""
    worst_iou: float | None
    max_score_drift: float | None


class CaseResult(msgspec.Struct, kw_only=True):
    """A case and what came of it."""

    case: Case
    outcome: Outcome
    reason: str = ""
    """Why it failed, or was skipped."""
    ran_on: str = ""
    """The device that the session says it runs on."""
    input_hw: tuple[int, int] | None = None
    load_s: float | None = None
    rounds: int = 0
    """How often the case was run, each time in a process of its own."""
    calls: int = 0
    """Timed calls of the model in all rounds."""
    energy_source: str = ""
    figures: Figures | None = None
    spread: dict[str, float] = {}
    """(highest - lowest) / mean of each figure over the rounds; over the halves of a single one."""
    agreement: Agreement | None = None


class StageTime(msgspec.Struct, frozen=True, kw_only=True):
    """How long one stage worked, per picture that it handled."""

    wall_ms: float
    cpu_ms: float
    items: int
    busy: float
    """Share of the time in which it worked."""


class PipelineResult(msgspec.Struct, kw_only=True):
    """The whole pipeline with one profile, on a file, as fast as it goes."""

    profile: str
    model: str
    outcome: Outcome
    reason: str = ""
    device: str = ""
    rounds: int = 0
    source_frames: int = 0
    processed_frames: int = 0
    tracks: int = 0
    figures: dict[str, float] = {}
    """``source_fps``, ``processed_fps``, ``cpu_percent``, ``cpu_ms_per_source_frame``, ``peak_memory_mb``."""
    spread: dict[str, float] = {}
    stages: dict[str, StageTime] = {}


class Trial(msgspec.Struct, kw_only=True):
    """So many streams at once, and whether they were held."""

    streams: int
    held: bool
    latency_ms: float
    """The promised percentile of the worst stream."""
    kept: float
    """Share of the wanted frames that the worst stream processed."""
    cpu_percent: float
    """Of all streams together; 100 is one core."""
    memory_mb: float
    machine_percent: float | None = None
    """All that the machine's processors did meanwhile, other work included, of all of them; None where none tells."""
    why: str = ""
    """What was broken, if anything."""
    stages: dict[str, float] = {}
    """CPU seconds of each stage's own thread per second, summed over the streams."""


class CapacityResult(msgspec.Struct, kw_only=True):
    """How many live streams the machine holds with one profile."""

    profile: str
    model: str
    promise: str
    """Such as ``p95=200ms``."""
    outcome: Outcome
    streams: int = 0
    rate: float = 30.0
    """Frames a second of each stream."""
    limited_by: str = ""
    reason: str = ""
    trials: list[Trial] = []


class Runtime(msgspec.Struct, kw_only=True):
    """A backend on a device, and whether it works here."""

    backend: str
    provider: str
    device: str
    available: bool
    reason: str = ""


class Report(msgspec.Struct, kw_only=True):
    """A whole benchmark."""

    schema_version: int = SCHEMA_VERSION
    status: Literal["running", "complete", "interrupted"] = "running"
    started_utc: str
    elapsed_s: float = 0.0
    command: list[str]
    machine: dict[str, Any]
    versions: dict[str, str]
    commit: str | None
    clip: str
    settings: dict[str, Any]
    runtimes: list[Runtime] = []
    cases: list[CaseResult] = []
    pipelines: list[PipelineResult] = []
    capacity: list[CapacityResult] = []


def save(report: Report, path: Path) -> None:
    """Write ``report`` so that a reader sees the old file or the new one, never a part.

    Raises:
        SinkError: it cannot be written.
    """
    folder.replace_json(path, report)


def load(path: Path) -> Report:
    """Read a report.

    Raises:
        ConfigError: there is none, or it is not one that this version reads.
    """
    try:
        data = path.read_bytes()
        version = msgspec.json.decode(data, type=dict[str, Any]).get("schema_version")
        if version != SCHEMA_VERSION:
            raise ConfigError(f"{path} has schema_version {version}; this streamtrack reads {SCHEMA_VERSION}.")
        return msgspec.json.decode(data, type=Report)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path} is not a report of streamtrack bench: {error}.") from error
