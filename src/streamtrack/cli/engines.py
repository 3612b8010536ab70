"""``streamtrack engines``: what TensorRT has built for this machine, built ahead of the first run, and thrown away."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and what it can do."""
    parser = commands.add_parser(
        "engines",
        help="list, build and remove TensorRT engines",
        description="List, build and remove TensorRT engines.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("ls", help="list the engines in the cache")
    listing.add_argument("--json", action="store_true", help="print JSON")
    build = actions.add_parser("build", help="build the engine that a run with the same settings will need")
    build.add_argument("model", metavar="MODEL", help="a model of the zoo, or an ONNX file")
    build.add_argument("--head", metavar="NAME", help="how to read the outputs of a model that does not tell itself")
    build.add_argument("--profile", metavar="NAME", help="profile of the run")
    build.add_argument("--batch", type=int, metavar="N", help="largest batch (default: the profile's)")
    build.add_argument("--precision", choices=("auto", "fp32", "fp16", "int8"), help="default: the profile's")
    prune = actions.add_parser("prune", help="remove engines that no run on this machine will use again")
    prune.add_argument("--all", action="store_true", help="remove every engine")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do what was asked for.

    Raises:
        ConfigError: a setting that cannot be.
        BackendError: TensorRT cannot run here, or cannot build the model.
    """
    from streamtrack import config, registry

    backend = registry.load("backends", "tensorrt")()
    {"ls": _list, "build": _build, "prune": _prune}[args.action](args, backend, config.cache_dir())
    return 0


def _list(args: argparse.Namespace, backend: Any, cache_dir: Path) -> None:
    cache = backend.engines(cache_dir)
    found = cache.list()
    if args.json:
        rows = [file._asdict() | {"path": str(file.path), "damaged": not file.recipe} for file in found]
        print(json.dumps(rows, indent=1))
        return
    from streamtrack.cli._table import aligned

    head = ["model", "input", "precision", "TensorRT", "GPU", "MB", "key"]
    print(aligned([head, *(_row(file) for file in found)], left=5))
    print(f"cache: {cache.folder}")


def _row(file: Any) -> list[str]:
    recipe = file.recipe
    size = f"{file.size / 1e6:.1f}"
    if not recipe:
        return ["(damaged)", "", "", "", "", size, file.key[:12]]
    low, _, high = recipe["shapes"]
    spans = [str(a) if a == b else f"{a}..{b}" for a, b in zip(low, high, strict=True)]
    gpu = f"{recipe['gpu']} ({recipe['capability']})"
    return [file.model, " x ".join(spans), recipe["precision"], recipe["tensorrt"], gpu, size, file.key[:12]]


def _build(args: argparse.Namespace, backend: Any, cache_dir: Path) -> None:
    from streamtrack import config
    from streamtrack.models.zoo import resolve
    from streamtrack.opening import Wanted, open_detector

    given = {
        "detector.model": args.model,
        "detector.head": args.head,
        "detector.batch_size": args.batch,
        "runtime.precision": args.precision,
    }
    fixed = {"runtime.backend": "tensorrt", "runtime.device": "cuda", "runtime.parity_frames": 0}
    settings = config.resolve(args.profile, {k: v for k, v in given.items() if v is not None} | fixed).config
    model = resolve(settings.detector.model, settings.detector.head, config.model_dir(), say=_say)
    before = {file.key for file in backend.engines(cache_dir).list()}
    # The way of a run, so that it is the very engine that a run will look for.
    open_detector(Wanted(model, settings.detector, settings.runtime, cache_dir, _say)).detector.close()
    built = [file for file in backend.engines(cache_dir).list() if file.key not in before]
    for file in built:
        print(f"built {file.path}")
    if not built:
        print(f"the engine of {model.name} was there already")


def _prune(args: argparse.Namespace, backend: Any, cache_dir: Path) -> None:
    cache = backend.engines(cache_dir)
    removed = freed = 0
    for file in cache.list():
        reason = "--all" if args.all else backend.leftover(file)
        if reason:
            cache.discard(file.key)
            removed, freed = removed + 1, freed + file.size
            print(f"removed {file.model or file.key[:12]} ({reason})")
    print(f"removed {removed} engines, {freed / 1e6:.1f} MB")


def _say(text: str) -> None:
    print(text, file=sys.stderr)
