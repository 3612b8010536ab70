"""A tape: the detections of a run, frame by frame, for the tracker to go through again without the video.

A run's folder is one: ``detections.jsonl`` says what was found, ``frames.jsonl`` which frames were looked at and when,
those without a detection too, and ``track_metrics.json`` with which settings. So is the one file that holds all of it
(``streamtrack.tapefile``), and a MOTChallenge ``det.txt``.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import numpy as np

from streamtrack import folder
from streamtrack.errors import ConfigError, SourceOpenError
from streamtrack.motchallenge import SequenceInfo, read_rows, sequence_info
from streamtrack.packing import unpack
from streamtrack.records import DetectionRecord, FrameRecord, recorded_detections
from streamtrack.tapefile import NO_PICTURE, FrameEntry, TapeFile, box_counts, is_tape, unpacked
from streamtrack.types import CONFIRMED, NS_PER_S, BoolArray, BoxCounts, Detections, Frame, Int64Array, SourceInfo

DEFAULT_RATE: Final = 30.0
_LINES: Final = ".jsonl"
Record = TypeVar("Record", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True, eq=False)
class Tape:
    """F frames, what was found in each, and what is known of where they came from. Iterate it for the frames."""

    file: Path
    """The one that holds the detections."""
    source: SourceInfo
    frames: Int64Array  # (F,) 0-based index in the source, ascending
    pts_ns: Int64Array  # (F,) ascending
    first: Int64Array  # (F,) the frame's detections are the rows from here
    last: Int64Array  # (F,) up to here
    cuts: BoolArray  # (F,) whether the frame is the first of a new shot
    found: Detections
    """Of all frames, one after the other."""
    track_ids: Int64Array  # (N,) the track that claimed each row of ``found`` in the run; -1 for none
    box_counts: tuple[BoxCounts | None, ...] = ()
    """What became of the model's boxes in each frame; empty where it is not known of any."""
    complete: bool = True
    """Whether frames without detections are among its frames, too."""
    model: str = ""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Of the run's tracker; empty where there was no run."""
    samples_per_track: int | None = None
    """Boxes that the run kept of each track in its record; None where there was no run, or nobody knows."""
    notes: tuple[str, ...] = ()
    """What a person should know, a sentence each."""

    @property
    def frames_from(self) -> int:
        """What people call the first frame of the source: 0 in a run, 1 in a ``det.txt``."""
        return 0 if holds_run(self.file) else 1

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[tuple[Frame, Detections]]:
        width, height, found = self.source.width, self.source.height, self.found
        columns = (self.frames, self.pts_ns, self.first, self.last)
        for index, pts_ns, a, b in zip(*(column.tolist() for column in columns), strict=True):
            detections = Detections(found.boxes[a:b], found.scores[a:b], found.classes[a:b], found.keypoints[a:b])
            yield Frame(index, pts_ns, width, height, NO_PICTURE), detections

    def strided(self, stride: int) -> Tape:
        """Return a tape of the frames whose index is a multiple of ``stride``, as a run at that stride would see it.

        Raises:
            ConfigError: ``stride`` is below 1.
        """
        if stride < 1:
            raise ConfigError(f"The stride must be at least 1, got {stride}.")
        if stride == 1 or not len(self):
            return self
        kept = np.flatnonzero(self.frames % stride == 0)
        step = max(1, int(np.gcd.reduce(self.frames)))
        if self.source.sample_rate == self.source.rate / step:
            rate = self.source.rate / math.lcm(step, stride)
        else:
            rate = self.source.sample_rate * len(kept) / len(self)
        return self.only(kept, sampling=f"frames 0, {stride}, {2 * stride}, ... of the tape", rate=rate)

    def only(self, kept: Int64Array, *, sampling: str, rate: float) -> Tape:
        """Return a tape of some of the frames.

        Args:
            kept: their places on this tape, ascending.
            sampling: which ones they are, in words.
            rate: how many a second of media they are; 0.0 where it cannot be known.
        """
        # A shot that begins in a frame that is passed over begins in the next one.
        shots = np.cumsum(self.cuts)[kept]
        return dataclasses.replace(
            self,
            source=dataclasses.replace(self.source, sample_rate=rate, sampling=sampling),
            frames=self.frames[kept],
            pts_ns=self.pts_ns[kept],
            first=self.first[kept],
            last=self.last[kept],
            cuts=np.diff(shots, prepend=shots[:1]) > 0,
            box_counts=tuple(self.box_counts[k] for k in kept.tolist()) if self.box_counts else (),
        )


