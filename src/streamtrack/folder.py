"""The run's folder: held against other runs, prepared before anything starts, its files replaced as a whole."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
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
RESUME = ".resume"
"""What is kept of interrupted runs until one is complete: see ``streamtrack.resuming``."""
LOCK = ".lock"
# What a run writes, and so all that ``overwrite`` may remove. The metrics go last: as long as there are records, they
# say with which settings.
_OUTPUTS = (
    *(RESUME, DETECTIONS, FRAMES, TRACKS, TAPE, "annotated.mp4", "report.html", "crops", "frames"),
    *("faces.npy", "faces.jsonl", "tracks.npy", "tracks_index.jsonl", "faces"),
    *(PROGRESS, METRICS),
)
_OUTPUT_PATTERNS = (
    *(f"{name}{rest}" for name in ("detections", "frames", "tracks") for rest in (".jsonl.*", "-[0-9]*.jsonl*")),
    "mot.txt",
    "coco.json",
    "coco.*.part",
    *(f"{name}.{end}" for name in ("detections", "frames", "tracks") for end in ("csv", "parquet")),
    # What a run that was killed may leave of files that it was replacing.
    *(".*.part", f".{METRICS}.[0-9]*", f".{PROGRESS}.[0-9]*"),
)


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a folder."""

    pid: int
    host: str
    since: str
    """ISO 8601, UTC."""


class FolderLock:
    """Keeps other runs out of a folder until it is released, or the process dies: then the system releases it."""

    def __init__(self, path: Path) -> None:
        """Take the folder, which is made where there is none.

        Where the file system has no locks (some that are mounted over a network), nothing is held.

        Raises:
            SinkError: it cannot be written, or another run holds it; that one is named.
        """
        self._file = path / LOCK
        with _translating(path):
            path.mkdir(parents=True, exist_ok=True)
            self._descriptor = self._taken(path)
        holder = Holder(
            pid=os.getpid(), host=platform.node(), since=datetime.now(UTC).isoformat(timespec="seconds")[:-6] + "Z"
        )
        # A full disk is for the sinks to tell of: the lock holds all the same.
        with suppress(OSError):
            os.truncate(self._descriptor, 0)
            os.pwrite(self._descriptor, msgspec.json.encode(holder), 0)

    def _taken(self, path: Path) -> int:
        while True:
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Whoever held it before may have removed the file after it was opened here: then it locks nothing.
                if os.path.exists(self._file) and os.path.samestat(os.fstat(descriptor), os.stat(self._file)):
                    return descriptor
            except BlockingIOError as error:
                who = _described(os.pread(descriptor, 4096, 0))
                os.close(descriptor)
                raise SinkError(
                    f"The output folder '{path}' is in use by {who}. Wait for it, stop it, or choose another with "
                    "--out."
                ) from error
            except FileNotFoundError:
                pass
            except OSError as error:
                if error.errno not in (errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL):
                    os.close(descriptor)
                    raise
                return descriptor
            os.close(descriptor)

    def release(self) -> None:
        """Let others in. May be called again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            # First the file, while nobody else can have it.
            self._file.unlink(missing_ok=True)
            os.close(descriptor)


class _Reached(msgspec.Struct):
    """How far a run says that it is; both are in every ``progress.json``, and hardly in anybody else's."""

    phase: str
    frames_done: int


def frames_done(path: Path) -> int | None:
    """Return how many frames the run in the folder ``path`` says it has processed; None where nothing says so."""
    try:
        return msgspec.json.decode((path / PROGRESS).read_bytes(), type=_Reached).frames_done
    except (OSError, msgspec.DecodeError):
        return None


def holds_nothing(path: Path) -> bool:
    """Return whether a folder is empty, or holds only what a run leaves that failed before its first frame.

    That is what it said about itself, and files that it had opened and not yet written to.
    """
    if frames_done(path) != 0:
        return all(entry.name == LOCK for entry in path.iterdir())
    about = {path / name for name in (LOCK, PROGRESS, METRICS)}
    return not any(file.is_file() and file.stat().st_size for file in path.rglob("*") if file not in about)


def _described(written: bytes) -> str:
    try:
        holder = msgspec.json.decode(written, type=Holder)
    except msgspec.DecodeError:
        return "another run"
    return f"another run: process {holder.pid} on {holder.host}, since {holder.since}"


def prepare(path: Path, *, overwrite: bool) -> Path:
    """Create the folder of a run, or empty it of an earlier run's outputs; those of one that got nowhere always.

    Args:
        path: the folder; parents are created.
        overwrite: remove an earlier run's outputs; any other file in the folder stays.

    Raises:
        SinkError: it cannot be created or written, or it is not empty and may not be overwritten.
    """
    with _translating(path):
        path.mkdir(parents=True, exist_ok=True)
        if not (overwrite or holds_nothing(path)):
            raise SinkError(
                f"The output folder '{path}' is not empty. Choose another with --out, "
                "or replace the earlier run in it with --overwrite."
            )
        clear(path)
    return path


def clear(path: Path, *, keep: Collection[str] = ()) -> None:
    """Remove a run's outputs from its folder, and what a killed run left of them.

    Args:
        path: the folder.
        keep: names of outputs that stay.

    Raises:
        SinkError: one cannot be removed.
    """
    with _translating(path):
        for pattern in _OUTPUT_PATTERNS:
            for output in sorted(path.glob(pattern)):
                if output.name not in keep:
                    _remove(output)
        for name in _OUTPUTS:
            if name not in keep:
                _remove(path / name)


@contextmanager
def _translating(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise SinkError(f"The output folder '{path}' is a file. Choose another with --out.") from error
    except SinkError:
        raise
    except OSError as error:
        reason = f"Cannot write to the output folder '{path}': {error.strerror}."
        raise SinkError(f"{reason} Choose another with --out.") from error


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


_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5,})(?P<ending>\.jsonl(\.gz|\.zst)?)")


def record_files(path: Path) -> list[Path]:
    """Return the files that hold the records that ``path`` would: itself, it compressed, or its parts in order.

    Args:
        path: such as a run's ``detections.jsonl``, or one of its files as they are returned.
    """
    if match := _PART.fullmatch(path.name):
        path = path.with_name(match["stem"] + match["ending"])
    plain = path.with_name(path.name.removesuffix(".gz").removesuffix(".zst"))
    whole = (plain.with_name(plain.name + ending) for ending in ("", ".gz", ".zst"))
    found = next(([file] for file in whole if file.is_file()), [])
    return found or [file for _, file in sorted(_parts(plain))]


def _parts(plain: Path) -> Iterator[tuple[int, Path]]:
    for file in plain.parent.glob("*.jsonl*") if plain.parent.is_dir() else ():
        match = _PART.fullmatch(file.name)
        if match and match["stem"] == plain.stem and file.is_file():
            yield int(match["number"]), file
