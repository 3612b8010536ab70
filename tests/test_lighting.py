"""In ordinary light nothing changes; in the dark, in fog and in glare every threshold goes along, and no further."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.lighting import AdaptiveConfidence, share_for
from streamtrack.params import DetectorParams
from streamtrack.types import NS_PER_S, Detections, Float32Array

ADAPTIVE = DetectorParams(adaptive=True)
EVERY_S = st.sampled_from([0.02, 0.04, 0.2, 1.0])


def picture(mean: float, deviation: float) -> Float32Array:
    """Grey, half of it darker and half brighter."""
    luma = np.full((18, 32), mean - deviation, np.float32)
    luma[9:] += 2 * deviation
    return np.broadcast_to(np.clip(luma, 0, 255), (3, 18, 32)).astype(np.float32)


def found(*scores: float) -> Detections:
    count = len(scores)
    boxes = np.tile(np.array([[0, 0, 40, 40]], np.float32), (count, 1))
    points = np.arange(10 * count, dtype=np.float32).reshape(count, 5, 2)
    return Detections(boxes, np.array(scores, np.float32), np.zeros(count, np.int32), points)


def burnt(mean: float) -> Float32Array:
    """White, but for what keeps the mean down."""
    luma = np.full(18 * 32, 255, np.float32)
    luma[: round((255 - mean) / 215 * luma.size)] = 40
    return np.broadcast_to(luma.reshape(18, 32), (3, 18, 32)).astype(np.float32)


@pytest.mark.parametrize(
    ("looked_at", "share"),
    [
        (picture(130, 45), 1.0),  # a day
        (picture(65, 23), 1.0),  # an evening: half as bright, no flatter for it
        (picture(15, 6), 0.5),  # a night
        (picture(130, 10.4), 0.5),  # fog
        (picture(200, 16), 0.5),  # bright fog is no glare
        (burnt(200), 1.0),
        (burnt(225), 1.125),
        (burnt(240), 1.25),
        (picture(0, 0), 0.0),
        (picture(255, 0), 0.0),  # white shows nothing, like black
    ],
)
def test_what_a_picture_asks_for(looked_at: Float32Array, share: float) -> None:
    assert share_for(looked_at) == pytest.approx(share, abs=0.01)


@given(level=st.floats(1, 200), contrast=st.floats(0, 1), brighter=st.floats(1, 2), more=st.floats(0, 1))
def test_below_glare_a_brighter_picture_or_one_of_more_contrast_never_asks_for_less(
    level: float, contrast: float, brighter: float, more: float
) -> None:
    def asked(mean: float, contrast: float) -> float:
        luma = mean * (1 + contrast * np.where(np.arange(18 * 32) % 2, 1.0, -1.0))
        return share_for(np.broadcast_to(luma.reshape(18, 32), (3, 18, 32)).astype(np.float32))

    before = asked(level, contrast)
    assert 0 <= before <= 1 + 1e-6
    assert asked(min(level * brighter, 200), contrast) >= before - 1e-5
    assert asked(level, max(contrast, more)) >= before - 1e-5


def test_off_it_is_not_there() -> None:
    detections = found(0.8, 0.05)
    still = AdaptiveConfidence(DetectorParams())
    assert still.adapt(detections, picture(5, 1), 0, False) is detections
    assert still.stats.frames == 0


@given(scores=st.lists(st.floats(0.0625, 1, width=32), max_size=8))
def test_in_ordinary_light_detections_are_those_of_a_fixed_threshold_to_the_bit(scores: list[float]) -> None:
    before = found(*sorted(scores, reverse=True))
    after = AdaptiveConfidence(ADAPTIVE).adapt(before, picture(130, 45), 0, False)
    kept = before.scores >= np.float32(0.1)
    for name in ("boxes", "scores", "classes", "keypoints"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name)[kept])


def test_in_the_dark_weak_detections_count_and_scores_are_told_relative_to_it() -> None:
    light = AdaptiveConfidence(ADAPTIVE)
    dark = light.adapt(found(0.6, 0.3, 0.06, 0.04), picture(8, 4), 0, False)
    np.testing.assert_allclose(dark.scores, [1.0, 0.6, 0.12], rtol=1e-6)
    assert dark.keypoints.tolist() == found(0.6, 0.3, 0.06).keypoints.tolist()
    assert (light.stats.least, light.stats.most) == (0.05, 0.05)


def test_in_glare_they_do_not() -> None:
    (kept,) = AdaptiveConfidence(ADAPTIVE).adapt(found(0.9, 0.11), burnt(240), 0, False).scores
    assert kept == pytest.approx(0.72, abs=0.01)


@given(
    levels=st.lists(st.tuples(st.floats(0, 255), st.floats(0, 80)), min_size=1, max_size=30),
    low=st.floats(0.1, 1),
    high=st.floats(1, 3),
    every_s=EVERY_S,
)
def test_the_threshold_stays_within_its_bounds(
    levels: list[tuple[float, float]], low: float, high: float, every_s: float
) -> None:
    params = DetectorParams(adaptive=True, adaptive_min=low, adaptive_max=high)
    light = AdaptiveConfidence(params)
    for n, level in enumerate(levels):
        light.adapt(found(0.5), picture(*level), round(n * every_s * NS_PER_S), n % 7 == 6)
    stats = light.stats
    assert stats.frames == len(levels)
    assert params.floor * (1 - 1e-6) <= stats.least <= stats.total / stats.frames * (1 + 1e-6)
    assert stats.total / stats.frames <= stats.most * (1 + 1e-6)
    assert stats.most <= 0.1 * high * (1 + 1e-6)


@given(every_s=EVERY_S)
def test_a_change_of_light_takes_media_time_not_frames(every_s: float) -> None:
    light = AdaptiveConfidence(ADAPTIVE)
    light.adapt(found(), picture(130, 45), 0, False)
    for n in range(1, round(1 / every_s) + 1):
        light.adapt(found(), picture(8, 4), round(n * every_s * NS_PER_S), False)
    # After one half-life, half the way from 0.1 to 0.05.
    assert light.stats.least == pytest.approx(0.075, rel=1e-6)


def test_a_shot_begins_in_its_own_light() -> None:
    light = AdaptiveConfidence(ADAPTIVE)
    light.adapt(found(), picture(130, 45), 0, False)
    (kept,) = light.adapt(found(0.3), picture(8, 4), NS_PER_S // 25, True).scores
    assert kept == pytest.approx(0.6)
