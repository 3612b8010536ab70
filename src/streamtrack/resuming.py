"""An interrupted run of a file, taken up again: its records are a tape, so nothing else had to be kept of it.

``detections.jsonl`` and ``frames.jsonl`` hold, line by line and exactly, what the detector found until the run was
interrupted. They are moved aside and the run begins anew, with a detector that answers from the tape as long as there
is one: tracker, scene cuts and every sink see what they would have seen in a run without an interruption, and write
the same, to the byte. See ``docs/resume.md`` and ``docs/adr/0012-resume-from-the-tape.md``.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import numpy as np

from streamtrack import folder
from streamtrack.errors import ConfigError, SinkError, SourceError
from streamtrack.records import DetectionRecord, FrameRecord, recorded_detections
from streamtrack.types import BoxCounts, Detections, Float32Array, Frame

_SAMPLE: Final = 1 << 20
"""Bytes of a file's head and tail that tell it from others."""
_FREE: Final = frozenset(
    {"source.threads", "source.max_staleness_s", "output.progress_every", "detector.model", "embedder.model"}
    | {"output.metrics_port", "output.metrics_host"}
)
"""Settings that may differ: they change no result. Models are told by what is in them."""
_FREE_SECTION: Final = "runtime."
_BINDING: Final = frozenset({"runtime.precision"})
"""Settings of that section that may not."""
_NO_THUMBNAIL: Final = np.zeros((3, 1, 1), np.float32)
_NO_THUMBNAIL.setflags(write=False)


class FileIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What tells a file from others, whatever it is called and however it was copied."""

    size: int
    """Bytes."""
    sha256: str
    """Of its first and last MiB, in hexadecimal."""


def identify(path: Path) -> FileIdentity:
    """Return what tells the file ``path`` from others.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.sha256(file.read(_SAMPLE))
            file.seek(max(file.tell(), size - _SAMPLE))
            digest.update(file.read(_SAMPLE))
    except OSError as error:
        raise SourceError(f"'{path}' cannot be read: {error.strerror}.") from error
    return FileIdentity(size=size, sha256=digest.hexdigest())


class ResumeMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """How often a run was interrupted and taken up again."""

    times: int = 0
    from_frames: tuple[int, ...] = ()
    """Each time, the first frame of the source, by its index, that no run before had got through."""


# --- what an interrupted run has left ---


@dataclass(frozen=True, slots=True, eq=False)
class TapedFrame:
    """One frame of a tape."""

    index: int
    pts_ns: int
    cut: bool
    detections: Detections
    box_counts: BoxCounts | None


@dataclass(frozen=True, slots=True)
class TornTape:
    """Two files of records whose ends may be missing. Iterate it for the frames that are whole on both."""

    detections: Path
    frames: Path

    def __iter__(self) -> Iterator[TapedFrame]:
        """Yield the frames in order, up to the first that is not whole."""
        frame_decoder, decoder = msgspec.json.Decoder(FrameRecord), msgspec.json.Decoder(DetectionRecord)
        with suppress(FileNotFoundError), self.frames.open("rb") as frames, self.detections.open("rb") as detections:
            index, pts_ns = -1, -1
            for line in frames:
                try:
                    frame = frame_decoder.decode(_whole(line))
                    rows = itertools.islice(detections, frame.detections)
                    records = [decoder.decode(_whole(row)) for row in rows]
                    found = recorded_detections(records)
                except ValueError:
                    # A line without its end, or one that the disk did not get: msgspec's errors are of this kind, too.
                    return
                others = any(record.frame_idx != frame.frame_idx for record in records)
                back = frame.frame_idx <= index or frame.pts_ns <= pts_ns
                if len(records) < frame.detections or others or back:
                    return
                index, pts_ns = frame.frame_idx, frame.pts_ns
                yield TapedFrame(index, pts_ns, frame.cut, found, frame.box_counts or None)


def _whole(line: bytes) -> bytes:
    if not line.endswith(b"\n"):
        raise ValueError("cut short")
    return line