def read_tape(path: Path, rate: float | None = None) -> Tape:
    """Read a tape.

    Args:
        path: a run's folder, its ``detections.jsonl`` or its ``tape.msgpack``; a MOTChallenge ``det.txt`` or the folder
            of its sequence.
        rate: frames a second of a ``det.txt``; None for what its ``seqinfo.ini`` says, else 30.

    Raises:
        ConfigError: ``rate`` is not positive, or given for a run, which has its own times.
        SourceError: there is no tape, or it is malformed.
    """
    file = tape_in(path)
    if not holds_run(file):
        return _read_mot(file, rate)
    if rate is not None:
        raise ConfigError(f"'{file}' knows when its frames were: a rate is only for det.txt.")
    return _read_run(file) if _LINES in file.suffixes else _read_tape_file(file)


def tape_in(path: Path) -> Path:
    """Return the file that is read of ``path``: itself, or the one that the folder is known by.

    Raises:
        SourceError: the folder holds none.
    """
    if not path.is_dir():
        return path
    file = next(_tapes_in(path), None)
    if file is None:
        raise SourceOpenError(
            f"There is no tape in '{path}': neither {folder.DETECTIONS} nor {folder.TAPE} nor det/det.txt."
        )
    return file


def _tapes_in(path: Path) -> Iterator[Path]:
    yield from folder.record_files(path / folder.DETECTIONS)[:1]
    yield from (file for name in (folder.TAPE, "det/det.txt", "det.txt") if (file := path / name).is_file())


def holds_run(path: Path) -> bool:
    """Return whether ``path`` is what a run leaves: its folder, a file of its detections, or its tape in one file."""
    if path.is_dir():
        return bool(folder.record_files(path / folder.DETECTIONS)) or (path / folder.TAPE).is_file()
    return _LINES in path.suffixes or path.suffix == Path(folder.TAPE).suffix or is_tape(path)


# --- a run's folder ---


class _Source(msgspec.Struct):
    uri: str = ""
    width: int = 0
    height: int = 0
    fps: float = 0.0
    sample_rate: float = 0.0
    duration_s: float | None = None
    codec: str = ""
    sampling: str = ""
    live: bool = False


class _Model(msgspec.Struct):
    name: str = ""


class _Output(msgspec.Struct):
    samples_per_track: int | None = None


class _Settings(msgspec.Struct):
    output: _Output = msgspec.field(default_factory=_Output)
    tracker: dict[str, Any] = msgspec.field(default_factory=dict)


class _Metrics(msgspec.Struct):
    """What is read of ``track_metrics.json``; whatever else it holds is of no concern here."""

    source: _Source | None = None
    model: _Model = msgspec.field(default_factory=_Model)
    settings: _Settings = msgspec.field(default_factory=_Settings)


