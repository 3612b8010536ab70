"""Which boxes can match at what cost, and the cheapest matching of them all.

Both sides come as *box tables*: float64 (``TABLE_ROWS``, capacity), a column is a box. Only pairs that overlap, are
of one class and cost less than the limit are ever stored, found through a grid, so the work grows with the number of
overlaps rather than with the product of both sides.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from streamtrack.tracking._jit import kernel

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]
Number = TypeVar("Number", np.float64, np.int64)

# Rows of a box table. Corners are px; SCORE is that of the detection; CLASS is a whole number.
X0, Y0, X1, Y1, AREA, SCORE, CLASS = 0, 1, 2, 3, 4, 5, 6
TABLE_ROWS = 7

BOXES_PER_CELL = 4


@kernel
def put_box(table: Float64Array, i: int, x0: float, y0: float, x1: float, y1: float) -> None:
    """Write column ``i``'s corners and area; pixels are counted, both edges included, as the official code does."""
    table[X0, i] = x0
    table[Y0, i] = y0
    table[X1, i] = x1
    table[Y1, i] = y1
    table[AREA, i] = (x1 - x0 + 1.0) * (y1 - y0 + 1.0)


@kernel
def _cell(value: float, low: float, high: float, per_px: float, count: int) -> int:
    if not value > low:  # NaN, too
        return 0
    if value >= high:
        return count - 1
    return min(int((value - low) * per_px), count - 1)


@kernel
def _extent(values: Float64Array, n: int) -> tuple[float, float]:
    low = high = values[0]
    for i in range(1, n):
        low = min(low, values[i])
        high = max(high, values[i])
    return low, high


@kernel
def _largest_side(low: Float64Array, high: Float64Array, n: int) -> float:
    side = 0.0
    for i in range(n):
        side = max(side, high[i] - low[i])
    return side


@kernel
def _sort_into_cells(
    right: Float64Array,
    n_right: int,
    sorted_right: Float64Array,
    order: Int64Array,
    cell_of: Int64Array,
    cell_start: Int64Array,
    n_cells: int,
) -> None:
    # A counting sort: boxes of one cell lie together and keep their order, cells of one grid row lie side by side.
    for c in range(n_cells + 1):
        cell_start[c] = 0
    for j in range(n_right):
        cell_start[cell_of[j]] += 1
    for c in range(n_cells):
        cell_start[c + 1] += cell_start[c]
    for j in range(n_right - 1, -1, -1):
        cell_start[cell_of[j]] -= 1
        k = cell_start[cell_of[j]]
        order[k] = j
        for row in range(TABLE_ROWS):
            sorted_right[row, k] = right[row, j]


@kernel
def _room(array: NDArray[Number], used: int, wanted: int) -> NDArray[Number]:
    grown = np.empty(max(2 * len(array), wanted), array.dtype)
    grown[:used] = array[:used]
    return grown


@kernel
def find_pairs(
    left: Float64Array,
    n_left: int,
    right: Float64Array,
    n_right: int,
    limit: float,
    fuse_score: bool,
    sorted_right: Float64Array,
    order: Int64Array,
    cell_of: Int64Array,
    cell_start: Int64Array,
    row_start: Int64Array,
    pair_right: Int64Array,
    pair_cost: Float64Array,
) -> tuple[Int64Array, Float64Array]:
    """List every pair of one class with IoU > 0 and cost under ``limit``, row by row.

    The cost is 1 - IoU, or 1 - IoU x score of the right box with ``fuse_score``. The pairs of left box i are those from
    ``row_start[i]`` up to ``row_start[i + 1]`` in ``pair_right`` (column of the right table) and ``pair_cost``.

    Args:
        left: box table of ``n_left`` boxes.
        right: box table of ``n_right`` boxes, at least one.
        limit: only pairs that cost less are listed.
        fuse_score: weigh the IoU with the right box's score.
        sorted_right: scratch, a box table.
        order: scratch, (capacity,).
        cell_of: scratch, (capacity,).
        cell_start: scratch, (capacity + 2,).
        row_start: out, (capacity + 2,).
        pair_right: out; too short a one is replaced.
        pair_cost: out; too short a one is replaced.

    Returns:
        ``pair_right`` and ``pair_cost``, or longer ones in their place.
    """
    low_x, high_x = _extent(right[X0], n_right)
    low_y, high_y = _extent(right[Y0], n_right)
    widest = _largest_side(right[X0], right[X1], n_right) + 1.0
    tallest = _largest_side(right[Y0], right[Y1], n_right) + 1.0
    side = max(int(np.sqrt(n_right / BOXES_PER_CELL)), 1)
    # No cell is smaller than a pixel, so that the division is safe however close together the boxes lie.
    n_x = side if high_x - low_x > side else 1
    n_y = side if high_y - low_y > side else 1
    per_px_x = n_x / max(high_x - low_x, 1.0)
    per_px_y = n_y / max(high_y - low_y, 1.0)
    for j in range(n_right):
        across = _cell(right[X0, j], low_x, high_x, per_px_x, n_x)
        cell_of[j] = _cell(right[Y0, j], low_y, high_y, per_px_y, n_y) * n_x + across
    _sort_into_cells(right, n_right, sorted_right, order, cell_of, cell_start, n_x * n_y)

    n_pairs = 0
    for i in range(n_left):
        row_start[i] = n_pairs
        if n_pairs + n_right > len(pair_cost):
            pair_right = _room(pair_right, n_pairs, n_pairs + n_right)
            pair_cost = _room(pair_cost, n_pairs, n_pairs + n_right)
        x0, y0, x1, y1 = left[X0, i], left[Y0, i], left[X1, i], left[Y1, i]
        area, kind = left[AREA, i], left[CLASS, i]
        from_x = _cell(x0 - widest, low_x, high_x, per_px_x, n_x)
        to_x = _cell(x1 + 1.0, low_x, high_x, per_px_x, n_x)
        from_y = _cell(y0 - tallest, low_y, high_y, per_px_y, n_y)
        to_y = _cell(y1 + 1.0, low_y, high_y, per_px_y, n_y)
        for y in range(from_y, to_y + 1):
            for k in range(cell_start[y * n_x + from_x], cell_start[y * n_x + to_x + 1]):
                wide = min(x1, sorted_right[X1, k]) - max(x0, sorted_right[X0, k]) + 1.0
                tall = min(y1, sorted_right[Y1, k]) - max(y0, sorted_right[Y0, k]) + 1.0
                if not (wide > 0.0 and tall > 0.0) or sorted_right[CLASS, k] != kind:
                    continue
                union = area + sorted_right[AREA, k] - wide * tall
                if not union > 0.0:  # a predicted box may be inside out
                    continue
                cost = 1.0 - wide * tall / union
                if fuse_score:
                    cost = 1.0 - (1.0 - cost) * sorted_right[SCORE, k]
                if cost < limit:
                    pair_right[n_pairs] = order[k]
                    pair_cost[n_pairs] = cost
                    n_pairs += 1
    row_start[n_left] = n_pairs
    return pair_right, pair_cost


