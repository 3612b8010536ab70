"""RT-DETR and D-FINE against their slow, obvious twin."""

from __future__ import annotations

import math

import numpy as np
import pytest
from headcases import Found, Tensors, around, assert_same, batches, best, few, one, seeds, thresholds
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.errors import InferenceError
from streamtrack.models.heads import RTDETR, ChosenRTDETR, ScaledRTDETR

SIZE = (64, 96)
OUTPUTS = (("logits", (None, 100, None)), ("pred_boxes", (None, 100, 4)))


def tensors_of(seed: int, batch: int, classes: int) -> Tensors:
    rng = np.random.default_rng(seed)
    found = {"logits": rng.normal(0, 3, (batch, 100, classes)), "pred_boxes": rng.uniform(0, 1, (batch, 100, 4))}
    return {name: values.astype(np.float32) for name, values in found.items()}


def twin(tensors: Tensors, image: int, threshold: float) -> Found:
    found: Found = []
    for logits, (x, y, w, h) in zip(tensors["logits"][image], tensors["pred_boxes"][image], strict=True):
        logit, kind = best(logits)
        score = 1 / (1 + math.exp(-logit))
        if score >= threshold:
            found.append((score, kind, around(x * 96, y * 64, w * 96, h * 64), []))
    return found


@few
@given(seed=seeds, batch=batches, threshold=thresholds, classes=st.sampled_from([2, 80]))
def test_twin(seed: int, batch: int, threshold: float, classes: int) -> None:
    tensors = tensors_of(seed, batch, classes)
    head = RTDETR.bind((("logits", (None, 100, classes)), OUTPUTS[1]), SIZE)
    assert head is not None
    assert head.classes == classes
    found = head.decode(tensors, SIZE, threshold)
    assert len(found) == batch
    for image in range(batch):
        assert_same(found[image], twin(tensors, image, threshold))


@few
@given(seed=seeds, batch=batches, threshold=thresholds)
def test_one_output_has_boxes_and_scores_side_by_side(seed: int, batch: int, threshold: float) -> None:
    tensors = tensors_of(seed, batch, 80)
    scores = 1 / (1 + np.exp(-tensors["logits"].astype(float)))
    joined = np.concatenate((tensors["pred_boxes"], scores), axis=2).astype(np.float32)
    head = RTDETR.bind(one(batch, 100, 84, name="output0"), SIZE)
    assert head is not None
    assert head.classes == 80
    found = head.decode({"output0": joined}, SIZE, threshold)
    for image in range(batch):
        assert_same(found[image], twin(tensors, image, threshold))


@pytest.mark.parametrize(("threshold", "expected"), [(0.0, 100), (1.0, 0)])
def test_thresholds_at_both_ends(threshold: float, expected: int) -> None:
    head = RTDETR("pred_boxes", "logits", 3)
    assert len(head.decode(tensors_of(1, 1, 3), SIZE, threshold)[0].scores) == expected


def test_boxes_and_logits_must_be_as_many() -> None:
    tensors = tensors_of(0, 1, 2)
    with pytest.raises(InferenceError, match="Output 'pred_boxes' has 99 cells"):
        RTDETR("pred_boxes", "logits").decode(tensors | {"pred_boxes": tensors["pred_boxes"][:, 1:]}, SIZE, 0.5)


@few
@given(seed=seeds, batch=batches, threshold=thresholds)
def test_chosen_rows(seed: int, batch: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.uniform(0, 1, (batch, 300, 6)).astype(np.float32)
    rows[..., 5] = rng.integers(0, 80, (batch, 300))
    head = ChosenRTDETR.bind(one(batch, 300, 6), SIZE)
    assert head is not None
    for image, found in enumerate(head.decode({"output": rows}, SIZE, threshold)):
        kept = [row for row in rows[image] if row[4] >= threshold]
        boxes = [around(x * 96, y * 64, w * 96, h * 64) for x, y, w, h, *_ in kept]
        assert_same(found, [(float(row[4]), int(row[5]), box, []) for row, box in zip(kept, boxes, strict=True)])


@few
@given(seed=seeds, batch=batches, threshold=thresholds, whole=st.sampled_from([np.int64, np.int32]))
def test_rows_that_are_scaled_already(seed: int, batch: int, threshold: float, whole: type) -> None:
    rng = np.random.default_rng(seed)
    tensors = {
        "labels": rng.integers(0, 80, (batch, 300)).astype(whole),
        "boxes": rng.uniform(0, 96, (batch, 300, 4)).astype(np.float32),
        "scores": rng.uniform(0, 1, (batch, 300)).astype(np.float32),
    }
    head = ScaledRTDETR.bind(tuple((name, values.shape) for name, values in tensors.items()), SIZE)
    assert head is not None
    found = head.decode(tensors, SIZE, threshold)
    assert len(found) == batch
    for image in range(batch):
        rows = zip(*(tensors[name][image].tolist() for name in ("scores", "labels", "boxes")), strict=True)
        assert_same(found[image], [(score, kind, box, []) for score, kind, box in rows if score >= threshold])
