"""counts.csv: how many tracks each processed frame shows."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from streamtrack.errors import SinkError
from streamtrack.types import CONFIRMED, Result, RunInfo


class CountsSink:
    def __init__(self, *, minimum: int = 0) -> None:
        self._minimum = minimum
        self._file: IO[str] | None = None

    def open(self, info: RunInfo) -> None:
        if info.folder is None:
            raise SinkError("The sink 'counts' writes into the run's folder, and there is none: name one with --out.")
        self._path = info.folder / "counts.csv"
        with self._translated():
            # Line buffered: a line is on its way to disk when write returns.
            self._file = self._path.open("w", buffering=1, encoding="utf-8")
            self._file.write("frame,seconds,tracks\n")

    def write(self, result: Result) -> None:
        tracks = int((result.tracks.states == CONFIRMED).sum())
        if tracks >= self._minimum and self._file is not None:
            with self._translated():
                self._file.write(f"{result.frame.index},{result.frame.ts_s:.3f},{tracks}\n")

    def close(self) -> None:
        if self._file is not None:
            with self._translated():
                self._file.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SinkError(f"{self._path} cannot be written: {error.strerror}.") from error
