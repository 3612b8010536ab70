"""The cache of engines: by content, complete or not there, built by one process at a time.

An engine fits one model, one version of TensorRT and one kind of GPU. A file holds one line that says what it is, a
line of JSON, and the engine; whatever does not check out is as good as missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from streamtrack.errors import BackendError

_MAGIC: Final = b"streamtrack engine 1\n"
_POLL_S = 0.2


class EngineFile(NamedTuple):
    """One cached engine."""

    key: str
    path: Path
    size: int
    """Bytes."""
    model: str
    """Name of the model's file when it was built; the key does not depend on it."""
    recipe: Mapping[str, Any]
    """What it was built from and for; empty where the file is damaged."""


class EngineCache:
    """Engines in a folder, or in memory where there is none."""

    def __init__(self, folder: Path | None) -> None:
        """Use ``folder``, which is made when it is first needed."""
        self.folder = folder
        self._memory: dict[str, bytes] = {}

    def load(self, key: str) -> bytes | None:
        """Return an engine, or None where there is none that is whole."""
        if self.folder is None:
            return self._memory.get(key)
        found = _read(self._path(key))
        return found.engine if found and key_of(found.recipe) == key else None

    def store(self, recipe: Mapping[str, Any], engine: bytes, model: str) -> None:
        """Keep an engine of ``model`` under the key of its recipe.

        Raises:
            BackendError: the folder cannot be written.
        """
        key = key_of(recipe)
        if self.folder is None:
            self._memory[key] = engine
            return
        said = json.dumps(
            {"recipe": recipe, "model": model, "sha256": hashlib.sha256(engine).hexdigest()}, sort_keys=True
        )
        self._replace(self._path(key), _MAGIC + said.encode() + b"\n" + engine)

    def discard(self, key: str) -> None:
        """Remove an engine, if it is there."""
        self._memory.pop(key, None)
        if self.folder is not None:
            self._path(key).unlink(missing_ok=True)

    def list(self) -> list[EngineFile]:
        """Return every cached engine, damaged ones with an empty recipe, by name."""
        paths = sorted(self.folder.glob("*.engine")) if self.folder is not None and self.folder.is_dir() else []
        return [_listed(path) for path in paths]

    def usable(self) -> bool:
        """Return whether engines can be kept there, after making the folder."""
        if self.folder is None:
            return True
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return False
        return os.access(self.folder, os.W_OK)

    def timing(self, about: str) -> bytes:
        """Return the timing cache for a version and a GPU, empty where there is none."""
        path = self._timing_path(about)
        return path.read_bytes() if path is not None and path.is_file() else b""

    def store_timing(self, about: str, timing: bytes) -> None:
        """Keep a timing cache: the next build for the same GPU is shorter by what this one measured."""
        path = self._timing_path(about)
        if path is not None:
            self._replace(path, timing)

    @contextmanager
    def building(self, key: str, wait: Callable[[], None]) -> Iterator[None]:
        """Hold the lock of one engine; ``wait`` is called again and again while another process has it.

        Raises:
            BackendError: the folder cannot be written.
        """
        if self.folder is None:
            yield
            return
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            # Never removed: whoever waited for a removed lock would hold one that nobody else sees.
            file = (self.folder / f"{key}.lock").open("a+b")
        with file:
            while not _try_lock(file):
                wait()
                time.sleep(_POLL_S)
            yield

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{key}.engine"

    def _timing_path(self, about: str) -> Path | None:
        name = re.sub(r"[^A-Za-z0-9.]+", "-", about)
        return None if self.folder is None else self.folder / f"{name}.timing"

    def _replace(self, path: Path, content: bytes) -> None:
        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as part:
                try:
                    part.write(content)
                    part.close()
                    os.replace(part.name, path)
                except BaseException:
                    part.close()
                    Path(part.name).unlink(missing_ok=True)
                    raise

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BackendError(
                f"The cache of engines {self.folder} cannot be written: {error.strerror or error}."
            ) from error


def key_of(recipe: Mapping[str, Any]) -> str:
    """Return the key of an engine: the SHA-256 of all that it depends on, in hexadecimal."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


class _Content(NamedTuple):
    recipe: dict[str, Any]
    model: str
    engine: bytes


def _listed(path: Path) -> EngineFile:
    found = _read(path)
    recipe, model = (found.recipe, found.model) if found and key_of(found.recipe) == path.stem else ({}, "")
    return EngineFile(path.stem, path, path.stat().st_size, model, recipe)


def _read(path: Path) -> _Content | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if not content.startswith(_MAGIC):
        return None
    line, _, engine = content[len(_MAGIC) :].partition(b"\n")
    try:
        said = json.loads(line)
        recipe, model, sha256 = said["recipe"], said["model"], said["sha256"]
    except (ValueError, KeyError, TypeError):
        return None
    whole = isinstance(recipe, dict) and hashlib.sha256(engine).hexdigest() == sha256
    return _Content(recipe, str(model), engine) if whole else None


def _try_lock(file: IO[bytes]) -> bool:
    """Take the lock of an open file, which ends with it, if nobody has it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
