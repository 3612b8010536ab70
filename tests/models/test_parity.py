"""The parity gate: boxes against boxes, time against time, and what follows from both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.api import BackendOptions
from streamtrack.errors import InferenceError
from streamtrack.models.detector import Detector, DetectorStats, load_detector
from streamtrack.models.parity import (
    TOLERANCES,
    CheckedDetector,
    Comparison,
    GateRules,
    Tolerance,
    compare,
    iou,
)
from streamtrack.models.spec import ModelSpec
from streamtrack.models.verdicts import ParityMetrics
from streamtrack.params import DetectorParams
from streamtrack.testing.models import square_frames, write_square_detector
from streamtrack.testing.results import ArrayPicture, make_frame
from streamtrack.types import BoxCounts, Detections, Frame
from streamtrack_onnx import OnnxBackend

FP32 = TOLERANCES["fp32"]
Row = tuple[float, float, float, float, float, int]


def detections(*rows: Row) -> Detections:
    """Rows of x0 y0 x1 y1 score class; strongest first, as a detector returns them."""
    table = np.array(sorted(rows, key=lambda row: -row[4]), np.float32).reshape(-1, 6)
    return Detections(
        table[:, :4].copy(), table[:, 4].copy(), table[:, 5].astype(np.int32), np.empty((len(table), 0, 2), np.float32)
    )


def naive_iou(a: Sequence[float], b: Sequence[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def naive_compare(
    ours: Sequence[Row], theirs: Sequence[Row], tolerance: Tolerance, confidence: float
) -> tuple[int, int]:
    """How many boxes need a counterpart, and how many of them have none."""
    needing = lacking = 0
    for found, other in ((ours, theirs), (theirs, ours)):
        for row in found:
            if np.float32(row[4]) < np.float32(confidence + tolerance.score):
                continue
            needing += 1
            lacking += not any(
                row[5] == each[5]
                and abs(np.float32(row[4]) - np.float32(each[4])) <= np.float32(tolerance.score)
                and naive_iou(row, each) >= tolerance.iou
                for each in other
            )
    return needing, lacking


# Steps that are never just at a tolerance.
side = st.integers(4, 40)
place = st.integers(0, 60)
score = st.integers(10, 98).map(lambda percent: percent / 100 + 0.003)
row = st.builds(
    lambda x, y, w, h, s, c: (float(x), float(y), float(x + w), float(y + h), s, c),
    *(place, place, side, side, score, st.integers(0, 1)),
)


@given(st.lists(row, max_size=8), st.lists(row, max_size=8))
def test_compares_as_the_obvious_way_does(ours: list[Row], theirs: list[Row]) -> None:
    for tolerance in (Tolerance(0.941, 0.0251), Tolerance(0.611, 0.2551), Tolerance(0.301, 0.0151)):
        seen = compare(detections(*ours), detections(*theirs), tolerance, 0.1)
        assert (seen.boxes, seen.disagreeing) == naive_compare(ours, theirs, tolerance, 0.1)
        assert bool(seen.example) == bool(seen.disagreeing)


@given(st.lists(row, max_size=8), st.sampled_from(sorted(TOLERANCES)))
def test_what_is_the_same_agrees(rows: list[Row], precision: str) -> None:
    found = detections(*rows)
    seen = compare(found, found, TOLERANCES[precision], 0.1)
    assert (seen.disagreeing, seen.worst_score_gap, seen.example) == (0, 0.0, "")
    assert seen.worst_iou == pytest.approx(1.0, abs=1e-5)


@given(st.lists(row, min_size=1, max_size=6), st.lists(row, min_size=1, max_size=6))
def test_overlaps_are_those_of_the_definition(a: list[Row], b: list[Row]) -> None:
    found = iou(np.array(a, np.float32)[:, :4], np.array(b, np.float32)[:, :4])
    np.testing.assert_allclose(found, [[naive_iou(x, y) for y in b] for x in a], atol=1e-5)


def test_boxes_without_area_overlap_nothing() -> None:
    nothing = np.array([[3, 3, 3, 3]], np.float32)
    assert iou(nothing, nothing).tolist() == [[0.0]]


FACE: Row = (100, 100, 200, 220, 0.9, 0)


@pytest.mark.parametrize(
    ("ours", "words"),
    [
        ((), "the CPU sees a box at 100 100 200 220 with score 0.90 and nothing of its is there"),
        (
            (FACE, (300, 20, 340, 60, 0.7, 0)),
            "it sees a box at 300 20 340 60 with score 0.70 and nothing of the CPU's is",
        ),
        (((100, 100, 200, 200, 0.9, 0),), "the CPU's nearest overlaps by 0.83 and scores 0.90"),
        (((100, 100, 200, 220, 0.8, 0),), "overlaps by 1.00 and scores 0.90"),
        (((100, 100, 200, 220, 0.9, 1),), "it sees a box at 100 100 200 220 with score 0.90 and nothing"),
    ],
)
def test_the_example_says_what_differs(ours: Sequence[Row], words: str) -> None:
    seen = compare(detections(*ours), detections(FACE), FP32, 0.1)
    assert seen.disagreeing
    assert words in seen.example


def test_a_box_that_may_be_below_the_limit_on_the_other_side_needs_no_counterpart() -> None:
    assert compare(detections((1, 1, 9, 9, 0.115, 0)), detections(), FP32, 0.1) == Comparison()
    assert compare(detections((1, 1, 9, 9, 0.125, 0)), detections(), FP32, 0.1).disagreeing == 1


def test_only_the_strongest_thousand_are_compared() -> None:
    many = [(10.0 * n, 0.0, 10.0 * n + 8, 8.0, 0.9 - n * 1e-4, 0) for n in range(1500)]
    seen = compare(detections(*many), detections(*many[1:]), FP32, 0.1)
    assert seen.boxes == pytest.approx(1600, abs=4)
    assert seen.disagreeing == 1


def test_comparisons_add_up() -> None:
    one, two = Comparison(3, 1, 0.97, 0.01, "first"), Comparison(4, 2, 0.96, 0.005, "second")
    assert one + two == Comparison(7, 3, 0.96, 0.01, "first")
    assert Comparison() + two == two


class Toy:
    """A detector that answers at once and says what it took."""

    spec = ModelSpec(name="toy", head="centerface")
    precision = "fp32"
    changing = False
    changed_after = None

    def __init__(self, device: str, answer: Callable[[int], Detections], seconds: float = 0.001) -> None:
        self.device, self.answer, self.seconds = device, answer, seconds
        self.params, self.stats = DetectorParams(), DetectorStats()
        self.thumbnails: list[str] = []
        self.box_counts: list[BoxCounts] = []
        self.seen: list[int] = []
        self.closed = False

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        assert not self.closed
        self.look(frames)
        self.box_counts = [BoxCounts(1, kept=1)] * len(frames)
        found = [self.answer(frame.index) for frame in frames]
        self.seen += [frame.index for frame in frames]
        # The first call of an accelerator takes long, which says nothing.
        self.stats.inference_s += len(frames) * self.seconds * (1 if len(self.seen) > len(frames) else 100)
        return found

    def look(self, frames: Sequence[Frame]) -> None:
        self.thumbnails = [f"{self.device} {frame.index}" for frame in frames]

    def close(self) -> None:
        self.closed = True


def one_face(index: int) -> Detections:
    return detections((100.0 + index, 100, 200.0 + index, 220, 0.9, 0))


def face_too_high(index: int) -> Detections:
    return detections((100.0 + index, 60, 200.0 + index, 180, 0.9, 0))


class Trial:
    """A gate between two toys, and what came of it."""

    def __init__(self, fast: Toy, reference: Toy | None = None, **rules: bool | int) -> None:
        self.fast, self.reference = fast, reference or Toy("cpu", one_face, 0.01)
        self.said: list[str] = []
        self.kept: list[ParityMetrics] = []
        self.detector = CheckedDetector(
            *(self.fast, self.reference, GateRules("toy on cuda", **{"frames": 4, **rules})),
            backend="toy",
            say=self.said.append,
            keep=self.kept.append,
        )

    def run(self, count: int, batch: int = 1) -> list[Detections]:
        found = []
        for start in range(0, count, batch):
            frames = [make_frame(index) for index in range(start, min(start + batch, count))]
            found += self.detector.detect(frames)
            assert len(self.detector.thumbnails) == len(self.detector.box_counts) == len(frames)
        return found


@pytest.mark.parametrize("batch", [1, 3])
def test_one_that_agrees_runs_alone_after_the_gate(batch: int) -> None:
    trial = Trial(Toy("cuda", one_face), may_leave=True)
    found = trial.run(12, batch)
    np.testing.assert_array_equal([each.boxes for each in found], [one_face(n).boxes for n in range(12)])
    assert (len(trial.fast.seen), len(trial.reference.seen)) == (12, 4 if batch == 1 else 6)
    assert (trial.reference.closed, trial.fast.closed, trial.said) == (True, False, [])
    (verdict,) = trial.kept
    assert verdict == trial.detector.parity
    assert (verdict.verdict, verdict.device, verdict.backend, verdict.boxes) == (
        "agreed",
        "cuda",
        "toy",
        2 * verdict.frames,
    )
    assert (verdict.ms, verdict.reference_ms, verdict.worst_iou) == (1.0, 10.0, pytest.approx(1, abs=1e-4))
    assert trial.detector.device == "cuda"
    assert trial.detector.thumbnails == ["cuda 11"] if batch == 1 else trial.detector.thumbnails[-1] == "cuda 11"
    trial.detector.close()
    assert trial.fast.closed


def test_one_that_drifts_is_an_error_with_an_example() -> None:
    trial = Trial(Toy("cuda", lambda n: one_face(n) if n < 2 else face_too_high(n)), may_leave=True)
    with pytest.raises(
        InferenceError, match=r"toy on cuda does not agree .* in frame 2 it sees a box at 102 60 .*--allow-drift"
    ):
        trial.run(10)
    assert trial.fast.seen == [0, 1, 2]
    assert trial.detector.parity.verdict == "drifted"
    assert (trial.detector.parity.disagreeing, trial.detector.parity.boxes) == (2, 6)


def test_drift_that_is_allowed_is_said_once_and_used() -> None:
    trial = Trial(Toy("cuda", face_too_high), allow_drift=True)
    found = trial.run(10)
    np.testing.assert_array_equal(found[9].boxes, face_too_high(9).boxes)
    assert (len(trial.said), trial.detector.parity.verdict) == (1, "drifted")
    assert trial.detector.parity.worst_iou is None
    assert "as allowed: in frame 0" in trial.said[0]


def test_a_slow_one_is_left_without_losing_a_frame() -> None:
    trial = Trial(Toy("mps", one_face, 0.07), may_leave=True)
    found = trial.run(10)
    assert trial.said == ["toy on cuda, 7 times slower than the CPU: using the CPU"]
    np.testing.assert_array_equal([each.boxes for each in found], [one_face(n).boxes for n in range(10)])
    assert (trial.fast.seen, trial.reference.seen) == ([*range(4)], [*range(10)])
    assert (trial.detector.device, trial.detector.left, trial.fast.closed) == ("cpu", True, True)
    assert (trial.kept[0].verdict, trial.kept[0].device) == ("slower", "mps")
    assert trial.detector.thumbnails == ["cpu 9"]


def test_a_slow_one_that_was_asked_for_stays() -> None:
    trial = Trial(Toy("cuda", one_face, 0.07))
    trial.run(10)
    assert trial.said == ["toy on cuda, 7 times slower than the CPU: --device cpu would be faster"]
    assert (trial.detector.device, trial.detector.parity.verdict) == ("cuda", "slower")


def test_one_about_as_fast_stays() -> None:
    trial = Trial(Toy("cuda", one_face, 0.012), may_leave=True)
    trial.run(5)
    assert (trial.detector.device, trial.detector.parity.verdict) == ("cuda", "agreed")


def failing_at(limit: int) -> Callable[[int], Detections]:
    def answer(index: int) -> Detections:
        if index == limit:
            raise InferenceError("the device is gone")
        return one_face(index)

    return answer


def test_one_that_fails_at_the_gate_is_left_for_the_cpu() -> None:
    trial = Trial(Toy("cuda", failing_at(2)), may_leave=True)
    found = trial.run(9)
    np.testing.assert_array_equal([each.boxes for each in found], [one_face(n).boxes for n in range(9)])
    assert trial.said == ["toy on cuda failed: using the CPU (the device is gone)"]
    assert (trial.detector.device, trial.detector.parity.verdict) == ("cpu", "failed")


@pytest.mark.parametrize(("limit", "may_leave"), [(2, False), (7, True), (7, False)])
def test_one_that_was_asked_for_or_fails_later_is_an_error(limit: int, may_leave: bool) -> None:
    trial = Trial(Toy("cuda", failing_at(limit)), may_leave=may_leave)
    with pytest.raises(InferenceError, match="the device is gone"):
        trial.run(9)


def nothing(index: int) -> Detections:
    return Detections.empty()


def test_the_gate_waits_for_something_to_be_seen() -> None:
    late = lambda index: one_face(index) if index >= 20 else nothing(index)  # noqa: E731
    trial = Trial(Toy("cuda", late), Toy("cpu", late, 0.01))
    trial.run(30)
    assert (trial.detector.parity.verdict, trial.detector.parity.frames) == ("agreed", 21)


def test_where_nothing_is_ever_seen_the_gate_gives_up_and_says_so() -> None:
    trial = Trial(Toy("cuda", nothing), Toy("cpu", nothing, 0.01))
    trial.run(60)
    assert (len(trial.reference.seen), trial.detector.parity.verdict) == (40, "unchecked")
    assert "nothing was seen" in trial.detector.parity.note


def test_a_single_call_says_nothing_about_speed() -> None:
    trial = Trial(Toy("cuda", one_face, 0.001), frames=1, may_leave=True)
    trial.run(2, batch=2)
    assert trial.kept == []
    trial.run(4, batch=2)
    assert (trial.detector.parity.verdict, trial.detector.parity.ms) == ("agreed", 1.0)


@pytest.mark.parametrize(
    "params", [{}, {"nms_iou": 0.2, "min_size": 31.9}, {"max_detections": 1}, {"min_size": 99}, {"nms": "soft"}]
)
def test_at_the_gate_a_detector_finds_what_it_finds_without(tmp_path: Path, params: dict[str, Any]) -> None:
    model = write_square_detector(tmp_path / "squares.onnx")
    spec, settings = ModelSpec(name="squares", head="auto"), DetectorParams(**params)

    def load() -> Detector:
        return load_detector(model, spec, OnnxBackend(), BackendOptions(device="cpu", threads=1), settings)

    pictures = square_frames(3, [(40.0, 60.0, 4.0, 0.0), (50.0, 64.0, 9.0, 1.0), (620.0, 10.0, 5.0, 0.0)])
    frames = [Frame(n, n, 640, 384, ArrayPicture(picture)) for n, picture in enumerate(pictures)]
    plain = load()
    checked = CheckedDetector(load(), load(), GateRules("same", 2), backend="onnx", say=lambda text: None)
    for frame in frames:
        (want,), (got,) = plain.detect([frame]), checked.detect([frame])
        for name in ("boxes", "scores", "classes", "keypoints"):
            np.testing.assert_array_equal(getattr(got, name), getattr(want, name))
        assert checked.box_counts == plain.box_counts
    assert checked.parity.disagreeing == 0
    assert checked.parity.boxes > 0
    plain.close()
    checked.close()
