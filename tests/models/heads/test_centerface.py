"""CenterFace against its slow, obvious twin."""

from __future__ import annotations

import math

import numpy as np
import pytest
from headcases import Found, Tensors, assert_same, batches, few, seeds, thresholds
from hypothesis import given

from streamtrack.errors import InferenceError
from streamtrack.models.heads import CenterFace


def centerface_tensors(seed: int, batch: int, height: int, width: int) -> Tensors:
    rng = np.random.default_rng(seed)
    rows, columns = height // 4, width // 4
    heat = rng.integers(0, 20, (batch, 1, rows, columns)) / 20  # few values, so that neighbours are equal at times
    rest = {name: rng.uniform(-1, 2, (batch, channels, rows, columns)) for name, channels in (("538", 2), ("540", 10))}
    offset = rng.uniform(-0.5, 0.5, (batch, 2, rows, columns))
    return {name: values.astype(np.float32) for name, values in {"537": heat, "539": offset, **rest}.items()}


def centerface_twin(tensors: Tensors, image: int, threshold: float) -> Found:
    heat = tensors["537"][image, 0]
    rows, columns = heat.shape
    found: Found = []
    for y in range(rows):
        for x in range(columns):
            around = heat[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            if heat[y, x] < threshold or heat[y, x] < around.max():
                continue
            h, w = (math.exp(v) * 4 for v in tensors["538"][image, :, y, x])
            dy, dx = tensors["539"][image, :, y, x]
            x0, y0 = (x + dx + 0.5) * 4 - w / 2, (y + dy + 0.5) * 4 - h / 2
            marks = tensors["540"][image, :, y, x]
            points = [[x0 + marks[2 * k + 1] * w, y0 + marks[2 * k] * h] for k in range(5)]
            found.append((float(heat[y, x]), 0, [x0, y0, x0 + w, y0 + h], points))
    return found


@few
@given(seed=seeds, batch=batches, threshold=thresholds)
def test_centerface_twin(seed: int, batch: int, threshold: float) -> None:
    height, width = 32, 64
    tensors = centerface_tensors(seed, batch, height, width)
    found = CenterFace("537", "538", "539", "540").decode(tensors, (height, width), threshold)
    assert len(found) == batch
    for image in range(batch):
        assert_same(found[image], centerface_twin(tensors, image, threshold), 5)


def test_tensors_of_another_input_size_are_an_error() -> None:
    head = CenterFace("537", "538", "539", "540")
    with pytest.raises(InferenceError, match="where an input of 96x64 gives"):
        head.decode(centerface_tensors(0, 1, 64, 64), (64, 96), 0.5)


def test_centerface_is_bound_by_channels_whatever_the_names_and_order() -> None:
    renamed = (("marks", (1, 10, 8, 8)), ("scale", (1, 2, 8, 8)), ("heat", (1, 1, 8, 8)), ("offset", (1, 2, 8, 8)))
    head = CenterFace.bind(renamed)
    assert head is not None
    tensors = centerface_tensors(3, 1, 32, 32)
    names = {"heat": "537", "scale": "538", "offset": "539", "marks": "540"}
    again = {new: tensors[old] for new, old in names.items()}
    assert_same(head.decode(again, (32, 32), 0.8)[0], centerface_twin(tensors, 0, 0.8), 5)
