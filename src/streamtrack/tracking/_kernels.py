"""One update of ByteTrack (Zhang et al., ECCV 2022), with the habits of its official code, over arrays.

A track lives in one column, its *slot*, of ``motion`` and ``facts`` from birth to end; then the slot is used again.
Which slots are alive and in which order is kept in the rows TRACKED and LOST of ``lists``, with their lengths in
``counts``. The order is that of the official lists: it decides which of two equally good matches is taken.
"""

from __future__ import annotations

import numpy as np

from streamtrack.tracking._association import (
    CLASS,
    LEFT_BOXES,
    RIGHT_BOXES,
    ROW_START,
    SCORE,
    TO_LEFT,
    TO_RIGHT,
    Float64Array,
    Int64Array,
    assign,
    find_pairs,
    put_box,
)
from streamtrack.tracking._jit import inlined, kernel
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
SHOWN = 7  # 1 once an update has shown the track as confirmed: its end will be told
FACT_ROWS = 8

GONE = 3

# ``lists``: int64 (LIST_ROWS, capacity). The first three last from update to update.
TRACKED_SLOTS, LOST_SLOTS, FREE_SLOTS = 0, 1, 2
NEWLY_LOST, REFOUND, BORN = 3, 4, 5  # slots
HIGH, LOW = 6, 7  # rows of the detections
LEFT = 8  # slots that take part in an association
OUT_IDS, OUT_ENDED = 9, 10
LIST_ROWS = 11

# ``counts``: int64 (COUNT_ROWS,). Counting in an array also gives every count one type: numba would compile an
# association once more for a count that is 0 on some path.
N_TRACKED, N_LOST, N_FREE, N_UPDATES, LAST_ID = 0, 1, 2, 3, 4
N_IGNORED = 5  # detections without area so far
N_HIGH, N_LOW, N_LEFT, N_NEWLY_LOST, N_REFOUND, N_BORN, N_ENDED = 6, 7, 8, 9, 10, 11, 12
COUNT_ROWS = 13

# ``limits``: float64 (LIMIT_ROWS,): thresholds of scores; for each round of matching the largest cost, and whether the
# score is part of it.
HIGH_THRESH, NEW_THRESH, LOW_THRESH = 0, 1, 2
FIRST, SECOND, UNSURE, DUPLICATES = 3, 4, 5, 6
FUSED = 4  # limits[FUSED + round] is 1 or 0
LIMIT_ROWS = 11


@inlined
def first_bad_row(boxes: Float32Array, scores: Float32Array) -> int:
    """Return the first row whose box is not finite or inside out or whose score is not in 0..1, or -1."""
    for i in range(len(scores)):
        x0, y0, x1, y1 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
        ordered = -np.inf < x0 <= x1 < np.inf and -np.inf < y0 <= y1 < np.inf
        if not (ordered and 0.0 <= scores[i] <= 1.0):
            return i
    return -1


@inlined
def _split(
    boxes: Float32Array, scores: Float32Array, limits: Float64Array, lists: Int64Array, counts: Int64Array
) -> None:
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


@inlined
def _put_track(tables: Float64Array, side: int, i: int, motion: Float64Array, facts: Int64Array, slot: int) -> None:
    height = motion[HEIGHT, slot]
    width = motion[ASPECT, slot] * height
    x0, y0 = motion[CX, slot] - width / 2.0, motion[CY, slot] - height / 2.0
    put_box(tables, side, i, x0, y0, x0 + width, y0 + height)
    tables[side, CLASS, i] = facts[KIND, slot]


@inlined
def _put_detections(
    tables: Float64Array,
    lists: Int64Array,
    part: int,
    n: int,
    boxes: Float32Array,
    scores: Float32Array,
    classes: Int32Array,
) -> None:
    for j in range(n):
        row = lists[part, j]
        x0, y0, x1, y1 = float(boxes[row, 0]), float(boxes[row, 1]), float(boxes[row, 2]), float(boxes[row, 3])
        put_box(tables, RIGHT_BOXES, j, x0, y0, x1, y1)
        tables[RIGHT_BOXES, SCORE, j] = scores[row]
        tables[RIGHT_BOXES, CLASS, j] = classes[row]


