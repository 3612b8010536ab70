"""What a report keeps of a run while it goes on: little per track, and of a bounded number of tracks."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from streamtrack.throttle import Throttle
from streamtrack.types import CONFIRMED, Frame, Result

THUMBNAIL = 106
"""Side of a thumbnail in px."""
KEPT_THUMBNAILS = 6
"""Thumbnails of a finished track."""

_THUMBNAIL_EVERY_NS = 200_000_000
_MAX_WINDOWS = 8
_MAX_SPANS = 64
_PAD = 0.3
_GOOD_SIZE = 96.0  # px; larger boxes make no better thumbnails


@dataclass(slots=True)
class Thumbnail:
    """A picture of a track at one moment."""

    pts_ns: int
    quality: float
    pixels: NDArray[np.uint8]  # (THUMBNAIL, THUMBNAIL, 3) RGB


@dataclass(slots=True)
class Story:
    """What is kept of one track."""

    track_id: int
    class_id: int
    first_ns: int
    last_ns: int
    frames: int = 0
    """Processed frames with a detection of it."""
    score_sum: float = 0.0
    spans: list[list[int]] = field(default_factory=list)
    """First and last time (ns) of each stretch without a frame in which it was lost."""
    thumbnails: list[Thumbnail] = field(default_factory=list)
    """In order of time."""
    seen_at: int = -2
    """Number of the processed frame in which it was last seen."""
    window_ns: int = 2 * _THUMBNAIL_EVERY_NS
    """Of all moments in a window this long, only the best is kept."""

    @property
    def confidence(self) -> float:
        """Mean score."""
        return self.score_sum / self.frames

    def see(self, number: int, pts_ns: int, score: float) -> None:
        """Add a detection in processed frame ``number``."""
        if self.seen_at == number - 1:
            self.spans[-1][1] = pts_ns
        else:
            self.spans.append([pts_ns, pts_ns])
            if len(self.spans) > _MAX_SPANS:
                self._close_smallest_gap()
        self.frames += 1
        self.score_sum += score
        self.last_ns, self.seen_at = pts_ns, number

    def _close_smallest_gap(self) -> None:
        gaps = [after[0] - before[1] for before, after in zip(self.spans, self.spans[1:], strict=False)]
        k = gaps.index(min(gaps))
        self.spans[k][1] = self.spans.pop(k + 1)[1]

    def wants(self, pts_ns: int, quality: float) -> bool:
        """Tell whether a thumbnail of this quality would be kept."""
        return (
            not self.thumbnails
            or self._window(pts_ns) != self._window(self.thumbnails[-1].pts_ns)
            or (quality > self.thumbnails[-1].quality)
        )

    def keep(self, thumbnail: Thumbnail) -> None:
        """Keep ``thumbnail`` as the best of its window; widen the windows when there are too many."""
        if self.thumbnails and self._window(thumbnail.pts_ns) == self._window(self.thumbnails[-1].pts_ns):
            self.thumbnails.pop()
        self.thumbnails.append(thumbnail)
        while len(self.thumbnails) > _MAX_WINDOWS:
            self.window_ns *= 2
            best: dict[int, Thumbnail] = {}
            for each in self.thumbnails:
                window = self._window(each.pts_ns)
                if window not in best or each.quality > best[window].quality:
                    best[window] = each
            self.thumbnails = list(best.values())

    def _window(self, pts_ns: int) -> int:
        return (pts_ns - self.first_ns) // self.window_ns

    def best_thumbnails(self, limit: int) -> list[Thumbnail]:
        """Return the ``limit`` best, in order of time."""
        best = sorted(self.thumbnails, key=lambda each: each.quality, reverse=True)[:limit]
        return sorted(best, key=lambda each: each.pts_ns)


class Gallery:
    """Follows the tracks of a run; keeps those alive and the ``max_tracks`` finished ones with the most frames."""

    def __init__(self, max_tracks: int) -> None:
        self._max_tracks = max_tracks
        self._alive: dict[int, Story] = {}
        self._finished: list[tuple[int, int, Story]] = []  # a heap: frames, order of arrival, story
        self._arrival = count()
        self._throttle = Throttle(_THUMBNAIL_EVERY_NS)
        self.frames = 0
        """Processed frames."""
        self.detections = 0
        self.tracks = 0
        self.first_ns = 0
        self.last_ns = 0
        self.last_step_ns = 0
        """Time between the last two processed frames."""

    def add(self, result: Result) -> None:
        """Take one result."""
        pts_ns, tracks = result.frame.pts_ns, result.tracks
        if self.frames:
            self.last_step_ns = pts_ns - self.last_ns
        else:
            self.first_ns = pts_ns
        self.last_ns = pts_ns
        self.frames += 1
        self.detections += len(result.detections)
        for m in np.flatnonzero((tracks.states == CONFIRMED) & (tracks.rows >= 0)):
            self._see(result, int(m))
        for track_id in tracks.ended.tolist():
            if track_id in self._alive:
                self._finish(self._alive.pop(track_id))
        self._throttle.forget(tracks.ended)

    def _see(self, result: Result, m: int) -> None:
        tracks, frame = result.tracks, result.frame
        track_id, row = int(tracks.ids[m]), int(tracks.rows[m])
        story = self._alive.get(track_id)
        if story is None:
            story = Story(track_id, int(tracks.classes[m]), frame.pts_ns, frame.pts_ns)
            self._alive[track_id] = story
            self.tracks += 1
        box, score = result.detections.boxes[row], float(result.detections.scores[row])
        story.see(self.frames, frame.pts_ns, score)
        if self._throttle.due(track_id, frame.pts_ns):
            quality = _quality(box, score, frame)
            if story.wants(frame.pts_ns, quality):
                story.keep(Thumbnail(frame.pts_ns, quality, _thumbnail(frame, box)))

    def _finish(self, story: Story) -> None:
        story.thumbnails = story.best_thumbnails(KEPT_THUMBNAILS)
        heapq.heappush(self._finished, (story.frames, -next(self._arrival), story))
        if len(self._finished) > self._max_tracks:
            heapq.heappop(self._finished)

    def stories(self) -> list[Story]:
        """Return the tracks to show, in order of appearance; those still alive end here."""
        for story in self._alive.values():
            self._finish(story)
        self._alive.clear()
        return sorted((story for *_, story in self._finished), key=lambda story: (story.first_ns, story.track_id))


def _quality(box: NDArray[np.float32], score: float, frame: Frame) -> float:
    x0, y0, x1, y1 = (float(v) for v in box)
    size = min(1.0, min(x1 - x0, y1 - y0) / _GOOD_SIZE)
    cut_off = x0 <= 1 or y0 <= 1 or x1 >= frame.width - 1 or y1 >= frame.height - 1
    return score * size * (0.5 if cut_off else 1.0)


def _thumbnail(frame: Frame, box: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a square around the box, filled to its edges."""
    x0, y0, x1, y1 = (float(v) for v in box)
    half = max(x1 - x0, y1 - y0) * (0.5 + _PAD)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    crop = Image.fromarray(frame.crop((x - half, y - half, x + half, y + half)))
    return np.asarray(ImageOps.fit(crop, (THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC))
