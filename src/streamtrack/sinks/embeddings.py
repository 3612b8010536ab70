"""``faces.npy`` and ``tracks.npy``: vectors of each track's best pictures, and of the tracks themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Final, NamedTuple

import numpy as np

from streamtrack.models.embedder import Embedder, Prepared, unit
from streamtrack.quality import Quality, at_best, shorter_side, warm_up
from streamtrack.records import FaceRecord, TrackVectorRecord, face_record
from streamtrack.sinks._files import check_not_negative, check_quality, make_folder, run_folder, write_jpeg
from streamtrack.sinks._table import VectorTable
from streamtrack.throttle import Windows, interval_ns
from streamtrack.types import CONFIRMED, NS_PER_S, Float32Array, Result, RunInfo

LONGEST_WAIT_NS: Final = NS_PER_S
"""Of media: no picture waits longer for others to fill its batch."""
_LEAST_WEIGHT = 1e-6
"""Pictures without any quality still say something where a track has no other."""


class _Face(NamedTuple):
    """A picture that will be embedded: its frame is needed no more."""

    record: FaceRecord
    prepared: Prepared


class _Mean:
    """The vectors of one track so far."""

    __slots__ = ("best", "best_vector", "faces", "weighted")

    def __init__(self, dimension: int) -> None:
        self.weighted = np.zeros(dimension)
        self.faces = 0
        self.best: FaceRecord | None = None
        self.best_vector = np.zeros(dimension, np.float32)

    def add(self, record: FaceRecord, vector: Float32Array) -> None:
        quality = record.quality["total"]
        self.weighted += max(quality, _LEAST_WEIGHT) * vector.astype(np.float64)
        self.faces += 1
        if self.best is None or quality > self.best.quality["total"]:
            self.best, self.best_vector = record, vector

    def vector(self) -> Float32Array:
        """Return the mean by quality, of length 1; the best one where they cancel each other out."""
        mean = unit(self.weighted[None])[0]
        return mean if mean.any() else self.best_vector


class EmbeddingsSink:
    """Embeds the best picture of each confirmed track in each window of media time, several tracks at a time.

    A track's first picture opens a window; whatever is the best when it is over, or when the track or the run ends
    before, is embedded. Which these are, and which share a batch, follows from the frames and their times alone.

    Args:
        open_embedder: loads the model; called once, on the sink's thread.
        every_frames: how long a window lasts in source frames, taken as media time; 0 embeds every picture.
        save_faces: save what the model saw as ``faces/TRACK/FRAME.jpg``.
        jpeg_quality: of those, 1 to 100.

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(
        self,
        open_embedder: Callable[[], Embedder],
        *,
        every_frames: float = 30.0,
        save_faces: bool = True,
        jpeg_quality: int = 90,
    ) -> None:
        self._open_embedder = open_embedder
        self._every_frames = check_not_negative("embeddings.every_frames", every_frames)
        self._save_faces = save_faces
        self._jpeg_quality = check_quality("embeddings.jpeg_quality", jpeg_quality)
        self._held = ExitStack()
        self._ready = False
        self._embedder: Embedder | None = None
        self._waiting: list[_Face] = []
        self._waiting_since_ns = 0
        self._means: dict[int, _Mean] = {}
        self._counts = dict.fromkeys(("pictures", "unseen", "outdone", "unusable", "embedded", "aligned", "tracks"), 0)
        self._told: Mapping[str, int] = dict(self._counts)

    def open(self, info: RunInfo) -> None:
        """Load the model and create the files.

        Raises:
            SinkError: they cannot be created, or the run has no folder.
            BackendError: the model cannot be loaded.
        """
        folder = self._folder = run_folder(info, "embeddings")
        self._windows = Windows[_Face](interval_ns(self._every_frames, info.source.rate))
        embedder = self._embedder = self._open_embedder()
        self._held.callback(embedder.close)
        self._faces = VectorTable(folder / "faces.npy", folder / "faces.jsonl", embedder.dimension)
        self._held.callback(self._faces.close)
        self._tracks = VectorTable(folder / "tracks.npy", folder / "tracks_index.jsonl", embedder.dimension)
        self._held.callback(self._tracks.close)
        warm_up()
        self._ready = True

    def write(self, result: Result) -> None:
        """Look at the pictures of this frame, embed what is due, and append the tracks that ended.

        Raises:
            SinkError: the disk refused.
            InferenceError: the model failed to run.
        """
        tracks, now_ns = result.tracks, result.frame.pts_ns
        due = self._windows.over(now_ns)
        for i in np.flatnonzero((tracks.states == CONFIRMED) & (tracks.rows >= 0)).tolist():
            self._consider(result, i)
        ended = tracks.ended.tolist()
        due += self._windows.close(ended)
        self._queue(due, now_ns)
        # A track's mean is complete when none of its pictures waits.
        late = now_ns - self._waiting_since_ns >= LONGEST_WAIT_NS
        if late or any(face.record.track_id in ended for face in self._waiting):
            self._embed_all()
        self._finish(ended)
        # A copy, whole at every moment for whoever asks from another thread.
        self._told = dict(self._counts)

    def close(self) -> None:
        """Embed what is pending, append the tracks still alive, and release everything.

        Raises:
            SinkError: the disk refused.
            InferenceError: the model failed to run.
        """
        with self._held:
            if self._ready:
                self._ready = False
                self._waiting += sorted(self._windows.close(), key=_order)
                self._embed_all()
                self._finish(sorted(self._means))
            self._told = dict(self._counts)

    def counts(self) -> Mapping[str, int]:
        """Return how many pictures were looked at and what became of them, and how many tracks have a vector.

        When the run is over, ``pictures`` is the sum of ``unseen`` (nothing of the box is in the frame), ``outdone`` (a
        better one was in the same window), ``unusable`` (the model gave no vector) and ``embedded``. ``aligned`` is
        part of ``embedded``.
        """
        return self._told

    def _consider(self, result: Result, i: int) -> None:
        """Offer the picture of row ``i`` of the tracks to its track's window."""
        frame, detections, row = result.frame, result.detections, int(result.tracks.rows[i])
        track = int(result.tracks.ids[i])
        box, keypoints = detections.boxes[row], detections.keypoints[row]
        self._counts["pictures"] += 1
        expected = at_best(float(detections.scores[row]), keypoints, shorter_side(box, frame))
        if self._windows.beaten(track, _rank(expected)):
            # However sharp it is: most are seen only to be outdone, and pixels are what costs.
            self._counts["outdone"] += 1
            return
        quality = expected.seen(frame.crop(box))

        def make() -> _Face | None:
            prepared = self._loaded.prepare((frame, box, keypoints))
            if prepared is None:
                self._counts["unseen"] += 1
                return None
            crop = self._crop_path(track, frame.index) if self._save_faces else None
            record = face_record(result, row, track, quality.rounded(), aligned=prepared.aligned, crop=crop)
            return _Face(record, prepared)

        self._counts["outdone"] += self._windows.offer(track, frame.pts_ns, _rank(quality), make)

    @property
    def _loaded(self) -> Embedder:
        assert self._embedder is not None
        return self._embedder

    @staticmethod
    def _crop_path(track: int, frame: int) -> str:
        return f"faces/{track:06d}/{frame:08d}.jpg"

    def _queue(self, due: Iterable[_Face], now_ns: int) -> None:
        """Let what is due wait for its batch, and embed the batches that are full."""
        if not self._waiting:
            self._waiting_since_ns = now_ns
        self._waiting += sorted(due, key=_order)
        size = self._loaded.batch_size
        while len(self._waiting) >= size:
            batch, self._waiting = self._waiting[:size], self._waiting[size:]
            # Before this frame there were too few for a batch: those left are of this frame.
            self._waiting_since_ns = now_ns
            self._embed(batch)

    def _embed_all(self) -> None:
        batch, self._waiting = self._waiting, []
        self._embed(batch)

    def _embed(self, faces: Sequence[_Face]) -> None:
        if not faces:
            return
        try:
            self._append(faces, self._loaded.embed_prepared([face.prepared for face in faces]))
        except BaseException:
            # What failed would fail again when the sink is closed.
            self._waiting.clear()
            self._windows.close()
            raise

    def _append(self, faces: Sequence[_Face], vectors: Float32Array) -> None:
        rows = np.flatnonzero(vectors.any(axis=1)).tolist()
        vectors, kept = vectors[rows], [faces[row] for row in rows]
        for face in kept:
            self._save(face)
        self._faces.append(vectors, [face.record for face in kept])
        self._counts["unusable"] += len(faces) - len(kept)
        self._counts["embedded"] += len(kept)
        self._counts["aligned"] += sum(face.record.aligned for face in kept)
        for face, vector in zip(kept, vectors, strict=True):
            track = face.record.track_id
            if track not in self._means:
                self._means[track] = _Mean(len(vector))
                self._counts["tracks"] += 1
            self._means[track].add(face.record, vector)

    def _save(self, face: _Face) -> None:
        if face.record.crop is not None:
            path = self._folder / face.record.crop
            make_folder(path.parent)
            write_jpeg(path, self._loaded.shown(face.prepared), self._jpeg_quality)

    def _finish(self, tracks: Iterable[int]) -> None:
        """Append the vectors of tracks that have any, and forget them."""
        done = [(track, self._means.pop(track)) for track in tracks if track in self._means]
        if done:
            self._tracks.append(np.stack([mean.vector() for _, mean in done]), [_record(*each) for each in done])


def _rank(quality: Quality) -> tuple[float, float]:
    # Faces in profile have no quality, and yet the sharpest shall be taken.
    return quality.total, quality.sharpness * quality.size * quality.confidence


def _order(face: _Face) -> tuple[int, int]:
    return face.record.frame_idx, face.record.track_id


def _record(track: int, mean: _Mean) -> TrackVectorRecord:
    best = mean.best
    assert best is not None
    return TrackVectorRecord(
        track_id=track, faces=mean.faces, quality=best.quality, frame_idx=best.frame_idx, crop=best.crop
    )
