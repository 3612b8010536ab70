"""ByteTrack's Kalman filter over (centre x, centre y, aspect w / h, height) and their velocities, in arrays.

The noise of each of the four numbers is independent of the others, and that of x, y and height is the same, so the
8 x 8 covariance of the published filter is four 2 x 2 blocks, three of them equal: six numbers hold it exactly.

``motion`` is float64 (``STATE_ROWS``, capacity); a column is a track. Lengths are px of the source frame; time is in
units of one update.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamtrack.tracking._jit import inlined
from streamtrack.tracking._state import X0, X1, Y0, Y1

Float64Array = NDArray[np.float64]

# Rows of ``motion``; the corners of the box as it is now come after them.
CX, CY, ASPECT, HEIGHT = 0, 1, 2, 3
CX_SPEED, CY_SPEED, ASPECT_SPEED, HEIGHT_SPEED = 4, 5, 6, 7
VAR, COV, SPEED_VAR = 8, 9, 10  # position, position with speed, speed: of x, y and height alike
ASPECT_VAR, ASPECT_COV, ASPECT_SPEED_VAR = 11, 12, 13

# Standard deviations: of positions and speeds as a share of the height, of the aspect as they are.
POSITION_STD = 1.0 / 20.0
SPEED_STD = 1.0 / 160.0
ASPECT_STD = 1e-2
ASPECT_SPEED_STD = 1e-5
ASPECT_MEASURED_STD = 1e-1


@inlined
def start(motion: Float64Array, slot: int, x0: float, y0: float, x1: float, y1: float) -> None:
    """Begin the track in column ``slot`` with a box at rest."""
    height = y1 - y0
    motion[CX, slot] = x0 + (x1 - x0) / 2.0
    motion[CY, slot] = y0 + height / 2.0
    motion[ASPECT, slot] = (x1 - x0) / height
    motion[HEIGHT, slot] = height
    motion[CX_SPEED, slot] = 0.0
    motion[CY_SPEED, slot] = 0.0
    motion[ASPECT_SPEED, slot] = 0.0
    motion[HEIGHT_SPEED, slot] = 0.0
    motion[VAR, slot] = (2.0 * POSITION_STD * height) ** 2
    motion[COV, slot] = 0.0
    motion[SPEED_VAR, slot] = (10.0 * SPEED_STD * height) ** 2
    motion[ASPECT_VAR, slot] = ASPECT_STD**2
    motion[ASPECT_COV, slot] = 0.0
    motion[ASPECT_SPEED_VAR, slot] = ASPECT_SPEED_STD**2
    _put_corners(motion, slot)


@inlined
def predict(motion: Float64Array, slot: int, dt: float) -> None:
    """Move the track on by ``dt`` at constant speed; one update of the published filter is ``dt = 1``."""
    height = motion[HEIGHT, slot]
    for row in range(4):
        motion[row, slot] += dt * motion[row + CX_SPEED, slot]
    speed_var = motion[SPEED_VAR, slot]
    ahead = motion[COV, slot] + dt * speed_var
    motion[VAR, slot] += dt * motion[COV, slot] + dt * ahead + dt * (POSITION_STD * height) ** 2
    motion[COV, slot] = ahead
    motion[SPEED_VAR, slot] = speed_var + dt * (SPEED_STD * height) ** 2
    speed_var = motion[ASPECT_SPEED_VAR, slot]
    ahead = motion[ASPECT_COV, slot] + dt * speed_var
    motion[ASPECT_VAR, slot] += dt * motion[ASPECT_COV, slot] + dt * ahead + dt * ASPECT_STD**2
    motion[ASPECT_COV, slot] = ahead
    motion[ASPECT_SPEED_VAR, slot] = speed_var + dt * ASPECT_SPEED_STD**2
    _put_corners(motion, slot)


@inlined
def correct(motion: Float64Array, slot: int, x0: float, y0: float, x1: float, y1: float) -> None:
    """Take the measured box into the track in column ``slot``."""
    var, cov = motion[VAR, slot], motion[COV, slot]
    total = var + (POSITION_STD * motion[HEIGHT, slot]) ** 2
    gain, speed_gain = var / total, cov / total
    height = y1 - y0
    _pull(motion, slot, CX, x0 + (x1 - x0) / 2.0, gain, speed_gain)
    _pull(motion, slot, CY, y0 + height / 2.0, gain, speed_gain)
    _pull(motion, slot, HEIGHT, height, gain, speed_gain)
    motion[VAR, slot] = var - gain * total * gain
    motion[COV, slot] = cov - gain * total * speed_gain
    motion[SPEED_VAR, slot] -= speed_gain * total * speed_gain
    var, cov = motion[ASPECT_VAR, slot], motion[ASPECT_COV, slot]
    total = var + ASPECT_MEASURED_STD**2
    gain, speed_gain = var / total, cov / total
    _pull(motion, slot, ASPECT, (x1 - x0) / height, gain, speed_gain)
    motion[ASPECT_VAR, slot] = var - gain * total * gain
    motion[ASPECT_COV, slot] = cov - gain * total * speed_gain
    motion[ASPECT_SPEED_VAR, slot] -= speed_gain * total * speed_gain
    _put_corners(motion, slot)


@inlined
def _pull(motion: Float64Array, slot: int, row: int, measured: float, gain: float, speed_gain: float) -> None:
    off = measured - motion[row, slot]
    motion[row, slot] += gain * off
    motion[row + CX_SPEED, slot] += speed_gain * off


@inlined
def _put_corners(motion: Float64Array, slot: int) -> None:
    height = motion[HEIGHT, slot]
    width = motion[ASPECT, slot] * height
    x0, y0 = motion[CX, slot] - width / 2.0, motion[CY, slot] - height / 2.0
    motion[X0, slot] = x0
    motion[Y0, slot] = y0
    motion[X1, slot] = x0 + width
    motion[Y1, slot] = y0 + height
