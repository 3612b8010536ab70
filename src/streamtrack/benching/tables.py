"""A report as tables of text, for a terminal or a pipe."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from streamtrack.benching.results import Agreement, CaseResult, PipelineResult, Report


class Table(NamedTuple):
    """A heading, column names, rows of cells, and lines below."""

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def is_text(self, column: int) -> bool:
        """Whether a column holds more than numbers, and so stands to the left."""
        return not all(re.fullmatch(r"-|auto|[\d.]+", row[column]) for row in self.rows)


def tables(report: Report) -> Iterator[Table]:
    """Yield the tables of a report, without those that would be empty."""
    if report.cases or any(not runtime.available for runtime in report.runtimes):
        yield _case_table(report)
    if report.pipelines:
        yield _pipeline_table(report.pipelines)
    if report.capacity:
        yield _capacity_table(report)


def _case_table(report: Report) -> Table:
    done = [case for case in report.cases if case.outcome == "ok"]
    columns: tuple[str, ...] = (
        "runtime",
        "model",
        "input",
        "threads",
        "batch",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "fps",
        "CPU %",
        "peak MB",
    )
    columns += ("last/first", "J/frame", "agreement")
    notes = [f"{runtime_name(r.backend, r.provider, r.device)}: {r.reason}" for r in report.runtimes if r.reason]
    notes += [f"{case.outcome}: {case.case.label}: {case.reason}" for case in report.cases if case.outcome != "ok"]
    return Table("one call of the model", columns, [_case_row(case) for case in done], notes)


def runtime_name(backend: str, provider: str, device: str) -> str:
    """Return how a runtime is called in tables."""
    return f"{backend}:{provider} {device}" if provider else f"{backend} {device}"


def _case_row(result: CaseResult) -> tuple[str, ...]:
    case, figures = result.case, result.figures
    assert figures is not None
    height, width = result.input_hw or (0, 0)
    return (
        case.runtime,
        case.model,
        f"{width}x{height}",
        str(case.threads or "auto"),
        str(case.batch),
        f"{figures.p50_ms:.2f}",
        f"{figures.p95_ms:.2f}",
        f"{figures.p99_ms:.2f}",
        f"{figures.fps:.1f}",
        f"{figures.cpu_percent:.0f}",
        f"{figures.peak_memory_mb:.0f}",
        f"{figures.last_p50_ms / figures.first_p50_ms:.2f}" if figures.first_p50_ms else "-",
        "-" if figures.joules_per_frame is None else f"{figures.joules_per_frame:.3f}",
        agreed(result.agreement),
    )


def agreed(agreement: Agreement | None) -> str:
    """Return in short how a case agrees with the reference."""
    if agreement is None:
        return "-"
    if not agreement.expected and not agreement.extra:
        return "nothing found"
    if agreement.missing or agreement.extra:
        return f"{agreement.missing} of {agreement.expected} missing, {agreement.extra} more"
    drift = agreement.max_score_drift or 0.0
    return f"all {agreement.expected}" + (f", score +-{drift:.2g}" if drift >= 1e-5 else "")


def _pipeline_table(pipelines: Iterable[PipelineResult]) -> Table:
    done = [each for each in pipelines if each.outcome == "ok"]
    stages = list(dict.fromkeys(name for each in done for name in each.stages))
    columns = ("profile", "model", "source fps", "processed fps", "CPU %", "CPU ms/frame", "peak MB")
    rows = [
        (
            each.profile,
            f"{each.model} on {each.device}",
            *(f"{each.figures[name]:.1f}" for name in ("source_fps", "processed_fps")),
            f"{each.figures['cpu_percent']:.0f}",
            f"{each.figures['cpu_ms_per_source_frame']:.2f}",
            f"{each.figures['peak_memory_mb']:.0f}",
            *(f"{each.stages[name].wall_ms:.2f}" if name in each.stages else "-" for name in stages),
        )
        for each in done
    ]
    notes = tuple(f"failed: profile {each.profile}: {each.reason}" for each in pipelines if each.outcome != "ok")
    heading = "the whole pipeline on the clip (stages: ms per picture)"
    return Table(heading, (*columns, *stages), rows, notes)


def _capacity_table(report: Report) -> Table:
    rows = []
    for each in report.capacity:
        held = next((trial for trial in each.trials if trial.streams == each.streams and trial.held), None)
        rows.append(
            (
                each.profile,
                each.model,
                str(each.streams) if each.outcome == "ok" else "-",
                f"{held.latency_ms:.0f}" if held else "-",
                f"{held.cpu_percent:.0f}" if held else "-",
                f"{held.memory_mb:.0f}" if held else "-",
                each.limited_by or each.reason,
            )
        )
    promise, rate = report.capacity[0].promise, report.capacity[0].rate
    columns = ("profile", "model", "streams", "latency ms", "CPU %", "MB", "limited by")
    return Table(f"{rate:.0f} fps streams held at {promise}", columns, rows)


def aligned(table: Table) -> list[str]:
    """Return the lines of a table: text to the left, numbers to the right."""
    rows = (table.columns, *table.rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.columns))]
    texts = [table.is_text(column) for column in range(len(widths))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(row, widths, texts, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return [table.heading, *(lines if table.rows else []), *table.notes]
