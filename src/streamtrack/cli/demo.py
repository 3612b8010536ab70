"""``streamtrack demo``: the whole job on a clip with known truth, or on your own video, with pictures to look at."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamtrack.cli._settings import add_settings, given

if TYPE_CHECKING:
    from streamtrack.demo.score import Score
    from streamtrack.demo.truth import Truth


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "demo",
        help="show what it does, on a clip of its own or on a video of yours",
        description="Track the faces in a clip that the demo renders itself and whose truth it knows, or in VIDEO. "
        "Looks at every frame unless told otherwise. Writes annotated.mp4, report.html, crops and the records.",
    )
    parser.add_argument("video", metavar="VIDEO", nargs="?", help="a video of yours (default: render a clip)")
    parser.add_argument("--out", metavar="FOLDER", default="demo", help="folder for the results (default: demo)")
    add_settings(parser)
    parser.add_argument("--model", dest="detector.model", metavar="MODEL", help="as for 'run'")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Render the clip if no video is given, track it, and compare what was found with what is there."""
    import streamtrack
    from streamtrack.cli import _terminal
    from streamtrack.config import limit_library_threads, resolve

    settings = _settings(args)
    limit_library_threads(resolve(args.profile, settings).config.runtime.threads)
    from streamtrack.demo.score import Observer, score

    folder = Path(args.out)
    video, truth = (args.video, None) if args.video else _rendered(folder)
    observer = Observer()
    with _terminal.ProgressLine() as line:
        summary = streamtrack.run(
            video,
            out=folder,
            profile=args.profile,
            sinks=["video", "report", *([observer] if truth else [])],
            set=settings,
            overwrite=True,
            progress=line.update,
            say=_terminal.say,
        )
    _terminal.show_summary(summary)
    if truth:
        _show_score(score(truth, observer.frames))
    print(f"Look at {folder / 'annotated.mp4'} and {folder / 'report.html'}.")
    return 0


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    asked = given(args)
    # The profile by default looks at few frames; the demo is there to be looked at.
    every = args.profile is None and not {"source.stride", "source.fps"} & asked.keys()
    sampling = {"source.stride": 1} if every else {}
    return sampling | {"output.save_crops": True, "output.save_frames": False} | asked


def _rendered(folder: Path) -> tuple[Path, Truth]:
    import sys

    from streamtrack import config
    from streamtrack.cli import _terminal
    from streamtrack.demo.clip import write_clip
    from streamtrack.demo.portraits import PORTRAITS
    from streamtrack.fetch import fetch

    cache = config.model_dir() / "demo"
    files = {portrait.name: fetch(portrait.asset, cache, progress=sys.stderr).path for portrait in PORTRAITS}
    _terminal.say("rendering a clip of 20 s whose truth is known")
    return write_clip(folder, files)


def _show_score(result: Score) -> None:
    from streamtrack.demo.score import as_rows

    wrong = (
        f"{result.false_tracks} of those found on no face" if result.false_tracks else "each of those found on a face"
    )
    print(f"Tracks: {result.found_tracks} found, {result.true_tracks} true; {wrong}.")
    for line in _table(as_rows(result)):
        print(line)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines with aligned columns: the first to the left, numbers to the right."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(text.rjust(w) for text, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
