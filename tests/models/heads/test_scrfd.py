"""SCRFD against its slow, obvious twin."""

from __future__ import annotations

import numpy as np
import pytest
from headcases import Found, Tensors, assert_same, batches, few, scrfd, seeds, thresholds
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.errors import InferenceError
from streamtrack.models.heads import SCRFD

HEIGHT, WIDTH = 128, 192
NAMES = {3: ("score", "bbox", "kps"), 2: ("score", "bbox")}


def strides_of(levels: int) -> tuple[int, ...]:
    return (8, 16, 32, 64, 128)[:levels]


def tensors_of(seed: int, batch: int, levels: int) -> Tensors:
    rng = np.random.default_rng(seed)
    anchors = 2 if levels == 3 else 1
    tensors = {}
    for kind, channels in (("score", 1), ("bbox", 4), ("kps", 10)):
        for stride in strides_of(levels):
            rows = -(-HEIGHT // stride) * -(-WIDTH // stride) * anchors
            values = rng.uniform(0, 1, (batch, rows, channels))
            tensors[f"{kind}_{stride}"] = (values if kind == "score" else values * 6 - 1).astype(np.float32)
    return tensors


def twin(tensors: Tensors, image: int, levels: int, threshold: float, keypoints: bool) -> Found:
    found: Found = []
    anchors = 2 if levels == 3 else 1
    for stride in strides_of(levels):
        columns = -(-WIDTH // stride)
        for row, (score,) in enumerate(tensors[f"score_{stride}"][image]):
            if score < threshold:
                continue
            y, x = (part * stride for part in divmod(row // anchors, columns))
            left, top, right, bottom = tensors[f"bbox_{stride}"][image, row] * stride
            shifts = tensors[f"kps_{stride}"][image, row] * stride
            points = [[x + shifts[2 * k], y + shifts[2 * k + 1]] for k in range(5)] if keypoints else []
            found.append((float(score), 0, [x - left, y - top, x + right, y + bottom], points))
    return found


def head_of(levels: int, keypoints: bool) -> SCRFD:
    kinds = ("score", "bbox", "kps") if keypoints else ("score", "bbox")
    return SCRFD(*(tuple(f"{kind}_{stride}" for stride in strides_of(levels)) for kind in kinds))


@few
@given(seed=seeds, batch=batches, threshold=thresholds, keypoints=st.booleans(), levels=st.sampled_from([3, 5]))
def test_twin(seed: int, batch: int, threshold: float, keypoints: bool, levels: int) -> None:
    tensors = tensors_of(seed, batch, levels)
    head = head_of(levels, keypoints)
    assert head.keypoints == (5 if keypoints else 0)
    found = head.decode(tensors, (HEIGHT, WIDTH), threshold)
    assert len(found) == batch
    for image in range(batch):
        assert_same(found[image], twin(tensors, image, levels, threshold, keypoints), 5 if keypoints else 0)


@few
@given(seed=seeds, batch=batches)
def test_without_a_batch_dimension_the_images_follow_each_other(seed: int, batch: int) -> None:
    tensors = tensors_of(seed, batch, 3)
    flat = {name: values.reshape(-1, values.shape[2]) for name, values in tensors.items()}
    head = head_of(3, keypoints=True)
    for a, b in zip(head.decode(flat, (HEIGHT, WIDTH), 0.8), head.decode(tensors, (HEIGHT, WIDTH), 0.8), strict=True):
        np.testing.assert_array_equal(a.boxes, b.boxes)
        np.testing.assert_array_equal(a.keypoints, b.keypoints)


def test_levels_are_told_apart_by_their_size_by_their_names_or_by_their_order() -> None:
    tensors = tensors_of(1, 1, 3)
    expected = head_of(3, keypoints=True).decode(tensors, (HEIGHT, WIDTH), 0.7)[0]
    sized = tuple((name, values.shape[1:]) for name, values in tensors.items())
    named = tuple((name, (None, None, values.shape[2])) for name, values in tensors.items())
    for outputs in (sized, sized[::-1], named, named[::-1]):
        head = SCRFD.bind(outputs)
        assert head is not None
        np.testing.assert_array_equal(head.decode(tensors, (HEIGHT, WIDTH), 0.7)[0].boxes, expected.boxes)
    numbered = scrfd(3, rows=(None,) * 3)
    head = SCRFD.bind(numbered)
    assert head is not None
    renamed = {name: values for (name, _), values in zip(numbered, tensors.values(), strict=True)}
    np.testing.assert_array_equal(head.decode(renamed, (HEIGHT, WIDTH), 0.7)[0].boxes, expected.boxes)


def test_levels_that_disagree_are_an_error() -> None:
    tensors = tensors_of(0, 2, 3)
    tensors["score_16"] = tensors["score_16"][:1]
    with pytest.raises(InferenceError):
        head_of(3, keypoints=True).decode(tensors, (HEIGHT, WIDTH), 0.5)
