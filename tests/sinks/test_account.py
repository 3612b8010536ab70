from typing import Any

import msgspec
import pytest

from streamtrack.metrics import DetectorMetrics
from streamtrack.sinks import _account
from streamtrack.speed import SpeedMetrics, SpeedSpan

from .report_samples import LATENCY, make_told


def ledger(**changes: int) -> dict[str, int]:
    return {**make_told()["frame_ledger"], **changes}


def live(**changes: Any) -> dict[str, Any]:
    told = make_told(**changes)
    told["source"] |= {"live": True, "reconnects": 2}
    return told


def span(fps: float) -> SpeedSpan:
    return SpeedSpan(from_s=0, to_s=60, frames=1, fps=fps, frames_per_cpu_s=fps)


SMALL = DetectorMetrics(candidates=9, suppressed=0, too_small=6, beyond_max=0, kept=3, threshold=None)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (make_told(), []),
        (make_told(status="interrupted", error="interrupted"), ["The run was interrupted. What follows was found"]),
        (make_told(status="failed", error="SinkError: full"), ["The run failed: SinkError: full. What follows"]),
        (make_told(frame_ledger=ledger(corrupt=3)), ["3 of 250 source frames could not be decoded."]),
        (make_told(frame_ledger=ledger(dropped_queue=2)), []),
        (
            live(frame_ledger=ledger(dropped_stale=1, dropped_queue=2)),
            ["The feed was lost and found again; times: 2.", "3 of 250 source frames were dropped"],
        ),
        (make_told(detector=SMALL), ["6 boxes were refused for their size, more than the 3 kept: detector.min_size"]),
        (make_told(speed=SpeedMetrics(first=span(20), last=span(10))), ["The last minute was 50 % slower"]),
        (live(speed=SpeedMetrics(first=span(20), last=span(10))), ["The feed was lost and found again; times: 2."]),
        (make_told(warnings=("output.save_frames: much",)), ["output.save_frames: much"]),
    ],
)
def test_a_reader_is_warned(told: dict[str, Any], said: list[str]) -> None:
    found = list(_account.warnings(told))
    assert len(found) == len(said)
    assert all(text.startswith(start) for text, start in zip(found, said, strict=True))


def test_where_frames_boxes_and_crops_went() -> None:
    page = "".join(_account.where_it_went(make_told()))
    assert "left out by stride or fps: 200" in page
    assert "Of 100 boxes over the threshold, 65 detections" in page
    assert "Of 40 candidates, 7 kept" in page
    for text in (
        "detector.nms = hard",
        "detector.min_size = 64 px",
        "too weak for the light",
        "crops.min_size = 50 px",
    ):
        assert text in page
    assert "detector.max_detections" not in page, "what refused nothing is no gate worth a row"


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({"candidates": 0, "kept": 0}, "There were no candidates."),
        ({"embedded": 3, "tracks_of": 4}, "3 embedded, 4 tracks of."),
        ({"candidates": 2, "odd_ones": 2, "kept": 0}, "odd ones"),
    ],
)
def test_sinks_of_others_are_shown_as_they_count(counts: dict[str, int], text: str) -> None:
    page = "".join(_account.where_it_went(make_told(sinks={"<mine>": counts})))
    assert "<h3>&lt;mine&gt;</h3>" in page
    assert text in page


def test_a_run_that_never_began_has_an_account_too() -> None:
    told = make_told(
        status="failed", error="x", source=None, detector=None, stages={}, settings={}, settings_from={}, sinks={},
        frame_ledger=dict.fromkeys(ledger(), 0),
    )  # fmt: skip
    page = "".join([*_account.where_it_went(told), *_account.speed(told), *_account.chosen(told)])
    assert "<svg" not in page
    assert "<p>All are.</p>" in page


def test_speed_names_the_busiest_stage_and_latency_where_there_is_one() -> None:
    page = "".join(_account.speed(make_told()))
    assert "the busiest was <b>infer</b>" in page
    assert "4.0 s, 80.00 ms each" in page
    assert "camera" not in page
    assert "81 ms (median), 120 ms (95 %)" in "".join(_account.speed(make_told(latency=LATENCY)))


def test_settings_that_are_the_defaults_are_left_out_and_units_are_shown() -> None:
    told = make_told()
    told["settings_from"] |= {"detector.min_size": "profile balanced", "mine.own": "environment"}
    page = "".join(_account.chosen(told))
    assert "<td>source.stride</td><td>5</td><td>command line</td>" in page
    assert "<td>detector.min_size</td><td>64 px</td>" in page
    assert "<td>mine.own</td>" in page
    assert "source.fps" not in page, "0 is the default, whoever set it"


def test_the_model_is_told_without_places_of_this_machine() -> None:
    told = make_told(passed_over=())
    told["passed_over"] = [{"backend": "tensorrt", "device": "cuda", "reason": "no <driver>"}]
    page = "".join(_account.chosen(told))
    assert "yunet, sha256 0123456789abcdef…" in page
    assert "/a/place" not in page
    assert "tensorrt on cuda: no &lt;driver&gt;" in page
    assert msgspec.json.encode(told)
