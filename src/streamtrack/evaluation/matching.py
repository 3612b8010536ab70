"""The one-to-one matching of rows and columns with the largest total score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamtrack.tracking import kernel

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]


def match(scores: Float64Array) -> tuple[Int64Array, Int64Array]:
    """Return rows (ascending) and their columns such that the sum of ``scores[rows, columns]`` is the largest possible.

    As many are matched as there are rows or columns, whichever are fewer, at scores of 0 too. Among matchings of one
    total it chooses as ``scipy.optimize.linear_sum_assignment(-scores)`` does, which is what TrackEval uses: where
    boxes are whole numbers ties are common, and another choice would be another number of identity switches.

    Args:
        scores: (n, m), finite.
    """
    if scores.shape[0] <= scores.shape[1]:
        columns = cheapest(np.negative(scores, order="C"))
        return np.arange(len(columns)), columns
    # In C order, or it would be another kernel to compile.
    rows = cheapest(np.negative(scores.T, order="C"))
    order = np.argsort(rows)
    return rows[order], order


@kernel
def cheapest(cost: Float64Array) -> Int64Array:
    """Return the column of each row in the matching of all rows with the smallest total cost.

    Shortest augmenting paths: Crouse, "On implementing 2D rectangular assignment algorithms", 2016, algorithm 1. Of
    columns that are equally near one that is free is taken, else the one met first; the columns are met from the last
    to the first.

    Args:
        cost: (n, m) with n <= m, finite.
    """
    n, m = cost.shape
    row_price, column_price = np.zeros(n), np.zeros(m)
    column_of, row_of = np.full(n, -1), np.full(m, -1)
    distance, before, waiting = np.empty(m), np.empty(m, np.int64), np.empty(m, np.int64)
    for start in range(n):
        for k in range(m):
            waiting[k] = m - 1 - k
            distance[k] = np.inf
        n_waiting, row, so_far, end = m, start, 0.0, -1
        while end < 0:
            nearest, least = -1, np.inf
            for k in range(n_waiting):
                j = waiting[k]
                length = so_far + cost[row, j] - row_price[row] - column_price[j]
                if length < distance[j]:
                    distance[j], before[j] = length, row
                if distance[j] < least or (distance[j] == least and row_of[j] < 0):
                    nearest, least = k, distance[j]
            so_far = least
            j = waiting[nearest]
            n_waiting -= 1
            # The columns behind n_waiting are those that were reached.
            waiting[nearest], waiting[n_waiting] = waiting[n_waiting], j
            if row_of[j] < 0:
                end = j
            else:
                row = row_of[j]

        row_price[start] += so_far
        for k in range(n_waiting, m):
            j = waiting[k]
            column_price[j] -= so_far - distance[j]
            if j != end:
                row_price[row_of[j]] += so_far - distance[j]

        j = end
        while j >= 0:
            row = before[j]
            row_of[j] = row
            column_of[row], j = j, column_of[row]
    return column_of
