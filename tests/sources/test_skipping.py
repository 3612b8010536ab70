"""The plan against a slow twin that sees the whole stream at once."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.sources import _skipping
from streamtrack.sources._bitstream import Role
from streamtrack.sources._skipping import Entry, OrderUnknown, Plan
from streamtrack.sources._timeline import Numbering, Timeline
from streamtrack.sources.sampling import choose


class Coded(NamedTuple):
    """What a plan looks at in a packet."""

    pts: int
    dts: int | None
    role: Role
    is_discard: bool = False


def numbering(stride: int = 1, fps: float = 0.0) -> Numbering:
    return Numbering(Timeline(Fraction(1, 1000), 25.0), choose(stride, fps, 0.0))


@st.composite
def streams(draw: st.DrawFn) -> list[Coded]:
    """Packets in order of decoding, presented in another order, as encoders make them: depth frames late at most."""
    depth = draw(st.integers(0, 4))
    stamps: list[int] = []
    for _ in range(draw(st.integers(1, 12))):
        group = draw(st.permutations(range(draw(st.integers(1, depth + 1)))))
        stamps += [len(stamps) + place for place in group]
    roles = draw(st.lists(st.sampled_from(Role), min_size=len(stamps), max_size=len(stamps)))
    roles = [Role.FRESH, *(Role.REFERENCE if role is Role.UNKNOWN else role for role in roles[1:])]
    hidden = draw(st.sets(st.integers(0, len(stamps) - 1), max_size=3))
    return [
        Coded(40 * stamp, 40 * (n - depth), role, n in hidden)
        for n, (stamp, role) in enumerate(zip(stamps, roles, strict=True))
    ]


def run(packets: list[Any], plan: Plan) -> tuple[list[Entry], list[Entry]]:
    """Return the entries in order of decision and in order of presentation."""
    decided: list[Entry] = []
    ranked: list[Entry] = []
    for packet in packets:
        plan.add(packet, packet.pts, packet.role)
        decided += plan.decided()
        ranked += plan.ranked
        plan.ranked.clear()
    plan.end()
    decided += plan.decided()
    return decided, [*ranked, *plan.ranked]


def twin(packets: list[Coded], numbers: Numbering) -> list[bool]:
    """Return which packets to decode, looking at all of them."""
    shown = sorted((packet.pts, n) for n, packet in enumerate(packets) if not packet.is_discard)
    wanted = {n for pts, n in shown if numbers.next(pts).wanted}
    needed = []
    for n, packet in enumerate(packets):
        following = next((m for m in range(n + 1, len(packets)) if packets[m].role is Role.FRESH), len(packets))
        served = range(n, n + 1 if packet.role is Role.DISPOSABLE else following)
        needed.append(any(m in wanted for m in served))
    return needed


@given(streams(), st.integers(1, 9), st.sampled_from([0.0, 3.0, 8.0]))
def test_decodes_what_wanted_frames_need_and_nothing_else(packets: list[Coded], stride: int, fps: float) -> None:
    decided, ranked = run(packets, Plan(numbering(stride, fps)))
    assert all(entry.packet is packet for entry, packet in zip(decided, packets, strict=True))  # type: ignore[comparison-overlap]
    assert [entry.sent for entry in decided] == twin(packets, numbering(stride, fps))
    shown = [packet.pts for packet in packets if not packet.is_discard]
    assert [entry.stamp for entry in ranked] == sorted(shown)


@given(streams(), st.integers(1, 9))
def test_ranks_are_final_with_the_newest_decode_time(packets: list[Coded], stride: int) -> None:
    """What is ranked early is what would be ranked at the end, and no frame waits longer than it has to."""
    plan = Plan(numbering(stride))
    for n, packet in enumerate(packets):
        plan.add(packet, packet.pts, packet.role)  # type: ignore[arg-type]
        due = sorted(p.pts for p in packets[: n + 1] if not p.is_discard and p.pts <= (packet.dts or 0))
        assert [entry.stamp for entry in plan.ranked] == due
        assert all(a < b for a, b in pairwise(due))


def test_looks_no_further_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_skipping, "_MAX_HELD", 5)
    packets = [Coded(40 * n, 40 * n, Role.REFERENCE if n else Role.FRESH) for n in range(40)]
    plan = Plan(numbering(100))
    for n, packet in enumerate(packets):
        plan.add(packet, packet.pts, packet.role)  # type: ignore[arg-type]
        assert all(entry.sent for entry in plan.decided())
        assert len(plan._held) <= 5 or n == 0


def test_a_plan_that_spares_nothing_decodes_everything() -> None:
    packets = [Coded(40 * n, 40 * n, Role.FRESH) for n in range(10)]
    plan = Plan(numbering(5))
    plan.spares = False
    decided, _ = run(packets, plan)
    assert all(entry.sent for entry in decided)


FIRST = Coded(0, -40, Role.FRESH)


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (Coded(80, None, Role.REFERENCE), "decode times are missing"),
        (Coded(80, -40, Role.REFERENCE), "decode times do not increase"),
        (Coded(80, -80, Role.REFERENCE), "decode times do not increase"),
        (Coded(80, 120, Role.REFERENCE), "presented before they are decoded"),
        (Coded(0, 0, Role.REFERENCE), "repeat or go back"),
        (Coded(None, 0, Role.REFERENCE), "no presentation times"),  # type: ignore[arg-type]
    ],
)
def test_says_why_the_order_is_unknown(second: Coded, says: str) -> None:
    plan = Plan(numbering())
    taken: Any = FIRST
    plan.add(taken, 0, Role.FRESH)
    refused: Any = second
    with pytest.raises(OrderUnknown, match=says):
        plan.add(refused, second.pts, second.role)
    assert len(list(plan.decided())) <= 1


def test_decode_times_may_be_missing_at_the_beginning() -> None:
    """Matroska has none; FFmpeg derives them once enough packets have gone by."""
    packets = [
        Coded(0, None, Role.FRESH),
        Coded(120, None, Role.REFERENCE),
        Coded(40, 0, Role.DISPOSABLE),
        Coded(80, 40, Role.DISPOSABLE),
    ]
    decided, ranked = run(packets, Plan(numbering(3)))
    assert [entry.sent for entry in decided] == [True, True, False, False]
    assert [entry.stamp for entry in ranked] == [0, 40, 80, 120]
