"""What both ways to track have in common: how tracks are kept in arrays, and what happens to them whatever moves them.

A track lives in one column, its *slot*, of ``motion`` and ``facts`` from birth to end; then the slot is used again.
Which slots are alive and in which order is kept in the rows TRACKED_SLOTS and LOST_SLOTS of ``lists``, with their
lengths in ``counts``. The order decides which of two equally good matches is taken.
"""

from __future__ import annotations

import numpy as np

from streamtrack.tracking import _association as table_rows
from streamtrack.tracking._association import (
    CLASS,
    LEFT_BOXES,
    LOG_HEIGHT,
    MARGIN,
    RIGHT_BOXES,
    ROW_START,
    SCORE,
    TO_LEFT,
    TO_RIGHT,
    Float64Array,
    Int64Array,
    assign,
    find_pairs,
)
from streamtrack.tracking._jit import inlined
from streamtrack.types import CONFIRMED, TENTATIVE, Float32Array, Int32Array, UInt8Array

# ``motion``: float64 (STATE_ROWS, capacity). First come the rows of whatever moves the track, then these.
FILTER_ROWS = 14
X0, Y0, X1, Y1 = 14, 15, 16, 17  # corners of the box as it is now, px
LAST_SCORE = 18  # score of the last matched detection
STATE_ROWS = 19

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
N_IGNORED = 5  # detections without area, or with too little, so far
N_HIGH, N_LOW, N_LEFT, N_NEWLY_LOST, N_REFOUND, N_BORN, N_ENDED = 6, 7, 8, 9, 10, 11, 12
CUT = 13  # 1: all tracks end with the next update
COUNT_ROWS = 14

# ``limits``: float64 (LIMIT_ROWS,): thresholds and switches, a switch is 1 or 0.
HIGH_THRESH, NEW_THRESH, LOW_THRESH = 0, 1, 2
WEAK_BELOW = 3  # a detection that scores less is weak, unless it is beneath LOW_THRESH
MIN_AREA = 4  # px^2
MATCH_THRESH = 5  # the largest cost of the first round of matching
FUSE_SCORE, ANY_CLASS, RAW_BOXES = 6, 7, 8
BELIEVED_NS = 9  # age at which the time mode confirms a track
NONE_AT_ONCE = 10  # a switch: not even the first update confirms what it starts
LIMIT_ROWS = 11

DUPLICATE_LIMIT = 0.15
"""A tracked and a lost track with a cost (1 - IoU) below this are one: the official value."""
HALF_PX = 0.5
"""The margin that makes the IoU count pixels, both edges included, as the official code does."""


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
def split(
    boxes: Float32Array, scores: Float32Array, limits: Float64Array, lists: Int64Array, counts: Int64Array
) -> None:
    """List the rows of strong detections (HIGH) and of weak ones (LOW)."""
    n_high, n_low = 0, 0
    for i in range(len(scores)):
        wide, tall = float(boxes[i, 2]) - float(boxes[i, 0]), float(boxes[i, 3]) - float(boxes[i, 1])
        if wide == 0.0 or tall == 0.0 or wide * tall < limits[MIN_AREA]:
            counts[N_IGNORED] += 1
        elif scores[i] > limits[HIGH_THRESH]:
            lists[HIGH, n_high] = i
            n_high += 1
        elif limits[LOW_THRESH] < scores[i] < limits[WEAK_BELOW]:
            lists[LOW, n_low] = i
            n_low += 1
    counts[N_HIGH], counts[N_LOW] = n_high, n_low


@inlined
def put_track(
    tables: Float64Array, side: int, i: int, motion: Float64Array, facts: Int64Array, slot: int, margin: float
) -> None:
    """Write a track's box into column ``i`` of a table."""
    tables[side, table_rows.X0, i] = motion[X0, slot]
    tables[side, table_rows.Y0, i] = motion[Y0, slot]
    tables[side, table_rows.X1, i] = motion[X1, slot]
    tables[side, table_rows.Y1, i] = motion[Y1, slot]
    tables[side, CLASS, i] = facts[KIND, slot]
    tables[side, MARGIN, i] = margin


