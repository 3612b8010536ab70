"""``streamtrack models quantize``: a model in int8, and what that costs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamtrack.quantizing import Quantized

FRAMES = 32
WORTH = 1.1
"""How many times faster int8 should be to be worth its drift."""


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the action to those of ``streamtrack models``."""
    parser = actions.add_parser(
        "quantize",
        help="make a model compute in int8, and measure what that costs",
        description="Make a model compute in int8, calibrated on frames of a video, and compare it with the original "
        "on other frames of it: boxes, scores and time on this machine's CPU.",
    )
    parser.add_argument("model", metavar="MODEL", help="a model of the zoo, or the path of an ONNX file")
    parser.add_argument(
        "--calibrate",
        required=True,
        metavar="VIDEO",
        help="a video like those it shall see, with what it shall find in them",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="what to write (default: MODEL_int8.onnx)")
    parser.add_argument("--head", help="how to read the outputs of a model given by path; its outputs tell by default")
    parser.add_argument(
        "--frames",
        type=int,
        default=FRAMES,
        metavar="N",
        help=f"calibrate on so many frames, measure on as many others (default: {FRAMES})",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it, and print what it costs.

    Raises:
        ConfigError: a model, source or output that cannot be.
        SourceError: the video cannot be read.
        BackendError: the model cannot be loaded or quantized.
    """
    from streamtrack.errors import ConfigError
    from streamtrack.quantizing import Wanted, as_json, quantize

    if args.frames < 1:
        raise ConfigError(f"--frames must be at least 1, got {args.frames}.")
    wanted = Wanted(args.model, args.calibrate, args.out, args.head, args.frames)
    made = quantize(wanted, say=_say, progress=_show)
    print(as_json(made).decode() if args.json else describe(made))
    return 0


def _say(text: str) -> None:
    print(f"streamtrack: {text}", file=sys.stderr, flush=True)


def _show(step: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{step} {done}/{total} ", end="\n" if done == total else "", file=sys.stderr, flush=True)


def describe(made: Quantized) -> str:
    """Return what was made, what it costs and what to do with it, in a few lines."""
    cost = made.cost
    sizes = [path.stat().st_size / 1e6 for path in (made.original, made.path)]
    lines = [
        f"{made.path}: {sizes[1]:.2f} MB instead of {sizes[0]:.2f}, calibrated on {made.calibrated_on} frames",
        f"against the original, on {cost.frames} other frames:",
        f"  boxes      {cost.found} instead of {cost.boxes}; precision {cost.precision:.3f}, recall {cost.recall:.3f}",
        f"  overlap    {cost.mean_iou:.3f} on average (IoU)",
        f"  scores     off by {cost.mean_drift:.3f} on average, {cost.worst_drift:.3f} at worst",
        f"  inference  {cost.int8_ms:.1f} ms instead of {cost.ms:.1f}: {cost.speed:.2f} times as fast",
    ]
    if not made.seen:
        lines.append("It saw nothing while it was calibrated: take a video with something to find.")
    if not cost.boxes:
        lines.append("There was nothing to find in the other frames: this says nothing about its accuracy.")
    if cost.speed < WORTH:
        lines.append("On this machine it is not worth it: keep the original.")
    else:
        lines.append(f"Use it with --model {made.path} --head {made.head}.")
    return "\n".join(lines)
