"""How file sinks touch the disk: inside the run's folder only, whole files by rename, one sentence when it fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from streamtrack.errors import ConfigError, SinkError
from streamtrack.types import RunInfo


def run_folder(info: RunInfo, sink: str) -> Path:
    """Return the run's folder.

    Raises:
        SinkError: the run has none.
    """
    if info.folder is None:
        raise SinkError(f"The sink '{sink}' writes files, but this run has no folder: name one with --out.")
    return info.folder


def resolve_inside(folder: Path, path: str, sink: str) -> Path:
    """Return ``folder / path``.

    Raises:
        SinkError: that would be outside the folder, or the folder itself.
    """
    root, full = folder.resolve(), (folder / path).resolve()
    if full == root or not full.is_relative_to(root):
        raise SinkError(f"The sink '{sink}' cannot write to '{path}': it must be a file inside the run's folder.")
    return full


def check_quality(option: str, quality: int) -> int:
    """Return a JPEG quality.

    Raises:
        ConfigError: it is not 1 to 100.
    """
    if not 1 <= quality <= 100:
        raise ConfigError(f"Option {option} = {quality} must be 1 to 100.")
    return quality


def check_not_negative(option: str, value: float) -> float:
    """Return ``value``.

    Raises:
        ConfigError: it is below 0 or not a number.
    """
    if not value >= 0:
        raise ConfigError(f"Option {option} = {value} must be 0 or more.")
    return value


def check_at_least_one(option: str, value: int) -> int:
    """Return ``value``.

    Raises:
        ConfigError: it is below 1.
    """
    if value < 1:
        raise ConfigError(f"Option {option} = {value} must be 1 or more.")
    return value


class AppendFile:
    """A file that grows by whole pieces: what is on disk ends with a complete one at every moment."""

    def __init__(self, path: Path, *, fsync: bool = False) -> None:
        """Create the file, or empty it.

        Args:
            path: where it is.
            fsync: wait after every piece until it is on the disk, so that a power cut loses none; otherwise only the
                end of the run's process loses none.

        Raises:
            SinkError: the disk refused.
        """
        self._path = path
        self._fsync = fsync
        self.size = 0
        """Bytes on disk."""
        try:
            # Unbuffered: what write() took is with the operating system, and a run that dies loses nothing.
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise SinkError(f"Cannot create '{path}': {error.strerror}. Choose another folder with --out.") from error

    def write(self, piece: bytes) -> None:
        """Append one piece.

        Raises:
            SinkError: the disk is full or the file cannot be written; the pieces before stay, nothing of this one does.
        """
        if not piece:
            return
        try:
            written = self._file.write(piece)
            while written < len(piece):
                written += self._file.write(piece[written:])
            if self._fsync:
                os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(self.size)
            # What is written after room was made must not leave a hole of zeros behind.
            self._file.seek(self.size)
            raise SinkError(
                f"Cannot write '{self._path}': {error.strerror}. What was written before is complete; "
                "free some space or choose another folder with --out."
            ) from error
        self.size += len(piece)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._file.closed

    def close(self) -> None:
        """Close the file. May be called again."""
        self._file.close()


@contextmanager
def translating(path: Path) -> Iterator[None]:
    """Turn any ``OSError`` met in writing ``path`` into a ``SinkError`` that says what to do."""
    try:
        yield
    except SinkError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise SinkError(f"Cannot write '{path}': {reason}; free space or choose another folder with --out.") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it becomes ``path`` when the block succeeds and is removed otherwise.

    Raises:
        SinkError: the disk refused.
    """
    temporary = path.with_name(f".{path.name}.part")
    with translating(path):
        try:
            yield temporary
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def make_folder(folder: Path) -> None:
    """Create ``folder`` and its parents.

    Raises:
        SinkError: the disk refused.
    """
    with translating(folder):
        folder.mkdir(parents=True, exist_ok=True)


def write_jpeg(path: Path, rgb: NDArray[np.uint8], quality: int) -> None:
    """Write an RGB picture (h, w, 3) as a whole JPEG file.

    Raises:
        SinkError: the disk refused.
    """
    data = simplejpeg.encode_jpeg(rgb, quality=quality, colorspace="RGB", colorsubsampling="420")
    with replacing(path) as temporary:
        temporary.write_bytes(data)
