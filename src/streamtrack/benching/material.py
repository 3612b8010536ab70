"""What is benchmarked on: a clip, given or built in, and the models at hand."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av

from streamtrack import config
from streamtrack.demo.clip import write_clip
from streamtrack.demo.portraits import PORTRAITS
from streamtrack.errors import ConfigError, SourceOpenError, StreamtrackError
from streamtrack.fetch import state
from streamtrack.models.spec import ModelSpec
from streamtrack.models.zoo import AUTO_ORDER, ZOO, names_of, resolve
from streamtrack.testing.clips import write_clip as write_synthetic
from streamtrack.testing.models import square_frames

FEED_RATE = 30
"""Frames a second of the streams that a machine shall hold."""
_DEMO, _SYNTHETIC = "the demo's clip", "white squares on a dark ground"
_SYNTHETIC_FRAMES = 150


class Clip(NamedTuple):
    """A clip to look at."""

    path: Path
    about: str
    """What it is, for people."""


class Model(NamedTuple):
    """A model to run."""

    name: str
    path: Path
    spec: ModelSpec
    written: str
    """As ``--model`` takes it."""


def chosen_models(wanted: Sequence[str]) -> list[Model]:
    """Return the models that were named, fetched where they are missing; without names the cached detectors.

    Raises:
        ConfigError: none is cached, or there is none of a name.
        FetchError: one that was named cannot be had.
        ModelLoadError: a file that is not there.
    """
    cache = config.model_dir()
    cached = [name for name in names_of("detector") if state(ZOO[name].asset, cache) == "ok"]
    # The one that a plain run takes comes first: the pipelines are measured with it.
    names = wanted or sorted(cached, key=lambda name: AUTO_ORDER.index(name) if name in AUTO_ORDER else len(AUTO_ORDER))
    if not names:
        raise ConfigError(
            f"There is no model in {cache} yet, and nothing is downloaded unasked: "
            f"name one with --models {AUTO_ORDER[0]}, or run streamtrack models pull {AUTO_ORDER[0]}."
        )
    found = [(name, resolve(name, None, cache, say=_silent)) for name in names]
    return [Model(each.name, each.path, each.spec, str(name)) for name, each in found]


def built_in_clip(folder: Path) -> Clip:
    """Return the clip of the demo where its portraits are cached already; else one of moving squares.

    Args:
        folder: for what has to be rendered and cannot be kept.
    """
    cache = config.model_dir() / "demo"
    if any(state(portrait.asset, cache) != "ok" for portrait in PORTRAITS):
        paths = [(40.0 + 150 * row, 30.0 + 80 * row, 2.0 + row, 1.0) for row in range(4)]
        clip = folder / "squares.mp4"
        write_synthetic(clip, square_frames(_SYNTHETIC_FRAMES, paths, width=1280, height=720), rate=FEED_RATE)
        return Clip(clip, f"{_SYNTHETIC}, 1280x720: without faces, since the demo's portraits are not cached")
    kept = cache / "clip" / "clip.mp4"
    if not kept.is_file():
        kept = _rendered(cache, folder)
    return Clip(kept, f"{_DEMO}, two faces at 1280x720")


def _rendered(cache: Path, folder: Path) -> Path:
    portraits = {portrait.name: cache / portrait.asset.filename for portrait in PORTRAITS}
    try:
        return write_clip(cache / "clip", portraits)[0]
    except StreamtrackError:  # a cache that is read-only
        return write_clip(folder / "clip", portraits)[0]


def given_clip(path: str) -> Clip:
    """Return a clip of the user's.

    Raises:
        ConfigError: there is no such file.
    """
    if not Path(path).is_file():
        raise ConfigError(f"There is no clip {path}: --clip takes a video file.")
    return Clip(Path(path), Path(path).name)


def as_feed(clip: Path, folder: Path) -> Path:
    """Return a copy of ``clip`` with the same packets at FEED_RATE frames a second, by their order.

    Raises:
        SourceOpenError: it holds no video, or cannot be copied.
    """
    target = folder / "feed.mkv"
    try:
        with av.open(str(clip)) as source, av.open(str(target), "w") as sink:
            stream = source.streams.video[0]
            rate = stream.average_rate or Fraction(FEED_RATE)
            copy = sink.add_stream_from_template(stream)
            for packet in source.demux(stream):
                if packet.dts is None or packet.pts is None:
                    continue
                # The unit of time changes, and nothing else: x frames a second become 30.
                packet.time_base = packet.time_base * rate / FEED_RATE
                packet.stream = copy
                sink.mux(packet)
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise SourceOpenError(f"The clip {clip} cannot be played as a feed: {error}.") from error
    return target


def _silent(text: str) -> None:
    """Tell nobody: the report has it all."""
