"""Records hold exactly what was computed, in constant memory."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.records import TrackLedger, detection_records, shortest
from streamtrack.testing.results import Box, make_frame, make_result, walk

BOX: Box = (1.0, 2.0, 30.5, 40.25)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20))
def test_a_float32_survives_json(values: list[float]) -> None:
    array = np.array(values, np.float32)
    text = json.dumps(shortest(array))
    assert np.array_equal(np.array(json.loads(text), np.float32), array)


def test_a_float32_is_written_short() -> None:
    assert shortest(np.array([[0.1, 281.931]], np.float32)) == [[0.1, 281.931]]


def test_a_detection_record_names_its_track_only_if_confirmed() -> None:
    frame = make_frame(50)
    result = make_result(frame, [(7, BOX)], tentative=[(9, (50.0, 50.0, 60.0, 60.0))], lost=[(3, BOX)])
    first, second = detection_records(result)
    assert (first.track_id, second.track_id) == (7, None)
    assert (first.frame_idx, first.ts_s, first.bbox) == (50, 2.0, list(BOX))
    assert len(first.landmarks) == 5
    fields = json.loads(msgspec.json.encode(first))
    assert set(fields) == {
        "schema_version", "frame_idx", "ts_s", "bbox", "conf", "class_id", "landmarks", "track_id",
    }  # fmt: skip


@pytest.mark.parametrize("frames", [1, 2, 7, 8, 9, 31, 32, 33, 100, 1000, 4097])
@pytest.mark.parametrize("most", [2, 3, 8, 20])
def test_samples_are_few_and_spread_over_the_whole_life(frames: int, most: int) -> None:
    ledger = TrackLedger(most)
    for index in range(frames):
        ledger.add(make_result(make_frame(index, width=8, height=8), [(1, BOX)]))
    (record,) = ledger.finish()
    at = [sample.frame_idx for sample in record.bboxes_sampled]
    assert len(at) == min(frames, most)
    assert (at[0], at[-1]) == (0, frames - 1) == record.frame_span
    assert at == sorted(set(at))
    gaps = np.diff(at)
    assert frames <= most or gaps.max() <= 2.5 * gaps.min() + 1
    assert record.frame_count == frames


@pytest.mark.parametrize("frames", [1, 2, 3, 9, 100, 1000])
def test_one_sample_alone_is_from_the_middle(frames: int) -> None:
    ledger = TrackLedger(1)
    for index in range(frames):
        ledger.add(make_result(make_frame(index, width=8, height=8), [(1, BOX)]))
    (sample,) = ledger.finish()[0].bboxes_sampled
    assert frames / 5 <= sample.frame_idx + 1 <= 4 * frames / 5 + 1


def test_eight_samples_are_kept_unless_somebody_says_otherwise() -> None:
    ledger = TrackLedger()
    for index in range(50):
        ledger.add(make_result(make_frame(index, width=8, height=8), [(1, BOX)]))
    assert len(ledger.finish()[0].bboxes_sampled) == 8


def test_a_record_says_what_the_track_was() -> None:
    ledger = TrackLedger()
    ledger.add(make_result(make_frame(10), [(4, BOX)], score=0.5))
    ledger.add(make_result(make_frame(20), [], lost=[(4, BOX)]))
    ledger.add(make_result(make_frame(30), [(4, BOX)], score=1.0))
    (record,) = ledger.add(make_result(make_frame(40), [], ended=[4]))
    assert (record.track_id, record.frame_span, record.frame_count, record.avg_conf) == (4, (10, 30), 2, 0.75)
    assert (record.start_s, record.end_s) == (0.4, 1.2)
    assert ledger.finish() == []


def test_every_track_of_a_story_is_recorded_once() -> None:
    ledger, ended = TrackLedger(), []
    for result in walk(60, tracks=5):
        ended += ledger.add(result)
    ended += ledger.finish()
    assert sorted(record.track_id for record in ended) == [1, 2, 3, 4, 5]


def test_a_track_never_confirmed_has_no_record() -> None:
    ledger = TrackLedger()
    assert ledger.add(make_result(make_frame(0), tentative=[(1, BOX)])) == []
    assert ledger.add(make_result(make_frame(1), ended=[1])) == []
    assert ledger.finish() == []
