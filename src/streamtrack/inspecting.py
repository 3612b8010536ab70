"""What a recording holds, and the same in another format: a tape in one file, a run's folder, a ``det.txt``."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np

from streamtrack import folder, registry
from streamtrack.errors import ConfigError, SinkError, SourceOpenError, StreamtrackError, did_you_mean
from streamtrack.records import SAMPLES_PER_TRACK, TrackLedger, TrackRecord
from streamtrack.tape import Tape, holds_run, read_tape, tape_in
from streamtrack.tapefile import Damage, FrameEntry, TapeFile, TrackEntry, is_tape
from streamtrack.types import CONFIRMED, NS_PER_S, Result, RunInfo, SourceInfo, TrackUpdate

Records = Literal["detections", "tracks", "frames"]
FORMATS: Final = {
    ".jsonl": "jsonl",
    ".msgpack": "msgpack",
    ".txt": "mot",
    ".json": "coco",
    ".csv": "csv",
    ".parquet": "parquet",
}
"""Which sink writes a file with such an ending."""
_OF_RECORDS: Final = ("jsonl", "csv", "parquet")
"""Those that can be told which records."""
_WITH_SAMPLES: Final = ("jsonl", "msgpack", "parquet")
"""Those whose tracks have sampled boxes."""


class Holdings(msgspec.Struct, frozen=True, kw_only=True):
    """What a recording holds, all of it or a span of time."""

    schema_version: int = 1
    file: str
    kind: Literal["tape", "run"]
    """``tape``: one file of ``tapefile``'s format; ``run``: the records of a run's folder, or a ``det.txt``."""
    bytes: int
    """Of the file that holds the detections, or of all its parts."""
    written_by: str
    source: SourceInfo
    model: str
    class_names: tuple[str, ...]
    keypoints: int
    frames: int
    first_frame: int | None
    last_frame: int | None
    start_s: float | None
    """Of the first and last frame."""
    end_s: float | None
    detections: int
    cuts: int
    tracks: list[TrackRecord]
    closed: bool | None
    """Whether its run ended it; None for a run's folder, which does not say."""
    chunks: int
    """In the index."""
    damage: list[Damage]
    notes: tuple[str, ...]
    """What a person should know, a sentence each."""


@dataclass(slots=True)
class Recording:
    """A recording, opened for reading."""

    file: Path
    info: RunInfo
    """What a sink of the run was told."""
    tape: TapeFile | Tape
    samples_per_track: int = SAMPLES_PER_TRACK
    """Boxes that the run kept of each track in its record, or would have."""
    notes: tuple[str, ...] = ()

    @property
    def closed(self) -> bool | None:
        """Whether its run ended it; None for a run's folder, which does not say."""
        return self.tape.end is not None if isinstance(self.tape, TapeFile) else None

    @property
    def damage(self) -> list[Damage]:
        """What was met so far in reading."""
        return self.tape.damage if isinstance(self.tape, TapeFile) else []

    @property
    def is_damaged(self) -> bool:
        """Whether something is missing that had been written: more than the end of a run that was killed."""
        return any(not damage.half_written for damage in self.damage)

    @property
    def complaints(self) -> list[str]:
        """What a person should know once it has been read, a sentence each."""
        return [*self.notes, *(self.tape.complaints if isinstance(self.tape, TapeFile) else [])]

    def results(self, start_s: float = 0.0, end_s: float = math.inf) -> Iterator[Result]:
        """Yield the result of every frame with ``start_s <= seconds < end_s``.

        Of a run's folder, where nobody wrote down what the tracker said of tracks out of sight, each result has the
        confirmed tracks alone, at the boxes of their detections.

        Raises:
            ConfigError: the span is not one.
            SourceOpenError: it cannot be read.
        """
        if not 0 <= start_s <= end_s:
            raise ConfigError(f"There is no time from {start_s:g} s to {end_s:g} s: give seconds from 0 up, in order.")
        start_ns, end_ns = math.ceil(start_s * NS_PER_S), None if end_s == math.inf else math.ceil(end_s * NS_PER_S)
        if isinstance(self.tape, TapeFile):
            yield from self.tape.results(start_ns or None, end_ns)
            return
        for result in _results(self.tape):
            pts_ns = result.frame.pts_ns
            if pts_ns >= start_ns and (end_ns is None or pts_ns < end_ns):
                yield result


