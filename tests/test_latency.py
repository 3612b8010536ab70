import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.latency import Latency


@given(st.lists(st.floats(0.2, 1e6), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_percentiles_are_those_of_the_sorted_list_to_one_percent(ages: list[float], share: float) -> None:
    latency = Latency()
    for age in ages:
        latency.add(age)
    exact = float(np.percentile(ages, 100 * share, method="inverted_cdf"))
    assert latency.percentile(share) == pytest.approx(exact, rel=0.0105)


def test_the_figures() -> None:
    latency = Latency()
    for age in range(1, 1001):
        latency.add(float(age))
    found = latency.metrics()
    assert found is not None
    assert (found.frames, found.max_ms) == (1000, 1000.0)
    assert found.p50_ms == pytest.approx(500, rel=0.011)
    assert found.p95_ms == pytest.approx(950, rel=0.011)
    assert found.p99_ms == pytest.approx(990, rel=0.011)


def test_a_clock_that_runs_ahead_counts_as_no_age() -> None:
    latency = Latency()
    latency.add(-5.0)
    assert latency.percentile(1.0) == pytest.approx(0.1, rel=0.011)


def test_nothing_has_no_figures() -> None:
    assert Latency().metrics() is None
