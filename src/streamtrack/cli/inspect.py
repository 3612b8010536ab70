"""``streamtrack inspect FILE``: what a recording holds, and the same in another format."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamtrack.inspecting import Holdings

_EXAMPLES = """\
examples:
  streamtrack inspect out/clip/tape.msgpack
  streamtrack inspect out/clip/tape.msgpack --from 60 --to 90 --out minute.csv
  streamtrack inspect out/clip --out tracks.csv --records tracks
  streamtrack inspect out/clip --json | jq '.tracks | length'

--out writes what its ending says: .jsonl .csv .parquet (detections, or --records), .txt (MOTChallenge),
.json (COCO), .msgpack (a tape); without an ending a folder with the records of a run.

exit codes: 0 all that is there could be read, also of a run that was killed; 4 something was damaged
or is no recording; others as everywhere
"""
_SHOWN = 20


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "inspect",
        help="say what a tape or a run holds; convert it",
        description="Say what a tape or a run's folder holds, or a span of time of it; or write it in another format.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="tape.msgpack, a run's folder or detections.jsonl, a MOT det.txt")
    parser.add_argument("--from", dest="start", type=float, default=0.0, metavar="S", help="from this second of media")
    parser.add_argument("--to", dest="end", type=float, default=math.inf, metavar="S", help="up to, not with, this one")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--out", metavar="PATH", help="write it in the format that the ending says")
    parser.add_argument("--records", choices=("detections", "tracks", "frames"), help="which ones --out writes")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what the recording holds, or write it elsewhere.

    Raises:
        ConfigError: an option that cannot be.
        SourceError: there is no recording, or it is malformed.
        SinkError: the output cannot be written.
    """
    from streamtrack.errors import ConfigError, SourceError
    from streamtrack.inspecting import convert, inspect, open_recording

    if args.out and args.json:
        raise ConfigError("--json prints and --out writes: give one of them.")
    if args.records and not args.out:
        raise ConfigError("--records says what --out writes: give both.")
    recording = open_recording(Path(args.file))
    if args.out:
        out = Path(args.out)
        span = {"start_s": args.start, "end_s": args.end}
        name = convert(recording, out, records=args.records, overwrite=args.overwrite, **span)
        print(f"{out}  ({name})")
    else:
        held = inspect(recording, args.start, args.end)
        print(_json(held) if args.json else _text(held))
    for complaint in recording.complaints:
        print(f"streamtrack: {complaint}", file=sys.stderr)
    return SourceError.exit_code if recording.is_damaged else 0


def _json(held: Holdings) -> str:
    import msgspec

    return msgspec.json.encode(held).decode()


def _text(held: Holdings) -> str:
    source = held.source
    facts = [source.uri, f"{source.width} x {source.height}" * bool(source.width), source.codec]
    facts += [f"{source.rate:.5g} fps" * bool(source.rate), source.sampling]
    points = f", {held.keypoints} keypoints a detection" if held.keypoints else ""
    classes = f": {', '.join(held.class_names)}" if held.class_names else ""
    rows = [
        ("Tape" if held.kind == "tape" else "Records", f"{held.file}, {held.bytes:,} bytes{_by(held)}"),
        ("Source", ", ".join(fact for fact in facts if fact)),
        ("Model", f"{held.model or 'unknown'}{classes}{points}"),
        ("Frames", _frames(held)),
        ("Found", f"{_count(held.detections, 'detection')}, {_count(len(held.tracks), 'track')}"),
    ]
    if held.kind == "tape":
        rows.append(("Index", f"{_count(held.chunks, 'chunk')} of up to 256 frames"))
        rows.append(("State", _state(held)))
    head = "\n".join(f"{label:8}  {text}" for label, text in rows)
    return f"{head}\n\n{_tracks(held)}" if held.tracks else head


def _by(held: Holdings) -> str:
    return f", by {held.written_by}" if held.written_by else ""


def _state(held: Holdings) -> str:
    lost = sum(damage.bytes for damage in held.damage)
    closed = "closed" if held.closed else "not closed"
    return f"{closed}, {f'{lost:,} bytes left out' if lost else 'every checksum read is right'}"


def _frames(held: Holdings) -> str:
    if held.start_s is None or held.end_s is None:
        return "none"
    span = f"{held.first_frame} to {held.last_frame}, {held.start_s:.3f} s to {held.end_s:.3f} s"
    return f"{held.frames:,}: {span}" + (f", {_count(held.cuts, 'cut')}" if held.cuts else "")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _tracks(held: Holdings) -> str:
    from streamtrack.cli._table import aligned

    longest = sorted(held.tracks, key=lambda track: (-track.frame_count, track.track_id))[:_SHOWN]
    rows = [["track", "class", "from s", "to s", "frames", "conf"]]
    for track in sorted(longest, key=lambda track: track.track_id):
        name = held.class_names[track.class_id] if track.class_id < len(held.class_names) else f"{track.class_id}"
        span = [f"{track.start_s:.2f}", f"{track.end_s:.2f}"]
        rows.append([f"{track.track_id}", name, *span, f"{track.frame_count}", f"{track.avg_conf:.3f}"])
    hidden = len(held.tracks) - len(longest)
    more = f"\n{_count(hidden, 'shorter track')} not shown: --json has all" if hidden else ""
    return aligned(rows, left=0) + more
