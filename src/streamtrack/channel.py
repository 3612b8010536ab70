"""A bounded queue between two threads, with statistics: together with ``threads`` all the concurrency there is.

``close()`` says that no more will be put: what is queued is still delivered, then ``get`` raises ``ChannelClosed``.
``cancel()`` wakes everybody now: every waiting or later call raises ``Cancelled``. Everything else (end of stream,
stop,
Ctrl-C, error) reduces to these two. The habit of a channel that reports its own statistics is Trio's.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

# Python handles a signal between two steps of the main thread. One that comes just before a wait without a limit would
# be handled when that wait ends, which with a silent feed may be never.
_POLL_S = 0.5


class ChannelClosed(Exception):
    """Nothing is left and nothing will come."""


class Cancelled(Exception):
    """The run is over; drop everything."""


@dataclass(frozen=True, slots=True)
class ChannelStats:
    """What a channel saw so far."""

    name: str
    capacity: int
    depth: int
    peak: int
    items: int
    """Put and not refused, dropped ones included."""
    dropped: int
    put_wait_s: float
    """Seconds the producer waited because the channel was full: the consumer is the bottleneck."""
    get_wait_s: float
    """Seconds the consumer waited because it was empty: the producer is the bottleneck."""


class Channel(Generic[T]):
    """Bounded first-in-first-out queue.

    A full one blocks its producer or, with ``drop_oldest``, gives up its oldest item. What its consumer must learn of
    that all the same is handed on: ``inherit(lost, next)`` returns what takes the place of the item after it.
    """

    def __init__(
        self,
        name: str,
        capacity: int,
        *,
        drop_oldest: bool = False,
        inherit: Callable[[T, T], T] = lambda lost, heir: heir,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"capacity of channel '{name}' must be at least 1, got {capacity}")
        self.name = name
        self._capacity = capacity
        self.drop_oldest = drop_oldest
        """Whether a full channel gives up its oldest item instead of blocking."""
        self._inherit = inherit
        self._items: deque[T] = deque()
        lock = threading.Lock()
        self._not_empty = threading.Condition(lock)
        self._not_full = threading.Condition(lock)
        self._lock = lock
        self._closed = False
        self._cancelled = False
        self._peak = self._count = self._dropped = 0
        self._put_wait_s = self._get_wait_s = 0.0

    def resize(self, capacity: int, *, drop_oldest: bool) -> None:
        """Hold at most ``capacity`` items from now on; what is queued already stays until it is taken or given up."""
        with self._lock:
            self._capacity, self.drop_oldest = capacity, drop_oldest
            self._not_full.notify_all()

    def put(self, item: T) -> None:
        """Append ``item``, waiting for room unless the channel drops its oldest.

        Raises:
            Cancelled: the channel was cancelled.
            ChannelClosed: the channel was closed.
        """
        with self._lock:
            if not self.drop_oldest:
                self._wait_for_room()
            if self._cancelled:
                raise Cancelled(self.name)
            if self._closed:
                raise ChannelClosed(self.name)
            self._items.append(item)
            while len(self._items) > self._capacity:
                lost = self._items.popleft()
                self._items[0] = self._inherit(lost, self._items[0])
                self._dropped += 1
            self._count += 1
            self._peak = max(self._peak, len(self._items))
            self._not_empty.notify()

    def _wait_for_room(self) -> None:
        if len(self._items) >= self._capacity and not (self._closed or self._cancelled):
            began = time.perf_counter()
            while len(self._items) >= self._capacity and not (self._closed or self._cancelled):
                self._not_full.wait(_POLL_S)
            self._put_wait_s += time.perf_counter() - began

    def wait_for_room(self) -> None:
        """Wait until there is room for an item; nothing is put.

        Raises:
            Cancelled: the channel was cancelled.
            ChannelClosed: the channel was closed.
        """
        with self._lock:
            self._wait_for_room()
            if self._cancelled:
                raise Cancelled(self.name)
            if self._closed:
                raise ChannelClosed(self.name)

    def wait_for_item(self) -> None:
        """Wait until there is an item; nothing is taken.

        Raises:
            ChannelClosed: the channel was closed and is empty.
            Cancelled: the channel was cancelled.
        """
        with self._lock:
            self._wait_for(1)

    def get(self) -> T:
        """Return the oldest item, waiting for one.

        Raises:
            ChannelClosed: the channel was closed and is empty.
            Cancelled: the channel was cancelled.
        """
        with self._lock:
            self._wait_for(1)
            return self._take()

    def get_batch(self, limit: int, *, fill: bool) -> list[T]:
        """Return 1 to ``limit`` items, oldest first.

        With ``fill``, wait until ``limit`` are there or the channel is closed, so that batches do not depend on timing;
        without, take what is queued and wait only for the first. ``limit`` above the capacity is cut to it.

        Raises:
            ChannelClosed: the channel was closed and is empty.
            Cancelled: the channel was cancelled.
        """
        limit = min(limit, self._capacity)
        with self._lock:
            self._wait_for(limit if fill else 1)
            return [self._take() for _ in range(min(limit, len(self._items)))]

    def _wait_for(self, wanted: int) -> None:
        if len(self._items) < wanted and not (self._closed or self._cancelled):
            began = time.perf_counter()
            while len(self._items) < wanted and not (self._closed or self._cancelled):
                self._not_empty.wait(_POLL_S)
            self._get_wait_s += time.perf_counter() - began
        if self._cancelled:
            raise Cancelled(self.name)
        if not self._items:
            raise ChannelClosed(self.name)

    def _take(self) -> T:
        item = self._items.popleft()
        self._not_full.notify()
        return item

    def close(self) -> None:
        """Accept no more; what is queued is still delivered."""
        with self._lock:
            self._closed = True
            self._not_empty.notify_all()
            self._not_full.notify_all()

    def cancel(self) -> None:
        """Drop what is queued and wake every waiter."""
        with self._lock:
            self._cancelled = True
            self._items.clear()
            self._not_empty.notify_all()
            self._not_full.notify_all()

    def __iter__(self) -> Iterator[T]:
        """Yield items until the channel is closed and empty."""
        while True:
            try:
                yield self.get()
            except ChannelClosed:
                return

    @property
    def stats(self) -> ChannelStats:
        """A consistent copy of the counters."""
        with self._lock:
            return ChannelStats(
                self.name,
                self._capacity,
                len(self._items),
                self._peak,
                self._count,
                self._dropped,
                round(self._put_wait_s, 6),
                round(self._get_wait_s, 6),
            )