class KnownModel(msgspec.Struct, frozen=True):
    """Which model a run has; empty where it has none."""

    name: str = ""
    sha256: str = ""

    @classmethod
    def of(cls, model: Any) -> KnownModel:
        """Return what tells a ``models.zoo.ResolvedModel`` from others; of None, that there is none."""
        return cls(model.name, model.sha256) if model else cls()

    def difference(self, kind: str, now: KnownModel) -> str:
        """Return in words how ``now`` is another; empty where it is not."""
        if (self.sha256 or self.name) == (now.sha256 or now.name):
            return ""
        # Of one name: another file.
        old, new = (self.name, now.name) if self.name != now.name else (self.sha256[:12], now.sha256[:12])
        return f"{kind} {old or 'none'} then, {new or 'none'} now"


class Then(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of an earlier run's metrics; whatever else they hold is of no concern here."""

    class Source(msgspec.Struct, frozen=True):
        """Where its frames came from."""

        uri: str = ""
        file: FileIdentity | None = None

    status: str
    run_id: str = ""
    streamtrack_version: str = ""
    device: str = ""
    backend: str = ""
    source: Source | None = None
    model: KnownModel = KnownModel()
    embedder: KnownModel | None = None
    settings: Mapping[str, Mapping[str, Any]] = {}
    stages: Mapping[str, Any] = {}
    resumed: ResumeMetrics | None = None


class Earlier(NamedTuple):
    """A run in a folder, and how far it got."""

    folder: Path
    then: Then
    tape: TornTape
    taped: int
    """Frames on the tape."""
    next_frame: int
    """Index in the source of the first that is not."""

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to do."""
        return self.then.status == "complete"

    def moved_tape(self) -> TornTape:
        """Return where the tape is once ``take_over`` has moved it aside."""
        aside = self.folder / folder.RESUME
        return TornTape(aside / folder.DETECTIONS, aside / folder.FRAMES)

    @property
    def resumed(self) -> ResumeMetrics:
        """What is to be told of a run that goes on from here."""
        before = self.then.resumed or ResumeMetrics()
        return ResumeMetrics(times=before.times + 1, from_frames=(*before.from_frames, self.next_frame))


def read_earlier(path: Path) -> Earlier | None:
    """Return the run in the folder ``path``; None where there is none that got anywhere. Nothing is touched.

    Raises:
        ConfigError: nothing tells with which settings it was made, or it kept no tape.
    """
    metrics = path / folder.METRICS
    if folder.holds_nothing(path):
        return None
    try:
        then = msgspec.json.decode(metrics.read_bytes(), type=Then)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(
            f"'{metrics}' cannot be read, so nothing tells with which settings the run in it was made: begin anew with "
            "--overwrite, or choose another folder with --out."
        ) from error
    if then.status == "complete":
        return Earlier(path, then, TornTape(path / folder.DETECTIONS, path / folder.FRAMES), 0, 0)
    tape, taped, end = _longest(path)
    if not taped and folder.frames_done(path) and not any(file.exists() for file in _places(path, folder.FRAMES)):
        raise ConfigError(
            f"The run in '{path}' cannot be resumed: it kept no {folder.FRAMES}. Begin anew with --overwrite, and "
            "leave the options of the sink 'jsonl' as they are."
        )
    return Earlier(path, then, tape, taped, end)


def _places(path: Path, name: str) -> tuple[Path, Path]:
    return path / name, path / folder.RESUME / name


def _longest(path: Path) -> tuple[TornTape, int, int]:
    """Return the longest tape in a folder, how many frames it has, and the index of the first that it has not.

    A run that was killed while it went over its tape, or while it moved it aside, has two of a file. All are beginnings
    of the same, so any two go together.
    """
    best = (TornTape(path / folder.DETECTIONS, path / folder.FRAMES), 0, 0)
    for pair in itertools.product(_places(path, folder.DETECTIONS), _places(path, folder.FRAMES)):
        tape = TornTape(*pair)
        count, end = 0, 0
        for frame in tape:
            count, end = count + 1, frame.index + 1
        if count > best[1]:
            best = tape, count, end
    return best


def take_over(earlier: Earlier) -> None:
    """Make a folder ready for the run to begin anew, its tape moved aside.

    It may be interrupted at any moment: the metrics, and the tape, are there at each.

    Raises:
        SinkError: something cannot be moved or removed.
    """
    aside = earlier.folder / folder.RESUME
    try:
        # It says how much a tape should hold: before the tape is gone, so must this be.
        (earlier.folder / folder.PROGRESS).unlink(missing_ok=True)
        if earlier.taped:
            aside.mkdir(exist_ok=True)
            for file in (earlier.tape.detections, earlier.tape.frames):
                if file.parent != aside:
                    os.replace(file, aside / file.name)
    except OSError as error:
        raise SinkError(f"Cannot write to the output folder '{earlier.folder}': {error.strerror}.") from error
    folder.clear(earlier.folder, keep=(folder.METRICS, folder.RESUME))


# --- whether it is the same run ---


class Now(NamedTuple):
    """What a run is that shall go on with what an earlier one has left."""

    version: str
    settings: Mapping[str, Mapping[str, Any]]
    sinks: frozenset[str]
    """Their names."""
    file: FileIdentity | None
    model: KnownModel
    embedder: KnownModel


def refuse_another(earlier: Earlier, now: Now) -> None:
    """Do nothing if ``earlier`` was the same run as ``now``, as far as that decides what is written.

    Raises:
        ConfigError: it was another; the differences are named.
    """
    found = [difference for difference in _differences(earlier.then, now) if difference]
    if found:
        raise ConfigError(
            f"The run in '{earlier.folder}' was another one, and is left as it is: {'; '.join(found)}. Do as then, "
            "choose another folder with --out, or begin anew with --overwrite."
        )


def _differences(then: Then, now: Now) -> Iterator[str]:
    if then.streamtrack_version != now.version:
        yield f"streamtrack {then.streamtrack_version} then, {now.version} now"
    source = then.source or Then.Source()
    if source.file != now.file:
        yield f"source {_told(source.file)} then, {_told(now.file)} now"
    yield then.model.difference("model", now.model)
    yield (then.embedder or KnownModel()).difference("embedder", now.embedder)
    old_sinks = frozenset(stage.removeprefix("sink ") for stage in then.stages if stage.startswith("sink "))
    for name in sorted(old_sinks ^ now.sinks):
        yield f"sink {name}: {'then, not now' if name in old_sinks else 'not then, now'}"
    before, after = _binding(then.settings), _binding(now.settings)
    for key in sorted(before.keys() | after.keys()):
        old, new = (_shown(settings[key]) if key in settings else "unknown" for settings in (before, after))
        if old != new:
            yield f"{key}: {old} then, {new} now"


def _binding(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings that decide what is written, by dotted key."""
    dotted = {f"{section}.{name}": value for section, values in settings.items() for name, value in values.items()}
    return {
        key: value
        for key, value in dotted.items()
        if key in _BINDING or not (key in _FREE or key.startswith(_FREE_SECTION))
    }


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and value else msgspec.json.encode(value).decode()


def _told(file: FileIdentity | None) -> str:
    return f"{file.size:,} bytes ({file.sha256[:12]})" if file else "unknown"


# --- the detector that knows part of the answers ---


class LookingDetector(Protocol):
    """What is needed of ``models.detector.Detector``."""

    @property
    def thumbnails(self) -> Sequence[Float32Array]:
        """Of the frames of the latest ``detect`` or ``look``."""
        ...

    @property
    def box_counts(self) -> Sequence[BoxCounts | None]:
        """Of the frames of the latest ``detect``."""
        ...

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Return the detections of each frame."""
        ...

    def look(self, frames: Sequence[Frame]) -> None:
        """Leave thumbnails behind without running the model."""
        ...

    def close(self) -> None:
        """Release the model."""
        ...


Adapt = Callable[[Detections, Float32Array, int, bool], Detections]


class TapedDetector:
    """Answers from a tape as long as it lasts, and asks a detector from then on: a ``pipeline.FrameDetector``."""

    def __init__(self, tape: Callable[[], TornTape], *, looks: bool) -> None:
        """Begin with the first frame.

        Args:
            tape: called with the first frame.
            looks: whether anything depends on the thumbnails of frames that are on the tape.
        """
        self._tape, self._looks = tape, looks
        self._frames: Iterator[TapedFrame] | None = None
        self._ahead: TapedFrame | None = None
        self._given: deque[TapedFrame] = deque()
        self._detector: LookingDetector | None = None
        self.thumbnails: Sequence[Float32Array] = ()
        self.box_counts: Sequence[BoxCounts | None] = ()

    def around(self, detector: LookingDetector) -> TapedDetector:
        """Ask ``detector`` what the tape does not know, and close it in the end."""
        self._detector = detector
        return self

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Return the detections of each frame.

        Raises:
            SourceError: the frames are not those of the tape.
            InferenceError: the model failed to run.
        """
        assert self._detector is not None
        taped = [self._on_tape(frame) for frame in frames]
        known = [frame for frame in taped if frame is not None]
        self._given.extend(known)
        if len(known) == len(frames):
            self.thumbnails = [_NO_THUMBNAIL] * len(frames)
            if self._looks:
                self._detector.look(frames)
                self.thumbnails = self._detector.thumbnails
            self.box_counts = [frame.box_counts for frame in known]
            return [frame.detections for frame in known]
        # All of them: a runtime may round otherwise in a smaller batch, and a run without an interruption had this one.
        found = self._detector.detect(frames)
        self.thumbnails, counts = self._detector.thumbnails, self._detector.box_counts
        self.box_counts = [tape.box_counts if tape else count for tape, count in zip(taped, counts, strict=True)]
        return [tape.detections if tape else each for tape, each in zip(taped, found, strict=True)]

    def _on_tape(self, frame: Frame) -> TapedFrame | None:
        if self._frames is None:
            self._frames = iter(self._tape())
            self._ahead = next(self._frames, None)
        taped = self._ahead
        if taped is None:
            return None
        if (taped.index, taped.pts_ns) != (frame.index, frame.pts_ns):
            raise SourceError(
                f"The source gives frame {frame.index} at {frame.ts_s:.3f} s where the interrupted run saw frame "
                f"{taped.index} at {taped.pts_ns / 1e9:.3f} s: it cannot be resumed. Begin anew with --overwrite."
            )
        self._ahead = next(self._frames, None)
        return taped

    def adapting(self, adapt: Adapt) -> Adapt:
        """Return ``adapt`` for a stream that begins on the tape, where detections are as it has left them."""

        def adapted(found: Detections, thumbnail: Float32Array, pts_ns: int, cut: bool) -> Detections:
            given = self._given
            if not given or given[0].pts_ns != pts_ns:
                return adapt(found, thumbnail, pts_ns, cut)
            taped = given.popleft()
            if self._looks and cut != taped.cut:
                raise SourceError(
                    f"Frame {taped.index} looks otherwise than in the interrupted run, which saw "
                    f"{'a' if taped.cut else 'no'} cut there: it cannot be resumed. Begin anew with --overwrite."
                )
            # What it remembers of the light has to follow, too.
            adapt(found, thumbnail, pts_ns, cut)
            return found

        return adapted

    def check_finished(self) -> None:
        """Do nothing if every frame of the tape was asked for.

        Raises:
            SourceError: the source ended before.
        """
        if self._ahead is not None:
            raise SourceError(
                f"The source ended before frame {self._ahead.index}, which the interrupted run had got through: it "
                "cannot be resumed. Begin anew with --overwrite."
            )

    def close(self) -> None:
        """Release the model, and the tape."""
        self._frames = iter(())
        if self._detector is not None:
            self._detector.close()
