"""Two reports side by side: ratios, and which of them are more than noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import msgspec

from streamtrack.benching.results import CaseResult, Report

FLOOR = 0.03
"""Differences below this are never called a change: two starts of the same program differ by as much."""
_UNKNOWN = 0.10
"""Taken for the noise of a figure whose spread a report does not know."""

# Figures that are compared, and whether more is better.
_CASE = {"p50_ms": False, "p95_ms": False, "fps": True, "cpu_percent": False, "peak_memory_mb": False}
_CASE |= {"joules_per_frame": False}
_PIPELINE = {"source_fps": True, "cpu_ms_per_source_frame": False, "peak_memory_mb": False}

Verdict = Literal["better", "worse", "same"]


class Change(NamedTuple):
    """One figure of one case in both reports."""

    what: str
    figure: str
    before: float
    after: float
    noise: float
    """By so much, relative to ``before``, it may differ by chance."""
    verdict: Verdict

    @property
    def ratio(self) -> float:
        """After against before."""
        return self.after / self.before if self.before else 1.0 if self.after == self.before else float("inf")


class Comparison(NamedTuple):
    """What two reports say of each other."""

    changes: list[Change]
    only_before: list[str]
    only_after: list[str]
    broken: list[str]
    """What worked before and fails after, or no longer finds what the reference finds."""
    warnings: list[str]


def compare(before: Report, after: Report) -> Comparison:
    """Compare two reports, case by case."""
    old, new = _measured(before), _measured(after)
    changes = [change for what in old if what in new for change in _changes(what, old[what], new[what])]
    changes += list(_capacity_changes(before, after))
    failed = [case.case.label for case in after.cases if case.outcome == "failed"]
    failed += [f"profile {each.profile}" for each in after.pipelines if each.outcome == "failed"]
    broken = [what for what in failed if what in old] + list(_disagreements(before, after))
    return Comparison(
        changes=changes,
        only_before=[what for what in old if what not in new and what not in failed],
        only_after=[what for what in new if what not in old],
        broken=broken,
        warnings=list(_warnings(before, after)),
    )


class _Known(NamedTuple):
    figures: Mapping[str, float | None]
    spread: Mapping[str, float]
    kinds: Mapping[str, bool]


def _measured(report: Report) -> dict[str, _Known]:
    found = {
        case.case.label: _Known(msgspec.structs.asdict(case.figures), case.spread, _CASE)
        for case in report.cases
        if case.outcome == "ok" and case.figures
    }
    found |= {
        f"profile {each.profile}": _Known(each.figures, each.spread, _PIPELINE)
        for each in report.pipelines
        if each.outcome == "ok"
    }
    return found


def _changes(what: str, old: _Known, new: _Known) -> Iterator[Change]:
    for figure, more_is_better in old.kinds.items():
        a, b = old.figures.get(figure), new.figures.get(figure)
        if a is None or b is None:
            continue
        # Each spread is highest less lowest of a few rounds: their sum covers a difference of means that is chance.
        noise = max(FLOOR, old.spread.get(figure, _UNKNOWN) + new.spread.get(figure, _UNKNOWN))
        yield Change(what, figure, a, b, noise, _verdict(a, b, noise, more_is_better))


def _verdict(before: float, after: float, noise: float, more_is_better: bool) -> Verdict:
    if before == after:
        return "same"
    low, high = sorted((before, after))
    # As a ratio, so that twice as fast and half as fast weigh the same.
    if low > 0 and high / low - 1 <= noise:
        return "same"
    return "better" if (after > before) == more_is_better else "worse"


def _capacity_changes(before: Report, after: Report) -> Iterator[Change]:
    old = {(each.profile, each.model, each.promise): each for each in before.capacity if each.outcome == "ok"}
    for each in after.capacity:
        known = old.get((each.profile, each.model, each.promise))
        if known and each.outcome == "ok":
            a, b = float(known.streams), float(each.streams)
            # A search ends at a whole number: one more or less is chance.
            verdict: Verdict = "same" if abs(a - b) <= 1 else "better" if b > a else "worse"
            noise = 1 / a if a else 1.0
            yield Change(f"profile {each.profile}, {each.promise}", "streams", a, b, noise, verdict)


def _disagreements(before: Report, after: Report) -> Iterator[str]:
    old = {case.case: case for case in before.cases}
    for case in after.cases:
        known = old.get(case.case)
        if known and _misses(case) > _misses(known):
            yield f"{case.case.label}: {_misses(case)} boxes differ from the reference, {_misses(known)} before"


def _misses(case: CaseResult) -> int:
    return case.agreement.missing + case.agreement.extra if case.agreement else 0


def _warnings(before: Report, after: Report) -> Iterator[str]:
    for key in ("processor", "accelerators"):
        if before.machine.get(key) != after.machine.get(key):
            yield f"the {key} differs: {before.machine.get(key)} against {after.machine.get(key)}"
    if before.clip != after.clip:
        yield f"the clip differs: {before.clip} against {after.clip}"
    for report, name in ((before, "first"), (after, "second")):
        if report.status != "complete":
            yield f"the {name} report is not complete ({report.status})"