def open_recording(path: Path) -> Recording:
    """Open a tape, a run's folder or its ``detections.jsonl``, or a ``det.txt``.

    Raises:
        SourceError: it is none of these, or cannot be read.
    """
    file = tape_in(path)
    if is_tape(file) or file.suffix == Path(folder.TAPE).suffix:
        recorded = TapeFile(file)
        header = recorded.header
        names = tuple(header.class_names)
        info = RunInfo(recorded.source, header.model, names, header.keypoints, folder=None, settings=header.settings)
        return Recording(file, info, recorded, _samples(header.settings))
    if file.is_file() and file.suffix != ".txt" and not holds_run(file):
        raise SourceOpenError(
            f"'{path}' is no recording: give a {folder.TAPE}, a run's folder or its {folder.DETECTIONS}, or a det.txt."
        )
    tape = read_tape(file)
    keypoints = tape.found.keypoints.shape[1]
    settings = {"tracker": tape.settings} if tape.settings else {}
    info = RunInfo(tape.source, tape.model, (), keypoints, None, settings)
    return Recording(tape.file, info, tape, tape.samples_per_track or SAMPLES_PER_TRACK, tape.notes)


class _Output(msgspec.Struct):
    samples_per_track: Annotated[int, msgspec.Meta(ge=1)] = SAMPLES_PER_TRACK


class _Settings(msgspec.Struct):
    """What is read of the settings of a run."""

    output: _Output = msgspec.field(default_factory=_Output)


def _samples(settings: Mapping[str, Any]) -> int:
    try:
        return msgspec.convert(settings, _Settings).output.samples_per_track
    except msgspec.ValidationError:
        return SAMPLES_PER_TRACK


@dataclass(slots=True)
class _Counts:
    """What was counted of frames and tracks."""

    frames: int = 0
    detections: int = 0
    cuts: int = 0
    first: tuple[int | None, float | None] = (None, None)
    """Index and second of the first frame."""
    last: tuple[int | None, float | None] = (None, None)
    tracks: list[TrackRecord] = field(default_factory=list)

    def add(self, index: int, ts_s: float, detections: int, cut: bool) -> None:
        self.last = (index, ts_s)
        if not self.frames:
            self.first = self.last
        self.frames += 1
        self.detections += detections
        self.cuts += cut


def _followed(recording: Recording, start_s: float, end_s: float) -> _Counts:
    """Count a span of time, whose tracks begin and end in it."""
    counts, ledger = _Counts(), TrackLedger(recording.samples_per_track)
    for result in recording.results(start_s, end_s):
        counts.add(result.frame.index, result.frame.ts_s, len(result.detections), result.cut)
        counts.tracks += ledger.add(result)
    counts.tracks += ledger.finish()
    return counts


def _written(tape: TapeFile) -> _Counts:
    """Count all of a tape that was closed: its tracks stand in it, and nothing has to be made of its arrays."""
    counts = _Counts()
    for _, entry in tape.entries():
        if isinstance(entry, FrameEntry):
            counts.add(entry.frame_idx, entry.pts_ns / NS_PER_S, len(entry.classes), entry.cut)
        elif isinstance(entry, TrackEntry):
            counts.tracks.append(entry.record)
    return counts


def inspect(recording: Recording, start_s: float = 0.0, end_s: float = math.inf) -> Holdings:
    """Read all of a recording, or a span of time, and say what it holds.

    Raises:
        ConfigError: the span is not one.
        SourceOpenError: it cannot be read.
    """
    tape, info = recording.tape, recording.info
    file = tape if isinstance(tape, TapeFile) else None
    counts = None
    if file and file.end and (start_s, end_s) == (0.0, math.inf):
        counts = _written(file)
    if counts is None or recording.damage:
        # A track may be among what is damaged: the frames that are left have to tell of it.
        counts = _followed(recording, start_s, end_s)
    return Holdings(
        file=str(recording.file),
        kind="tape" if file else "run",
        bytes=sum(file.stat().st_size for file in folder.record_files(recording.file) or [recording.file]),
        written_by=file.header.writer if file else "",
        source=info.source,
        model=info.model,
        class_names=info.class_names,
        keypoints=info.keypoints,
        frames=counts.frames,
        first_frame=counts.first[0],
        last_frame=counts.last[0],
        start_s=counts.first[1],
        end_s=counts.last[1],
        detections=counts.detections,
        cuts=counts.cuts,
        tracks=sorted(counts.tracks, key=lambda track: track.track_id),
        closed=recording.closed,
        chunks=len(file.chunks) if file else 0,
        damage=recording.damage,
        notes=recording.notes,
    )


