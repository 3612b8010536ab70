"""From a frame to an input that lies anywhere in it, against a slow and obvious twin."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamtrack.models.alignment import FACE_POINTS, Similarity, box_place, face_place
from streamtrack.models.spec import ModelSpec
from streamtrack.models.warping import Warper, cut
from streamtrack.testing.results import ArrayPicture
from streamtrack.types import Frame, UInt8Array

SPEC = ModelSpec(name="m", head="any")


def frame_of(pixels: np.ndarray) -> Frame:
    return Frame(0, 0, pixels.shape[1], pixels.shape[0], ArrayPicture(pixels))


def noise(height: int, width: int, seed: int = 0) -> UInt8Array:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def naive(pixels: np.ndarray, place: Similarity, height: int, width: int, pad: float = 0.0) -> np.ndarray:
    """Bilinear at every point of the input, one at a time: (height, width, 3) float."""

    def at(x: int, y: int) -> np.ndarray:
        inside = 0 <= y < pixels.shape[0] and 0 <= x < pixels.shape[1]
        return pixels[y, x].astype(float) if inside else np.full(3, pad)

    out = np.empty((height, width, 3))
    for v in range(height):
        for u in range(width):
            ((x, y),) = place.apply(np.array([(u, v)]))
            left, top = math.floor(x), math.floor(y)
            right, down = x - left, y - top
            upper = (1 - right) * at(left, top) + right * at(left + 1, top)
            lower = (1 - right) * at(left, top + 1) + right * at(left + 1, top + 1)
            out[v, u] = (1 - down) * upper + down * lower
    return out


def warped(frame: Frame, place: Similarity, size: tuple[int, int], **changes: object) -> np.ndarray | None:
    """(height, width, 3) as the input has it."""
    out = np.full((3, *size), np.nan, np.float32)
    seen = Warper(msgspec.structs.replace(SPEC, **changes)).write(frame, place, out)
    return out.transpose(1, 2, 0) if seen else None


@given(
    turn=st.floats(-math.pi, math.pi),
    scale=st.floats(0.2, 1.99),
    right=st.floats(-12, 30),
    down=st.floats(-12, 24),
    pad=st.sampled_from([0.0, 114.0]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_twin(turn: float, scale: float, right: float, down: float, pad: float, seed: int) -> None:
    """Up to twice as small, where the source's own pixels are read, inside the picture and beyond its edges."""
    pixels = noise(18, 25, seed)
    place = Similarity(scale * math.cos(turn), scale * math.sin(turn), right, down)
    found = warped(frame_of(pixels), place, (9, 7), pad=pad)
    expected = naive(pixels, place, 9, 7, pad)
    if found is None:
        np.testing.assert_allclose(expected, pad)
    else:
        np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("place", [Similarity(1, 0, 0, 0), Similarity(1, 0, 3, 2), Similarity(0, 1, 9, 0)])
def test_whole_pixels_are_copied(place: Similarity) -> None:
    pixels = noise(12, 14)
    found = warped(frame_of(pixels), place, (6, 8))
    assert found is not None
    if place.sin:  # column u is row u of the picture, row v its column 9 - v
        expected = pixels[:8, 9:3:-1].transpose(1, 0, 2)
    else:
        expected = pixels[int(place.down) :, int(place.right) :][:6, :8]
    np.testing.assert_array_equal(found, expected)


def test_channels_mean_and_scale_are_those_of_the_specification() -> None:
    pixels = noise(8, 8)
    mean, scale = (10.0, 20.0, 30.0), (0.5, 0.25, 2.0)
    found = warped(frame_of(pixels), Similarity(1, 0, 0, 0), (8, 8), channels="bgr", mean=mean, scale=scale)
    np.testing.assert_allclose(found, (pixels[..., ::-1] - np.array(mean)) * np.array(scale), rtol=1e-6)
    outside = warped(frame_of(pixels), Similarity(1, 0, -20, 0), (8, 24), mean=127.5, scale=1 / 127.5, pad=127.5)
    assert outside is not None
    assert not outside[:, :19].any()


@pytest.mark.parametrize(
    "place",
    [
        Similarity(1, 0, 100, 0),
        Similarity(1, 0, 0, -60),
        Similarity(3, 3, 1e5, 1e5),
        Similarity(1e12, 0, 1e15, 0),
        Similarity(1, 0, 1e300, 0),
        Similarity(1, 0, math.nan, 0),
        Similarity(math.inf, 0, 0, 0),
    ],
)
def test_a_place_outside_the_frame_shows_nothing(place: Similarity) -> None:
    assert warped(frame_of(noise(40, 50)), place, (16, 16)) is None


