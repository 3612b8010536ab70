"""One update of the tracker that measures time: ByteTrack's idea, with elapsed seconds where it counts updates.

Each track is matched with a tolerance that grows with the uncertainty of its own prediction (``_motion``): both boxes
of a pair are grown by a multiple of the standard deviation before their IoU is taken. Weak detections have no such
tolerance. How the arrays are laid out is told in ``_state``.
"""

from __future__ import annotations

from streamtrack.tracking._association import LEFT_BOXES, RIGHT_BOXES, TO_RIGHT, Float64Array, Int64Array
from streamtrack.tracking._jit import inlined, kernel
from streamtrack.tracking._motion import correct, fade, predict, spread, start
from streamtrack.tracking._state import (
    ANY_CLASS,
    BELIEVED_NS,
    BORN,
    FUSE_SCORE,
    GONE,
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
    N_TRACKED,
    N_UPDATES,
    NEWLY_LOST,
    ROW,
    STARTED_NS,
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
    put_log_heights,
    put_track,
    remove_duplicates,
    split,
    write,
)
from streamtrack.types import CONFIRMED, LOST, TENTATIVE, Float32Array, Int32Array, UInt8Array

GROWTH = 0.6
"""How far the boxes of a track and a strong detection are grown, in standard deviations of the prediction."""
WEAK_LIMIT = 0.5
"""Largest cost of a match with a weak detection, with boxes as they are: the official one."""
TENTATIVE_LIMIT = 0.6
"""Largest cost of a match with a tentative track; the official one is 0.7, without growth."""
HEIGHT_COST = 0.05
"""What it costs when one box is e times as tall as the other: of two people in one place the one of the right size."""
CONFIRMED_AFTER_NS = 149_000_000
"""A tentative track that is matched again at this age is believed: 0.15 s, less what a rounded time stamp may lack."""


@inlined
def _predict_all(
    motion: Float64Array, facts: Int64Array, lists: Int64Array, counts: Int64Array, dt: float, tentative: bool
) -> None:
    # LEFT becomes the tentative tracks, or all others; they are moved to where they should be by now.
    n = 0
    for k in range(counts[N_TRACKED] + counts[N_LOST]):
        slot = lists[TRACKED_SLOTS, k] if k < counts[N_TRACKED] else lists[LOST_SLOTS, k - counts[N_TRACKED]]
        if (facts[STATE, slot] == TENTATIVE) != tentative:
            continue
        if facts[STATE, slot] == LOST:
            fade(motion, slot, dt)
        predict(motion, slot, dt)
        lists[LEFT, n] = slot
        n += 1
    counts[N_LEFT] = n


@inlined
def _put_sides(
    motion: Float64Array,
    facts: Int64Array,
    lists: Int64Array,
    counts: Int64Array,
    tables: Float64Array,
    growth: float,
    part: int,
    n_right: int,
    boxes: Float32Array,
    scores: Float32Array,
    classes: Int32Array,
) -> None:
    for i in range(counts[N_LEFT]):
        slot = lists[LEFT, i]
        put_track(tables, LEFT_BOXES, i, motion, facts, slot, growth * spread(motion, slot))
    put_detections(tables, lists, part, n_right, boxes, scores, classes)
    put_log_heights(tables, LEFT_BOXES, counts[N_LEFT])
    put_log_heights(tables, RIGHT_BOXES, n_right)


@inlined
def _take(
    motion: Float64Array,
    facts: Int64Array,
    lists: Int64Array,
    counts: Int64Array,
    limits: Float64Array,
    links: Int64Array,
    part: int,
    boxes: Float32Array,
    scores: Float32Array,
    classes: Int32Array,
    pts_ns: int,
) -> None:
    # Match what was associated; LEFT and the strong detections become what is left of them.
    n = 0
    for i in range(counts[N_LEFT]):
        slot, j = lists[LEFT, i], links[TO_RIGHT, i]
        if j < 0:
            lists[LEFT, n] = slot
            n += 1
            continue
        row = lists[part, j]
        correct(motion, slot, float(boxes[row, 0]), float(boxes[row, 1]), float(boxes[row, 2]), float(boxes[row, 3]))
        claim(motion, facts, slot, row, scores, classes, pts_ns)
        if facts[STATE, slot] != TENTATIVE or pts_ns - facts[STARTED_NS, slot] >= limits[BELIEVED_NS]:
            facts[STATE, slot] = CONFIRMED
    counts[N_LEFT] = n
    if part == HIGH:
        keep_unmatched(lists, counts, links)


@inlined
def _leave(facts: Int64Array, lists: Int64Array, counts: Int64Array, state: int) -> None:
    for i in range(counts[N_LEFT]):
        facts[STATE, lists[LEFT, i]] = state
        facts[ROW, lists[LEFT, i]] = -1


