"""A cut is where the picture jumps: not where it moves, flashes, fades or trembles."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.api import SourceOptions
from streamtrack.params import SceneParams
from streamtrack.scenes import CutDetector
from streamtrack.sources.pyav import PyAVSource
from streamtrack.testing.sources import opened
from streamtrack.types import NS_PER_S, Float32Array

ROWS, COLUMNS = 18, 32
FRAME_NS = NS_PER_S // 25
seeds = st.integers(0, 10_000)
strides = st.sampled_from([1, 2, 5, 10])


def panorama(seed: int, width: int = 4 * COLUMNS) -> Float32Array:
    """A wide scene with colours of its own: blocks of every size."""
    random = np.random.default_rng(seed)
    base = random.uniform(30, 220, (3, 1, 1))
    scene = np.zeros((3, ROWS, width))
    for size in (9, 4, 2):
        coarse = random.uniform(-60, 60, (3, ROWS // size + 1, width // size + 1))
        scene += coarse[:, np.arange(ROWS)[:, None] // size, np.arange(width) // size]
    return np.clip(base + scene, 0, 255).astype(np.float32)


def view(scene: Float32Array, x: int = 0) -> Float32Array:
    return scene[:, :, x : x + COLUMNS]


def trembling(picture: Float32Array, count: int, seed: int = 0) -> list[Float32Array]:
    random = np.random.default_rng(seed)
    return [np.clip(picture + random.normal(0, 4, picture.shape), 0, 255).astype(np.float32) for _ in range(count)]


def cuts(pictures: Iterable[Float32Array], stride: int = 1, **params: float) -> list[int]:
    detector = CutDetector(SceneParams(**params))  # type: ignore[arg-type]
    return [n for n, picture in enumerate(pictures) if detector.is_cut(picture, n * stride * FRAME_NS)]


# Two scenes that share neither shapes nor colours, whatever else is random.
RED, BLUE = (
    np.clip(panorama(seed) * 0.4 + np.array(tint).reshape(3, 1, 1), 0, 255).astype(np.float32)
    for seed, tint in ((1, (150, 40, 10)), (2, (10, 60, 150)))
)


@given(stride=strides, before=st.integers(1, 30), seed=seeds)
def test_a_hard_cut_is_seen_at_once_and_once(stride: int, before: int, seed: int) -> None:
    shots = [*trembling(view(RED), before, seed), *trembling(view(BLUE), 20, seed + 1)]
    assert cuts(shots, stride) == [before]


@given(stride=strides, seed=seeds)
def test_a_still_picture_has_no_cut(stride: int, seed: int) -> None:
    assert cuts(trembling(view(panorama(seed)), 30, seed), stride) == []


@given(stride=strides, seed=seeds, speed=st.floats(0.1, 1.0))
def test_a_pan_is_no_cut(stride: int, seed: int, speed: float) -> None:
    # Up to a sixth of the picture's width from one processed frame to the next, after a gentle start.
    scene = panorama(seed, 8 * COLUMNS)
    fastest = max(1, round(speed * stride / 2))
    steps = [min(n // 2, fastest) for n in range(40)]
    pictures = [view(scene, x) for x in np.cumsum(steps).tolist()]
    assert cuts(pictures, stride) == []


@given(seed=seeds, gain=st.floats(0.3, 1.8), offset=st.floats(-40, 60), at=st.integers(2, 20))
def test_a_lamp_is_no_cut(seed: int, gain: float, offset: float, at: int) -> None:
    scene = np.clip(view(panorama(seed)), 60, 130)
    lit = (scene * gain + offset).astype(np.float32)
    assert cuts([scene if n < at else lit for n in range(30)]) == []


@given(level=st.sampled_from([0.0, 16.0, 235.0, 255.0]), length=st.integers(1, 12), stride=strides)
def test_a_flash_or_a_black_frame_ends_nothing_but_a_shot_behind_it_begins(
    level: float, length: int, stride: int
) -> None:
    blank = [np.full((3, ROWS, COLUMNS), level, np.float32)] * length
    shot = trembling(view(RED), 10)
    assert cuts([*shot, *blank, *shot], stride) == []
    assert cuts([*shot, *blank, *trembling(view(BLUE), 10)], stride) == [10 + length]


def test_shots_that_are_too_short_are_none() -> None:
    shots = [view(RED)] * 50 + [view(BLUE)] * 3 + [view(RED)] * 50
    assert cuts(shots) == [50]
    assert cuts(shots, min_shot_s=0.0) == [50, 53]


def test_a_scene_that_jumps_all_the_time_has_no_cuts_after_the_first() -> None:
    strobe = [view(RED), view(BLUE)] * 40
    assert len(cuts(strobe)) == 1


def test_after_a_restless_time_a_cut_is_seen_again() -> None:
    shots = [view(RED), view(BLUE)] * 10 + [view(RED)] * 150 + [view(BLUE)] * 10
    assert cuts(shots)[-1] == 170


def test_the_threshold_and_the_switch() -> None:
    shots = [view(RED)] * 5 + [(view(RED) + view(BLUE)) / 2] * 5
    assert cuts(shots) == [5]
    assert cuts(shots, cut_threshold=0.9) == []
    assert cuts(shots, cuts=False) == []


def test_a_picture_of_another_size_starts_afresh() -> None:
    assert cuts([view(RED)] * 5 + [view(BLUE)[:, ::2]] * 5) == []


@given(seed=seeds, cut_at=st.lists(st.integers(20, 180), max_size=3, unique=True))
def test_the_answer_does_not_depend_on_when_the_clock_started(seed: int, cut_at: list[int]) -> None:
    scenes = [trembling(view(RED), 1, seed)[0], view(BLUE)]
    pictures = [scenes[sum(n >= at for at in cut_at) % 2] for n in range(200)]
    here, there = CutDetector(SceneParams()), CutDetector(SceneParams())
    for n, picture in enumerate(pictures):
        later = 10**15 + n * FRAME_NS
        assert here.is_cut(picture, n * FRAME_NS) == there.is_cut(picture.copy(), later)


@pytest.mark.parametrize("stride", [2])
@pytest.mark.parametrize("clip", ["again.mkv", "car-detection.mp4"])
def test_real_clips_of_one_shot_have_no_cut(shared_data: Path, clip: str, stride: int) -> None:
    source = opened(PyAVSource(str(shared_data / "video" / clip), SourceOptions(stride=stride)))
    detector = CutDetector(SceneParams())
    try:
        found = [
            frame.index
            for frame in source
            if detector.is_cut(
                np.ascontiguousarray(frame.scaled(COLUMNS, ROWS).transpose(2, 0, 1), np.float32), frame.pts_ns
            )
        ]
    finally:
        source.close()
    assert found == []
