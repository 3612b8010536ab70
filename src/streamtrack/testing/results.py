"""Synthetic results, so that a sink can be tested without a decoder, a model or a tracker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from streamtrack.types import (
    CONFIRMED,
    LOST,
    NS_PER_S,
    TENTATIVE,
    BoxCounts,
    Detections,
    Frame,
    Result,
    RunInfo,
    SourceInfo,
    TrackUpdate,
)

Box = tuple[float, float, float, float]


class ArrayPicture:
    """A ``Picture`` over an RGB array."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        """Hold ``pixels``, RGB uint8 (height, width, 3)."""
        self.pixels = pixels

    def rgb(self, region: tuple[int, int, int, int], size: tuple[int, int], *, planar: bool) -> NDArray[np.uint8]:
        """Return ``region`` (x0 y0 x1 y1 px) at ``size`` (width, height), as ``types.Picture`` says."""
        x0, y0, x1, y1 = region
        part = np.ascontiguousarray(self.pixels[y0:y1, x0:x1])
        if size != (x1 - x0, y1 - y0):
            part = np.array(Image.fromarray(part).resize(size, Image.Resampling.BILINEAR))
        if planar:
            part = np.ascontiguousarray(part.transpose(2, 0, 1)).transpose(1, 2, 0)
        # A whole frame would otherwise be the array itself, and whoever draws on it would draw for everybody.
        return part.copy() if np.shares_memory(part, self.pixels) else part


def make_info(
    folder: Path | None,
    *,
    width: int = 320,
    height: int = 240,
    rate: float = 25.0,
    keypoints: int = 5,
    live: bool = False,
) -> RunInfo:
    """Return what a sink is told about a synthetic run into ``folder``."""
    source = SourceInfo(
        uri="synthetic.mp4",
        width=width,
        height=height,
        rate=rate,
        frames_estimate=None if live else 100,
        duration_s=None if live else 100 / (rate or 25.0),
        live=live,
        codec="none",
        sample_rate=rate,
    )
    return RunInfo(source=source, model="synthetic", class_names=("face",), keypoints=keypoints, folder=folder)


def make_frame(index: int, *, width: int = 320, height: int = 240, rate: float = 25.0) -> Frame:
    """Return frame ``index`` of a clip with a constant ``rate``: a gradient that moves with the index."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x + 3 * index, y, x + y], axis=2).astype(np.uint8)
    return Frame(index, round(index / rate * NS_PER_S), width, height, ArrayPicture(pixels))


def make_result(
    frame: Frame,
    tracks: Sequence[tuple[int, Box]] = (),
    *,
    lost: Sequence[tuple[int, Box]] = (),
    tentative: Sequence[tuple[int, Box]] = (),
    ended: Sequence[int] = (),
    keypoints: int = 5,
    score: float = 0.9,
) -> Result:
    """Return the result of one frame.

    Args:
        frame: the frame.
        tracks: id and box (x0 y0 x1 y1 px) of each confirmed track; each has a detection of the same box.
        lost: the same for tracks without a detection.
        tentative: the same for tracks seen once, with a detection.
        ended: ids that will not be seen again.
        keypoints: how many per detection, spread inside the box.
        score: of every detection and track.
    """
    seen = [*tracks, *tentative]
    boxes = np.array([box for _, box in seen], np.float32).reshape(-1, 4)
    spread = np.linspace(0.25, 0.75, keypoints, dtype=np.float32)[None, :, None]
    points = boxes[:, None, :2] + spread * (boxes[:, None, 2:] - boxes[:, None, :2])
    detections = Detections(boxes, np.full(len(seen), score, np.float32), np.zeros(len(seen), np.int32), points)
    every = [*seen, *lost]
    states = [CONFIRMED] * len(tracks) + [TENTATIVE] * len(tentative) + [LOST] * len(lost)
    update = TrackUpdate(
        ids=np.array([track for track, _ in every], np.int64),
        boxes=np.array([box for _, box in every], np.float32).reshape(-1, 4),
        scores=np.full(len(every), score, np.float32),
        classes=np.zeros(len(every), np.int32),
        states=np.array(states, np.uint8),
        rows=np.array([*range(len(seen)), *[-1] * len(lost)], np.int32),
        ended=np.array(ended, np.int64),
    )
    return Result(frame, detections, update)


