"""Which of many pictures of one track are kept: the best of each stretch of its life, decided as they come."""

from __future__ import annotations

from collections import defaultdict
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
_Place = tuple[int, int]
"""Level and number of a stretch: it lasts ``2**level`` ns and begins that many times its number after the first."""


class _Kept(NamedTuple, Generic[T]):
    pts_ns: int
    quality: float
    item: T


class Keeper(Generic[T]):
    """Keeps at most ``capacity`` of what it is offered, at most one in each stretch of media time.

    Stretches are as short as the capacity allows. They begin at 1 ns, and when there is one too many, two halves of a
    stretch become one: those whose weaker picture is the weakest. Only when no two halves are left are all of them
    twice as long. A stretch keeps the best it was ever offered. So

    - the best of all is always among those kept;
    - for whatever was offered, one at least as good is kept that is no further away than ``reach_ns``, and that is less
      than ``2 / (capacity - 1)`` of the time from the first offer to the last.

    Memory is bounded by the capacity, however long the track lives.
    """

    def __init__(self, capacity: int) -> None:
        """Keep up to ``capacity`` items, 1 or more."""
        self._capacity = capacity
        self._first_ns: int | None = None
        self._level = 0
        # Whole stretches have the level, and those that two became have the next one.
        self._kept: dict[_Place, _Kept[T]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def reach_ns(self) -> int:
        """How long the longest stretch may be so far, in ns."""
        return 2 << self._level

    def items(self) -> list[T]:
        """Return what is kept, in the order of time."""
        return [kept.item for kept in sorted(self._kept.values(), key=lambda kept: kept.pts_ns)]

    def offer(self, pts_ns: int, quality: float, item: T) -> list[T]:
        """Take ``item``, and return what is kept no longer: nothing, an earlier item, or this one itself.

        Args:
            pts_ns: its media time, later than all before it.
            quality: whatever can be compared; of two that are equal the earlier one stays.
            item: what is to be kept.
        """
        if self._first_ns is None:
            self._first_ns = pts_ns
        at = pts_ns - self._first_ns
        wide = (self._level + 1, at >> (self._level + 1))
        place = wide if wide in self._kept else (self._level, at >> self._level)
        offered, held = _Kept(pts_ns, quality, item), self._kept.get(place)
        if held is not None and held.quality >= quality:
            return [item]
        self._kept[place] = offered
        if held is not None:
            return [held.item]
        return [self._join()] if len(self._kept) > self._capacity else []

    def _join(self) -> T:
        """Make one of two halves and return what is then kept no longer."""
        while True:
            halves: defaultdict[_Place, list[_Place]] = defaultdict(list)
            for level, number in self._kept:
                if level == self._level:
                    halves[level + 1, number >> 1].append((level, number))
            pairs = [(wide, pair) for wide, pair in halves.items() if len(pair) > 1]
            if pairs:
                break
            self._kept = {(self._level + 1, n >> (self._level + 1 - level)): k for (level, n), k in self._kept.items()}
            self._level += 1
        # Of two that are equal the earlier one stays, and so the later one is the weaker.
        weaker = {wide: max(pair, key=self._weakness) for wide, pair in pairs}
        wide = max(weaker, key=lambda wide: self._weakness(weaker[wide]))
        (better,) = (place for place in halves[wide] if place != weaker[wide])
        dropped = self._kept.pop(weaker[wide])
        self._kept[wide] = self._kept.pop(better)
        return dropped.item

    def _weakness(self, place: _Place) -> tuple[float, int]:
        kept = self._kept[place]
        return -kept.quality, kept.pts_ns
