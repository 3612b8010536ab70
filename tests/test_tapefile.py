"""A tape gives back every array bit for bit, whatever of its file is left."""

from __future__ import annotations

import os
import random
import struct
import zlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.errors import SourceError, SourceOpenError
from streamtrack.sinks.msgpack import MsgpackSink
from streamtrack.tapefile import CHUNK_FRAMES, MAGIC, ChunkEntry, TapeFile, TrackEntry, encode, is_tape
from streamtrack.testing.results import make_frame, make_info, make_result, random_results, walk
from streamtrack.types import Result, RunInfo

BOX = (1.0, 2.0, 30.0, 40.0)


def record(folder: Path, results: Iterable[Result], *, close: bool = True, keypoints: int = 5) -> Path:
    sink = MsgpackSink()
    sink.open(make_info(folder, keypoints=keypoints))
    for result in results:
        sink.write(result)
    if close:
        sink.close()
    elif sink._file:
        sink._file.close()  # the run is killed
    return folder / "tape.msgpack"


def arrays(result: Result) -> list[Any]:
    found, tracks = result.detections, result.tracks
    return [*(getattr(found, name) for name in found.__slots__), *(getattr(tracks, name) for name in tracks.__slots__)]


def scalars(result: Result) -> tuple[Any, ...]:
    frame = result.frame
    return (
        frame.index,
        frame.pts_ns,
        frame.width,
        frame.height,
        frame.captured_ns,
        result.cut,
        result.age_ms,
        result.box_counts,
    )


def assert_same(found: Iterable[Result], expected: Iterable[Result]) -> None:
    for a, b in zip(found, expected, strict=True):
        assert scalars(a) == scalars(b)
        for x, y in zip(arrays(a), arrays(b), strict=True):
            assert (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())


def payloads(data: bytes) -> list[list[Any]]:
    """The slow obvious reader, from the page alone: no checks, nothing but the standard library and MessagePack."""
    assert data[:8] == b"\x89STAPE\r\n"
    at, found = 8, []
    while at < len(data):
        length, checksum = struct.unpack_from("<II", data, at)
        payload = data[at + 8 : at + 8 + length]
        assert zlib.crc32(payload) == checksum
        found.append(msgspec.msgpack.decode(payload))
        at += 8 + length
        if found[-1][0] == 4:
            assert data[at:] == struct.pack("<Q", at - 8 - length) + b"STAPEend"
            break
    return found


@given(seed=st.integers(0, 2**32), frames=st.integers(0, 12), keypoints=st.sampled_from([0, 1, 5]), live=st.booleans())
def test_everything_comes_back(
    tmp_path_factory: pytest.TempPathFactory, seed: int, frames: int, keypoints: int, live: bool
) -> None:
    results = list(random_results(seed, frames, keypoints=keypoints, live=live))
    path = record(tmp_path_factory.mktemp("tape"), results, keypoints=keypoints)
    tape = TapeFile(path)
    assert_same(tape.results(), results)
    assert (tape.damage, is_tape(path)) == ([], True)
    assert tape.end is not None
    assert (tape.end.frames, tape.end.cuts) == (frames, sum(result.cut for result in results))
    assert tape.end.tracks == sum(isinstance(entry, TrackEntry) for _, entry in tape.entries())
    assert tape.end.detections == sum(len(result.detections) for result in results)


def test_the_file_says_what_is_in_it(tmp_path: Path) -> None:
    sink = MsgpackSink()
    sink.open(replace(make_info(tmp_path), settings={"tracker": {"new_thresh": 0.7}}))
    for result in walk(8):
        sink.write(result)
    sink.close()
    header, *rest = payloads((tmp_path / "tape.msgpack").read_bytes())
    names = ["kind", "schema_version", "writer", "source", "model", "class_names", "keypoints", "settings", "fields"]
    said = dict(zip(names, header, strict=True))
    assert (said["schema_version"], said["model"], said["class_names"]) == (1, "synthetic", ["face"])
    assert said["settings"] == {"tracker": {"new_thresh": 0.7}}
    assert said["source"]["uri"] == "synthetic.mp4"
    assert said["fields"]["header"] == names[1:]
    frame = dict(zip(["kind", *said["fields"]["frame"]], rest[1], strict=True))
    assert np.frombuffer(frame["boxes"], "<f4").reshape(-1, 4).tolist() == list(walk(8))[1].detections.boxes.tolist()
    assert [entry[0] for entry in rest] == [1] * 6 + [2, 1, 1, 2, 3, 4]


