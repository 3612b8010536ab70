"""The tape as a sink: complete at every moment, and inside the run's folder."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from streamtrack.errors import SinkError
from streamtrack.sinks.msgpack import MsgpackSink
from streamtrack.tapefile import TapeFile, TrackEntry
from streamtrack.testing.results import make_info, walk
from streamtrack.testing.sinks import SinkConformance


class TestMsgpackConformance(SinkConformance):
    def make_sink(self) -> MsgpackSink:
        return MsgpackSink()


def test_frames_and_ended_tracks_are_on_disk_as_they_happen(tmp_path: Path) -> None:
    sink = MsgpackSink(path="sub/t.bin")
    sink.open(make_info(tmp_path))
    ended = 0
    for frames, result in enumerate(walk(20), 1):
        sink.write(result)
        ended += len(result.tracks.ended)
        tape = TapeFile(tmp_path / "sub" / "t.bin")
        entries = [entry for _, entry in tape.entries()]
        assert sum(isinstance(entry, TrackEntry) for entry in entries) == ended
        assert len(entries) == frames + ended
        assert (tape.end, tape.damage) == (None, [])
    sink.close()
    sink.close()
    assert ended == 1
    every = TapeFile(tmp_path / "sub" / "t.bin").entries()
    records = [entry.record for _, entry in every if isinstance(entry, TrackEntry)]
    assert [record.track_id for record in records] == [1, 2]


@pytest.mark.parametrize("path", ["../t.msgpack", "/t.msgpack", "."])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(SinkError, match="must be a file inside the run's folder"):
        MsgpackSink(path=path).open(make_info(tmp_path))


def test_fsync_waits_for_the_disk_after_every_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    for fsync, expected in ((False, 0), (True, 1 + 5 + 1)):
        synced.clear()
        sink = MsgpackSink(fsync=fsync)
        sink.open(make_info(tmp_path))
        for result in walk(5):
            sink.write(result)
        sink.close()
        assert len(synced) == expected


def fill(sink: MsgpackSink) -> None:
    for result in walk(500):
        sink.write(result)


def test_a_full_disk_leaves_complete_frames(tmp_path: Path) -> None:
    sink = MsgpackSink()
    sink.open(make_info(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.raises(SinkError, match="What was written before is complete"):
            fill(sink)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    tape = TapeFile(tmp_path / "tape.msgpack")
    kept = [result.frame.index for result in tape.results()]
    assert kept == list(range(len(kept)))
    assert len(kept) > 5
    assert tape.damage == []
    sink.close()
    assert TapeFile(tmp_path / "tape.msgpack").end is not None
