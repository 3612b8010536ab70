r"""The tape of a run as one file: what every processed frame held, bit for bit, in framed MessagePack.

```
file    = magic, entry, entry, ..., [end entry, trailer]
magic   = 89 53 54 41 50 45 0d 0a                  "\x89STAPE\r\n"
entry   = length (u32), crc32 of the payload (u32), payload (length bytes, at least 1)
payload = MessagePack array [kind, ...]            0 header, 1 frame, 2 track, 3 chunk, 4 end
trailer = offset of the end entry (u64), "STAPEend"
```

All of it is little endian; ``docs/formats.md`` has the fields. An entry is written as a whole, so a file whose run was
killed ends with a complete entry, or with the beginning of one, which says nothing. Whoever finds no trailer hops from
length to length. Readers ignore kinds, and fields behind the last one, that they do not know.

MessagePack: https://github.com/msgpack/msgpack/blob/master/spec.md; crc32 as in zlib, gzip and PNG.
"""

from __future__ import annotations

import bisect
import dataclasses
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, NamedTuple, NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamtrack.errors import SourceError, SourceOpenError
from streamtrack.records import TrackRecord
from streamtrack.types import LOST, BoxCounts, Detections, Float32Array, Frame, Result, RunInfo, SourceInfo, TrackUpdate

SCHEMA_VERSION: Final = 1
MAGIC: Final = b"\x89STAPE\r\n"
END_MAGIC: Final = b"STAPEend"
CHUNK_FRAMES: Final = 256
"""Frames in a chunk: so many are read at most before the one that was sought."""
_ENTRY: Final = struct.Struct("<II")
_TRAILER: Final = struct.Struct("<Q8s")
_LARGEST: Final = 1 << 28
"""Bytes no entry has: a length beyond is damage, not a reason to ask for memory."""
_HEADER: Final = 0
_CHUNK: Final = 3
_PEEK: Final = 4
"""Bytes of a payload that hold its kind."""


class _NoPicture:
    """Stands where the pixels of a frame would be."""

    def rgb(self, region: tuple[int, int, int, int], size: tuple[int, int], *, planar: bool) -> NoReturn:
        raise SourceError("A tape holds detections, not pictures: this needs a run on the video.")


NO_PICTURE: Final = _NoPicture()
"""The picture of every frame on a tape."""


# --- entries ---


class HeaderEntry(msgspec.Struct, array_like=True, tag=0):
    """The first entry: whose tape it is."""

    schema_version: int
    writer: str
    source: Mapping[str, Any]
    """Fields of ``SourceInfo``."""
    model: str
    class_names: list[str]
    keypoints: int
    """Per detection."""
    settings: Mapping[str, Any]
    """Of the run, by section and name."""
    fields: Mapping[str, list[str]]
    """Names of the fields of each kind of entry, in order, so that the file says what is in it."""


Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]
State = Annotated[int, msgspec.Meta(ge=0, le=LOST)]


class FrameEntry(msgspec.Struct, array_like=True, tag=1):
    """One processed frame. ``bytes`` are packed little-endian float32; N detections, K keypoints each, M tracks."""

    frame_idx: int
    pts_ns: int
    width: int
    height: int
    cut: bool
    captured_ns: int | None
    """ns since the epoch, UTC; of a live feed."""
    age_ms: float | None
    boxes: bytes  # (N, 4) x0 y0 x1 y1 px
    scores: bytes  # (N,)
    classes: list[Int32]  # (N,)
    keypoints: bytes  # (N, K, 2) x y px
    track_ids: list[int]  # (M,)
    track_boxes: bytes  # (M, 4) x0 y0 x1 y1 px
    track_scores: bytes  # (M,)
    track_classes: list[Int32]  # (M,)
    track_states: list[State]  # (M,) 0 tentative, 1 confirmed, 2 lost
    track_rows: list[int]  # (M,) row of its detection, -1 for none
    ended: list[int]  # ids that will not be seen again
    box_counts: tuple[int, int, int, int, int] | None = None
    """What became of the model's boxes, as ``BoxCounts``; None where no model has run."""


class TrackEntry(msgspec.Struct, array_like=True, tag=2):
    """One finished track, directly behind the frame that it ended with."""

    record: TrackRecord


class ChunkEntry(msgspec.Struct, array_like=True, tag=3):
    """Up to 256 frames, all written before this entry: where they are and when they were."""

    offset: int
    """Of the first one, in bytes from the start of the file."""
    frames: int
    first_frame: int
    first_ns: int
    last_frame: int
    last_ns: int


