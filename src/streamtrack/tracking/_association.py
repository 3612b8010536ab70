"""Which boxes can match at what cost, and the cheapest matching of them all.

Everything works in three arrays of scratch, so that nothing is allocated in the steady state:

- ``tables``, float64 (TABLES, TABLE_ROWS, capacity): the boxes of both sides, a column each, and prices;
- ``links``, int64 (LINK_ROWS, capacity + 2): the outcome (TO_RIGHT, TO_LEFT) and indices;
- ``pair_right``, int64, and ``pair_cost``, float64, both (pairs,): the pairs that can match, row by row.

Only pairs that overlap, are of one class and cost no more than the limit are ever stored, found through a grid, so the
work grows with the number of overlaps rather than with the product of both sides.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from streamtrack.tracking._jit import inlined, kernel

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]
Number = TypeVar("Number", np.float64, np.int64)

LEFT_BOXES, RIGHT_BOXES, SORTED_BOXES, PRICES = 0, 1, 2, 3
TABLES = 4
# Rows of a table of boxes: corners in px, the score of the detection, the class (a whole number), the logarithm of the
# height, and of left boxes only the margin in px: how far a pair's two boxes are grown on every side.
X0, Y0, X1, Y1, SCORE, CLASS, LOG_HEIGHT, MARGIN = 0, 1, 2, 3, 4, 5, 6, 7
TABLE_ROWS = 8
RIGHT_ROWS = 7
# Rows of PRICES: dual variables of the assignment, and the length of the shortest path to a right box.
LEFT_PRICE, RIGHT_PRICE, DISTANCE = 0, 1, 2

TO_RIGHT, TO_LEFT = 0, 1  # partner or -1
ROW_START = 2  # the pairs of left box i are those from links[ROW_START, i] up to links[ROW_START, i + 1]
ORDER, CELL_OF, CELL_START = 3, 4, 5  # sorting into the grid
CAME_FROM = 6  # the left box before a right box on the shortest path
REACHED_BY = 7  # the last left box i whose search met a right box; -2 - i once its distance is final
FRONTIER, SETTLED = 8, 9  # right boxes that were met; those whose distance is final
NEAR = 10  # right boxes that overlap a left one
LINK_ROWS = 11

BOXES_PER_CELL = 2
COLUMNS_ONLY = 64
"""Up to this many boxes a grid of columns is quicker than one of cells."""


@inlined
def _cell(value: float, low: float, high: float, per_px: float, count: int) -> int:
    if not value > low:  # NaN, too
        return 0
    if value >= high:
        return count - 1
    return min(int((value - low) * per_px), count - 1)


@inlined
def _extent(tables: Float64Array, n: int) -> tuple[float, float, float, float, float, float]:
    # Range of the right boxes' top-left corners, and their largest width and height.
    low_x = high_x = tables[RIGHT_BOXES, X0, 0]
    low_y = high_y = tables[RIGHT_BOXES, Y0, 0]
    widest, tallest = 0.0, 0.0
    for i in range(n):
        x0, y0 = tables[RIGHT_BOXES, X0, i], tables[RIGHT_BOXES, Y0, i]
        low_x, high_x = min(low_x, x0), max(high_x, x0)
        low_y, high_y = min(low_y, y0), max(high_y, y0)
        widest = max(widest, tables[RIGHT_BOXES, X1, i] - x0)
        tallest = max(tallest, tables[RIGHT_BOXES, Y1, i] - y0)
    return low_x, high_x, low_y, high_y, widest, tallest


@inlined
def _sort_into_cells(tables: Float64Array, links: Int64Array, n_right: int, n_cells: int) -> None:
    # A counting sort: boxes of one cell lie together and keep their order, cells of one grid row lie side by side.
    for c in range(n_cells + 1):
        links[CELL_START, c] = 0
    for j in range(n_right):
        links[CELL_START, links[CELL_OF, j]] += 1
    for c in range(n_cells):
        links[CELL_START, c + 1] += links[CELL_START, c]
    for j in range(n_right - 1, -1, -1):
        k = links[CELL_START, links[CELL_OF, j]] - 1
        links[CELL_START, links[CELL_OF, j]] = k
        links[ORDER, k] = j
        for row in range(RIGHT_ROWS):
            tables[SORTED_BOXES, row, k] = tables[RIGHT_BOXES, row, j]


@kernel
def _list_pairs(
    tables: Float64Array,
    links: Int64Array,
    first: int,
    n_left: int,
    grid: tuple[float, float, float, float, float, float],
    n_x: int,
    n_y: int,
    limit: float,
    fuse_score: bool,
    any_class: bool,
    height_cost: float,
    pair_right: Int64Array,
    pair_cost: Float64Array,
) -> int:
    # List the pairs of left boxes from `first` on; stop at the first one that may find no room, and return it.
    low_x, high_x, low_y, high_y, widest, tallest = grid
    per_px_x, per_px_y = n_x / max(high_x - low_x, 1.0), n_y / max(high_y - low_y, 1.0)
    n_right = links[CELL_START, n_x * n_y]
    n_pairs = links[ROW_START, first]
    for i in range(first, n_left):
        if n_pairs + n_right > len(pair_cost):
            return i
        x0, y0 = tables[LEFT_BOXES, X0, i], tables[LEFT_BOXES, Y0, i]
        x1, y1 = tables[LEFT_BOXES, X1, i], tables[LEFT_BOXES, Y1, i]
        kind, log_height = tables[LEFT_BOXES, CLASS, i], tables[LEFT_BOXES, LOG_HEIGHT, i]
        # Two boxes grown by a margin overlap, across, by twice the margin more than before.
        grown = 2.0 * tables[LEFT_BOXES, MARGIN, i]
        area = (x1 - x0 + grown) * (y1 - y0 + grown)
        from_x = _cell(x0 - widest - grown, low_x, high_x, per_px_x, n_x)
        to_x = _cell(x1 + grown, low_x, high_x, per_px_x, n_x)
        from_y = _cell(y0 - tallest - grown, low_y, high_y, per_px_y, n_y)
        to_y = _cell(y1 + grown, low_y, high_y, per_px_y, n_y)
        # Stored first and counted afterwards: a branch here would be guessed wrong once or twice for every box.
        n = 0
        for y in range(from_y, to_y + 1):
            for k in range(links[CELL_START, y * n_x + from_x], links[CELL_START, y * n_x + to_x + 1]):
                wide = min(x1, tables[SORTED_BOXES, X1, k]) - max(x0, tables[SORTED_BOXES, X0, k]) + grown
                tall = min(y1, tables[SORTED_BOXES, Y1, k]) - max(y0, tables[SORTED_BOXES, Y0, k]) + grown
                links[NEAR, n] = k
                n += (wide > 0.0) & (tall > 0.0) & ((tables[SORTED_BOXES, CLASS, k] == kind) | any_class)
        for c in range(n):
            k = links[NEAR, c]
            right_x0, right_y0 = tables[SORTED_BOXES, X0, k], tables[SORTED_BOXES, Y0, k]
            right_x1, right_y1 = tables[SORTED_BOXES, X1, k], tables[SORTED_BOXES, Y1, k]
            overlap = (min(x1, right_x1) - max(x0, right_x0) + grown) * (min(y1, right_y1) - max(y0, right_y0) + grown)
            union = area + (right_x1 - right_x0 + grown) * (right_y1 - right_y0 + grown) - overlap
            cost = 1.0 - overlap / union
            if fuse_score:
                cost = 1.0 - (1.0 - cost) * tables[SORTED_BOXES, SCORE, k]
            cost += height_cost * abs(log_height - tables[SORTED_BOXES, LOG_HEIGHT, k])
            pair_right[n_pairs] = links[ORDER, k]
            pair_cost[n_pairs] = cost
            n_pairs += (union > 0.0) & (cost <= limit)  # a predicted box may be inside out
        links[ROW_START, i + 1] = n_pairs
    return n_left


@inlined
def _room(array: NDArray[Number], used: int, wanted: int) -> NDArray[Number]:
    grown = np.empty(max(2 * len(array), wanted), array.dtype)
    for k in range(used):
        grown[k] = array[k]
    return grown


@kernel
def find_pairs(
    tables: Float64Array,
    links: Int64Array,
    n_left: int,
    n_right: int,
    limit: float,
    fuse_score: bool,
    any_class: bool,
    height_cost: float,
    pair_right: Int64Array,
    pair_cost: Float64Array,
) -> tuple[Int64Array, Float64Array]:
    """List every pair with IoU > 0 and a cost of at most ``limit``, row by row.

    The cost is 1 - IoU, or 1 - IoU x score of the right box with ``fuse_score``, plus ``height_cost`` x |ln of the
    ratio of the heights|. IoU is that of both boxes grown by the left one's margin (the buffered IoU of Yang et al.,
    WACV 2023); a margin of half a pixel counts pixels with both edges included.

    Args:
        tables: LEFT_BOXES and RIGHT_BOXES are read.
        links: ROW_START is written.
        n_left: left boxes.
        n_right: right boxes, at least one.
        limit: pairs that cost more are not listed.
        fuse_score: weigh the IoU with the right box's score.
        any_class: list pairs of different classes, too.
        height_cost: what a ratio of e between the heights costs.
        pair_right: out: columns of RIGHT_BOXES.
        pair_cost: out, of the same length.

    Returns:
        ``pair_right`` and ``pair_cost``, or longer ones in their place where the pairs did not fit.
    """
    grid = _extent(tables, n_right)
    low_x, high_x, low_y, high_y = grid[:4]
    n_x, n_y = n_right, 1
    if n_right > COLUMNS_ONLY:
        n_x = n_y = int(np.sqrt(n_right / BOXES_PER_CELL))
    # No cell is smaller than a pixel, so that the division is safe however close together the boxes lie.
    n_x = n_x if high_x - low_x > n_x else 1
    n_y = n_y if high_y - low_y > n_y else 1
    per_px_x, per_px_y = n_x / max(high_x - low_x, 1.0), n_y / max(high_y - low_y, 1.0)
    for j in range(n_right):
        across = _cell(tables[RIGHT_BOXES, X0, j], low_x, high_x, per_px_x, n_x)
        links[CELL_OF, j] = _cell(tables[RIGHT_BOXES, Y0, j], low_y, high_y, per_px_y, n_y) * n_x + across
    _sort_into_cells(tables, links, n_right, n_x * n_y)
    links[ROW_START, 0] = 0
    first = int(np.int64(0))  # a plain 0 is a type of its own, for which everything would be compiled once more
    while first < n_left:
        first = _list_pairs(
            tables,
            links,
            first,
            n_left,
            grid,
            n_x,
            n_y,
            limit,
            fuse_score,
            any_class,
            height_cost,
            pair_right,
            pair_cost,
        )
        if first < n_left:
            used = links[ROW_START, first]
            pair_right, pair_cost = _room(pair_right, used, used + n_right), _room(pair_cost, used, used + n_right)
    return pair_right, pair_cost


@kernel
def _make_way(
    tables: Float64Array, links: Int64Array, i: int, limit: float, pair_right: Int64Array, pair_cost: Float64Array
) -> None:
    # Left box i's favourite is taken: search for the shortest path from i to a free right box, or to a left box that
    # had better stay unmatched (`end`, at length `shortest`); then shift all matches along the path.
    shortest, end, free = 0.0, i, -1
    n_frontier, n_settled = 0, 0
    row, so_far = i, 0.0
    while True:
        for e in range(links[ROW_START, row], links[ROW_START, row + 1]):
            j = pair_right[e]
            length = so_far + (pair_cost[e] - limit - tables[PRICES, RIGHT_PRICE, j])
            if length >= shortest or links[REACHED_BY, j] == -2 - i:  # rounding must not lead back to a settled one
                continue
            if links[REACHED_BY, j] != i:
                links[REACHED_BY, j] = i
                links[FRONTIER, n_frontier] = j
                n_frontier += 1
            elif length >= tables[PRICES, DISTANCE, j]:
                continue
            tables[PRICES, DISTANCE, j] = length
            links[CAME_FROM, j] = row
        nearest, distance = -1, shortest
        for k in range(n_frontier):
            if tables[PRICES, DISTANCE, links[FRONTIER, k]] < distance:
                nearest, distance = k, tables[PRICES, DISTANCE, links[FRONTIER, k]]
        if nearest < 0:
            break
        j = links[FRONTIER, nearest]
        if links[TO_LEFT, j] < 0:
            shortest, free = distance, j
            break
        n_frontier -= 1
        links[FRONTIER, nearest] = links[FRONTIER, n_frontier]
        links[REACHED_BY, j] = -2 - i
        links[SETTLED, n_settled] = j
        n_settled += 1
        row = links[TO_LEFT, j]
        so_far = distance - tables[PRICES, LEFT_PRICE, row]
        if so_far < shortest:
            shortest, end = so_far, row

    tables[PRICES, LEFT_PRICE, i] = shortest
    for k in range(n_settled):
        j = links[SETTLED, k]
        tables[PRICES, RIGHT_PRICE, j] += tables[PRICES, DISTANCE, j] - shortest
        tables[PRICES, LEFT_PRICE, links[TO_LEFT, j]] += shortest - tables[PRICES, DISTANCE, j]
    if free < 0:
        free = links[TO_RIGHT, end]
        links[TO_RIGHT, end] = -1
    while free >= 0:
        row = links[CAME_FROM, free]
        links[TO_LEFT, free] = row
        free, links[TO_RIGHT, row] = links[TO_RIGHT, row], free


@kernel
def assign(
    tables: Float64Array,
    links: Int64Array,
    n_left: int,
    n_right: int,
    limit: float,
    pair_right: Int64Array,
    pair_cost: Float64Array,
) -> None:
    """Match left and right so that the sum of (cost - ``limit``) over all matched pairs is the smallest possible.

    That is what ``lap.lapjv(cost, extend_cost=True, cost_limit=limit)`` minimises. The method is that of successive
    shortest augmenting paths (Jonker and Volgenant, 1987) over the listed pairs only: each left box in turn finds the
    cheapest way to be matched, or to leave itself or another one unmatched at the price of ``limit``. Where several
    matchings cost the same, which one is taken depends on nothing but the pairs and their order, yet it need not be the
    one that ``lap`` takes; a lone pair that costs just ``limit`` is matched, as there.

    Args:
        tables: PRICES is scratch.
        links: ROW_START is read, TO_RIGHT and TO_LEFT are written.
        n_left: left boxes.
        n_right: right boxes.
        limit: what it costs to leave a pair unmatched.
        pair_right: pairs as ``find_pairs`` lists them.
        pair_cost: their costs, none above ``limit``.
    """
    for i in range(n_left):
        links[TO_RIGHT, i] = -1
    for j in range(n_right):
        links[TO_LEFT, j] = -1
        links[REACHED_BY, j] = -1
        tables[PRICES, RIGHT_PRICE, j] = 0.0
    for i in range(n_left):
        best, best_j = 0.0, -1
        for e in range(links[ROW_START, i], links[ROW_START, i + 1]):
            j = pair_right[e]
            reduced = pair_cost[e] - limit - tables[PRICES, RIGHT_PRICE, j]
            if reduced < best or (reduced == best and j > best_j):  # of equal ones the last, as lap often has it
                best, best_j = reduced, j
        if best_j < 0:
            continue
        if links[TO_LEFT, best_j] >= 0:
            _make_way(tables, links, i, limit, pair_right, pair_cost)
            continue
        tables[PRICES, LEFT_PRICE, i] = best
        links[TO_RIGHT, i] = best_j
        links[TO_LEFT, best_j] = i
