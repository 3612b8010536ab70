"""Non-maximum suppression against its slow, obvious twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.models import nms as nms_module
from streamtrack.models.nms import nms, soft_nms, suppress
from streamtrack.params import DetectorParams


def iou(a: np.ndarray, b: np.ndarray) -> float:
    width = max(min(a[2], b[2]) - max(a[0], b[0]), np.float32(0))
    height = max(min(a[3], b[3]) - max(a[1], b[1]), np.float32(0))
    inter = width * height
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def twin(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, limit_iou: float, limit: int) -> list[int]:
    """Walk by falling score; keep what no kept box of its class overlaps too much."""
    kept: list[int] = []
    for row in sorted(range(len(boxes)), key=lambda r: (-scores[r], r)):
        rivals = [k for k in kept if classes[k] == classes[row]]
        if all(iou(boxes[row], boxes[k]) <= limit_iou for k in rivals) and len(kept) < limit:
            kept.append(row)
    return kept


def scene(seed: int, count: int, classes: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clusters of boxes, as a detector without suppression gives them; whole px, so that every IoU is exact."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 300, (max(count // 6, 1), 2)).repeat(6, axis=0)
    centres = np.resize(centres, (count, 2)) + rng.integers(-4, 5, (count, 2))
    boxes = np.concatenate((centres, centres + rng.integers(8, 40, (count, 2))), axis=1).astype(np.float32)
    # Few different scores, so that there are ties.
    return boxes, (rng.integers(1, 30, count) / 30).astype(np.float32), rng.integers(0, classes, count, np.int32)


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 60),
    classes=st.integers(1, 3),
    limit_iou=st.sampled_from([0.0, 0.3, 0.45, 0.5, 0.9, 1.0]),
    limit=st.integers(1, 70),
)
def test_twin(seed: int, count: int, classes: int, limit_iou: float, limit: int) -> None:
    boxes, scores, labels = scene(seed, count, classes)
    assert nms(boxes, scores, labels, limit_iou, limit).tolist() == twin(boxes, scores, labels, limit_iou, limit)


@pytest.mark.parametrize("block", [1, 2, 7, 128])
@pytest.mark.parametrize("limit", [5, 40, 1000])
def test_blocks_do_not_show(block: int, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, scores, labels = scene(1, 150, 2)
    expected = twin(boxes, scores, labels, 0.45, limit)
    monkeypatch.setattr(nms_module, "_BLOCK", block)
    assert nms(boxes, scores, labels, 0.45, limit).tolist() == expected


def test_more_than_one_block_of_its_own() -> None:
    boxes, scores, labels = scene(2, 400)
    assert nms(boxes, scores, labels, 0.45, 1000).tolist() == twin(boxes, scores, labels, 0.45, 1000)


def test_equal_boxes_leave_the_first_of_the_strongest() -> None:
    boxes = np.tile(np.array([[0, 0, 10, 10]], np.float32), (4, 1))
    scores = np.array([0.5, 0.9, 0.9, 0.1], np.float32)
    assert nms(boxes, scores, np.zeros(4, np.int32), 0.45, 10).tolist() == [1]
    assert nms(boxes, scores, np.array([0, 1, 0, 1], np.int32), 0.45, 10).tolist() == [1, 2]


def test_an_overlap_of_exactly_the_limit_is_allowed() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5]], np.float32)
    scores = np.array([0.9, 0.8], np.float32)
    assert nms(boxes, scores, np.zeros(2, np.int32), 0.5, 10).tolist() == [0, 1]
    assert nms(boxes, scores, np.zeros(2, np.int32), 0.49, 10).tolist() == [0]


# --- soft ---


def soft_twin(
    boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, sigma: float, least: float, limit: int
) -> list[tuple[int, float]]:
    """Take the best, lower the rest of its class by how much they overlap it, and again; box by box."""
    left = {row: float(score) for row, score in enumerate(scores) if score >= np.float32(least)}
    taken: list[tuple[int, float]] = []
    while left and len(taken) < limit:
        row = max(left, key=lambda r: (left[r], -r))
        taken.append((row, left.pop(row)))
        for other in list(left):
            if classes[other] == classes[row]:
                left[other] *= np.exp(-(iou(*boxes[[row, other]].astype(np.float64)) ** 2) / sigma)
                if left[other] < np.float32(least):
                    del left[other]
    return taken


soft_scenes = st.builds(scene, st.integers(0, 2**32 - 1), st.integers(0, 50), st.integers(1, 3))
leasts = st.sampled_from([0.0, 0.05, 0.1, 0.5])


@given(arrays=soft_scenes, sigma=st.sampled_from([0.05, 0.3, 0.5, 2.0]), least=leasts, limit=st.integers(1, 60))
def test_soft_twin(arrays: tuple[np.ndarray, np.ndarray, np.ndarray], sigma: float, least: float, limit: int) -> None:
    rows, scores = soft_nms(*arrays, sigma, least, limit)
    expected = soft_twin(*arrays, sigma, least, limit)
    assert rows.tolist() == [row for row, _ in expected]
    np.testing.assert_allclose(scores, [score for _, score in expected], rtol=1e-6)


@given(arrays=soft_scenes, sigma=st.floats(0.01, 10), least=leasts, limit=st.integers(1, 60))
def test_soft_raises_no_score_and_gives_them_in_order(
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray], sigma: float, least: float, limit: int
) -> None:
    rows, scores = soft_nms(*arrays, sigma, least, limit)
    assert len(set(rows.tolist())) == len(rows) <= limit
    assert (scores <= arrays[1][rows]).all()
    assert (scores >= np.float32(least)).all()
    assert (np.diff(scores) <= 0).all()


@given(arrays=soft_scenes, limit=st.integers(1, 60))
def test_with_no_gentleness_soft_is_hard_without_any_overlap(
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray], limit: int
) -> None:
    rows, scores = soft_nms(*arrays, 1e-12, 1e-6, limit)
    assert rows.tolist() == nms(*arrays, 0.0, limit).tolist()
    assert scores.tolist() == arrays[1][rows].tolist()


@given(arrays=soft_scenes)
def test_with_endless_gentleness_soft_keeps_everything_as_it_is(
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    rows, scores = soft_nms(*arrays, 1e30, 0.0, 1000)
    assert rows.tolist() == np.argsort(-arrays[1], kind="stable").tolist()
    assert scores.tolist() == arrays[1][rows].tolist()


def test_two_people_close_together_both_stay_with_soft_only() -> None:
    boxes = np.array([[0, 0, 10, 10], [3, 0, 13, 10], [0, 0, 10, 11]], np.float32)
    scores, classes = np.array([0.9, 0.85, 0.5], np.float32), np.zeros(3, np.int32)
    hard, _ = suppress(boxes, scores, classes, DetectorParams())
    soft, lowered = suppress(boxes, scores, classes, DetectorParams(nms="soft"))
    assert hard.tolist() == [0]
    # IoU 7/13 with the neighbour, 10/11 with the double, which its neighbour lowers once more.
    assert soft.tolist() == [0, 1]
    np.testing.assert_allclose(lowered, [0.9, 0.85 * np.exp(-((7 / 13) ** 2) / 0.5)], rtol=1e-6)
    twice = 0.5 * np.exp(-((10 / 11) ** 2) / 0.5) * np.exp(-((70 / 140) ** 2) / 0.5)
    assert twice < DetectorParams().floor


def test_boxes_without_area_are_lowered_by_nothing() -> None:
    boxes, scores = np.zeros((3, 4), np.float32), np.array([0.3, 0.9, 0.6], np.float32)
    rows, lowered = soft_nms(boxes, scores, np.zeros(3, np.int32), 0.5, 0.1, 10)
    assert (rows.tolist(), lowered.tolist()) == ([1, 2, 0], scores[[1, 2, 0]].tolist())
