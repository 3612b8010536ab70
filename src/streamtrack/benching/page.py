"""A report as one HTML page that needs nothing else: no script, no font, no picture from anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

from streamtrack.benching import tables
from streamtrack.benching.results import CaseResult, Figures, Report, StageTime
from streamtrack.benching.surroundings import other_work
from streamtrack.errors import SinkError
from streamtrack.pages import document, plots
from streamtrack.pages.plots import Bar, Dot

PAGE = "bench.html"
_MOST_BARS = 40


def write(report: Report, path: Path) -> None:
    """Write the page so that a reader sees the old one or the new one, never a part.

    Raises:
        SinkError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_text(render(report), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise SinkError(f"Cannot write '{path}': {error.strerror}.") from error


def render(report: Report) -> str:
    """Return the page."""
    body = "\n".join([*_head(report), *_sections(report), *_foot(report)])
    return document.document(f"streamtrack bench: {report.machine['processor']}", body)


def _head(report: Report) -> Iterator[str]:
    machine = report.machine
    yield "<h1>What this machine does with streamtrack</h1>"
    known = (machine["processor"], machine["memory"], f"accelerators: {machine['accelerators']}", machine["system"])
    yield f'<p class="soft">{escape(" · ".join(known))}</p>'
    if report.status != "complete":
        yield f'<p class="wait">Not complete ({escape(report.status)}): what follows was measured until then.</p>'
    if busy := other_work(machine):
        yield f'<p class="wait">{escape(busy)}</p>'
    yield document.tiles(list(_tiles(report)))


def _tiles(report: Report) -> Iterator[tuple[str, str]]:
    held = [each for each in report.capacity if each.outcome == "ok"]
    if held:
        best = max(held, key=lambda each: each.streams)
        yield str(best.streams), f"streams of {best.rate:.0f} fps at {best.promise}, profile {best.profile}"
    done = [(case, case.figures) for case in report.cases if case.figures]
    if done:
        case, figures = min(done, key=lambda item: item[1].p50_ms / item[0].case.batch)
        yield f"{figures.p50_ms:.1f} ms", f"fastest call: {case.case.label}"
        case, figures = max(done, key=lambda item: item[1].fps)
        yield f"{figures.fps:.0f} fps", f"most pictures a second: {case.case.label}"
    lines = [each for each in report.pipelines if each.outcome == "ok"]
    if lines:
        quick = max(lines, key=lambda each: each.figures["source_fps"])
        text = f"of video, decoded and tracked with profile {quick.profile}"
        yield f"{quick.figures['source_fps']:.0f} fps", text


def _sections(report: Report) -> Iterator[str]:
    done = [case for case in report.cases if case.outcome == "ok" and case.figures]
    found = {table.heading: table for table in tables.tables(report)}
    if done:
        yield from _latency(done)
        yield from _speed(done)
    if report.pipelines:
        yield from _stages(report)
    if report.capacity:
        yield from _capacity(report)
    yield "<h2>All figures</h2>"
    for table in found.values():
        yield _table(table)


def _groups(cases: list[CaseResult]) -> list[str]:
    return list(dict.fromkeys(f"{case.case.runtime}, {case.case.model}" for case in cases))


def _latency(cases: list[CaseResult]) -> Iterator[str]:
    groups = _groups(cases)
    shown = sorted(((_figures(case).p50_ms, case) for case in cases), key=lambda item: item[0])[:_MOST_BARS]
    rows = [
        Bar(
            _short(case),
            (_figures(case).p50_ms, _figures(case).p95_ms, _figures(case).p99_ms),
            f"{_figures(case).p50_ms:.2f} / {_figures(case).p95_ms:.2f} / {_figures(case).p99_ms:.2f} ms",
            groups.index(f"{case.case.runtime}, {case.case.model}"),
        )
        for _, case in shown
    ]
    yield "<h2>Latency of the model</h2>"
    more = f" The {len(shown)} fastest of {len(cases)} cases." if len(cases) > len(shown) else ""
    yield f'<p class="soft">One call, after warm-up: median (bar), 95th and 99th percentile (marks).{more}</p>'
    yield plots.bars(rows, "ms") + plots.legend(groups)


def _short(case: CaseResult) -> str:
    height, width = case.input_hw or (0, 0)
    threads = f"{case.case.threads} thread{'s' * (case.case.threads != 1)}" if case.case.threads else "auto threads"
    batch = f", batch {case.case.batch}" if case.case.batch > 1 else ""
    return f"{case.case.model} {width}x{height}, {threads}{batch}"


def _figures(case: CaseResult) -> Figures:
    assert case.figures is not None
    return case.figures


def _speed(cases: list[CaseResult]) -> Iterator[str]:
    groups = _groups(cases)
    dots = [
        Dot(
            _figures(case).cpu_percent,
            _figures(case).fps,
            f"{case.case.label}: {_figures(case).fps:.1f} fps at {_figures(case).cpu_percent:.0f} % CPU",
            groups.index(f"{case.case.runtime}, {case.case.model}"),
        )
        for case in cases
    ]
    yield "<h2>Speed against processor</h2>"
    yield '<p class="soft">Pictures a second through the whole detector, against the processor time it takes: 100 % is '
    yield "one core. Up and to the left is better.</p>"
    yield plots.scatter(dots, "CPU %", "pictures a second") + plots.legend(groups)


def _stages(report: Report) -> Iterator[str]:
    done = [each for each in report.pipelines if each.outcome == "ok"]
    if not done:
        return
    names = list(dict.fromkeys(name for each in done for name in each.stages))
    # Per processed picture, since stages count different things: a decoder's items are not a sink's.
    rows = [
        Bar(
            each.profile,
            tuple(_per_picture(each.stages, name, each.processed_frames) for name in names),
            f"{each.figures['source_fps']:.0f} fps of video",
        )
        for each in done
    ]
    yield "<h2>Where the time goes</h2>"
    yield f'<p class="soft">The whole pipeline on {escape(report.clip)}: milliseconds that each stage works per '
    yield "picture that is looked at. Stages work side by side, each in a thread of its own.</p>"
    yield plots.stacked(rows, names, "ms")


def _per_picture(stages: Mapping[str, StageTime], name: str, pictures: int) -> float:
    stage = stages.get(name)
    return stage.wall_ms * stage.items / pictures if stage and pictures else 0.0


def _capacity(report: Report) -> Iterator[str]:
    done = [each for each in report.capacity if each.outcome == "ok" and any(t.latency_ms for t in each.trials)]
    yield "<h2>Live streams held</h2>"
    promise = report.capacity[0].promise
    yield f'<p class="soft">Streams of {report.capacity[0].rate:.0f} fps side by side, each in a process of its own, '
    yield f"with the promise {escape(promise)}. A hollow point was not held: too late, or frames were dropped.</p>"
    if not done:
        return
    dots = [
        Dot(
            trial.streams,
            trial.latency_ms,
            f"{each.profile}: {trial.streams} streams, {trial.latency_ms:.0f} ms" + f"; {trial.why}" * bool(trial.why),
            number,
            hollow=not trial.held,
        )
        for number, each in enumerate(done)
        for trial in each.trials
        if trial.latency_ms
    ]
    limit_ms = float(promise.partition("=")[2].removesuffix("ms"))
    percentile = promise.partition("=")[0]
    yield plots.scatter(dots, "streams", f"{percentile} latency, ms", line=limit_ms, joined=True)
    yield plots.legend([f"{each.profile}: {each.streams} held" for each in done])


def _table(table: tables.Table) -> str:
    numbers = [n for n in range(len(table.columns)) if not table.is_text(n)]
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    caption = f"<p><b>{escape(table.heading.capitalize())}</b></p>"
    notes = f'<ul class="notes">{notes}</ul>' if notes else ""
    return caption + document.table(table.columns, table.rows, numbers) + notes


def _foot(report: Report) -> Iterator[str]:
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    yield "<footer>"
    yield f"<p>{escape(report.started_utc)}, {report.elapsed_s:.0f} s. {escape(versions)}."
    yield (f" Commit {escape(report.commit)}." if report.commit else "") + "</p>"
    yield f"<p><code>{escape(' '.join(report.command))}</code></p>"
    yield "<p>Agreement is with ONNX Runtime on the CPU in fp32, on the same pictures: boxes with a score of 0.3 or "
    yield "more that overlap by half. Energy is given where the platform tells.</p></footer>"
