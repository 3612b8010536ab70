"""Numbers with a unit, as people write them: ``2500ms``, ``1min``, ``64px``, ``30fps``, ``90 frames``, ``75%``."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from streamtrack.errors import did_you_mean

_NUMBER = re.compile(r"\s*([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(.*?)\s*", re.DOTALL)


class _Unit(NamedTuple):
    wanted: str
    """What a value is, and what may be written, for people."""
    spellings: dict[str, Fraction]
    """What may be written, in lower case, and how many of the unit it is."""


_ONE = Fraction(1)
_FRAMES = ("frames", "frame", "f")
_SECONDS = {
    # The micro sign and the Greek letter: the former's capital is the latter's.
    **dict.fromkeys(("us", "µs", "\u03bcs", "microseconds"), Fraction(1, 1_000_000)),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), Fraction(1, 1000)),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), _ONE),
    **dict.fromkeys(("min", "mins", "m", "minute", "minutes"), Fraction(60)),
    **dict.fromkeys(("h", "hr", "hour", "hours"), Fraction(3600)),
}
_PER_SECOND = {
    **dict.fromkeys(("fps", "hz", "/s", "frames/s", "frames per second"), _ONE),
    **dict.fromkeys(("/min", "frames/min", "frames per minute"), Fraction(1, 60)),
}


def _frames(name: str) -> _Unit:
    return _Unit(f"a number of {name}", dict.fromkeys((*_FRAMES, name), _ONE))


_UNITS = {
    "": _Unit("a plain number or a percentage", {"%": Fraction(1, 100), "percent": Fraction(1, 100)}),
    "s": _Unit("a time, in ms, s, min or h", _SECONDS),
    "px": _Unit("a length in pixels, in px", dict.fromkeys(("px", "pixel", "pixels"), _ONE)),
    "px^2": _Unit("an area in pixels, in px^2", dict.fromkeys(("px^2", "px2", "px²", "square pixels"), _ONE)),
    "fps": _Unit("a rate, in fps or /min", _PER_SECOND),
    **{name: _frames(name) for name in ("source frames", "frames looked at", "processed frames")},
}
"""By the name that ``Meta(extra={"unit": ...})`` gives; without one a number may be a percentage."""


def spellings(unit: str, *, whole: bool = False) -> tuple[str, ...]:
    """Return what may stand behind a number of ``unit``, in lower case.

    Args:
        unit: as ``Meta(extra={"unit": ...})`` names it; "" for none.
        whole: whether the number counts something, so that it cannot be a percentage.
    """
    return () if whole and not unit else tuple(_UNITS[unit].spellings)


def read_number(text: str, unit: str, *, whole: bool = False) -> float:
    """Return the number in ``text``, in ``unit``; a number alone is in ``unit`` already.

    Args:
        text: a number, and a unit behind it or not.
        unit: as ``Meta(extra={"unit": ...})`` names it; "" for none.
        whole: whether the number counts something, so that it cannot be a percentage.

    Raises:
        ValueError: it is no number, or its unit is not one for this; the message says which are.
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        plain = "a whole number" if whole else "a number"
        raise ValueError(f"it must be {_UNITS[unit].wanted if unit else plain}")
    number, written = float(match[1]), " ".join(match[2].split())
    if not written:
        return number
    accepted = spellings(unit, whole=whole)
    if written.lower() not in accepted:
        raise ValueError(_why_not(written, unit, accepted))
    factor = _UNITS[unit].spellings[written.lower()]
    # One rounding: 2500 ms are 2.5 s, and not 2500 times what comes next to a thousandth.
    return number * factor.numerator / factor.denominator


def _why_not(written: str, unit: str, accepted: tuple[str, ...]) -> str:
    wanted = _UNITS[unit].wanted if accepted else "a plain number, without a unit"
    measured = {text for name, each in _UNITS.items() if name for text in each.spellings}
    if written.lower() in measured:
        return f"'{written}' does not measure it: it is {wanted}"
    return f"'{written}' is no unit for it.{did_you_mean(written.lower(), accepted)} It is {wanted}"