def _read_run(file: Path) -> Tape:
    notes: list[str] = []
    records = _read_lines(file, DetectionRecord, notes)
    frames_file, metrics_file = file.with_name(folder.FRAMES), file.with_name(folder.METRICS)
    counts: tuple[BoxCounts | None, ...] = ()
    if complete := bool(folder.record_files(frames_file)):
        frames = _read_lines(frames_file, FrameRecord, notes)
        # A run that was killed may have written detections of a frame, but not yet the frame.
        end = frames[-1].frame_idx if frames else -1
        records = [record for record in records if record.frame_idx <= end]
        times = [(frame.frame_idx, frame.pts_ns, frame.detections, frame.cut) for frame in frames]
        counts = tuple(frame.box_counts or None for frame in frames)
    else:
        notes.append(f"There is no {folder.FRAMES}: frames without detections are missing, and tracks may differ.")
        found_in = Counter((record.frame_idx, round(record.ts_s * NS_PER_S)) for record in records)
        times = [(index, pts_ns, count, False) for (index, pts_ns), count in found_in.items()]
    index, pts_ns, count, cut = np.array(times, np.int64).reshape(-1, 4).T
    starts = np.concatenate([[0], np.cumsum(count)])
    if not np.array_equal(np.repeat(index, count), [record.frame_idx for record in records]):
        raise SourceOpenError(f"'{file}' and '{frames_file}' are not of one run, or one of them was cut short.")
    if metrics_file.is_file():
        metrics = _read_metrics(metrics_file)
    else:
        notes.append(f"There is no {folder.METRICS}: the settings of the run are unknown.")
        metrics = _Metrics()
    found = metrics.source or _Source(uri=str(file))
    return Tape(
        file,
        SourceInfo(
            uri=found.uri,
            width=found.width,
            height=found.height,
            rate=found.fps,
            frames_estimate=None,
            duration_s=found.duration_s,
            live=found.live,
            codec=found.codec,
            sampling=found.sampling,
            sample_rate=found.sample_rate,
        ),
        *_checked_times(file, index, pts_ns),
        starts[:-1],
        starts[1:],
        cut > 0,
        _detections(file, records),
        np.array([-1 if record.track_id is None else record.track_id for record in records], np.int64),
        box_counts=counts,
        complete=complete,
        model=metrics.model.name,
        settings=metrics.settings.tracker,
        samples_per_track=metrics.settings.output.samples_per_track,
        notes=tuple(notes),
    )


def _read_lines(path: Path, kind: type[Record], notes: list[str]) -> list[Record]:
    records: list[Record] = []
    for file in folder.record_files(path) or [path]:
        records += _read_part(file, msgspec.json.Decoder(kind), notes)
    return records


def _read_part(file: Path, decoder: msgspec.json.Decoder[Record], notes: list[str]) -> list[Record]:
    try:
        data, whole = unpack(_read(file))
    except ValueError as error:
        raise SourceOpenError(f"Cannot read '{file}': {error}.") from error
    if half := len(data) - (data.rfind(b"\n") + 1):
        # Every line ends with its end: this one was being written when the run died.
        notes.append(f"'{file}': its last line is half written: {half} bytes at its end were left out.")
        data = data[:-half]
    if not whole:
        notes.append(f"'{file}' was not closed: its run was killed, or goes on still.")
    try:
        return decoder.decode_lines(data)
    except msgspec.DecodeError:
        # The slow way, for the message only: which line is it?
        for number, line in enumerate(data.splitlines(), 1):
            try:
                decoder.decode(line)
            except msgspec.DecodeError as error:
                raise SourceOpenError(f"'{file}', line {number} is not a record of a run: {_reason(error)}.") from error
        raise


def _read_metrics(file: Path) -> _Metrics:
    try:
        return msgspec.json.decode(_read(file), type=_Metrics)
    except msgspec.DecodeError as error:
        raise SourceOpenError(f"'{file}' does not hold the metrics of a run: {_reason(error)}.") from error


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise SourceOpenError(f"Cannot read '{file}': {error.strerror}.") from error


def _reason(error: msgspec.DecodeError) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _checked_times(file: Path, index: Int64Array, pts_ns: Int64Array) -> tuple[Int64Array, Int64Array]:
    back = (np.diff(index) <= 0) | (np.diff(pts_ns) <= 0)
    if back.any():
        k = int(np.argmax(back))
        raise SourceOpenError(f"'{file}' is not in order of time: frame {index[k + 1]} comes after frame {index[k]}.")
    return index, pts_ns


def _detections(file: Path, records: Sequence[DetectionRecord]) -> Detections:
    if len({(len(record.bbox), len(record.landmarks)) for record in records}) > 1:
        raise SourceOpenError(f"'{file}' mixes detections with different numbers of landmarks.")
    try:
        return recorded_detections(records)
    except ValueError as error:
        raise SourceOpenError(f"'{file}' holds a bbox without 4 or a landmark without 2 numbers.") from error


