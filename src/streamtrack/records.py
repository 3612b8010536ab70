"""The records of a run as they are written: one struct per kind of JSON object, all with a ``schema_version``.

Boxes are ``x0 y0 x1 y1`` in px of the source frame, times are seconds of media from the start of the stream. A float32
is written in the shortest form that reads back as the same float32, so the records hold exactly what the run computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamtrack.types import CONFIRMED, NS_PER_S, BoxCounts, Detections, Frame, Result

SCHEMA_VERSION = 1
SAMPLES_PER_TRACK = 8
"""Boxes kept of a track in its record, unless somebody says otherwise."""


class DetectionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One detection in one processed frame: a line of ``detections.jsonl``."""

    schema_version: int = SCHEMA_VERSION
    frame_idx: int
    ts_s: float
    bbox: list[float]
    conf: float
    class_id: int
    landmarks: list[list[float]]
    """x y px per keypoint; empty where the model has none."""
    track_id: int | None
    """None where no confirmed track claims it."""
    time_utc: str | msgspec.UnsetType = msgspec.UNSET
    """When its frame was captured, ISO 8601 in UTC to the millisecond; only of a live feed."""
    age_ms: float | msgspec.UnsetType = msgspec.UNSET
    """How old its frame was when its tracks were known; only of a live feed."""


class FrameRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One processed frame, with detections or without: a line of ``frames.jsonl``."""

    schema_version: int = SCHEMA_VERSION
    frame_idx: int
    ts_s: float
    pts_ns: int
    """The same in whole ns, as the tracker was given it."""
    detections: int
    """Lines it has in ``detections.jsonl``, all written before this one."""
    cut: bool = False
    """Whether it is the first of a new shot: all tracks were ended before it."""
    box_counts: BoxCounts | msgspec.UnsetType = msgspec.UNSET
    """What became of the model's boxes; only where a model has run."""
    time_utc: str | msgspec.UnsetType = msgspec.UNSET
    """When it was captured, ISO 8601 in UTC to the millisecond; only of a live feed."""
    age_ms: float | msgspec.UnsetType = msgspec.UNSET
    """How old it was when its tracks were known; only of a live feed."""


class BoxSample(msgspec.Struct, frozen=True, kw_only=True):
    """One observation of a track."""

    frame_idx: int
    ts_s: float
    bbox: list[float]
    conf: float


class TrackRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One finished track: a line of ``tracks.jsonl``."""

    schema_version: int = SCHEMA_VERSION
    track_id: int
    class_id: int
    frame_span: tuple[int, int]
    """First and last frame index with a detection of it, both inclusive."""
    start_s: float
    end_s: float
    start_utc: str | msgspec.UnsetType = msgspec.UNSET
    """When its first and last frame were captured, ISO 8601 in UTC; only of a live feed."""
    end_utc: str | msgspec.UnsetType = msgspec.UNSET
    frame_count: int
    """Processed frames in which it had a detection."""
    avg_conf: float
    bboxes_sampled: list[BoxSample]
    """A few observations spread over its life, the first and the last among them."""


class _Pictured(msgspec.Struct, frozen=True, kw_only=True):
    """The detection that a picture of a track shows: how the line of any such picture begins."""

    schema_version: int = SCHEMA_VERSION
    track_id: int
    frame_idx: int
    ts_s: float
    bbox: list[float]
    """As detected; the picture may show a little more around it, and only what is within the frame."""
    conf: float
    landmarks: list[list[float]]
    """x y px of the frame per keypoint; empty where the model has none."""


class CropRecord(_Pictured, frozen=True, kw_only=True):
    """One picture that was kept of a track: a line of ``crops/index.jsonl``."""

    quality: Mapping[str, float]
    """``total``, and the factors it is the product of: ``sharpness size confidence pose``."""
    path: str
    """Of the picture, from the run's folder."""
    time_utc: str | msgspec.UnsetType = msgspec.UNSET
    """When its frame was captured, ISO 8601 in UTC to the millisecond; only of a live feed."""


