"""``streamtrack config``: every setting, where it came from, and what follows from it."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from streamtrack.cli._settings import PROFILES, add_settings, given

if TYPE_CHECKING:
    from streamtrack.catalogue import Setting
    from streamtrack.config import Resolved
    from streamtrack.linting import Finding, Surroundings

ASSUMED_RATE = 30.0
_LEAST_RATE, _HIGHEST_RATE = 0.001, 100_000
EXIT_FINDINGS = 1
_EXAMPLES = """\
examples:
  streamtrack config show                                        the settings of a plain run
  streamtrack config show --profile fast_cpu --set tracker.max_gap_s=4s
  streamtrack config show --stride 6 --source-fps 25             what a stride of 6 means for a video of 25 fps
  streamtrack config diff balanced mine.yaml
  streamtrack config lint --profile mine.yaml --live --source-size 640x480
  streamtrack config schema > streamtrack.schema.json            for the editor that profiles are written in
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and what it can do."""
    parser = commands.add_parser(
        "config",
        help="show every setting and what follows from it",
        description="Show what a run would be set to.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser(
        "show",
        help="print every setting, where it came from, and what follows",
        description="Print every setting of a run, where it came from, and what follows from it in seconds.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_source(show)
    show.set_defaults(run=_show)
    lint = actions.add_parser(
        "lint",
        help="look for traps: combinations that do something else than one thinks",
        description="Look for traps among the settings. Exit code: 0 where there is nothing to change, "
        f"{EXIT_FINDINGS} where there is a warning.",
    )
    _add_source(lint)
    lint.add_argument("--live", action="store_true", help="the source is a live feed")
    lint.add_argument("--source-size", metavar="WxH", help="size of its pictures in px, such as 640x480")
    lint.set_defaults(run=_lint)
    diff = actions.add_parser(
        "diff", help="say what differs between two profiles", description="Say what differs between two profiles."
    )
    diff.add_argument("a", metavar="A", help=f"a profile: {PROFILES}")
    diff.add_argument("b", metavar="B", help="another")
    diff.add_argument("--json", action="store_true", help="print JSON")
    diff.set_defaults(run=_diff)
    schema = actions.add_parser(
        "schema",
        help="print the JSON schema of a profile, for editors",
        description="Print the JSON schema (draft 2020-12) of a profile, which editors check and complete it with.",
    )
    schema.set_defaults(run=_schema)


def _add_source(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    parser.add_argument(
        "--source-fps",
        "--fps-of-source",
        dest="source_fps",
        metavar="F",
        help=f"frames a second of the video ({ASSUMED_RATE:g})",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _resolved(args: argparse.Namespace) -> tuple[Resolved, float]:
    from streamtrack import config

    rate = ASSUMED_RATE if args.source_fps is None else _rate(args.source_fps)
    return config.resolve(args.profile, given(args)), rate


def _rate(text: str) -> float:
    from streamtrack import units
    from streamtrack.errors import ConfigError

    try:
        rate = units.read_number(text, "fps")
    except ValueError as error:
        raise ConfigError(f"--source-fps {text!r} does not fit: {error}.") from error
    if not _LEAST_RATE <= rate <= _HIGHEST_RATE:
        raise ConfigError(
            f"A source of {rate:g} frames a second cannot be; give --source-fps a number from {_LEAST_RATE:g} to "
            f"{_HIGHEST_RATE:g}."
        )
    return rate


def _show(args: argparse.Namespace) -> int:
    """Print the settings that a run with the same options would have."""
    from streamtrack.consequences import consequences
    from streamtrack.linting import lint

    resolved, rate = _resolved(args)
    follows = consequences(resolved, rate)
    findings = lint(resolved, _surroundings(resolved, rate))
    if args.json:
        _print_json(
            {
                "profile": resolved.profile,
                "settings": _described(resolved),
                "source_fps": rate,
                **{each.name: {"text": each.text, **each.values} for each in follows},
                "findings": findings,
            }
        )
        return 0
    _print_settings(resolved)
    assumed = " (assumed; --source-fps says otherwise)" if args.source_fps is None else ""
    _print_wrapped(f"What follows for a source of {rate:g} frames a second{assumed}", style="bold")
    _print_rows([(each.label, each.text) for each in follows])
    if findings:
        _print("\nTo be looked at", "bold")
        _print_findings(findings)
    return 0


def _surroundings(resolved: Resolved, rate: float, **known: Any) -> Surroundings:
    from streamtrack.allowance import usable_cores
    from streamtrack.linting import Surroundings
    from streamtrack.sources.sampling import choose

    source = resolved.config.source
    sampler = choose(source.stride, source.fps, rate)
    return Surroundings(rate=rate, sample_rate=sampler.rate, cores=max(1, int(usable_cores())), **known)


def _lint(args: argparse.Namespace) -> int:
    """Print the traps; the exit code says whether there is one to change."""
    from streamtrack.linting import lint

    resolved, rate = _resolved(args)
    width, height = _size(args.source_size)
    findings = lint(resolved, _surroundings(resolved, rate, live=args.live, width=width, height=height))
    if args.json:
        _print_json({"profile": resolved.profile, "source_fps": rate, "findings": findings})
    elif findings:
        _print_findings(findings)
    else:
        print("Nothing to be looked at.")
    return EXIT_FINDINGS if any(finding.level == "warning" for finding in findings) else 0


def _size(text: str | None) -> tuple[int, int]:
    from streamtrack.errors import ConfigError

    if text is None:
        return 0, 0
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ConfigError(f"'{text}' is no size: write --source-size 640x480.")
    return int(width), int(height)


def _diff(args: argparse.Namespace) -> int:
    """Print what two profiles give different values; the environment does not matter."""
    from streamtrack import catalogue, config
    from streamtrack.cli._table import aligned

    a, b = (_values(config.resolve(name, environ={})) for name in (args.a, args.b))
    settings = catalogue.settings()
    differing = {key: setting for key, setting in settings.items() if a[key] != b[key]}
    if args.json:
        found = {key: {"a": a[key], "b": b[key], "unit": each.unit} for key, each in differing.items()}
        _print_json({"a": args.a, "b": args.b, "differences": found})
    elif differing:
        rows = [(key, each.shown(a[key]), each.shown(b[key])) for key, each in differing.items()]
        print(aligned([("setting", args.a, args.b), *rows], left=3))
    else:
        print(f"{args.a} and {args.b} are the same: no setting differs.")
    return 0


def _schema(_: argparse.Namespace) -> int:
    """Print the schema of a profile."""
    from streamtrack.schema import profile_schema

    _print_json(profile_schema())
    return 0


def _values(resolved: Resolved) -> dict[str, Any]:
    import msgspec

    sections: dict[str, dict[str, Any]] = msgspec.to_builtins(resolved.config)
    return {f"{section}.{name}": value for section, keys in sections.items() for name, value in keys.items()}


def _described(resolved: Resolved) -> dict[str, Any]:
    from streamtrack import catalogue

    return {
        key: {
            "value": value,
            "unit": catalogue.settings()[key].unit,
            "from": resolved.origins.get(key, "default"),
            "default": catalogue.settings()[key].default,
            "meaning": catalogue.meaning(key),
        }
        for key, value in _values(resolved).items()
    }


def _print_json(value: Any) -> None:
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value), indent=1).decode())


_WIDE = 130


def _print_settings(resolved: Resolved) -> None:
    from streamtrack import catalogue, config

    about = config.about(resolved.profile)
    _print_wrapped(f"Profile {resolved.profile}. {about}".rstrip())
    _print_wrapped("* marks what differs from the default. Layers: " + " < ".join(config.LAYERS) + ".")
    values, settings = _values(resolved), catalogue.settings()
    rows = {key: _row(settings[key], values[key], resolved.origins.get(key, "default")) for key in settings}
    widths = [max(len(row[k]) for row in rows.values()) for k in range(3)]
    for section, names in catalogue.sections().items():
        _print("")
        _print_wrapped(f"{section}: {catalogue.purpose(section)}", style="bold")
        for name in names:
            key = f"{section}.{name}"
            lead = "  ".join(cell.ljust(width) for cell, width in zip(rows[key], widths, strict=True))
            style = "green" if values[key] != settings[key].default else ""
            if _columns() >= _WIDE:
                _print_wrapped(catalogue.meaning(key), lead + "  ", style=style)
            else:
                _print(lead.rstrip(), style or "none")
                _print_wrapped(catalogue.meaning(key), " " * 6, style="dim")
    _print("")


def _row(setting: Setting, value: Any, origin: str) -> tuple[str, str, str]:
    mark = "*" if value != setting.default else " "
    return f"{mark} {setting.key}", setting.shown(value), origin


def _print_findings(findings: list[Finding]) -> None:
    for finding in findings:
        _print_wrapped(f"{finding.level}: {finding}", "", style="yellow" if finding.level == "warning" else "")


def _print_rows(rows: list[tuple[str, str]]) -> None:
    width = max(len(label) for label, _ in rows)
    for label, text in rows:
        _print_wrapped(text, f"  {label:{width}}  ")


def _columns() -> int:
    import shutil

    return max(60, min(160, shutil.get_terminal_size((120, 24)).columns))


def _print_wrapped(text: str, lead: str = "", style: str = "") -> None:
    import textwrap

    # Beside a narrow terminal's columns there would be room for a word a line.
    room = max(_columns(), len(lead) + 40)
    indent = " " * len(lead) if lead else "  " * bool(text)
    lines = textwrap.wrap(text, room, initial_indent=lead, subsequent_indent=indent, break_on_hyphens=False)
    _print("\n".join(lines) or lead, style)


def _print(text: str, style: str = "") -> None:
    """Print lines, with a style where standard output is a terminal."""
    if not sys.stdout.isatty():
        print(text)
        return
    from rich.console import Console
    from rich.text import Text

    Console(highlight=False, soft_wrap=True).print(Text(text, style))
