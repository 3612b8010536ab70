"""``streamtrack retrack TAPE``: the tracker again, over the detections of a run, without the video."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from streamtrack.cli.eval import HEADS, add_benchmark, cells

if TYPE_CHECKING:
    from streamtrack.evaluation import Scores
    from streamtrack.params import TrackerParams
    from streamtrack.retracking import Outcome, Write
    from streamtrack.tape import Tape

_EXAMPLES = """\
examples:
  streamtrack retrack out/clip --set tracker.new_thresh=0.7 --out out/again
  streamtrack retrack MOT17-04-FRCNN/det/det.txt --out tracks/MOT17-04-FRCNN.txt
  streamtrack retrack MOT17-04-FRCNN --stride 6 --gt MOT17-04-FRCNN --sweep tracker.high_thresh=0.4,0.5,0.6
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "retrack",
        help="track a run's detections again, without the video",
        description="Track the detections of a run again, without the video: with the same settings, the same tracks.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("tape", metavar="TAPE", help="a run's folder or detections.jsonl, tape.msgpack, a MOT det.txt")
    parser.add_argument("--stride", type=int, default=1, metavar="K", help="only frames 1, 1+K, 1+2K, ...")
    parser.add_argument("--fps", type=float, metavar="F", help="frame rate of a det.txt without seqinfo.ini (30)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, such as tracker.max_gap_s=2"
    )
    parser.add_argument(
        "--sweep", action="append", default=[], metavar="KEY=A,B,C", help="try each value; several: every combination"
    )
    parser.add_argument("--gt", metavar="GT", help="score the tracks against this ground truth")
    add_benchmark(parser)
    parser.add_argument("--out", metavar="PATH", help="FILE.txt for MOT text, FILE.jsonl for detections, or a folder")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Track the tape, once or with every combination of ``--sweep``, and print what came of it.

    Raises:
        ConfigError: a setting that cannot be.
        SourceError: the tape or the ground truth cannot be read.
        SinkError: the output cannot be written.
    """
    from streamtrack.errors import ConfigError
    from streamtrack.tape import read_tape

    if args.sweep and args.out:
        raise ConfigError("A sweep prints a table and writes no tracks: give --sweep or --out.")
    tape = read_tape(Path(args.tape), args.fps).strided(args.stride)
    for note in tape.notes:
        print(f"streamtrack: {note}", file=sys.stderr)
    if args.sweep:
        _sweep(args, tape)
    else:
        _once(args, tape)
    return 0


def _once(args: argparse.Namespace, tape: Tape) -> None:
    from streamtrack.retracking import params_for, retrack

    judge = _judge(args)
    params = params_for(tape, _assignments(args.set))
    with _writing(args, tape, params) as write:
        outcome = retrack(tape, params, write)
    _print_outcome(tape, outcome)
    if judge:
        from streamtrack.cli._table import aligned

        print(aligned([HEADS, cells(judge(outcome))], left=0))


def _sweep(args: argparse.Namespace, tape: Tape) -> None:
    from streamtrack.cli._table import aligned
    from streamtrack.retracking import params_for, retrack

    judge = _judge(args)
    given, trials = _assignments(args.set), _trials(args.sweep)
    # All are converted before the first is tried: a mistake in the last shall not cost the time of the others.
    every = [params_for(tape, given | trial) for trial in trials]
    rows = [[*trials[0], "tracks", "length", *(HEADS if judge else ()), "frames/s"]]
    for trial, params in zip(trials, every, strict=True):
        outcome = retrack(tape, params)
        found = [f"{outcome.track_count}", f"{outcome.mean_length:.1f}"]
        scores = cells(judge(outcome)) if judge else []
        rows.append([*trial.values(), *found, *scores, _rate(tape, outcome)])
    print(aligned(rows, left=0))


def _judge(args: argparse.Namespace) -> Callable[[Outcome], Scores] | None:
    if not args.gt:
        return None
    from streamtrack.evaluation import pair, read_truth, score
    from streamtrack.evaluation.files import truth_file

    truth = read_truth(truth_file(Path(args.gt)), args.benchmark)
    return lambda outcome: score(pair(truth, outcome.tracks))


def _writing(args: argparse.Namespace, tape: Tape, params: TrackerParams) -> AbstractContextManager[Write | None]:
    from streamtrack import retracking
    from streamtrack.errors import ConfigError
    from streamtrack.folder import FRAMES

    if not args.out:
        return nullcontext()
    out, own = Path(args.out), tape.file.resolve()
    if out.resolve() in (own, own.parent, own.with_name(FRAMES)):
        raise ConfigError(f"'{out}' is the tape itself. Choose another place with --out.")
    if out.suffix == ".txt":
        return retracking.writing_text(out, tape, overwrite=args.overwrite)
    if out.suffix == ".jsonl":
        return retracking.writing_records(out, tape, overwrite=args.overwrite)
    return retracking.writing_run(out, tape, params, overwrite=args.overwrite)


def _assignments(pairs: list[str]) -> dict[str, str]:
    from streamtrack.config import parse_assignments

    return parse_assignments(pairs)


def _trials(sweeps: list[str]) -> list[dict[str, str]]:
    """Return every combination of the values of ``["key=a,b", ...]``."""
    from streamtrack.errors import ConfigError

    values = {key: text.split(",") for key, text in _assignments(sweeps).items()}
    for key, each in values.items():
        if not all(each):
            raise ConfigError(f"A value of {key} is empty: write --sweep {key}=A,B,C.")
    return [dict(zip(values, choice, strict=True)) for choice in itertools.product(*values.values())]


def _print_outcome(tape: Tape, outcome: Outcome) -> None:
    rows = [
        ("Tape", f"{tape.source.uri}, {tape.source.sampling}: {len(tape)} frames, {outcome.detections} detections"),
        ("Found", f"{outcome.track_count} tracks, seen in {outcome.mean_length:.1f} frames on average"),
        ("Tracker", f"{_rate(tape, outcome)} frames/s, {1e6 * outcome.seconds / max(1, len(tape)):.1f} us a frame"),
    ]
    if outcome.ignored:
        rows.append(("Ignored", f"{outcome.ignored} of the detections, without area"))
    for label, text in rows:
        print(f"{label:8}  {text}")


def _rate(tape: Tape, outcome: Outcome) -> str:
    return f"{len(tape) / outcome.seconds:.0f}" if outcome.seconds else "-"
