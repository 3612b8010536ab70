"""Every setting of a run, as frozen structs: what ``streamtrack.config`` resolves its layers into."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from streamtrack.params import (
    CropParams,
    DetectorParams,
    EmbeddingParams,
    FramesPerSecond,
    SceneParams,
    Seconds,
    TrackerParams,
)

_NonNegativeInt = Annotated[int, Meta(ge=0)]
_PositiveInt = Annotated[int, Meta(ge=1)]
_PixelCount = Annotated[int, Meta(ge=0, extra={"unit": "px"})]


class SourceConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which frames are looked at. Where stride and fps both speak, the sparser sampling wins."""

    stride: _PositiveInt = 1
    """Look at frames 0, stride, 2 stride, ... in presentation order."""
    fps: FramesPerSecond = 0.0
    """Look at no more than this many frames a second of media, by timestamp; 0: no limit."""
    threads: _NonNegativeInt = 0
    """Decoder threads; 0: as ``runtime.threads``."""
    max_staleness_s: Seconds = 0.0
    """Of a live feed, frames that are older than this when their turn comes are given up; 0: no limit."""


class DetectorConfig(DetectorParams, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model looks at the frames, and how."""

    model: str = "auto"
    """A name in the zoo, a path to an ONNX file, or ``auto``."""
    head: str | None = None
    """How to read the model's outputs; needed only where they do not tell themselves."""
    classes: str = ""
    """What the model's classes are called: names between commas, or a file of lines; empty: as it says itself."""
    input_size: _PixelCount = 0
    """Longest side in px of the picture given to a model that takes any size; 0: the model's own."""
    coreml_det_size: _PixelCount = 0
    """Side in px of the square picture given to a Core ML package that takes several sizes; 0: the first it has."""
    batch_size: _PositiveInt = 1
    """Frames a model call; cut to what the model takes."""


class EmbedderConfig(EmbeddingParams, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model turns faces into vectors, and how."""

    model: str = ""
    """A name in the zoo or a path to an ONNX file; empty: no embeddings."""
    head: str | None = None
    """How the model is fed; needed only where it does not tell itself."""
    batch_size: _NonNegativeInt = 0
    """Faces a model call, of several tracks; 0: 1 on the CPU and 8 elsewhere."""
    save_faces: bool = True
    """Write what the model saw of each as a JPEG."""


class OutputConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is written besides the records."""

    save_frames: bool = False
    """Write every processed frame as a JPEG."""
    save_crops: bool = False
    """Write pictures of every track, cut out, as JPEGs."""
    jpeg_quality: Annotated[int, Meta(ge=1, le=100)] = 90
    """Quality of every JPEG that is written: higher is finer and larger."""
    samples_per_track: _PositiveInt = 8
    """Boxes kept of each track in its record, spread over its life."""
    progress_every: Annotated[int, Meta(ge=1, extra={"unit": "processed frames"})] = 30
    """How often ``progress.json`` is replaced."""
    metrics_port: Annotated[int, Meta(ge=0, le=65535)] | None = None
    """TCP port at which the run serves metrics for Prometheus; 0: any that is free; none: nowhere."""
    metrics_host: str = "127.0.0.1"
    """Interface of this machine that it listens at; ``0.0.0.0``: all of them."""


class RuntimeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where and with how much of the machine."""

    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``mps``."""
    backend: str = "auto"
    """Entry point of the runtime; ``auto``: what suits the device."""
    provider: str = ""
    """Which of the runtime's own ways to run: ``cpu``, ``cuda``, ``tensorrt`` or ``coreml`` of ONNX Runtime; empty:
    that of the device."""
    precision: Literal["auto", "fp32", "fp16", "int8"] = "auto"
    """What to compute in; ``auto`` is what the device does best without drifting."""
    parity_frames: _NonNegativeInt = 8
    """On an accelerator, so many frames run on the CPU too, to compare boxes and time, once per machine and model; 0:
    never."""
    allow_drift: bool = False
    """Go on where an accelerator's boxes are not those of the CPU."""
    warm_start: bool = False
    """Where an engine must be built first, begin on the CPU and change over between two frames when it is ready."""
    threads: _NonNegativeInt = 0
    """Threads for inference and for decoding; 0: as many as the machine gives."""
    max_fps: FramesPerSecond = 0.0
    """Process no more than this many frames a second of wall time, to keep the machine cool; 0: no limit."""
    queue_size: _PositiveInt = 4
    """Frames that may wait between two stages."""


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting of a run."""

    source: SourceConfig = msgspec.field(default_factory=SourceConfig)
    detector: DetectorConfig = msgspec.field(default_factory=DetectorConfig)
    scene: SceneParams = msgspec.field(default_factory=SceneParams)
    tracker: TrackerParams = msgspec.field(default_factory=TrackerParams)
    crops: CropParams = msgspec.field(default_factory=CropParams)
    embedder: EmbedderConfig = msgspec.field(default_factory=EmbedderConfig)
    output: OutputConfig = msgspec.field(default_factory=OutputConfig)
    runtime: RuntimeConfig = msgspec.field(default_factory=RuntimeConfig)
