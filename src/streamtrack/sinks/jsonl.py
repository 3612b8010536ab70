"""Records as JSON lines: ``detections.jsonl`` and ``tracks.jsonl`` (https://jsonlines.org)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from streamtrack.errors import SinkError
from streamtrack.records import SAMPLES_PER_TRACK, TrackLedger, detection_records, frame_record
from streamtrack.sinks._files import AppendFile, check_at_least_one
from streamtrack.types import Result, RunInfo


class LineFile:
    """A file of JSON lines in which every line is complete at every moment."""

    def __init__(self, path: Path) -> None:
        """Create the file, or empty it.

        Raises:
            SinkError: the disk refused.
        """
        self._encoder = msgspec.json.Encoder()
        self._file = AppendFile(path)

    def write(self, records: Iterable[Any]) -> None:
        """Append one line per record.

        Raises:
            SinkError: the disk is full or the file cannot be written; lines written before stay complete.
        """
        # A list: msgspec 0.22 never lets go of any other iterable.
        self._file.write(self._encoder.encode_lines(list(records)))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class JsonlSink:
    """Writes a line per detection and per frame as they happen, and a line per track when it ends.

    Detections and frames together are a tape: the tracker can be run again from them, without the video.

    Args:
        detections: name of the file of detections, inside the run's folder; empty for none.
        frames: name of the file of frames, likewise.
        tracks: name of the file of tracks, likewise.
        samples_per_track: boxes kept of each track in its line, 1 or more.

    Raises:
        ConfigError: ``samples_per_track`` is below 1.
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
    ) -> None:
        self._names = (detections, frames, tracks)
        self._detections: LineFile | None = None
        self._frames: LineFile | None = None
        self._tracks: LineFile | None = None
        self.is_tape = self._names[:2] == ("detections.jsonl", "frames.jsonl")
        """Whether a run can be resumed from what it writes."""
        self._ledger = TrackLedger(check_at_least_one("jsonl.samples_per_track", samples_per_track))

    def open(self, info: RunInfo) -> None:
        """Create the files."""
        if info.folder is None:
            raise SinkError("The sink 'jsonl' writes files: give the run a folder with --out.")
        for name in self._names:
            if name != os.path.basename(name):
                raise SinkError(f"'{name}' is not a plain file name; the sink 'jsonl' writes inside the run's folder.")
        self._detections, self._frames, self._tracks = (
            LineFile(info.folder / name) if name else None for name in self._names
        )

    def write(self, result: Result) -> None:
        """Append the frame's detections, then the frame, and the tracks that ended."""
        if self._detections:
            self._detections.write(detection_records(result))
        if self._frames:
            self._frames.write([frame_record(result)])
        ended = self._ledger.add(result)
        if self._tracks and ended:
            self._tracks.write(ended)

    def close(self) -> None:
        """Append the tracks still alive and close."""
        try:
            if self._tracks:
                self._tracks.write(self._ledger.finish())
        finally:
            for file in (self._detections, self._frames, self._tracks):
                if file:
                    file.close()
