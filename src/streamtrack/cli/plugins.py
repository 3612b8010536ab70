"""``streamtrack plugins``: what is installed, and why what is broken is broken."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamtrack.registry import Plugin


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "plugins", help="list the installed sources, backends and sinks", description="List the installed plug-ins."
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print every installed plug-in."""
    import msgspec

    from streamtrack import registry

    found = registry.plugins()
    if args.json:
        print(msgspec.json.encode([plugin._asdict() for plugin in found]).decode())
    else:
        for plugin in found:
            print(_line(plugin))
    return 0


def _line(plugin: Plugin) -> str:
    state = f"broken: {plugin.error}" if plugin.error else f"{plugin.target}  ({plugin.distribution})"
    return f"{plugin.kind[:-1]:8} {plugin.name:10} {state}"