class FaceRecord(_Pictured, frozen=True, kw_only=True):
    """One embedded picture of a track: a line of ``faces.jsonl``, and the row of the same number in ``faces.npy``."""

    aligned: bool
    """Whether the picture was brought upright by its landmarks; if not, it is the box with what is around it."""
    quality: Mapping[str, float]
    """As ``CropRecord`` has it; ``total`` is its weight in the track's mean."""
    crop: str | None
    """The picture that the model saw, as a path from the run's folder; None where they are not saved."""
    time_utc: str | msgspec.UnsetType = msgspec.UNSET
    """When its frame was captured, ISO 8601 in UTC to the millisecond; only of a live feed."""


class TrackVectorRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One embedded track: a line of ``tracks_index.jsonl``, and the row of the same number in ``tracks.npy``."""

    schema_version: int = SCHEMA_VERSION
    track_id: int
    faces: int
    """Rows of ``faces.npy`` in its mean."""
    quality: Mapping[str, float]
    """Of the best of them."""
    frame_idx: int
    """Of the best of them."""
    crop: str | None
    """Of the best of them; None where pictures are not saved."""


def shortest(values: NDArray[np.float32]) -> list[Any]:
    """Return float32 values as (nested) Python floats.

    Each is the shortest decimal that reads back as the same float32.
    """
    if values.ndim > 1:
        return [shortest(row) for row in values]
    return [float(str(value)) for value in values]


def frame_record(result: Result) -> FrameRecord:
    """Return the record of the frame of ``result``."""
    frame = result.frame
    return FrameRecord(
        frame_idx=frame.index,
        ts_s=frame.ts_s,
        pts_ns=frame.pts_ns,
        detections=len(result.detections),
        cut=result.cut,
        box_counts=msgspec.UNSET if result.box_counts is None else result.box_counts,
        time_utc=_utc(frame),
        age_ms=_age(result),
    )


def _utc(frame: Frame) -> str | msgspec.UnsetType:
    if frame.captured_ns is None:
        return msgspec.UNSET
    captured = datetime.fromtimestamp(frame.captured_ns / NS_PER_S, UTC)
    return captured.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _age(result: Result) -> float | msgspec.UnsetType:
    return msgspec.UNSET if result.age_ms is None else round(result.age_ms, 1)


def detection_records(result: Result) -> Iterator[DetectionRecord]:
    """Yield a record per detection of ``result``, strongest first as the detector gave them."""
    detections, tracks = result.detections, result.tracks
    owner: dict[int, int] = {
        row: track_id
        for row, track_id, state in zip(tracks.rows.tolist(), tracks.ids.tolist(), tracks.states.tolist(), strict=True)
        if state == CONFIRMED
    }
    columns = (
        shortest(detections.boxes),
        shortest(detections.scores),
        detections.classes.tolist(),
        shortest(detections.keypoints),
    )
    time_utc, age_ms = _utc(result.frame), _age(result)
    for row, (bbox, conf, class_id, landmarks) in enumerate(zip(*columns, strict=True)):
        yield DetectionRecord(
            frame_idx=result.frame.index,
            ts_s=result.frame.ts_s,
            bbox=bbox,
            conf=conf,
            class_id=class_id,
            landmarks=landmarks,
            track_id=owner.get(row),
            time_utc=time_utc,
            age_ms=age_ms,
        )


def crop_record(result: Result, row: int, track_id: int, quality: Mapping[str, float]) -> CropRecord:
    """Return the record of a picture of the detection in ``row`` of ``result``."""
    path = f"crops/{track_id:06d}/{result.frame.index:08d}.jpg"
    return CropRecord(**_pictured(result, row, track_id, quality), path=path)


def face_record(
    result: Result, row: int, track_id: int, quality: Mapping[str, float], *, aligned: bool, crop: str | None
) -> FaceRecord:
    """Return the record of an embedded picture of the detection in ``row`` of ``result``."""
    return FaceRecord(**_pictured(result, row, track_id, quality), aligned=aligned, crop=crop)


def _pictured(result: Result, row: int, track_id: int, quality: Mapping[str, float]) -> dict[str, Any]:
    """Return what the records of all pictures of tracks have."""
    detections, frame = result.detections, result.frame
    return {
        "track_id": track_id,
        "frame_idx": frame.index,
        "ts_s": frame.ts_s,
        "bbox": shortest(detections.boxes[row]),
        "conf": shortest(detections.scores[row : row + 1])[0],
        "landmarks": shortest(detections.keypoints[row]),
        "quality": quality,
        "time_utc": _utc(frame),
    }


def recorded_detections(records: Sequence[DetectionRecord]) -> Detections:
    """Return the detections that ``records`` are of, bit for bit, in their order.

    Raises:
        ValueError: a box has not 4 numbers, a landmark not 2, or not all have as many landmarks.
    """
    count, keypoints = len(records), len(records[0].landmarks) if records else 0
    return Detections(
        np.array([record.bbox for record in records], np.float32).reshape(count, 4),
        np.array([record.conf for record in records], np.float32),
        np.array([record.class_id for record in records], np.int32),
        np.array([record.landmarks for record in records], np.float32).reshape(count, keypoints, 2),
    )


class _Life:
    """What is kept of a live track: constant memory however long it lives."""

    __slots__ = ("class_id", "conf_sum", "count", "end_utc", "every", "first", "last", "limit", "samples", "start_utc")

    def __init__(self, class_id: int, first: BoxSample, frame: Frame, limit: int) -> None:
        self.limit = limit
        self.class_id = class_id
        self.start_utc = self.end_utc = _utc(frame)
        self.first = self.last = first
        self.samples: list[BoxSample] = []
        self.every = 1
        self.count = 0
        self.conf_sum = 0.0

    def add(self, sample: BoxSample, frame: Frame) -> None:
        if self.count % self.every == 0:
            self.samples.append(sample)
            if len(self.samples) == 4 * self.limit:
                # Keep every second one from here on: the samples stay evenly spread without knowing how long it will
                # live.
                del self.samples[1::2]
                self.every *= 2
        self.count += 1
        self.conf_sum += sample.conf
        self.last, self.end_utc = sample, _utc(frame)

    def record(self, track_id: int) -> TrackRecord:
        samples = self.samples if self.samples[-1] is self.last else [*self.samples, self.last]
        return TrackRecord(
            track_id=track_id,
            class_id=self.class_id,
            frame_span=(self.first.frame_idx, self.last.frame_idx),
            start_s=self.first.ts_s,
            end_s=self.last.ts_s,
            start_utc=self.start_utc,
            end_utc=self.end_utc,
            frame_count=self.count,
            avg_conf=round(self.conf_sum / self.count, 4),
            bboxes_sampled=[_written(sample) for sample in _spread(samples, self.limit)],
        )


def _written(sample: BoxSample) -> BoxSample:
    return msgspec.structs.replace(sample, bbox=shortest(np.array(sample.bbox, np.float32)))


def _spread(samples: Sequence[BoxSample], limit: int) -> list[BoxSample]:
    last = len(samples) - 1
    if last < limit:
        return list(samples)
    if limit == 1:
        return [samples[last // 2]]
    return [samples[round(i * last / (limit - 1))] for i in range(limit)]


class TrackLedger:
    """Follows the confirmed tracks of a run and gives each one's record when it ends."""

    def __init__(self, samples_per_track: int = SAMPLES_PER_TRACK) -> None:
        """Keep up to ``samples_per_track`` boxes of each, 1 or more; one alone is from the middle of its life."""
        self._limit = samples_per_track
        self._alive: dict[int, _Life] = {}

    def add(self, result: Result) -> list[TrackRecord]:
        """Take one result; return the records of the tracks that ended with it."""
        tracks, frame = result.tracks, result.frame
        for i in np.flatnonzero(tracks.states == CONFIRMED).tolist():
            row, track_id = int(tracks.rows[i]), int(tracks.ids[i])
            sample = BoxSample(
                frame_idx=frame.index,
                ts_s=frame.ts_s,
                # As it is: only of the few that are kept in the end does it matter how they are written.
                bbox=result.detections.boxes[row].tolist(),
                conf=shortest(result.detections.scores[row : row + 1])[0],
            )
            life = self._alive.get(track_id)
            if life is None:
                life = self._alive[track_id] = _Life(int(tracks.classes[i]), sample, frame, self._limit)
            life.add(sample, frame)
        return [self._alive.pop(i).record(i) for i in tracks.ended.tolist() if i in self._alive]

    def finish(self) -> list[TrackRecord]:
        """Return the records of the tracks still alive; the run is over."""
        records = [life.record(track_id) for track_id, life in self._alive.items()]
        self._alive.clear()
        return records
