"""One update of ByteTrack (Zhang et al., ECCV 2022), with the habits of its official code, over arrays.

How the arrays are laid out is told in ``_state``. The order of the lists of tracks is that of the official ones.
"""

from __future__ import annotations

from streamtrack.tracking._association import LEFT_BOXES, TO_RIGHT, Float64Array, Int64Array
from streamtrack.tracking._jit import inlined, kernel
from streamtrack.tracking._kalman import HEIGHT_SPEED, correct, predict, start
from streamtrack.tracking._state import (
    ANY_CLASS,
    BORN,
    EXPIRED,
    FUSE_SCORE,
    GONE,
    HALF_PX,
    HIGH,
    LEFT,
    LOST_SLOTS,
    LOW,
    MATCH_THRESH,
    MATCHED_NS,
    N_BORN,
    N_ENDED,
    N_HIGH,
    N_LEFT,
    N_LOST,
    N_LOW,
    N_NEWLY_LOST,
    N_REFOUND,
    N_TRACKED,
    N_UPDATES,
    NEWLY_LOST,
    REFOUND,
    ROW,
    STATE,
    TRACKED_SLOTS,
    associate,
    claim,
    end_shot,
    first_bad_row,
    free,
    give_birth,
    keep_unmatched,
    put_detections,
    put_track,
    remove_duplicates,
    split,
    write,
)
from streamtrack.types import CONFIRMED, LOST, TENTATIVE, Float32Array, Int32Array, UInt8Array

SECOND_LIMIT, UNSURE_LIMIT = 0.5, 0.7
"""Largest costs of the second association and of that with tracks seen once: the official ones."""


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
    claim(motion, facts, slot, row, scores, classes, pts_ns)
    facts[STATE, slot] = CONFIRMED


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
        put_track(tables, LEFT_BOXES, n, motion, facts, slot, HALF_PX)
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
            put_track(tables, LEFT_BOXES, n, motion, facts, slot, HALF_PX)
            n += 1
    counts[N_LEFT], counts[N_REFOUND] = n, n_refound
    keep_unmatched(lists, counts, links)


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
            put_track(tables, LEFT_BOXES, n, motion, facts, slot, HALF_PX)
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
    keep_unmatched(lists, counts, links)


@inlined
def _rebuild_lists(facts: Int64Array, lists: Int64Array, counts: Int64Array, pts_ns: int, max_lost_ns: int) -> None:
    n = 0
    for k in range(counts[N_TRACKED]):
        slot = lists[TRACKED_SLOTS, k]
        if facts[STATE, slot] == GONE:
            free(facts, lists, counts, slot)
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
            free(facts, lists, counts, slot)
            continue
        if pts_ns - facts[MATCHED_NS, slot] > max_lost_ns:
            facts[EXPIRED, slot] = 1
        lists[LOST_SLOTS, n] = slot
        n += 1
    for k in range(counts[N_NEWLY_LOST]):
        slot = lists[NEWLY_LOST, k]
        if facts[EXPIRED, slot]:  # it had been found again at the last moment, and gets no second chance
            free(facts, lists, counts, slot)
        else:
            lists[LOST_SLOTS, n] = slot
            n += 1
    counts[N_LOST] = n


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
    """Take one frame's detections into the state; the layout of the arrays is given in ``_state``.

    Args:
        motion: state.
        facts: state.
        lists: state and scratch; ids and ended ids come out here.
        counts: state.
        tables: scratch, see ``_association``.
        links: scratch, see ``_association``.
        pair_right: scratch, any length.
        pair_cost: scratch, of the same length.
        limits: thresholds and switches.
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
    end_shot(facts, lists, counts)
    split(boxes, scores, limits, lists, counts)
    fuse, any_class = limits[FUSE_SCORE] > 0.0, limits[ANY_CLASS] > 0.0

    _gather_pool(motion, facts, lists, counts, tables, dt)
    put_detections(tables, lists, HIGH, counts[N_HIGH], boxes, scores, classes)
    n_left, n_right, limit = counts[N_LEFT], counts[N_HIGH], limits[MATCH_THRESH]
    pair_right, pair_cost = associate(
        tables, links, n_left, n_right, limit, fuse, any_class, 0.0, pair_right, pair_cost
    )
    _take_first(motion, facts, lists, counts, tables, links, boxes, scores, classes, pts_ns)

    put_detections(tables, lists, LOW, counts[N_LOW], boxes, scores, classes)
    n_left, n_right = counts[N_LEFT], counts[N_LOW]
    pair_right, pair_cost = associate(
        tables, links, n_left, n_right, SECOND_LIMIT, False, any_class, 0.0, pair_right, pair_cost
    )
    _take_second(motion, facts, lists, counts, links, boxes, scores, classes, pts_ns)

    _gather_unsure(motion, facts, lists, counts, tables)
    put_detections(tables, lists, HIGH, counts[N_HIGH], boxes, scores, classes)
    n_left, n_right = counts[N_LEFT], counts[N_HIGH]
    pair_right, pair_cost = associate(
        tables, links, n_left, n_right, UNSURE_LIMIT, fuse, any_class, 0.0, pair_right, pair_cost
    )
    _take_unsure(motion, facts, lists, counts, links, boxes, scores, classes, pts_ns)

    give_birth(motion, facts, lists, counts, limits, scores, classes, pts_ns)
    for k in range(counts[N_BORN]):
        slot = lists[BORN, k]
        row = facts[ROW, slot]
        start(motion, slot, float(boxes[row, 0]), float(boxes[row, 1]), float(boxes[row, 2]), float(boxes[row, 3]))
    _rebuild_lists(facts, lists, counts, pts_ns, max_lost_ns)
    pair_right, pair_cost = remove_duplicates(
        motion, facts, lists, counts, limits, tables, links, HALF_PX, pair_right, pair_cost
    )
    n = write(motion, facts, lists, counts, limits, boxes, out_boxes, out_scores, out_classes, out_states, out_rows)
    counts[N_UPDATES] += 1
    return n, int(counts[N_ENDED]), len(pair_cost)
