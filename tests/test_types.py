"""Values are checked once, read-only from then on, and a crop never leaves its frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.types import (
    CONFIRMED,
    LOST,
    TENTATIVE,
    BoxCounts,
    Detections,
    Frame,
    Result,
    TrackUpdate,
    UInt8Array,
)


class Recorder:
    """A picture that remembers what it was asked for and answers with the pixels' own coordinates."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[int, int, int, int], tuple[int, int], bool]] = []

    def rgb(self, region: tuple[int, int, int, int], size: tuple[int, int], *, planar: bool) -> UInt8Array:
        self.asked.append((region, size, planar))
        return np.zeros((size[1], size[0], 3), np.uint8)


def frame(width: int = 64, height: int = 48) -> tuple[Frame, Recorder]:
    picture = Recorder()
    return Frame(index=3, pts_ns=1_500_000_000, width=width, height=height, picture=picture), picture


def detections(n: int = 2, keypoints: int = 5) -> Detections:
    return Detections(
        np.zeros((n, 4), np.float32),
        np.ones(n, np.float32),
        np.zeros(n, np.int32),
        np.zeros((n, keypoints, 2), np.float32),
    )


def track_update(m: int = 2, ended: int = 1) -> TrackUpdate:
    return TrackUpdate(
        np.arange(1, m + 1),
        np.zeros((m, 4), np.float32),
        np.ones(m, np.float32),
        np.zeros(m, np.int32),
        np.full(m, CONFIRMED, np.uint8),
        np.zeros(m, np.int32),
        np.arange(ended),
    )


@pytest.mark.parametrize("make", [detections, track_update])
def test_every_array_is_read_only(make: Callable[[], Detections | TrackUpdate]) -> None:
    value = make()
    for field in fields(value):
        array = getattr(value, field.name)
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(FrozenInstanceError):
        value.boxes = np.zeros((0, 4), np.float32)  # type: ignore[misc]
    assert len(value) == 2


@pytest.mark.parametrize("make", [detections, track_update])
def test_a_wrong_dtype_or_shape_is_named(make: Callable[[], Detections | TrackUpdate]) -> None:
    value = make()
    whole = {field.name: getattr(value, field.name) for field in fields(value)}
    for name, array in whole.items():
        other = np.float64 if array.dtype != np.float64 else np.float32
        with pytest.raises(ValueError, match=rf"^{name} must be {array.dtype} of shape \(.*\), got {np.dtype(other)}"):
            type(value)(**{**whole, name: array.astype(other)})
        with pytest.raises(ValueError, match=f"^{name} must be"):
            type(value)(**{**whole, name: array[np.newaxis]})


@pytest.mark.parametrize("name", ["scores", "classes", "keypoints"])
def test_columns_of_different_length_are_refused(name: str) -> None:
    value = detections()
    whole = {field.name: getattr(value, field.name) for field in fields(value)}
    with pytest.raises(ValueError, match=f"^{name} must be"):
        Detections(**{**whole, name: whole[name][:1]})


@given(st.integers(0, 30), st.integers(0, 10))
def test_any_number_of_rows_and_keypoints_is_taken(n: int, keypoints: int) -> None:
    value = detections(n, keypoints)
    assert len(value) == n
    assert value.keypoints.shape == (n, keypoints, 2)


def test_no_detections_keep_the_number_of_keypoints() -> None:
    assert len(Detections.empty()) == 0
    assert Detections.empty(5).keypoints.shape == (0, 5, 2)


def test_the_states_of_a_track_are_distinct() -> None:
    assert len({TENTATIVE, CONFIRMED, LOST}) == 3


def test_a_frame_asks_for_no_more_than_it_needs() -> None:
    value, picture = frame()
    assert value.ts_s == 1.5
    assert value.scaled(32, 24).shape == (24, 32, 3)
    assert value.rgb().shape == (48, 64, 3)
    assert picture.asked == [((0, 0, 64, 48), (32, 24), True), ((0, 0, 64, 48), (64, 48), False)]
    assert "picture" not in repr(value)


def test_a_crop_covers_the_box_and_its_padding() -> None:
    value, picture = frame()
    assert value.crop((10.2, 5.5, 20.0, 15.1)).shape == (11, 10, 3)
    value.crop((10.0, 10.0, 20.0, 30.0), pad=0.1)
    assert [region for region, _, _ in picture.asked] == [(10, 5, 20, 16), (9, 8, 21, 32)]


coordinates = st.floats(-1e6, 1e6, allow_nan=False)


@given(
    st.tuples(coordinates, coordinates, coordinates, coordinates),
    st.floats(0, 3),
    st.integers(1, 4000),
    st.integers(1, 4000),
)
def test_a_crop_never_leaves_its_frame(
    box: tuple[float, float, float, float], pad: float, width: int, height: int
) -> None:
    picture = Recorder()
    picture_frame = Frame(index=0, pts_ns=0, width=width, height=height, picture=picture)
    small = tuple(np.clip(box, -50, 50)) if width * height > 250_000 else box
    picture_frame.crop(small, pad)
    (region, size, planar) = picture.asked[0]
    left, top, right, bottom = region
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert size == (right - left, bottom - top)
    assert not planar


@given(st.integers(0, 62), st.integers(0, 46), st.integers(1, 64), st.integers(1, 48))
def test_a_crop_of_whole_pixels_inside_is_exact(x: int, y: int, width: int, height: int) -> None:
    value, picture = frame()
    box = (x, y, min(x + width, 64), min(y + height, 48))
    value.crop(np.array(box, np.float32))
    assert picture.asked[0][0] == box


def test_an_unchecked_update_is_one_like_any_other() -> None:
    arrays = (
        np.arange(1, 4),
        np.ones((3, 4), np.float32),
        np.ones(3, np.float32),
        np.zeros(3, np.int32),
        np.ones(3, np.uint8),
        np.zeros(3, np.int32),
        np.zeros(0, np.int64),
    )
    ours, theirs = TrackUpdate.unchecked(*(a.copy() for a in arrays)), TrackUpdate(*(a.copy() for a in arrays))
    for name in TrackUpdate.__slots__:
        assert np.array_equal(getattr(ours, name), getattr(theirs, name))
        assert not getattr(ours, name).flags.writeable


def test_counts_of_boxes_add_up() -> None:
    assert BoxCounts(5, 2, 1, 1, 1) + BoxCounts(3, 1, 0, 0, 2) == BoxCounts(8, 3, 1, 1, 3)
    with pytest.raises(TypeError):
        BoxCounts() + 1


def test_a_result_inherits_what_ended_and_began_in_one_that_was_lost() -> None:
    image, _ = frame()

    def result(*ended: int, cut: bool = False) -> Result:
        tracks = replace(track_update(), ended=np.array(ended, np.int64))
        return Result(image, detections(), tracks, cut)

    heir = result(5)
    assert heir.inheriting(result()) is heir
    both = heir.inheriting(result(3, 4, cut=True))
    assert (both.tracks.ended.tolist(), both.cut) == ([3, 4, 5], True)
    assert (heir.tracks.ended.tolist(), heir.cut) == ([5], False)
    assert both.frame is heir.frame
    assert both.detections is heir.detections
    assert both.tracks.ids is heir.tracks.ids
    assert result(cut=True).inheriting(result(6)).cut