def test_what_is_left_of_it_is_the_frames_that_were_complete(tmp_path: Path) -> None:
    results = list(random_results(7, 6, keypoints=2))
    whole = record(tmp_path, results, keypoints=2).read_bytes()
    tape = TapeFile(tmp_path / "tape.msgpack")
    begins = [place for place, _ in tape.entries()]
    ends = [place + 8 + struct.unpack_from("<I", whole, place)[0] for place in begins]
    frames = [end for end, (_, entry) in zip(ends, tape.entries(), strict=True) if type(entry).__name__ == "FrameEntry"]
    part = tmp_path / "part.msgpack"
    part.write_bytes(whole)
    for length in reversed(range(len(whole))):
        os.truncate(part, length)
        if length < begins[0]:
            with pytest.raises(SourceOpenError, match=r"part\.msgpack' is (empty|not a tape|the beginning)"):
                TapeFile(part)
            continue
        left = TapeFile(part)
        assert_same(left.results(), results[: sum(end <= length for end in frames)])
        half = [] if length in (begins[0], *ends) or length > ends[-1] else [True]
        assert [damage.half_written for damage in left.damage] == half
        assert left.end is None


@pytest.mark.parametrize("close", [True, False])
def test_a_time_is_found_without_reading_what_is_before(tmp_path: Path, close: bool) -> None:
    count = 3 * CHUNK_FRAMES + 10
    results = [make_result(make_frame(n, width=2, height=2), [(1, BOX)]) for n in range(count)]
    path = record(tmp_path, results, close=close)
    tape = TapeFile(path)
    assert [chunk.first_frame for chunk in tape.chunks] == [0, 256, 512, 768][: 4 if close else 3]
    assert sum(chunk.frames for chunk in tape.chunks) == (count if close else 768)
    times = [result.frame.pts_ns for result in results]
    for a, b in [(0, 0), (0, 5), (255, 257), (256, 300), (511, 770), (700, count), (5, 5)]:
        found = [result.frame.index for result in tape.results(times[a], times[b] if b < count else None)]
        assert found == list(range(a, b))
    assert list(tape.results(times[-1] + 1)) == []
    assert next(tape.results(times[300] - 1)).frame.index == 300
    # Nothing before the chunk is even looked at.
    data = bytearray(path.read_bytes())
    data[tape.chunks[0].offset + 20] ^= 1
    path.write_bytes(data)
    assert next(TapeFile(path).results(times[600])).frame.index == 600


def test_a_time_is_found_where_a_part_of_the_index_is_lost(tmp_path: Path) -> None:
    results = [make_result(make_frame(n, width=2, height=2), [(1, BOX)]) for n in range(3 * CHUNK_FRAMES)]
    path = record(tmp_path, results, close=False)
    for lost in range(3):
        data = bytearray(path.read_bytes())
        place = [place for place, entry in TapeFile(path).entries() if isinstance(entry, ChunkEntry)][lost]
        data[place + 10] ^= 1
        broken = tmp_path / "broken.msgpack"
        broken.write_bytes(data)
        tape = TapeFile(broken)
        assert len(tape.chunks) == 2
        for n in (0, 100, 300, 511, 512, 700):
            assert next(tape.results(results[n].frame.pts_ns)).frame.index == n


def test_a_damaged_entry_costs_that_entry_alone(tmp_path: Path) -> None:
    results = list(walk(10))
    path = record(tmp_path, results)
    places = [place for place, entry in TapeFile(path).entries() if type(entry).__name__ == "FrameEntry"]
    data = bytearray(path.read_bytes())
    data[places[4] + 30] ^= 0x10
    path.write_bytes(data)
    tape = TapeFile(path)
    assert_same(tape.results(), results[:4] + results[5:])
    (damage,) = tape.damage
    assert damage.offset == places[4]
    assert f"from byte {places[4]} on are damaged" in str(damage)


@pytest.mark.parametrize("offset", [0, 8, 2**40, 2**64 - 1])
def test_an_end_that_is_nowhere_is_none(tmp_path: Path, offset: int) -> None:
    results = list(walk(4))
    path = record(tmp_path, results)
    path.write_bytes(path.read_bytes()[:-16] + struct.pack("<Q8s", offset, b"STAPEend"))
    tape = TapeFile(path)
    assert tape.end is None
    assert [chunk.frames for chunk in tape.chunks] == [4]
    assert_same(tape.results(), results)


