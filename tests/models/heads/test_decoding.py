"""The steps that decoding has in common, against loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.errors import InferenceError
from streamtrack.models.heads.decoding import (
    P5,
    P6,
    are_cells,
    boxes_around,
    boxes_within,
    by_image,
    cell_count,
    check_cells,
    counts_fit,
    grid,
    reaching,
    rows_reaching,
)  # fmt: skip

sides = st.integers(1, 400)


@given(height=sides, width=sides, strides=st.sampled_from([P5, P6]), whole=st.booleans())
def test_the_grid_lists_every_cell_in_order(height: int, width: int, strides: tuple[int, ...], whole: bool) -> None:
    expected = []
    for stride in strides:
        rows, columns = (side // stride if whole else -(-side // stride) for side in (height, width))
        expected += [(x, y, stride) for y in range(rows) for x in range(columns)]
    found = grid((height, width), strides, whole=whole)
    assert cell_count((height, width), strides, whole=whole) == len(expected)
    np.testing.assert_array_equal(found, np.array(expected, np.float32).reshape(-1, 3))
    assert not found.flags.writeable


@given(rows=st.integers(1, 40), columns=st.integers(1, 40), per_cell=st.sampled_from([1, 3]))
def test_a_count_fits_its_own_input_and_a_free_one(rows: int, columns: int, per_cell: int) -> None:
    for strides in (P5, P6):
        size = (rows * strides[-1], columns * strides[-1])
        found = per_cell * cell_count(size, strides)
        assert counts_fit(found, size, per_cell, P5, P6)
        assert counts_fit(found, (None, None), per_cell, strides)
        assert counts_fit(found, (size[0], None), per_cell, strides)
        assert not counts_fit(found + 1, size, per_cell, strides)
        assert not counts_fit(found + 1, (None, None), per_cell, strides)
    assert counts_fit(None, (640, 640), per_cell, P5)


def test_cells_and_the_rows_of_few_queries_are_told_apart() -> None:
    for count in (8400, 25200, 8500, 25500):
        assert are_cells(count, (640, 640))
    assert are_cells(3598, (416, 416))
    assert are_cells(8400, (None, 640))
    for size in ((640, 640), (128, 128), (None, None)):
        assert not are_cells(300, size)


def test_a_wrong_number_of_cells_is_an_error() -> None:
    check_cells("o", 3, 3, (64, 32))
    with pytest.raises(InferenceError, match="Output 'o' has 4 cells where an input of 32x64 gives 3"):
        check_cells("o", 4, 3, (64, 32))


def test_rows_go_to_their_images() -> None:
    scores = np.array([[0.1, 0.5, 0.9], [0.2, 0.3, 0.4], [0.6, np.nan, 0.1]], np.float32)
    image, column = reaching(scores, 0.5)
    assert list(zip(image.tolist(), column.tolist(), strict=True)) == [(0, 1), (0, 2), (2, 0)]
    boxes = np.arange(12, dtype=np.float32).reshape(3, 4)
    found = by_image(image, 3, boxes, scores[image, column], np.array([7, 8, 9]))
    assert [each.classes.tolist() for each in found] == [[7, 8], [], [9]]
    assert [each.boxes.tolist() for each in found] == [boxes[:2].tolist(), [], boxes[2:].tolist()]
    (alone,) = by_image(image[:2], 1, boxes[:2], scores[0, 1:])
    assert alone.classes.tolist() == [0, 0]
    assert alone.keypoints.shape == (2, 0, 2)


def test_rows_of_which_any_class_is_sure() -> None:
    scores = np.array([[[0.9, 0.8], [0.1, 0.2]], [[np.nan, 0.1], [0.2, 0.5]]], np.float32)
    image, row = rows_reaching(scores, 0.5)
    assert list(zip(image.tolist(), row.tolist(), strict=True)) == [(0, 0), (1, 1)]
    assert rows_reaching(scores, 0.95)[0].tolist() == []


def test_boxes_from_centres_and_from_distances() -> None:
    points = np.array([[10, 20]], np.float32)
    assert boxes_around(points, np.array([[4, 6]], np.float32)).tolist() == [[8, 17, 12, 23]]
    assert boxes_within(points, np.array([[1, 2, 3, 4]], np.float32)).tolist() == [[9, 18, 13, 24]]
