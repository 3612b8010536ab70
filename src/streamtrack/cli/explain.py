"""``streamtrack explain RUN TRACK``: why a track was born, what it matched when in doubt, and why it ended."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamtrack.explaining import Birth, Candidate, Confirmation, End, Explanation, Gap, Moment

_EXAMPLES = """\
examples:
  streamtrack explain out/clip 7
  streamtrack explain MOT17-04-FRCNN/det/det.txt 12 --all
  streamtrack explain out/clip 7 --set tracker.match_thresh=0.8 --json
"""
_MOST = 20
"""Doubts and gaps that are printed without --all."""
_FAR_OFF = 0.15
"""Candidates this far over the limit are left out of the text."""
_INDENT = " " * 11


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "explain",
        help="tell why a track began, what it matched, and why it ended",
        description="Send a run's detections through the tracker again and tell what it decided about one track, and "
        "why: its birth, its matches in doubt, its gaps and its end.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("tape", metavar="RUN", help="a run's folder or detections.jsonl, or a MOT det.txt")
    parser.add_argument("track", metavar="TRACK", type=int, help="the track's id")
    parser.add_argument("--all", action="store_true", help="every update, not only those in doubt")
    parser.add_argument("--json", action="store_true", help="print the same facts as JSON")
    parser.add_argument("--stride", type=int, default=1, metavar="K", help="only frames 1, 1+K, 1+2K, ...")
    parser.add_argument("--fps", type=float, metavar="F", help="frame rate of a det.txt without seqinfo.ini (30)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, such as tracker.max_gap_s=2"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the life of one track.

    Raises:
        ConfigError: there is no such track, or a setting that cannot be.
        SourceError: the tape cannot be read.
    """
    from streamtrack.config import parse_assignments
    from streamtrack.explaining import explain
    from streamtrack.retracking import params_for
    from streamtrack.tape import read_tape

    tape = read_tape(Path(args.tape), args.fps).strided(args.stride)
    for note in tape.notes:
        print(f"streamtrack: {note}", file=sys.stderr)
    told = explain(tape, params_for(tape, parse_assignments(args.set)), args.track)
    if args.json:
        import msgspec

        if not args.all:
            told.updates = []
        print(msgspec.json.encode(told).decode())
    else:
        print("\n".join(_lines(told, every=args.all)))
    return 0


def _lines(told: Explanation, *, every: bool) -> Iterator[str]:
    yield f"Track {told.track} of {told.tape}, tracker.mode={told.mode}; frames count from {told.frames_from}"
    yield from _birth(told)
    times = "once" if told.matches == 1 else f"{told.matches} times"
    yield f"Matched    {times}, that of its birth included; {len(told.doubtful) or 'none'} of these in doubt"
    if every:
        for moment in told.updates:
            yield from _match(moment) if moment.match else _miss(moment)
    else:
        events: list[tuple[int, Iterator[str]]] = [(moment.frame, _match(moment)) for moment in told.doubtful]
        events += [(gap.start.frame, _gap(gap)) for gap in told.gaps]
        events.sort(key=lambda event: event[0])
        for _, lines in events[:_MOST]:
            yield from lines
        if len(events) > _MOST:
            yield f"  ... and {len(events) - _MOST} more doubts and gaps: see every update with --all"
    yield from _end(told)
    yield from _legend(told)


def _birth(told: Explanation) -> Iterator[str]:
    birth = told.birth
    yield (f"Born       {_when(birth)} with the detection {_spot(birth)}; new_thresh is {birth.new_thresh:g}")
    if birth.first_of_shot:
        yield f"{_INDENT}in the first update of a shot: there are no tracks yet, and it is confirmed at once"
        return
    yield f"{_INDENT}{'which no other track took:' if birth.neighbours else 'when there was no other track'}"
    for each in birth.neighbours:
        yield f"{_INDENT}  track {each.track}: {_as_other(each)}"
    if told.confirmed:
        yield (
            f"Confirmed  {_when(told.confirmed)}: still matched {told.confirmed.seconds:.2f} s after its birth, "
            f"with {told.confirmed.matches} detections"
        )
    else:
        yield "Confirmed  never: it stayed tentative"


def _match(moment: Moment) -> Iterator[str]:
    match = moment.match
    assert match
    words = {"weak": "weak detection", "dear": "close to the limit", "close": "another was about as good"}
    again = "found again, " if moment.state == "lost" else ""
    doubts = f": {', '.join(words[doubt] for doubt in moment.doubts)}" if moment.doubts else ""
    yield f"  {_when(moment)}: {again}{_cost(match)} for {_spot(match)}{doubts}"
    if moment.doubts:
        yield from (f"    {_spot(each)}: {_why_not(each)}" for each in moment.others if each.excess < _FAR_OFF)
        yield from (
            f"    track {each.track} for the same one: {_as_other(each)}"
            for each in moment.rivals
            if each.excess < _FAR_OFF
        )


