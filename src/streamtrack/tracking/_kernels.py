"""One update of ByteTrack (Zhang et al., ECCV 2022), with the habits of its official code, over arrays.

A track lives in one column, its *slot*, of ``motion`` and ``facts`` from birth to end; then the slot is used again.
Which slots are alive and in which order is kept in the rows TRACKED and LOST of ``lists``, with their lengths in
``counts``. The order is that of the official lists: it decides which of two equally good matches is taken.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamtrack.tracking._association import (
    CLASS,
    SCORE,
    TABLE_ROWS,
    Float64Array,
    Int64Array,
    assign,
    find_pairs,
    put_box,
)
from streamtrack.tracking._jit import kernel
from streamtrack.tracking._kalman import ASPECT, CX, CY, HEIGHT, HEIGHT_SPEED, MOTION_ROWS, correct, predict, start
from streamtrack.types import CONFIRMED, LOST, TENTATIVE, Float32Array, Int32Array, UInt8Array

# ``motion``: float64 (STATE_ROWS, capacity): the Kalman filter's rows, and the score of the last matched detection.
LAST_SCORE = MOTION_ROWS
STATE_ROWS = MOTION_ROWS + 1

# ``facts``: int64 (FACT_ROWS, capacity).
ID = 0
KIND = 1  # class of the last matched detection
STARTED_NS = 2
MATCHED_NS = 3  # time of the last match
STATE = 4  # TENTATIVE, CONFIRMED, LOST or GONE
EXPIRED = 5  # 1 once the track was lost for too long: it is removed with the next frame unless matched there
ROW = 6  # row of this frame's detections, or -1
FACT_ROWS = 7

GONE = 3

# ``lists``: int64 (LIST_ROWS, capacity + 2). The first three last from update to update.
TRACKED_SLOTS, LOST_SLOTS, FREE_SLOTS = 0, 1, 2
NEWLY_LOST, REFOUND, BORN = 3, 4, 5  # slots
HIGH, LOW = 6, 7  # rows of the detections
LEFT, RIGHT = 8, 9  # what takes part in an association: slots, rows of the detections
TO_RIGHT, TO_LEFT = 10, 11  # its outcome
ORDER, CELL_OF, CELL_START, ROW_START = 12, 13, 14, 15
CAME_FROM, REACHED_BY, FRONTIER, SETTLED = 16, 17, 18, 19
OUT_IDS, OUT_ENDED = 20, 21
LIST_ROWS = 22

# ``counts``: int64 (COUNT_ROWS,).
N_TRACKED, N_LOST, N_FREE, N_UPDATES, LAST_ID = 0, 1, 2, 3, 4
N_HIGH, N_LOW, N_NEWLY_LOST, N_REFOUND, N_BORN, N_ENDED = 5, 6, 7, 8, 9, 10
N_IGNORED = 11  # detections without area so far
COUNT_ROWS = 12

# ``tables``: float64 (4, TABLE_ROWS, capacity): box tables, and the prices and distances of the assignment.
LEFT_BOXES, RIGHT_BOXES, SORTED_BOXES, PRICES = 0, 1, 2, 3
TABLES = 4

# ``limits``: float64 (5,).
HIGH_THRESH, NEW_THRESH, LOW_THRESH, MATCH_THRESH, FUSE_SCORE = 0, 1, 2, 3, 4

SECOND_LIMIT = 0.5
TENTATIVE_LIMIT = 0.7
DUPLICATE_LIMIT = 0.15


@kernel
def first_bad_row(boxes: Float32Array, scores: Float32Array) -> int:
    """Return the first row whose box is not finite or inside out or whose score is not in 0..1, or -1."""
    for i in range(len(scores)):
        x0, y0, x1, y1 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
        ordered = -np.inf < x0 <= x1 < np.inf and -np.inf < y0 <= y1 < np.inf
        if not (ordered and 0.0 <= scores[i] <= 1.0):
            return i
    return -1


@kernel
def _split(boxes: Float32Array, scores: Float32Array, limits: Float64Array, lists: Int64Array, counts: Int64Array) -> None:
    # A score equal to the high threshold is in neither part: so the official code has it.
    n_high, n_low = 0, 0
    for i in range(len(scores)):
        if boxes[i, 2] == boxes[i, 0] or boxes[i, 3] == boxes[i, 1]:
            counts[N_IGNORED] += 1
        elif scores[i] > limits[HIGH_THRESH]:
            lists[HIGH, n_high] = i
            n_high += 1
        elif limits[LOW_THRESH] < scores[i] < limits[HIGH_THRESH]:
            lists[LOW, n_low] = i
            n_low += 1
    counts[N_HIGH], counts[N_LOW] = n_high, n_low


@kernel
def _put_track(table: Float64Array, i: int, motion: Float64Array, facts: Int64Array, slot: int) -> None:
    height = motion[HEIGHT, slot]
    width = motion[ASPECT, slot] * height
    x0, y0 = motion[CX, slot] - width / 2.0, motion[CY, slot] - height / 2.0
    put_box(table, i, x0, y0, x0 + width, y0 + height)
    table[CLASS, i] = facts[KIND, slot]


@kernel
def _put_detections(
    table: Float64Array, rows: Int64Array, n: int, boxes: Float32Array, scores: Float32Array, classes: Int32Array
) -> None:
    for j in range(n):
        row = rows[j]
        put_box(
            table, j, float(boxes[row, 0]), float(boxes[row, 1]), float(boxes[row, 2]), float(boxes[row, 3])
        )
        table[SCORE, j] = scores[row]
        table[CLASS, j] = classes[row]


@kernel
def _associate(
    n_left: int,
    n_right: int,
    limit: float,
    fuse_score: bool,
    tables: Float64Array,
    lists: Int64Array,
    pair_right: Int64Array,
    pair_cost: Float64Array,
) -> tuple[Int64Array, Float64Array]:
    # From the first two tables to TO_RIGHT and TO_LEFT.
    if n_left == 0 or n_right == 0:
        lists[TO_RIGHT, :n_left] = -1
        lists[TO_LEFT, :n_right] = -1
        return pair_right, pair_cost
    pair_right, pair_cost = find_pairs(
        tables[LEFT_BOXES],
        n_left,
        tables[RIGHT_BOXES],
        n_right,
        limit,
        fuse_score,
        tables[SORTED_BOXES],
        lists[ORDER],
        lists[CELL_OF],
        lists[CELL_START],
        lists[ROW_START],
        pair_right,
        pair_cost,
    )
    assign(
        n_left,
        n_right,
        limit,
        lists[ROW_START],
        pair_right,
        pair_cost,
        lists[TO_RIGHT],
        lists[TO_LEFT],
        tables[PRICES, 0],
        tables[PRICES, 1],
        tables[PRICES, 2],
        lists[CAME_FROM],
        lists[REACHED_BY],
        lists[FRONTIER],
        lists[SETTLED],
    )
    return pair_right, pair_cost


@kernel
def _match(
    motion: Float64Array,
    facts: Int64Array,
    slot: int,
    row: int,
    boxes: Float32Array,
    scores: Float32Array,
    classes: Int32Array,
    pts_ns: int,
) -> None:
    correct(motion, slot, float(boxes[row, 0]), float(boxes[row, 1]), float(boxes[row, 2]), float(boxes[row, 3]))
    motion[LAST_SCORE, slot] = scores[row]
    facts[KIND, slot] = classes[row]
    facts[MATCHED_NS, slot] = pts_ns
    facts[STATE, slot] = CONFIRMED
    facts[ROW, slot] = row


@kernel
def _match_pool(
    motion: Float64Array,
    facts: Int64Array,
    lists: Int64Array,
    counts: Int64Array,
    tables: Float64Array,
    pair_right: Int64Array,
    pair_cost: Float64Array,
    limits: Float64Array,
    boxes: Float32Array,
    scores: Float32Array,
    classes: Int32Array,
    pts_ns: int,
    dt: float,
) -> tuple[Int64Array, Float64Array]:
    # Confirmed and lost tracks: predicted, then matched to the strong detections, then the unmatched confirmed ones
    # to the weak detections. Confirmed ones left over are lost.
    left = 0
    for k in range(counts[N_TRACKED] + counts[N_LOST]):
        slot = lists[TRACKED_SLOTS, k] if k < counts[N_TRACKED] else lists[LOST_SLOTS, k - counts[N_TRACKED]]
        if facts[STATE, slot] == TENTATIVE:
            continue
        if facts[STATE, slot] == LOST:
            motion[HEIGHT_SPEED, slot] = 0.0
        predict(motion, slot, dt)
        lists[LEFT, left] = slot
        _put_track(tables[LEFT_BOXES], left, motion, facts, slot)
        left += 1
    _put_detections(tables[RIGHT_BOXES], lists[HIGH], counts[N_HIGH], boxes, scores, classes)
    pair_right, pair_cost = _associate(
        left, counts[N_HIGH], limits[MATCH_THRESH], limits[FUSE_SCORE] > 0.0, tables, lists, pair_right, pair_cost
    )
    unmatched, n_refound = 0, 0
    for i in range(left):
        slot, j = lists[LEFT, i], lists[TO_RIGHT, i]
        if j >= 0:
            if facts[STATE, slot] == LOST:
                lists[REFOUND, n_refound] = slot
                n_refound += 1
            _match(motion, facts, slot, lists[HIGH, j], boxes, scores, classes, pts_ns)
        elif facts[STATE, slot] == CONFIRMED:
            lists[LEFT, unmatched] = slot
            _put_track(tables[LEFT_BOXES], unmatched, motion, facts, slot)
            unmatched += 1
    counts[N_REFOUND] = n_refound
    n_high = 0
    for j in range(counts[N_HIGH]):
        if lists[TO_LEFT, j] < 0:
            lists[HIGH, n_high] = lists[HIGH, j]
            n_high += 1
    counts[N_HIGH] = n_high

    if unmatched > 0:
        _put_detections(tables[RIGHT_BOXES], lists[LOW], counts[N_LOW], boxes, scores, classes)
    pair_right, pair_cost = _associate(
        unmatched, counts[N_LOW], SECOND_LIMIT, False, tables, lists, pair_right, pair_cost
    )
    n_lost = 0
    for i in range(unmatched):
        slot, j = lists[LEFT, i], lists[TO_RIGHT, i]
        if j >= 0:
            _match(motion, facts, slot, lists[LOW, j], boxes, scores, classes, pts_ns)
        else:
            facts[STATE, slot] = LOST
            facts[ROW, slot] = -1
            lists[NEWLY_LOST, n_lost] = slot
            n_lost += 1
    counts[N_NEWLY_LOST] = n_lost
    return pair_right, pair_cost


@kernel
def _match_tentative(
    motion: Float64Array,
    facts: Int64Array,
    lists: Int64Array,
    counts: Int64Array,
    tables: Float64Array,
    pair_right: Int64Array,
    pair_cost: Float64Array,
    limits: Float64Array,
    boxes: Float32Array,
    scores: Float32Array,
    classes: Int32Array,
    pts_ns: int,
) -> tuple[Int64Array, Float64Array]:
    # Tracks seen once, where they were seen, against the strong detections that are left: matched now or gone.
    left = 0
    for k in range(counts[N_TRACKED]):
        slot = lists[TRACKED_SLOTS, k]
        if facts[STATE, slot] == TENTATIVE:
            lists[LEFT, left] = slot
            _put_track(tables[LEFT_BOXES], left, motion, facts, slot)
            left += 1
    if left == 0:
        return pair_right, pair_cost
    _put_detections(tables[RIGHT_BOXES], lists[HIGH], counts[N_HIGH], boxes, scores, classes)
    pair_right, pair_cost = _associate(
        left, counts[N_HIGH], TENTATIVE_LIMIT, limits[FUSE_SCORE] > 0.0, tables, lists, pair_right, pair_cost
    )
    for i in range(left):
        slot, j = lists[LEFT, i], lists[TO_RIGHT, i]
        if j >= 0:
            _match(motion, facts, slot, lists[HIGH, j], boxes, scores, classes, pts_ns)
        else:
            facts[STATE, slot] = GONE
    n_high = 0
    for j in range(counts[N_HIGH]):
        if lists[TO_LEFT, j] < 0:
            lists[HIGH, n_high] = lists[HIGH, j]
            n_high += 1
    counts[N_HIGH] = n_high
    return pair_right, pair_cost


@kernel
def _give_birth(
    motion: Float64Array,
    facts: Int64Array,
    lists: Int64Array,
    counts: Int64Array,
    limits: Float64Array,
    boxes: Float32Array,
    scores: Float32Array,
    classes: Int32Array,
    pts_ns: int,
) -> None:
    n_born = 0
    for j in range(counts[N_HIGH]):
        row = lists[HIGH, j]
        if scores[row] < limits[NEW_THRESH]:
            continue
        counts[N_FREE] -= 1
        slot = lists[FREE_SLOTS, counts[N_FREE]]
        counts[LAST_ID] += 1
        start(motion, slot, float(boxes[row, 0]), float(boxes[row, 1]), float(boxes[row, 2]), float(boxes[row, 3]))
        motion[LAST_SCORE, slot] = scores[row]
        facts[ID, slot] = counts[LAST_ID]
        facts[KIND, slot] = classes[row]
        facts[STARTED_NS, slot] = pts_ns
        facts[MATCHED_NS, slot] = pts_ns
        facts[STATE, slot] = CONFIRMED if counts[N_UPDATES] == 0 else TENTATIVE
        facts[EXPIRED, slot] = 0
        facts[ROW, slot] = row
        lists[BORN, n_born] = slot
        n_born += 1
    counts[N_BORN] = n_born


@kernel
def _free(facts: Int64Array, lists: Int64Array, counts: Int64Array, slot: int, believed: bool) -> None:
    if believed:
        lists[OUT_ENDED, counts[N_ENDED]] = facts[ID, slot]
        counts[N_ENDED] += 1
    lists[FREE_SLOTS, counts[N_FREE]] = slot
    counts[N_FREE] += 1


@kernel
def _rebuild_lists(facts: Int64Array, lists: Int64Array, counts: Int64Array, pts_ns: int, max_lost_ns: int) -> None:
    n = 0
    for k in range(counts[N_TRACKED]):
        slot = lists[TRACKED_SLOTS, k]
        if facts[STATE, slot] == GONE:
            _free(facts, lists, counts, slot, False)
        elif facts[STATE, slot] != LOST:
            lists[TRACKED_SLOTS, n] = slot
            n += 1
    for k in range(counts[N_BORN]):
        lists[TRACKED_SLOTS, n] = lists[BORN, k]
        n += 1
    for k in range(counts[N_REFOUND]):
        lists[TRACKED_SLOTS, n] = lists[REFOUND, k]
        n += 1
    counts[N_TRACKED] = n

    n = 0
    for k in range(counts[N_LOST]):
        slot = lists[LOST_SLOTS, k]
        if facts[STATE, slot] != LOST:  # found again
            continue
        if facts[EXPIRED, slot]:
            _free(facts, lists, counts, slot, True)
            continue
        if pts_ns - facts[MATCHED_NS, slot] > max_lost_ns:
            facts[EXPIRED, slot] = 1
        lists[LOST_SLOTS, n] = slot
        n += 1
    for k in range(counts[N_NEWLY_LOST]):
        slot = lists[NEWLY_LOST, k]
        if facts[EXPIRED, slot]:  # it had been found again at the last moment, and gets no second chance
            _free(facts, lists, counts, slot, True)
        else:
            lists[LOST_SLOTS, n] = slot
            n += 1
    counts[N_LOST] = n


@kernel
def _remove_duplicates(
    motion: Float64Array,
    facts: Int64Array,
    lists: Int64Array,
    counts: Int64Array,
    tables: Float64Array,
    pair_right: Int64Array,
    pair_cost: Float64Array,
) -> tuple[Int64Array, Float64Array]:
    # Of a tracked and a lost track in the same place the one that lived longer stays; the lost one where they are even.
    n_tracked, n_lost = counts[N_TRACKED], counts[N_LOST]
    if n_tracked == 0 or n_lost == 0:
        return pair_right, pair_cost
    for i in range(n_tracked):
        _put_track(tables[LEFT_BOXES], i, motion, facts, lists[TRACKED_SLOTS, i])
        lists[TO_RIGHT, i] = 0
    for j in range(n_lost):
        _put_track(tables[RIGHT_BOXES], j, motion, facts, lists[LOST_SLOTS, j])
        lists[TO_LEFT, j] = 0
    pair_right, pair_cost = find_pairs(
        tables[LEFT_BOXES],
        n_tracked,
        tables[RIGHT_BOXES],
        n_lost,
        DUPLICATE_LIMIT,
        False,
        tables[SORTED_BOXES],
        lists[ORDER],
        lists[CELL_OF],
        lists[CELL_START],
        lists[ROW_START],
        pair_right,
        pair_cost,
    )
    if lists[ROW_START, n_tracked] == 0:
        return pair_right, pair_cost
    for i in range(n_tracked):
        p = lists[TRACKED_SLOTS, i]
        for e in range(lists[ROW_START, i], lists[ROW_START, i + 1]):
            q = lists[LOST_SLOTS, pair_right[e]]
            if facts[MATCHED_NS, p] - facts[STARTED_NS, p] > facts[MATCHED_NS, q] - facts[STARTED_NS, q]:
                lists[TO_LEFT, pair_right[e]] = 1
            else:
                lists[TO_RIGHT, i] = 1
    counts[N_TRACKED] = _keep(facts, lists, counts, lists[TRACKED_SLOTS], lists[TO_RIGHT], n_tracked)
    counts[N_LOST] = _keep(facts, lists, counts, lists[LOST_SLOTS], lists[TO_LEFT], n_lost)
    return pair_right, pair_cost


@kernel
def _keep(facts: Int64Array, lists: Int64Array, counts: Int64Array, slots: Int64Array, drop: Int64Array, n: int) -> int:
    kept = 0
    for i in range(n):
        if drop[i]:
            _free(facts, lists, counts, slots[i], facts[STATE, slots[i]] != TENTATIVE)
        else:
            slots[kept] = slots[i]
            kept += 1
    return kept


@kernel
def _write(
    motion: Float64Array,
    facts: Int64Array,
    lists: Int64Array,
    counts: Int64Array,
    out_boxes: Float32Array,
    out_scores: Float32Array,
    out_classes: Int32Array,
    out_states: UInt8Array,
    out_rows: Int32Array,
) -> int:
    n_tracked = counts[N_TRACKED]
    n = n_tracked + counts[N_LOST]
    for k in range(n):
        slot = lists[TRACKED_SLOTS, k] if k < n_tracked else lists[LOST_SLOTS, k - n_tracked]
        height = motion[HEIGHT, slot]
        width = motion[ASPECT, slot] * height
        x0, y0 = motion[CX, slot] - width / 2.0, motion[CY, slot] - height / 2.0
        out_boxes[k, 0] = x0
        out_boxes[k, 1] = y0
        out_boxes[k, 2] = x0 + width
        out_boxes[k, 3] = y0 + height
        out_scores[k] = motion[LAST_SCORE, slot]
        out_classes[k] = facts[KIND, slot]
        out_states[k] = facts[STATE, slot]
        out_rows[k] = facts[ROW, slot]
        lists[OUT_IDS, k] = facts[ID, slot]
    return n


@kernel
def update(
    motion: Float64Array,
    facts: Int64Array,
    lists: Int64Array,
    counts: Int64Array,
    tables: Float64Array,
    pair_right: Int64Array,
    pair_cost: Float64Array,
    limits: Float64Array,
    out_boxes: Float32Array,
    out_scores: Float32Array,
    out_classes: Int32Array,
    out_states: UInt8Array,
    out_rows: Int32Array,
    boxes: Float32Array,
    scores: Float32Array,
    classes: Int32Array,
    pts_ns: int,
    dt: float,
    max_lost_ns: int,
) -> tuple[int, int, int]:
    """Take one frame's detections into the state; the layout of the arrays is given at the top of this module.

    Args:
        motion: state.
        facts: state.
        lists: state and scratch; ids and ended ids come out here.
        counts: state.
        tables: scratch.
        pair_right: scratch, any length.
        pair_cost: scratch, of the same length.
        limits: the five thresholds.
        out_boxes: (capacity, 4).
        out_scores: (capacity,).
        out_classes: (capacity,).
        out_states: (capacity,).
        out_rows: (capacity,).
        boxes: (N, 4) x0 y0 x1 y1 px.
        scores: (N,).
        classes: (N,).
        pts_ns: time of the frame, later than that of the update before.
        dt: how far to move the tracks, in updates.
        max_lost_ns: lifetime of a lost track.

    Returns:
        How many tracks are alive, how many ended, and how many pairs there was room for in the end; or -1, the first
        bad row of the detections, and 0, with the state as it was. The capacity must be at least the live tracks
        before plus N.
    """
    bad = first_bad_row(boxes, scores)
    if bad >= 0:
        return -1, bad, 0
    counts[N_ENDED] = 0
    _split(boxes, scores, limits, lists, counts)
    pair_right, pair_cost = _match_pool(
        motion, facts, lists, counts, tables, pair_right, pair_cost, limits, boxes, scores, classes, pts_ns, dt
    )
    pair_right, pair_cost = _match_tentative(
        motion, facts, lists, counts, tables, pair_right, pair_cost, limits, boxes, scores, classes, pts_ns
    )
    _give_birth(motion, facts, lists, counts, limits, boxes, scores, classes, pts_ns)
    _rebuild_lists(facts, lists, counts, pts_ns, max_lost_ns)
    pair_right, pair_cost = _remove_duplicates(motion, facts, lists, counts, tables, pair_right, pair_cost)
    n = _write(motion, facts, lists, counts, out_boxes, out_scores, out_classes, out_states, out_rows)
    counts[N_UPDATES] += 1
    return n, counts[N_ENDED], len(pair_cost)
