"""The six numbers of the kernels' covariance against the 8 x 8 matrix of the twin."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from naive import Kalman, Matrix

from streamtrack.tracking import _kalman, _state
from streamtrack.tracking._jit import kernel

SLOT = 1

# What is inlined has no life of its own: give each function one.


@kernel
def start(motion: Matrix, slot: int, x0: float, y0: float, x1: float, y1: float) -> None:
    _kalman.start(motion, slot, x0, y0, x1, y1)


@kernel
def predict(motion: Matrix, slot: int, dt: float) -> None:
    _kalman.predict(motion, slot, dt)


@kernel
def correct(motion: Matrix, slot: int, x0: float, y0: float, x1: float, y1: float) -> None:
    _kalman.correct(motion, slot, x0, y0, x1, y1)


def covariance(motion: Matrix) -> Matrix:
    """The 8 x 8 matrix that the six numbers stand for."""
    matrix = np.zeros((8, 8))
    for i in range(4):
        first = _kalman.ASPECT_VAR if i == _kalman.ASPECT else _kalman.VAR
        var, cov, speed_var = motion[first : first + 3, SLOT]
        matrix[i, i], matrix[i, i + 4], matrix[i + 4, i], matrix[i + 4, i + 4] = var, cov, cov, speed_var
    return matrix


corner = st.floats(-100, 2000)
size = st.floats(1, 1000)
boxes = st.builds(lambda x, y, w, h: np.array([x, y, x + w, y + h]), corner, corner, size, size)
steps = st.lists(st.one_of(boxes, st.sampled_from([0.5, 1.0, 1.0, 3.0])), max_size=30)


@given(boxes, steps)
def test_kernels_follow_the_full_matrix(first: Matrix, then: list[Matrix | float]) -> None:
    motion = np.full((_state.STATE_ROWS, 3), math.pi)
    start(motion, SLOT, *first)
    twin = Kalman(first)
    for step in then:
        if isinstance(step, float):
            predict(motion, SLOT, step)
            twin.predict(step)
        else:
            correct(motion, SLOT, *step)
            twin.correct(step)
        scale = np.sqrt(np.diag(twin.covariance))
        np.testing.assert_allclose(motion[:8, SLOT], twin.mean, rtol=1e-9, atol=1e-7)
        np.testing.assert_allclose(
            covariance(motion) / scale / scale[:, None], twin.covariance / scale / scale[:, None], atol=1e-9
        )
    assert (motion[:, [0, 2]] == math.pi).all()
