"""Records as JSON lines: ``detections.jsonl`` and ``tracks.jsonl`` (https://jsonlines.org)."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

from streamtrack.errors import SinkError
from streamtrack.packing import Compress
from streamtrack.records import SAMPLES_PER_TRACK, TrackLedger, detection_records, frame_record
from streamtrack.sinks._files import check_at_least_one, check_not_negative, run_folder
from streamtrack.sinks._lines import LineParts
from streamtrack.types import Result, RunInfo


class JsonlSink:
    """Writes a line per detection and per frame as they happen, and a line per track when it ends.

    Detections and frames together are a tape: the tracker can be run again from them, without the video.

    Args:
        detections: name of the file of detections, inside the run's folder; empty for none.
        frames: name of the file of frames, likewise.
        tracks: name of the file of tracks, likewise.
        samples_per_track: boxes kept of each track in its line, 1 or more.
        rotate_mb: begin another part (``detections-00001.jsonl``, ...) once one has this many MB; 0 for one file.
        rotate_s: begin another part at every multiple of this many seconds of media; 0 likewise.
        compress: ``none``, ``gzip`` (``.gz``) or ``zstd`` (``.zst``); every frame can be read when it is written.
        fsync: wait after every frame until it is on the disk.

    Raises:
        ConfigError: a value out of range.
    """

    when_full: ClassVar = "wait"
    """A tape with gaps could not be tracked again as the run was."""

    def __init__(
        self,
        *,
        detections: str = "detections.jsonl",
        frames: str = "frames.jsonl",
        tracks: str = "tracks.jsonl",
        samples_per_track: int = SAMPLES_PER_TRACK,
        rotate_mb: float = 0.0,
        rotate_s: float = 0.0,
        compress: Compress = "none",
        fsync: bool = False,
    ) -> None:
        self._names = (detections, frames, tracks)
        self._rotate_mb = check_not_negative("jsonl.rotate_mb", rotate_mb)
        self._rotate_s = check_not_negative("jsonl.rotate_s", rotate_s)
        self._compress: Compress = compress
        self._fsync = fsync
        self._detections: LineParts | None = None
        self._frames: LineParts | None = None
        self._tracks: LineParts | None = None
        plain = compress == "none" and not rotate_mb and not rotate_s
        self.is_tape = plain and self._names[:2] == ("detections.jsonl", "frames.jsonl")
        """Whether a run can be resumed from what it writes."""
        self._ledger = TrackLedger(check_at_least_one("jsonl.samples_per_track", samples_per_track))

    def open(self, info: RunInfo) -> None:
        """Create the files.

        Raises:
            SinkError: the run has no folder, a name leaves it, or the disk refused.
            PluginError: the compression is not installed.
        """
        folder = run_folder(info, "jsonl")
        for name in self._names:
            if name != os.path.basename(name):
                raise SinkError(f"'{name}' is not a plain file name; the sink 'jsonl' writes inside the run's folder.")
        self._detections, self._frames, self._tracks = (
            self._lines(folder / name) if name else None for name in self._names
        )

    def _lines(self, path: Path) -> LineParts:
        return LineParts(
            path,
            rotate_mb=self._rotate_mb,
            rotate_s=self._rotate_s,
            compress=self._compress,
            fsync=self._fsync,
        )

    def write(self, result: Result) -> None:
        """Append the frame's detections, then the frame, and the tracks that ended.

        Raises:
            SinkError: the disk refused; lines written before stay complete.
        """
        pts_ns = result.frame.pts_ns
        if self._detections:
            self._detections.write(detection_records(result), pts_ns)
        if self._frames:
            self._frames.write([frame_record(result)], pts_ns)
        ended = self._ledger.add(result)
        if self._tracks:
            self._tracks.write(ended, pts_ns)

    def close(self) -> None:
        """Append the tracks still alive and close.

        Raises:
            SinkError: the disk refused; what was written before is complete.
        """
        with ExitStack() as files:
            for file in (self._detections, self._frames, self._tracks):
                if file:
                    files.callback(file.close)
            if self._tracks:
                self._tracks.write(self._ledger.finish())
