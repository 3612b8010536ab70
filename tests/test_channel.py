"""The channel: order, bounds, losses and wake-ups, against a model and under real threads."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamtrack.channel import Cancelled, Channel, ChannelClosed
from streamtrack.threads import ThreadGroup

PROMPT_S = 5.0
"""Far above what a wake-up takes, far below the suite's timeout."""


class ChannelAgainstModel(RuleBasedStateMachine):
    """Every sequence of calls that cannot block behaves as a list with a capacity."""

    @initialize(capacity=st.integers(1, 5), drop_oldest=st.booleans())
    def begin(self, capacity: int, drop_oldest: bool) -> None:
        self.heirs: list[tuple[int, int]] = []
        self.channel: Channel[int] = Channel("model", capacity, drop_oldest=drop_oldest, inherit=self.inherit)
        self.capacity, self.drop_oldest = capacity, drop_oldest
        self.queued: deque[int] = deque()
        self.put_count = self.dropped = self.delivered = self.discarded = self.peak = 0
        self.closed = self.cancelled = False

    def inherit(self, lost: int, heir: int) -> int:
        self.heirs.append((lost, heir))
        return heir

    def ends_in(self) -> type[Exception] | None:
        return Cancelled if self.cancelled else ChannelClosed if self.closed else None

    @precondition(lambda self: self.drop_oldest or len(self.queued) < self.capacity or self.closed or self.cancelled)
    @rule()
    def put(self) -> None:
        expected = self.ends_in()
        if expected:
            with pytest.raises(expected, match="model"):
                self.channel.put(-1)
            return
        self.queued.append(self.put_count)
        if len(self.queued) > self.capacity:
            self.queued.popleft()
            self.dropped += 1
        self.channel.put(self.put_count)
        # Whatever is lost is handed to the one after it, once.
        assert len(self.heirs) == self.dropped
        assert not self.dropped or self.heirs[-1][1] == self.heirs[-1][0] + 1
        self.peak = max(self.peak, len(self.queued))
        self.put_count += 1

    @precondition(lambda self: self.queued or self.closed or self.cancelled)
    @rule()
    def get(self) -> None:
        if not self.queued:
            with pytest.raises(self.ends_in() or AssertionError):
                self.channel.get()
            return
        assert self.channel.get() == self.queued.popleft()
        self.delivered += 1

    @precondition(lambda self: self.queued or self.closed or self.cancelled)
    @rule(limit=st.integers(1, 8), fill=st.booleans())
    def get_batch(self, limit: int, fill: bool) -> None:
        if not self.queued:
            with pytest.raises(self.ends_in() or AssertionError):
                self.channel.get_batch(limit, fill=fill)
            return
        wanted = min(limit, self.capacity)
        if fill and len(self.queued) < wanted and not self.closed:
            return  # This would wait; the threaded tests below do.
        expected = [self.queued.popleft() for _ in range(min(wanted, len(self.queued)))]
        assert self.channel.get_batch(limit, fill=fill) == expected
        self.delivered += len(expected)

    @rule()
    def close(self) -> None:
        self.channel.close()
        self.closed = True

    @rule()
    def cancel(self) -> None:
        self.channel.cancel()
        self.cancelled = True
        self.discarded += len(self.queued)
        self.queued.clear()

    @invariant()
    def the_statistics_add_up(self) -> None:
        stats = self.channel.stats
        assert (stats.name, stats.capacity, stats.depth) == ("model", self.capacity, len(self.queued))
        assert (stats.items, stats.dropped) == (self.put_count, self.dropped)
        assert stats.items == self.delivered + stats.dropped + stats.depth + self.discarded
        assert stats.peak == self.peak <= self.capacity
        assert stats.put_wait_s == stats.get_wait_s == 0.0


TestChannelAgainstModel = ChannelAgainstModel.TestCase


def run_both(channel: Channel[int], produce: Callable[[], None], consume: Callable[[], None]) -> ThreadGroup:
    """Run a producer and a consumer to their end, or fail within bounds."""
    group = ThreadGroup(on_error=channel.cancel)
    group.start("producer", produce)
    group.start("consumer", consume)
    alive = group.join(PROMPT_S)
    channel.cancel()
    assert not alive
    return group