@inlined
def _rebuild_lists(facts: Int64Array, lists: Int64Array, counts: Int64Array, pts_ns: int, max_lost_ns: int) -> None:
    # In sight: as before, then those found again, then those just born. Lost: as before, then those lost just now.
    n, n_newly_lost = 0, 0
    for k in range(counts[N_TRACKED]):
        slot = lists[TRACKED_SLOTS, k]
        if facts[STATE, slot] == GONE:
            free(facts, lists, counts, slot)
        elif facts[STATE, slot] == LOST:
            lists[NEWLY_LOST, n_newly_lost] = slot
            n_newly_lost += 1
        else:
            lists[TRACKED_SLOTS, n] = slot
            n += 1
    n_lost = 0
    for k in range(counts[N_LOST]):
        slot = lists[LOST_SLOTS, k]
        if facts[STATE, slot] != LOST:
            lists[TRACKED_SLOTS, n] = slot
            n += 1
        else:
            lists[LOST_SLOTS, n_lost] = slot
            n_lost += 1
    for k in range(counts[N_BORN]):
        lists[TRACKED_SLOTS, n] = lists[BORN, k]
        n += 1
    for k in range(n_newly_lost):
        lists[LOST_SLOTS, n_lost] = lists[NEWLY_LOST, k]
        n_lost += 1
    counts[N_TRACKED], counts[N_LOST], counts[N_NEWLY_LOST] = n, 0, n_newly_lost
    for k in range(n_lost):
        slot = lists[LOST_SLOTS, k]
        if pts_ns - facts[MATCHED_NS, slot] > max_lost_ns:
            free(facts, lists, counts, slot)
        else:
            lists[LOST_SLOTS, counts[N_LOST]] = slot
            counts[N_LOST] += 1


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
    """Take one frame's detections into the state; arguments and results are those of ``_reference.update``.

    But for ``dt``: here it is in seconds.
    """
    bad = first_bad_row(boxes, scores)
    if bad >= 0:
        return -1, bad, 0
    counts[N_ENDED] = 0
    end_shot(facts, lists, counts)
    split(boxes, scores, limits, lists, counts)
    fuse, any_class = limits[FUSE_SCORE] > 0.0, limits[ANY_CLASS] > 0.0

    _predict_all(motion, facts, lists, counts, dt, False)
    n_left, n_right, limit = counts[N_LEFT], counts[N_HIGH], limits[MATCH_THRESH]
    _put_sides(motion, facts, lists, counts, tables, GROWTH, HIGH, n_right, boxes, scores, classes)
    pair_right, pair_cost = associate(
        tables, links, n_left, n_right, limit, fuse, any_class, HEIGHT_COST, pair_right, pair_cost
    )
    _take(motion, facts, lists, counts, limits, links, HIGH, boxes, scores, classes, pts_ns)

    n_left, n_right = counts[N_LEFT], counts[N_LOW]
    _put_sides(motion, facts, lists, counts, tables, 0.0, LOW, n_right, boxes, scores, classes)
    pair_right, pair_cost = associate(
        tables, links, n_left, n_right, WEAK_LIMIT, False, any_class, HEIGHT_COST, pair_right, pair_cost
    )
    _take(motion, facts, lists, counts, limits, links, LOW, boxes, scores, classes, pts_ns)
    _leave(facts, lists, counts, LOST)

    _predict_all(motion, facts, lists, counts, dt, True)
    n_left, n_right = counts[N_LEFT], counts[N_HIGH]
    _put_sides(motion, facts, lists, counts, tables, GROWTH, HIGH, n_right, boxes, scores, classes)
    pair_right, pair_cost = associate(
        tables, links, n_left, n_right, TENTATIVE_LIMIT, fuse, any_class, HEIGHT_COST, pair_right, pair_cost
    )
    _take(motion, facts, lists, counts, limits, links, HIGH, boxes, scores, classes, pts_ns)
    _leave(facts, lists, counts, GONE)

    give_birth(motion, facts, lists, counts, limits, scores, classes, pts_ns)
    for k in range(counts[N_BORN]):
        slot = lists[BORN, k]
        row = facts[ROW, slot]
        start(motion, slot, float(boxes[row, 0]), float(boxes[row, 1]), float(boxes[row, 2]), float(boxes[row, 3]))
    _rebuild_lists(facts, lists, counts, pts_ns, max_lost_ns)
    pair_right, pair_cost = remove_duplicates(
        motion, facts, lists, counts, limits, tables, links, 0.0, pair_right, pair_cost
    )
    n = write(motion, facts, lists, counts, limits, boxes, out_boxes, out_scores, out_classes, out_states, out_rows)
    counts[N_UPDATES] += 1
    return n, int(counts[N_ENDED]), len(pair_cost)
