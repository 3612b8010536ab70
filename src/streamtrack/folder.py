"""The run's folder: prepared before anything starts, and files in it that are replaced as a whole."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec

from streamtrack.errors import SinkError

METRICS = "track_metrics.json"
PROGRESS = "progress.json"
DETECTIONS = "detections.jsonl"
FRAMES = "frames.jsonl"
TRACKS = "tracks.jsonl"
TAPE = "tape.msgpack"
# What a run writes, and so all that ``overwrite`` may remove.
_OUTPUTS = (
    *(DETECTIONS, FRAMES, TRACKS, TAPE, "annotated.mp4", "report.png", "crops", "frames", METRICS, PROGRESS),
    *("faces.npy", "faces.jsonl", "tracks.npy", "tracks_index.jsonl", "faces"),
)
_OUTPUT_PATTERNS = (
    "mot.txt",
    "coco.json",
    "coco.*.part",
    *(f"{name}.{end}" for name in ("detections", "frames", "tracks") for end in ("csv", "parquet")),
    ".*.part",
)


def prepare(path: Path, *, overwrite: bool) -> Path:
    """Create the folder of a run, or empty it of an earlier run's outputs.

    Args:
        path: the folder; parents are created.
        overwrite: remove an earlier run's outputs; any other file in the folder stays.

    Raises:
        SinkError: it cannot be created or written, or it is not empty and may not be overwritten.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()) and not overwrite:
            raise SinkError(
                f"The output folder '{path}' is not empty. Choose another with --out, "
                "or replace the earlier run in it with --overwrite."
            )
        for name in _OUTPUTS:
            _remove(path / name)
        for pattern in _OUTPUT_PATTERNS:
            for output in sorted(path.glob(pattern)):
                _remove(output)
    except FileExistsError as error:
        raise SinkError(f"The output folder '{path}' is a file. Choose another with --out.") from error
    except SinkError:
        raise
    except OSError as error:
        reason = f"Cannot write to the output folder '{path}': {error.strerror}."
        raise SinkError(f"{reason} Choose another with --out.") from error
    return path


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def replace_json(path: Path, value: Any, *, reserve: int = 0) -> None:
    """Write ``value`` as indented JSON to ``path`` so that a reader sees the old file or the new one, never a part.

    Where the disk has no room for a second file, the new one is written over the old one if it fits there.

    Args:
        path: the file.
        value: what msgspec can encode.
        reserve: fill the file with blanks up to this many bytes, so that a later version fits in a full disk, too.

    Raises:
        SinkError: it cannot be written; the old file stays as it was.
    """
    data = msgspec.json.format(msgspec.json.encode(value), indent=2).ljust(reserve) + b"\n"
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not _written_over(path, data):
            raise SinkError(f"Cannot write '{path}': {error.strerror}.") from error


def _written_over(path: Path, data: bytes) -> bool:
    try:
        if path.stat().st_size < len(data):
            return False
        with path.open("r+b") as file:
            file.write(data)
            file.truncate()
    except OSError:
        return False
    return True