@settings(max_examples=40)
@given(count=st.integers(0, 200), capacity=st.integers(1, 7), limit=st.integers(1, 9), fill=st.booleans())
def test_two_threads_lose_nothing_and_keep_the_order(count: int, capacity: int, limit: int, fill: bool) -> None:
    channel: Channel[int] = Channel("threads", capacity)
    got: list[list[int]] = []

    def produce() -> None:
        for item in range(count):
            channel.put(item)
        channel.close()

    def consume() -> None:
        while True:
            got.append(channel.get_batch(limit, fill=fill))

    group = run_both(channel, produce, consume)
    assert group.error is None
    assert [item for batch in got for item in batch] == list(range(count))
    wanted = min(limit, capacity)
    assert all(1 <= len(batch) <= wanted for batch in got)
    if fill:
        assert all(len(batch) == wanted for batch in got[:-1])
    stats = channel.stats
    assert (stats.items, stats.dropped, stats.depth) == (count, 0, 0)
    assert stats.peak <= capacity


@settings(max_examples=40)
@given(count=st.integers(0, 200), capacity=st.integers(1, 7))
def test_drop_oldest_never_blocks_and_counts_every_loss(count: int, capacity: int) -> None:
    channel: Channel[int] = Channel("live", capacity, drop_oldest=True)
    got: list[int] = []

    def produce() -> None:
        for item in range(count):
            channel.put(item)
        channel.close()

    group = run_both(channel, produce, lambda: got.extend(channel))
    assert group.error is None
    assert got == sorted(set(got))
    assert got[-capacity:] == list(range(max(0, count - capacity), count))[-len(got[-capacity:]) :]
    stats = channel.stats
    assert stats.items == count == len(got) + stats.dropped
    assert stats.put_wait_s == 0.0


def test_what_is_queued_at_close_is_delivered() -> None:
    channel: Channel[int] = Channel("closing", 3)
    channel.put(1)
    channel.put(2)
    channel.close()
    channel.close()
    assert list(channel) == [1, 2]
    with pytest.raises(ChannelClosed):
        channel.get()


def test_a_refused_put_drops_nothing() -> None:
    channel: Channel[int] = Channel("closed", 1, drop_oldest=True)
    channel.put(1)
    channel.close()
    with pytest.raises(ChannelClosed):
        channel.put(2)
    assert channel.get() == 1
    assert (channel.stats.items, channel.stats.dropped) == (1, 0)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PROMPT_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert condition()


def started(work: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    """Run ``work`` on a thread and keep what it raises."""
    raised: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=guarded, name="streamtrack-waiter")
    thread.start()
    return thread, raised


@pytest.mark.parametrize("wake", ["cancel", "close"])
@pytest.mark.parametrize("call", ["put", "get", "get_batch", "iterate"])
def test_ending_wakes_everybody_who_waits(call: str, wake: str) -> None:
    channel: Channel[int] = Channel("waiting", 1)
    if call == "put":
        channel.put(0)
    calls: dict[str, Callable[[], object]] = {
        "put": lambda: channel.put(1),
        "get": channel.get,
        "get_batch": lambda: channel.get_batch(4, fill=True),
        "iterate": lambda: list(channel),
    }
    waiters = [started(calls[call]) for _ in range(3)]
    time.sleep(0.02)
    assert all(thread.is_alive() for thread, _ in waiters)
    getattr(channel, wake)()
    for thread, raised in waiters:
        thread.join(PROMPT_S)
        assert not thread.is_alive()
        if (call, wake) == ("iterate", "close"):
            assert raised == []
        else:
            assert [type(error) for error in raised] == [Cancelled if wake == "cancel" else ChannelClosed]


def test_cancel_drops_what_is_queued_and_beats_close() -> None:
    channel: Channel[int] = Channel("both", 2)
    channel.put(1)
    channel.close()
    channel.cancel()
    assert channel.stats.depth == 0
    for call in (channel.get, lambda: channel.put(2), lambda: channel.get_batch(1, fill=False), lambda: list(channel)):
        with pytest.raises(Cancelled, match="both"):
            call()


