"""What the doctor says: checks of the machine and findings about a source, each with a mark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

Mark = Literal["ok", "note", "problem"]
"""``problem``: a plain run would fail. ``note``: it would not, but a person should know."""


class Check(NamedTuple):
    """One thing that was looked at."""

    section: str
    name: str
    """Stable, for programs: the key in JSON."""
    mark: Mark
    text: str
    remedy: str = ""
    """What to type to mend it; else empty."""
    facts: Mapping[str, Any] = {}
    """The same as ``text``, for programs."""
    exit_code: int = 0
    """Of the error that a run would end with; 0 where it would not."""


class Finding(NamedTuple):
    """A sentence about a source."""

    mark: Mark
    name: str
    """Stable, for programs."""
    text: str


def exit_code(checks: Iterable[Check]) -> int:
    """Return 0 where streamtrack can run, else the exit code of the first problem."""
    return next((check.exit_code for check in checks if check.mark == "problem"), 0)


def as_json(checks: Iterable[Check]) -> dict[str, Any]:
    """Return the checks by name, as values that JSON knows."""
    return {
        check.name: {
            "section": check.section,
            "mark": check.mark,
            "text": check.text,
            "remedy": check.remedy,
            "facts": dict(check.facts),
        }
        for check in checks
    }
