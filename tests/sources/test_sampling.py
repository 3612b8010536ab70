from __future__ import annotations

from fractions import Fraction
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.errors import ConfigError
from streamtrack.sources.sampling import Sampler, choose
from streamtrack.types import NS_PER_S


def taken(sampler: Sampler, times_ns: list[int]) -> list[int]:
    return [index for index, pts_ns in enumerate(times_ns) if sampler.wants(index, pts_ns)]


def even(rate: Fraction, count: int, unit_ns: int = 1) -> list[int]:
    """Times of ``count`` frames at an even rate, rounded to whole units."""
    return [round(n / rate * NS_PER_S / unit_ns) * unit_ns for n in range(count)]


def division(pts_ns: int, fps: float) -> int:
    """The slow twin: which grid point a time belongs to, in exact fractions."""
    return (Fraction(pts_ns, NS_PER_S) * Fraction(str(fps)) + Fraction(1, 4)).__floor__()


rates = st.sampled_from(
    [Fraction(10), Fraction(25, 2), Fraction(24000, 1001), Fraction(25), Fraction(30), Fraction(60)]
)
limits = st.floats(0.05, 120).map(lambda fps: round(fps, 3))
gaps = st.lists(st.integers(1, 400_000_000), min_size=1, max_size=200)


@given(stride=st.integers(1, 40), count=st.integers(0, 200))
def test_stride_is_every_nth_index_whatever_the_times(stride: int, count: int) -> None:
    assert taken(choose(stride, 0, 25), list(range(count))) == list(range(0, count, stride))


@given(fps=limits, steps=gaps)
def test_fps_takes_the_first_frame_of_each_division(fps: float, steps: list[int]) -> None:
    times = [0, *accumulate(steps)]
    first = {}
    for index, pts_ns in enumerate(times):
        first.setdefault(division(pts_ns, fps), index)
    assert taken(choose(1, fps, 0), times) == list(first.values())


@given(fps=limits, steps=gaps)
def test_fps_is_never_exceeded(fps: float, steps: list[int]) -> None:
    times = [0, *accumulate(steps)]
    kept = [times[index] for index in taken(choose(1, fps, 0), times)]
    for first, a in enumerate(kept):
        for count, b in enumerate(kept[first:], start=1):
            assert count <= (b - a) * fps / NS_PER_S + 2


@given(fps=limits, rate=rates, count=st.integers(2, 2000))
def test_fps_does_not_drift(fps: float, rate: Fraction, count: int) -> None:
    times = even(rate, count)
    kept = taken(choose(1, fps, float(rate)), times)
    assert abs(len(kept) - min(count, times[-1] / NS_PER_S * fps)) <= 2


@pytest.mark.parametrize("unit_ns", [1, 1_000_000, 10_000_000])
@given(rate=rates, factor=st.sampled_from([1.0, 1.001, 1.2, 3.0, 1000.0]))
def test_fps_at_or_above_the_rate_takes_every_frame_though_times_are_rounded(
    unit_ns: int, rate: Fraction, factor: float
) -> None:
    if unit_ns * 4 * rate > NS_PER_S:
        return
    times = even(rate, 500, unit_ns)
    assert taken(choose(1, float(rate) * factor, float(rate)), times) == list(range(500))


@given(rate=rates, seed=st.randoms(use_true_random=False))
def test_fps_at_the_rate_stands_a_fifth_of_a_period_of_jitter(rate: Fraction, seed: object) -> None:
    period = NS_PER_S / rate
    times = [round(n * period + seed.uniform(-0.2, 0.2) * period) for n in range(100)]  # type: ignore[attr-defined]
    assert taken(choose(1, float(rate), float(rate)), times) == list(range(100))


def test_a_divisor_of_the_rate_takes_every_nth() -> None:
    assert taken(choose(1, 10, 30), even(Fraction(30), 300)) == list(range(0, 300, 3))
    assert taken(choose(1, 10, 30), even(Fraction(30), 300, 1_000_000)) == list(range(0, 300, 3))


@given(stride=st.integers(2, 20), fps=st.floats(0.5, 60), rate=rates)
def test_the_sparser_one_wins(stride: int, fps: float, rate: Fraction) -> None:
    times = even(rate, 400)
    both = taken(choose(stride, fps, float(rate)), times)
    alone = [taken(choose(stride, 0, float(rate)), times), taken(choose(1, fps, float(rate)), times)]
    assert both == alone[0 if rate / stride <= fps else 1]
    assert len(both) <= min(len(one) for one in alone) + 2


@given(stride=st.integers(2, 20), fps=st.floats(0.5, 60), steps=gaps)
def test_both_apply_where_the_rate_is_unknown(stride: int, fps: float, steps: list[int]) -> None:
    times = [0, *accumulate(steps)]
    both = taken(choose(stride, fps, 0), times)
    assert all(index % stride == 0 for index in both)
    assert all(division(times[a], fps) < division(times[b], fps) for a, b in pairwise(both))


@pytest.mark.parametrize(
    ("stride", "fps", "rate", "text", "delivered"),
    [
        (1, 0, 25, "every frame", 25),
        (5, 0, 25, "every 5th frame", 5),
        (2, 0, 0, "every 2nd frame", 0),
        (1, 8, 25, "8 fps by timestamp", 8),
        (1, 8, 5, "8 fps by timestamp", 5),
        (1, 8, 0, "8 fps by timestamp", 8),
        (5, 8, 25, "every 5th frame (sparser than 8 fps)", 5),
        (2, 7.5, 25, "7.5 fps by timestamp (sparser than every 2nd frame)", 7.5),
        (3, 8, 0, "every 3rd frame, at most 8 fps by timestamp", 0),
        (21, 0, 42, "every 21st frame", 2),
        (112, 0, 112, "every 112th frame", 1),
    ],
)
def test_says_in_words_what_it_does(stride: int, fps: float, rate: float, text: str, delivered: float) -> None:
    sampler = choose(stride, fps, rate)
    assert sampler.text == text
    assert sampler.rate == pytest.approx(delivered)


@pytest.mark.parametrize(("stride", "fps"), [(0, 0), (-1, 0), (1, -0.1), (1, float("inf")), (1, float("nan"))])
def test_refuses_what_cannot_be(stride: int, fps: float) -> None:
    with pytest.raises(ConfigError, match=r"^source\.(stride|fps) must be"):
        choose(stride, fps, 25)
