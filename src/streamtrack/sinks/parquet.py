"""``detections.parquet``, ``tracks.parquet`` or ``frames.parquet``: typed columns, also nested ones."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from streamtrack.errors import PluginError, SinkError
from streamtrack.records import SAMPLES_PER_TRACK, SCHEMA_VERSION
from streamtrack.sinks._columns import Column, Records, Table
from streamtrack.sinks._files import check_at_least_one, make_folder, resolve_inside, run_folder, translating
from streamtrack.types import Result, RunInfo


class ParquetSink:
    """Writes a row per detection, track or frame, in groups of bounded size; memory holds one group.

    A Parquet file is one only when it is closed: it is written as ``.NAME.part`` and renamed then. Of a run that is
    killed nothing can be read; its tape can, and ``streamtrack inspect`` makes the file of that.

    Args:
        records: which rows: ``detections``, ``tracks`` or ``frames``.
        path: file inside the run's folder; empty for ``RECORDS.parquet``.
        group_rows: rows in a group, 1 or more.
        samples_per_track: boxes kept of each track in its row, 1 or more.

    Raises:
        ConfigError: a value out of range.
        PluginError: pyarrow is not installed.
    """

    when_full: ClassVar = "wait"
    """A table with gaps would tell of another run."""

    def __init__(
        self,
        *,
        records: Records = "detections",
        path: str = "",
        group_rows: int = 65_536,
        samples_per_track: int = SAMPLES_PER_TRACK,
    ) -> None:
        self._records: Records = records
        self._name = path or f"{records}.parquet"
        self._group_rows = check_at_least_one("parquet.group_rows", group_rows)
        self._samples = check_at_least_one("parquet.samples_per_track", samples_per_track)
        self._pa, self._pq = _pyarrow()
        self._writer: Any = None
        self._rows: list[list[Any]] = []

    def open(self, info: RunInfo) -> None:
        """Create the file under its temporary name.

        Raises:
            SinkError: the run has no folder, the path leaves it, or the disk refused.
        """
        self._path = resolve_inside(run_folder(info, "parquet"), self._name, "parquet")
        make_folder(self._path.parent)
        self._temporary = self._path.with_name(f".{self._path.name}.part")
        self._table, pa = Table(self._records, info, self._samples), self._pa
        fields = [pa.field(column.name, _type(pa, column)) for column in self._table.columns]
        self._schema = pa.schema(fields, metadata=_metadata(info))
        with translating(self._path):
            self._writer = self._pq.ParquetWriter(self._temporary, self._schema, compression="zstd")

    def write(self, result: Result) -> None:
        """Take the rows that this result completes, and write a group where there are enough.

        Raises:
            SinkError: the disk refused.
        """
        self._rows += self._table.add(result)
        while len(self._rows) >= self._group_rows:
            self._flush()

    def _flush(self) -> None:
        if self._writer is None:
            return
        group, self._rows = self._rows[: self._group_rows], self._rows[self._group_rows :]
        pa = self._pa
        columns = zip(*group, strict=True)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, self._schema, strict=True)]
        with translating(self._path):
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        """Write what is left and give the file its name.

        Raises:
            SinkError: the disk refused.
        """
        if self._writer is None:
            return
        try:
            self._rows += self._table.finish()
            while self._rows:
                self._flush()
            with translating(self._path):
                self._writer.close()
                self._temporary.replace(self._path)
        except SinkError:
            self._temporary.unlink(missing_ok=True)
            raise
        finally:
            self._writer = None


def _type(pa: Any, column: Column) -> Any:
    if column.kind == "samples":
        of_sample = {"frame_idx": pa.int64(), "ts_s": pa.float64(), "bbox": pa.list_(pa.float32(), 4)}
        return pa.list_(pa.struct([*of_sample.items(), ("conf", pa.float32())]))
    kinds = {"text": pa.string(), "time": pa.timestamp("ms", tz="UTC"), "bool": pa.bool_()}
    kind = kinds[column.kind] if column.kind in kinds else getattr(pa, column.kind)()
    if column.pairs:
        return pa.list_(pa.list_(kind, 2), len(column.parts) // 2)
    return pa.list_(kind, len(column.parts)) if column.parts else kind


def _pyarrow() -> tuple[Any, Any]:
    """Return the modules ``pyarrow`` and ``pyarrow.parquet``; whoever does not use this sink need not have them."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise PluginError(f"The sink 'parquet' needs pyarrow ({error}): pip install 'streamtrack[parquet]'.") from error
    return pyarrow, pyarrow.parquet


def _metadata(info: RunInfo) -> dict[str, str]:
    """Return what a reader finds in the file's own metadata: text, or JSON where it is more."""
    source = info.source
    return {
        "streamtrack.schema_version": f"{SCHEMA_VERSION}",
        "streamtrack.source": msgspec.json.encode(source).decode(),
        "streamtrack.model": info.model,
        "streamtrack.class_names": msgspec.json.encode(info.class_names).decode(),
    }
