"""What a person sees on standard error: a live line while it runs, a short table at the end."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from streamtrack.build import RunSummary
from streamtrack.metrics import EmbedderMetrics, Metrics, Progress
from streamtrack.params import DetectorParams
from streamtrack.speed import SLOWER

_USUAL_SIZE = DetectorParams().min_size

_WORDS = {"outdone": "outdone by better", "replaced": "replaced by better"}
_REFUSED_BY = {
    "low_confidence": "crops.min_confidence",
    "too_small": "crops.min_size",
    "low_quality": "crops.min_quality",
}


def say(text: str) -> None:
    """Print one line to standard error."""
    print(f"streamtrack: {text}", file=sys.stderr, flush=True)


class ProgressLine:
    """A live line on a terminal; nothing at all elsewhere."""

    def __init__(self) -> None:
        self._bar = RichProgress(
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            console=Console(file=sys.stderr),
            refresh_per_second=4,
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("starting", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, progress: Progress) -> None:
        """Show ``progress``."""
        if not self._bar.disable:
            self._bar.update(
                self._task, description=describe(progress), completed=progress.frames_done, total=progress.frames_total
            )


def describe(progress: Progress) -> str:
    """Return ``progress`` as one line of text."""
    total = progress.frames_total
    done = (
        f"{progress.frames_done}/{total} {100 * progress.frames_done // total}%" if total else f"{progress.frames_done}"
    )
    parts = [
        f"{done} frames",
        f"{progress.source_fps:.1f} source fps",
        f"{progress.tracks_alive} tracks",
        f"queue {progress.queue_depth}/{progress.queue_capacity}",
    ]
    if progress.frames_taped and progress.frames_done <= progress.frames_taped:
        parts.insert(0, f"resuming: {progress.frames_taped:,} frames from the tape")
    if progress.age_ms is not None:
        parts.append(f"{progress.age_ms:.0f} ms behind")
    if progress.eta_sec is not None:
        parts.append(f"ETA {clock(progress.eta_sec)}")
    return "  ".join(parts)


def clock(seconds: float) -> str:
    """Return ``1:02`` or ``1:02:03``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def show_summary(summary: RunSummary) -> None:
    """Print what was found and where it lies: a table on a terminal, plain lines elsewhere."""
    rows = summary_rows(summary)
    if not sys.stderr.isatty():
        width = max(len(label) for label, _ in rows)
        for label, text in rows:
            print(f"{label:{width}}  {text}", file=sys.stderr)
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for label, text in rows:
        table.add_row(label, text)
    Console(file=sys.stderr, highlight=False, markup=False).print(table)


def summary_rows(summary: RunSummary) -> list[tuple[str, str]]:
    """Return the rows of the table as (label, text)."""
    metrics = summary.metrics
    totals, process = metrics.totals, metrics.process
    rows = [
        (metrics.status.capitalize(), _speed(metrics)),
        ("Found", ", ".join(_count(totals[f"{noun}s"], noun) for noun in ("track", "detection", "cut"))),
        ("Model", _model(metrics)),
        ("Frames", _frames(metrics)),
        ("CPU", f"{process.cpu_ms_per_source_frame:.1f} ms per source frame, peak {process.peak_memory_mb:.0f} MB"),
    ]
    if metrics.source:
        rows.insert(3, ("Sampling", metrics.source.sampling))
    if hint := _too_small(metrics):
        rows.insert(2, ("Detections", hint))
    if hint := _slowdown(metrics):
        rows.append(("Speed", hint))
    if metrics.latency:
        latency = metrics.latency
        rows.append(("Latency", f"{latency.p50_ms:.0f} ms median, {latency.p95_ms:.0f} ms for 95 % of the frames"))
    if lost := _lost(metrics):
        rows.append(("Lost", lost))
    for name, counts in metrics.sinks.items():
        made = _embedded(metrics.embedder, counts) if name == "embeddings" and metrics.embedder else _sifted(counts)
        rows.append((name.capitalize(), made))
    if summary.folder:
        written = sorted(path.name + "/" * path.is_dir() for path in summary.folder.iterdir())
        rows.append(("Written to", f"{summary.folder}/  {' '.join(name for name in written if name[0] != '.')}"))
    return rows


