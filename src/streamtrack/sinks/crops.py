"""``crops/TRACK/FRAME.jpg``: the best pictures of each track, spread over its life, and ``crops/index.jsonl``.

A detection passes one gate after the other, and whatever refuses it counts it, so that every candidate is accounted
for. See ``docs/crops.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from streamtrack.errors import ConfigError
from streamtrack.params import CropParams
from streamtrack.quality import at_best, shorter_side, warm_up
from streamtrack.records import CropRecord, crop_record
from streamtrack.sinks._files import check_quality, make_folder, run_folder, translating, write_jpeg
from streamtrack.sinks._keeping import Keeper
from streamtrack.sinks._lines import LineFile
from streamtrack.throttle import Throttle
from streamtrack.types import CONFIRMED, Frame, Result, RunInfo

_DEFAULT: Final = CropParams()
_OUTCOMES: Final = ("low_confidence", "too_small", "blank", "low_quality", "outdone", "replaced")


class CropsSink:
    """Cuts confirmed tracks out of their frames, at source resolution and from the detection's own box.

    A candidate is a detection of a track whose last candidate is long enough ago. Each ends in one of these counts:
    ``low_confidence``, ``too_small``, ``blank`` and ``low_quality`` were refused, in this order; ``outdone`` was good
    enough, but what is kept of that time is better; ``replaced`` was kept until something better came; and ``kept``.
    """

    def __init__(
        self,
        *,
        jpeg_quality: int = 90,
        every_frames: float = _DEFAULT.every_frames,
        min_confidence: float = _DEFAULT.min_confidence,
        min_size: float = _DEFAULT.min_size,
        min_quality: float = _DEFAULT.min_quality,
        max_crops_per_track: int = _DEFAULT.max_crops_per_track,
        pad: float = _DEFAULT.pad,
    ) -> None:
        """Set what is worth a crop.

        Args:
            jpeg_quality: 1 to 100.
            every_frames: at most one candidate per track in so many source frames, taken as media time; 0 for every
                frame.
            min_confidence: a candidate's score must be above this.
            min_size: the shorter side of its box, within the frame, must be above this many source px.
            min_quality: its quality, as ``streamtrack.quality`` has it, must be at least this.
            max_crops_per_track: of more, the best are kept, spread over the track's life.
            pad: grow the box by this share of its size on each side, within the frame.

        Raises:
            ConfigError: a value out of range.
        """
        self._jpeg_quality = check_quality("crops.jpeg_quality", jpeg_quality)
        self._params = _checked(
            every_frames=every_frames,
            min_confidence=min_confidence,
            min_size=min_size,
            min_quality=min_quality,
            max_crops_per_track=max_crops_per_track,
            pad=pad,
        )
        self._index: LineFile | None = None
        self._alive: dict[int, Keeper[CropRecord]] = {}
        self._counts = dict.fromkeys(("candidates", *_OUTCOMES, "kept"), 0)
        self._told: Mapping[str, int] = dict(self._counts)

    def counts(self) -> Mapping[str, int]:
        """Return how many candidates there were, and what became of them: the rest sums to ``candidates``."""
        return self._told

    def open(self, info: RunInfo) -> None:
        """Create the folder and the index.

        Raises:
            SinkError: they cannot be created, or the run has no folder.
        """
        self._folder = run_folder(info, "crops") / "crops"
        self._throttle = Throttle.every_frames(self._params.every_frames, info.source.rate)
        warm_up()
        make_folder(self._folder)
        self._index = LineFile(self._folder / "index.jsonl")

    def write(self, result: Result) -> None:
        """Write the crops of this frame that are worth it, and the lines of the tracks that ended.

        Raises:
            SinkError: the disk refused.
        """
        tracks = result.tracks
        for m in np.flatnonzero((tracks.states == CONFIRMED) & (tracks.rows >= 0)).tolist():
            track = int(tracks.ids[m])
            if self._throttle.due(track, result.frame.pts_ns):
                outcome = self._consider(result, int(tracks.rows[m]), track)
                self._counts["candidates"] += 1
                self._counts[outcome] += 1
        self._throttle.forget(tracks.ended)
        for track in sorted(tracks.ended.tolist()):
            self._conclude(track)
        # A copy, whole at every moment for whoever asks from another thread.
        self._told = dict(self._counts)

    def close(self) -> None:
        """Write the lines of the tracks still alive.

        Raises:
            SinkError: the disk refused.
        """
        if self._index is None:
            return
        try:
            for track in sorted(self._alive):
                self._conclude(track)
        finally:
            self._index.close()

    def _consider(self, result: Result, row: int, track: int) -> str:
        """Write a crop of a detection if it is worth it; return which count it belongs to."""
        detections, frame = result.detections, result.frame
        box, score = detections.boxes[row], float(detections.scores[row])
        if not score > self._params.min_confidence:
            return "low_confidence"
        size = shorter_side(box, frame)
        if not size > self._params.min_size:
            return "too_small"
        # Without the padding: what is around a face says nothing about it.
        quality = at_best(score, detections.keypoints[row], size).seen(frame.crop(box))
        if quality.sharpness == 0:
            return "blank"
        if quality.total < self._params.min_quality:
            return "low_quality"
        return self._keep(crop_record(result, row, track, quality.rounded()), quality.total, frame)

    def _keep(self, record: CropRecord, quality: float, frame: Frame) -> str:
        track = record.track_id
        keeper = self._alive.get(track)
        if keeper is None:
            keeper = self._alive[track] = Keeper(self._params.max_crops_per_track)
            make_folder(self._folder / f"{track:06d}")
        dropped = keeper.offer(frame.pts_ns, quality, record)
        if record in dropped:
            return "outdone"
        # First the new one: where the disk is full the old one stays.
        write_jpeg(self._path(record), frame.crop(np.array(record.bbox), self._params.pad), self._jpeg_quality)
        for old in dropped:
            with translating(self._path(old)):
                self._path(old).unlink(missing_ok=True)
            self._counts["replaced"] += 1
            self._counts["kept"] -= 1
        return "kept"

    def _path(self, record: CropRecord) -> Path:
        return self._folder.parent / record.path

    def _conclude(self, track: int) -> None:
        keeper = self._alive.pop(track, None)
        if keeper is not None and self._index is not None:
            # Where the disk refused a picture, the run ends and there is no such file.
            self._index.write(record for record in keeper.items() if self._path(record).is_file())


def _checked(**values: float) -> CropParams:
    try:
        return msgspec.convert(values, CropParams)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$.")
        name = path.rstrip("`")
        raise ConfigError(f"Option crops.{name} = {values.get(name)} does not fit: {reason}.") from error
