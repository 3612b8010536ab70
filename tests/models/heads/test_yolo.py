"""The YOLO exports against their slow, obvious twins."""

from __future__ import annotations

import numpy as np
import pytest
from headcases import Found, Tensors, around, assert_same, batches, best, few, one, seeds, thresholds
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.models.heads import EndToEnd, YOLOv5, YOLOv8

SIZE = (64, 96)
CELLS = 126
class_counts = st.sampled_from([1, 3, 80])


def boxes_and_scores(seed: int, batch: int, rows: int, scores: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    boxes = rng.uniform(-10, 110, (batch, rows, 4))
    return np.concatenate((boxes, rng.uniform(0, 1, (batch, rows, scores))), axis=2).astype(np.float32)


def v5_twin(tensors: Tensors, image: int, threshold: float) -> Found:
    found: Found = []
    for row in tensors["output0"][image]:
        score, kind = best(row[5:])
        if row[4] * np.float32(score) >= threshold:
            found.append((float(row[4] * score), kind, around(*row[:4]), []))
    return found


def v8_twin(tensors: Tensors, image: int, threshold: float) -> Found:
    found: Found = []
    for column in tensors["output0"][image].T:
        score, kind = best(column[4:])
        if score >= threshold:
            found.append((score, kind, around(*column[:4]), []))
    return found


@few
@given(seed=seeds, batch=batches, threshold=thresholds, classes=class_counts)
def test_v5_twin(seed: int, batch: int, threshold: float, classes: int) -> None:
    tensors = {"output0": boxes_and_scores(seed, batch, 3 * CELLS, 1 + classes)}
    head = YOLOv5.bind(one(batch, 3 * CELLS, 5 + classes, name="output0"), SIZE)
    assert head is not None
    assert head.classes == classes
    found = head.decode(tensors, SIZE, threshold)
    assert len(found) == batch
    for image in range(batch):
        assert_same(found[image], v5_twin(tensors, image, threshold))


@few
@given(seed=seeds, batch=batches, threshold=thresholds, classes=class_counts)
def test_v8_twin(seed: int, batch: int, threshold: float, classes: int) -> None:
    tensors = {"output0": boxes_and_scores(seed, batch, CELLS, classes).transpose(0, 2, 1)}
    head = YOLOv8.bind(one(batch, 4 + classes, CELLS, name="output0"), SIZE)
    assert head is not None
    assert head.classes == classes
    found = head.decode(tensors, SIZE, threshold)
    assert len(found) == batch
    for image in range(batch):
        assert_same(found[image], v8_twin(tensors, image, threshold))


@few
@given(seed=seeds, batch=batches, threshold=thresholds)
def test_end_to_end_is_read_as_it_is(seed: int, batch: int, threshold: float) -> None:
    rows = boxes_and_scores(seed, batch, 30, 2)
    rows[..., 5] = np.random.default_rng(seed).integers(0, 80, rows.shape[:2])
    head = EndToEnd.bind(one(batch, 30, 6, name="output0"))
    assert head is not None
    found = head.decode({"output0": rows}, SIZE, threshold)
    assert len(found) == batch
    for image in range(batch):
        kept = [row for row in rows[image] if row[4] >= threshold]
        assert_same(found[image], [(float(row[4]), int(row[5]), row[:4].tolist(), []) for row in kept])


@pytest.mark.parametrize("kind", [-1.0, np.nan, np.inf, 1e12])
def test_a_class_that_is_none_is_dropped(kind: float) -> None:
    rows = np.array([[[0, 0, 9, 9, 0.9, kind], [1, 1, 8, 8, 0.8, 3]]], np.float32)
    (found,) = EndToEnd("o").decode({"o": rows}, SIZE, 0.5)
    assert found.classes.tolist() == [3]


def test_a_free_output_is_bound_and_tells_no_number_of_classes() -> None:
    for kind in (YOLOv5, YOLOv8):
        head = kind.bind(one(None, None, None))
        assert head is not None
        assert head.classes is None
