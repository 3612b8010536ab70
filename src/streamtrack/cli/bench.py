"""``streamtrack bench``: what this machine does with each runtime, model and profile, and how many streams it holds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from streamtrack.errors import ConfigError

if TYPE_CHECKING:
    from streamtrack.benching.campaign import Plan, Step
    from streamtrack.benching.comparing import Comparison
    from streamtrack.benching.results import Report
    from streamtrack.benching.tables import Table

_T = TypeVar("_T", int, str)

_EXAMPLES = """\
examples:
  streamtrack bench                                       every runtime and cached model of this machine, every profile
  streamtrack bench --models yunet --sizes 320,640 --threads 1,2 --batch 1,4
  streamtrack bench --slo p95=200ms --profiles balanced   how many 30 fps streams it holds
  streamtrack bench compare before/bench.json after/bench.json
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "bench",
        help="measure this machine: runtimes, models, profiles, how many streams",
        description="Measure what this machine does with each runtime and model, with the whole pipeline, and, with "
        "--slo, how many 30 fps streams it holds. Writes bench.json and bench.html.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_what(parser)
    _add_how(parser)
    actions = parser.add_subparsers(dest="action", metavar="[compare]")
    compare = actions.add_parser("compare", help="compare two reports", description="Compare two reports.")
    compare.add_argument("before", metavar="A.json", help="bench.json of the earlier benchmark")
    compare.add_argument("after", metavar="B.json", help="bench.json of the later one")
    compare.add_argument("--all", action="store_true", help="print also what did not change")
    parser.set_defaults(run=run)


