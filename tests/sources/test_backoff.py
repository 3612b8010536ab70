from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.sources._backoff import Backoff


@given(st.integers())
def test_waits_double_to_30_s_and_are_spread_by_a_fifth(seed: int) -> None:
    backoff = Backoff(random.Random(seed))
    for expected in (0.5, 1, 2, 4, 8, 16, 30, 30, 30):
        assert backoff.next_s() == pytest.approx(expected, rel=0.2)
    backoff.reset()
    assert backoff.next_s() == pytest.approx(0.5, rel=0.2)


def test_clients_that_lost_a_server_together_do_not_come_back_together() -> None:
    assert len({Backoff(random.Random(seed)).next_s() for seed in range(20)}) == 20


def test_what_lasts_is_tried_slowly_and_holds_up_nothing_else() -> None:
    backoff = Backoff(random.Random(1))
    assert backoff.next_s(lasting=True) == pytest.approx(30, rel=0.2)
    assert backoff.next_s() == pytest.approx(0.5, rel=0.2)
