"""The text format of MOTChallenge: a box a line, ``frame,id,x,y,w,h,...``, and the ``seqinfo.ini`` beside it.

Frames count from 1; x, y, w, h are px, x and y those of the top-left corner. Commas and white space both separate.
See Leal-Taixe et al., "MOTChallenge 2015", and Milan et al., "MOT16".
"""

from __future__ import annotations

import configparser
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamtrack.errors import SourceOpenError

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]

_LARGEST_WHOLE = 2.0**53
"""Beyond this not every whole number is a float64."""


class Rows(NamedTuple):
    """A file of numbers, and where each row stands in it."""

    path: Path
    values: Float64Array  # (N, columns), finite
    lines: Sequence[str]

    def where(self, row: int) -> str:
        """Return file and line of a row, for people."""
        filled = [number for number, line in enumerate(self.lines, 1) if line.strip()]
        return f"'{self.path}', line {filled[row]}"

    def whole(self, column: int, name: str, least: int) -> Int64Array:
        """Return a column of whole numbers.

        Raises:
            SourceOpenError: one is not whole, or below ``least``.
        """
        numbers = self.values[:, column]
        wrong = (numbers != np.floor(numbers)) | (numbers < least) | (numbers > _LARGEST_WHOLE)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise SourceOpenError(
                f"{self.where(row)}: {name} {numbers[row]:g} is not a whole number from {least} up; "
                "a row is frame,id,x,y,w,h,... with frames counted from 1."
            )
        return numbers.astype(np.int64)

    def corners(self) -> Float64Array:
        """Return the boxes in columns 2 to 5 (x y w h) as (N, 4) x0 y0 x1 y1."""
        boxes = self.values[:, 2:6].copy()
        boxes[:, 2:] += boxes[:, :2]
        return boxes


class SequenceInfo(NamedTuple):
    """What ``seqinfo.ini`` says; 0 where it does not."""

    name: str
    frames: int
    rate: float
    """Frames a second."""
    width: int
    height: int


def read_rows(path: Path, least_columns: int) -> Rows:
    """Read a file of numbers.

    Args:
        path: the file; lines without text are skipped.
        least_columns: it needs this many columns, the same number in every row.

    Raises:
        SourceOpenError: it cannot be read, or a line does not hold such numbers; the line is named.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SourceOpenError(f"Cannot read '{path}': {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SourceOpenError(f"'{path}' is not a text file.") from error
    lines = text.replace(",", " ").splitlines()
    if not text.strip():
        return Rows(path, np.empty((0, least_columns)), lines)
    try:
        values = np.loadtxt(lines, ndmin=2, comments=None)
    except ValueError as error:
        raise _malformed(path, lines, least_columns) from error
    if values.shape[1] < least_columns or not np.isfinite(values).all():
        raise _malformed(path, lines, least_columns)
    return Rows(path, values, lines)


def _malformed(path: Path, lines: Sequence[str], least_columns: int) -> SourceOpenError:
    # The slow way, for the message only: which line is it?
    columns = 0
    for number, line in enumerate(lines, 1):
        fields = line.split()
        where = f"'{path}', line {number}"
        for field in fields:
            if not _is_finite(field):
                return SourceOpenError(f"{where}: '{field}' is not a finite number; a row is frame,id,x,y,w,h,...")
        if fields and len(fields) < least_columns:
            return SourceOpenError(f"{where}: {len(fields)} columns where at least {least_columns} are needed.")
        if fields and columns and len(fields) != columns:
            return SourceOpenError(f"{where}: {len(fields)} columns where the lines before have {columns}.")
        columns = len(fields) or columns
    return SourceOpenError(f"'{path}' does not hold rows of numbers.")


def _is_finite(field: str) -> bool:
    try:
        # Python's own float() would take 1_000 and digits of other scripts, which numpy refuses.
        return bool(np.isfinite(np.loadtxt([field], comments=None)))
    except ValueError:
        return False


def sequence_info(path: Path) -> SequenceInfo | None:
    """Return what the ``seqinfo.ini`` beside or one folder above ``path`` says; None where there is none.

    Raises:
        SourceOpenError: it is there and cannot be read.
    """
    folder = path.resolve().parent
    file = next((f for f in (folder / "seqinfo.ini", folder.parent / "seqinfo.ini") if f.is_file()), None)
    if file is None:
        return None
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(file.read_text(encoding="utf-8-sig"))
        section = parser["Sequence"]
        info = SequenceInfo(
            name=section.get("name", file.parent.name),
            frames=section.getint("seqLength", 0),
            rate=section.getfloat("frameRate", 0.0),
            width=section.getint("imWidth", 0),
            height=section.getint("imHeight", 0),
        )
    except (OSError, UnicodeDecodeError, configparser.Error, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise SourceOpenError(f"'{file}' is not the description of a sequence: {reason}.") from error
    if info.frames < 0 or not 0 <= info.rate < np.inf:
        raise SourceOpenError(f"'{file}' gives {info.frames} frames at {info.rate:g} a second, which cannot be.")
    return info


def track_line(frame: int, track_id: int, box: Sequence[float], confidence: float) -> str:
    """Return a line of tracking output.

    Args:
        frame: counted from 1.
        track_id: from 1 up.
        box: x0 y0 x1 y1 px.
        confidence: in 0..1.
    """
    x0, y0, x1, y1 = box
    return f"{frame},{track_id},{x0:.4f},{y0:.4f},{x1 - x0:.4f},{y1 - y0:.4f},{confidence:.4f},-1,-1,-1\n"
