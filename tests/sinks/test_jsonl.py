"""JSON lines that are complete at every moment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamtrack.errors import ConfigError, SinkError
from streamtrack.folder import record_files
from streamtrack.packing import Compress, unpack
from streamtrack.sinks.jsonl import JsonlSink
from streamtrack.testing.results import make_info, walk
from streamtrack.testing.sinks import SinkConformance


class TestJsonlConformance(SinkConformance):
    def make_sink(self) -> JsonlSink:
        return JsonlSink()


class TestPartsConformance(SinkConformance):
    def make_sink(self) -> JsonlSink:
        return JsonlSink(compress="gzip", rotate_s=0.1)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_records_are_on_disk_as_they_happen(tmp_path: Path) -> None:
    sink = JsonlSink()
    sink.open(make_info(tmp_path))
    expected = 0
    for frames, result in enumerate(walk(20), 1):
        sink.write(result)
        expected += len(result.detections)
        assert len(lines(tmp_path / "detections.jsonl")) == expected
        assert len(lines(tmp_path / "frames.jsonl")) == frames
        assert lines(tmp_path / "frames.jsonl")[-1] == {
            "schema_version": 1, "frame_idx": result.frame.index, "ts_s": result.frame.ts_s,
            "pts_ns": result.frame.pts_ns, "detections": len(result.detections),
            "cut": False,
        }  # fmt: skip
    ended_before_close = len(lines(tmp_path / "tracks.jsonl"))
    sink.close()
    assert ended_before_close == 1
    assert [line["track_id"] for line in lines(tmp_path / "tracks.jsonl")] == [1, 2]


def test_a_file_can_be_renamed_or_left_out(tmp_path: Path) -> None:
    sink = JsonlSink(detections="", frames="", tracks="t.jsonl")
    sink.open(make_info(tmp_path))
    for result in walk(5):
        sink.write(result)
    sink.close()
    assert [path.name for path in tmp_path.iterdir()] == ["t.jsonl"]


@pytest.mark.parametrize("name", ["../t.jsonl", "a/t.jsonl", "/tmp/t.jsonl"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SinkError, match="not a plain file name"):
        JsonlSink(tracks=name).open(make_info(tmp_path))


def test_without_a_folder_it_says_so() -> None:
    with pytest.raises(SinkError, match="--out"):
        JsonlSink().open(make_info(None))


@pytest.mark.parametrize("compress", ["none", "gzip"])
def test_parts_hold_together_what_one_file_holds(tmp_path: Path, compress: Compress) -> None:
    for name, sink in (("whole", JsonlSink()), ("parts", JsonlSink(compress=compress, rotate_s=0.2, rotate_mb=2e-3))):
        (tmp_path / name).mkdir()
        sink.open(make_info(tmp_path / name))
        for result in walk(30):
            sink.write(result)
        sink.close()
    for name in ("detections.jsonl", "frames.jsonl", "tracks.jsonl"):
        parts = record_files(tmp_path / "parts" / name)
        data = b"".join(unpack(part.read_bytes()).data for part in parts)
        assert data == (tmp_path / "whole" / name).read_bytes()
        assert len(parts) >= (1 if name == "tracks.jsonl" else 2)


def test_only_plain_files_are_a_tape_to_resume_from() -> None:
    assert JsonlSink(fsync=True, tracks="").is_tape
    for options in ({"compress": "gzip"}, {"rotate_s": 5}, {"rotate_mb": 5}, {"frames": "f.jsonl"}):
        assert not JsonlSink(**options).is_tape  # type: ignore[arg-type]


@pytest.mark.parametrize("option", ["rotate_mb", "rotate_s"])
def test_a_limit_below_nothing_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=rf"jsonl\.{option} = -1 must be 0 or more"):
        JsonlSink(**{option: -1})
