"""The values that travel through a pipeline: ``Frame -> Detections -> TrackUpdate``, and ``Result`` of the three.

All boxes are ``x0 y0 x1 y1`` in pixels of the source frame as it is displayed (rotation metadata applied): x to the
right, y down, (0, 0) the top-left corner of the top-left pixel, x1 and y1 exclusive. Arrays are checked once, at
construction, and are read-only from then on, so values can be shared between threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

UInt8Array = NDArray[np.uint8]
Float32Array = NDArray[np.float32]
Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

NS_PER_S: Final = 1_000_000_000

FeedState = Literal["connecting", "live", "stalled", "reconnecting", "failed"]
"""What a live feed is doing: not there yet, sending, silent, lost and sought again, given up."""

# States of a track in TrackUpdate.states.
TENTATIVE: Final = 0
"""Seen once; not yet believed. Never written to an output."""
CONFIRMED: Final = 1
"""Matched to a detection of this frame (``rows`` says which)."""
LOST: Final = 2
"""Believed, but without a detection in this frame; coasting on its motion."""


class Picture(Protocol):
    """Pixels of one frame in whatever form its source holds them. Implementations are safe to read from any thread."""

    def rgb(self, region: tuple[int, int, int, int], size: tuple[int, int], *, planar: bool) -> UInt8Array:
        """Return ``region`` (x0 y0 x1 y1, whole px of the displayed frame) scaled to ``size`` (width, height).

        The result is RGB, uint8, shape (height, width, 3); its memory is three planes when ``planar``, else interleaved
        and C-contiguous.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame of a source; its pixels are converted only when somebody asks, at the size and region asked for."""

    index: int
    """0-based presentation order in the source, skipped frames counted."""
    pts_ns: int
    """Presentation time from the start of the stream; strictly increasing within a run."""
    width: int
    height: int
    picture: Picture = field(repr=False)
    captured_ns: int | None = None
    """When it was captured, in ns since the epoch (UTC): of a live feed, as the feed tells (RTCP, NTP), else when it
    arrived. None for a file."""

    @property
    def ts_s(self) -> float:
        """Presentation time in seconds from the start of the stream."""
        return self.pts_ns / NS_PER_S

    def scaled(self, width: int, height: int) -> UInt8Array:
        """Return the whole frame scaled, as RGB uint8 (height, width, 3) in planar memory.

        Planar (``.transpose(2, 0, 1)`` is contiguous), because that is what a detector's input wants; use
        ``rgb()`` or ``crop()`` for interleaved memory.
        """
        return self.picture.rgb((0, 0, self.width, self.height), (width, height), planar=True)

    def rgb(self) -> UInt8Array:
        """Return the whole frame as C-contiguous RGB uint8 (height, width, 3)."""
        return self.picture.rgb((0, 0, self.width, self.height), (self.width, self.height), planar=False)

    def crop(self, box: NDArray[Any] | tuple[float, float, float, float], pad: float = 0.0) -> UInt8Array:
        """Return the pixels of ``box`` (x0 y0 x1 y1 px), clamped to the frame.

        Args:
            box: x0 y0 x1 y1 px.
            pad: grow the box by this share of its size on each side first.

        Returns:
            C-contiguous RGB uint8 (h, w, 3) at source resolution, at least 1 x 1.
        """
        x0, y0, x1, y1 = (float(v) for v in box)
        grow_x, grow_y = pad * (x1 - x0), pad * (y1 - y0)
        left = min(max(int(np.floor(x0 - grow_x)), 0), self.width - 1)
        top = min(max(int(np.floor(y0 - grow_y)), 0), self.height - 1)
        right = min(max(int(np.ceil(x1 + grow_x)), left + 1), self.width)
        bottom = min(max(int(np.ceil(y1 + grow_y)), top + 1), self.height)
        return self.picture.rgb((left, top, right, bottom), (right - left, bottom - top), planar=False)


_FLOAT32, _INT32, _INT64, _UINT8 = (np.dtype(t) for t in (np.float32, np.int32, np.int64, np.uint8))


def _checked(name: str, array: NDArray[Any], shape: tuple[int | None, ...], dtype: np.dtype[Any]) -> None:
    # A frame has a dozen of these: comparing exact shapes first keeps each well under a microsecond.
    if array.dtype != dtype or (array.shape != shape and not _fits(array.shape, shape)):
        want = ", ".join("*" if n is None else str(n) for n in shape)
        raise ValueError(f"{name} must be {dtype.name} of shape ({want}), got {array.dtype} of {array.shape}")
    array.setflags(False)  # type: ignore[call-arg]  # write, by position: half the time


def _fits(found: tuple[int, ...], shape: tuple[int | None, ...]) -> bool:
    return len(found) == len(shape) and all(w is None or w == n for w, n in zip(shape, found, strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What a detector found in one frame: N boxes, K keypoints each (0 where the model has none)."""

    boxes: Float32Array  # (N, 4) x0 y0 x1 y1 px of the source frame
    scores: Float32Array  # (N,) in [0, 1]
    classes: Int32Array  # (N,)
    keypoints: Float32Array  # (N, K, 2) x y px of the source frame

    def __post_init__(self) -> None:
        _checked("boxes", self.boxes, (None, 4), _FLOAT32)
        n = len(self.boxes)
        _checked("scores", self.scores, (n,), _FLOAT32)
        _checked("classes", self.classes, (n,), _INT32)
        _checked("keypoints", self.keypoints, (n, None, 2), _FLOAT32)

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def empty(cls, keypoints: int = 0) -> Detections:
        """Return no detections, for a model with ``keypoints`` keypoints."""
        return cls(
            np.empty((0, 4), np.float32),
            np.empty(0, np.float32),
            np.empty(0, np.int32),
            np.empty((0, keypoints, 2), np.float32),
        )