def _add_what(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to measure (lists are separated by commas)")
    group.add_argument(
        "--models", metavar="LIST", help="zoo names, fetched if need be, or ONNX files (default: cached)"
    )
    group.add_argument("--backends", metavar="LIST", help="NAME or NAME:PROVIDER (default: all installed)")
    group.add_argument("--devices", metavar="LIST", help="cpu, cuda, mps (default: those of this machine)")
    group.add_argument("--sizes", metavar="LIST", default="320,640", help="longest side of the input in px (320,640)")
    group.add_argument("--threads", metavar="LIST", help="threads of one inference (default: 1 and all cores, up to 4)")
    group.add_argument("--batch", metavar="LIST", default="1", help="pictures a call (1)")
    group.add_argument("--precisions", metavar="LIST", default="auto", help="auto, fp32, fp16, int8 (auto)")
    group.add_argument("--profiles", metavar="LIST", help="profiles to run the pipeline with, or none (default: all)")
    group.add_argument("--clip", metavar="VIDEO", help="a clip to look at (default: one of its own)")
    group.add_argument("--slo", metavar="pNN=TIME", help="count the streams held at a latency, such as p95=200ms")


def _add_how(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how")
    group.add_argument("--seconds", type=float, default=6.0, metavar="S", help="time each case for so long (6)")
    group.add_argument("--rounds", type=int, default=3, metavar="N", help="in so many processes, to tell noise (3)")
    group.add_argument("--most-streams", type=int, default=64, metavar="N", help="of --slo: try no more than this (64)")
    group.add_argument("--out", metavar="FOLDER", default="bench", help="folder for the report (default: bench)")
    group.add_argument("--json", action="store_true", help="print the report as JSON instead of tables")


def run(args: argparse.Namespace) -> int:
    """Measure, print and write a report; or compare two.

    Raises:
        ConfigError: an option that cannot be, or no model to measure.
        SinkError: the report cannot be written.
    """
    if args.action == "compare":
        return _compare(args)
    import tempfile

    from streamtrack.benching import page, results

    with tempfile.TemporaryDirectory() as scratch:
        plan, report = _planned(args, Path(scratch))
        folder = _folder(args.out)
        try:
            _conduct(plan, report, folder / results.REPORT)
        finally:
            results.save(report, folder / results.REPORT)
            page.write(report, folder / page.PAGE)
            _show(report, folder, as_json=args.json)
    return 0


def _planned(args: argparse.Namespace, scratch: Path) -> tuple[Plan, Report]:
    from streamtrack import config, registry
    from streamtrack.allowance import usable_cores
    from streamtrack.benching import material, surroundings
    from streamtrack.benching.campaign import Matrix, Plan
    from streamtrack.benching.capacity import parse_promise

    _check_range("--seconds", args.seconds, 0.01, 3600)
    _check_range("--rounds", args.rounds, 1, 20)
    _check_range("--most-streams", args.most_streams, 1, 256)
    promise = parse_promise(args.slo) if args.slo else None
    cores = usable_cores()
    matrix = Matrix(
        backends=_chosen("--backends", args.backends, registry.names("backends")),
        devices=_listed("--devices", args.devices, str) or tuple(surroundings.devices()),
        sizes=_listed("--sizes", args.sizes, int),
        threads=_listed("--threads", args.threads, int) or tuple(sorted({1, max(1, min(4, int(cores)))})),
        batches=_listed("--batch", args.batch, int),
        precisions=_listed("--precisions", args.precisions, str),
    )
    profiles = () if args.profiles == "none" else _listed("--profiles", args.profiles, str) or _built_in_profiles()
    for profile in profiles:
        config.resolve(profile)
    models = tuple(material.chosen_models(_listed("--models", args.models, str)))
    clip = material.given_clip(args.clip) if args.clip else material.built_in_clip(scratch)
    plan = Plan(
        matrix=matrix,
        models=models,
        seconds=args.seconds,
        rounds=args.rounds,
        profiles=profiles,
        clip=str(clip.path),
        feed=str(material.as_feed(clip.path, scratch)) if promise else "",
        promise=promise,
        most_streams=args.most_streams,
        cores=cores,
        cache_dir=str(config.cache_dir()),
    )
    return plan, _empty_report(args, plan, clip.about)


def _empty_report(args: argparse.Namespace, plan: Plan, about: str) -> Report:
    import datetime
    import shlex

    from streamtrack.benching import surroundings
    from streamtrack.benching.results import Report

    given = [f"--{name.replace('_', '-')}={value}" for name, value in vars(args).items() if _is_setting(name, value)]
    return Report(
        started_utc=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=["streamtrack", "bench", *(shlex.quote(text) for text in given)],
        machine=surroundings.machine(),
        versions=surroundings.versions(),
        commit=surroundings.commit(),
        clip=about,
        settings={"seconds": plan.seconds, "rounds": plan.rounds, "models": [model.name for model in plan.models]},
    )


def _is_setting(name: str, value: object) -> bool:
    return name not in ("run", "action", "command", "debug", "json", "out") and value is not None


def _built_in_profiles() -> tuple[str, ...]:
    from streamtrack import config

    return tuple(config.profiles())


def _check_range(option: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ConfigError(f"{option} {value:g} cannot be: give {least:g} to {most:g}.")


def _listed(option: str, text: str | None, kind: type[_T]) -> tuple[_T, ...]:
    """Return the entries of a list, each once, in the order given; none where the option was not."""
    if text is None:
        return ()
    try:
        found = tuple(dict.fromkeys(kind(part.strip()) for part in text.split(",") if part.strip()))
    except ValueError:
        found = ()
    if not found or any(isinstance(value, int) and value < 0 for value in found):
        raise ConfigError(f"{option} {text} cannot be read: give {_WANTED[kind]} separated by commas.")
    return found


_WANTED: dict[type, str] = {int: "numbers of 0 or more", str: "names"}


def _chosen(option: str, text: str | None, known: list[str]) -> tuple[str, ...]:
    from streamtrack.errors import did_you_mean

    chosen = _listed(option, text, str) or tuple(known)
    for name in chosen:
        if name.partition(":")[0] not in known:
            raise ConfigError(f"{option}: there is no '{name}'.{did_you_mean(name, known)} Known: {', '.join(known)}.")
    return chosen


def _folder(out: str) -> Path:
    from streamtrack.errors import SinkError

    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"The folder '{out}' cannot be made: {error.strerror}. Choose another with --out.") from error
    return folder


def _conduct(plan: Plan, report: Report, path: Path) -> None:
    import time

    from streamtrack.benching import results
    from streamtrack.benching.campaign import Campaign

    started = time.monotonic()

    def keep() -> None:
        report.elapsed_s = round(time.monotonic() - started, 1)
        results.save(report, path)

    with _Steps() as steps:
        try:
            Campaign(plan, report, on_step=steps.show, on_result=keep).conduct()
            report.status = "complete"
        except KeyboardInterrupt:
            report.status = "interrupted"
            raise
        finally:
            report.elapsed_s = round(time.monotonic() - started, 1)


class _Steps:
    """A bar on a terminal, a line per step elsewhere."""

    def __enter__(self) -> _Steps:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._bar = Progress(
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            console=Console(file=sys.stderr),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("starting", total=None)
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, step: Step) -> None:
        text = describe(step)
        if self._bar.disable:
            print(f"streamtrack: {text}", file=sys.stderr, flush=True)
        else:
            self._bar.update(self._task, description=text, completed=step.done, total=step.total or None)


def describe(step: Step) -> str:
    """Return a step as one line."""
    from streamtrack.cli._terminal import clock

    place = f"{step.done + 1}/{step.total} " if step.total and step.done < step.total else ""
    eta = f"  ETA {clock(step.eta_s)}" if step.eta_s is not None else ""
    return f"{place}{step.label}{eta}"


def _show(report: Report, folder: Path, *, as_json: bool) -> None:
    import msgspec

    from streamtrack.benching import page, results, surroundings, tables

    if as_json:
        print(msgspec.json.format(msgspec.json.encode(report), indent=1).decode())
        return
    print(f"{report.machine['processor']}; accelerators: {report.machine['accelerators']}; on {report.clip}")
    if busy := surroundings.other_work(report.machine):
        print(busy)
    for table in tables.tables(report):
        print()
        _print_table(table)
    print(f"\nWritten to {folder / results.REPORT} and {folder / page.PAGE}.")


def _print_table(table: Table) -> None:
    if not sys.stdout.isatty():
        from streamtrack.benching.tables import aligned

        print("\n".join(aligned(table)))
        return
    from rich.console import Console
    from rich.table import Table as RichTable

    shown = RichTable(title=table.heading, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(table.columns):
        shown.add_column(column, justify="left" if table.is_text(number) else "right")
    for row in table.rows:
        shown.add_row(*row)
    console = Console(highlight=False, markup=False)
    console.print(shown)
    for note in table.notes:
        console.print(note, style="yellow")


def _compare(args: argparse.Namespace) -> int:
    from streamtrack.benching import comparing, results

    found = comparing.compare(results.load(Path(args.before)), results.load(Path(args.after)))
    for warning in found.warnings:
        print(f"note: {warning}")
    table = _comparison_table(found, everything=args.all)
    if table.rows:
        _print_table(table)
    same = sum(change.verdict == "same" for change in found.changes)
    print(f"{len(found.changes) - same} of {len(found.changes)} figures moved beyond noise.")
    _print_each("broken", found.broken, str.upper)
    _print_each("only in the first", found.only_before)
    _print_each("only in the second", found.only_after)
    return 0


def _print_each(head: str, entries: list[str], style: Callable[[str], str] = str) -> None:
    for entry in entries:
        print(f"{style(head)}: {entry}")


def _comparison_table(found: Comparison, *, everything: bool) -> Table:
    from streamtrack.benching.tables import Table

    rows = [
        (
            change.what,
            change.figure,
            f"{change.before:.4g}",
            f"{change.after:.4g}",
            f"{change.ratio:.3f}",
            f"{100 * change.noise:.0f} %",
            change.verdict if change.verdict != "same" else "",
        )
        for change in found.changes
        if everything or change.verdict != "same"
    ]
    return Table("second against first", ("case", "figure", "first", "second", "ratio", "noise", "verdict"), rows)