# --- a tape in one file ---


def _read_tape_file(file: Path) -> Tape:
    recorded = TapeFile(file)
    frames = list(recorded.frames())
    times = [(frame.frame_idx, frame.pts_ns, len(frame.classes), frame.cut) for frame in frames]
    index, pts_ns, count, cut = np.array(times, np.int64).reshape(-1, 4).T
    starts = np.concatenate([[0], np.cumsum(count)])
    total, settings = int(starts[-1]), _settings(recorded)
    counts = tuple(map(box_counts, frames))
    return Tape(
        file,
        recorded.source,
        *_checked_times(file, index, pts_ns),
        starts[:-1],
        starts[1:],
        cut > 0,
        Detections(
            unpacked(b"".join([frame.boxes for frame in frames])).reshape(total, 4),
            unpacked(b"".join([frame.scores for frame in frames])),
            np.array([class_id for frame in frames for class_id in frame.classes], np.int32),
            unpacked(b"".join([frame.keypoints for frame in frames])).reshape(total, recorded.header.keypoints, 2),
        ),
        _owners(frames, starts, total),
        model=recorded.header.model,
        settings=settings.tracker,
        box_counts=counts if any(counts) else (),
        samples_per_track=settings.output.samples_per_track,
        notes=tuple(recorded.complaints),
    )


def _owners(frames: Sequence[FrameEntry], starts: Int64Array, total: int) -> Int64Array:
    """Return the confirmed track that claims each of the ``total`` detections, -1 for none."""
    owners = np.full(total, -1, np.int64)
    for frame, start in zip(frames, starts.tolist(), strict=False):
        for row, track_id, state in zip(frame.track_rows, frame.track_ids, frame.track_states, strict=True):
            if state == CONFIRMED:
                owners[start + row] = track_id
    return owners


def _settings(recorded: TapeFile) -> _Settings:
    try:
        return msgspec.convert(recorded.header.settings, _Settings)
    except msgspec.ValidationError as error:
        raise SourceOpenError(f"'{recorded.path}' holds settings that cannot be: {_reason(error)}.") from error


# --- MOTChallenge ---


def _read_mot(file: Path, rate: float | None) -> Tape:
    rows = read_rows(file, 7)
    numbers = rows.whole(0, "frame", 1)
    info = sequence_info(file) or SequenceInfo(file.stem, 0, 0.0, 0, 0)
    last = int(numbers.max(initial=0))
    if info.frames and last > info.frames:
        raise SourceOpenError(f"'{file}' has a frame {last}, but its seqinfo.ini says that there are {info.frames}.")
    notes: tuple[str, ...] = ()
    if rate is None and not info.rate:
        notes = (f"Nothing says how many frames a second '{file}' has: {DEFAULT_RATE:g} are assumed.",)
    fps = (info.rate or DEFAULT_RATE) if rate is None else rate
    if not 0 < fps < math.inf:
        raise ConfigError(f"A rate of {fps:g} frames a second cannot be; give a number above 0.")
    # What people write as 29.97 is meant in decimal.
    period_ns = NS_PER_S / Fraction(str(fps))
    index = np.arange(info.frames or last)
    order = np.argsort(numbers, kind="stable")
    count = len(order)
    return Tape(
        file,
        SourceInfo(
            uri=str(file),
            width=info.width,
            height=info.height,
            rate=fps,
            frames_estimate=len(index),
            duration_s=len(index) / fps,
            live=False,
            codec="",
            sampling="every frame",
            sample_rate=fps,
        ),
        index,
        np.array([round(number * period_ns) for number in range(len(index))], np.int64),
        np.searchsorted(numbers[order], index + 1, "left"),
        np.searchsorted(numbers[order], index + 1, "right"),
        np.zeros(len(index), np.bool_),
        Detections(
            rows.corners()[order].astype(np.float32),
            rows.values[order, 6].astype(np.float32),
            np.zeros(count, np.int32),
            np.empty((count, 0, 2), np.float32),
        ),
        np.full(count, -1),
        notes=notes,
    )