@pytest.mark.parametrize("scale", [1e-6, 1e3, 1e7])
def test_any_scale_is_bounded_work(scale: float) -> None:
    frame = frame_of(noise(60, 90))
    place = Similarity(scale, 0, 45 - 8 * scale, 30 - 8 * scale)
    patch = cut(frame, place, 16, 16)
    assert patch is not None
    assert patch.pixels.size <= 3 * 60 * 90
    found = warped(frame, place, (16, 16))
    assert found is not None
    assert np.isfinite(found).all()


class Watched(ArrayPicture):
    """Remembers what it was asked for."""

    asked: tuple[tuple[int, int, int, int], tuple[int, int]]

    def rgb(self, region: tuple[int, int, int, int], size: tuple[int, int], *, planar: bool) -> UInt8Array:
        self.asked = region, size
        return super().rgb(region, size, planar=planar)


@pytest.mark.parametrize(
    ("scale", "region", "size"),
    [
        (1.5, (100, 60, 115, 75), (15, 15)),
        (2.5, (96, 56, 128, 88), (16, 16)),
        (4.0, (96, 56, 144, 104), (12, 12)),
    ],
)
def test_only_the_region_is_converted_and_never_far_above_the_inputs_resolution(
    scale: float, region: tuple[int, int, int, int], size: tuple[int, int]
) -> None:
    picture = Watched(noise(200, 300))
    cut(Frame(0, 0, 300, 200, picture), Similarity(scale, 0, 100.2, 60.2), 10, 10)
    assert picture.asked == (region, size)


def test_what_is_many_times_smaller_is_averaged_not_sampled() -> None:
    """Noise of 74 grey levels: taking a pixel in nine would keep it all, the mean of 9 x 9 a ninth."""
    found = warped(frame_of(noise(600, 600)), Similarity(9.2, 0, 20, 20), (56, 56))
    assert found is not None
    assert found.std() < 74 / 6
    assert found.mean() == pytest.approx(127.5, abs=1)


def drawn(place: Similarity, height: int, width: int) -> UInt8Array:
    """A picture that is the same in the coordinates of the template wherever ``place`` puts it."""
    y, x = np.mgrid[0:height, 0:width]
    points = place.inverse().apply(np.stack((x.ravel(), y.ravel()), axis=1)).reshape(height, width, 2)
    waves = [127 + 90 * np.sin(points[..., 0] / a + points[..., 1] / b) for a, b in ((9, 14), (-12, 8), (7, 30))]
    return np.rint(np.stack(waves, axis=2)).astype(np.uint8)


@given(
    turn=st.floats(-math.pi, math.pi),
    scale=st.floats(0.6, 4.5),
    x=st.floats(-20, 20),
    y=st.floats(-20, 20),
)
@settings(max_examples=20)
def test_a_face_gives_the_same_crop_however_it_is_turned_scaled_and_moved(
    turn: float, scale: float, x: float, y: float
) -> None:
    """At a third of the size, to be quick: what counts is the shape."""
    side = 38
    template = FACE_POINTS * side / 112
    cos, sin = scale * math.cos(turn), scale * math.sin(turn)
    middle = side / 2 - 0.5
    size = math.ceil(side * scale * 1.5) + 44
    place = Similarity(cos, sin, size / 2 + x - cos * middle + sin * middle, size / 2 + y - sin * middle - cos * middle)
    keypoints = place.apply(template).astype(np.float32)
    found_place = face_place(keypoints, side, side)
    assert found_place is not None
    found = warped(frame_of(drawn(place, size, size)), found_place, (side, side))
    upright = drawn(Similarity(1, 0, 0, 0), side, side).astype(float)
    assert found is not None
    difference = np.abs(found - upright)
    # Half a level each from rounding, the rest from interpolating and averaging waves of 8 px.
    assert difference.mean() < 1.5
    assert difference.max() < 8


def test_a_box_is_shown_whole_at_every_scale() -> None:
    """A bright box on dark ground keeps its share of the input, whether it is enlarged or shrunk."""
    for side in (7, 20, 60, 190, 433):
        pixels = np.zeros((500, 500, 3), np.uint8)
        pixels[30 : 30 + side, 40 : 40 + side] = 255
        place = box_place(np.array((40, 30, 40 + side, 30 + side)), 40, 40, 0.5)
        found = warped(frame_of(pixels), place, (40, 40))
        assert found is not None
        assert found.mean() / 255 == pytest.approx(0.25, abs=0.02)
        assert found[20, 20] == pytest.approx([255] * 3)
