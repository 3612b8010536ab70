"""What is kept of a long life: never too much, always the best, and something good near everything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamtrack.sinks._keeping import Keeper

Offer = tuple[int, int]
OFFERS = st.lists(st.tuples(st.integers(1, 10**10), st.integers(0, 20)), max_size=80).map(
    lambda steps: [(sum(step for step, _ in steps[: n + 1]), quality) for n, (_, quality) in enumerate(steps)]
)


def keep(capacity: int, offers: list[Offer]) -> Keeper[Offer]:
    """Offer all, and check at every step what must hold at every step."""
    keeper: Keeper[Offer] = Keeper(capacity)
    kept: set[Offer] = set()
    for n, (pts_ns, quality) in enumerate(offers):
        dropped = keeper.offer(pts_ns, quality, (pts_ns, quality))
        kept = (kept | {(pts_ns, quality)}) - set(dropped)
        assert keeper.items() == sorted(kept)
        assert len(dropped) <= 1
        assert len(keeper) == len(kept) <= capacity
        assert max(quality for _, quality in kept) == max(quality for _, quality in offers[: n + 1])
    return keeper


@given(capacity=st.integers(1, 12), offers=OFFERS)
def test_something_as_good_is_kept_near_whatever_was_offered(capacity: int, offers: list[Offer]) -> None:
    keeper = keep(capacity, offers)
    for pts_ns, quality in offers:
        near = [kept for kept in keeper.items() if abs(kept[0] - pts_ns) < keeper.reach_ns]
        assert max(other for _, other in near) >= quality
    if len(offers) > capacity > 1:
        life = offers[-1][0] - offers[0][0]
        assert keeper.reach_ns * (capacity - 1) < 2 * life


@given(capacity=st.integers(1, 12), offers=OFFERS)
def test_whatever_fits_is_kept(capacity: int, offers: list[Offer]) -> None:
    few = offers[:capacity]
    assert keep(capacity, few).items() == few


@given(capacity=st.integers(2, 40), count=st.integers(1, 300), interval=st.integers(1, 10**9))
def test_of_candidates_at_even_intervals_the_places_are_all_used(capacity: int, count: int, interval: int) -> None:
    offers = [(n * interval, 1) for n in range(count)]
    kept = [pts_ns for pts_ns, _ in keep(capacity, offers).items()]
    assert len(kept) == min(capacity, count)
    gaps = [later - earlier for earlier, later in zip([*kept, offers[-1][0]], [*kept[1:], offers[-1][0]], strict=False)]
    assert max(gaps) <= max(4 * count * interval / (capacity - 1), interval)


def test_of_two_that_are_equal_the_earlier_stays() -> None:
    keeper: Keeper[str] = Keeper(1)
    assert keeper.offer(0, 0.5, "first") == []
    assert keeper.offer(10, 0.5, "second") == ["second"]
    assert keeper.offer(20, 0.6, "third") == ["first"]
    assert keeper.items() == ["third"]


def test_the_weakest_of_neighbours_makes_room() -> None:
    keeper: Keeper[int] = Keeper(4)
    for n, quality in enumerate((9, 2, 8, 7)):
        assert keeper.offer(n, quality, n) == []
    assert keeper.offer(4, 5, 4) == [1]
    assert keeper.offer(5, 6, 5) == [4]