def convert(
    recording: Recording,
    out: Path,
    *,
    records: Records | None = None,
    start_s: float = 0.0,
    end_s: float = math.inf,
    overwrite: bool = False,
) -> str:
    """Write a recording in the format that the ending of ``out`` says, or as a run does, into the folder ``out``.

    Args:
        recording: the recording.
        out: the file, with one of the endings in FORMATS, or a folder.
        records: which ones, where the format holds one kind; None for detections.
        start_s: only frames from here on.
        end_s: and before here.
        overwrite: replace what is there.

    Returns:
        The name of the sink that wrote it.

    Raises:
        ConfigError: there is no such format, or it does not have ``records``.
        PluginError: what the format needs is not installed.
        SinkError: it exists and may not be replaced, or cannot be written.
        SourceError: the recording cannot be read.
    """
    name, options = _sink_for(out, records)
    if name in _WITH_SAMPLES:
        options["samples_per_track"] = recording.samples_per_track
    if out.exists() and out.resolve() in (recording.file.resolve(), recording.file.resolve().parent):
        raise ConfigError(f"'{out}' is the recording itself. Choose another place with --out.")
    if out.suffix and out.exists() and not overwrite:
        raise SinkError(f"'{out}' exists. Choose another with --out, or replace it with --overwrite.")
    sink = registry.load("sinks", name)(**options)
    with _writing(out, overwrite=overwrite) as target:
        try:
            sink.open(dataclasses.replace(recording.info, folder=target))
            for result in recording.results(start_s, end_s):
                sink.write(result)
        finally:
            sink.close()
    return name


@contextmanager
def _writing(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield the folder to write to; a file is put in its place only when it is whole."""
    if not out.suffix:
        yield folder.prepare(out, overwrite=overwrite)
        return
    try:
        with tempfile.TemporaryDirectory(prefix=".inspect-", dir=out.parent) as temporary:
            yield Path(temporary)
            (Path(temporary) / out.name).replace(out)
    except StreamtrackError:
        raise
    except OSError as error:
        raise SinkError(f"Cannot write '{out}': {error.strerror}. Choose another place with --out.") from error


def _sink_for(out: Path, records: Records | None) -> tuple[str, dict[str, Any]]:
    name = FORMATS.get(out.suffix) if out.suffix else "jsonl"
    if name is None:
        raise ConfigError(
            f"No format has files that end in '{out.suffix}'.{did_you_mean(out.suffix, FORMATS)} "
            f"Endings: {' '.join(FORMATS)}, or none for a folder."
        )
    if records and (name not in _OF_RECORDS or not out.suffix):
        raise ConfigError(f"'{out}' holds all records: --records is for {', '.join(_OF_RECORDS)} files alone.")
    if not out.suffix:
        return name, {}
    if name == "jsonl":
        wanted = records or "detections"
        return name, {kind: out.name if kind == wanted else "" for kind in ("detections", "frames", "tracks")}
    return name, {"path": out.name} | ({"records": records} if records else {})


def _results(tape: Tape) -> Iterator[Result]:
    """Yield what can be known of every frame of a run's folder."""
    claimed = tape.track_ids >= 0
    last_row = {track_id: row for row, track_id in enumerate(tape.track_ids.tolist()) if track_id >= 0}
    columns = (tape.first.tolist(), tape.last.tolist(), tape.cuts.tolist())
    counts = tape.box_counts or (None,) * len(tape)
    gone = np.empty(0, np.int64)
    for (frame, found), a, b, cut, count in zip(tape, *columns, counts, strict=True):
        rows = np.flatnonzero(claimed[a:b])
        ids = tape.track_ids[a:b][rows]
        tracks = TrackUpdate(
            ids=ids,
            boxes=found.boxes[rows],
            scores=found.scores[rows],
            classes=found.classes[rows],
            states=np.full(len(rows), CONFIRMED, np.uint8),
            rows=rows.astype(np.int32),
            ended=gone,
        )
        gone = np.array([i for i, row in zip(ids.tolist(), rows.tolist(), strict=True) if last_row[i] == a + row], "i8")
        yield Result(frame, found, tracks, cut, None, count)
