"""What a recording holds is told as it is, and comes out in other formats as a run would have written it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.errors import ConfigError, SinkError, SourceError
from streamtrack.inspecting import convert, inspect, open_recording
from streamtrack.sinks.jsonl import JsonlSink
from streamtrack.sinks.msgpack import MsgpackSink
from streamtrack.tapefile import FrameEntry, TapeFile, TrackEntry
from streamtrack.testing.results import make_frame, make_info, make_result, random_results, walk
from streamtrack.types import Result

RECORDS = ("detections.jsonl", "frames.jsonl", "tracks.jsonl")


def record(folder: Path, results: Iterable[Result], *, live: bool = False) -> Path:
    """Write both what a run writes and its tape."""
    folder.mkdir(exist_ok=True)
    sinks = JsonlSink(samples_per_track=3), MsgpackSink(samples_per_track=3)
    settings = {"tracker": {"new_thresh": 0.7}, "output": {"samples_per_track": 3}}
    for sink in sinks:
        sink.open(replace(make_info(folder, live=live), settings=settings))
    for result in results:
        for sink in sinks:
            sink.write(result)
    for sink in sinks:
        sink.close()
    info = make_info(folder)
    metrics = {"source": {"uri": info.source.uri, "width": 320, "height": 240, "fps": 25.0}, "model": {"name": "m"}}
    metrics["settings"] = settings
    (folder / "track_metrics.json").write_text(json.dumps(metrics))
    return folder / "tape.msgpack"


@given(st.integers(0, 2**32), st.booleans())
def test_a_tape_gives_the_records_of_its_run_to_the_byte(
    tmp_path_factory: pytest.TempPathFactory, seed: int, live: bool
) -> None:
    folder = tmp_path_factory.mktemp("run")
    tape = record(folder, random_results(seed, 5, live=live), live=live)
    convert(open_recording(tape), folder / "again")
    for name in RECORDS:
        assert (folder / "again" / name).read_bytes() == (folder / name).read_bytes()
    convert(open_recording(tape), folder / "again.msgpack")
    assert (folder / "again.msgpack").read_bytes() == tape.read_bytes()
    # The frames of a span are followed, and this one has all of them; of the whole tape its own word is taken.
    assert inspect(open_recording(tape)) == inspect(open_recording(tape), 0.0, 1e9)


def test_settings_that_cannot_be_do_not_keep_it_from_being_read(tmp_path: Path) -> None:
    sink = MsgpackSink()
    sink.open(replace(make_info(tmp_path), settings={"output": {"samples_per_track": "many"}}))
    sink.close()
    assert open_recording(tmp_path / "tape.msgpack").samples_per_track == 8


def test_a_runs_folder_gives_its_records_again(tmp_path: Path) -> None:
    record(tmp_path / "run", walk(30, tracks=3))
    convert(open_recording(tmp_path / "run"), tmp_path / "again")
    for name in RECORDS:
        lines, again = ((folder / name).read_text().splitlines() for folder in (tmp_path / "run", tmp_path / "again"))
        assert sorted(again) == sorted(lines)


def test_what_is_in_it_is_told(tmp_path: Path) -> None:
    cut = replace(make_result(make_frame(25)), cut=True)
    tape = record(tmp_path, [*walk(20), cut])
    for path in (tape, tmp_path):
        held = inspect(open_recording(path))
        assert (held.frames, held.first_frame, held.last_frame, held.cuts) == (21, 0, 25, 1)
        assert (held.start_s, held.end_s) == (0.0, 1.0)
        assert held.detections == sum(len(result.detections) for result in walk(20))
        assert [track.track_id for track in held.tracks] == [1, 2]
        assert (held.source.uri, held.keypoints, held.damage) == ("synthetic.mp4", 5, [])
    tape_held, run_held = inspect(open_recording(tape)), inspect(open_recording(tmp_path))
    assert (tape_held.kind, tape_held.closed, tape_held.chunks, tape_held.class_names) == ("tape", True, 1, ("face",))
    assert (run_held.kind, run_held.closed, run_held.chunks) == ("run", None, 0)
    assert tape_held.tracks == run_held.tracks
    assert tape_held.bytes == tape.stat().st_size


def test_a_track_that_damage_has_taken_is_told_by_its_frames(tmp_path: Path) -> None:
    tape = record(tmp_path, walk(20))
    whole = inspect(open_recording(tape))
    place = next(place for place, entry in TapeFile(tape).entries() if isinstance(entry, TrackEntry))
    data = bytearray(tape.read_bytes())
    data[place + 12] ^= 1
    tape.write_bytes(data)
    held = inspect(open_recording(tape))
    assert [damage.offset for damage in held.damage] == [place]
    assert held.tracks == whole.tracks


def test_the_tracks_of_a_run_that_was_killed_are_told_by_its_frames(tmp_path: Path) -> None:
    tape = record(tmp_path, walk(9))
    whole = inspect(open_recording(tape))
    frames = [place for place, entry in TapeFile(tape).entries() if isinstance(entry, FrameEntry)]
    last = next(place for place, entry in TapeFile(tape).entries() if place > frames[-1])
    tape.write_bytes(tape.read_bytes()[:last])
    held = inspect(open_recording(tape))
    assert (held.closed, held.damage, held.frames) == (False, [], 9)
    assert held.tracks == whole.tracks


def test_a_folder_that_holds_a_tape_alone_is_that_tape(tmp_path: Path) -> None:
    tape = record(tmp_path, walk(20))
    for name in RECORDS:
        (tmp_path / name).unlink()
    assert inspect(open_recording(tmp_path)) == inspect(open_recording(tape))


@pytest.mark.parametrize("name", ["tape.msgpack", ""])
@pytest.mark.parametrize(("start", "end", "frames"), [(0.1, 0.2, [3, 4]), (0.48, 99, [12, 13]), (0.2, 0.2, [])])
def test_a_span_of_time_is_from_here_to_before_there(
    tmp_path: Path, name: str, start: float, end: float, frames: list[int]
) -> None:
    record(tmp_path, walk(14))
    found = open_recording(tmp_path / name).results(start, end)
    assert [result.frame.index for result in found] == frames
    assert inspect(open_recording(tmp_path / name), start, end).frames == len(frames)


@pytest.mark.parametrize(("start", "end"), [(-1.0, 2.0), (3.0, 2.0), (float("nan"), 2.0)])
def test_a_span_that_is_none_is_refused(tmp_path: Path, start: float, end: float) -> None:
    recording = open_recording(record(tmp_path, walk(3)))
    with pytest.raises(ConfigError, match="There is no time from"):
        inspect(recording, start, end)


def test_damage_is_told_from_an_end_that_is_missing(tmp_path: Path) -> None:
    tape = record(tmp_path, walk(14))
    whole = tape.read_bytes()
    tape.write_bytes(whole[: len(whole) // 2])
    recording = open_recording(tape)
    held = inspect(recording)
    assert (held.closed, recording.is_damaged) == (False, False)
    assert [damage.half_written for damage in held.damage] == [True]
    assert [text.rpartition(": ")[2] for text in recording.complaints][1] == "its run was killed, or goes on still."
    tape.write_bytes(whole[: len(whole) // 2] + b"x" + whole[len(whole) // 2 + 1 :])
    recording = open_recording(tape)
    held = inspect(recording)
    assert (held.closed, recording.is_damaged, held.frames) == (True, True, 13)


def test_a_half_written_line_is_left_out_and_said(tmp_path: Path) -> None:
    record(tmp_path, walk(14))
    frames = tmp_path / "frames.jsonl"
    frames.write_bytes(frames.read_bytes()[:-9])
    recording = open_recording(tmp_path)
    assert inspect(recording).frames == 13
    assert "its last line is half written" in recording.notes[0]


@pytest.mark.parametrize(
    ("name", "sink"),
    [("a.csv", "csv"), ("a.txt", "mot"), ("a.json", "coco"), ("a.jsonl", "jsonl"), ("a.msgpack", "msgpack")],
)
def test_the_ending_says_the_format(tmp_path: Path, name: str, sink: str) -> None:
    tape = record(tmp_path / "run", walk(14))
    assert convert(open_recording(tape), tmp_path / name) == sink
    assert (tmp_path / name).stat().st_size > 100
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, "run"]


def test_records_may_be_chosen(tmp_path: Path) -> None:
    tape = record(tmp_path / "run", walk(14))
    convert(open_recording(tape), tmp_path / "a.csv", records="tracks")
    assert (tmp_path / "a.csv").read_text().startswith("track_id,")
    convert(open_recording(tape), tmp_path / "a.jsonl", records="frames")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "run" / "frames.jsonl").read_bytes()
    with pytest.raises(ConfigError, match="--records is for jsonl, csv, parquet"):
        convert(open_recording(tape), tmp_path / "a.txt", records="tracks")


def test_what_is_there_is_replaced_only_on_demand_and_as_a_whole(tmp_path: Path) -> None:
    tape = record(tmp_path / "run", walk(14))
    out = tmp_path / "a.csv"
    out.write_text("old")
    with pytest.raises(SinkError, match="exists"):
        convert(open_recording(tape), out)
    recording = open_recording(tape)
    tape.write_bytes(b"gone")
    with pytest.raises(ConfigError, match="There is no time"):
        convert(recording, out, start_s=2, end_s=1, overwrite=True)
    assert out.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "run"]


def test_the_recording_itself_is_no_place_for_it(tmp_path: Path) -> None:
    tape = record(tmp_path, walk(3))
    for out in (tape, tmp_path):
        with pytest.raises(ConfigError, match="is the recording itself"):
            convert(open_recording(tape), out, overwrite=True)


def test_bad_places_are_refused(tmp_path: Path) -> None:
    recording = open_recording(record(tmp_path, walk(3)))
    with pytest.raises(ConfigError, match=r"end in '.parqet'. Did you mean '.parquet'\?"):
        convert(recording, tmp_path / "a.parqet")
    with pytest.raises(SinkError, match="No such file"):
        convert(recording, tmp_path / "no" / "a.csv")


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    for name, words in (("x.msgpack", "is empty"), ("nothing", "Cannot read"), ("x.csv", "is no recording")):
        if name != "nothing":
            (tmp_path / name).write_bytes(b"")
        with pytest.raises(SourceError, match=words):
            open_recording(tmp_path / name)
