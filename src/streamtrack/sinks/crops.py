"""``crops/TRACK/FRAME.jpg``: pictures of each track, a few a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streamtrack.sinks._files import check_not_negative, check_quality, make_folder, run_folder, write_jpeg
from streamtrack.throttle import Throttle
from streamtrack.types import CONFIRMED, Result, RunInfo


class CropsSink:
    """Cuts each confirmed track out of its frames, at source resolution and from the detection's own box."""

    def __init__(
        self,
        *,
        jpeg_quality: int = 90,
        every_frames: float = 8.0,
        min_confidence: float = 0.0,
        min_size: float = 0.0,
        pad: float = 0.15,
    ) -> None:
        """Set what is worth a crop.

        Args:
            jpeg_quality: 1 to 100.
            every_frames: at most one crop per track in so many source frames, taken as media time; 0 for every frame.
                The first detection that is good enough always gives one.
            min_confidence: detections below this score give none.
            min_size: boxes whose shorter side is under this many source px give none.
            pad: grow the box by this share of its size on each side, within the frame.

        Raises:
            ConfigError: a value out of range.
        """
        self._quality = check_quality("crops.jpeg_quality", jpeg_quality)
        self._every_frames = check_not_negative("crops.every_frames", every_frames)
        self._min_confidence = check_not_negative("crops.min_confidence", min_confidence)
        self._min_size = check_not_negative("crops.min_size", min_size)
        self._pad = check_not_negative("crops.pad", pad)

    def open(self, info: RunInfo) -> None:
        """Create the folder.

        Raises:
            SinkError: it cannot be created, or the run has no folder.
        """
        self._folder = run_folder(info, "crops") / "crops"
        self._throttle = Throttle.every_frames(self._every_frames, info.source.rate)
        make_folder(self._folder)

    def write(self, result: Result) -> None:
        """Write the crops that are due in this frame.

        Raises:
            SinkError: the disk refused.
        """
        tracks, detections, frame = result.tracks, result.detections, result.frame
        for m in np.flatnonzero((tracks.states == CONFIRMED) & (tracks.rows >= 0)):
            row, track = tracks.rows[m], int(tracks.ids[m])
            box = detections.boxes[row]
            good = detections.scores[row] >= self._min_confidence and min(box[2:] - box[:2]) >= self._min_size
            if good and self._throttle.due(track, frame.pts_ns):
                write_jpeg(self._path(track, frame.index), frame.crop(box, self._pad), self._quality)
        self._throttle.forget(tracks.ended)

    def _path(self, track: int, frame: int) -> Path:
        folder = self._folder / f"{track:06d}"
        make_folder(folder)
        return folder / f"{frame:08d}.jpg"

    def close(self) -> None:
        """Do nothing: every crop is on disk when ``write`` returns."""
