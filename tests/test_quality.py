"""What a crop is worth: bounds, what it may not depend on, and the kernels against slow and obvious twins."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streamtrack import quality
from streamtrack.models.alignment import FACE_POINTS
from streamtrack.quality import Quality, at_best, focus, shorter_side
from streamtrack.testing.results import Box, make_frame
from streamtrack.types import UInt8Array

NONE = np.zeros((0, 2), np.float32)
SIDES = st.integers(1, 90)
PIXELS = hnp.arrays(np.uint8, st.tuples(SIDES, SIDES, st.just(3)))


def assess(pixels: UInt8Array, score: float, keypoints: np.ndarray = NONE, side: float = 112.0) -> Quality:
    return at_best(score, keypoints, side).seen(pixels)


def photo(side: int, blur: float = 0.0, contrast: float = 90.0) -> UInt8Array:
    """Return a picture of the same hard-edged scene at any size, blurred by this share of its side."""
    y, x = (np.mgrid[0 : 4 * side, 0 : 4 * side] + 0.5) / (4 * side)
    scene = np.zeros((4 * side, 4 * side))
    for cx, cy, r, light in (
        (0.5, 0.5, 0.4, 0.6),
        (0.35, 0.4, 0.07, -0.9),
        (0.65, 0.4, 0.07, -0.9),
        (0.5, 0.7, 0.1, -0.5),
    ):
        scene[(x - cx) ** 2 + (y - cy) ** 2 < r**2] += light
    small = scene.reshape(side, 4, side, 4).mean((1, 3))
    if blur:
        weights = np.exp(-0.5 * (np.subtract.outer(np.arange(side), np.arange(side)) / (blur * side)) ** 2)
        weights /= weights.sum(1, keepdims=True)
        small = weights @ small @ weights.T
    return np.repeat(np.clip(np.rint(128 + contrast * small), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def turned(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """Return the keypoints of a face of usual proportions, turned by so many degrees, seen from far away."""
    # Depth toward the camera: the nose tip stands out, the eyes lie deepest (in px of the template).
    face = np.column_stack((FACE_POINTS - FACE_POINTS.mean(0), (-6.0, -6.0, 20.0, 0.0, 0.0)))
    a, b, c = (math.radians(angle) for angle in (yaw, pitch, roll))
    around_y = np.array([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
    around_x = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    around_z = np.array([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
    return (face @ (around_z @ around_x @ around_y).T)[:, :2]


@given(
    pixels=PIXELS,
    score=st.floats(width=32),
    side=st.floats(),
    keypoints=hnp.arrays(np.float32, st.tuples(st.integers(0, 6), st.just(2)), elements=st.floats(width=32)),
)
def test_every_factor_is_a_share_their_product_the_total_and_none_more_than_at_best(
    pixels: UInt8Array, score: float, side: float, keypoints: np.ndarray
) -> None:
    best = at_best(score, keypoints, side)
    found = best.seen(pixels)
    for each in (best, found):
        assert all(0 <= value <= 1 for value in each)
        assert each.total == each.sharpness * each.size * each.confidence * each.pose
    assert all(seen <= bound for seen, bound in zip(found, best, strict=True)), (
        "to the last bit: who skips relies on it"
    )


@given(a=st.floats(0, 400), b=st.floats(0, 400), p=st.floats(0, 1), q=st.floats(0, 1))
def test_a_larger_face_and_a_higher_score_are_worth_no_less(a: float, b: float, p: float, q: float) -> None:
    small, large = (
        assess(photo(20), score, side=size) for size, score in zip(sorted((a, b)), sorted((p, q)), strict=True)
    )
    assert large.total >= small.total


@settings(max_examples=30)
@given(side=st.integers(48, 160), scale=st.floats(0.3, 1.0))
def test_brightness_and_contrast_do_not_matter(side: int, scale: float) -> None:
    pixels = photo(side)
    darker = np.rint(pixels * scale).astype(np.uint8)
    assert focus(darker) == pytest.approx(focus(pixels), rel=0.05)
    assert focus(pixels // 2 + 100) == pytest.approx(focus(pixels), rel=0.05)


def test_the_size_of_the_picture_does_not_matter_to_sharpness() -> None:
    # Sampling at another phase softens a little; 64 px are taken as they are.
    values = [focus(photo(side)) for side in range(64, 300, 36)]
    assert max(values) < 1.3 * min(values)


@given(
    picture=hnp.arrays(
        np.float32, st.tuples(st.integers(4, 40), st.integers(4, 40)), elements=st.floats(0, 255, width=32)
    ),
    strength=st.floats(0.01, 0.125),
)
def test_blur_never_raises_sharpness_kernels(picture: np.ndarray, strength: float) -> None:
    if picture.std() < 1:
        return
    edges = np.empty_like(picture)
    quality.laplacian(picture, edges)
    blurred = picture + np.float32(strength) * edges
    assert quality.fineness(blurred) <= quality.fineness(picture) * (1 + 1e-3) + 1e-3


@settings(max_examples=20)
@given(side=st.integers(64, 120), one=st.floats(0.004, 0.1), other=st.floats(0.004, 0.1))
def test_a_more_blurred_picture_is_no_sharper(side: int, one: float, other: float) -> None:
    less, more = sorted((one, other))
    # Whole levels are noise of their own, which shows where all else is gone.
    assert focus(photo(side, more)) <= 1.02 * focus(photo(side, less)) + 0.03


def test_what_is_good_passes_the_default_bar_and_what_is_not_does_not() -> None:
    frontal, sharp = turned(0), photo(140)
    assert assess(sharp, 0.9, frontal, 100.0).total > 0.9
    assert assess(sharp, 0.8, turned(15, 5), 80.0).total > 0.7
    assert assess(photo(140, blur=0.04), 0.9, frontal, 100.0).total < 0.5
    assert assess(sharp, 0.9, turned(50), 100.0).total < 0.5
    assert assess(sharp, 0.9, frontal, 40.0).total < 0.7
    assert assess(sharp, 0.6, frontal, 100.0).total < 0.7


def test_pose_falls_as_a_face_turns_away_but_not_as_it_tilts() -> None:
    poses = [assess(photo(20), 1.0, turned(yaw)).pose for yaw in range(0, 91, 10)]
    assert poses == sorted(poses, reverse=True)
    assert poses[0] == poses[3] == 1.0
    assert poses[4] > 0.7 > poses[5]
    assert poses[-3] == 0.0
    assert {assess(photo(20), 1.0, turned(0, roll=roll) * 3 + 500).pose for roll in range(0, 360, 30)} == {1.0}


@pytest.mark.parametrize("keypoints", [np.zeros((0, 2)), np.zeros((17, 2))])
def test_without_the_five_points_of_a_face_pose_says_nothing(keypoints: np.ndarray) -> None:
    assert assess(photo(20), 1.0, keypoints).pose == 1.0


@pytest.mark.parametrize("points", [np.full((5, 2), np.nan), np.ones((5, 2)), FACE_POINTS * (-1, 1)])
def test_points_that_are_no_face_are_worth_nothing(points: np.ndarray) -> None:
    assert assess(photo(20), 1.0, points).pose == 0.0


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_blank_picture_is_worth_nothing(level: int) -> None:
    noise = np.random.default_rng(0).integers(0, 2, (80, 60, 3))
    pixels = np.clip(np.full((80, 60, 3), level) + noise, 0, 255).astype(np.uint8)
    assert assess(pixels, 1.0)[0::4] == (0.0, 0.0)


# --- twins of the kernels ---


def naive_weights(source: int, target: int) -> np.ndarray:
    """(target, source): a triangle over every target px, at least one source px wide to each side."""
    scale = source / target
    middles, centres = (np.arange(target) + 0.5) * scale, np.arange(source) + 0.5
    weights = np.maximum(1 - np.abs(centres - middles[:, None]) / max(scale, 1), 0)
    return weights / weights.sum(1, keepdims=True)


def naive_laplacian(picture: np.ndarray) -> np.ndarray:
    p = np.pad(picture, 1, mode="edge")
    return p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:] - 4 * picture


@given(
    pixels=PIXELS,
    height=st.integers(1, 70),
    width=st.integers(1, 70),
)
def test_kernels_shrink_as_the_naive_twin(pixels: UInt8Array, height: int, width: int) -> None:
    out = np.empty((height, width), np.float32)
    quality.shrink(pixels, out)
    luma = pixels @ (0.299, 0.587, 0.114)
    expected = naive_weights(pixels.shape[0], height) @ luma @ naive_weights(pixels.shape[1], width).T
    np.testing.assert_allclose(out, expected, atol=2e-3)


@given(
    picture=hnp.arrays(
        np.float32, st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=st.floats(0, 255, width=32)
    )
)
def test_kernels_measure_as_the_naive_twin(picture: np.ndarray) -> None:
    edges = np.empty_like(picture)
    quality.laplacian(picture, edges)
    np.testing.assert_allclose(edges, naive_laplacian(picture), atol=1e-3)
    smooth = picture.astype(float) + naive_laplacian(picture.astype(float)) / 8
    gradient = (np.diff(smooth, axis=0) ** 2).sum() + (np.diff(smooth, axis=1) ** 2).sum()
    if gradient > 1:
        expected = (naive_laplacian(smooth) ** 2).sum() / gradient
        assert quality.fineness(picture) == pytest.approx(expected, rel=1e-2)


def test_kernels_of_a_flat_picture_are_zero() -> None:
    assert quality.fineness(np.full((9, 7), 130.0, np.float32)) == 0.0


def test_warming_up_calls_each_kernel_with_the_arrays_that_a_crop_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another type or layout would be compiled anew, in the middle of a run."""
    called: set[tuple[object, ...]] = set()

    def spied(kernel: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arrays: np.ndarray) -> Any:
            called.add((kernel, *((a.dtype, a.ndim, a.flags.c_contiguous, a.flags.writeable) for a in arrays)))
            return kernel(*arrays)

        return call

    for name in ("shrink", "fineness"):
        monkeypatch.setattr(quality, name, spied(getattr(quality, name)))
    quality.warm_up()
    warm = set(called)
    assert assess(make_frame(0).crop((3.0, 5.0, 90.0, 80.0)), 0.9).sharpness > 0
    assert called == warm
    assert len(warm) == 2


@pytest.mark.parametrize(
    ("box", "side"),
    [
        ((10, 20, 50, 100), 40),
        ((-30, 40, 40, 140), 40),
        ((280, 100, 390, 200), 40),
        ((10, 200, 190, 290), 40),
        ((-90, 20, -10, 90), -10),
    ],
)
def test_a_shorter_side_is_that_of_what_is_within_the_frame(box: Box, side: float) -> None:
    assert shorter_side(np.array(box, np.float32), make_frame(0, width=320, height=240)) == side
