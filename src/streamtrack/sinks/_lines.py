"""Files of JSON lines that are complete at every moment, compressed and in parts if somebody wants them so."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from streamtrack.errors import SinkError
from streamtrack.packing import ENDINGS, Compress, packer
from streamtrack.sinks._files import AppendFile
from streamtrack.types import NS_PER_S

_BYTES_PER_MB = 1_000_000
_LONGEST_NS = 2**62


class LineFile:
    """A file of JSON lines in which every line is complete at every moment."""

    def __init__(self, path: Path, *, compress: Compress = "none", fsync: bool = False) -> None:
        """Create the file, or empty it.

        Args:
            path: where it is; the ending of the compression is put behind it.
            compress: how.
            fsync: wait after every write until it is on the disk.

        Raises:
            SinkError: the disk refused.
            PluginError: the compression is not installed.
        """
        self._encoder = msgspec.json.Encoder()
        self._packer = packer(compress)
        self._path = path.with_name(path.name + ENDINGS[compress])
        self._is_compressed = compress != "none"
        self._is_broken = False
        self._file = AppendFile(self._path, fsync=fsync)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self._file.size

    def write(self, records: Iterable[Any]) -> None:
        """Append one line per record.

        Raises:
            SinkError: the disk is full or the file cannot be written; lines written before stay complete.
        """
        if self._is_broken:
            raise SinkError(f"'{self._path}' could not be written before: nothing can follow.")
        # A list: msgspec 0.22 never lets go of any other iterable.
        lines = self._encoder.encode_lines(list(records))
        try:
            self._file.write(self._packer.pack(lines))
        except SinkError:
            # The compressor counts on a reader who knows what is lost now.
            self._is_broken = self._is_compressed
            raise

    def close(self) -> None:
        """End the file. May be called again.

        Raises:
            SinkError: the disk refused; all lines are there.
        """
        if self._file.closed:
            return
        try:
            if not self._is_broken:
                self._file.write(self._packer.finish())
        finally:
            self._file.close()


class LineParts:
    """The records of one kind: one file of lines, or ``NAME-00001.jsonl``, ``NAME-00002.jsonl`` and so on.

    A new part begins where the one before is large enough, or where media time passes a multiple of the longest span of
    a part; never within the records of a frame. Only the last part still changes.
    """

    def __init__(
        self, path: Path, *, rotate_mb: float = 0.0, rotate_s: float = 0.0, compress: Compress, fsync: bool
    ) -> None:
        """Create the first file.

        Args:
            path: of the one file; of parts the number is put behind its stem.
            rotate_mb: a part ends once it has this many MB on the disk; 0 for no such limit.
            rotate_s: a part ends after this many seconds of media; 0 for no such limit.
            compress: how the files are compressed.
            fsync: wait after every write until it is on the disk.

        Raises:
            SinkError: the disk refused.
            PluginError: the compression is not installed.
        """
        self._path, self._compress, self._fsync = path, compress, fsync
        self._most_bytes = rotate_mb * _BYTES_PER_MB
        self._span_ns = int(min(rotate_s * NS_PER_S, _LONGEST_NS))
        self._number = 0
        self._span = 0
        self._file = self._next()

    def write(self, records: Iterable[Any], pts_ns: int | None = None) -> None:
        """Append one line per record.

        Args:
            records: those of one frame.
            pts_ns: of the frame; None for what comes when the run is over.

        Raises:
            SinkError: the disk refused; lines written before stay complete.
        """
        found = list(records)
        if not found:
            return
        span = pts_ns // self._span_ns if self._span_ns and pts_ns is not None else self._span
        if self._file.size and (span != self._span or 0 < self._most_bytes <= self._file.size):
            self._file.close()
            self._file = self._next()
        self._span = span
        self._file.write(found)

    def _next(self) -> LineFile:
        path = self._path
        if self._most_bytes or self._span_ns:
            self._number += 1
            path = path.with_name(f"{path.stem}-{self._number:05}{path.suffix}")
        return LineFile(path, compress=self._compress, fsync=self._fsync)

    def close(self) -> None:
        """End the last file. May be called again.

        Raises:
            SinkError: the disk refused; all lines are there.
        """
        self._file.close()
