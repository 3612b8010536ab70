"""RFB against its slow, obvious twin."""

from __future__ import annotations

import numpy as np
import pytest
from headcases import Found, Tensors, assert_same, batches, few, seeds, thresholds
from hypothesis import given

from streamtrack.errors import InferenceError
from streamtrack.models.heads import RFB


def tensors_of(seed: int, batch: int) -> Tensors:
    rng = np.random.default_rng(seed)
    face = rng.uniform(0, 1, (batch, 50))
    scores = np.stack((1 - face, face), axis=2)
    return {"scores": scores.astype(np.float32), "boxes": rng.uniform(-0.1, 1.1, (batch, 50, 4)).astype(np.float32)}


def twin(tensors: Tensors, image: int, threshold: float) -> Found:
    found: Found = []
    for (_, face), (x0, y0, x1, y1) in zip(tensors["scores"][image], tensors["boxes"][image], strict=True):
        if face >= threshold:
            found.append((float(face), 0, [x0 * 320, y0 * 240, x1 * 320, y1 * 240], []))
    return found


@few
@given(seed=seeds, batch=batches, threshold=thresholds)
def test_twin(seed: int, batch: int, threshold: float) -> None:
    tensors = tensors_of(seed, batch)
    found = RFB().decode(tensors, (240, 320), threshold)
    assert len(found) == batch
    for image in range(batch):
        assert_same(found[image], twin(tensors, image, threshold))


def test_scores_and_boxes_must_be_as_many() -> None:
    tensors = tensors_of(0, 1)
    with pytest.raises(InferenceError, match="Output 'boxes' has 49 cells"):
        RFB().decode(tensors | {"boxes": tensors["boxes"][:, 1:]}, (240, 320), 0.5)
