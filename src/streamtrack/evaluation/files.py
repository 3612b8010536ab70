"""Which file of tracks belongs to which ground truth."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from streamtrack.errors import SourceOpenError, did_you_mean
from streamtrack.folder import DETECTIONS
from streamtrack.tape import holds_run


class SequenceFiles(NamedTuple):
    """One sequence and where its two sides are."""

    name: str
    tracks: Path
    truth: Path


def find_sequences(tracks: Path, truth: Path, names: Collection[str] = ()) -> list[SequenceFiles]:
    """Find the sequences to evaluate, in the order of their names.

    Args:
        tracks: a file, a run's folder, or a folder of ``NAME.txt`` or of runs.
        truth: a file, a sequence's folder with ``gt/gt.txt``, or a folder of such folders or of ``NAME.txt``.
        names: only these; else all that have ground truth, and each must have tracks. One file of tracks and one of
            truth belong together whatever their names are.

    Raises:
        SourceOpenError: there is nothing to read, or one side of a sequence is missing.
    """
    true_files = _truth_files(truth)
    track_files = {tracks.stem: tracks} if tracks.is_file() or _is_run(tracks) else _track_files(tracks)
    if len(true_files) == len(track_files) == 1 and not names:
        (name, true_file), track_file = *true_files.items(), next(iter(track_files.values()))
        return [SequenceFiles(name, track_file, true_file)]
    wanted = sorted(names or true_files)
    return [
        SequenceFiles(name, _named(name, track_files, "tracks", tracks), _named(name, true_files, "truth", truth))
        for name in wanted
    ]


def truth_file(path: Path) -> Path:
    """Return the one file of ground truth at ``path``: a file, or a sequence's folder.

    Raises:
        SourceOpenError: there is none, or more than one.
    """
    found = _truth_files(path)
    if len(found) > 1:
        raise SourceOpenError(f"'{path}' holds the ground truth of {len(found)} sequences; name one of them.")
    return next(iter(found.values()))


def _truth_files(path: Path) -> dict[str, Path]:
    if path.is_file():
        return {path.resolve().parent.parent.name if path.name == "gt.txt" else path.stem: path}
    for own in (path / "gt" / "gt.txt", path / "gt.txt"):
        if own.is_file():
            return {path.resolve().name: own}
    found = _texts(path) | {child.name: child / "gt" / "gt.txt" for child in _children(path)}
    found = {name: file for name, file in found.items() if file.is_file()}
    if not found:
        raise SourceOpenError(f"There is no ground truth in '{path}': neither NAME/gt/gt.txt nor NAME.txt.")
    return found


def _track_files(path: Path) -> dict[str, Path]:
    found = {child.name: child for child in _children(path) if _is_run(child)} | _texts(path)
    if not found:
        raise SourceOpenError(f"There are no tracks in '{path}': neither NAME.txt nor a run's {DETECTIONS}.")
    return found


def _is_run(path: Path) -> bool:
    return path.is_dir() and holds_run(path)


def _texts(path: Path) -> dict[str, Path]:
    return {child.stem: child for child in _children(path) if child.suffix == ".txt" and child.is_file()}


def _children(path: Path) -> list[Path]:
    try:
        return sorted(path.iterdir())
    except OSError as error:
        raise SourceOpenError(f"Cannot read '{path}': {error.strerror}.") from error


def _named(name: str, files: Mapping[str, Path], what: str, folder: Path) -> Path:
    if name not in files:
        raise SourceOpenError(
            f"There is no sequence '{name}' among the {what} in '{folder}'.{did_you_mean(name, files)} "
            "Choose sequences with --seq."
        )
    return files[name]
