"""YOLOX against its slow, obvious twin."""

from __future__ import annotations

import math

import numpy as np
from headcases import Found, Tensors, around, assert_same, batches, best, few, one, seeds, thresholds
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.models.heads import YOLOX, DecodedYOLOX, recognise

HEIGHT, WIDTH = 64, 96


def cells() -> list[tuple[int, int, int]]:
    return [(x, y, s) for s in (8, 16, 32) for y in range(HEIGHT // s) for x in range(WIDTH // s)]


def tensors_of(seed: int, batch: int, classes: int) -> Tensors:
    rng = np.random.default_rng(seed)
    boxes = rng.normal(0, 1.5, (batch, len(cells()), 4))
    scores = rng.uniform(0, 1, (batch, len(cells()), 1 + classes))
    return {"output": np.concatenate((boxes, scores), axis=2).astype(np.float32)}


def twin(tensors: Tensors, image: int, threshold: float) -> Found:
    found: Found = []
    for (column, line, stride), row in zip(cells(), tensors["output"][image], strict=True):
        score, kind = best(row[5:])
        if row[4] * np.float32(score) >= threshold:
            size = math.exp(row[2]) * stride, math.exp(row[3]) * stride
            box = around((column + row[0]) * stride, (line + row[1]) * stride, *size)
            found.append((float(row[4] * score), kind, box, []))
    return found


@few
@given(seed=seeds, batch=batches, threshold=thresholds, classes=st.sampled_from([1, 3, 80]))
def test_twin(seed: int, batch: int, threshold: float, classes: int) -> None:
    tensors = tensors_of(seed, batch, classes)
    head = YOLOX.bind(one(batch, len(cells()), 5 + classes), (HEIGHT, WIDTH))
    assert head is not None
    assert head.classes == classes
    found = head.decode(tensors, (HEIGHT, WIDTH), threshold)
    assert len(found) == batch
    for image in range(batch):
        assert_same(found[image], twin(tensors, image, threshold))


@few
@given(seed=seeds, threshold=thresholds)
def test_decoded_boxes_are_read_as_they_are(seed: int, threshold: float) -> None:
    tensors = tensors_of(seed, 1, 3)
    outputs = one(1, len(cells()), 8)
    head = DecodedYOLOX.bind(outputs, (HEIGHT, WIDTH))
    assert head is not None
    assert head.classes == 3
    (found,) = head.decode(tensors, (HEIGHT, WIDTH), threshold)
    raw = twin(tensors, 0, threshold)
    rows = [row for row in tensors["output"][0] if row[4] * row[5:].max() >= threshold]
    assert_same(found, [(s, k, around(*row[:4]), []) for (s, k, *_), row in zip(raw, rows, strict=True)])


def test_decoded_boxes_have_to_be_asked_for() -> None:
    outputs = one(1, len(cells()), 8)
    assert recognise(outputs, (HEIGHT, WIDTH)) == "yolox"
    assert DecodedYOLOX.bind(one(1, 300, 6), (640, 640)) is None
    assert DecodedYOLOX.conventions.channels == "bgr"