@inlined
def put_detections(
    tables: Float64Array,
    lists: Int64Array,
    part: int,
    n: int,
    boxes: Float32Array,
    scores: Float32Array,
    classes: Int32Array,
) -> None:
    """Write the detections in a row of ``lists``, HIGH or LOW, as right boxes."""
    for j in range(n):
        row = lists[part, j]
        tables[RIGHT_BOXES, table_rows.X0, j] = boxes[row, 0]
        tables[RIGHT_BOXES, table_rows.Y0, j] = boxes[row, 1]
        tables[RIGHT_BOXES, table_rows.X1, j] = boxes[row, 2]
        tables[RIGHT_BOXES, table_rows.Y1, j] = boxes[row, 3]
        tables[RIGHT_BOXES, SCORE, j] = scores[row]
        tables[RIGHT_BOXES, CLASS, j] = classes[row]


@inlined
def put_log_heights(tables: Float64Array, side: int, n: int) -> None:
    """Complete the boxes of one side for a matching in which the heights count."""
    for i in range(n):
        tables[side, LOG_HEIGHT, i] = np.log(tables[side, table_rows.Y1, i] - tables[side, table_rows.Y0, i])


@inlined
def associate(
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
    """Match the left and the right boxes; see ``find_pairs`` and ``assign``."""
    if n_left > 0 and n_right > 0:
        pair_right, pair_cost = find_pairs(
            tables, links, n_left, n_right, limit, fuse_score, any_class, height_cost, pair_right, pair_cost
        )
        assign(tables, links, n_left, n_right, limit, pair_right, pair_cost)
    else:
        for i in range(n_left):
            links[TO_RIGHT, i] = -1
        for j in range(n_right):
            links[TO_LEFT, j] = -1
    return pair_right, pair_cost


@inlined
def keep_unmatched(lists: Int64Array, counts: Int64Array, links: Int64Array) -> None:
    """Keep of the strong detections those that no track has taken."""
    n = 0
    for j in range(counts[N_HIGH]):
        if links[TO_LEFT, j] < 0:
            lists[HIGH, n] = lists[HIGH, j]
            n += 1
    counts[N_HIGH] = n


@inlined
def claim(
    motion: Float64Array,
    facts: Int64Array,
    slot: int,
    row: int,
    scores: Float32Array,
    classes: Int32Array,
    pts_ns: int,
) -> None:
    """Note that a track has matched the detection in ``row``."""
    motion[LAST_SCORE, slot] = scores[row]
    facts[KIND, slot] = classes[row]
    facts[MATCHED_NS, slot] = pts_ns
    facts[ROW, slot] = row


@inlined
def give_birth(
    motion: Float64Array,
    facts: Int64Array,
    lists: Int64Array,
    counts: Int64Array,
    limits: Float64Array,
    scores: Float32Array,
    classes: Int32Array,
    pts_ns: int,
) -> None:
    """Begin a track, but for its motion, with each strong detection left that scores enough: BORN lists the slots."""
    n_born = 0
    for j in range(counts[N_HIGH]):
        row = lists[HIGH, j]
        if scores[row] < limits[NEW_THRESH]:
            continue
        counts[N_FREE] -= 1
        slot = lists[FREE_SLOTS, counts[N_FREE]]
        counts[LAST_ID] += 1
        claim(motion, facts, slot, row, scores, classes, pts_ns)
        facts[ID, slot] = counts[LAST_ID]
        facts[STARTED_NS, slot] = pts_ns
        at_once = counts[N_UPDATES] == 0 and limits[NONE_AT_ONCE] == 0.0
        facts[STATE, slot] = CONFIRMED if at_once else TENTATIVE
        facts[EXPIRED, slot] = 0
        facts[SHOWN, slot] = 0
        lists[BORN, n_born] = slot
        n_born += 1
    counts[N_BORN] = n_born


@inlined
def end_shot(facts: Int64Array, lists: Int64Array, counts: Int64Array) -> None:
    """After a cut end every track; the update that follows is a first one."""
    if counts[CUT]:
        for k in range(counts[N_TRACKED]):
            free(facts, lists, counts, lists[TRACKED_SLOTS, k])
        for k in range(counts[N_LOST]):
            free(facts, lists, counts, lists[LOST_SLOTS, k])
        counts[N_TRACKED], counts[N_LOST], counts[N_UPDATES], counts[CUT] = 0, 0, 0, 0


@inlined
def free(facts: Int64Array, lists: Int64Array, counts: Int64Array, slot: int) -> None:
    """Take a track out of its slot; its end is told if it was ever shown as confirmed."""
    if facts[SHOWN, slot]:
        lists[OUT_ENDED, counts[N_ENDED]] = facts[ID, slot]
        counts[N_ENDED] += 1
    lists[FREE_SLOTS, counts[N_FREE]] = slot
    counts[N_FREE] += 1


@inlined
def remove_duplicates(
    motion: Float64Array,
    facts: Int64Array,
    lists: Int64Array,
    counts: Int64Array,
    limits: Float64Array,
    tables: Float64Array,
    links: Int64Array,
    margin: float,
    pair_right: Int64Array,
    pair_cost: Float64Array,
) -> tuple[Int64Array, Float64Array]:
    """Of a tracked and a lost track in one place keep that which lived longer; the tracked one where they are even."""
    n_tracked, n_lost = counts[N_TRACKED], counts[N_LOST]
    if n_tracked == 0 or n_lost == 0:
        return pair_right, pair_cost
    for i in range(n_lost):
        put_track(tables, LEFT_BOXES, i, motion, facts, lists[LOST_SLOTS, i], margin)
        links[TO_RIGHT, i] = 0
    for j in range(n_tracked):
        put_track(tables, RIGHT_BOXES, j, motion, facts, lists[TRACKED_SLOTS, j], margin)
        links[TO_LEFT, j] = 0
    any_class = limits[ANY_CLASS] > 0.0
    pair_right, pair_cost = find_pairs(
        tables, links, n_lost, n_tracked, DUPLICATE_LIMIT, False, any_class, 0.0, pair_right, pair_cost
    )
    if links[ROW_START, n_lost] == 0:
        return pair_right, pair_cost
    for i in range(n_lost):
        lost = lists[LOST_SLOTS, i]
        for e in range(links[ROW_START, i], links[ROW_START, i + 1]):
            seen = lists[TRACKED_SLOTS, pair_right[e]]
            if pair_cost[e] == DUPLICATE_LIMIT:
                continue
            if facts[MATCHED_NS, seen] - facts[STARTED_NS, seen] > facts[MATCHED_NS, lost] - facts[STARTED_NS, lost]:
                links[TO_RIGHT, i] = 1
            else:
                links[TO_LEFT, pair_right[e]] = 1
    counts[N_LOST] = keep(facts, lists, counts, links, LOST_SLOTS, TO_RIGHT, n_lost)
    counts[N_TRACKED] = keep(facts, lists, counts, links, TRACKED_SLOTS, TO_LEFT, n_tracked)
    return pair_right, pair_cost


@inlined
def keep(
    facts: Int64Array, lists: Int64Array, counts: Int64Array, links: Int64Array, which: int, drop: int, n: int
) -> int:
    """Keep of a list of slots those that ``links[drop]`` does not mark; return how many."""
    kept = 0
    for i in range(n):
        slot = lists[which, i]
        if links[drop, i]:
            free(facts, lists, counts, slot)
        else:
            lists[which, kept] = slot
            kept += 1
    return kept


@inlined
def write(
    motion: Float64Array,
    facts: Int64Array,
    lists: Int64Array,
    counts: Int64Array,
    limits: Float64Array,
    boxes: Float32Array,
    out_boxes: Float32Array,
    out_scores: Float32Array,
    out_classes: Int32Array,
    out_states: UInt8Array,
    out_rows: Int32Array,
) -> int:
    """Write all live tracks, the lost ones last; return how many."""
    n_tracked = counts[N_TRACKED]
    n = int(n_tracked + counts[N_LOST])
    for k in range(n):
        slot = lists[TRACKED_SLOTS, k] if k < n_tracked else lists[LOST_SLOTS, k - n_tracked]
        row = facts[ROW, slot]
        raw = limits[RAW_BOXES] > 0.0 and row >= 0
        for c in range(4):
            out_boxes[k, c] = boxes[row, c] if raw else np.float32(motion[X0 + c, slot])
        out_scores[k] = motion[LAST_SCORE, slot]
        out_classes[k] = facts[KIND, slot]
        out_states[k] = facts[STATE, slot]
        out_rows[k] = row
        if facts[STATE, slot] != TENTATIVE:
            facts[SHOWN, slot] = 1
        lists[OUT_IDS, k] = facts[ID, slot]
    return n
