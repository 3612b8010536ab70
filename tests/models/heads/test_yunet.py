"""YuNet against its slow, obvious twin."""

from __future__ import annotations

import math

import numpy as np
import pytest
from headcases import Found, Tensors, around, assert_same, batches, few, seeds, thresholds, yunet
from hypothesis import given

from streamtrack.errors import InferenceError
from streamtrack.models.heads import YuNet


def yunet_tensors(seed: int, batch: int, height: int, width: int) -> Tensors:
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in yunet():
        stride = int(name.rpartition("_")[2])
        cells = (height // stride) * (width // stride)
        values = rng.uniform(0, 1, (batch, cells, shape[2]))
        tensors[name] = (values if name[0] in "co" else values * 4 - 2).astype(np.float32)
    return tensors


def yunet_twin(tensors: Tensors, image: int, height: int, width: int, threshold: float) -> Found:
    found: Found = []
    for stride in (8, 16, 32):
        for cell in range((height // stride) * (width // stride)):
            cy, cx = divmod(cell, width // stride)
            cls, obj, box, kps = (tensors[f"{kind}_{stride}"][image, cell] for kind in ("cls", "obj", "bbox", "kps"))
            score = math.sqrt(float(cls[0]) * float(obj[0]))
            if score < threshold:
                continue
            x, y = (cx + box[0]) * stride, (cy + box[1]) * stride
            w, h = math.exp(box[2]) * stride, math.exp(box[3]) * stride
            points = [[(cx + kps[2 * k]) * stride, (cy + kps[2 * k + 1]) * stride] for k in range(5)]
            found.append((score, 0, around(x, y, w, h), points))
    return found


@few
@given(seed=seeds, batch=batches, threshold=thresholds)
def test_yunet_twin(seed: int, batch: int, threshold: float) -> None:
    height, width = 64, 96
    tensors = yunet_tensors(seed, batch, height, width)
    found = YuNet().decode(tensors, (height, width), threshold)
    assert len(found) == batch
    for image in range(batch):
        assert_same(found[image], yunet_twin(tensors, image, height, width, threshold), 5)


def test_yunet_reads_one_face_by_hand() -> None:
    """At stride 16, column 3 and row 2 of a 96 x 64 input."""
    tensors = {name: np.zeros_like(values) for name, values in yunet_tensors(0, 1, 64, 96).items()}
    cell = 2 * 6 + 3
    tensors["cls_16"][0, cell], tensors["obj_16"][0, cell] = 0.81, 1.0
    tensors["bbox_16"][0, cell] = [0.5, 0.25, math.log(2), math.log(1.5)]
    tensors["kps_16"][0, cell] = np.arange(10) / 10
    (found,) = YuNet().decode(tensors, (64, 96), 0.5)
    np.testing.assert_allclose(found.scores, [0.9], rtol=1e-6)
    np.testing.assert_allclose(found.boxes, [[56 - 16, 36 - 12, 56 + 16, 36 + 12]], rtol=1e-6)
    np.testing.assert_allclose(found.keypoints[0, 0], [48.0, 33.6], rtol=1e-6)
    np.testing.assert_allclose(found.keypoints[0, 4], [48 + 12.8, 32 + 14.4], rtol=1e-6)


def test_a_score_of_exactly_the_threshold_counts() -> None:
    tensors = {name: np.zeros_like(values) for name, values in yunet_tensors(0, 1, 64, 64).items()}
    tensors["cls_32"][0, 0] = tensors["obj_32"][0, 0] = 0.5
    assert [len(YuNet().decode(tensors, (64, 64), t)[0].scores) for t in (0.5, 0.51)] == [1, 0]


def test_tensors_of_another_input_size_are_an_error() -> None:
    with pytest.raises(InferenceError, match="where an input of 96x64 gives"):
        YuNet().decode(yunet_tensors(0, 1, 64, 64), (64, 96), 0.5)
