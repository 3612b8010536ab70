"""Parameters of the stages: frozen structs that refuse unknown keys and say which value is wrong."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Unit = Annotated[float, Meta(ge=0.0, le=1.0)]


class TrackerParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """ByteTrack's parameters under their published names (Zhang et al., ECCV 2022)."""

    high_thresh: Unit = 0.45
    """Detections with a score above this take part in the first association."""
    new_thresh: Unit = 0.55
    """A detection that matched nothing starts a track when its score is at least this."""
    low_thresh: Unit = 0.1
    """Detections with a score above this take part in the second association."""
    match_thresh: Unit = 0.72
    """Largest accepted cost 1 - IoU of the first association: a higher value tolerates more."""
    fuse_score: bool = True
    """Multiply IoU by the detection's score in the first association, as the official code does."""
    track_buffer: Annotated[float, Meta(gt=0)] = 90.0
    """How long a track without a detection is kept, in source frames times the stride."""
    max_gap_s: Annotated[float, Meta(gt=0)] = 2.5
    """The same in seconds; the shorter of the two binds."""


class DetectorParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What turns a model's raw output into detections."""

    confidence: Unit = 0.1
    """Boxes below this score are not detections. Keep it under the tracker's thresholds: ByteTrack uses weak
    detections."""
    nms_iou: Unit = 0.45
    """Of two boxes of one class that overlap more than this, the weaker one goes."""
    min_size: Annotated[float, Meta(ge=0)] = 0.0
    """Boxes whose shorter side is under this many source px are not detections."""
    max_detections: Annotated[int, Meta(ge=1)] = 1000
    """At most this many per frame, the strongest."""
