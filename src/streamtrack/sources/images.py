"""Pictures in a folder, one frame each."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

from streamtrack.api import SourceOptions
from streamtrack.errors import ConfigError, DecodeError, SourceError, SourceOpenError
from streamtrack.sources._still import Still, decode_still
from streamtrack.sources.sampling import Sampler, choose
from streamtrack.types import NS_PER_S, Frame, SourceInfo, SourceStats

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_VIDEOS: Final = (".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".ts", ".webm", ".wmv")
_RUN: Final = "detections.jsonl"
_NUMBER: Final = re.compile(r"%(?:0(\d+))?d")
_MAX_RATE: Final = 1_000_000


class _Shot(NamedTuple):
    """A picture in its place."""

    place: int
    pts_ns: int
    wanted: bool
    still: Still | None
    """None where it is not wanted, or broken."""


class ImagesSource:
    """A ``Source`` over picture files, in natural order: ``img2.jpg`` before ``img10.jpg``.

    Frame n is the n-th picture, n / ``rate`` seconds from the start; one that cannot be decoded keeps its place and is
    counted in ``stats.corrupt``. Pictures that are not wanted are not even read. Each frame has the size of its
    picture.
    """

    stats: SourceStats

    def __init__(self, uri: str, options: SourceOptions, *, rate: float = 25.0) -> None:
        """Take note of where they are.

        Args:
            uri: a folder, a pattern (``shots/*.jpg``, ``**`` for folders within), numbered names (``img%04d.png``), or
                one picture.
            options: what any source is asked for.
            rate: pictures a second.

        Raises:
            ConfigError: the options make no sense.
        """
        if not 0 < rate <= _MAX_RATE:
            raise ConfigError(f"A rate of {rate:g} pictures a second cannot be; give a number above 0.")
        choose(options.stride, options.fps, rate)
        self.stats = SourceStats()
        self._uri, self._options, self._rate = uri.removeprefix("images://"), options, rate
        self._closed = False

    def open(self) -> SourceInfo:
        """List the pictures and decode the first one that is wanted, which says the size.

        Raises:
            SourceOpenError: there are none.
            DecodeError: none of them can be decoded.
        """
        pictures = find_pictures(self._uri)
        sampler = choose(self._options.stride, self._options.fps, self._rate)
        shots = self._look(pictures, sampler)
        begin: list[_Shot] = []
        for shot in shots:
            begin.append(shot)
            if shot.still is not None:
                break
        first = begin[-1].still
        if first is None:
            raise DecodeError(f"None of the {len(pictures)} pictures in '{self._uri}' can be decoded: get new copies.")
        self._frames = self._deliver(chain(begin, shots))
        return SourceInfo(
            uri=self._uri,
            width=first.picture.width,
            height=first.picture.height,
            rate=self._rate,
            frames_estimate=len(pictures),
            duration_s=len(pictures) / self._rate,
            live=False,
            codec=first.kind,
            sampling=sampler.text,
            sample_rate=sampler.rate,
        )

    def _look(self, pictures: list[Path], sampler: Sampler) -> Iterator[_Shot]:
        # What people write as 29.97 is meant in decimal.
        period_ns = NS_PER_S / Fraction(str(self._rate))
        for index, path in enumerate(pictures):
            pts_ns = round(index * period_ns)
            wanted = sampler.wants(index, pts_ns)
            yield _Shot(index, pts_ns, wanted, _decoded(path) if wanted else None)

    def _deliver(self, shots: Iterator[_Shot]) -> Iterator[Frame]:
        stats = self.stats
        stats.decoding = "only the pictures that are wanted"
        for index, pts_ns, wanted, still in shots:
            if self._closed:
                return
            stats.seen += 1
            if not wanted:
                stats.strided += 1
                stats.undecoded += 1
            elif still is None:
                stats.corrupt += 1
            else:
                stats.delivered += 1
                stats.damaged += still.damaged
                picture = still.picture
                yield Frame(index, pts_ns, picture.width, picture.height, picture)

    def __iter__(self) -> Iterator[Frame]:
        """Yield the wanted pictures. There is one pass: a second iterator goes on where the first is.

        Raises:
            SourceError: the source is closed.
        """
        if self._closed:
            raise SourceError(f"'{self._uri}' is closed: open it again to read it.")
        return self._frames

    def close(self) -> None:
        """Give nothing more; frames already given keep their pixels. May be called again."""
        self._closed = True


def _decoded(path: Path) -> Still | None:
    try:
        return decode_still(path.read_bytes())
    except (DecodeError, OSError):
        return None


# --- which files ---


def find_pictures(uri: str) -> list[Path]:
    """Return the pictures that ``uri`` means, in natural order.

    Raises:
        SourceOpenError: there are none, or the folder cannot be read.
    """
    path = Path(uri)
    try:
        if path.is_dir():
            found = [entry for entry in path.iterdir() if _is_picture(entry)]
        elif path.exists():
            found = [path]
        elif _NUMBER.search(path.name):
            found = _numbered(path)
        else:
            found = [Path(name) for name in glob.glob(uri, recursive=True) if _is_picture(Path(name))]
    except OSError as error:
        raise SourceOpenError(f"'{uri}' cannot be read: {error.strerror or error}.") from error
    if not found:
        raise SourceOpenError(_nothing_in(path))
    return sorted(found, key=natural)


def natural(path: Path) -> list[tuple[bool, int, str]]:
    """Return what to sort paths by so that numbers in them count as numbers."""
    parts = re.split(r"(\d+)", str(path))
    as_read = [(part.isdecimal(), int(part) if part.isdecimal() else 0, part.casefold()) for part in parts if part]
    return [*as_read, (False, 0, str(path))]


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _numbered(path: Path) -> list[Path]:
    """Return the files whose name is that of ``path`` with a number for its ``%d`` or ``%04d``, as printf writes it."""
    place = _NUMBER.search(path.name)
    if place is None or not path.parent.is_dir():
        return []
    # Wider numbers than asked for are written whole, and then without zeros in front.
    width = int(place[1] or 1)
    digits = rf"(?:\d{{{width}}}|[1-9]\d{{{width},}})"
    before, after = path.name[: place.start()], path.name[place.end() :]
    name = re.compile(re.escape(before.replace("%%", "%")) + digits + re.escape(after.replace("%%", "%")))
    return [entry for entry in path.parent.iterdir() if name.fullmatch(entry.name) and entry.is_file()]


def _nothing_in(path: Path) -> str:
    """Say what was looked for in vain, and what is there instead."""
    kinds = ", ".join(suffix for suffix in SUFFIXES if suffix not in (".jpeg", ".tif"))
    if not path.is_dir():
        folder = path.parent
        where = "" if folder.is_dir() or glob.has_magic(str(folder)) else f" There is no folder '{folder}' either."
        return f"No picture ({kinds}) is called '{path}'.{where} Check how they are called."
    names = sorted(entry.name for entry in path.iterdir())
    said = f"There is no picture ({kinds}) in the folder '{path}'"
    if _RUN in names:
        return f"{said}, but what a run found: see it again with replay:{path}."
    videos = [name for name in names if name.lower().endswith(_VIDEOS)]
    if videos:
        return f"{said}: name one video in it, such as '{path / videos[0]}'."
    return f"{said}: name a folder of pictures, or a video."
