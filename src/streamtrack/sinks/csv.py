"""``detections.csv``, ``tracks.csv`` or ``frames.csv``: a row per record, as RFC 4180 has it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar

from streamtrack.records import SAMPLES_PER_TRACK
from streamtrack.sinks._columns import Column, Records, Table
from streamtrack.sinks._files import AppendFile, make_folder, resolve_inside, run_folder
from streamtrack.types import Result, RunInfo


class CsvSink:
    """Writes a row per detection or frame as it happens, or per track when it ends; every row is complete at once.

    The first row names the columns. A box has four columns, a landmark two; of a track the sampled boxes are left out.
    What there is none of, such as the track of an unclaimed detection, is empty. Lines end with CR LF.

    Args:
        records: which rows: ``detections``, ``tracks`` or ``frames``.
        path: file inside the run's folder; empty for ``RECORDS.csv``.
        fsync: wait after every frame until it is on the disk.
    """

    when_full: ClassVar = "wait"
    """A table with gaps would tell of another run."""

    def __init__(self, *, records: Records = "detections", path: str = "", fsync: bool = False) -> None:
        self._records: Records = records
        self._name = path or f"{records}.csv"
        self._fsync = fsync
        self._file: AppendFile | None = None

    def open(self, info: RunInfo) -> None:
        """Create the file with its first row.

        Raises:
            SinkError: the run has no folder, the path leaves it, or the disk refused.
        """
        path = resolve_inside(run_folder(info, "csv"), self._name, "csv")
        make_folder(path.parent)
        self._table = Table(self._records, info, SAMPLES_PER_TRACK)
        self._flat = [column.kind != "samples" for column in self._table.columns]
        self._file = AppendFile(path, fsync=self._fsync)
        shown = [column for column, flat in zip(self._table.columns, self._flat, strict=True) if flat]
        self._file.write(_lines([[name for column in shown for name in _names(column)]]))

    def write(self, result: Result) -> None:
        """Append the rows that this result completes.

        Raises:
            SinkError: the disk refused; rows written before stay.
        """
        self._append(self._table.add(result))

    def close(self) -> None:
        """Append the tracks still alive and close.

        Raises:
            SinkError: the disk refused.
        """
        file = self._file
        if file is None:
            return
        try:
            self._append(self._table.finish())
        finally:
            self._file = None
            file.close()

    def _append(self, rows: Iterable[list[Any]]) -> None:
        if self._file is not None:
            flat = [[cell for value in self._shown(row) for cell in _cells(value)] for row in rows]
            self._file.write(_lines(flat))

    def _shown(self, row: list[Any]) -> list[Any]:
        return [value for value, flat in zip(row, self._flat, strict=True) if flat]


def _names(column: Column) -> tuple[str, ...]:
    return column.parts or (column.name,)


def _cells(value: Any) -> list[Any]:
    """Return the cells of a value: one, or those of all numbers in it."""
    if isinstance(value, list):
        return [cell for part in value for cell in _cells(part)]
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, datetime):
        return [value.isoformat(timespec="milliseconds").replace("+00:00", "Z")]
    return [value]


def _lines(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
