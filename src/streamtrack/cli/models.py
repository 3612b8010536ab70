"""``streamtrack models``: what the zoo holds, and what of it lies in the cache."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamtrack.cli import _export, _quantize

if TYPE_CHECKING:
    from streamtrack.models.zoo import ZooEntry

_LINE = "{:12} {:9} {:16} {:12} {:12} {:>9}  {:10} {:>6}  {}"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and what it can do."""
    parser = commands.add_parser(
        "models", help="list, fetch and verify models", description="List, fetch and verify the models of the zoo."
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list the models and whether they are cached")
    listing.add_argument("--json", action="store_true", help="print JSON")
    pull = actions.add_parser("pull", help="fetch models into the cache")
    pull.add_argument("names", nargs="*", metavar="NAME", help="a model of the zoo")
    pull.add_argument("--all", action="store_true", help="every model of the zoo")
    path = actions.add_parser("path", help="print where a model lies, fetching it if it is missing")
    path.add_argument("name", metavar="NAME", help="a model of the zoo")
    actions.add_parser("verify", help="hash every cached model again")
    _export.add_parser(actions)
    _quantize.add_parser(actions)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do what was asked for.

    Raises:
        ConfigError: a name that is not in the zoo.
        FetchError: a model that cannot be fetched, or a cached one that is damaged.
    """
    from streamtrack import config

    actions = {"list": _list, "pull": _pull, "path": _path, "verify": _verify}
    actions[args.action](args, config.model_dir())
    return 0


def _list(args: argparse.Namespace, cache_dir: Path) -> None:
    import msgspec

    from streamtrack.models.zoo import ZOO

    rows = [_row(entry, cache_dir) for entry in ZOO.values()]
    if args.json:
        print(msgspec.json.encode(rows).decode())
        return
    print(_LINE.format("name", "kind", "what it does", "head", "input", "keypoints", "licence", "MB", "cached"))
    cached = {"ok": "yes", "missing": "no", "mismatch": "damaged"}
    for row in rows:
        classes = ", ".join(row["classes"]) if len(row["classes"]) < 3 else f"{len(row['classes'])} kinds"
        does = f"{'finds' if row['kind'] == 'detector' else 'compares'} {classes}"
        shown = (row[key] for key in ("head", "input", "keypoints", "licence"))
        print(_LINE.format(row["name"], row["kind"], does, *shown, f"{row['size'] / 1e6:.1f}", cached[row["state"]]))
    print(f"cache: {cache_dir}")


def _row(entry: ZooEntry, cache_dir: Path) -> dict[str, Any]:
    from streamtrack.fetch import state

    spec, asset = entry.spec, entry.asset
    height, width = spec.input_size
    return {
        "name": entry.name,
        "kind": entry.kind,
        "head": spec.head,
        "input": f"up to {max(height, width)}" if spec.dynamic_size else f"{width}x{height}",
        "classes": spec.classes,
        "keypoints": spec.keypoints,
        "licence": entry.licence,
        "origin": entry.origin,
        "size": asset.size,
        "sha256": asset.sha256,
        "sources": asset.sources,
        "path": str(cache_dir / asset.filename),
        "state": state(asset, cache_dir),
    }


def _pull(args: argparse.Namespace, cache_dir: Path) -> None:
    from streamtrack.errors import ConfigError
    from streamtrack.fetch import CACHED, fetch
    from streamtrack.models.zoo import ZOO, entry_named

    if bool(args.names) == args.all:
        raise ConfigError(f"Say which models to pull: names out of {', '.join(ZOO)}, or --all.")
    for entry in [entry_named(name) for name in (ZOO if args.all else args.names)]:
        found = fetch(entry.asset, cache_dir, progress=sys.stderr)
        where = "was there already" if found.source == CACHED else f"from {found.source}"
        print(f"{entry.name} {where}: {found.path} (sha256 {found.sha256})")


def _path(args: argparse.Namespace, cache_dir: Path) -> None:
    from streamtrack.fetch import fetch
    from streamtrack.models.zoo import entry_named

    print(fetch(entry_named(args.name).asset, cache_dir, progress=sys.stderr).path)


def _verify(args: argparse.Namespace, cache_dir: Path) -> None:
    from streamtrack.errors import FetchError
    from streamtrack.fetch import sha256_of, state
    from streamtrack.models.zoo import ZOO

    damaged = []
    for entry in ZOO.values():
        found = state(entry.asset, cache_dir)
        path = cache_dir / entry.asset.filename
        print(f"{entry.name}: {found}" + (f" ({path})" if found != "missing" else ""))
        if found == "mismatch":
            damaged.append(f"{path} has sha256 {sha256_of(path)} instead of {entry.asset.sha256}")
    if damaged:
        raise FetchError(f"{'; '.join(damaged)}: delete it or pull it again.")
