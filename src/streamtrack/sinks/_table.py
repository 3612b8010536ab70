"""Rows of numbers in a ``.npy`` file with a JSON line for each beside it, both readable at every moment.

NumPy's format (NEP 1) says in a header at the file's beginning how many rows follow. Room is left for that number to
grow, and it is written last: after the rows and after their lines. Whoever opens the file while it is written, or after
the process was killed, finds whole rows, each with its line.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from streamtrack.errors import SinkError
from streamtrack.sinks._files import translating
from streamtrack.sinks._lines import LineFile
from streamtrack.types import Float32Array

HEADER: Final = 128
"""Bytes before the first row: rows begin at a multiple of 64, as the format asks for, and any number of them fits."""
_MAGIC: Final = b"\x93NUMPY\x01\x00"


class VectorTable:
    """Appends float32 vectors to ``NAME.npy`` (N, D) and their records to a file of JSON lines.

    Row i and line i belong together. Only where the process was killed between two writes may there be lines that have
    no row yet; they are the last ones.
    """

    def __init__(self, vectors: Path, records: Path, dimension: int) -> None:
        """Create both files, empty.

        Raises:
            SinkError: they cannot be created.
        """
        self._path, self._dimension, self._rows = vectors, dimension, 0
        self._lines = LineFile(records)
        try:
            with translating(vectors):
                self._file = os.open(vectors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        except SinkError:
            self._lines.close()
            raise
        try:
            with translating(vectors):
                _write_at(self._file, header(0, dimension), 0)
        except SinkError:
            self.close()
            raise

    def __len__(self) -> int:
        return self._rows

    def append(self, vectors: Float32Array, records: Sequence[Any]) -> None:
        """Append (n, D) vectors and the n records that belong to them.

        Raises:
            SinkError: the disk refused; what was there before stays complete.
        """
        row = 4 * self._dimension
        end = HEADER + row * self._rows
        try:
            with translating(self._path):
                _write_at(self._file, np.ascontiguousarray(vectors, "<f4").tobytes(), end)
            self._lines.write(records)
        except SinkError:
            os.ftruncate(self._file, end)
            raise
        with translating(self._path):
            _write_at(self._file, header(self._rows + len(vectors), self._dimension), 0)
        self._rows += len(vectors)

    def close(self) -> None:
        """Close both files."""
        os.close(self._file)
        self._lines.close()


def header(rows: int, dimension: int) -> bytes:
    """Return the beginning of a ``.npy`` file of ``rows`` float32 vectors, always HEADER bytes."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dimension}), }}".encode("latin-1")
    length = HEADER - len(_MAGIC) - 2
    return _MAGIC + length.to_bytes(2, "little") + text.ljust(length - 1) + b"\n"


def _write_at(file: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written
