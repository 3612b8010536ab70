"""Letterbox and input buffer: where a picture lies, and what is in memory."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.models.preprocess import InputBuffer, Letterbox, input_size_for
from streamtrack.models.spec import ModelSpec
from streamtrack.testing.results import ArrayPicture, make_frame
from streamtrack.types import Frame

SPEC = ModelSpec(name="m", head="yunet")
side = st.integers(1, 5000)


def frame_of(pixels: np.ndarray) -> Frame:
    return Frame(0, 0, pixels.shape[1], pixels.shape[0], ArrayPicture(pixels))


def spec(**changes: object) -> ModelSpec:
    return msgspec.structs.replace(SPEC, **changes)


@given(width=side, height=side, room_width=st.integers(32, 1280), room_height=st.integers(32, 1280))
def test_letterbox_fills_one_side_and_keeps_the_aspect(
    width: int, height: int, room_width: int, room_height: int
) -> None:
    box = Letterbox.fit((width, height), (room_width, room_height))
    assert 1 <= box.width <= room_width
    assert 1 <= box.height <= room_height
    assert box.width == room_width or box.height == room_height
    shrink = min(room_width / width, room_height / height)
    assert abs(box.width - max(width * shrink, 1)) <= 0.5 + 1e-6
    assert abs(box.height - max(height * shrink, 1)) <= 0.5 + 1e-6


@given(width=side, height=side)
def test_the_scaled_corners_map_to_the_corners_of_the_source(width: int, height: int) -> None:
    box = Letterbox.fit((width, height), (640, 640))
    assert box.width * box.scale_x == pytest.approx(width)
    assert box.height * box.scale_y == pytest.approx(height)


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (640, 480), (333, 777), (97, 41)])
def test_an_edge_in_the_source_is_found_where_the_scale_says(width: int, height: int) -> None:
    """Without a half pixel: an edge between two pixels of the source lies at its place times the scale."""
    left, top = width // 3, height // 2
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[top:, left:] = 255
    buffer = InputBuffer(SPEC, 1, (640, 640))
    box = buffer.write(0, frame_of(pixels))
    red = buffer.batch(1)[0, 2, : box.height, : box.width]
    # Bilinear scaling spreads an edge evenly to both sides, so the dark share of a line ends where the edge is.
    dark_x = (1 - red[-1] / 255).sum() * box.scale_x
    dark_y = (1 - red[:, -1] / 255).sum() * box.scale_y
    assert dark_x == pytest.approx(left, abs=0.1 * max(box.scale_x, 1))
    assert dark_y == pytest.approx(top, abs=0.1 * max(box.scale_y, 1))


@given(width=side, height=side, longest=st.sampled_from([320, 640, 650]), multiple=st.sampled_from([1, 32, 64]))
def test_a_free_input_follows_the_picture(width: int, height: int, longest: int, multiple: int) -> None:
    rows, columns = input_size_for(
        spec(input_size=(longest, longest), size_multiple=multiple, dynamic_size=True), width, height
    )
    assert rows % multiple == columns % multiple == 0
    longer, shorter = max(rows, columns), min(rows, columns)
    assert longest <= longer < longest + multiple
    exact = longest * min(width, height) / max(width, height)
    assert exact - 0.5 <= shorter < max(exact + 0.5, 1) + multiple
    assert (columns >= rows) == (width >= height) or rows == columns


@pytest.mark.parametrize(
    ("source", "expected"), [((1920, 1080), (384, 640)), ((640, 480), (480, 640)), ((1080, 1920), (640, 384))]
)
def test_a_free_input_by_hand(source: tuple[int, int], expected: tuple[int, int]) -> None:
    assert input_size_for(SPEC, *source) == expected


def twin(frame: Frame, model: ModelSpec, height: int, width: int) -> np.ndarray:
    """(pixel - mean) * scale of the scaled picture in the corner, pixel by pixel plain."""
    box = Letterbox.fit((frame.width, frame.height), (width, height))
    canvas = np.full((height, width, 3), model.pad, np.float64)
    canvas[: box.height, : box.width] = frame.scaled(box.width, box.height)
    if model.channels == "bgr":
        canvas = canvas[:, :, ::-1]
    return ((canvas - model.mean) * model.scale).transpose(2, 0, 1)


@pytest.mark.parametrize(
    "model",
    [
        spec(),
        spec(channels="bgr"),
        spec(pad=114.0),
        spec(mean=127.5, scale=1 / 128, pad=114.0),
        spec(channels="bgr", mean=127.0, scale=1 / 128),
    ],
)
def test_buffer_twin(model: ModelSpec) -> None:
    frames = [make_frame(n, width=width, height=height) for n, (width, height) in enumerate([(320, 240), (90, 200)])]
    buffer = InputBuffer(model, 3, (96, 128))
    for slot, frame in enumerate(frames):
        buffer.write(slot, frame)
    batch = buffer.batch(2)
    assert batch.shape == (2, 3, 96, 128)
    assert batch.dtype == np.float32
    assert batch.flags.c_contiguous
    for slot, frame in enumerate(frames):
        np.testing.assert_allclose(batch[slot], twin(frame, model, 96, 128), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("size", [(64, 36), (320, 240), (90, 200), (641, 359)])
@pytest.mark.parametrize("model", [SPEC, spec(channels="rgb", mean=127.5, scale=1 / 128, pad=114.0)])
def test_a_thumbnail_shows_the_picture_whatever_the_model_is_given(model: ModelSpec, size: tuple[int, int]) -> None:
    buffer = InputBuffer(model, 2, (384, 640))
    y, x = np.mgrid[0 : size[1], 0 : size[0]].astype(np.float64)
    ramps = 255 * x / size[0], 255 * y / size[1], np.full_like(x, 200)
    buffer.write(1, frame_of(np.stack(ramps, 2).astype(np.uint8)))
    small = buffer.thumbnail(1)
    assert (small.shape, small.dtype) == ((3, 18, 32), np.float32)
    red, green, blue = small
    assert np.abs(red - 255 * (np.arange(32) + 0.5) / 32).max() < 6
    assert np.abs(green - 255 * (np.arange(18)[:, None] + 0.5) / 18).max() < 9
    assert np.abs(blue - 200).max() < 2
    with pytest.raises(ValueError, match="row 0"):
        buffer.thumbnail(0)


def test_nothing_of_an_earlier_picture_shows() -> None:
    model = spec(pad=7.0)
    buffer = InputBuffer(model, 1, (64, 64))
    for width, height in ((64, 64), (64, 32), (64, 32), (20, 64), (64, 48)):
        frame = make_frame(1, width=width, height=height)
        buffer.write(0, frame)
        np.testing.assert_array_equal(buffer.batch(1)[0], twin(frame, model, 64, 64))


def test_the_memory_is_the_same_for_every_frame() -> None:
    buffer = InputBuffer(SPEC, 2, (64, 64))
    buffer.write(0, make_frame(0))
    first = buffer.batch(1)
    buffer.write(0, make_frame(1))
    assert np.shares_memory(first, buffer.batch(2))


def test_mean_and_scale_may_differ_by_channel() -> None:
    """In the order of the model's channels, here blue first; padding and thumbnail go the same way."""
    pixels = np.full((40, 80, 3), (10, 20, 30), np.uint8)
    own = spec(channels="bgr", mean=(1.0, 2.0, 3.0), scale=(0.5, 0.25, 0.125), pad=114.0)
    buffer = InputBuffer(own, 1, (64, 64))
    box = buffer.write(0, frame_of(pixels))
    picture = buffer.batch(1)[0]
    np.testing.assert_allclose(picture[:, 0, 0], [(30 - 1) * 0.5, (20 - 2) * 0.25, (10 - 3) * 0.125])
    np.testing.assert_allclose(picture[:, box.height :, :].reshape(3, -1).T, [[56.5, 28, 13.875]] * (64 * (64 - 32)))
    np.testing.assert_allclose(buffer.thumbnail(0)[:, 0, 0], [10, 20, 30], rtol=1e-6)