def _miss(moment: Moment) -> Iterator[str]:
    yield f"  {_when(moment)}: no match"
    yield from _refused(moment, " " * 4)


def _refused(moment: Moment, indent: str) -> Iterator[str]:
    if not moment.others:
        yield f"{indent}there was no detection at all"
    for k, each in enumerate(moment.others):
        if k == 0 or each.excess < _FAR_OFF:
            yield f"{indent}{_spot(each)}: {_why_not(each)}"


def _gap(gap: Gap) -> Iterator[str]:
    where = f"frames {gap.start.frame} to {gap.end.frame}" if gap.updates > 1 else f"frame {gap.start.frame}"
    yield (
        f"  {where}: no match in {gap.updates} update{'s' * (gap.updates > 1)}, {gap.seconds:.2f} s out of sight, "
        f"{'then found again' if gap.found_again else 'not found again'}"
    )
    yield f"    first, {_when(gap.start)}:"
    yield from _refused(gap.start, " " * 6)
    if gap.closest.frame != gap.start.frame:
        yield f"    closest to a match, {_when(gap.closest)}:"
        yield from _refused(gap.closest, " " * 6)


def _end(told: Explanation) -> Iterator[str]:
    end = told.end
    other = "another track" if end.duplicate_of is None else f"track {end.duplicate_of}"
    since = f" for {end.lost_s:.2f} s of at most {told.lifetime_s:.2f} s" if end.state == "lost" else ""
    reasons = {
        "lifetime": f"lost for {end.lost_s:.2f} s, longer than the {told.lifetime_s:.2f} s of {told.lifetime_is}",
        "cut": "a scene cut, which ends all tracks",
        "duplicate": f"in one place with {other}, which had lived at least as long",
        "unconfirmed": "no match while tentative, which ends a track at once",
        "tape": f"the last frame there is; the track was {end.state}{since}",
    }
    yield f"Ended      {_when(end)}: {reasons[end.reason]}"
    if end.frame != end.last_frame:
        yield f"{_INDENT}its last detection was in frame {end.last_frame}"
    if end.reason == "unconfirmed" and end.moment:
        yield from _refused(end.moment, _INDENT)


def _legend(told: Explanation) -> Iterator[str]:
    params = told.settings
    yield ""
    score = " x score (weak: 1 - IoU)" if params.fuse_score else ""
    yield "Boxes are width x height at their top left corner, px."
    yield f"Strong detections score over {params.high_thresh:g}, weak ones over {params.low_thresh:g}."
    yield f"A match costs 1 - IoU{score}"
    if told.mode == "time":
        yield "and a little for a difference in height; the boxes of strong ones are first grown by what the prediction"
        yield "does not know. What costs more than the limit is refused; of the rest the cheapest pairs are taken."
    else:
        yield "and is refused over the limit; of the rest the cheapest pairs are taken."


# --- words for one pair ---


def _why_not(each: Candidate) -> str:
    """Say why the track did not match this detection."""
    owned = ""
    if each.owner is not None:
        owned = f"track {each.owner} at {each.owner_cost:.2f}" if each.owner_cost is not None else f"track {each.owner}"
        owned = f"taken by {owned}" if each.owner_cost is not None else f"{owned} was born with it"
    if each.verdict == "taken":
        return f"{_cost(each)}, but {owned or 'taken by a track that was then removed as a duplicate'}"
    return _reason(each) + (f"; {owned}" if owned else "")


def _as_other(each: Candidate) -> str:
    """Say how another track stood to the detection that the track has."""
    instead = "it matched nothing" if each.match_cost is None else f"it matched another at {each.match_cost:.2f}"
    return f"{_reason(each)}{', but' if each.excess <= 0 else ';'} {instead}"


def _reason(each: Candidate) -> str:
    return {
        "below": "not over low_thresh",
        "weak": "weak, which is not enough for a track in this state",
        "class": "of another class",
        "area": "without area, or smaller than min_area",
        "apart": f"no overlap, {each.heights_away:.1f} heights away",
    }.get(each.verdict, _cost(each))


def _cost(each: Candidate) -> str:
    if each.cost is None:
        return "no overlap"
    digits = 2 if abs(each.excess) > 0.005 else 4
    kind = "" if each.round == "strong" else f" ({each.round})"
    return f"cost {each.cost:.{digits}f} {'over' if each.excess > 0 else 'of'} {each.limit:.2f}{kind}"


def _spot(found: Birth | Candidate) -> str:
    x0, y0, x1, y1 = found.box
    return f"{x1 - x0:.0f}x{y1 - y0:.0f} at {x0:.0f},{y0:.0f} (score {found.score:.2f})"


def _when(event: Birth | Confirmation | Moment | End) -> str:
    return f"frame {event.frame} at {event.time_s:.2f} s"
