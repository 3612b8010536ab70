"""The three numbers of the kernels' covariance against the matrices of the twin, and what real time means."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive import Matrix
from naive_timed import Motion

from streamtrack.tracking import _motion, _state
from streamtrack.tracking._jit import kernel

SLOT = 1

# What is inlined has no life of its own: give each function one.


@kernel
def start(motion: Matrix, slot: int, x0: float, y0: float, x1: float, y1: float) -> None:
    _motion.start(motion, slot, x0, y0, x1, y1)


@kernel
def move(motion: Matrix, slot: int, dt: float, lost: bool) -> None:
    if lost:
        _motion.fade(motion, slot, dt)
    _motion.predict(motion, slot, dt)


@kernel
def correct(motion: Matrix, slot: int, x0: float, y0: float, x1: float, y1: float) -> None:
    _motion.correct(motion, slot, x0, y0, x1, y1)


def started(box: Matrix) -> Matrix:
    motion = np.full((_state.STATE_ROWS, 3), math.pi)
    start(motion, SLOT, *box)
    return motion


corner = st.floats(-100, 2000)
size = st.floats(1, 1000)
boxes = st.builds(lambda x, y, w, h: np.array([x, y, x + w, y + h]), corner, corner, size, size)
moves = st.tuples(st.floats(1e-3, 3), st.booleans())


@given(boxes, st.lists(st.one_of(boxes, moves, moves), max_size=30))
def test_kernels_follow_the_matrices(first: Matrix, then: list[Matrix | tuple[float, bool]]) -> None:
    motion, twin = started(first), Motion(first)
    for step in then:
        if isinstance(step, tuple):
            dt, lost = step
            move(motion, SLOT, dt, lost)
            if lost:
                twin.fade(dt)
            twin.predict(dt)
        else:
            correct(motion, SLOT, *step)
            twin.correct(step)
        scale = float(np.abs(np.concatenate([twin.position, twin.velocity])).max())
        np.testing.assert_allclose(motion[:4, SLOT], twin.position, rtol=1e-9, atol=1e-9 * scale)
        np.testing.assert_allclose(motion[4:8, SLOT], twin.velocity, rtol=1e-9, atol=1e-9 * scale)
        expected = [twin.covariance[0, 0], twin.covariance[0, 1], twin.covariance[1, 1]]
        np.testing.assert_allclose(motion[8:11, SLOT], expected, rtol=1e-7, atol=1e-12)
        np.testing.assert_allclose(motion[_state.X0 : _state.Y1 + 1, SLOT], twin.box, rtol=1e-9, atol=1e-8 * scale)
        assert (motion[_motion.WIDTH : _motion.HEIGHT + 1, SLOT] > 0).all()
    assert (motion[:, [0, 2]] == math.pi).all()


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("parts", [2, 3, 10])
def test_kernels_predict_the_same_in_one_step_and_in_many(parts: int, lost: bool) -> None:
    one, many = started(np.array([0.0, 0.0, 50.0, 100.0])), started(np.array([0.0, 0.0, 50.0, 100.0]))
    for motion in (one, many):
        move(motion, SLOT, 0.1, False)
        correct(motion, SLOT, 10.0, 5.0, 62.0, 101.0)
    move(one, SLOT, 0.3, lost)
    for _ in range(parts):
        move(many, SLOT, 0.3 / parts, lost)
    uncertain = slice(_motion.VAR, _motion.SPEED_VAR + 1)
    np.testing.assert_allclose(one[uncertain, SLOT], many[uncertain, SLOT], rtol=1e-12)
    np.testing.assert_allclose(one[4:8, SLOT], many[4:8, SLOT], rtol=1e-12)
    # Speed that fades does so step by step; over a third of a second that is a matter of little.
    np.testing.assert_allclose(one[:4, SLOT], many[:4, SLOT], rtol=1e-9, atol=2.0 if lost else 1e-9)
