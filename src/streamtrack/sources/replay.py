"""A recorded run again: its frames at their times, and what was found in them in the place of a detector."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from streamtrack.api import SourceOptions
from streamtrack.errors import ConfigError, DecodeError, SourceError, SourceOpenError
from streamtrack.models.spec import ModelSpec
from streamtrack.sources._picture import AvPicture
from streamtrack.sources._still import decode_still
from streamtrack.sources.sampling import Sampler, choose
from streamtrack.tape import Tape, read_tape
from streamtrack.types import NS_PER_S, BoxCounts, Detections, Float32Array, Frame, SourceInfo, SourceStats, UInt8Array

_GREY: Final = 128
_NO_THUMBNAIL: Final = np.zeros((3, 1, 1), np.float32)
_NO_THUMBNAIL.setflags(write=False)


class ReplaySource:
    """A ``Source`` over a tape (``streamtrack.tape``), which also offers what a detector found in its frames.

    Frames have the index and the time that they had in the run, so that the tracker does again what it did. Their
    pictures are those that the run saved in ``frames/``, and plain grey where it saved none.
    """

    stats: SourceStats

    def __init__(self, uri: str, options: SourceOptions, *, speed: float = 0.0) -> None:
        """Take note of what to replay.

        Args:
            uri: a run's folder, its ``detections.jsonl`` or its ``tape.msgpack``; a MOTChallenge ``det.txt`` or the
                folder of its sequence.
            options: what any source is asked for; stride and fps choose among the recorded frames.
            speed: how many seconds of media to replay in one: 1 at the pace of the recording; 0 as fast as may be.

        Raises:
            ConfigError: the options make no sense.
        """
        if not 0 <= speed < math.inf:
            raise ConfigError(f"A speed of {speed:g} cannot be; give 1 for the recorded pace, 0 for no waiting.")
        choose(options.stride, options.fps, 0.0)
        self.stats = SourceStats()
        self._path = Path(uri.removeprefix("replay://"))
        self._options, self._speed = options, speed
        self._interrupted = threading.Event()
        self._closed = False
        self._tape: Tape | None = None

    def open(self) -> SourceInfo:
        """Read the tape.

        Raises:
            SourceOpenError: there is none, it is malformed, or it holds nothing to replay.
        """
        recorded = read_tape(self._path)
        if not len(recorded):
            raise SourceOpenError(f"'{recorded.file}' holds no frame: there is nothing to replay.")
        _check(recorded)
        source = recorded.source
        sampler = choose(self._options.stride, self._options.fps, source.rate)
        tape = self._tape = _sampled(recorded, sampler)
        self.stats.decoding = " ".join(("what was recorded is replayed.", *tape.notes))
        self._frames = self._deliver(recorded, frozenset(tape.frames.tolist()), _size(recorded))
        width, height = _size(recorded)
        return SourceInfo(
            uri=f"replay:{self._path}",
            width=width,
            height=height,
            rate=source.rate,
            frames_estimate=int(recorded.frames[-1]) + 1,
            duration_s=source.duration_s,
            # Whatever it was then: now nothing is lost by being slow.
            live=False,
            codec=source.codec,
            sampling=tape.source.sampling or "every recorded frame",
            sample_rate=tape.source.sample_rate,
        )

    def detector(self) -> TapeDetector:
        """Return what stands in for a detector; only of an open source.

        Raises:
            SourceError: it is not open.
        """
        if self._tape is None:
            raise SourceError(f"replay:{self._path} is not open.")
        return TapeDetector(self._tape, pictures=any((self._tape.file.parent / "frames").glob("*.jpg")))

    def _deliver(self, tape: Tape, wanted: frozenset[int], size: tuple[int, int]) -> Iterator[Frame]:
        stats, start = self.stats, time.monotonic()
        pictures = tape.file.parent / "frames"
        times = zip(tape.frames.tolist(), tape.pts_ns.tolist(), strict=True)
        origin_ns = int(tape.pts_ns[0])
        for index, pts_ns in times:
            if index in wanted and not self._is_due(start, pts_ns - origin_ns):
                return
            stats.seen += 1
            if index not in wanted:
                stats.strided += 1
                continue
            stats.delivered += 1
            yield Frame(index, pts_ns, *size, SavedPicture(pictures / f"{index:08d}.jpg", *size))

    def _is_due(self, start: float, media_ns: int) -> bool:
        """Wait until a frame is due; return whether there shall be one at all."""
        if self._speed:
            due = start + media_ns / NS_PER_S / self._speed
            self._interrupted.wait(max(0.0, due - time.monotonic()))
        return not (self._closed or self._interrupted.is_set())

    def __iter__(self) -> Iterator[Frame]:
        """Yield the wanted frames. There is one pass: a second iterator goes on where the first is.

        Raises:
            SourceError: the source is closed.
        """
        if self._closed:
            raise SourceError(f"replay:{self._path} is closed: open it again to read it.")
        return self._frames

    def interrupt(self) -> None:
        """End the wait for the next frame, and the replay. May be called from any thread, at any time."""
        self._interrupted.set()

    def close(self) -> None:
        """Give nothing more. May be called again."""
        self._closed = True


class TapeDetector:
    """Gives the detections of a tape for its frames: a ``streamtrack.pipeline.RecordedDetector``."""

    device = "none"

    def __init__(self, tape: Tape, *, pictures: bool) -> None:
        """Find again what is on ``tape``, cuts included.

        Args:
            tape: the recording.
            pictures: whether the run saved its frames.
        """
        self.pictures = pictures
        found = tape.found
        self.spec = ModelSpec(name="replay", head="none", classes=(), keypoints=found.keypoints.shape[1])
        self.origin = str(tape.file)
        """The file that holds the detections."""
        self.note = f"recorded from {tape.model}" if tape.model else "recorded"
        self.notes = tape.notes
        """What a person should know, a sentence each."""
        self.thumbnails: Sequence[Float32Array] = ()
        self.box_counts: Sequence[BoxCounts | None] = ()
        self._found = found
        self._rows: Mapping[int, tuple[int, int]] = {
            index: (first, last)
            for index, first, last in zip(tape.frames.tolist(), tape.first.tolist(), tape.last.tolist(), strict=True)
        }
        self._counts = dict(zip(tape.frames.tolist(), tape.box_counts, strict=False))
        self._cuts = frozenset(tape.pts_ns[tape.cuts].tolist())

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Return what was found in each frame, as ``FrameDetector``."""
        self.thumbnails = [_NO_THUMBNAIL] * len(frames)
        self.box_counts = [self._counts.get(frame.index) for frame in frames]
        return [self._in_frame(frame.index) for frame in frames]

    def _in_frame(self, index: int) -> Detections:
        a, b = self._rows[index]
        found = self._found
        return Detections(found.boxes[a:b], found.scores[a:b], found.classes[a:b], found.keypoints[a:b])

    def is_cut(self, thumbnail: Float32Array, pts_ns: int) -> bool:
        """Return whether a new shot began at ``pts_ns`` in the run; the pictures have no say in it."""
        return pts_ns in self._cuts

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