@inlined
def _associate(
    tables: Float64Array,
    links: Int64Array,
    n_left: int,
    n_right: int,
    limit: float,
    fuse_score: bool,
    pair_right: Int64Array,
    pair_cost: Float64Array,
) -> tuple[Int64Array, Float64Array]:
    if n_left > 0 and n_right > 0:
        pair_right, pair_cost = find_pairs(tables, links, n_left, n_right, limit, fuse_score, pair_right, pair_cost)
        assign(tables, links, n_left, n_right, limit, pair_right, pair_cost)
    else:
        for i in range(n_left):
            links[TO_RIGHT, i] = -1
        for j in range(n_right):
            links[TO_LEFT, j] = -1
    return pair_right, pair_cost


@inlined
def _keep_unmatched(lists: Int64Array, counts: Int64Array, links: Int64Array) -> None:
    # Of the strong detections, those that no track has taken.
    n = 0
    for j in range(counts[N_HIGH]):
        if links[TO_LEFT, j] < 0:
            lists[HIGH, n] = lists[HIGH, j]
            n += 1
    counts[N_HIGH] = n


@inlined
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


@inlined
def _gather_pool(
    motion: Float64Array, facts: Int64Array, lists: Int64Array, counts: Int64Array, tables: Float64Array, dt: float
) -> None:
    # Confirmed and lost tracks, where they should be by now.
    n = 0
    for k in range(counts[N_TRACKED] + counts[N_LOST]):
        slot = lists[TRACKED_SLOTS, k] if k < counts[N_TRACKED] else lists[LOST_SLOTS, k - counts[N_TRACKED]]
        if facts[STATE, slot] == TENTATIVE:
            continue
        if facts[STATE, slot] == LOST:
            motion[HEIGHT_SPEED, slot] = 0.0
        predict(motion, slot, dt)
        lists[LEFT, n] = slot
        _put_track(tables, LEFT_BOXES, n, motion, facts, slot)
        n += 1
    counts[N_LEFT] = n


@inlined
def _take_first(
    motion: Float64Array,
    facts: Int64Array,
    lists: Int64Array,
    counts: Int64Array,
    tables: Float64Array,
    links: Int64Array,
    boxes: Float32Array,
    scores: Float32Array,
    classes: Int32Array,
    pts_ns: int,
) -> None:
    # Match what was associated with strong detections; the confirmed tracks left over are the next round's left side.
    n, n_refound = 0, 0
    for i in range(counts[N_LEFT]):
        slot, j = lists[LEFT, i], links[TO_RIGHT, i]
        if j >= 0:
            if facts[STATE, slot] == LOST:
                lists[REFOUND, n_refound] = slot
                n_refound += 1
            _match(motion, facts, slot, lists[HIGH, j], boxes, scores, classes, pts_ns)
        elif facts[STATE, slot] == CONFIRMED:
            lists[LEFT, n] = slot
            _put_track(tables, LEFT_BOXES, n, motion, facts, slot)
            n += 1
    counts[N_LEFT], counts[N_REFOUND] = n, n_refound
    _keep_unmatched(lists, counts, links)


@inlined
def _take_second(
    motion: Float64Array,
    facts: Int64Array,
    lists: Int64Array,
    counts: Int64Array,
    links: Int64Array,
    boxes: Float32Array,
    scores: Float32Array,
    classes: Int32Array,
    pts_ns: int,
) -> None:
    # Match what was associated with weak detections; the confirmed tracks left over are lost.
    n = 0
    for i in range(counts[N_LEFT]):
        slot, j = lists[LEFT, i], links[TO_RIGHT, i]
        if j >= 0:
            _match(motion, facts, slot, lists[LOW, j], boxes, scores, classes, pts_ns)
        else:
            facts[STATE, slot] = LOST
            facts[ROW, slot] = -1
            lists[NEWLY_LOST, n] = slot
            n += 1
    counts[N_NEWLY_LOST] = n


