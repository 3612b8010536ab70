"""JSON lines that are complete at every moment."""

from __future__ import annotations

import json
import resource
import weakref
from pathlib import Path

import pytest

from streamtrack.errors import SinkError
from streamtrack.sinks.jsonl import JsonlSink, LineFile
from streamtrack.testing.results import make_info, walk
from streamtrack.testing.sinks import SinkConformance


class TestJsonlConformance(SinkConformance):
    def make_sink(self) -> JsonlSink:
        return JsonlSink()


def fill(file: LineFile) -> None:
    for number in range(1000):
        file.write([{"number": number, "text": "x" * 50}])


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
