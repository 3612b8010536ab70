"""Pictures to compare with, and what counts as the same answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streamtrack.models.spec import ModelSpec
from streamtrack_coreml import parity

PLAIN = ModelSpec(name="plain", head="auto")
ARRAYS = hnp.arrays(np.float32, (2, 3), elements=st.floats(-1e6, 1e6, width=32))


@pytest.mark.parametrize("size", [(32, 64), (96, 32), (64, 64)])
def test_pictures_are_inputs_as_the_spec_wants_them(size: tuple[int, int]) -> None:
    plain = parity.pictures(size, PLAIN)
    scaled = parity.pictures(size, ModelSpec(name="scaled", head="auto", mean=127.5, scale=1 / 128))
    for pixels, values in zip(plain, scaled, strict=True):
        assert pixels.shape == (1, 3, *size)
        assert pixels.dtype == values.dtype == np.float32
        assert pixels.min() >= 0
        assert pixels.max() <= 255
        assert np.array_equal(pixels, np.rint(pixels))
        np.testing.assert_allclose(values, (pixels - 127.5) / 128, atol=1e-6)


def test_a_photograph_is_smooth_and_noise_is_not() -> None:
    photograph, dark, noise = (each[0].astype(np.float64) for each in parity.pictures((128, 128), PLAIN))
    step = [np.abs(np.diff(each, axis=2)).mean() / each.std() for each in (photograph, noise)]
    assert step[0] < 0.7 * step[1]
    assert dark.max() < 30


@given(want=ARRAYS, noise=ARRAYS)
def test_the_error_is_the_largest_distance(want: np.ndarray, noise: np.ndarray) -> None:
    found = (want + noise).astype(np.float32)
    (difference,) = parity.compare({"x": want}, {"x": found})
    slow = max(abs(float(a) - float(b)) for a, b in zip(want.ravel(), found.ravel(), strict=True))
    assert difference.error == slow
    assert difference.largest == max(abs(float(a)) for a in want.ravel())
    assert difference.agrees == (slow <= 1e-4 * max(difference.largest, 1))


@pytest.mark.parametrize(
    "found", [np.full((2, 2), np.nan), np.full((2, 2), np.inf), np.zeros((2, 3)), np.zeros((4,))], ids=str
)
def test_what_is_not_finite_or_of_another_shape_never_agrees(found: np.ndarray) -> None:
    (difference,) = parity.compare({"x": np.zeros((2, 2))}, {"x": found})
    assert difference.error == np.inf
    assert not difference.agrees


def test_nothing_agrees_with_nothing() -> None:
    (difference,) = parity.compare({"x": np.zeros((0, 4))}, {"x": np.zeros((0, 4))})
    assert difference.agrees


def test_the_worst_of_each_output_in_their_order() -> None:
    seen = [parity.Difference("b", 1, 1), parity.Difference("a", 2, 1), parity.Difference("b", 3, 1)]
    assert parity.worst(seen) == [seen[2], seen[1]]
    assert str(seen[2]) == "b 3.0e+00 of values up to 1"
