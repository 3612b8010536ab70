"""Options that are settings: each is named after its setting's key, and is read as ``--set`` has it, units included."""

from __future__ import annotations

import argparse
from typing import Any

PROFILES = "fast_cpu, balanced (default), high_accuracy, live, low_power, or a YAML file"


def add_settings(parser: argparse._ActionsContainer) -> None:
    """Add those of every command that has a run's settings: profile, sampling, and ``--set`` for the rest."""
    parser.add_argument("--profile", metavar="NAME", help=PROFILES)
    parser.add_argument(
        "--stride", dest="source.stride", metavar="N", help="look at frames 0, N, 2N, ... in presentation order"
    )
    parser.add_argument(
        "--fps", dest="source.fps", metavar="F", help="look at no more than F frames a second (0: no limit)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="any setting, such as tracker.max_gap_s=2500ms"
    )


def given(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that were given, by dotted key; what ``--set`` says goes before an option of its own.

    Raises:
        ConfigError: a ``--set`` that is no assignment.
    """
    from streamtrack.config import parse_assignments

    # Of all options only those of settings have a dot in their name.
    own = {key: value for key, value in vars(args).items() if "." in key and value is not None}
    return own | parse_assignments(args.set)
