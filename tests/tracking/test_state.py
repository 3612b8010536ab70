"""What both ways to track share; as a whole it is compared in ``test_reference`` and ``test_timed``."""

import numpy as np
import pytest

from streamtrack.tracking import _association, _state


@pytest.mark.parametrize(
    ("box", "score"),
    [
        ((np.nan, 0, 1, 1), 0.5),
        ((0, 0, np.inf, 1), 0.5),
        ((0, -np.inf, 1, 1), 0.5),
        ((2, 0, 1, 1), 0.5),
        ((0, 2, 1, 1), 0.5),
        ((0, 0, 1, 1), -0.1),
        ((0, 0, 1, 1), 1.1),
        ((0, 0, 1, 1), np.nan),
    ],
)
def test_kernels_find_the_row_that_cannot_be(box: tuple[float, ...], score: float) -> None:
    boxes = np.array([(0, 0, 1, 1), (5, 5, 5, 5), box], np.float32)
    assert _state.first_bad_row(boxes, np.array([0.0, 1.0, score], np.float32)) == 2
    assert _state.first_bad_row(boxes[:2], np.array([0.0, 1.0], np.float32)) == -1


def test_kernels_split_the_weak_from_the_strong() -> None:
    scores = np.array([0.05, 0.1, 0.3, 0.6, 0.9, 0.9, 0.9], np.float32)
    boxes = np.tile(np.array([0, 0, 10, 20], np.float32), (7, 1))
    boxes[5, 2], boxes[6, 3] = 0, 19  # no area, and a little less than the others
    limits = np.zeros(_state.LIMIT_ROWS)
    limits[: _state.WEAK_BELOW] = np.array([0.6, 0.7, 0.1], np.float32)
    limits[_state.MIN_AREA] = 200
    for below, weak in ((np.float32(0.6), [2]), (np.nextafter(np.float32(0.6), np.float32(2)), [2, 3])):
        limits[_state.WEAK_BELOW] = below
        lists, counts = np.zeros((_state.LIST_ROWS, 7), np.int64), np.zeros(_state.COUNT_ROWS, np.int64)
        _state.split(boxes, scores, limits, lists, counts)
        assert lists[_state.HIGH, : counts[_state.N_HIGH]].tolist() == [4]
        assert lists[_state.LOW, : counts[_state.N_LOW]].tolist() == weak
        assert counts[_state.N_IGNORED] == 2


def test_kernels_put_the_logarithm_of_the_height() -> None:
    tables = np.zeros((_association.TABLES, _association.TABLE_ROWS, 2))
    tables[_association.LEFT_BOXES, _association.Y1] = [1.0, np.e]
    _state.put_log_heights(tables, _association.LEFT_BOXES, 2)
    assert tables[_association.LEFT_BOXES, _association.LOG_HEIGHT].tolist() == pytest.approx([0.0, 1.0])
