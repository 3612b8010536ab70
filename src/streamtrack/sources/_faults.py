"""Scheduled faults as people write them: ``freeze@5s=10s``, ``drop@every10s``, ``corrupt=1%``.

A schedule is what follows the last ``?`` of a chaos source: faults and options, joined by ``&``. Times are counted from
when the source was opened. ``docs/chaos.md`` says what each fault does.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import Final, NamedTuple

from streamtrack.errors import ConfigError, did_you_mean
from streamtrack.types import NS_PER_S

# What may follow the = of each fault, and what to show to who wrote something else.
_ON_FRAMES: Final = "[=DURATION] or =SHARE%[/DURATION]"
_FOR_A_WHILE: Final = "[=DURATION]"
SYNTAX: Final = {
    "drop": _ON_FRAMES,
    "duplicate": _ON_FRAMES,
    "corrupt": _ON_FRAMES,
    "freeze": _FOR_A_WHILE,
    "jump": "=SHIFT",
    "size": "=WIDTHxHEIGHT[/DURATION]",
    "slow": "=DELAY[/DURATION]",
    "disconnect": "",
    "end": "",
    "refuse": _FOR_A_WHILE,
    "deny": _FOR_A_WHILE,
    "mute": _FOR_A_WHILE,
}
BREAKS: Final = frozenset({"disconnect", "end"})
"""The faults that end a connection."""
NEVER_NS: Final = 2**62
_UNITS_NS: Final = {"ms": NS_PER_S // 1000, "s": NS_PER_S, "m": 60 * NS_PER_S, "h": 3600 * NS_PER_S}
_TIME: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)")
_SHARE: Final = re.compile(r"(\d{1,3}(?:\.\d{1,9})?)%")
_SIZE: Final = re.compile(r"(\d{1,5})x(\d{1,5})")
_MIN_SIDE, _MAX_SIDE = 16, 16384


class Fault(NamedTuple):
    """One fault and when it strikes."""

    name: str
    at_ns: int = 0
    """When, from the opening of the source."""
    repeats: bool = False
    """Whether it strikes again after every further ``at_ns``."""
    for_ns: int | None = None
    """How long it lasts. None: for a single frame where it strikes frames, else for ever."""
    share: float | None = None
    """Part of the frames that it strikes, by chance; None for all."""
    amount_ns: int = 0
    """By how much, of ``jump`` and ``slow``."""
    size: tuple[int, int] | None = None
    """Width and height in px, of ``size``."""

    def strikes(self, after_ns: int, until_ns: int) -> int:
        """Return how often it begins later than ``after_ns`` and not later than ``until_ns``."""
        if not self.repeats:
            return int(after_ns < self.at_ns <= until_ns)
        return max(until_ns, 0) // self.at_ns - max(after_ns, 0) // self.at_ns

    def holds(self, time_ns: int) -> bool:
        """Return whether it lasts at ``time_ns``."""
        elapsed_ns = time_ns - self.at_ns
        if elapsed_ns >= 0 and self.repeats:
            elapsed_ns %= self.at_ns
        return elapsed_ns >= 0 and (self.for_ns is None or elapsed_ns < self.for_ns)

    def following(self, time_ns: int) -> int:
        """Return when it next begins, ``time_ns`` included; ``NEVER_NS`` for never again."""
        if self.at_ns >= time_ns:
            return self.at_ns
        return -(-time_ns // self.at_ns) * self.at_ns if self.repeats else NEVER_NS

    def __str__(self) -> str:
        values = []
        if self.share is not None:
            values.append(f"{Decimal(repr(self.share)) * 100:f}%")
        elif self.size:
            values.append(f"{self.size[0]}x{self.size[1]}")
        elif self.name in ("jump", "slow"):
            values.append(_written(self.amount_ns))
        if self.for_ns is not None:
            values.append(_written(self.for_ns))
        when = f"@{'every' * self.repeats}{_written(self.at_ns)}"
        return self.name + when + ("=" + "/".join(values) if values else "")


class Schedule(NamedTuple):
    """What is written behind ``chaos:``."""

    inner: str
    """The source that the faults happen to."""
    faults: tuple[Fault, ...]
    options: dict[str, str]


def parse_schedule(text: str, options: Collection[str]) -> Schedule:
    """Take apart ``INNER?FAULT&FAULT&OPTION=VALUE``.

    What follows the last ``?`` belongs to the inner source where nothing in it looks like a fault or an option of here.

    Args:
        text: what is written behind ``chaos:``.
        options: names of the options that may stand among the faults.

    Raises:
        ConfigError: an unknown fault, a value that does not fit, or no inner source.
    """
    inner, _, query = text.rpartition("?")
    pairs = [pair for pair in query.split("&") if pair]
    if not inner or not any(_is_ours(pair, options) for pair in pairs):
        inner, pairs = text, []
    if not inner or inner.startswith("?"):
        raise ConfigError("'chaos:' is around another source: write it as in 'chaos:video.mp4?freeze@5s=10s'.")
    given = {key: value for key, _, value in map(_halves, pairs) if key in options}
    faults = tuple(parse_fault(pair, options) for pair in pairs if _halves(pair)[0] not in given)
    return Schedule(inner, faults, given)


def _halves(pair: str) -> tuple[str, str, str]:
    return pair.partition("=")


def _is_ours(pair: str, options: Iterable[str]) -> bool:
    key, _, value = _halves(pair)
    return "@" in key or key in SYNTAX or key in options or bool(_SHARE.fullmatch(value))


def parse_fault(text: str, options: Collection[str] = ()) -> Fault:
    """Return the fault that ``text`` describes.

    Args:
        text: such as ``freeze@5s=10s``.
        options: what else could have been meant.

    Raises:
        ConfigError: it is unknown, or its time or value does not fit.
    """
    key, equals, value = _halves(text)
    name, at, when = key.partition("@")
    if name not in SYNTAX:
        known = ", ".join([*SYNTAX, *options])
        raise ConfigError(f"There is no fault '{name}'.{did_you_mean(name, [*SYNTAX, *options])} Known: {known}.")
    repeats = when.startswith("every")
    at_ns = _time(when.removeprefix("every")) if at else 0
    fault = None if at_ns is None else _with_value(Fault(name, at_ns, repeats), value, given=bool(equals))
    only_by_share = fault is not None and not at and fault.share is None
    if fault is None or only_by_share or (repeats and (not at_ns or _lasts_for_ever(fault))):
        raise ConfigError(
            f"The fault '{text}' does not fit: write {name}@TIME{SYNTAX[name]}, TIME like 5s, 500ms, 2m or every10s"
            + (", and how long each time." if fault is not None and _lasts_for_ever(fault) else ".")
        )
    return fault


def _with_value(fault: Fault, value: str, *, given: bool) -> Fault | None:
    """Return ``fault`` with what its ``value`` says; None if that does not fit."""
    syntax = SYNTAX[fault.name]
    if not given or not syntax:
        return fault if not given and not syntax.startswith("=") else None
    first, slash, last = value.partition("/")
    for_ns = _time(last) if slash else None
    if slash and (not for_ns or "/" not in syntax):
        return None
    if syntax is _ON_FRAMES and (share := _SHARE.fullmatch(first)):
        part = float(Decimal(share[1]) / 100)
        return fault._replace(share=part, for_ns=for_ns) if 0 < part <= 1 else None
    if fault.name == "size":
        size = _size(first)
        return fault._replace(size=size, for_ns=for_ns) if size else None
    backwards = fault.name == "jump" and first.startswith("-")
    time_ns = _time(first.removeprefix("-") if backwards else first)
    if not time_ns:
        return None
    if fault.name in ("jump", "slow"):
        return fault._replace(amount_ns=-time_ns if backwards else time_ns, for_ns=for_ns)
    return None if slash else fault._replace(for_ns=time_ns)


def _size(text: str) -> tuple[int, int] | None:
    match = _SIZE.fullmatch(text)
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    return size if min(size) >= _MIN_SIDE and max(size) <= _MAX_SIDE else None


def _lasts_for_ever(fault: Fault) -> bool:
    at_once = fault.name in (*BREAKS, "jump") or (SYNTAX[fault.name] is _ON_FRAMES and fault.share is None)
    return fault.for_ns is None and not at_once


def _time(text: str) -> int | None:
    match = _TIME.fullmatch(text)
    return int(Decimal(match[1]) * _UNITS_NS[match[2]]) if match else None


def _written(time_ns: int) -> str:
    return f"{Decimal(time_ns).scaleb(-9).normalize():f}s"
