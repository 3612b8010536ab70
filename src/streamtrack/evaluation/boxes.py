"""Tracks and ground truth as the scores need them, and the benchmarks' rules about what counts."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamtrack.errors import ConfigError, SourceOpenError
from streamtrack.motchallenge import Rows, read_rows, sequence_info
from streamtrack.tape import holds_run, read_tape

BoolArray = NDArray[np.bool_]
Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]

BENCHMARKS: Final = ("mot15", "mot17", "mot20", "none")
"""Whose rules decide what counts. mot15: rows of the ground truth whose flag is not 0. mot17 (MOT16 likewise): of those
only pedestrians; and a track's box that lies on somebody who is there but not walking (on a vehicle, standing still, a
reflection, ...) is neither right nor wrong. mot20: as mot17, vehicles included. none: every row."""

_PEDESTRIAN = 1
_CLASSES = range(1, 14)
_FLAG, _CLASS = 6, 7
# person on vehicle, static person, distractor, reflection; and in mot20 the non-motorised vehicle
_DISTRACTORS = {"mot17": (2, 7, 8, 12), "mot20": (2, 6, 7, 8, 12)}


class Tracks(NamedTuple):
    """Boxes with identities, N of them."""

    frames: Int64Array  # (N,) counted from 1
    ids: Int64Array  # (N,) no id twice in a frame
    boxes: Float64Array  # (N, 4) x0 y0 x1 y1 px
    looked_at: Int64Array | None = None  # (F,) the frames that were looked at at all, where that is known


class Truth(NamedTuple):
    """Ground truth, N boxes."""

    frames: Int64Array  # (N,) counted from 1
    ids: Int64Array  # (N,) no id twice in a frame
    boxes: Float64Array  # (N, 4) x0 y0 x1 y1 px
    counts: BoolArray  # (N,) whether it has to be found
    excuses: BoolArray  # (N,) whether a track's box that matches it is left out
    benchmark: str
    frame_count: int = 0
    """Length of the sequence; 0 where it is not known."""


def read_tracks(path: Path) -> Tracks:
    """Read tracks.

    Args:
        path: a run's folder, its ``detections.jsonl`` or its ``tape.msgpack``, of which the detections that a track
            claimed count, in the frames that were looked at; else MOTChallenge's text format, ``frame,id,x,y,w,h`` and
            whatever follows.

    Raises:
        SourceError: it cannot be read, a line is malformed, or an id occurs twice in a frame.
    """
    if path.is_dir() or holds_run(path):
        return _tracks_of_run(path)
    rows = read_rows(path, 6)
    if len(rows.values) and (rows.values[:, 1] == -1).all():
        raise SourceOpenError(f"'{path}' holds detections, not tracks: every id is -1. Track them with retrack first.")
    frames, ids = _checked_keys(rows)
    return Tracks(frames, ids, rows.corners())


def read_truth(path: Path, benchmark: str | None = None) -> Truth:
    """Read ground truth in MOTChallenge's text format.

    Args:
        path: ``frame,id,x,y,w,h``, then the flag, then (mot17, mot20) the class.
        benchmark: one of BENCHMARKS; None to decide by the columns: nine with a class of 1 to 13 in the eighth are
            mot17, no flag is none, everything else mot15.

    Raises:
        ConfigError: there is no such benchmark.
        SourceOpenError: it cannot be read, a line is malformed, an id occurs twice in a frame, or the columns are not
            those of the benchmark.
    """
    rows = read_rows(path, 6)
    rule = benchmark or _guess(rows)
    if rule not in BENCHMARKS:
        raise ConfigError(f"There is no benchmark '{rule}'; choose one of {', '.join(BENCHMARKS)}.")
    frames, ids = _checked_keys(rows)
    counts, excuses = np.ones(len(ids), bool), np.zeros(len(ids), bool)
    if rule != "none" and len(ids):
        needed = _FLAG + 1 if rule == "mot15" else _CLASS + 1
        if rows.values.shape[1] < needed:
            raise SourceOpenError(
                f"'{path}' has {rows.values.shape[1]} columns and {rule} needs {needed}; choose another --benchmark."
            )
        counts = rows.values[:, _FLAG].astype(np.int64) != 0
    if rule in _DISTRACTORS and len(ids):
        classes = rows.whole(_CLASS, "class", 1)
        counts &= classes == _PEDESTRIAN
        excuses = np.isin(classes, _DISTRACTORS[rule])
    info = sequence_info(path)
    return Truth(frames, ids, rows.corners(), counts, excuses, rule, info.frames if info else 0)


def _guess(rows: Rows) -> str:
    columns = rows.values.shape[1]
    if columns <= _FLAG:
        return "none"
    if columns == 9 and np.isin(rows.values[:, _CLASS], _CLASSES).all():
        return "mot17"
    return "mot15"


def _tracks_of_run(path: Path) -> Tracks:
    tape = read_tape(path)
    claimed = np.flatnonzero(tape.track_ids >= 0)
    frames, ids = np.repeat(tape.frames, tape.last - tape.first)[claimed] + 1, tape.track_ids[claimed]
    if again := _twice(frames, ids):
        raise SourceOpenError(f"'{path}': id {ids[again[0]]} occurs twice in frame {frames[again[0]] - 1}.")
    return Tracks(frames, ids, tape.found.boxes[claimed].astype(np.float64), tape.frames + 1 if tape.complete else None)


def _checked_keys(rows: Rows) -> tuple[Int64Array, Int64Array]:
    frames, ids = rows.whole(0, "frame", 1), rows.whole(1, "id", 0)
    if again := _twice(frames, ids):
        row, first = again
        raise SourceOpenError(
            f"{rows.where(row)}: id {ids[row]} is in frame {frames[row]} already, in {rows.where(first)}."
        )
    return frames, ids


def _twice(frames: Int64Array, ids: Int64Array) -> tuple[int, int] | None:
    """Return a row whose id is in its frame already, and the row where; None where there is none."""
    order = np.lexsort((ids, frames))
    twice = (np.diff(frames[order]) == 0) & (np.diff(ids[order]) == 0)
    if not twice.any():
        return None
    k = int(np.argmax(twice))
    return int(order[k + 1]), int(order[k])