def _too_small(metrics: Metrics) -> str:
    """Say that most of what was found was refused for its size; empty where that is not so."""
    found = metrics.detector
    if found is None or found.too_small <= found.kept:
        return ""
    least = metrics.settings["detector"]["min_size"]
    return (
        f"{found.kept:,} kept, {found.too_small:,} smaller than detector.min_size = {least:g} px: "
        f"--set detector.min_size={_USUAL_SIZE if least > _USUAL_SIZE else 0:g} keeps more"
    )


def _slowdown(metrics: Metrics) -> str:
    """Say that a run got slower, and whether by heat or other work; empty where it did not."""
    speed = metrics.speed
    # A live feed sets the speed itself.
    if speed is None or speed.slowdown <= SLOWER or (metrics.source and metrics.source.live):
        return ""
    return (
        f"the last minute was {100 * speed.slowdown:.0f} % slower than the first ({speed.first.fps:.1f} -> "
        f"{speed.last.fps:.1f} frames processed a second, {speed.first.frames_per_cpu_s:.1f} -> "
        f"{speed.last.frames_per_cpu_s:.1f} a second of CPU): heat, other work or harder pictures"
    )


def _lost(metrics: Metrics) -> str:
    """Say which sinks were too slow, and how many results each did not get; empty where none was."""
    sinks = [channel for channel in metrics.channels if channel.name.startswith("sink ") and channel.dropped]
    texts = [f"{sink.name.removeprefix('sink ')} {sink.dropped:,} of {sink.items:,}" for sink in sinks]
    return f"{', '.join(texts)} results, being slower than the run (when_full=wait holds it back)" * bool(texts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _embedded(embedder: EmbedderMetrics, counts: Mapping[str, int]) -> str:
    kind = f"{embedder.dimension}-d, {embedder.name}"
    return f"{counts['embedded']:,} of {_count(counts['tracks'], 'track')} ({kind})"


def _sifted(counts: Mapping[str, int]) -> str:
    """Return in words what a sink did with what it was given and, where it kept nothing, what to change."""
    words = {name: f"{count:,} {_WORDS.get(name, name.replace('_', ' '))}" for name, count in counts.items()}
    if not {"candidates", "kept"} <= counts.keys():
        return ", ".join(words.values())
    reasons = {name: count for name, count in counts.items() if count and name not in ("candidates", "kept")}
    text = words["candidates"] if counts["candidates"] != 1 else "1 candidate"
    text += f": {', '.join(words[name] for name in reasons)}" if reasons else ""
    most = max(reasons, key=reasons.__getitem__, default="")
    hint = f" (to keep some, lower {_REFUSED_BY[most]})" if most in _REFUSED_BY and not counts["kept"] else ""
    return f"{text}; {words['kept']}{hint}"


def _speed(metrics: Metrics) -> str:
    process, seen = metrics.process, metrics.frame_ledger["seen"]
    rate = seen / process.wall_s if process.wall_s else 0.0
    cores = process.cpu_s / process.wall_s if process.wall_s else 0.0
    uri = f"{metrics.source.uri}, " if metrics.source else ""
    return f"{uri}{seen} source frames in {clock(process.wall_s)} ({rate:.1f} fps, {cores:.1f} cores)"


def _model(metrics: Metrics) -> str:
    # The metrics hold the whole reason.
    note = f" ({metrics.model.note.partition(':')[0]})" if metrics.model.note else ""
    return f"{metrics.model.name} on {metrics.device}{note}"


def _frames(metrics: Metrics) -> str:
    buckets = {name: count for name, count in metrics.frame_ledger.items() if name != "seen" and count}
    return ", ".join(f"{count} {name}" for name, count in buckets.items()) or "none"
