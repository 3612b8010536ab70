"""Parameters refuse what cannot be, and say which value it was."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.params import DetectorParams, TrackerParams

KINDS = [TrackerParams, DetectorParams]


@pytest.mark.parametrize("kind", KINDS)
def test_the_defaults_pass_their_own_checks(kind: type[msgspec.Struct]) -> None:
    assert msgspec.convert(msgspec.to_builtins(kind()), kind) == kind()


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_key_is_refused(kind: type[msgspec.Struct]) -> None:
    with pytest.raises(msgspec.ValidationError, match="high_tresh"):
        msgspec.convert({"high_tresh": 0.5}, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_cannot_be_changed(kind: type[msgspec.Struct]) -> None:
    name = msgspec.structs.fields(kind)[0].name
    with pytest.raises(AttributeError):
        setattr(kind(), name, 0.5)


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        (TrackerParams, "high_thresh", 1.01),
        (TrackerParams, "low_thresh", -0.01),
        (TrackerParams, "match_thresh", "0.7"),
        (TrackerParams, "fuse_score", 1),
        (TrackerParams, "track_buffer", 0),
        (TrackerParams, "max_gap_s", 0.0),
        (DetectorParams, "confidence_th", 2),
        (DetectorParams, "nms_iou", -1),
        (DetectorParams, "min_size", -0.5),
        (DetectorParams, "max_detections", 0),
        (DetectorParams, "max_detections", 1.5),
    ],
)
def test_the_error_names_the_value_that_cannot_be(kind: type[msgspec.Struct], key: str, value: Any) -> None:
    with pytest.raises(msgspec.ValidationError, match=rf"\$\.{key}`$"):
        msgspec.convert({key: value}, kind)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(1e-9, 1e9))
def test_every_value_in_range_is_taken_as_it_is(threshold: float, overlap: float, gap: float) -> None:
    tracker = msgspec.convert({"high_thresh": threshold, "max_gap_s": gap}, TrackerParams)
    detector = msgspec.convert({"confidence_th": threshold, "nms_iou": overlap}, DetectorParams)
    assert (tracker.high_thresh, tracker.max_gap_s) == (threshold, gap)
    assert (detector.confidence_th, detector.nms_iou) == (threshold, overlap)


def test_the_detector_lets_through_what_the_tracker_can_use() -> None:
    # ByteTrack's second association lives on weak detections.
    assert DetectorParams().confidence_th <= TrackerParams().low_thresh < TrackerParams().high_thresh