class EndEntry(msgspec.Struct, array_like=True, tag=4):
    """The last entry of a tape that was closed."""

    frames: int
    detections: int
    tracks: int
    cuts: int
    chunks: list[ChunkEntry]


Entry = HeaderEntry | FrameEntry | TrackEntry | ChunkEntry | EndEntry
_KINDS: Final = {"header": HeaderEntry, "frame": FrameEntry, "track": TrackEntry, "chunk": ChunkEntry, "end": EndEntry}
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


def encode(*entries: Entry) -> bytes:
    """Return entries as they are in the file, lengths and checksums included."""
    payloads = map(_encoder.encode, entries)
    return b"".join(_ENTRY.pack(len(payload), zlib.crc32(payload)) + payload for payload in payloads)


def encode_trailer(end_offset: int) -> bytes:
    """Return what follows the end entry, which begins at ``end_offset``."""
    return _TRAILER.pack(end_offset, END_MAGIC)


def header_entry(info: RunInfo) -> HeaderEntry:
    """Return the header of a run's tape."""
    return HeaderEntry(
        schema_version=SCHEMA_VERSION,
        writer=f"streamtrack {version('streamtrack')}",
        source=dataclasses.asdict(info.source),
        model=info.model,
        class_names=list(info.class_names),
        keypoints=info.keypoints,
        settings=info.settings,
        fields={name: list(kind.__struct_fields__) for name, kind in _KINDS.items()},
    )


def frame_entry(result: Result) -> FrameEntry:
    """Return the entry of one processed frame."""
    frame, found, tracks = result.frame, result.detections, result.tracks
    return FrameEntry(
        frame_idx=frame.index,
        pts_ns=frame.pts_ns,
        width=frame.width,
        height=frame.height,
        cut=result.cut,
        captured_ns=frame.captured_ns,
        age_ms=result.age_ms,
        boxes=_packed(found.boxes),
        scores=_packed(found.scores),
        classes=found.classes.tolist(),
        keypoints=_packed(found.keypoints),
        track_ids=tracks.ids.tolist(),
        track_boxes=_packed(tracks.boxes),
        track_scores=_packed(tracks.scores),
        track_classes=tracks.classes.tolist(),
        track_states=tracks.states.tolist(),
        track_rows=tracks.rows.tolist(),
        ended=tracks.ended.tolist(),
        box_counts=None if result.box_counts is None else dataclasses.astuple(result.box_counts),
    )


def frame_result(entry: FrameEntry, keypoints: int) -> Result:
    """Return what ``frame_entry`` was given, save for the picture; ``keypoints`` are those of a detection."""
    found = Detections(
        unpacked(entry.boxes).reshape(-1, 4),
        unpacked(entry.scores),
        np.array(entry.classes, np.int32),
        unpacked(entry.keypoints).reshape(len(entry.classes), keypoints, 2),
    )
    tracks = TrackUpdate(
        np.array(entry.track_ids, np.int64),
        unpacked(entry.track_boxes).reshape(-1, 4),
        unpacked(entry.track_scores),
        np.array(entry.track_classes, np.int32),
        np.array(entry.track_states, np.uint8),
        np.array(entry.track_rows, np.int32),
        np.array(entry.ended, np.int64),
    )
    frame = Frame(entry.frame_idx, entry.pts_ns, entry.width, entry.height, NO_PICTURE, entry.captured_ns)
    return Result(frame, found, tracks, entry.cut, entry.age_ms, box_counts(entry))


def box_counts(entry: FrameEntry) -> BoxCounts | None:
    """Return what became of the model's boxes in a frame; None where no model has run."""
    return None if entry.box_counts is None else BoxCounts(*entry.box_counts)


def _fits(entry: FrameEntry, keypoints: int) -> bool:
    count, tracks = len(entry.classes), len(entry.track_ids)
    packed = (entry.boxes, entry.scores, entry.keypoints, entry.track_boxes, entry.track_scores)
    lengths = [16 * count, 4 * count, 8 * count * keypoints, 16 * tracks, 4 * tracks]
    lists = (entry.track_classes, entry.track_states, entry.track_rows)
    return (
        list(map(len, packed)) == lengths
        and all(len(each) == tracks for each in lists)
        and all(-1 <= row < count for row in entry.track_rows)
    )


def _packed(values: Float32Array) -> bytes:
    return values.astype("<f4", copy=False).tobytes()


def unpacked(data: bytes) -> Float32Array:
    """Return the float32 values (n,) that are packed in ``data``."""
    values: NDArray[Any] = np.frombuffer(data, "<f4")
    return values.astype(np.float32, copy=False)


# --- reading ---


