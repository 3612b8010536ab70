"""Track records on standard output as JSON lines, for ``| jq`` and friends."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import msgspec

from streamtrack.errors import SinkError
from streamtrack.records import SAMPLES_PER_TRACK, TrackLedger, detection_records
from streamtrack.sinks._files import check_at_least_one
from streamtrack.types import Result, RunInfo


class StdoutSink:
    """Writes a line per finished track, or per detection.

    Args:
        records: ``tracks`` (a line when a track ends) or ``detections`` (a line per detection as it happens).
        samples_per_track: boxes kept of each track in its line, 1 or more.

    Raises:
        ConfigError: ``samples_per_track`` is below 1.
    """

    when_full: ClassVar = "wait"
    """Counts and spans in records are those of the run."""

    def __init__(
        self,
        *,
        records: Literal["tracks", "detections"] = "tracks",
        samples_per_track: int = SAMPLES_PER_TRACK,
    ) -> None:
        self._records = records
        self._ledger = TrackLedger(check_at_least_one("stdout.samples_per_track", samples_per_track))
        self._encoder = msgspec.json.Encoder()

    def open(self, info: RunInfo) -> None:
        """Take standard output as it is."""
        self._out = sys.stdout.buffer

    def write(self, result: Result) -> None:
        """Write what this frame completes."""
        self._write(detection_records(result) if self._records == "detections" else self._ledger.add(result))

    def close(self) -> None:
        """Write the tracks still alive."""
        if self._records == "tracks":
            self._write(self._ledger.finish())

    def _write(self, records: Iterable[Any]) -> None:
        # A list: msgspec 0.22 never lets go of any other iterable.
        data = self._encoder.encode_lines(list(records))
        if not data:
            return
        try:
            self._out.write(data)
            self._out.flush()
        except OSError as error:
            raise SinkError(f"Cannot write to standard output: {error.strerror}.") from error