@kernel
def assign(
    n_left: int,
    n_right: int,
    limit: float,
    row_start: Int64Array,
    pair_right: Int64Array,
    pair_cost: Float64Array,
    to_right: Int64Array,
    to_left: Int64Array,
    left_price: Float64Array,
    right_price: Float64Array,
    distance: Float64Array,
    came_from: Int64Array,
    reached_by: Int64Array,
    frontier: Int64Array,
    settled: Int64Array,
) -> None:
    """Match left and right so that the sum of (cost - ``limit``) over all matched pairs is the smallest possible.

    That is what ``lap.lapjv(cost, extend_cost=True, cost_limit=limit)`` minimises. The method is that of successive
    shortest augmenting paths (Jonker and Volgenant, 1987) over the listed pairs only: each left box in turn finds the
    cheapest way to be matched, or to leave itself or another one unmatched at the price of ``limit``.

    Args:
        n_left: left boxes.
        n_right: right boxes.
        limit: what it costs to leave a pair unmatched.
        row_start: pairs as ``find_pairs`` lists them.
        pair_right: pairs as ``find_pairs`` lists them.
        pair_cost: pairs as ``find_pairs`` lists them, all under ``limit``.
        to_right: out, (capacity,): the partner of each left box, or -1.
        to_left: out, (capacity,): the partner of each right box, or -1.
        left_price: scratch, (capacity,): dual variables.
        right_price: scratch, (capacity,): dual variables.
        distance: scratch, (capacity,): length of the shortest path to a right box.
        came_from: scratch, (capacity,): the left box before it on that path.
        reached_by: scratch, (capacity,): the last left box i whose search met this right box, -2 - i once settled.
        frontier: scratch, (capacity,): right boxes that were met.
        settled: scratch, (capacity,): right boxes whose distance is final.
    """
    for i in range(n_left):
        to_right[i] = -1
    for j in range(n_right):
        to_left[j] = -1
        right_price[j] = 0.0
        reached_by[j] = -1
    for i in range(n_left):
        best, best_j = 0.0, -1
        for e in range(row_start[i], row_start[i + 1]):
            j = pair_right[e]
            reduced = pair_cost[e] - limit - right_price[j]
            if reduced < best:
                best, best_j = reduced, j
        if best_j < 0:
            continue
        if to_left[best_j] < 0:
            left_price[i] = best
            to_right[i] = best_j
            to_left[best_j] = i
            continue

        # The favourite is taken: search for the shortest path from i to a free right box, or to a left box that
        # had better stay unmatched (its way out is `end` at length `shortest`).
        shortest, end, free = 0.0, i, -1
        n_frontier, n_settled = 0, 0
        row, so_far = i, 0.0
        while True:
            for e in range(row_start[row], row_start[row + 1]):
                j = pair_right[e]
                length = so_far + (pair_cost[e] - limit - right_price[j])
                if length >= shortest or reached_by[j] == -2 - i:  # settled
                    continue
                if reached_by[j] != i:
                    reached_by[j] = i
                    frontier[n_frontier] = j
                    n_frontier += 1
                elif length >= distance[j]:
                    continue
                distance[j] = length
                came_from[j] = row
            nearest = -1
            for k in range(n_frontier):
                if distance[frontier[k]] < shortest and (
                    nearest < 0 or distance[frontier[k]] < distance[frontier[nearest]]
                ):
                    nearest = k
            if nearest < 0:
                break
            j = frontier[nearest]
            if to_left[j] < 0:
                shortest, free = distance[j], j
                break
            n_frontier -= 1
            frontier[nearest] = frontier[n_frontier]
            reached_by[j] = -2 - i  # rounding must not lead back to it
            settled[n_settled] = j
            n_settled += 1
            row = to_left[j]
            so_far = distance[j] - left_price[row]
            if so_far < shortest:
                shortest, end = so_far, row

        left_price[i] = shortest
        for k in range(n_settled):
            j = settled[k]
            right_price[j] += distance[j] - shortest
            left_price[to_left[j]] += shortest - distance[j]
        if free < 0:
            free = to_right[end]
            to_right[end] = -1
        while free >= 0:
            row = came_from[free]
            to_left[free] = row
            free, to_right[row] = to_right[row], free