class Damage(NamedTuple):
    """Bytes of a tape that say nothing."""

    offset: int
    bytes: int
    half_written: bool
    """Whether it is only the beginning of the last entry, as a run leaves it that is killed."""

    def __str__(self) -> str:
        if self.half_written:
            return f"its last entry is half written: {self.bytes} bytes at its end were left out"
        return f"{self.bytes} bytes from byte {self.offset} on are damaged and were left out"


def is_tape(path: Path) -> bool:
    """Return whether ``path`` is a file that begins as a tape does."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


class TapeFile:
    """A tape, opened for reading. Its header and its index are read at once, its frames when they are asked for."""

    def __init__(self, path: Path) -> None:
        """Open a tape.

        Raises:
            SourceOpenError: it cannot be read, is no tape, is of a later version, or has no complete header.
        """
        self.path = path
        self._damage: dict[int, Damage] = {}
        with self._open() as file:
            found = file.read(len(MAGIC))
            if found != MAGIC:
                empty = "is empty" if not found else "is not a tape: it does not begin with the bytes \\x89STAPE"
                raise SourceOpenError(f"'{path}' {empty}.")
            self.size = file.seek(0, 2)
            self.header = self._read_header(file)
            self.end = self._read_end(file)
            """None where the tape was not closed: its run was killed, or is still running."""
            self.chunks: list[ChunkEntry] = self.end.chunks if self.end else list(self._find_chunks(file))
            """The index. Without an end, what follows the last chunk is not in it."""

    @property
    def source(self) -> SourceInfo:
        """The source of the run.

        Raises:
            SourceOpenError: the header does not hold one.
        """
        try:
            return msgspec.convert(self.header.source, SourceInfo)
        except msgspec.ValidationError as error:
            raise SourceOpenError(f"'{self.path}' does not say what its source was: {error}.") from error

    @property
    def damage(self) -> list[Damage]:
        """What was met so far in reading, in the order of the file."""
        return [self._damage[offset] for offset in sorted(self._damage)]

    @property
    def complaints(self) -> list[str]:
        """What a person should know once it has been read, a sentence each."""
        unclosed = [f"'{self.path}' was not closed: its run was killed, or goes on still."] * (self.end is None)
        return [*(f"'{self.path}': {damage}." for damage in self.damage), *unclosed]

    def entries(self, offset: int | None = None) -> Iterator[tuple[int, Entry]]:
        """Yield every complete entry behind the header, and the byte where it begins.

        Args:
            offset: begin with the entry there.

        Raises:
            SourceOpenError: it cannot be read, or an entry holds something else than its kind does.
        """
        with self._open() as file:
            for place, payload in self._payloads(file, self._body if offset is None else offset):
                entry = self._decoded(place, payload)
                if isinstance(entry, FrameEntry) and not _fits(entry, self.header.keypoints):
                    raise self._foreign(place, "its arrays do not fit each other")
                if entry is not None:
                    yield place, entry
                if isinstance(entry, EndEntry):
                    return

    def frames(self, offset: int | None = None) -> Iterator[FrameEntry]:
        """Yield the entry of every frame.

        Args:
            offset: begin with the entry there.

        Raises:
            SourceOpenError: as ``entries``.
        """
        return (entry for _, entry in self.entries(offset) if isinstance(entry, FrameEntry))

    def results(self, start_ns: int | None = None, end_ns: int | None = None) -> Iterator[Result]:
        """Yield the result of every frame, or of those with ``start_ns <= pts_ns < end_ns``.

        Raises:
            SourceOpenError: as ``entries``.
        """
        for entry in self.frames(self._before(start_ns)):
            if start_ns is not None and entry.pts_ns < start_ns:
                continue
            if end_ns is not None and entry.pts_ns >= end_ns:
                return
            yield frame_result(entry, self.header.keypoints)

    def _before(self, start_ns: int | None) -> int | None:
        """Return where to begin to read for the first frame from ``start_ns`` on."""
        if start_ns is None:
            return None
        # The last one that does not begin later: where an entry of the index is lost, its frames are behind that one.
        chunk = bisect.bisect_right(self.chunks, start_ns, key=lambda chunk: chunk.first_ns) - 1
        return self.chunks[chunk].offset if chunk >= 0 else None

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        try:
            with self.path.open("rb") as file:
                yield file
        except SourceError:
            raise
        except OSError as error:
            raise SourceOpenError(f"Cannot read '{self.path}': {error.strerror}.") from error

    def _payloads(self, file: BinaryIO, offset: int) -> Iterator[tuple[int, bytes]]:
        """Yield the payloads from ``offset`` on whose checksum is right, and remember the others as damage."""
        file.seek(offset)
        while offset < self.size:
            head, rest = file.read(_ENTRY.size), self.size - offset
            length, checksum = _ENTRY.unpack(head) if len(head) == _ENTRY.size else (1, 0)
            payload = file.read(length) if length < _LARGEST else b""
            if not 0 < length == len(payload):
                # Zeros are what a file system leaves of a file that grew before a power cut.
                self._damage[offset] = Damage(offset, rest, half_written=0 < length < _LARGEST)
                return
            following = offset + _ENTRY.size + length
            if zlib.crc32(payload) == checksum:
                yield offset, payload
            else:
                self._damage[offset] = Damage(offset, following - offset, half_written=False)
            offset = following

    def _entry_at(self, file: BinaryIO, offset: int) -> Entry | None:
        """Return the entry that begins at ``offset``; None where none does."""
        payload = _payload_at(file, offset)
        return None if payload is None else self._decoded(offset, payload)

    def _decoded(self, offset: int, payload: bytes) -> Entry | None:
        """Return the entry, or None for one of a kind that is not known here."""
        try:
            entry: Entry = _decoder.decode(payload)
        except msgspec.DecodeError as error:
            if _kind(payload) >= len(_KINDS):
                return None
            raise self._foreign(offset, error) from error
        return entry

    def _foreign(self, offset: int, error: Exception | str) -> SourceOpenError:
        reason = " ".join(str(error).split()).rstrip(".")
        return SourceOpenError(f"'{self.path}', byte {offset}: the entry is not what it says it is: {reason}.")

    def _read_header(self, file: BinaryIO) -> HeaderEntry:
        payload = _payload_at(file, len(MAGIC))
        if payload is None:
            raise SourceOpenError(f"'{self.path}' is the beginning of a tape, without a complete header.")
        self._body = len(MAGIC) + _ENTRY.size + len(payload)
        if _kind(payload) != _HEADER:
            raise SourceOpenError(f"'{self.path}' does not begin with the header of a tape.")
        self._check_version(payload)
        header = self._decoded(len(MAGIC), payload)
        assert isinstance(header, HeaderEntry)
        return header

    def _check_version(self, payload: bytes) -> None:
        """Look at the version alone: of a later one nothing else need be as it is here."""
        try:
            _, found, *_ = msgspec.msgpack.decode(payload, type=list[Any])
        except (msgspec.DecodeError, ValueError) as error:
            raise self._foreign(len(MAGIC), error) from error
        if found != SCHEMA_VERSION:
            raise SourceOpenError(
                f"'{self.path}' is a tape of version {found}, and this streamtrack reads version {SCHEMA_VERSION}: "
                "read it with the streamtrack that wrote it, or with a newer one."
            )

    def _read_end(self, file: BinaryIO) -> EndEntry | None:
        if self.size < self._body + _TRAILER.size:
            return None
        file.seek(self.size - _TRAILER.size)
        offset, magic = _TRAILER.unpack(file.read(_TRAILER.size))
        if magic != END_MAGIC or not self._body <= offset < self.size:
            return None
        entry = self._entry_at(file, offset)
        return entry if isinstance(entry, EndEntry) else None

    def _find_chunks(self, file: BinaryIO) -> Iterator[ChunkEntry]:
        """Find the index of a tape without an end: hop from entry to entry, and read those of chunks alone."""
        offset = self._body
        while True:
            file.seek(offset)
            head = file.read(_ENTRY.size + _PEEK)
            length = _ENTRY.unpack_from(head)[0] if len(head) > _ENTRY.size else 0
            if not length:
                return
            if _kind(head[_ENTRY.size :]) == _CHUNK and isinstance(entry := self._entry_at(file, offset), ChunkEntry):
                yield entry
            offset += _ENTRY.size + length


def _payload_at(file: BinaryIO, offset: int) -> bytes | None:
    """Return the payload of the entry at ``offset``; None where there is none, or a damaged one."""
    file.seek(offset)
    head = file.read(_ENTRY.size)
    length, checksum = _ENTRY.unpack(head) if len(head) == _ENTRY.size else (0, 0)
    payload = file.read(length) if length < _LARGEST else b""
    return payload if 0 < length == len(payload) and zlib.crc32(payload) == checksum else None


def _kind(payload: bytes) -> int:
    """Return the kind of an entry, the first item of its array; a large number where there is none."""
    first = 1 if payload[0] >> 4 == 0x9 else 3  # a short array, else one with two bytes of length
    return payload[first] if len(payload) > first else 255