@dataclass(frozen=True, slots=True)
class BoxCounts:
    """What became of every box over the threshold, in a frame or in many: the other numbers sum to ``candidates``."""

    candidates: int = 0
    """Those of which something lies in the frame."""
    suppressed: int = 0
    """Another box on the same thing stayed."""
    too_small: int = 0
    """Smaller than ``min_size``: what suppression leaves of them, so that it counts things, not boxes."""
    beyond_max: int = 0
    """Weaker than ``max_detections`` others."""
    kept: int = 0

    def __add__(self, other: object) -> BoxCounts:
        """Return the counts of both together."""
        if not isinstance(other, BoxCounts):
            return NotImplemented
        return BoxCounts(
            self.candidates + other.candidates,
            self.suppressed + other.suppressed,
            self.too_small + other.too_small,
            self.beyond_max + other.beyond_max,
            self.kept + other.kept,
        )


@dataclass(frozen=True, slots=True, eq=False)
class TrackUpdate:
    """The M live tracks after one frame, and the ids of the tracks that ended with it."""

    ids: Int64Array  # (M,) from 1 up, never reused in a run
    boxes: Float32Array  # (M, 4) x0 y0 x1 y1 px of the source frame
    scores: Float32Array  # (M,) of the last matched detection
    classes: Int32Array  # (M,)
    states: UInt8Array  # (M,) TENTATIVE, CONFIRMED or LOST
    rows: Int32Array  # (M,) row of this frame's Detections, or -1 while coasting
    ended: Int64Array  # (E,) ids that will not be seen again

    def __post_init__(self) -> None:
        m = self.ids.size
        _checked("ids", self.ids, (m,), _INT64)
        _checked("boxes", self.boxes, (m, 4), _FLOAT32)
        _checked("scores", self.scores, (m,), _FLOAT32)
        _checked("classes", self.classes, (m,), _INT32)
        _checked("states", self.states, (m,), _UINT8)
        _checked("rows", self.rows, (m,), _INT32)
        _checked("ended", self.ended, (self.ended.size,), _INT64)

    @classmethod
    def unchecked(
        cls,
        ids: Int64Array,
        boxes: Float32Array,
        scores: Float32Array,
        classes: Int32Array,
        states: UInt8Array,
        rows: Int32Array,
        ended: Int64Array,
    ) -> TrackUpdate:
        """Return an update of arrays that are known to fit, for a tracker that makes one every few microseconds."""
        update = object.__new__(cls)
        # Through the slots: the constructor of a frozen dataclass takes four times as long.
        for assign, array in zip(_UPDATE_SLOTS, (ids, boxes, scores, classes, states, rows, ended), strict=True):
            array.setflags(False)  # type: ignore[attr-defined]
            assign(update, array)
        return update

    def __len__(self) -> int:
        return len(self.ids)


