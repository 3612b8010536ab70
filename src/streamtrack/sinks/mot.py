"""``mot.txt``: tracks in the text format of MOTChallenge, for ``streamtrack eval``, TrackEval and motmetrics."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from streamtrack.motchallenge import track_line
from streamtrack.sinks._files import AppendFile, make_folder, resolve_inside, run_folder
from streamtrack.types import CONFIRMED, Result, RunInfo


class MotSink:
    """Writes a line per confirmed track and frame as it happens, with the box that the tracker reports.

    Frames are those of the source, counted from 1. Lines are complete at every moment.

    Args:
        path: file inside the run's folder.
        fsync: wait after every frame until it is on the disk.
    """

    when_full: ClassVar = "wait"
    """Every frame of a run counts in its scores."""

    def __init__(self, *, path: str = "mot.txt", fsync: bool = False) -> None:
        self._name = path
        self._fsync = fsync
        self._file: AppendFile | None = None

    def open(self, info: RunInfo) -> None:
        """Create the file.

        Raises:
            SinkError: the run has no folder, the path leaves it, or the disk refused.
        """
        path = resolve_inside(run_folder(info, "mot"), self._name, "mot")
        make_folder(path.parent)
        self._file = AppendFile(path, fsync=self._fsync)

    def write(self, result: Result) -> None:
        """Append the tracks that have a detection in this frame.

        Raises:
            SinkError: the disk refused; lines written before stay.
        """
        if self._file is None:
            return
        frame, tracks = result.frame.index + 1, result.tracks
        seen = np.flatnonzero(tracks.states == CONFIRMED)
        columns = (tracks.ids[seen].tolist(), tracks.boxes[seen].tolist(), tracks.scores[seen].tolist())
        self._file.write("".join(track_line(frame, *row) for row in zip(*columns, strict=True)).encode())

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
