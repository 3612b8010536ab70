"""``tape.msgpack``: everything that a run computed, bit for bit, in one compact file that can be sought by time."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from streamtrack.folder import TAPE
from streamtrack.records import SAMPLES_PER_TRACK, TrackLedger
from streamtrack.sinks._files import AppendFile, check_at_least_one, make_folder, resolve_inside, run_folder
from streamtrack.tapefile import (
    CHUNK_FRAMES,
    MAGIC,
    ChunkEntry,
    EndEntry,
    TrackEntry,
    encode,
    encode_trailer,
    frame_entry,
    header_entry,
)
from streamtrack.types import Result, RunInfo


class MsgpackSink:
    """Writes the tape that ``streamtrack.tapefile`` describes; ``retrack``, ``replay:`` and ``inspect`` read it.

    Args:
        path: file inside the run's folder.
        fsync: wait after every frame until it is on the disk.
        samples_per_track: boxes kept of each track in its record, 1 or more.

    Raises:
        ConfigError: ``samples_per_track`` is below 1.
    """

    when_full: ClassVar = "wait"
    """A tape with gaps could not be tracked again as the run was."""

    def __init__(self, *, path: str = TAPE, fsync: bool = False, samples_per_track: int = SAMPLES_PER_TRACK) -> None:
        self._name = path
        self._fsync = fsync
        self._file: AppendFile | None = None
        self._ledger = TrackLedger(check_at_least_one("msgpack.samples_per_track", samples_per_track))
        self._chunk: ChunkEntry | None = None
        self._end = EndEntry(frames=0, detections=0, tracks=0, cuts=0, chunks=[])

    def open(self, info: RunInfo) -> None:
        """Create the file with its header.

        Raises:
            SinkError: the run has no folder, the path leaves it, or the disk refused.
        """
        path = resolve_inside(run_folder(info, "msgpack"), self._name, "msgpack")
        make_folder(path.parent)
        self._file = AppendFile(path, fsync=self._fsync)
        self._file.write(MAGIC + encode(header_entry(info)))

    def write(self, result: Result) -> None:
        """Append the frame, the tracks that ended with it, and after every 256th frame where those are.

        Raises:
            SinkError: the disk refused; the frames before stay.
        """
        if self._file is None:
            return
        tracks = self._ledger.add(result)
        chunk = self._chunk_with(result, self._file.size)
        is_full = chunk.frames == CHUNK_FRAMES
        self._file.write(encode(frame_entry(result), *map(TrackEntry, tracks), *[chunk] * is_full))
        self._chunk = None if is_full else chunk
        end = self._end
        if is_full:
            end.chunks.append(chunk)
        end.frames += 1
        end.detections += len(result.detections)
        end.tracks += len(tracks)
        end.cuts += result.cut

    def _chunk_with(self, result: Result, offset: int) -> ChunkEntry:
        index, pts_ns, chunk = result.frame.index, result.frame.pts_ns, self._chunk
        if chunk is None:
            return ChunkEntry(offset, 1, index, pts_ns, index, pts_ns)
        return msgspec.structs.replace(chunk, frames=chunk.frames + 1, last_frame=index, last_ns=pts_ns)

    def close(self) -> None:
        """Append the tracks still alive and the index, and close.

        Raises:
            SinkError: the disk refused; every frame stays, without an index.
        """
        file, self._file = self._file, None
        if file is None:
            return
        try:
            tracks = self._ledger.finish()
            last = [self._chunk] if self._chunk else []
            self._end.tracks += len(tracks)
            self._end.chunks += last
            rest = encode(*map(TrackEntry, tracks), *last)
            file.write(rest + encode(self._end) + encode_trailer(file.size + len(rest)))
        finally:
            file.close()
