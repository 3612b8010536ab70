"""How a box moves in real time: constant velocity of centre, width and height, with what is not known about it.

All lengths of the model are shares of the track's own height, so a person far away and one close by are the same to
it, and all rates are per second, so a dropped frame, a variable frame rate and a stride are the same, too: five small
predictions and a large one say the same. One 2 x 2 covariance (position, velocity) serves all four numbers; three
numbers hold it, and they depend on nothing but when the track was seen.

``motion`` is float64 (``STATE_ROWS``, capacity); a column is a track. Lengths are px of the source frame, time is in s.
"""

from __future__ import annotations

import numpy as np

from streamtrack.tracking._association import Float64Array
from streamtrack.tracking._jit import inlined
from streamtrack.tracking._state import X0, X1, Y0, Y1

# Rows of ``motion``; the corners of the box as it is now come after them.
CX, CY, WIDTH, HEIGHT = 0, 1, 2, 3
CX_SPEED, CY_SPEED, WIDTH_SPEED, HEIGHT_SPEED = 4, 5, 6, 7  # px/s
VAR, COV, SPEED_VAR = 8, 9, 10  # in heights^2, heights^2/s, heights^2/s^2

# With h for the height of the track.
MEASURED_STD = 0.033
"""Error of a detection's box, h: 3 px of a person 100 px tall, what detectors commonly achieve."""
SPEED_STD = 2.0
"""Speed of something just born, h/s: a person that walks moves one height in a second or so, a run is twice that."""
ACCELERATION = 0.05
"""White noise of the acceleration, h^2/s^3: in one second a speed changes by about 0.22 h/s."""
WANDERING = 0.01
"""White noise of the velocity, h^2/s: gait and a camera that shakes move a box by about 0.1 h in a second, for which
the speed is not to blame."""
FADING = 0.3
"""What is out of sight forgets its speed at this rate, 1/s: people who hide often slow down and stop."""


@inlined
def start(motion: Float64Array, slot: int, x0: float, y0: float, x1: float, y1: float) -> None:
    """Begin the track in column ``slot`` with a box at rest."""
    motion[CX, slot] = (x0 + x1) / 2.0
    motion[CY, slot] = (y0 + y1) / 2.0
    motion[WIDTH, slot] = x1 - x0
    motion[HEIGHT, slot] = y1 - y0
    for row in range(CX_SPEED, HEIGHT_SPEED + 1):
        motion[row, slot] = 0.0
    motion[VAR, slot] = MEASURED_STD**2
    motion[COV, slot] = 0.0
    motion[SPEED_VAR, slot] = SPEED_STD**2
    _put_corners(motion, slot)


@inlined
def fade(motion: Float64Array, slot: int, dt: float) -> None:
    """Let a track that is out of sight forget its speed over ``dt`` s, and how its size changed at once."""
    left = np.exp(-FADING * dt)
    motion[CX_SPEED, slot] *= left
    motion[CY_SPEED, slot] *= left
    motion[WIDTH_SPEED, slot] = 0.0
    motion[HEIGHT_SPEED, slot] = 0.0


@inlined
def predict(motion: Float64Array, slot: int, dt: float) -> None:
    """Move the track on by ``dt`` s at constant speed. Sizes at most halve: they must not reach 0."""
    motion[CX, slot] += dt * motion[CX_SPEED, slot]
    motion[CY, slot] += dt * motion[CY_SPEED, slot]
    for row in range(WIDTH, HEIGHT + 1):
        motion[row, slot] = max(motion[row, slot] + dt * motion[row + CX_SPEED, slot], motion[row, slot] / 2.0)
    cov, speed_var = motion[COV, slot], motion[SPEED_VAR, slot]
    motion[VAR, slot] += dt * (2.0 * cov + dt * (speed_var + dt * ACCELERATION / 3.0) + WANDERING)
    motion[COV, slot] = cov + dt * (speed_var + dt * ACCELERATION / 2.0)
    motion[SPEED_VAR, slot] = speed_var + dt * ACCELERATION
    _put_corners(motion, slot)


@inlined
def correct(motion: Float64Array, slot: int, x0: float, y0: float, x1: float, y1: float) -> None:
    """Take the measured box into the track in column ``slot``."""
    var, cov = motion[VAR, slot], motion[COV, slot]
    total = var + MEASURED_STD**2
    gain, speed_gain = var / total, cov / total
    _pull(motion, slot, CX, (x0 + x1) / 2.0, gain, speed_gain)
    _pull(motion, slot, CY, (y0 + y1) / 2.0, gain, speed_gain)
    _pull(motion, slot, WIDTH, x1 - x0, gain, speed_gain)
    _pull(motion, slot, HEIGHT, y1 - y0, gain, speed_gain)
    motion[VAR, slot] = var * (1.0 - gain)
    motion[COV, slot] = cov * (1.0 - gain)
    motion[SPEED_VAR, slot] -= speed_gain * cov
    _put_corners(motion, slot)


@inlined
def _pull(motion: Float64Array, slot: int, row: int, measured: float, gain: float, speed_gain: float) -> None:
    off = measured - motion[row, slot]
    motion[row, slot] += gain * off
    motion[row + CX_SPEED, slot] += speed_gain * off


@inlined
def _put_corners(motion: Float64Array, slot: int) -> None:
    x0 = motion[CX, slot] - motion[WIDTH, slot] / 2.0
    y0 = motion[CY, slot] - motion[HEIGHT, slot] / 2.0
    motion[X0, slot] = x0
    motion[Y0, slot] = y0
    motion[X1, slot] = x0 + motion[WIDTH, slot]
    motion[Y1, slot] = y0 + motion[HEIGHT, slot]


@inlined
def spread(motion: Float64Array, slot: int) -> float:
    """Return the standard deviation of where the track is, px."""
    deviation: float = np.sqrt(motion[VAR, slot]) * motion[HEIGHT, slot]
    return deviation
