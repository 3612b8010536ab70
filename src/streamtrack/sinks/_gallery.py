"""What a report keeps of a run while it goes on: little per track, and of a bounded number of tracks."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps

from streamtrack.quality import at_best, shorter_side
from streamtrack.sinks._keeping import Keeper
from streamtrack.throttle import Throttle
from streamtrack.types import CONFIRMED, Frame, Result

THUMBNAIL = 160
"""Side of a thumbnail in px, at most; smaller ones are as large as the source has them."""
KEPT_THUMBNAILS = 6
"""Thumbnails of a finished track."""

_THUMBNAIL_EVERY_NS = 200_000_000
_MOST_ALIVE = 12  # thumbnails of a track alive
_JPEG_QUALITY = 82
_MAX_SPANS = 64
_MAX_BRIEFS = 1500
_MAX_CUTS = 2048
_MAX_BINS = 512
_PAD = 0.3


@dataclass(slots=True, eq=False)
class Thumbnail:
    """A picture of a track at one moment."""

    pts_ns: int
    quality: float
    """As ``streamtrack.quality`` has it, of the box alone."""
    jpeg: bytes = b""


@dataclass(slots=True)
class Span:
    """A stretch without a frame in which a track was lost, however short."""

    begin_ns: int
    end_ns: int
    frames: int
    score_sum: float

    @property
    def confidence(self) -> float:
        """Mean score."""
        return self.score_sum / self.frames


@dataclass(slots=True)
class Story:
    """What is kept of one track that is shown with its pictures."""

    track_id: int
    class_id: int
    first_ns: int
    first_number: int
    """Number of the processed frame in which it was first seen."""
    last_ns: int = 0
    seen_at: int = -2
    """Number of the processed frame in which it was last seen."""
    frames: int = 0
    """Processed frames with a detection of it."""
    score_sum: float = 0.0
    spans: list[Span] = field(default_factory=list)
    thumbnails: list[Thumbnail] = field(default_factory=list)
    """The best, in the order of time; known when the track has ended."""
    candidates: Keeper[Thumbnail] = field(default_factory=lambda: Keeper(_MOST_ALIVE))

    @property
    def confidence(self) -> float:
        """Mean score."""
        return self.score_sum / self.frames

    @property
    def share_seen(self) -> float:
        """Share of the processed frames from its first to its last in which it was seen."""
        return self.frames / (self.seen_at - self.first_number + 1)

    def see(self, number: int, pts_ns: int, score: float) -> None:
        """Add a detection in processed frame ``number``."""
        if self.seen_at != number - 1:
            self.spans.append(Span(pts_ns, pts_ns, 0, 0.0))
            if len(self.spans) > _MAX_SPANS:
                self._close_smallest_gap()
        last = self.spans[-1]
        last.end_ns, last.frames, last.score_sum = pts_ns, last.frames + 1, last.score_sum + score
        self.frames += 1
        self.score_sum += score
        self.last_ns, self.seen_at = pts_ns, number

    def _close_smallest_gap(self) -> None:
        gaps = [after.begin_ns - before.end_ns for before, after in zip(self.spans, self.spans[1:], strict=False)]
        k = gaps.index(min(gaps))
        after = self.spans.pop(k + 1)
        before = self.spans[k]
        before.end_ns, before.frames = after.end_ns, before.frames + after.frames
        before.score_sum += after.score_sum

    def end(self) -> None:
        """Choose the best thumbnails, and let go of all others."""
        best = sorted(self.candidates.items(), key=lambda each: each.quality, reverse=True)[:KEPT_THUMBNAILS]
        self.thumbnails = sorted(best, key=lambda each: each.pts_ns)
        self.candidates = Keeper(1)


class Brief(NamedTuple):
    """What is kept of one track that is shown as a line."""

    frames: int
    track_id: int
    first_ns: int
    last_ns: int


class Course:
    """How many tracks were in view over time: at most 512 bins, which grow twice as long when they do not suffice."""

    def __init__(self, step_ns: int = 100_000_000) -> None:
        """Begin with bins of ``step_ns``."""
        self.step_ns = step_ns
        self._frames: list[int] = []
        self._seen: list[int] = []

    def add(self, after_ns: int, seen: int) -> None:
        """Add a processed frame ``after_ns`` after the first with ``seen`` tracks in view."""
        while after_ns // self.step_ns >= _MAX_BINS:
            self.step_ns *= 2
            self._frames, self._seen = _in_pairs(self._frames), _in_pairs(self._seen)
        place = after_ns // self.step_ns
        missing = place + 1 - len(self._frames)
        self._frames += [0] * missing
        self._seen += [0] * missing
        self._frames[place] += 1
        self._seen[place] += seen

    def means(self) -> list[float]:
        """Return the tracks in view per frame, bin by bin; a bin without frames has what the one before it has."""
        means, last = [], 0.0
        for frames, seen in zip(self._frames, self._seen, strict=True):
            last = seen / frames if frames else last
            means.append(last)
        return means


def _in_pairs(values: list[int]) -> list[int]:
    padded = [*values, 0] if len(values) % 2 else values
    return [a + b for a, b in zip(padded[::2], padded[1::2], strict=True)]


class Cuts:
    """Where shots end: to 1 ms, and when there are too many to keep, to twice that, and so on."""

    def __init__(self) -> None:
        self.count = 0
        self._step_ns = 1_000_000
        self._steps: set[int] = set()

    def add(self, pts_ns: int) -> None:
        """Add one."""
        self.count += 1
        self._steps.add(pts_ns // self._step_ns)
        while len(self._steps) > _MAX_CUTS:
            self._step_ns *= 2
            self._steps = {step // 2 for step in self._steps}

    def times_ns(self) -> list[int]:
        """Return when, in order."""
        return [step * self._step_ns for step in sorted(self._steps)]


class Gallery:
    """Follows the tracks of a run: those alive, and of the finished ones those with the most frames."""

    def __init__(self, max_tracks: int) -> None:
        """Keep the pictures of ``max_tracks`` finished tracks, and when a further 1,500 were there."""
        self._max_tracks = max_tracks
        self._alive: dict[int, Story] = {}
        self._finished: list[tuple[int, int, Story]] = []  # a heap: frames, order of arrival, story
        self._briefs: list[Brief] = []  # a heap
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
        self.course = Course()
        self.cuts = Cuts()

    @property
    def end_ns(self) -> int:
        """When the last processed frame is over, as far as one can tell."""
        return self.last_ns + self.last_step_ns

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
        if result.cut:
            self.cuts.add(pts_ns)
        seen = np.flatnonzero((tracks.states == CONFIRMED) & (tracks.rows >= 0)).tolist()
        self.course.add(pts_ns - self.first_ns, len(seen))
        for m in seen:
            self._see(result, m)
        for track_id in tracks.ended.tolist():
            if track_id in self._alive:
                self._finish(self._alive.pop(track_id))
        self._throttle.forget(tracks.ended)

    def _see(self, result: Result, m: int) -> None:
        tracks, frame = result.tracks, result.frame
        track_id, row = int(tracks.ids[m]), int(tracks.rows[m])
        story = self._alive.get(track_id)
        if story is None:
            story = Story(track_id, int(tracks.classes[m]), frame.pts_ns, self.frames)
            self._alive[track_id] = story
            self.tracks += 1
        score = float(result.detections.scores[row])
        story.see(self.frames, frame.pts_ns, score)
        if self._throttle.due(track_id, frame.pts_ns):
            thumbnail = Thumbnail(frame.pts_ns, _quality(result, row, score))
            if thumbnail not in story.candidates.offer(frame.pts_ns, thumbnail.quality, thumbnail):
                thumbnail.jpeg = _picture(frame, result.detections.boxes[row])

    def _finish(self, story: Story) -> None:
        story.end()
        heapq.heappush(self._finished, (story.frames, -next(self._arrival), story))
        if len(self._finished) > self._max_tracks:
            _, _, least = heapq.heappop(self._finished)
            heapq.heappush(self._briefs, Brief(least.frames, least.track_id, least.first_ns, least.last_ns))
            if len(self._briefs) > _MAX_BRIEFS:
                heapq.heappop(self._briefs)

    def end(self) -> None:
        """End the tracks that are still alive."""
        for story in self._alive.values():
            self._finish(story)
        self._alive.clear()

    def stories(self) -> list[Story]:
        """Return the finished tracks to show with pictures, in order of appearance."""
        return sorted((story for *_, story in self._finished), key=lambda story: (story.first_ns, story.track_id))

    def briefs(self) -> list[Brief]:
        """Return the finished tracks to show as lines, in order of appearance."""
        return sorted(self._briefs, key=lambda brief: (brief.first_ns, brief.track_id))


def _quality(result: Result, row: int, score: float) -> float:
    box, frame = result.detections.boxes[row], result.frame
    size = shorter_side(box, frame)
    # Motion and detectors both give boxes wholly outside the picture.
    return at_best(score, result.detections.keypoints[row], size).seen(frame.crop(box)).total if size > 0 else 0.0


def _picture(frame: Frame, box: NDArray[np.float32]) -> bytes:
    """Return a square around the box, filled to its edges, as JPEG."""
    x0, y0, x1, y1 = (float(v) for v in box)
    half = max(x1 - x0, y1 - y0) * (0.5 + _PAD)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    crop = Image.fromarray(frame.crop((x - half, y - half, x + half, y + half)))
    side = min(THUMBNAIL, max(crop.size))
    square = np.ascontiguousarray(ImageOps.fit(crop, (side, side), Image.Resampling.BICUBIC))
    data: bytes = simplejpeg.encode_jpeg(square, quality=_JPEG_QUALITY, colorspace="RGB", colorsubsampling="420")
    return data
