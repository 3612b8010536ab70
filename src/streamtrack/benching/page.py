"""A report as one HTML page that needs nothing else: no script, no font, no picture from anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from streamtrack.benching import plots, tables
from streamtrack.benching.plots import Bar, Dot
from streamtrack.benching.results import CaseResult, Figures, Report, StageTime
from streamtrack.benching.surroundings import other_work
from streamtrack.errors import SinkError

PAGE = "bench.html"
_MOST_BARS = 40

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5d6b7c; --line: #dfe4ea; --paper: #fff; --tile: #f5f7f9;
  --k0: #2f6fdb; --k1: #e07b39; --k2: #2a9d74; --k3: #b5489a; --k4: #8a6fd1; --k5: #c9a227;
  --k6: #4aa6c4; --k7: #7d8794; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #9aa7b6; --line: #323b47; --paper: #14181d;
  --tile: #1d232a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 40px 32px 64px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 19px; margin: 44px 0 4px; }
p { margin: 4px 0 12px; max-width: 75ch; } .soft, footer { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 14px; margin: 24px 0 0; }
.tile { background: var(--tile); border-radius: 8px; padding: 16px 18px; }
.tile b { display: block; font-size: 26px; line-height: 1.2; } .tile span { color: var(--soft); font-size: 13px; }
svg { display: block; width: 100%; height: auto; margin: 12px 0 4px; overflow: visible; }
svg text { font-size: 12px; fill: var(--soft); } svg .label, svg .value { fill: var(--ink); font-size: 13px; }
svg .grid { stroke: var(--line); } svg .axis { stroke: var(--soft); fill: none; }
svg .mark { stroke: var(--ink); stroke-width: 1.5; opacity: .55; fill: none; }
svg .limit { stroke: #d33f49; stroke-dasharray: 6 4; stroke-width: 1.5; }
svg .hollow { fill: var(--paper); stroke-width: 2.5; } svg .join { fill: none; stroke-width: 2; opacity: .6; }
COLOURS
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 20px; padding: 0;
  margin: 8px 0 0; font-size: 13px; }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 7px; }
.wide { overflow-x: auto; margin-bottom: 26px; }
table { border-collapse: collapse; font-size: 13px; width: 100%; margin-top: 10px; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 10px 6px 0; border-bottom: 1px solid var(--line); text-align: left; }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
td { white-space: nowrap; } .num { text-align: right; padding-right: 16px; }
td:last-child { white-space: normal; } .notes { color: var(--soft); font-size: 13px; padding-left: 18px; }
.wait { background: #fdf3d7; color: #5f4700; padding: 8px 14px; border-radius: 6px; display: inline-block; }
footer { margin-top: 56px; border-top: 1px solid var(--line); padding-top: 14px; font-size: 13px; }
footer p { max-width: none; } footer code { overflow-wrap: anywhere; }
"""


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
    colours = "".join(
        f".c{n} {{ fill: var(--k{n}); stroke: none; background: var(--k{n}); }} "
        f"svg .hollow.c{n}, svg .join.c{n} {{ stroke: var(--k{n}); }}\n"
        for n in range(plots.COLOURS)
    )
    # The plain rule of a colour fills; outlines come after it.
    style = _STYLE.replace("COLOURS\n", colours)
    body = "\n".join([*_head(report), *_sections(report), *_foot(report)])
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>streamtrack bench: {escape(report.machine['processor'])}</title>\n"
        f"<style>{style}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _head(report: Report) -> Iterator[str]:
    machine = report.machine
    yield "<h1>What this machine does with streamtrack</h1>"
    known = (machine["processor"], machine["memory"], f"accelerators: {machine['accelerators']}", machine["system"])
    yield f'<p class="soft">{escape(" · ".join(known))}</p>'
    if report.status != "complete":
        yield f'<p class="wait">Not complete ({escape(report.status)}): what follows was measured until then.</p>'
    if busy := other_work(machine):
        yield f'<p class="wait">{escape(busy)}</p>'
    tiles = list(_tiles(report))
    if tiles:
        yield '<div class="tiles">' + "".join(tiles) + "</div>"


def _tiles(report: Report) -> Iterator[str]:
    held = [each for each in report.capacity if each.outcome == "ok"]
    if held:
        best = max(held, key=lambda each: each.streams)
        yield _tile(str(best.streams), f"streams of {best.rate:.0f} fps at {best.promise}, profile {best.profile}")
    done = [(case, case.figures) for case in report.cases if case.figures]
    if done:
        case, figures = min(done, key=lambda item: item[1].p50_ms / item[0].case.batch)
        yield _tile(f"{figures.p50_ms:.1f} ms", f"fastest call: {case.case.label}")
        case, figures = max(done, key=lambda item: item[1].fps)
        yield _tile(f"{figures.fps:.0f} fps", f"most pictures a second: {case.case.label}")
    lines = [each for each in report.pipelines if each.outcome == "ok"]
    if lines:
        quick = max(lines, key=lambda each: each.figures["source_fps"])
        text = f"of video, decoded and tracked with profile {quick.profile}"
        yield _tile(f"{quick.figures['source_fps']:.0f} fps", text)


def _tile(value: str, text: str) -> str:
    return f'<div class="tile"><b>{escape(value)}</b><span>{escape(text)}</span></div>'


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
    def row(cells: Sequence[str], tag: str) -> str:
        classes = ["" if table.is_text(n) else ' class="num"' for n in range(len(cells))]
        return "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(classes, cells, strict=True))

    head = f"<thead><tr>{row(table.columns, 'th')}</tr></thead>" if table.rows else ""
    rows = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in table.rows)
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    caption = f"<p><b>{escape(table.heading.capitalize())}</b></p>"
    notes = f'<ul class="notes">{notes}</ul>' if notes else ""
    return f'{caption}<div class="wide"><table>{head}<tbody>{rows}</tbody></table></div>{notes}'


def _foot(report: Report) -> Iterator[str]:
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    yield "<footer>"
    yield f"<p>{escape(report.started_utc)}, {report.elapsed_s:.0f} s. {escape(versions)}."
    yield (f" Commit {escape(report.commit)}." if report.commit else "") + "</p>"
    yield f"<p><code>{escape(' '.join(report.command))}</code></p>"
    yield "<p>Agreement is with ONNX Runtime on the CPU in fp32, on the same pictures: boxes with a score of 0.3 or "
    yield "more that overlap by half. Energy is given where the platform tells.</p></footer>"
