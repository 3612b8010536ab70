"""``streamtrack eval TRACKS GT``: how good tracks are against ground truth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamtrack.evaluation import Scores

_EXAMPLES = """\
examples:
  streamtrack eval out/clip clip/gt/gt.txt          a run's folder, in the frames it looked at
  streamtrack eval tracks/ MOT17/train              tracks/NAME.txt against MOT17/train/NAME/gt/gt.txt
  streamtrack eval tracks/ MOT17/train --stride 6 --seq MOT17-04-FRCNN --json
"""
BENCHMARKS = ("mot15", "mot17", "mot20", "none")
# Heads of the table and names of the scores; those that are shares are shown in per cent.
_SHARES = {"HOTA": "hota", "DetA": "deta", "AssA": "assa", "MOTA": "mota", "IDF1": "idf1"}
_COUNTS = {"IDSW": "switches", "Frag": "fragments"}
_JSON = (
    "hota", "deta", "assa", "loca", "mota", "motp", "idf1", "idp", "idr", "switches", "fragments",
    "false_positives", "false_negatives", "mostly_tracked", "mostly_lost",
    "truth_boxes", "truth_ids", "track_boxes", "track_ids",
)  # fmt: skip


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "eval",
        help="score tracks against ground truth",
        description="Score tracks against ground truth: HOTA, CLEAR and identity, as TrackEval defines them.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("tracks", metavar="TRACKS", help="a run's folder, a MOT text file, or a folder of either")
    parser.add_argument("truth", metavar="GT", help="a MOT gt.txt, a sequence's folder, or a folder of either")
    parser.add_argument("--stride", type=int, default=1, metavar="K", help="only frames 1, 1+K, 1+2K, ...")
    parser.add_argument("--seq", action="append", default=[], metavar="NAME", help="only this sequence (repeatable)")
    add_benchmark(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, with more scores, as shares")
    parser.set_defaults(run=run)


def add_benchmark(parser: argparse.ArgumentParser) -> None:
    """Add the option that says what in the ground truth counts."""
    parser.add_argument(
        "--benchmark", choices=BENCHMARKS, help="whose rules say what counts (default: by the columns of GT)"
    )


def run(args: argparse.Namespace) -> int:
    """Print the scores of every sequence and of all of them.

    Raises:
        SourceError: a file is missing or malformed.
    """
    from streamtrack.evaluation import combine, pair, read_tracks, read_truth, score
    from streamtrack.evaluation.files import find_sequences

    scores: dict[str, Scores] = {}
    rules: dict[str, str] = {}
    frames = "all frames" if args.stride == 1 else f"frames 1, {1 + args.stride}, {1 + 2 * args.stride}, ..."
    for name, tracks_file, truth_file in find_sequences(Path(args.tracks), Path(args.truth), args.seq):
        truth, tracks = read_truth(truth_file, args.benchmark), read_tracks(tracks_file)
        scores[name], rules[name] = score(pair(truth, tracks, args.stride)), truth.benchmark
        if tracks.looked_at is not None:
            frames = "the frames that the run looked at" + f", of them {frames}" * (args.stride > 1)
    combined = combine(scores.values())
    if args.json:
        _print_json(scores, rules, combined, args.stride)
        return 0
    from streamtrack.cli._table import aligned

    rows = [["sequence", *HEADS], *([name, *cells(each)] for name, each in scores.items())]
    print(aligned([*rows, ["combined", *cells(combined)]]))
    by = "as told" if args.benchmark else "told by the columns of the ground truth"
    print(f"rules: {', '.join(sorted(set(rules.values())))} ({by}); {frames}")
    return 0


HEADS = (*_SHARES, *_COUNTS)


def cells(scores: Scores) -> list[str]:
    """Return the cells of a row of the table, below HEADS."""
    shares = [f"{100 * getattr(scores, name):.2f}" for name in _SHARES.values()]
    return [*shares, *(f"{getattr(scores, name)}" for name in _COUNTS.values())]


def _print_json(scores: dict[str, Scores], rules: dict[str, str], combined: Scores, stride: int) -> None:
    import msgspec

    def fields(each: Scores) -> dict[str, Any]:
        return {name: getattr(each, name) for name in _JSON}

    document = {
        "schema_version": 1,
        "stride": stride,
        "sequences": {name: {"benchmark": rules[name], **fields(each)} for name, each in scores.items()},
        "combined": fields(combined),
    }
    print(msgspec.json.encode(document).decode())
