"""Vectors and their lines, in step at every moment: after each write, after a full disk, after a kill."""

from __future__ import annotations

import errno
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.errors import SinkError
from streamtrack.sinks import _table
from streamtrack.sinks._table import HEADER, VectorTable, header


def vectors(count: int, dimension: int = 3, start: int = 0) -> np.ndarray:
    return np.arange(start, start + count * dimension, dtype=np.float32).reshape(count, dimension)


def lines(folder: Path) -> list[int]:
    return [json.loads(line) for line in (folder / "t.jsonl").read_text().splitlines()]


def table(folder: Path, dimension: int = 3) -> VectorTable:
    return VectorTable(folder / "t.npy", folder / "t.jsonl", dimension)


@pytest.mark.parametrize("mode", [None, "r"])
def test_the_files_can_be_read_after_every_write(tmp_path: Path, mode: str | None) -> None:
    """A second reader stands for whoever finds them after a kill: nothing is held back."""
    written = table(tmp_path)
    for count in (0, 1, 4, 2):
        before = len(written)
        written.append(vectors(count, start=3 * before), list(range(before, before + count)))
        found = np.load(tmp_path / "t.npy", mmap_mode=mode)
        assert (found.dtype, found.shape) == (np.float32, (before + count, 3))
        np.testing.assert_array_equal(found, vectors(before + count))
        assert lines(tmp_path) == list(range(before + count))
    written.close()
    assert len(np.load(tmp_path / "t.npy")) == len(written) == 7


def test_a_table_without_rows_is_an_array_without_rows(tmp_path: Path) -> None:
    table(tmp_path, 128).close()
    assert np.load(tmp_path / "t.npy").shape == (0, 128)
    assert lines(tmp_path) == []


@given(st.integers(0, 2**63 - 1), st.integers(1, 2**31 - 1))
def test_the_header_is_numpys_and_never_grows(rows: int, dimension: int) -> None:
    data = header(rows, dimension)
    assert len(data) == HEADER
    file = io.BytesIO(data)
    assert np.lib.format.read_magic(file) == (1, 0)
    assert np.lib.format.read_array_header_1_0(file) == ((rows, dimension), False, np.dtype("<f4"))
    assert file.tell() == HEADER


@pytest.mark.parametrize("dies_at", range(6))
def test_a_process_killed_between_two_writes_leaves_whole_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    """Of each append there are three writes: rows, lines, header."""
    written, calls = table(tmp_path), iter(range(100))

    class Killed(BaseException):
        pass

    def or_die() -> None:
        if next(calls) == dies_at:
            raise Killed

    pwrite, write_lines = os.pwrite, written._lines.write
    monkeypatch.setattr(_table.os, "pwrite", lambda *a: (or_die(), pwrite(*a))[1])
    monkeypatch.setattr(written._lines, "write", lambda records: (or_die(), write_lines(records))[1])
    appends = (written.append(vectors(2, start=6 * n), [2 * n, 2 * n + 1]) for n in range(2))
    with pytest.raises(Killed):
        list(appends)
    found = np.load(tmp_path / "t.npy")
    np.testing.assert_array_equal(found, vectors(2 * (dies_at // 3)))
    assert lines(tmp_path)[: len(found)] == list(range(len(found)))
    assert len(lines(tmp_path)) - len(found) == (2 if dies_at % 3 == 2 else 0)
    monkeypatch.undo()
    written.close()


def test_a_full_disk_leaves_what_was_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = table(tmp_path)
    written.append(vectors(2), [0, 1])
    pwrite = os.pwrite

    def half(file: int, data: bytes, offset: int) -> int:
        if len(data) < 30:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(file, data[:20], offset)

    monkeypatch.setattr(_table.os, "pwrite", half)
    with pytest.raises(SinkError, match=r"t\.npy': No space left"):
        written.append(vectors(4, start=6), [2, 3, 4, 5])
    monkeypatch.undo()
    assert (tmp_path / "t.npy").stat().st_size == HEADER + 2 * 12
    assert lines(tmp_path) == [0, 1]
    written.append(vectors(1, start=6), [2])
    written.close()
    np.testing.assert_array_equal(np.load(tmp_path / "t.npy"), vectors(3))


def test_rows_whose_lines_cannot_be_written_are_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = table(tmp_path)

    def full(records: object) -> None:
        raise SinkError("full")

    monkeypatch.setattr(written._lines, "write", full)
    with pytest.raises(SinkError, match="full"):
        written.append(vectors(2), [0, 1])
    written.close()
    assert (tmp_path / "t.npy").stat().st_size == HEADER
    assert np.load(tmp_path / "t.npy").shape == (0, 3)


@pytest.mark.parametrize("blocked", ["t.npy", "t.jsonl"])
def test_files_that_cannot_be_created_are_a_sink_error(tmp_path: Path, blocked: str) -> None:
    (tmp_path / blocked).mkdir()
    with pytest.raises(SinkError, match=blocked):
        table(tmp_path)