@pytest.mark.parametrize("tail", [bytes(100), b"\xff" * 100])
def test_what_a_power_cut_leaves_is_damage(tmp_path: Path, tail: bytes) -> None:
    results = list(walk(4))
    path = record(tmp_path, results, close=False)
    path.write_bytes(path.read_bytes() + tail)
    tape = TapeFile(path)
    assert_same(tape.results(), results)
    assert [(damage.bytes, damage.half_written) for damage in tape.damage] == [(100, False)]


def test_any_change_of_a_byte_is_noticed(tmp_path: Path) -> None:
    results = list(walk(6))
    whole = record(tmp_path, results).read_bytes()
    start = next(iter(TapeFile(tmp_path / "tape.msgpack").entries()))[0]
    pick = random.Random(5)
    path = tmp_path / "changed.msgpack"
    for _ in range(200):
        data = bytearray(whole)
        data[pick.randrange(start, len(whole) - 40)] ^= 1 << pick.randrange(8)
        path.write_bytes(data)
        tape = TapeFile(path)
        found = {result.frame.index: result for result in tape.results()}
        assert_same(found.values(), [results[index] for index in found])
        assert len(found) == len(results) or tape.damage or tape.end is None


def test_what_a_later_version_adds_is_passed_over(tmp_path: Path) -> None:
    results = list(walk(3))
    path = record(tmp_path, results, close=False)
    more = msgspec.msgpack.encode([77, "something new"])
    entry = struct.pack("<II", len(more), zlib.crc32(more)) + more
    header = encode(TapeFile(path).header)
    data = path.read_bytes()
    cut = len(MAGIC) + len(header)
    path.write_bytes(data[:cut] + entry + data[cut:])
    assert_same(TapeFile(path).results(), results)


def rewrite(path: Path, **changes: Any) -> None:
    """Replace what the header says."""
    tape, data = TapeFile(path), path.read_bytes()
    old, new = encode(tape.header), encode(msgspec.structs.replace(tape.header, **changes))
    path.write_bytes(data.replace(old, new))


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = record(tmp_path, walk(3), close=False)
    rewrite(path, schema_version=2, source=["another", "shape"])
    with pytest.raises(SourceOpenError, match=r"is a tape of version 2, and this streamtrack reads version 1"):
        TapeFile(path)


def test_what_is_no_tape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.msgpack"
    with pytest.raises(SourceOpenError, match=r"Cannot read .*No such file"):
        TapeFile(path)
    assert not is_tape(path)
    for data, words in (
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n", "is not a tape"),
        (MAGIC, "without a complete header"),
        (MAGIC + encode(ChunkEntry(0, 1, 0, 0, 0, 0)), "does not begin with the header"),
    ):
        path.write_bytes(data)
        with pytest.raises(SourceOpenError, match=words):
            TapeFile(path)


def test_an_entry_that_is_not_what_it_says_is_refused(tmp_path: Path) -> None:
    path = record(tmp_path, walk(3), close=False)
    place, frame = next(iter(TapeFile(path).entries()))
    whole = path.read_bytes()
    for wrong in ({"scores": b"\0" * 8}, {"track_rows": [1]}, {"track_rows": [-2]}, {"track_states": [1]}):
        path.write_bytes(whole + encode(msgspec.structs.replace(frame, **wrong)))
        with pytest.raises(SourceOpenError, match=rf"byte {len(whole)}: the entry is not what it says it is: its arr"):
            list(TapeFile(path).results())
    text = msgspec.msgpack.encode([1, "text"])
    path.write_bytes(whole[:place] + struct.pack("<II", len(text), zlib.crc32(text)) + text)
    with pytest.raises(SourceOpenError, match=rf"byte {place}: the entry is not what it says it is"):
        list(TapeFile(path).results())
    rewrite(path, source={"uri": 3})
    with pytest.raises(SourceOpenError, match="does not say what its source was"):
        _ = TapeFile(path).source


def test_there_are_no_pictures_on_it(tmp_path: Path) -> None:
    result = next(TapeFile(record(tmp_path, walk(3))).results())
    with pytest.raises(SourceError, match="holds detections, not pictures"):
        result.frame.rgb()


def test_the_source_comes_back(tmp_path: Path) -> None:
    info: RunInfo = make_info(tmp_path, rate=0.0, live=True)
    sink = MsgpackSink()
    sink.open(info)
    sink.close()
    assert TapeFile(tmp_path / "tape.msgpack").source == info.source
