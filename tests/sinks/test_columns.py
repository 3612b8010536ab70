"""Every record of a run is a row, with the values that the record has."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.records import SAMPLES_PER_TRACK, TrackLedger, detection_records, frame_record
from streamtrack.sinks._columns import Records, Table
from streamtrack.testing.results import make_info, random_results, walk


def rows(table: Table, results: list[Any]) -> list[dict[str, Any]]:
    names = [column.name for column in table.columns]
    every = [row for result in results for row in table.add(result)] + list(table.finish())
    return [dict(zip(names, row, strict=True)) for row in every]


@given(st.integers(0, 2**32), st.booleans(), st.sampled_from([0, 5]))
def test_a_row_per_record(seed: int, live: bool, keypoints: int) -> None:
    results = list(random_results(seed, 6, live=live, keypoints=keypoints))
    info = make_info(None, live=live, keypoints=keypoints)
    detections = rows(Table("detections", info, 8), results)
    records = [record for result in results for record in detection_records(result)]
    assert [row["bbox"] for row in detections] == [record.bbox for record in records]
    assert [row["track_id"] for row in detections] == [record.track_id for record in records]
    assert all(("time_utc" in row, "landmarks" in row) == (live, keypoints > 0) for row in detections)
    frames = rows(Table("frames", info, 8), results)
    assert [row["pts_ns"] for row in frames] == [frame_record(result).pts_ns for result in results]


@pytest.mark.parametrize("samples", [2, SAMPLES_PER_TRACK])
def test_tracks_come_when_they_end_and_the_others_at_last(samples: int) -> None:
    results, ledger = list(walk(30)), TrackLedger(samples)
    found = rows(Table("tracks", make_info(None), samples), results)
    records = [record for result in results for record in ledger.add(result)] + ledger.finish()
    assert [row["track_id"] for row in found] == [record.track_id for record in records] == [1, 2]
    assert [(row["first_frame"], row["last_frame"]) for row in found] == [record.frame_span for record in records]
    assert [len(row["bboxes_sampled"]) for row in found] == [samples, samples]
    assert found[0]["class_name"] == "face"


@pytest.mark.parametrize("records", ["detections", "frames", "tracks"])
def test_a_flat_table_has_a_name_for_every_number(records: Records) -> None:
    table = Table(records, make_info(None, keypoints=3), 8)
    for row in [row for result in walk(20, keypoints=3) for row in table.add(result)]:
        for column, value in zip(table.columns, row, strict=True):
            if column.parts:
                numbers = [number for pair in value for number in pair] if column.pairs else value
                assert len(numbers) == len(column.parts)