@inlined
def _gather_unsure(
    motion: Float64Array, facts: Int64Array, lists: Int64Array, counts: Int64Array, tables: Float64Array
) -> None:
    # Tracks seen once, where they were seen.
    n = 0
    for k in range(counts[N_TRACKED]):
        slot = lists[TRACKED_SLOTS, k]
        if facts[STATE, slot] == TENTATIVE:
            lists[LEFT, n] = slot
            _put_track(tables, LEFT_BOXES, n, motion, facts, slot)
            n += 1
    counts[N_LEFT] = n


@inlined
def _take_unsure(
    motion: Float64Array,
    facts: Int64Array,
    lists: Int64Array,
    counts: Int64Array,
    links: Int64Array,
    boxes: Float32Array,
    scores: Float32Array,
    classes: Int32Array,
    pts_ns: int,
) -> None:
    # Matched now or gone.
    for i in range(counts[N_LEFT]):
        slot, j = lists[LEFT, i], links[TO_RIGHT, i]
        if j >= 0:
            _match(motion, facts, slot, lists[HIGH, j], boxes, scores, classes, pts_ns)
        else:
            facts[STATE, slot] = GONE
    _keep_unmatched(lists, counts, links)


@inlined
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
        facts[SHOWN, slot] = 0
        facts[ROW, slot] = row
        lists[BORN, n_born] = slot
        n_born += 1
    counts[N_BORN] = n_born


@inlined
def _free(facts: Int64Array, lists: Int64Array, counts: Int64Array, slot: int) -> None:
    if facts[SHOWN, slot]:
        lists[OUT_ENDED, counts[N_ENDED]] = facts[ID, slot]
        counts[N_ENDED] += 1
    lists[FREE_SLOTS, counts[N_FREE]] = slot
    counts[N_FREE] += 1


@inlined
def _rebuild_lists(facts: Int64Array, lists: Int64Array, counts: Int64Array, pts_ns: int, max_lost_ns: int) -> None:
    n = 0
    for k in range(counts[N_TRACKED]):
        slot = lists[TRACKED_SLOTS, k]
        if facts[STATE, slot] == GONE:
            _free(facts, lists, counts, slot)
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
            _free(facts, lists, counts, slot)
            continue
        if pts_ns - facts[MATCHED_NS, slot] > max_lost_ns:
            facts[EXPIRED, slot] = 1
        lists[LOST_SLOTS, n] = slot
        n += 1
    for k in range(counts[N_NEWLY_LOST]):
        slot = lists[NEWLY_LOST, k]
        if facts[EXPIRED, slot]:  # it had been found again at the last moment, and gets no second chance
            _free(facts, lists, counts, slot)
        else:
            lists[LOST_SLOTS, n] = slot
            n += 1
    counts[N_LOST] = n


@inlined
def _remove_duplicates(
    motion: Float64Array,
    facts: Int64Array,
    lists: Int64Array,
    counts: Int64Array,
    limits: Float64Array,
    tables: Float64Array,
    links: Int64Array,
    pair_right: Int64Array,
    pair_cost: Float64Array,
) -> tuple[Int64Array, Float64Array]:
    # Of a tracked and a lost track in the same place stays the one that lived longer; the lost one where they are even.
    n_tracked, n_lost = counts[N_TRACKED], counts[N_LOST]
    if n_tracked == 0 or n_lost == 0:
        return pair_right, pair_cost
    for i in range(n_lost):
        _put_track(tables, LEFT_BOXES, i, motion, facts, lists[LOST_SLOTS, i])
        links[TO_RIGHT, i] = 0
    for j in range(n_tracked):
        _put_track(tables, RIGHT_BOXES, j, motion, facts, lists[TRACKED_SLOTS, j])
        links[TO_LEFT, j] = 0
    pair_right, pair_cost = find_pairs(
        tables, links, n_lost, n_tracked, limits[DUPLICATES], limits[FUSED + DUPLICATES] > 0.0, pair_right, pair_cost
    )
    if links[ROW_START, n_lost] == 0:
        return pair_right, pair_cost
    for i in range(n_lost):
        lost = lists[LOST_SLOTS, i]
        for e in range(links[ROW_START, i], links[ROW_START, i + 1]):
            seen = lists[TRACKED_SLOTS, pair_right[e]]
            if pair_cost[e] == limits[DUPLICATES]:
                continue
            if facts[MATCHED_NS, seen] - facts[STARTED_NS, seen] > facts[MATCHED_NS, lost] - facts[STARTED_NS, lost]:
                links[TO_RIGHT, i] = 1
            else:
                links[TO_LEFT, pair_right[e]] = 1
    counts[N_LOST] = _keep(facts, lists, counts, links, LOST_SLOTS, TO_RIGHT, n_lost)
    counts[N_TRACKED] = _keep(facts, lists, counts, links, TRACKED_SLOTS, TO_LEFT, n_tracked)
    return pair_right, pair_cost


