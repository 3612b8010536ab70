"""``streamtrack doctor [SOURCE]``: what this machine has, what a source sends, and which settings suit both."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from streamtrack.cli.run import add_source
from streamtrack.errors import redact

if TYPE_CHECKING:
    from streamtrack.doctor.checks import Check
    from streamtrack.doctor.consultation import Consultation

SCHEMA_VERSION = 1
LEAST_SECONDS, MOST_SECONDS = 0.5, 60.0
_EXAMPLES = """\
examples:
  streamtrack doctor                              this machine: what is there, what is missing, how to get it
  streamtrack doctor video.mp4                    a look at a file, and the settings for it
  streamtrack doctor rtsp://camera/live --seconds 10 --json
"""
_SIGNS = {"ok": " ", "note": "!", "problem": "X"}
_COLOURS = {"ok": "", "note": "\x1b[33m", "problem": "\x1b[1;31m"}
_HEAD, _PLAIN = "\x1b[1m", "\x1b[0m"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "doctor",
        help="look at this machine, or for a few seconds at a source",
        description="Without a SOURCE, say what this machine has and what is missing. With one, look at it for a few "
        "seconds and say what it sends, what is wrong with it, and which settings suit it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_source(parser)
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="how long to look at a source (5)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look, and print what was found.

    Raises:
        ConfigError: a duration or an option that cannot be.
        SourceError: the source cannot be opened, or sends nothing.
    """
    if args.source is None and args.source_from_env is None:
        return _machine(args.json)
    return _source(args)


def _machine(as_json: bool) -> int:
    from streamtrack.doctor import checks, machine

    found = machine.examine()
    code = checks.exit_code(found)
    if as_json:
        _print_json(exit_code=code, machine=checks.as_json(found), source=None)
    else:
        _print_checks(found)
        verdict = "streamtrack cannot run here; see the lines marked X." if code else "streamtrack can run here."
        print(f"\n{verdict}")
    return code


def _source(args: argparse.Namespace) -> int:
    import msgspec

    from streamtrack.cli.run import chosen_source
    from streamtrack.config import parse_assignments
    from streamtrack.doctor.advice import Named
    from streamtrack.doctor.consultation import consult
    from streamtrack.errors import ConfigError

    if not LEAST_SECONDS <= args.seconds <= MOST_SECONDS:
        raise ConfigError(f"--seconds {args.seconds:g} cannot be: give {LEAST_SECONDS:g} to {MOST_SECONDS:g}.")
    named = Named(chosen_source(args), args.source_from_env or "", args.source_option)
    found = consult(named, seconds=args.seconds, given=parse_assignments(args.source_option))
    if args.json:
        report = msgspec.to_builtins(found.report)
        findings = [finding._asdict() for finding in found.findings]
        told = {"findings": findings, "inference": found.inference, "advice": found.advice}
        _print_json(exit_code=0, machine=None, source=report | msgspec.to_builtins(told))
    else:
        _print_consultation(found)
    return 0


def _print_json(**values: Any) -> None:
    print(redact(json.dumps({"schema_version": SCHEMA_VERSION, **values}, indent=1)))


def _print_checks(found: Sequence[Check]) -> None:
    width = max(len(check.name) for check in found)
    section = ""
    for check in found:
        if check.section != section:
            section = check.section
            _print_head(section)
        _print_row(check.mark, check.name, check.text, width)
        if check.remedy:
            _print_row("ok", "", f"-> {check.remedy}", width)


def _print_consultation(found: Consultation) -> None:
    from streamtrack.doctor import wording
    from streamtrack.doctor.advice import SECRET_VARIABLE

    report, advice = found.report, found.advice
    rows = wording.rows(report)
    width = max(len(label) for label, _ in rows)
    _print_head(report.uri)
    for label, text in rows:
        _print_row("ok", label, text, width)
    _print_head("findings")
    for finding in found.findings:
        _print_row(finding.mark, "", finding.text, 0)
    _print_head(f"profile {advice.profile}")
    _print_row("ok", "", advice.why, 0)
    for candidate in advice.candidates:
        _print_row("ok", candidate.profile, wording.candidate(candidate), 0)
    if SECRET_VARIABLE in advice.command:
        _print_row("note", "", f"set {SECRET_VARIABLE} to the URL first: a command line is seen by everybody", 0)
    print(f"\n  {advice.command}")


def _print_head(text: str) -> None:
    print(f"{_HEAD}{text}{_PLAIN}" if sys.stdout.isatty() else text)


def _print_row(mark: str, label: str, text: str, width: int) -> None:
    lead = f"{_SIGNS[mark]} {label:{width}}" + "  " * bool(label or width)
    room = max(60, min(140, shutil.get_terminal_size((120, 24)).columns))
    # A command is one line, whatever the terminal: it is there to be pasted.
    keep = text.startswith("->")
    lines = textwrap.wrap(redact(text), room, initial_indent=lead, subsequent_indent=" " * len(lead))
    shown = lead + redact(text) if keep else "\n".join(lines)
    colour = _COLOURS[mark] if sys.stdout.isatty() else ""
    print(f"{colour}{shown}{_PLAIN}" if colour else shown)
