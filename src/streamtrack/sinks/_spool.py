"""A queue on disk: what is appended is read in the same order until it is acknowledged, also by a later process.

A spool is a folder of segments, ``FIRST.spool`` by the sequence number of their first entry, beside a ``cursor`` and a
``lock``. An entry is a head of 16 bytes, little endian, and a payload:

| bytes | what |
|---|---|
| 4 | length of the payload |
| 4 | CRC-32 of the sequence number and the payload |
| 8 | sequence number: within a segment each is one more than the one before |

The cursor is the sequence number of the first entry that was not acknowledged and its CRC-32. A cursor that was lost
costs repeats, never entries. What a process that was killed had half written is the end of a segment, and is ignored.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

_HEAD: Final = struct.Struct("<IIQ")
_CURSOR: Final = struct.Struct("<QI")
_SUFFIX: Final = ".spool"
_SEGMENTS: Final = 8
"""Into how many segments a full spool is divided: room is made a segment at a time."""


class InUse(Exception):
    """Another process has the spool open; ``str()`` is its id, or ``""``."""


class Entry(NamedTuple):
    """One appended payload, and where it ends."""

    sequence: int
    payload: bytes
    segment: int
    end: int


class _Segment:
    """One file; its descriptor is opened when it is first needed."""

    __slots__ = ("_descriptor", "count", "first", "path", "size")

    def __init__(self, folder: Path, first: int) -> None:
        self.first = first
        self.path = folder / f"{first:020d}{_SUFFIX}"
        self.size = self.count = 0
        self._descriptor = -1

    @property
    def descriptor(self) -> int:
        if self._descriptor < 0:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._descriptor

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def payload(self, offset: int, sequence: int) -> bytes | None:
        """Return the payload of the entry at ``offset``; None where there is no whole entry ``sequence``."""
        head = os.pread(self.descriptor, _HEAD.size, offset)
        if len(head) < _HEAD.size:
            return None
        length, check, found = _HEAD.unpack(head)
        # Damage may claim any length: no more is read than the file has.
        if found != sequence or length > os.fstat(self.descriptor).st_size - offset - _HEAD.size:
            return None
        payload = os.pread(self.descriptor, length, offset + _HEAD.size)
        return payload if len(payload) == length and _checksum(sequence, payload) == check else None

    def recover(self) -> bool:
        """Find how much of the file is whole; return whether all of it is."""
        while (payload := self.payload(self.size, self.first + self.count)) is not None:
            self.size += _HEAD.size + len(payload)
            self.count += 1
        whole = os.fstat(self.descriptor).st_size == self.size
        self.close()
        return whole


def _checksum(sequence: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(sequence.to_bytes(8, "little")))


class Spool:
    """The queue. Not safe for threads: its owner has a lock.

    Args:
        folder: created when it is opened, removed when it is closed with nothing in it.
        max_bytes: what its segments may take in all; see ``has_room``.
        fsync: put every append through to the disk, so that it outlives the machine and not only the process.

    Every method raises ``OSError`` where the disk refuses; an append that fails leaves what was there before.
    """

    def __init__(self, folder: Path, *, max_bytes: int, fsync: bool = False) -> None:
        self.folder = folder
        self.waiting = 0
        """Entries that were appended and not acknowledged."""
        self.torn = 0
        """Segments whose end was not whole when the spool was opened."""
        self._max_bytes, self._fsync = max_bytes, fsync
        self._segments: deque[_Segment] = deque()
        self._writing: _Segment | None = None
        self._bytes = 0
        self._next = self._head = 1
        self._offset = 0
        self._lock = self._cursor = -1

    def open(self) -> None:
        """Take the folder for this process, and find what earlier ones left there.

        Raises:
            InUse: another process has it.
        """
        self._take_lock()
        try:
            self._cursor = os.open(self.folder / "cursor", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._head = self._read_cursor()
            for path in sorted(self.folder.glob(f"*{_SUFFIX}")):
                self._recover(_Segment(self.folder, int(path.stem)))
            self._next = max(self._next, self._head)
            self._skip_acknowledged()
        except BaseException:
            self._release()
            raise

    def _take_lock(self) -> None:
        path = self.folder / "lock"
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = os.pread(descriptor, 32, 0).decode("ascii", "replace")
                os.close(descriptor)
                raise InUse(owner) from None
            # Whoever had it may have removed the file in between; then the lock is of a file that nobody finds.
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, str(os.getpid()).encode(), 0)
                self._lock = descriptor
                return
            os.close(descriptor)

    def _read_cursor(self) -> int:
        data = os.pread(self._cursor, _CURSOR.size, 0)
        if len(data) < _CURSOR.size:
            return 1
        sequence, check = _CURSOR.unpack(data)
        return int(sequence) if _checksum(sequence, b"") == check else 1

    def _recover(self, segment: _Segment) -> None:
        self.torn += not segment.recover()
        last = segment.first + segment.count
        if last <= max(self._head, segment.first):
            segment.path.unlink()
        else:
            self._segments.append(segment)
            self._bytes += segment.size
            self.waiting += last - max(self._head, segment.first)
        self._next = max(self._next, last)

    def _skip_acknowledged(self) -> None:
        """Set the reading position to the first entry at or after the cursor."""
        if not self._segments:
            return
        first = self._segments[0]
        self._offset, sequence = 0, first.first
        while sequence < self._head:
            self._offset += _HEAD.size + len(first.payload(self._offset, sequence) or b"")
            sequence += 1
        self._head = sequence

    def has_room(self, size: int) -> bool:
        """Return whether ``size`` more bytes of payload keep the spool within its bound; an empty one takes any."""
        return not self.waiting or self._bytes + size + _HEAD.size <= self._max_bytes

    def append(self, payloads: Sequence[bytes]) -> None:
        """Append ``payloads`` in this order, beyond the bound if need be."""
        data = bytearray()
        for sequence, payload in enumerate(payloads, self._next):
            data += _HEAD.pack(len(payload), _checksum(sequence, payload), sequence)
            data += payload
        segment = self._segment_to_write()
        self._write(segment, data)
        segment.size += len(data)
        segment.count += len(payloads)
        self._bytes += len(data)
        self._next += len(payloads)
        self.waiting += len(payloads)

    def _segment_to_write(self) -> _Segment:
        full = self._writing is not None and self._writing.size >= self._max_bytes // _SEGMENTS
        if self._writing is None or full:
            segment = _Segment(self.folder, self._next)
            if os.fstat(segment.descriptor).st_size:
                # One of this name held nothing that was whole.
                os.ftruncate(segment.descriptor, 0)
            if not self._segments:
                self._head, self._offset = self._next, 0
            self._segments.append(segment)
            self._writing = segment
            if self._fsync:
                _sync_folder(self.folder)
            self._drop_read()
        return self._writing

    def _write(self, segment: _Segment, data: bytearray) -> None:
        written = 0
        try:
            with memoryview(data) as view:
                while written < len(data):
                    written += os.pwrite(segment.descriptor, view[written:], segment.size + written)
            if self._fsync:
                os.fsync(segment.descriptor)
        except OSError:
            os.ftruncate(segment.descriptor, segment.size)
            raise

    def peek(self, limit: int, max_bytes: int) -> list[Entry]:
        """Return the oldest entries that were not acknowledged.

        Args:
            limit: no more than this many.
            max_bytes: and no more bytes of payload, save that one is always returned.
        """
        entries: list[Entry] = []
        total, sequence, offset = 0, self._head, self._offset
        for segment in list(self._segments):
            if segment is not self._segments[0]:
                sequence, offset = segment.first, 0
            while len(entries) < limit and sequence < segment.first + segment.count:
                payload = segment.payload(offset, sequence)
                if payload is None:
                    raise OSError(f"entry {sequence} of '{segment.path}' has changed since it was written")
                total += len(payload)
                if entries and total > max_bytes:
                    return entries
                offset += _HEAD.size + len(payload)
                entries.append(Entry(sequence, payload, segment.first, offset))
                sequence += 1
        return entries

    def acknowledge(self, entry: Entry) -> int:
        """Forget everything up to ``entry``; return how many entries that were (0 where it was dropped before)."""
        if entry.sequence < self._head:
            return 0
        gone = 0
        while self._segments[0].first != entry.segment:
            gone += self._unread(self._segments[0])
            self._forget_first()
        gone += entry.sequence + 1 - max(self._head, self._segments[0].first)
        self.waiting -= gone
        self._head, self._offset = entry.sequence + 1, entry.end
        self._drop_read()
        self._write_cursor()
        return gone

    def _unread(self, segment: _Segment) -> int:
        return segment.first + segment.count - max(self._head, segment.first)

    def _drop_read(self) -> None:
        """Remove segments of which nothing is waiting, save the one that is being written."""
        while len(self._segments) > 1 and not self._unread(self._segments[0]):
            self._forget_first()

    def _forget_first(self) -> None:
        segment = self._segments.popleft()
        segment.close()
        segment.path.unlink(missing_ok=True)
        self._bytes -= segment.size
        if segment is self._writing:
            self._writing = None
        self._head = max(self._head, self._segments[0].first if self._segments else self._next)
        self._offset = 0

    def drop_oldest(self) -> int:
        """Drop the oldest segment; return how many entries that were still waiting went with it."""
        if not self._segments:
            return 0
        dropped = self._unread(self._segments[0])
        self.waiting -= dropped
        self._forget_first()
        self._write_cursor()
        return dropped

    def _write_cursor(self) -> None:
        os.pwrite(self._cursor, _CURSOR.pack(self._head, _checksum(self._head, b"")), 0)

    def close(self) -> None:
        """Release the folder; remove it where nothing is waiting in it."""
        if self._lock < 0:
            return
        if not self.waiting:
            while self._segments:
                self._forget_first()
            for name in ("cursor", "lock"):
                (self.folder / name).unlink(missing_ok=True)
            self._remove_empty()
        self._release()

    def _remove_empty(self) -> None:
        try:
            self.folder.rmdir()
        except OSError:
            # Somebody else's file, or somebody who takes it over already.
            return

    def _release(self) -> None:
        for segment in self._segments:
            segment.close()
        for descriptor in (self._cursor, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._cursor = self._lock = -1


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
