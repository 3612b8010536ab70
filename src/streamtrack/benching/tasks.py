"""What the benchmark asks a child process to do, and what it answers: one line of JSON each."""

from __future__ import annotations

import msgspec

from streamtrack.benching.results import Case, StageTime
from streamtrack.models.spec import ModelSpec

GO = "go"
"""The line that a child with a stream waits for before it measures."""


class Found(msgspec.Struct, frozen=True):
    """The detections of one picture."""

    boxes: list[tuple[float, float, float, float]]
    """x0 y0 x1 y1 px of the picture."""
    scores: list[float]
    classes: list[int]


class InferenceTask(msgspec.Struct, frozen=True, kw_only=True, tag="inference"):
    """Run one case."""

    case: Case
    path: str
    spec: ModelSpec
    clip: str
    seconds: float
    """How long to time calls; 0 asks for the detections alone."""
    cache_dir: str = ""


class PipelineTask(msgspec.Struct, frozen=True, kw_only=True, tag="pipeline"):
    """Run the whole pipeline over a file."""

    clip: str
    profile: str
    model: str
    seconds: float
    """Stop after so long, if the clip is not at its end."""


class StreamTask(msgspec.Struct, frozen=True, kw_only=True, tag="stream"):
    """Run the pipeline on a file that is played like a live feed, and measure for ``seconds`` from the word go on."""

    clip: str
    profile: str
    model: str
    seconds: float


Task = InferenceTask | PipelineTask | StreamTask


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """It did not work."""

    reason: str


class Unfit(msgspec.Struct, frozen=True, tag="unfit"):
    """There is no such case: the model cannot be run in this way."""

    reason: str


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The stream runs; say go."""


class Measured(msgspec.Struct, frozen=True, kw_only=True, tag="measured"):
    """One round of a case."""

    device: str
    input_hw: tuple[int, int]
    load_s: float
    call_ms: list[float]
    """Each timed call of the model."""
    detect_ms: list[float]
    """The same calls with preprocessing and boxes."""
    wall_s: float
    cpu_s: float
    frames: float
    peak_memory_mb: float
    preprocess_ms: float
    postprocess_ms: float
    joules: float | None
    energy_source: str
    found: list[Found]


class PipelineMeasured(msgspec.Struct, frozen=True, kw_only=True, tag="pipeline_measured"):
    """One run of a profile."""

    device: str
    source_frames: int
    processed_frames: int
    tracks: int
    wall_s: float
    cpu_s: float
    peak_memory_mb: float
    stages: dict[str, StageTime]


class StreamMeasured(msgspec.Struct, frozen=True, kw_only=True, tag="stream_measured"):
    """What became of one stream."""

    device: str
    age_ms: list[float]
    """Of each processed frame, from when it was due to its tracks."""
    wanted: float
    """Frames that the profile would have processed of an endless feed in this time."""
    processed: int
    wall_s: float
    cpu_s: float
    peak_memory_mb: float
    stages: dict[str, StageTime]


Answer = Failed | Unfit | Ready | Measured | PipelineMeasured | StreamMeasured
