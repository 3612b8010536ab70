"""A schedule of faults: what is written is what is meant, and what is not understood is refused with the way out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.errors import ConfigError
from streamtrack.sources._faults import BREAKS, NEVER_NS, SYNTAX, Fault, parse_fault, parse_schedule

S = 1_000_000_000
OPTIONS = ["live", "loop", "seed"]
ON_FRAMES, FOR_A_WHILE = ("drop", "duplicate", "corrupt"), ("freeze", "refuse", "deny", "mute")

times = st.integers(1, 10**13)
starts = st.integers(0, 10**13)
maybe = st.one_of(st.none(), times)
shares = st.integers(1, 10**6).map(lambda parts: parts / 10**6)
sizes = st.tuples(st.integers(16, 16384), st.integers(16, 16384))
shifts = times.flatmap(lambda time: st.sampled_from((time, -time)))


def faults(names: Iterable[str], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Fault]:
    return st.fixed_dictionaries({"name": st.sampled_from(sorted(names)), **fields}).map(lambda given: Fault(**given))


every: dict[str, st.SearchStrategy[Any]] = {"at_ns": times, "repeats": st.just(True)}
once = st.one_of(
    faults(ON_FRAMES, at_ns=starts, for_ns=maybe),
    faults(ON_FRAMES, at_ns=starts, for_ns=maybe, share=shares),
    faults(FOR_A_WHILE, at_ns=starts, for_ns=maybe),
    faults(["slow"], at_ns=starts, for_ns=maybe, amount_ns=times),
    faults(["size"], at_ns=starts, for_ns=maybe, size=sizes),
    faults(["jump"], at_ns=starts, amount_ns=shifts),
    faults(BREAKS, at_ns=starts),
)
repeated = st.one_of(
    faults(ON_FRAMES, for_ns=maybe, **every),
    faults(ON_FRAMES, for_ns=times, share=shares, **every),
    faults(FOR_A_WHILE, for_ns=times, **every),
    faults(["size"], for_ns=times, size=sizes, **every),
    faults(["jump"], amount_ns=shifts, **every),
    faults(BREAKS, **every),
)


@given(st.one_of(once, repeated))
def test_a_fault_is_what_it_is_written_as(fault: Fault) -> None:
    assert parse_fault(str(fault)) == fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("freeze@5s=10s", Fault("freeze", 5 * S, for_ns=10 * S)),
        ("drop@2m", Fault("drop", 120 * S)),
        ("drop=1%", Fault("drop", share=0.01)),
        ("corrupt@500ms=2.5%/1h", Fault("corrupt", S // 2, for_ns=3600 * S, share=0.025)),
        ("duplicate@every10s=0.5s", Fault("duplicate", 10 * S, True, for_ns=S // 2)),
        ("jump@5s=1h", Fault("jump", 5 * S, amount_ns=3600 * S)),
        ("jump@5s=-10s", Fault("jump", 5 * S, amount_ns=-10 * S)),
        ("size@5s=640x360/2s", Fault("size", 5 * S, for_ns=2 * S, size=(640, 360))),
        ("slow@5s=200ms", Fault("slow", 5 * S, amount_ns=S // 5)),
        ("disconnect@every20s", Fault("disconnect", 20 * S, True)),
        ("refuse@0s", Fault("refuse")),
    ],
)
def test_faults_as_people_write_them(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("freez@5s=1s", r"no fault 'freez'\. Did you mean 'freeze'\? Known: drop, .*mute, live, loop, seed"),
        ("sed@5s", r"Did you mean 'seed'\?"),
        ("freeze@5=1s", r"'freeze@5=1s' does not fit: write freeze@TIME\[=DURATION\], TIME like 5s"),
        ("freeze@-5s=1s", "does not fit"),
        ("freeze@5s=1s/2s", "does not fit"),
        ("freeze@5s=0s", "does not fit"),
        ("freeze@5s=", "does not fit"),
        ("freeze@5s=10%", "does not fit"),
        ("freeze@every5s", "how long each time"),
        ("corrupt@every5s=3%", "how long each time"),
        ("freeze", "does not fit"),
        ("drop=5s", "does not fit"),
        ("drop=0%", "does not fit"),
        ("drop=101%", "does not fit"),
        ("drop@every0s=1s", "does not fit"),
        ("disconnect@5s=1s", "does not fit"),
        ("disconnect@5s=", "does not fit"),
        ("jump@5s", r"write jump@TIME=SHIFT"),
        ("jump@5s=--1s", "does not fit"),
        ("slow@5s=-1s", "does not fit"),
        ("size@5s=640", r"write size@TIME=WIDTHxHEIGHT\[/DURATION\]"),
        ("size@5s=8x8", "does not fit"),
        ("size@5s=99999x360", "does not fit"),
        ("size@5s=640x360/", "does not fit"),
    ],
)
def test_what_is_not_understood_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_fault(text, OPTIONS)


@pytest.mark.parametrize(
    ("text", "inner", "parts", "options"),
    [
        ("a.mp4", "a.mp4", [], {}),
        ("a.mp4?freeze@5s=1s&seed=7&end@9s", "a.mp4", ["freeze@5s=1s", "end@9s"], {"seed": "7"}),
        ("a.mp4?live=0", "a.mp4", [], {"live": "0"}),
        ("a.mp4?drop=1%", "a.mp4", ["drop@0s=1%"], {}),
        ("rtsp://u:p@cam/x?transport=udp", "rtsp://u:p@cam/x?transport=udp", [], {}),
        ("rtsp://cam/x?transport=udp?end@1s", "rtsp://cam/x?transport=udp", ["end@1s"], {}),
        ("http://cam/x?token=a@b", "http://cam/x?token=a@b", [], {}),
        ("chaos:a.mp4?drop=1%?end@1s", "chaos:a.mp4?drop=1%", ["end@1s"], {}),
        ("shots/?.jpg", "shots/?.jpg", [], {}),
    ],
)
def test_the_last_question_mark_divides(text: str, inner: str, parts: list[str], options: dict[str, str]) -> None:
    schedule = parse_schedule(text, OPTIONS)
    assert schedule.inner == inner
    assert schedule.faults == tuple(map(parse_fault, parts))
    assert schedule.options == options


@pytest.mark.parametrize("text", ["", "?freeze@5s=1s", "?"])
def test_something_must_be_within(text: str) -> None:
    with pytest.raises(ConfigError, match="around another source"):
        parse_schedule(text, OPTIONS)


@pytest.mark.parametrize("text", ["a.mp4?frezze@5s=1s", "a.mp4?drp=1%", "a.mp4?end@9s&rate=5"])
def test_a_misspelt_fault_is_not_taken_for_an_option_of_the_inner_source(text: str) -> None:
    with pytest.raises(ConfigError, match="There is no fault"):
        parse_schedule(text, OPTIONS)


small = st.integers(1, 30)
windows = faults(["freeze"], at_ns=small, repeats=st.booleans(), for_ns=small)


def begins(fault: Fault, limit: int) -> list[int]:
    return list(range(fault.at_ns, limit, fault.at_ns)) if fault.repeats else [fault.at_ns]


@given(windows, st.integers(0, 100), st.integers(0, 100))
def test_when_it_strikes(fault: Fault, time_ns: int, length: int) -> None:
    known = begins(fault, 300)
    assert fault.strikes(time_ns, time_ns + length) == sum(time_ns < at <= time_ns + length for at in known)
    assert fault.holds(time_ns) == any(at <= time_ns < at + (fault.for_ns or 0) for at in known)
    assert fault.following(time_ns) == next((at for at in known if at >= time_ns), NEVER_NS)


def test_at_0_is_from_the_beginning() -> None:
    fault = Fault("drop")
    assert fault.strikes(-1, 0) == 1
    assert fault.strikes(0, 100) == 0
    assert fault.holds(0)
    assert fault.holds(10**18)
    assert fault.following(0) == 0
    assert fault.following(1) == NEVER_NS


def test_every_fault_has_a_syntax() -> None:
    assert set(SYNTAX) >= {*ON_FRAMES, *FOR_A_WHILE, *BREAKS}
