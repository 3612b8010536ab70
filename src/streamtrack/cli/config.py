"""``streamtrack config``: every setting, where it came from, and what follows from it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamtrack.config import Lifetime, Resolved
    from streamtrack.sources.sampling import Sampler

ASSUMED_RATE = 30.0
_EXAMPLES = """\
examples:
  streamtrack config show                                        the settings of a plain run
  streamtrack config show --profile fast_cpu --set tracker.max_gap_s=4
  streamtrack config show --stride 6 --fps-of-source 25          what a stride of 6 means for a video of 25 fps
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and what it can do."""
    parser = commands.add_parser(
        "config", help="show every setting and what follows from it", description="Show what a run would be set to."
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser(
        "show",
        help="print every setting, where it came from, and what follows",
        description="Print every setting of a run, where it came from, and what follows from it in seconds.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    show.add_argument("--profile", metavar="NAME", help="fast_cpu, balanced (default), high_accuracy, or a YAML file")
    show.add_argument("--stride", type=int, metavar="N", help="as in streamtrack run")
    show.add_argument("--fps", type=float, metavar="F", help="as in streamtrack run")
    show.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="any setting, such as tracker.max_gap_s=2"
    )
    show.add_argument(
        "--fps-of-source", type=float, metavar="F", help=f"frames a second of the video ({ASSUMED_RATE:g})"
    )
    show.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the settings that a run with the same options would have.

    Raises:
        ConfigError: a setting that cannot be, or a frame rate that is not positive.
    """
    from streamtrack import config
    from streamtrack.errors import ConfigError
    from streamtrack.sources.sampling import choose

    rate = ASSUMED_RATE if args.fps_of_source is None else args.fps_of_source
    if not 0 < rate < float("inf"):
        raise ConfigError(f"A source of {rate:g} frames a second cannot be; give --fps-of-source a number above 0.")
    given = {"source.stride": args.stride, "source.fps": args.fps}
    overrides = {key: value for key, value in given.items() if value is not None} | config.parse_assignments(args.set)
    resolved = config.resolve(args.profile, overrides)
    source = resolved.config.source
    sampler = choose(source.stride, source.fps, rate)
    lifetime = config.lifetime(resolved.config.tracker, sampler.rate)
    if args.json:
        _print_json(resolved, rate, sampler, lifetime)
    else:
        _print_settings(resolved)
        assumed = " (assumed; --fps-of-source says otherwise)" if args.fps_of_source is None else ""
        print(f"What follows for a source of {rate:g} frames a second{assumed}")
        _print_rows(_consequences(resolved, rate, sampler, lifetime), indent="  ")
    return 0


def _print_json(resolved: Resolved, rate: float, sampler: Sampler, lifetime: Lifetime) -> None:
    import msgspec

    settings = {
        f"{section}.{name}": {"value": value, "from": resolved.origins.get(f"{section}.{name}", "default")}
        for section, values in msgspec.to_builtins(resolved.config).items()
        for name, value in values.items()
    }
    report = {
        "profile": resolved.profile,
        "settings": settings,
        "source_fps": rate,
        "sampling": {"text": sampler.text, "fps": sampler.rate},
        "keeps_id": {
            "track_buffer_s": lifetime.track_buffer_s,
            "max_gap_s": lifetime.max_gap_s,
            "binds": lifetime.binds,
            "seconds": lifetime.seconds,
        },
    }
    print(msgspec.json.format(msgspec.json.encode(report), indent=1).decode())


def _print_settings(resolved: Resolved) -> None:
    import msgspec

    from streamtrack.catalogue import meaning

    print(f"Settings with the profile '{resolved.profile}' (default < profile < environment < command line)\n")
    sections: dict[str, dict[str, Any]] = msgspec.to_builtins(resolved.config)
    rows = [
        (
            f"{section}.{name}",
            _shown(value),
            resolved.origins.get(f"{section}.{name}", "default"),
            meaning(f"{section}.{name}"),
        )
        for section, values in sections.items()
        for name, value in values.items()
    ]
    widths = [max(len(row[k]) for row in rows) for k in range(3)]
    for section in sections:
        for row in rows:
            if row[0].startswith(f"{section}."):
                lead = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
                _print_rows([(lead, row[3])])
        print()


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _consequences(resolved: Resolved, rate: float, sampler: Sampler, lifetime: Lifetime) -> list[tuple[str, str]]:
    tracker, scene = resolved.config.tracker, resolved.config.scene
    step, buffer = rate / sampler.rate, f"{tracker.track_buffer:g} frames looked at"
    if step.is_integer():
        buffer = f"{tracker.track_buffer:g} x {step:g} = {tracker.track_buffer * step:g} source frames"
    binding = (
        f"{lifetime.binds} binds, the shorter of the two: a track that is found again within {lifetime.seconds:.3g} s "
        "keeps its id, one that is gone for longer ends"
    )
    cuts = (
        f"the pictures must differ by {scene.cut_threshold:.0%} and by much more than those before; "
        f"no second cut within {scene.min_shot_s:g} s"
    )
    return [
        (
            "Frames looked at",
            f"{sampler.text}: {sampler.rate:.3g} a second of video, one every {1 / sampler.rate:.3g} s",
        ),
        ("track_buffer", f"{buffer} = {lifetime.track_buffer_s:.3g} s"),
        ("max_gap_s", f"{lifetime.max_gap_s:g} s"),
        ("Lost tracks", binding),
        ("Scene cuts", f"end all tracks: {cuts}" if scene.cuts else "are not looked for: tracks may go on through one"),
    ]


def _print_rows(rows: list[tuple[str, str]], indent: str = "") -> None:
    import shutil
    import textwrap

    columns = max(60, min(160, shutil.get_terminal_size((120, 24)).columns))
    width = max(len(label) for label, _ in rows)
    for label, text in rows:
        lead = f"{indent}{label:{width}}  "
        # Beside a narrow terminal's columns there would be room for a word a line.
        room = max(columns, len(lead) + 40)
        print("\n".join(textwrap.wrap(text, room, initial_indent=lead, subsequent_indent=" " * len(lead))) or lead)
