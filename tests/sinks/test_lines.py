"""Lines that are complete at every moment, compressed and in parts."""

from __future__ import annotations

import json
import os
import resource
import weakref
from pathlib import Path

import pytest

from streamtrack.errors import SinkError
from streamtrack.packing import Compress, unpack
from streamtrack.sinks._lines import LineFile, LineParts
from streamtrack.types import NS_PER_S

needs_zstandard = pytest.mark.requires(module="zstandard", install="pip install 'streamtrack[zstd]'")
COMPRESSED = ["gzip", pytest.param("zstd", marks=needs_zstandard)]


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in unpack(path.read_bytes()).data.splitlines()]


def fill(file: LineFile) -> None:
    for number in range(1000):
        file.write([{"number": number, "text": "x" * 50}])


def test_nothing_is_kept_of_what_was_written(tmp_path: Path) -> None:
    file = LineFile(tmp_path / "x.jsonl")
    records = (record for record in [{"number": 1}])
    gone = weakref.ref(records)
    file.write(records)
    file.close()
    del records
    assert gone() is None


def test_a_full_disk_leaves_complete_lines(tmp_path: Path) -> None:
    file = LineFile(tmp_path / "x.jsonl")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A limit on the file's size makes the kernel refuse in the middle of a line, as a full disk does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(SinkError, match="What was written before is complete"):
            fill(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    kept = lines(tmp_path / "x.jsonl")
    assert [line["number"] for line in kept] == list(range(len(kept)))
    assert len(kept) > 5
    file.write([{"number": len(kept)}])
    file.close()
    assert [line["number"] for line in lines(tmp_path / "x.jsonl")] == list(range(len(kept) + 1))


@pytest.mark.parametrize("compress", COMPRESSED)
def test_a_full_disk_leaves_complete_lines_in_compressed_files_too(tmp_path: Path, compress: Compress) -> None:
    file = LineFile(tmp_path / "x.jsonl", compress=compress)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(SinkError, match="What was written before is complete"):
            fill(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (path,) = tmp_path.iterdir()
    kept = lines(path)
    assert [line["number"] for line in kept] == list(range(len(kept)))
    assert len(kept) > 20
    with pytest.raises(SinkError, match="could not be written before"):
        file.write([{"number": 0}])
    file.close()
    assert lines(path) == kept


@pytest.mark.parametrize("compress", ["none", *COMPRESSED])
def test_a_line_can_be_read_when_it_is_written(tmp_path: Path, compress: Compress) -> None:
    file = LineFile(tmp_path / "x.jsonl", compress=compress)
    (path,) = tmp_path.iterdir()
    assert path.name == {"none": "x.jsonl", "gzip": "x.jsonl.gz", "zstd": "x.jsonl.zst"}[compress]
    for number in range(50):
        file.write([{"number": number}])
        assert lines(path)[-1] == {"number": number}
        assert unpack(path.read_bytes()).whole is (compress == "none")
    file.close()
    file.close()
    assert unpack(path.read_bytes()).whole
    assert len(lines(path)) == 50


def numbers(folder: Path) -> dict[str, list[object]]:
    return {path.name: [line["n"] for line in lines(path)] for path in sorted(folder.iterdir())}


def test_a_part_ends_where_it_is_large_enough(tmp_path: Path) -> None:
    parts = LineParts(tmp_path / "x.jsonl", rotate_mb=40e-6, compress="none", fsync=False)
    for n in range(7):
        parts.write([{"n": n}, {"n": n, "more": 1}], n)
    parts.close()
    found = numbers(tmp_path)
    assert list(found) == [f"x-{k:05}.jsonl" for k in range(1, len(found) + 1)]
    # What belongs to one frame stays together.
    assert list(found.values()) == [[0, 0, 1, 1], [2, 2, 3, 3], [4, 4, 5, 5], [6, 6]]


def test_a_part_ends_at_multiples_of_media_time(tmp_path: Path) -> None:
    parts = LineParts(tmp_path / "x.jsonl", rotate_s=2, compress="none", fsync=False)
    for n in (0, 1, 2, 3, 9, 10):
        parts.write([{"n": n}], n * NS_PER_S + 1)
        parts.write([], n * NS_PER_S + 1)
    parts.write([{"n": "end"}])
    parts.close()
    assert list(numbers(tmp_path).values()) == [[0, 1], [2, 3], [9], [10, "end"]]


def test_only_the_last_part_is_open(tmp_path: Path) -> None:
    parts = LineParts(tmp_path / "x.jsonl", rotate_s=1, compress="gzip", fsync=False)
    for n in range(3):
        parts.write([{"n": n}], n * NS_PER_S)
    whole = [unpack(path.read_bytes()).whole for path in sorted(tmp_path.iterdir())]
    parts.close()
    assert whole == [True, True, False]


def test_fsync_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    for fsync, expected in ((False, 0), (True, 2)):
        file = LineFile(tmp_path / "x.jsonl", fsync=fsync)
        file.write([{"n": 1}])
        file.write([{"n": 2}])
        file.close()
        assert len(synced) == expected