def test_waiting_is_booked_to_the_one_who_waited() -> None:
    channel: Channel[int] = Channel("slow", 1)
    channel.put(0)
    thread, raised = started(lambda: channel.put(1))
    time.sleep(0.02)
    assert thread.is_alive()
    assert channel.get() == 0
    thread.join(PROMPT_S)
    assert raised == []
    assert channel.stats.put_wait_s > 0.0 == channel.stats.get_wait_s

    assert channel.get() == 1
    thread, raised = started(channel.get)
    time.sleep(0.02)
    assert thread.is_alive()
    channel.put(2)
    thread.join(PROMPT_S)
    assert raised == []
    assert channel.stats.get_wait_s > 0.0


def test_fill_waits_for_the_whole_batch_and_no_fill_for_the_first() -> None:
    channel: Channel[int] = Channel("batches", 4)
    got: list[list[int]] = []
    thread, raised = started(lambda: got.append(channel.get_batch(3, fill=True)))
    for item in range(2):
        channel.put(item)
    time.sleep(0.02)
    assert thread.is_alive()
    channel.put(2)
    thread.join(PROMPT_S)
    assert (got, raised) == ([[0, 1, 2]], [])
    channel.put(3)
    assert channel.get_batch(3, fill=False) == [3]


@settings(max_examples=25)
@given(fails_at=st.integers(0, 30), capacity=st.integers(1, 4), who=st.sampled_from(["producer", "consumer"]))
def test_a_fault_on_one_side_frees_the_other(fails_at: int, capacity: int, who: str) -> None:
    channel: Channel[int] = Channel("faulty", capacity)
    got: list[int] = []

    def produce() -> None:
        for item in range(fails_at + 100):
            if who == "producer" and item == fails_at:
                raise OSError("the disk is gone")
            channel.put(item)

    def consume() -> None:
        for item in channel:
            if who == "consumer" and item == fails_at:
                raise OSError("the disk is gone")
            got.append(item)

    group = run_both(channel, produce, consume)
    assert isinstance(group.error, OSError)
    assert got == list(range(len(got)))
    assert len(got) == fails_at if who == "consumer" else len(got) <= fails_at


def test_a_channel_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="'none' must be at least 1, got 0"):
        Channel("none", 0)


def test_drop_oldest_may_be_chosen_once_the_source_is_known() -> None:
    channel: Channel[int] = Channel("late", 4)
    for item in range(3):
        channel.put(item)
    channel.resize(1, drop_oldest=True)
    assert channel.stats.depth == 3
    channel.put(3)
    assert (channel.get(), channel.stats.dropped, channel.stats.capacity) == (3, 3, 1)


def test_room_can_be_waited_for_without_putting_anything() -> None:
    channel: Channel[int] = Channel("full", 1)
    channel.wait_for_room()
    channel.put(0)
    waiting = threading.Thread(target=channel.wait_for_room)
    waiting.start()
    assert channel.get() == 0
    waiting.join(30)
    assert not waiting.is_alive()
    assert channel.stats.items == 1
    channel.close()
    with pytest.raises(ChannelClosed):
        channel.wait_for_room()
    channel.cancel()
    with pytest.raises(Cancelled):
        channel.wait_for_room()


def test_a_larger_channel_wakes_who_waits_for_room() -> None:
    channel: Channel[int] = Channel("grows", 1)
    channel.put(0)
    waiting = threading.Thread(target=channel.put, args=(1,))
    waiting.start()
    channel.resize(2, drop_oldest=False)
    waiting.join(30)
    assert [channel.get(), channel.get()] == [0, 1]


def test_waiting_for_an_item_takes_none_and_ends_with_the_channel() -> None:
    channel: Channel[int] = Channel("test", 2)
    channel.put(1)
    channel.wait_for_item()
    assert channel.stats.depth == 1
    channel.close()
    channel.wait_for_item()
    assert channel.get() == 1
    with pytest.raises(ChannelClosed):
        channel.wait_for_item()
    channel.cancel()
    with pytest.raises(Cancelled):
        channel.wait_for_item()
