"""NanoDet against its slow, obvious twin."""

from __future__ import annotations

import math

import numpy as np
from headcases import Found, Tensors, assert_same, batches, best, few, one, seeds, thresholds
from hypothesis import example, given
from hypothesis import strategies as st

from streamtrack.models.heads import NanoDet

HEIGHT, WIDTH = 96, 160  # stride 64 has cut cells at the edges


def cells() -> list[tuple[int, int, int]]:
    return [
        (x, y, s) for s in (8, 16, 32, 64) for y in range(math.ceil(HEIGHT / s)) for x in range(math.ceil(WIDTH / s))
    ]


def tensors_of(seed: int, batch: int, classes: int) -> Tensors:
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0, 1, (batch, len(cells()), classes))
    sides = rng.normal(0, 3, (batch, len(cells()), 32))
    return {"output": np.concatenate((scores, sides), axis=2).astype(np.float32)}


def by_level(whole: np.ndarray, classes: int) -> Tensors:
    """The same as the OpenCV zoo has it."""
    ends = np.cumsum([sum(s == stride for *_, s in cells()) for stride in (8, 16, 32)])
    levels = np.split(whole, ends, axis=1)
    return {
        f"{kind}{n}": part
        for n, level in enumerate(levels)
        for kind, part in (("cls", level[..., :classes]), ("box", level[..., classes:]))
    }


def twin(tensors: Tensors, image: int, threshold: float, classes: int) -> Found:
    found: Found = []
    for (column, line, stride), row in zip(cells(), tensors["output"][image], strict=True):
        score, kind = best(row[:classes])
        if score < threshold:
            continue
        distances = []
        for side in range(4):
            weights = [math.exp(v) for v in row[classes + 8 * side : classes + 8 * side + 8]]
            distances.append(sum(n * w for n, w in enumerate(weights)) / sum(weights) * stride)
        x, y = column * stride, line * stride
        left, top, right, bottom = distances
        found.append((score, kind, [x - left, y - top, x + right, y + bottom], []))
    return found


@few
@given(seed=seeds, batch=batches, threshold=thresholds, classes=st.sampled_from([1, 3, 80]))
def test_twin(seed: int, batch: int, threshold: float, classes: int) -> None:
    tensors = tensors_of(seed, batch, classes)
    head = NanoDet.bind(one(batch, len(cells()), classes + 32), (HEIGHT, WIDTH))
    assert head is not None
    assert head.classes == classes
    found = head.decode(tensors, (HEIGHT, WIDTH), threshold)
    assert len(found) == batch
    for image in range(batch):
        assert_same(found[image], twin(tensors, image, threshold, classes))


@few
@given(seed=seeds, threshold=thresholds, classes=st.sampled_from([1, 32, 80]), batched=st.booleans())
@example(seed=33, threshold=0.05, classes=1, batched=True)  # two left sides on either side of what rounds up
def test_eight_outputs_are_the_one_in_pieces(seed: int, threshold: float, classes: int, batched: bool) -> None:
    tensors = tensors_of(seed, 1, classes)
    pieces = by_level(tensors["output"], classes)
    if not batched:
        pieces = {name: values[0] for name, values in pieces.items()}
    head = NanoDet.bind(tuple((name, values.shape) for name, values in pieces.items()), (HEIGHT, WIDTH))
    assert head is not None
    assert head.classes == classes
    (found,) = head.decode(pieces, (HEIGHT, WIDTH), threshold)
    assert_same(found, twin(tensors, 0, threshold, classes))
