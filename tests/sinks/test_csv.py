"""Rows that any reader of CSV takes apart again, complete at every moment."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.errors import SinkError
from streamtrack.records import detection_records
from streamtrack.sinks._columns import Records
from streamtrack.sinks.csv import CsvSink
from streamtrack.testing.results import make_info, random_results, walk
from streamtrack.testing.sinks import SinkConformance
from streamtrack.types import Result, RunInfo


class TestCsvConformance(SinkConformance):
    def make_sink(self) -> CsvSink:
        return CsvSink()


class TestTracksConformance(SinkConformance):
    def make_sink(self) -> CsvSink:
        return CsvSink(records="tracks", path="tables/who.csv")


def write(info: RunInfo, results: list[Result], **options: Any) -> None:
    sink = CsvSink(**options)
    sink.open(info)
    for result in results:
        sink.write(result)
    sink.close()


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


@given(st.integers(0, 2**32), st.booleans(), st.sampled_from([0, 2]))
def test_every_number_comes_back(
    tmp_path_factory: pytest.TempPathFactory, seed: int, live: bool, keypoints: int
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    results = list(random_results(seed, 5, live=live, keypoints=keypoints))
    write(make_info(folder, live=live, keypoints=keypoints), results)
    rows = read(folder / "detections.csv")
    records = [record for result in results for record in detection_records(result)]
    for names, arrays in (
        (["x0", "y0", "x1", "y1"], [result.detections.boxes for result in results]),
        (["conf"], [result.detections.scores.reshape(-1, 1) for result in results]),
        (
            [f"landmark{k}_{axis}" for k in range(keypoints) for axis in "xy"],
            [r.detections.keypoints.reshape(len(r.detections), 2 * keypoints) for r in results],
        ),
    ):
        cells = np.array([[row[name] for name in names] for row in rows]).reshape(len(rows), len(names))
        assert np.array_equal(cells.astype(np.float32), np.concatenate(arrays))
    assert [row["track_id"] for row in rows] == ["" if r.track_id is None else f"{r.track_id}" for r in records]
    assert [row["frame_idx"] for row in rows] == [f"{record.frame_idx}" for record in records]
    if live:
        assert [row["time_utc"] for row in rows] == [record.time_utc for record in records]


def test_rows_are_as_the_standard_has_them(tmp_path: Path) -> None:
    info = replace(make_info(tmp_path, keypoints=0), class_names=('a "b", c\nd',))
    write(info, list(walk(3, keypoints=0)))
    data = (tmp_path / "detections.csv").read_bytes()
    assert data.startswith(b"frame_idx,ts_s,track_id,class_id,class_name,conf,x0,y0,x1,y1\r\n")
    assert b'"a ""b"", c\nd"' in data
    assert data.endswith(b"\r\n")
    assert {row["class_name"] for row in read(tmp_path / "detections.csv")} == {'a "b", c\nd'}


@pytest.mark.parametrize(
    ("records", "columns"),
    [
        ("frames", "frame_idx,ts_s,pts_ns,detections,cut"),
        (
            "tracks",
            "track_id,class_id,class_name,first_frame,last_frame,start_s,end_s,frame_count,avg_conf",
        ),
    ],
)
def test_other_records_have_other_columns(tmp_path: Path, records: Records, columns: str) -> None:
    write(make_info(tmp_path), list(walk(20)), records=records)
    assert (tmp_path / f"{records}.csv").read_text().splitlines()[0] == columns
    assert len(read(tmp_path / f"{records}.csv")) == {"frames": 20, "tracks": 2}[records]


def test_rows_are_on_disk_as_they_happen(tmp_path: Path) -> None:
    sink, expected = CsvSink(), 0
    sink.open(make_info(tmp_path))
    for result in walk(10):
        sink.write(result)
        expected += len(result.detections)
        assert len(read(tmp_path / "detections.csv")) == expected
    sink.close()
    assert expected > 10


def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="must be a file inside the run's folder"):
        CsvSink(path="../x.csv").open(make_info(tmp_path))
