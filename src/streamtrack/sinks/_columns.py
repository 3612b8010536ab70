"""Records as the rows of a table: the columns of each kind, written once for every format that has columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

import msgspec

from streamtrack.records import TrackLedger, detection_records, frame_record
from streamtrack.types import Result, RunInfo

Records = Literal["detections", "tracks", "frames"]
"""Which records a table has a row for."""
Kind = Literal["int32", "int64", "float32", "float64", "bool", "text", "time", "samples"]
"""Of a value. ``time``: ISO 8601 in UTC. ``samples``: observations of a track, which only nested formats hold."""
_CORNERS: Final = ("x0", "y0", "x1", "y1")


class Column(NamedTuple):
    """One column."""

    name: str
    kind: Kind
    value: Callable[[Any], Any]
    """Of a record; None where it has none."""
    parts: tuple[str, ...] = ()
    """Where the value is a list of fixed length: what each of its numbers is called in a flat table."""
    pairs: bool = False
    """Whether the list is one of pairs; ``parts`` are then those of all pairs in order."""


class Table:
    """Gives the rows of one run, a record each, and says what their columns are."""

    def __init__(self, records: Records, info: RunInfo, samples_per_track: int) -> None:
        """Make the table of a run.

        Args:
            records: a row for each of these.
            info: of the run.
            samples_per_track: boxes kept of each track.
        """
        self.columns = _COLUMNS[records](info)
        self._records = records
        self._ledger = TrackLedger(samples_per_track)

    def add(self, result: Result) -> Iterator[list[Any]]:
        """Yield the rows that this result completes."""
        records: Iterable[msgspec.Struct]
        if self._records == "detections":
            records = detection_records(result)
        elif self._records == "frames":
            records = [frame_record(result)]
        else:
            records = self._ledger.add(result)
        return self._rows(records)

    def finish(self) -> Iterator[list[Any]]:
        """Yield the rows of the tracks still alive; the run is over."""
        return self._rows(self._ledger.finish() if self._records == "tracks" else [])

    def _rows(self, records: Iterable[msgspec.Struct]) -> Iterator[list[Any]]:
        values = [column.value for column in self.columns]
        for record in records:
            yield [value(record) for value in values]


def _field(name: str) -> Callable[[Any], Any]:
    def value(record: Any) -> Any:
        found = getattr(record, name)
        return None if found is msgspec.UNSET else found

    return value


def _time(name: str) -> Callable[[Any], Any]:
    field = _field(name)

    def value(record: Any) -> datetime | None:
        text = field(record)
        return None if text is None else datetime.fromisoformat(text)

    return value


def _class_name(info: RunInfo) -> Column:
    names = info.class_names

    def value(record: Any) -> str | None:
        return names[record.class_id] if 0 <= record.class_id < len(names) else None

    return Column("class_name", "text", value)


def _plain(name: str, kind: Kind) -> Column:
    return Column(name, kind, _field(name))


def _detections(info: RunInfo) -> list[Column]:
    points = tuple(f"landmark{k}_{axis}" for k in range(info.keypoints) for axis in "xy")
    return [
        _plain("frame_idx", "int64"),
        _plain("ts_s", "float64"),
        _plain("track_id", "int64"),
        _plain("class_id", "int32"),
        _class_name(info),
        _plain("conf", "float32"),
        Column("bbox", "float32", _field("bbox"), _CORNERS),
        *[Column("landmarks", "float32", _field("landmarks"), points, pairs=True)] * bool(points),
        *_live(info),
    ]


def _frames(info: RunInfo) -> list[Column]:
    return [
        _plain("frame_idx", "int64"),
        _plain("ts_s", "float64"),
        _plain("pts_ns", "int64"),
        _plain("detections", "int32"),
        _plain("cut", "bool"),
        *_live(info),
    ]


def _live(info: RunInfo) -> list[Column]:
    if not info.source.live:
        return []
    return [Column("time_utc", "time", _time("time_utc")), _plain("age_ms", "float64")]


def _tracks(info: RunInfo) -> list[Column]:
    times = [Column(name, "time", _time(name)) for name in ("start_utc", "end_utc")]
    return [
        _plain("track_id", "int64"),
        _plain("class_id", "int32"),
        _class_name(info),
        Column("first_frame", "int64", lambda record: record.frame_span[0]),
        Column("last_frame", "int64", lambda record: record.frame_span[1]),
        _plain("start_s", "float64"),
        _plain("end_s", "float64"),
        *(times if info.source.live else []),
        _plain("frame_count", "int64"),
        _plain("avg_conf", "float64"),
        Column("bboxes_sampled", "samples", lambda record: msgspec.to_builtins(record.bboxes_sampled)),
    ]


_COLUMNS: Final[dict[Records, Callable[[RunInfo], list[Column]]]] = {
    "detections": _detections,
    "tracks": _tracks,
    "frames": _frames,
}
