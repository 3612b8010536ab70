import statistics

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.benching.figures import pooled, spreads
from streamtrack.benching.tasks import Measured


def measured(calls: list[float], *, joules: float | None = None, memory: float = 100.0) -> Measured:
    detects = [call + 1 for call in calls]
    return Measured(
        device="cpu", input_hw=(64, 96), load_s=0.1, call_ms=calls, detect_ms=detects, wall_s=sum(detects) / 1000,
        cpu_s=sum(detects) / 2000, frames=len(calls), peak_memory_mb=memory, preprocess_ms=0.5, postprocess_ms=0.5,
        joules=joules, energy_source="RAPL" if joules is not None else "", found=[],
    )  # fmt: skip


def naive_percentile(values: list[float], share: int) -> float:
    """The smallest value that at least ``share`` % of the values do not exceed."""
    return next(v for v in sorted(values) if 100 * sum(w <= v for w in values) >= share * len(values))


@given(st.lists(st.lists(st.floats(0.1, 100), min_size=2, max_size=30), min_size=1, max_size=4))
def test_rounds_are_pooled_and_their_differences_are_the_spread(rounds: list[list[float]]) -> None:
    figures, spread = pooled([measured(calls) for calls in rounds])
    every = [call for calls in rounds for call in calls]
    for name, share in (("p50_ms", 50), ("p95_ms", 95), ("p99_ms", 99)):
        assert getattr(figures, name) == pytest.approx(naive_percentile(every, share), abs=1e-4)
    assert figures.p50_ms <= figures.p95_ms <= figures.p99_ms
    assert figures.fps == pytest.approx(1000 * len(every) / sum(call + 1 for call in every), rel=1e-3, abs=1e-3)
    assert figures.cpu_percent == pytest.approx(50, abs=0.01)
    medians = [naive_percentile(calls, 50) for calls in rounds]
    if len(rounds) > 1:
        expected = (max(medians) - min(medians)) / statistics.fmean(medians)
        assert spread["p50_ms"] == pytest.approx(expected, abs=2e-3)


def test_a_single_round_is_compared_with_itself_half_by_half() -> None:
    figures, spread = pooled([measured([1.0] * 50 + [3.0] * 50)])
    assert (figures.first_p50_ms, figures.last_p50_ms) == (1.0, 3.0)
    assert spread["p50_ms"] == 1.0
    assert spread["peak_memory_mb"] == 0.0
    assert pooled([measured([1.0])])[1] == {}


def test_first_and_last_part_come_from_the_first_and_the_last_round() -> None:
    figures, _ = pooled([measured([1.0] * 8 + [2.0] * 8), measured([5.0] * 8 + [9.0] * 8)])
    assert (figures.first_p50_ms, figures.last_p50_ms) == (1.0, 9.0)


def test_energy_is_told_only_where_every_round_knows_it() -> None:
    assert pooled([measured([1.0] * 10, joules=5.0), measured([1.0] * 10, joules=15.0)])[0].joules_per_frame == 1.0
    assert pooled([measured([1.0] * 10, joules=5.0), measured([1.0] * 10)])[0].joules_per_frame is None


def test_spreads_of_what_every_part_has() -> None:
    assert spreads([{"a": 1.0, "b": None, "c": 0.0}, {"a": 3.0, "b": 2.0, "c": 0.0}]) == {"a": 1.0, "c": 0.0}
    assert spreads([{"a": 1.0}]) == {}


def test_measured_survives_the_wire() -> None:
    sent = measured([1.0, 2.0])
    assert msgspec.json.decode(msgspec.json.encode(sent), type=Measured) == sent