class SavedPicture:
    """The ``Picture`` that a run saved of a frame, decoded when it is first asked for; grey where there is none."""

    __slots__ = ("_lock", "_path", "_picture", "_size")

    def __init__(self, path: Path, width: int, height: int) -> None:
        """Remember where it is, and the size of the frame in px."""
        self._path, self._size = path, (width, height)
        self._lock = threading.Lock()
        self._picture: AvPicture | None = None

    def rgb(self, region: tuple[int, int, int, int], size: tuple[int, int], *, planar: bool) -> UInt8Array:
        """Return ``region`` (x0 y0 x1 y1 px) at ``size`` (width, height), as ``types.Picture`` says."""
        picture = self._decoded()
        if picture is not None:
            return picture.rgb(self._within(region, picture), size, planar=planar)
        width, height = size
        if planar:
            return np.full((3, height, width), _GREY, np.uint8).transpose(1, 2, 0)
        return np.full((height, width, 3), _GREY, np.uint8)

    def _within(self, region: tuple[int, int, int, int], picture: AvPicture) -> tuple[int, int, int, int]:
        """Return ``region`` in a picture of another size, as a feed has that changed its resolution."""
        if (picture.width, picture.height) == self._size:
            return region
        scale_x, scale_y = picture.width / self._size[0], picture.height / self._size[1]
        x0, y0 = (int(v * scale) for v, scale in zip(region[:2], (scale_x, scale_y), strict=True))
        x1, y1 = (math.ceil(v * scale) for v, scale in zip(region[2:], (scale_x, scale_y), strict=True))
        return x0, y0, min(x1, picture.width), min(y1, picture.height)

    def _decoded(self) -> AvPicture | None:
        with self._lock:
            if self._picture is None:
                try:
                    self._picture = decode_still(self._path.read_bytes()).picture
                except (OSError, DecodeError):
                    return None
            return self._picture


def _sampled(tape: Tape, sampler: Sampler) -> Tape:
    """Return the tape as a run with ``sampler`` would have recorded it from the frames that there are."""
    times = zip(tape.frames.tolist(), tape.pts_ns.tolist(), strict=True)
    kept = np.flatnonzero([sampler.wants(index, pts_ns) for index, pts_ns in times])
    if len(kept) == len(tape):
        return tape
    recorded_rate = tape.source.sample_rate
    rates = (sampler.rate, recorded_rate, recorded_rate * len(kept) / len(tape))
    return tape.only(kept, sampling=f"{sampler.text} of the tape", rate=min((r for r in rates if r), default=0.0))


def _size(tape: Tape) -> tuple[int, int]:
    """Return the width and height of the frames in px: as recorded, else enough for every box."""
    if tape.source.width and tape.source.height:
        return tape.source.width, tape.source.height
    right, bottom = tape.found.boxes[:, 2:].max(axis=0, initial=1.0).tolist()
    return math.ceil(right), math.ceil(bottom)


def _check(tape: Tape) -> None:
    """Refuse detections that the tracker would refuse, while their frame can be named."""
    boxes, scores = tape.found.boxes, tape.found.scores
    wrong = ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
    wrong |= ~((scores >= 0) & (scores <= 1))
    if wrong.any():
        row = int(np.argmax(wrong))
        frame = tape.frames[np.searchsorted(tape.last, row, "right")] + tape.frames_from
        raise SourceOpenError(
            f"Frame {frame} in '{tape.file}' has a box that is not finite or inside out, or a score not in 0..1: "
            f"{boxes[row].tolist()}, {scores[row]:g}."
        )
