"""``streamtrack models export``: a model in the format of another runtime."""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamtrack.models.zoo import ResolvedModel

_SIZE = re.compile(r"([1-9]\d*)(?:x([1-9]\d*))?")


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the action to those of ``streamtrack models``."""
    parser = actions.add_parser(
        "export",
        help="convert a model to another runtime's format",
        description="Convert a model to another runtime's format, check that it gives the same answers, and save it. "
        "Needs pip install 'streamtrack[export]'; any system will do.",
    )
    parser.add_argument("model", metavar="MODEL", help="a model of the zoo, or the path of an ONNX file")
    parser.add_argument("--to", metavar="BACKEND", required=True, help="the runtime, e.g. coreml")
    parser.add_argument("--head", help="how to read the outputs of a model given by path; its outputs tell by default")
    parser.add_argument(
        "--size",
        default="",
        metavar="W[xH],...",
        help="the input sizes it shall take in px, the first by default (default: the model's own)",
    )
    parser.add_argument("--precision", choices=("fp16", "fp32"), default="fp16", help="what to compute in")
    parser.add_argument("--out", type=Path, metavar="FILE", help="what to write (default: beside the model)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it, and print each step and the error of each output.

    Raises:
        ConfigError: a model, head, size or file name that cannot be, or a backend that has no format of its own.
        PluginError: there is no such backend.
        BackendError: what converts is missing, or the converted model gives other answers.
    """
    from streamtrack import registry
    from streamtrack.errors import ConfigError

    exporting = getattr(registry.load("backends", args.to)(), "export", None)
    if exporting is None:
        raise ConfigError(f"--to {args.to}: this backend has no format of its own that a model could be exported to.")
    sizes = parse_sizes(args.size)
    model, licence = _resolved(args)
    started = time.perf_counter()
    path: Path = exporting(
        model.path,
        model.spec,
        args.out,
        sizes=sizes,
        precision=args.precision,
        licence=licence,
        say=lambda text: print(text, flush=True),
    )
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    size = sum(each.stat().st_size for each in files)
    print(f"{path}: {size / 1e6:.1f} MB, {args.precision}, in {time.perf_counter() - started:.1f} s")
    return 0


def parse_sizes(text: str) -> tuple[tuple[int, int], ...]:
    """Return the (height, width) of each of ``640`` (a square) or ``640x384`` (width, height), separated by commas.

    Raises:
        ConfigError: it is something else.
    """
    from streamtrack.errors import ConfigError

    sizes = []
    for part in text.split(",") if text else ():
        match = _SIZE.fullmatch(part.strip())
        if match is None:
            raise ConfigError(f"--size {text}: '{part}' is neither a side, e.g. 640, nor WIDTHxHEIGHT, e.g. 640x384.")
        sizes.append((int(match[2] or match[1]), int(match[1])))
    return tuple(sizes)


def _resolved(args: argparse.Namespace) -> tuple[ResolvedModel, str]:
    """Return the model with what is known of its input and head, and its licence."""
    import sys

    from streamtrack import config
    from streamtrack.fetch import fetch
    from streamtrack.models.zoo import ZOO, ResolvedModel, resolve

    if (entry := ZOO.get(args.model)) is not None and args.head is None:
        path, sha256, source = fetch(entry.asset, config.model_dir(), progress=sys.stderr)
        return ResolvedModel(path, entry.spec, sha256, entry.name, source), entry.licence
    found = resolve(args.model, args.head, config.model_dir(), say=lambda text: print(text, file=sys.stderr))
    licence = ZOO[found.name].licence if found.name in ZOO and found.source != "file" else ""
    return _recognised(found), licence


def _recognised(found: ResolvedModel) -> ResolvedModel:
    """Let the outputs tell the head, and with it the conventions, where a model was given by path alone."""
    from dataclasses import replace

    from streamtrack import registry
    from streamtrack.api import BackendOptions
    from streamtrack.errors import ModelLoadError
    from streamtrack.models.detector import load_detector
    from streamtrack.models.heads import AUTO
    from streamtrack.params import DetectorParams

    if found.spec.head != AUTO:
        return found
    backend: Any = registry.load("backends", "onnx")()
    try:
        detector = load_detector(found.path, found.spec, backend, BackendOptions(device="cpu"), DetectorParams())
    except ModelLoadError as error:
        # An embedder is read by no head, and can be exported all the same.
        print(f"nothing is known of its input, so plain RGB pixels are assumed: {error}")
        return found
    detector.close()
    return replace(found, spec=detector.spec)
