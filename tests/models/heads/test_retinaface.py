"""RetinaFace against its slow, obvious twin."""

from __future__ import annotations

import math

import numpy as np
from headcases import Found, Tensors, around, assert_same, batches, few, retinaface, seeds, thresholds
from hypothesis import given

from streamtrack.models.heads import RetinaFace

HEIGHT, WIDTH = 64, 100  # its pyramid rounds up: 100 px are 4 columns at stride 32
SIDES = {8: (16, 32), 16: (64, 128), 32: (256, 512)}


def priors() -> list[tuple[float, float, float]]:
    """x, y and side of each, in px."""
    return [
        ((column + 0.5) * stride, (row + 0.5) * stride, side)
        for stride, pair in SIDES.items()
        for row in range(math.ceil(HEIGHT / stride))
        for column in range(math.ceil(WIDTH / stride))
        for side in pair
    ]


def tensors_of(seed: int, batch: int) -> Tensors:
    rng = np.random.default_rng(seed)
    count = len(priors())
    face = rng.uniform(0, 1, (batch, count))
    shapes = {"output0": rng.normal(0, 2, (batch, count, 4)), "589": rng.normal(0, 2, (batch, count, 10))}
    found = shapes | {"590": np.stack((1 - face, face), axis=2)}
    return {name: values.astype(np.float32) for name, values in found.items()}


def twin(tensors: Tensors, image: int, threshold: float) -> Found:
    found: Found = []
    for row, (x, y, side) in enumerate(priors()):
        score = float(tensors["590"][image, row, 1])
        if score < threshold:
            continue
        dx, dy, dw, dh = (float(v) for v in tensors["output0"][image, row])
        marks = tensors["589"][image, row]
        points = [[x + marks[2 * k] * 0.1 * side, y + marks[2 * k + 1] * 0.1 * side] for k in range(5)]
        w, h = side * math.exp(dw * 0.2), side * math.exp(dh * 0.2)
        found.append((score, 0, around(x + dx * 0.1 * side, y + dy * 0.1 * side, w, h), points))
    return found


@few
@given(seed=seeds, batch=batches, threshold=thresholds)
def test_twin(seed: int, batch: int, threshold: float) -> None:
    tensors = tensors_of(seed, batch)
    head = RetinaFace.bind(retinaface(len(priors())), (HEIGHT, WIDTH))
    assert head is not None
    found = head.decode(tensors, (HEIGHT, WIDTH), threshold)
    assert len(found) == batch
    for image in range(batch):
        assert_same(found[image], twin(tensors, image, threshold), 5)