@inlined
def _keep(
    facts: Int64Array, lists: Int64Array, counts: Int64Array, links: Int64Array, which: int, drop: int, n: int
) -> int:
    kept = 0
    for i in range(n):
        slot = lists[which, i]
        if links[drop, i]:
            _free(facts, lists, counts, slot)
        else:
            lists[which, kept] = slot
            kept += 1
    return kept


@inlined
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
    n = int(n_tracked + counts[N_LOST])
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
        if facts[STATE, slot] != TENTATIVE:
            facts[SHOWN, slot] = 1
        lists[OUT_IDS, k] = facts[ID, slot]
    return n


@kernel
def update(
    motion: Float64Array,
    facts: Int64Array,
    lists: Int64Array,
    counts: Int64Array,
    tables: Float64Array,
    links: Int64Array,
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
        tables: scratch, see ``_association``.
        links: scratch, see ``_association``.
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

    _gather_pool(motion, facts, lists, counts, tables, dt)
    _put_detections(tables, lists, HIGH, counts[N_HIGH], boxes, scores, classes)
    n_left, n_right, fuse = counts[N_LEFT], counts[N_HIGH], limits[FUSED + FIRST] > 0.0
    pair_right, pair_cost = _associate(tables, links, n_left, n_right, limits[FIRST], fuse, pair_right, pair_cost)
    _take_first(motion, facts, lists, counts, tables, links, boxes, scores, classes, pts_ns)

    _put_detections(tables, lists, LOW, counts[N_LOW], boxes, scores, classes)
    n_left, n_right, fuse = counts[N_LEFT], counts[N_LOW], limits[FUSED + SECOND] > 0.0
    pair_right, pair_cost = _associate(tables, links, n_left, n_right, limits[SECOND], fuse, pair_right, pair_cost)
    _take_second(motion, facts, lists, counts, links, boxes, scores, classes, pts_ns)

    _gather_unsure(motion, facts, lists, counts, tables)
    _put_detections(tables, lists, HIGH, counts[N_HIGH], boxes, scores, classes)
    n_left, n_right, fuse = counts[N_LEFT], counts[N_HIGH], limits[FUSED + UNSURE] > 0.0
    pair_right, pair_cost = _associate(tables, links, n_left, n_right, limits[UNSURE], fuse, pair_right, pair_cost)
    _take_unsure(motion, facts, lists, counts, links, boxes, scores, classes, pts_ns)

    _give_birth(motion, facts, lists, counts, limits, boxes, scores, classes, pts_ns)
    _rebuild_lists(facts, lists, counts, pts_ns, max_lost_ns)
    pair_right, pair_cost = _remove_duplicates(
        motion, facts, lists, counts, limits, tables, links, pair_right, pair_cost
    )
    n = _write(motion, facts, lists, counts, out_boxes, out_scores, out_classes, out_states, out_rows)
    counts[N_UPDATES] += 1
    return n, int(counts[N_ENDED]), len(pair_cost)
