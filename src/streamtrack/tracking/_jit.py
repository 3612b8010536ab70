"""Compiled kernels, and the folder that keeps their machine code from one run to the next.

numba raises at import where it can write nowhere, and does not notice that a kernel is stale when only a function
it calls was edited in another file. So the folder is chosen here, before the first kernel is declared, and its name
holds a digest of all the sources of this package. numba's global settings are left as they were found.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")

# Its settings are made at import time, so a type checker does not see them.
_config = cast(Any, numba.config)
_ROOM = 1 << 20  # bytes; the kernels take about half of it
_PACKAGE = Path(__file__).resolve().parent


def _usable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_ROOM))  # on a full disk numba would fail in the middle of the first update
            return True
    except OSError:
        return False


def _private(folder: Path) -> bool:
    # Anybody can write to the temporary folder, and what lies in the cache is executed: insist on our own.
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    ours = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    return ours and stat.S_ISDIR(found.st_mode) and (os.name == "nt" or not found.st_mode & 0o022)


def _user_cache() -> Path | None:
    # Kernels are declared at import, before there is a configuration that could carry this variable.
    chosen = os.path.expandvars("$XDG_CACHE_HOME")
    if os.path.isabs(chosen):
        return Path(chosen) / "streamtrack"
    try:
        return Path.home() / ".cache" / "streamtrack"
    except RuntimeError:
        return None


def _temporary() -> Path | None:
    try:
        folder = Path(tempfile.gettempdir()) / f"streamtrack-{os.getuid() if hasattr(os, 'getuid') else 'kernels'}"
    except OSError:
        return None
    return folder if _private(folder) else None


def _candidates() -> Iterator[Path | None]:
    if _config.CACHE_DIR:
        yield Path(_config.CACHE_DIR)
    yield _PACKAGE / "__pycache__"
    yield _user_cache()
    yield _temporary()


def _place() -> tuple[Path | None, str | None]:
    # Returns the folder, and what to tell the user where it is not the first choice.
    try:
        sources = b"".join(path.read_bytes() for path in sorted(_PACKAGE.glob("*.py")))
    except OSError:
        sources = b""
    name = f"kernels-{hashlib.sha256(sources).hexdigest()[:12]}"
    first: Path | None = None
    for base in _candidates() if sources else ():
        first = first or base
        if base is None or not _usable(base / name):
            continue
        if base == _PACKAGE / "__pycache__":
            _remove_others(base, name)
        return base / name, None if base == first else f"compiled kernels are kept in {base}: cannot write to {first}"
    return None, "compiled kernels are made anew at every start: set NUMBA_CACHE_DIR to a folder that can be written"


def _remove_others(base: Path, name: str) -> None:
    # Only where nobody else's version can live; numba itself never removes anything.
    for old in base.glob("kernels-*"):
        if old.name != name:
            shutil.rmtree(old, ignore_errors=True)


_FOLDER, _NOTE = _place()


def cache_note() -> str | None:
    """Return one line on where compiled kernels are kept, or None where it is the place that was to be expected.

    That is ``NUMBA_CACHE_DIR`` where it is set, else this package's own ``__pycache__``. The fallbacks are, in order,
    the user's cache folder, a private folder among the temporary files, and nowhere.
    """
    return _NOTE


def cache_folder() -> Path | None:
    """Return where compiled kernels are kept, or None where there is no place for them."""
    return _FOLDER


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` on first call, without Python objects or the GIL, in strict IEEE arithmetic.

    Division by zero gives inf or NaN, as in numpy. The machine code is kept on disk where there is a place for it.
    """
    return _compiled(function, cache=_FOLDER is not None)


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` as ``kernel`` does, and always into its caller.

    Every array handed to a function that is really called costs two atomic counts of its references: for the small
    parts of an update that is more than their work. It also spares the time to compile them one by one.
    """
    return _compiled(function, inline="always")


def _compiled(function: Callable[P, R], **options: bool | str) -> Callable[P, R]:
    found = _config.CACHE_DIR
    _config.CACHE_DIR = str(_FOLDER or "")
    try:
        njit = cast(Callable[..., Callable[P, R]], numba.njit)
        return njit(function, nogil=True, error_model="numpy", **options)
    finally:
        _config.CACHE_DIR = found