_UPDATE_SLOTS = tuple(vars(TrackUpdate)[name].__set__ for name in TrackUpdate.__slots__)


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """Everything known about one processed frame."""

    frame: Frame
    detections: Detections
    tracks: TrackUpdate
    cut: bool = False
    """Whether the frame is the first of a new shot, so that no earlier track goes on in it."""
    age_ms: float | None = None
    """How long ago the frame had been captured when its tracks were known; None where ``frame.captured_ns`` is."""
    box_counts: BoxCounts | None = None
    """What became of the model's boxes in this frame; None where no model has run."""

    def inheriting(self, lost: Result) -> Result:
        """Return this result for somebody who did not get ``lost``, the one before it.

        The tracks that ended there end here, and where a shot began there, this is the first frame seen of it.
        """
        if not (lost.cut or lost.tracks.ended.size):
            return self
        ended = np.concatenate((lost.tracks.ended, self.tracks.ended))
        return replace(self, tracks=replace(self.tracks, ended=ended), cut=self.cut or lost.cut)


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What a source knows of itself once it is open."""

    uri: str
    """Where it came from, for people: passwords redacted."""
    width: int
    height: int
    """Size in px as displayed (rotation applied)."""
    rate: float
    """Average frames a second of the source; 0.0 where it cannot be known."""
    frames_estimate: int | None
    """About how many frames will be seen, strided ones included; None where nobody can know."""
    duration_s: float | None
    live: bool
    """A live feed may drop frames; a file may not."""
    codec: str = ""
    sampling: str = "every frame"
    """In words, which frames are delivered, e.g. ``every 5th frame`` or ``8 fps by timestamp (sparser than stride
    2)``."""
    sample_rate: float = 0.0
    """Frames a second of media that will be delivered; 0.0 where it cannot be known."""


@dataclass(slots=True)
class SourceStats:
    """What a source did with the frames it saw; written by its own thread, read by others.

    ``seen`` counts every frame of the stream so far: ``seen == strided + corrupt + dropped + delivered``.
    """

    seen: int = 0
    strided: int = 0
    """Not wanted by stride or fps."""
    undecoded: int = 0
    """Packets that were never decoded, because their frame was not wanted and nothing refers to it (part of
    ``strided``)."""
    corrupt: int = 0
    """Lost to damage in the stream: could not be decoded."""
    dropped: int = 0
    """Of a live feed, and never decoded, because decoding them all is slower than the feed."""
    delivered: int = 0
    damaged: int = 0
    """Delivered although the decoder marked them as damaged (part of ``delivered``)."""
    pts_repaired: int = 0
    """Delivered with a timestamp that was missing or went backwards and was replaced."""
    reconnects: int = 0
    """How often a live feed was lost and found again."""
    decoding: str = ""
    """In words, which packets are decoded, and why all of them where that is so."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What a sink is told before the first result."""

    source: SourceInfo
    model: str
    class_names: tuple[str, ...]
    keypoints: int
    folder: Path | None
    """The run's folder, which exists; None where the run has none (``--out -``, or as a library)."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the run, by section and name, as in its metrics; empty where nobody knows."""
    run_id: str = ""
    """Of no other run, and the same however often this one is interrupted and resumed; empty where there is no run."""
