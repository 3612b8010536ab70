"""A feed, its socket and a decoder in simulated time: how late what is decoded is, and whether it can be decoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.sources._bitstream import Role
from streamtrack.sources._catchup import LATE_NS, PATIENCE_NS, TOO_LATE_NS, Backlog, CatchUp
from streamtrack.types import NS_PER_S

MS = 1_000_000
PERIOD = 40 * MS
FPS = 25


@dataclass
class Coded:
    """A packet; ``kind`` is I, P or B, and a B is presented before the packet it follows."""

    number: int
    kind: str
    dts_ns: int
    at_ns: int
    pts: int = 0

    @property
    def is_keyframe(self) -> bool:
        return self.kind == "I"

    def __bytes__(self) -> bytes:
        return self.kind.encode()


def role_of(data: bytes, _keyframe: bool) -> Role:
    return {b"I": Role.KEY, b"P": Role.REFERENCE, b"B": Role.DISPOSABLE}[data]


def feed(gop: str, seconds: float, origin_ns: int = 10**15) -> list[Coded]:
    """Return packets that come when they are to be decoded, in groups like ``IBPBPB``."""
    packets = []
    for number in range(round(seconds * FPS)):
        kind, at_ns = gop[number % len(gop)], number * PERIOD
        pts = number - 1 if kind == "B" else number + 1
        packets.append(Coded(number, kind, origin_ns + at_ns, at_ns, pts))
    return packets


@dataclass
class Outcome:
    decoded: list[Coded] = field(default_factory=list)
    left_out: list[Coded] = field(default_factory=list)
    latencies: list[int] = field(default_factory=list)
    """ns from when a packet came to when it was decoded."""

    def check(self) -> None:
        """Every decoded packet has what it refers to: the I or P before it and, in turn, what that refers to."""
        decoded = {packet.number for packet in self.decoded}
        referred: int | None = None
        whole = False
        for packet in sorted([*self.decoded, *self.left_out], key=lambda packet: packet.number):
            if packet.number in decoded:
                assert packet.is_keyframe or whole, f"{packet} refers to {referred}, which was left out"
            if packet.kind != "B":
                whole = packet.number in decoded
                referred = packet.number


def play(
    packets: Sequence[Coded],
    cost_ns: int,
    *,
    intra_only: bool = False,
    preempted: float = 0.0,
    known: bool = True,
    held_up_ns: Mapping[int, int] | None = None,
) -> Outcome:
    """Read ``packets`` from a socket without bound and decode them at ``cost_ns`` each.

    Args:
        packets: what comes.
        cost_ns: of decoding one of them.
        intra_only: whether any of them may be left out.
        preempted: share of that time for which the processor is taken away during each read: it looks like waiting.
        known: whether their roles are.
        held_up_ns: for how long decoding is held up in addition, by the number of the packet.
    """
    backlog, outcome, now_ns = Backlog(), Outcome(), 0
    catch_up = CatchUp(role_of if known else None, intra_only=intra_only)
    for packet in packets:
        waited_ns = max(0, packet.at_ns - now_ns)
        waited_ns += round(preempted * cost_ns)
        now_ns += waited_ns + MS // 10
        behind_ns = backlog.behind_ns(packet.dts_ns, waited_ns, now_ns)
        if catch_up.leaves_out(packet, behind_ns, now_ns):
            outcome.left_out.append(packet)
            continue
        now_ns += cost_ns + (held_up_ns or {}).get(packet.number, 0)
        outcome.decoded.append(packet)
        outcome.latencies.append(now_ns - packet.at_ns)
    if not intra_only:
        outcome.check()
    return outcome


@pytest.mark.parametrize("gop", ["I" + "P" * 24, "IBPBPBPBPBPB", "I" + "P" * 249])
@pytest.mark.parametrize("share", [1.02, 1.3, 2.0, 8.0])
def test_a_decoder_that_is_too_slow_is_never_late_for_long(gop: str, share: float) -> None:
    outcome = play(feed(gop, 300), round(share * PERIOD), preempted=0.05)
    # Of a second keyframe nothing is known before it comes.
    start = round(len(gop) * PERIOD * (share + 0.1)) + TOO_LATE_NS
    late = [ns for packet, ns in zip(outcome.decoded, outcome.latencies, strict=True) if packet.at_ns > start]
    assert max(late) < TOO_LATE_NS + 2 * share * PERIOD + PERIOD
    # It does not leave out much more than it must.
    least = 0.5 if len(gop) <= FPS else 0.3
    assert len(outcome.decoded) > least * 300 * FPS / share
    assert outcome.left_out


def test_where_that_is_enough_only_what_nothing_refers_to_is_left_out() -> None:
    outcome = play(feed("IBPBPBPBPBPB", 120), round(1.3 * PERIOD))
    assert {packet.kind for packet in outcome.left_out} == {"B"}
    assert max(outcome.latencies) < LATE_NS + PATIENCE_NS + 3 * PERIOD


def test_of_a_feed_of_pictures_that_stand_alone_any_is_left_out() -> None:
    outcome = play(feed("I", 60), 3 * PERIOD, intra_only=True)
    assert max(outcome.latencies) < LATE_NS + PATIENCE_NS + 4 * PERIOD
    assert len(outcome.decoded) > 0.9 * 60 * FPS / 3


def test_where_roles_are_not_known_only_keyframes_help() -> None:
    outcome = play(feed("IBPBPBPBPBPB", 120), round(1.3 * PERIOD), known=False)
    assert {packet.kind for packet in outcome.left_out} == {"I", "P", "B"}
    assert max(outcome.latencies[100:]) < TOO_LATE_NS + 3 * PERIOD


def test_a_feed_that_never_sends_another_keyframe_is_decoded_whole() -> None:
    assert not play(feed("I" + "P" * 10**4, 60), 2 * PERIOD).left_out


@given(
    st.lists(st.sampled_from(["pause", "stall", "jump", "back", "slow network", "drift"]), max_size=6),
    st.floats(0.05, 0.4),
    st.floats(0.1, 20),
)
def test_a_decoder_that_is_fast_enough_leaves_out_nothing(happens: list[str], share: float, seconds: float) -> None:
    """Whatever the feed or the network does: pause, hold packets up and send them at once, set the clock."""
    packets = feed("I" + "P" * 24, 20 * (len(happens) + 1))
    shift_ns = round(seconds * NS_PER_S)
    for number, what in enumerate(happens, 1):
        start_ns = number * 20 * NS_PER_S
        later = [packet for packet in packets if packet.number >= number * 20 * FPS]
        for packet in later:
            into_ns = packet.number * PERIOD - start_ns
            if what == "pause":
                packet.at_ns += shift_ns
            elif what == "stall":
                packet.at_ns += max(0, min(shift_ns, 8 * NS_PER_S) - into_ns)
            elif what == "slow network":
                packet.at_ns += min(into_ns, 8 * NS_PER_S) // 2
            elif what == "drift":
                packet.dts_ns += into_ns // 1000
            else:
                packet.dts_ns += shift_ns if what == "jump" else -shift_ns
    assert all(a.at_ns <= b.at_ns for a, b in pairwise(packets))
    assert not play(packets, round(share * PERIOD)).left_out


def test_a_busy_decoder_that_a_pause_makes_look_late_recovers_within_two_groups() -> None:
    """It is 70 % busy, so hardly waits; then the feed pauses for 3 s, and its clock with it."""
    packets = feed("I" + "P" * 24, 120)
    for packet in packets[20 * FPS :]:
        packet.at_ns += 3 * NS_PER_S
    assert len(play(packets, round(0.7 * PERIOD)).left_out) <= 2 * FPS


def test_what_was_held_up_is_made_good_by_leaving_out_where_the_decoder_hardly_keeps_up() -> None:
    packets = feed("I" + "P" * 24, 60)
    for packet in packets:
        if 20 * NS_PER_S <= packet.at_ns < 23 * NS_PER_S:
            packet.at_ns = 23 * NS_PER_S
    outcome = play(packets, round(0.95 * PERIOD))
    late = [ns for packet, ns in zip(outcome.decoded, outcome.latencies, strict=True) if packet.number > 24 * FPS]
    assert max(late) < TOO_LATE_NS
    assert len(outcome.left_out) <= 5 * FPS


def test_somebody_who_was_held_up_for_once_and_is_fast_catches_up_without_loss() -> None:
    packets = feed("IBPBPBPBPBPB", 60)
    outcome = play(packets, PERIOD // 10, held_up_ns={20 * FPS: 3 * NS_PER_S, 40 * FPS: 4 * NS_PER_S})
    assert not outcome.left_out
    assert max(outcome.latencies) > 3 * NS_PER_S


def test_leading_pictures_of_the_keyframe_it_goes_on_with_are_left_out() -> None:
    catch_up = CatchUp(role_of, intra_only=False)
    gop = [Coded(0, "I", 0, 0, 2), Coded(1, "P", 0, 0, 5)]
    assert not any(catch_up.leaves_out(packet, 0, 0) for packet in gop * 2)
    assert not catch_up.leaves_out(gop[1], TOO_LATE_NS + 1, 0)
    assert catch_up.leaves_out(gop[1], TOO_LATE_NS + 1, NS_PER_S)
    assert catch_up.leaves_out(Coded(0, "I", 0, 0, 8), LATE_NS + 1, NS_PER_S)
    group = [Coded(0, "I", 0, 0, 12), Coded(1, "P", 0, 0, 11), Coded(2, "B", 0, 0, 10)]
    told = [catch_up.leaves_out(packet, 0, NS_PER_S) for packet in group]
    assert told == [False, True, True]
    assert not catch_up.leaves_out(Coded(3, "P", 0, 0, 14), 0, NS_PER_S)
    assert not catch_up.leaves_out(Coded(4, "B", 0, 0, 13), 0, NS_PER_S)


def test_without_timestamps_nobody_can_know() -> None:
    backlog = Backlog()
    assert [backlog.behind_ns(None, 0, n * NS_PER_S) for n in range(3)] == [0, 0, 0]
