"""Parameters of the stages: frozen structs that refuse unknown keys and say which value is wrong."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

# What a number counts is part of its type: ``config show``, the JSON schema and values with a unit ("500ms") read it.
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Seconds = Annotated[float, Meta(ge=0, extra={"unit": "s"})]
Pixels = Annotated[float, Meta(ge=0, extra={"unit": "px"})]
SourceFrames = Annotated[float, Meta(ge=0, extra={"unit": "source frames"})]
FramesPerSecond = Annotated[float, Meta(ge=0, extra={"unit": "fps"})]
PositiveSeconds = Annotated[float, Meta(gt=0, extra={"unit": "s"})]


class TrackerParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """ByteTrack's parameters under their published names (Zhang et al., ECCV 2022)."""

    mode: Literal["time", "reference"] = "time"
    """``time`` measures time and is right at any stride and frame rate; ``reference`` is the official code, which
    counts updates, id by id."""
    high_thresh: Share = 0.45
    """Detections with a score above this take part in the first association."""
    new_thresh: Share = 0.55
    """A detection that matched nothing starts a track when its score is at least this."""
    low_thresh: Share = 0.1
    """Detections with a score above this take part in the second association."""
    match_thresh: Share = 0.72
    """Largest accepted cost 1 - IoU of the first association: a higher value tolerates more."""
    fuse_score: bool = True
    """Multiply IoU by the detection's score in the first association, as the official code does."""
    track_buffer: Annotated[float, Meta(gt=0, extra={"unit": "frames looked at"})] = 90.0
    """A track without a detection is kept for so many frames looked at; the shorter of this and ``max_gap_s`` binds."""
    max_gap_s: PositiveSeconds = 2.5
    """A track without a detection is kept for so many seconds; the shorter of this and ``track_buffer`` binds."""
    class_aware: bool = True
    """Detections and tracks of different classes never match; else a track has the class of its last detection."""
    min_area: Annotated[float, Meta(ge=0, extra={"unit": "px^2"})] = 0.0
    """Detections smaller than this, in px^2 of the source, are left out."""
    min_track_s: Seconds = 0.0
    """A track is confirmed, and so written at all, only once it was followed for so long; 0: after 0.15 s, or at once
    in the first frame of a shot. Of no effect with ``mode=reference``."""
    raw_boxes: bool = False
    """Report the box of the matched detection instead of the filter's."""


class DetectorParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What turns a model's raw output into detections."""

    confidence_th: Share = 0.1
    """Boxes below this score are not detections. Keep it under the tracker's thresholds: ByteTrack uses weak
    detections."""
    adaptive: bool = False
    """Lower the threshold in dark and flat pictures and raise it in glaring ones: a detection's score is then told
    relative to it, so that the thresholds of tracks and crops move along."""
    adaptive_min: Annotated[float, Meta(gt=0, le=1)] = 0.5
    """With ``adaptive``, the threshold is at least this share of ``confidence_th``."""
    adaptive_max: Annotated[float, Meta(ge=1, le=10)] = 1.25
    """With ``adaptive``, the threshold is at most ``confidence_th`` times this."""
    nms: Literal["hard", "soft"] = "hard"
    """Of boxes on one thing: ``hard`` drops all but the strongest, ``soft`` lowers the scores of the others the more
    they overlap, which keeps people who stand close together apart."""
    nms_iou: Share = 0.45
    """Of two boxes of one class that overlap more than this, the weaker one goes; ``nms=soft`` does not read it."""
    soft_nms_sigma: Annotated[float, Meta(gt=0)] = 0.5
    """How gently ``nms=soft`` lowers scores: larger is gentler."""
    min_size: Pixels = 20.0
    """Boxes whose shorter side is under this many source px are not detections."""
    max_detections: Annotated[int, Meta(ge=1, le=10_000)] = 1000
    """At most this many detections a frame, the strongest."""

    @property
    def floor(self) -> float:
        """The least score that may be a detection in any light."""
        return self.confidence_th * self.adaptive_min if self.adaptive else self.confidence_th


class SceneParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What counts as a cut, the end of a shot and of all tracks in it."""

    cuts: bool = True
    """Whether a cut ends tracks; without, tracks may go on from one shot into the next."""
    cut_threshold: Annotated[float, Meta(gt=0, le=1)] = 0.2
    """Pictures that differ by at least this share, and by much more than those shortly before, have a cut between
    them. Lower it when cuts between similar shots are missed, raise it when there are too many."""
    min_shot_s: Seconds = 0.25
    """After a cut no other is seen for so many seconds."""


class CropParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which pictures of a track are worth keeping: each gate refuses what is not, and counts it."""

    every_frames: SourceFrames = 8.0
    """At most one candidate a track in so many source frames, taken as media time; 0: every frame looked at."""
    min_confidence: Share = 0.75
    """Candidates with a score that is not above this are refused."""
    min_size: Pixels = 50.0
    """Candidates whose shorter side is not above this many source px are refused."""
    min_quality: Share = 0.7
    """Candidates below this quality are refused: sharpness, size, confidence and pose together."""
    max_crops_per_track: Annotated[int, Meta(ge=1)] = 50
    """Of more good candidates the best are kept, spread over the track's life."""
    pad: Annotated[float, Meta(ge=0, le=2)] = 0.15
    """Grow the box by this share of its size on each side, within the frame."""


class EmbeddingParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a track is embedded."""

    every_frames: SourceFrames = 30.0
    """One embedding a track in so many source frames, taken as media time: of the best picture in that window."""
