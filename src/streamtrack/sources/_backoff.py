"""How long to wait before trying again."""

from __future__ import annotations

import random
from typing import Final

_FIRST_S: Final = 0.5
LONGEST_S: Final = 30.0
JITTER: Final = 0.2


class Backoff:
    """Waits of 0.5 s, doubling to 30 s, each up to 20 % longer or shorter.

    Many clients of one server that lost it together must not come back together.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._next_s = _FIRST_S

    def next_s(self, *, lasting: bool = False) -> float:
        """Return how many seconds to wait now.

        Args:
            lasting: trying soon is of no use: wait as long as ever.
        """
        wait_s = LONGEST_S if lasting else self._next_s
        if not lasting:
            self._next_s = min(2 * self._next_s, LONGEST_S)
        return wait_s * self._rng.uniform(1 - JITTER, 1 + JITTER)

    def reset(self) -> None:
        """Begin anew: all was well for long enough."""
        self._next_s = _FIRST_S