def walk(
    frames: int = 12, *, tracks: int = 2, stride: int = 1, width: int = 320, height: int = 240, keypoints: int = 5
) -> Iterator[Result]:
    """Yield a small story, the same every time.

    ``tracks`` boxes drift to the right. Each appears two frames after the one before it, first as tentative, is lost
    for one frame in five, and all but the last end one by one before the clip does.
    """
    size = min(width, height) / 4
    for n in range(frames):
        seen: list[tuple[int, Box]] = []
        lost: list[tuple[int, Box]] = []
        fresh: list[tuple[int, Box]] = []
        ended: list[int] = []
        for k in range(tracks):
            born, dies = 2 * k, frames if k == tracks - 1 else frames - 2 * (tracks - k) + 1
            x, y = (7.0 * k + 2.0 * n) % (width - size), (11.0 * k) % (height - size)
            entry = (k + 1, (x, y, x + size, y + size))
            if n == dies:
                ended.append(k + 1)
            elif born <= n < dies:
                (fresh if n == born else lost if (n + k) % 5 == 4 else seen).append(entry)
        frame = make_frame(n * stride, width=width, height=height)
        yield make_result(frame, seen, lost=lost, tentative=fresh, ended=ended, keypoints=keypoints)


def random_results(seed: int, frames: int, *, keypoints: int = 5, live: bool = False) -> Iterator[Result]:
    """Yield results that hold any values that may occur, for what must give back exactly what it was given.

    Args:
        seed: the same seed, the same results.
        frames: how many.
        keypoints: per detection.
        live: whether frames say when they were captured.
    """
    random = np.random.default_rng(seed)
    picture = ArrayPicture(np.zeros((240, 320, 3), np.uint8))
    index, pts_ns, known = -1, -1, list[int]()
    for _ in range(frames):
        index += int(random.integers(1, 10))
        pts_ns += int(random.integers(1, 2**40))
        captured_ns = 1_760_000_000 * NS_PER_S + pts_ns if live else None
        frame = Frame(index, pts_ns, int(random.integers(1, 8000)), int(random.integers(1, 8000)), picture, captured_ns)
        count = int(random.integers(0, 5))
        found = Detections(
            random.normal(0, 10.0 ** random.integers(-3, 6), (count, 4)).astype(np.float32),
            random.random(count, np.float32),
            random.integers(0, 90, count, np.int32),
            random.normal(0, 1000, (count, keypoints, 2)).astype(np.float32),
        )
        tracks = _random_tracks(random, count, known)
        known = sorted({*known, *tracks.ids.tolist()} - set(tracks.ended.tolist()))
        age_ms = float(random.random()) if live else None
        counts = BoxCounts(*random.integers(0, 1000, 5).tolist()) if index % 2 else None
        yield Result(frame, found, tracks, bool(random.integers(0, 2)), age_ms, counts)


def _random_tracks(random: np.random.Generator, detections: int, known: Sequence[int]) -> TrackUpdate:
    """Return tracks of which some are new, some claim one of the detections, and some of the ``known`` have ended."""
    fate = random.integers(0, 4, len(known))
    fresh = max(known, default=0) + np.arange(1, 1 + random.integers(0, 3)) * 2**20
    ids = np.concatenate([np.array(known, np.int64)[fate > 0], fresh.astype(np.int64)])
    rows = np.full(len(ids), -1, np.int32)
    claimed = random.permutation(min(detections, len(ids)))
    rows[: len(claimed)] = claimed
    states = np.where(rows >= 0, random.choice([TENTATIVE, CONFIRMED], len(ids)), LOST).astype(np.uint8)
    return TrackUpdate(
        ids=ids,
        boxes=random.normal(0, 1000, (len(ids), 4)).astype(np.float32),
        scores=random.random(len(ids), np.float32),
        classes=random.integers(0, 90, len(ids), np.int32),
        states=states,
        rows=rows,
        ended=np.array(known, np.int64)[fate == 0],
    )
