"""ByteTrack: detections in, tracks out."""

from __future__ import annotations

import copy
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from streamtrack.params import TrackerParams
from streamtrack.tracking import _association, _motion, _reference, _state, _timed
from streamtrack.tracking._association import Float64Array
from streamtrack.types import NS_PER_S, Detections, Float32Array, Int64Array, TrackUpdate

Number = TypeVar("Number", np.float32, np.int32)

MAX_DETECTIONS: Final = 10_000
"""More detections than this in one frame are refused: the cost of matching boxes that all overlap is their square."""

_NEVER: Final = -(2**62)
_NONE_ENDED: Final = np.empty(0, np.int64)


class Expected(NamedTuple):
    """M live tracks as an update sees them before it looks at the detections, those in sight first, then the lost."""

    ids: Int64Array  # (M,)
    states: Int64Array  # (M,) TENTATIVE, CONFIRMED or LOST
    classes: Int64Array  # (M,)
    boxes: Float64Array  # (M, 4) x0 y0 x1 y1, px
    deviations: Float64Array  # (M,) standard deviation of where a track is, px; 0 in mode reference
    matched_ns: Int64Array  # (M,) time of the last match


class ByteTracker:
    """ByteTrack (Zhang et al., ECCV 2022), measuring time instead of counting updates, or equal to its official code.

    Detections are matched to tracks by overlap, those above ``high_thresh`` first, then those above ``low_thresh`` to
    the tracks that are left, then what is left of the first to TENTATIVE tracks. What matches nothing and scores at
    least ``new_thresh`` starts a track: TENTATIVE until it is believed (in the very first update CONFIRMED at once). A
    tentative track without a match is gone; a confirmed one is LOST, and its box is then its predicted one.

    - ``mode="time"``: speed and its uncertainty are per second, and a match may be the farther off the less is known
      (``_timed``, ``_motion``). A tentative track is believed once it is matched 0.15 s after its birth. A lost track
      ends in the first update more than ``max_lost_ns`` after its last match, unless it is matched there.
    - ``mode="reference"``: the official code, id by id (``_reference``, ``_kalman``): motion counts updates, a second
      match is enough, and a lost track ends one update later.

    All state lives in arrays that grow by doubling and are used again, so memory does not depend on the length of the
    stream. One tracker serves one stream and one thread at a time; the GIL is released during the update.
    """

    def __init__(self, params: TrackerParams, *, max_lost_ns: int, max_gap_ns: int = 2**62) -> None:
        """Make a tracker without tracks.

        Args:
            params: thresholds. ``track_buffer`` and ``max_gap_s`` are not read: see ``max_lost_ns``.
            max_lost_ns: a lost track ends once more than this has passed since its last match. ns of media time.
            max_gap_ns: where more than this passes between two updates, all tracks end, as at a ``cut``: nobody knows
                who is who after a feed was away. ns of media time.

        Raises:
            ValueError: ``max_lost_ns`` is negative or beyond 2**62.
        """
        if not 0 <= max_lost_ns < 2**62:
            raise ValueError(f"max_lost_ns must be from 0 to 2**62, got {max_lost_ns}")
        self._max_lost_ns = int(max_lost_ns)
        self._max_gap_ns = int(max_gap_ns)
        self._params = params
        timed = params.mode == "time"
        self._step = _timed.update if timed else _reference.update
        self._limits = np.zeros(_state.LIMIT_ROWS)
        # Scores are float32: a detection of exactly 0.6 must meet a threshold of 0.6 in the same precision.
        scores = np.array([params.high_thresh, params.new_thresh, params.low_thresh], np.float32)
        self._limits[: _state.WEAK_BELOW] = scores
        # To the official code a score of just the high threshold is neither strong nor weak.
        self._limits[_state.WEAK_BELOW] = np.nextafter(scores[0], np.float32(2)) if timed else scores[0]
        self._limits[_state.MIN_AREA] = params.min_area
        self._limits[_state.MATCH_THRESH] = params.match_thresh
        self._limits[_state.FUSE_SCORE] = params.fuse_score
        self._limits[_state.ANY_CLASS] = not params.class_aware
        self._limits[_state.RAW_BOXES] = params.raw_boxes
        # A millisecond less, as containers round time stamps to one.
        self._limits[_state.BELIEVED_NS] = max(_timed.CONFIRMED_AFTER_NS, params.min_track_s * NS_PER_S - 1e6)
        self._limits[_state.NONE_AT_ONCE] = timed and params.min_track_s > 0
        self._counts = np.zeros(_state.COUNT_ROWS, np.int64)
        self._motion = np.zeros((_state.STATE_ROWS, 0))
        self._facts = np.zeros((_state.FACT_ROWS, 0), np.int64)
        self._lists = np.zeros((_state.LIST_ROWS, 0), np.int64)
        self._capacity = 0
        self._live = 0
        self._last_ns = _NEVER
        self._grow(64)
        self._grow_pairs(256)

    @property
    def capacity(self) -> int:
        """Live tracks and detections of one frame there is room for; it doubles when it must, and never shrinks."""
        return self._capacity

    @property
    def ignored(self) -> int:
        """Detections without area, or with less than ``min_area``, so far: they match nothing and start nothing."""
        return int(self._counts[_state.N_IGNORED])

    def _grow(self, wanted: int) -> None:
        old, self._capacity = self._capacity, max(wanted, 2 * self._capacity)
        added = self._capacity - old
        self._motion = np.pad(self._motion, ((0, 0), (0, added)))
        self._facts = np.pad(self._facts, ((0, 0), (0, added)))
        self._lists = np.pad(self._lists, ((0, 0), (0, added)))
        free = int(self._counts[_state.N_FREE])
        # The lowest of the new slots last, as they are taken from the end: live tracks shall lie close together.
        self._lists[_state.FREE_SLOTS, free : free + added] = np.arange(self._capacity - 1, old - 1, -1)
        self._counts[_state.N_FREE] = free + added
        self._ids, self._ended = self._lists[_state.OUT_IDS], self._lists[_state.OUT_ENDED]
        # The rest holds nothing from one update to the next.
        self._tables = np.zeros((_association.TABLES, _association.TABLE_ROWS, self._capacity))
        self._links = np.zeros((_association.LINK_ROWS, self._capacity + 2), np.int64)
        self._boxes = np.zeros((self._capacity, 4), np.float32)
        self._scores = np.zeros(self._capacity, np.float32)
        self._classes = np.zeros(self._capacity, np.int32)
        self._states = np.zeros(self._capacity, np.uint8)
        self._rows = np.zeros(self._capacity, np.int32)
        self._view(0)

    def _grow_pairs(self, pairs: int) -> None:
        self._pairs = pairs
        self._pair_right = np.zeros(pairs, np.int64)
        self._pair_cost = np.zeros(pairs)

    def update(self, detections: Detections, pts_ns: int) -> TrackUpdate:
        """Take in the detections of the next frame; call it for frames without detections, too.

        Args:
            detections: what was found in the frame.
            pts_ns: presentation time of the frame, later than that of the update before.

        Returns:
            All live tracks: confirmed and tentative ones with the row of their detection, then lost ones with row -1.
            Boxes are the filter's, not the detector's, unless ``raw_boxes`` is set. ``ended`` lists the tracks that
            were removed, if an earlier update had shown them as confirmed: a tentative track that is not seen again
            vanishes without notice, though its id is not used again either.

        Raises:
            ValueError: time stands still or goes back, a box is not finite or inside out, a score is not in 0..1, or
                there are more than ``MAX_DETECTIONS``. The tracker is then as it was before.
        """
        boxes, scores, classes = detections.boxes, detections.scores, detections.classes
        n = len(scores)
        if n > MAX_DETECTIONS or not self._last_ns < pts_ns < 2**62:
            raise ValueError(self._refusal(n, pts_ns))
        if self._live + n > self._capacity:
            self._grow(self._live + n)
        if not (boxes.flags.c_contiguous and scores.flags.c_contiguous and classes.flags.c_contiguous):
            boxes, scores, classes = _contiguous(boxes), _contiguous(scores), _contiguous(classes)
        was_cut = self._counts[_state.CUT]
        if self._is_after_gap(pts_ns):
            self.cut()
        live, ended, pairs = self._step(
            self._motion,
            self._facts,
            self._lists,
            self._counts,
            self._tables,
            self._links,
            self._pair_right,
            self._pair_cost,
            self._limits,
            self._boxes,
            self._scores,
            self._classes,
            self._states,
            self._rows,
            boxes,
            scores,
            classes,
            pts_ns,
            self._dt(pts_ns),
            self._max_lost_ns,
        )
        if live < 0:
            self._counts[_state.CUT] = was_cut
            raise ValueError(_wrong_row(detections, ended))
        if pairs > self._pairs:
            self._grow_pairs(pairs)
        self._live = live
        self._last_ns = pts_ns
        return self._shown(live, ended)

    def _is_after_gap(self, pts_ns: int) -> bool:
        return self._live > 0 and pts_ns - self._last_ns > self._max_gap_ns

    def _dt(self, pts_ns: int) -> float:
        # How far to move the tracks that there are: seconds, or one update.
        return 1.0 if self._step is _reference.update else (pts_ns - self._last_ns) * 1e-9 if self._live else 0.0

    def expect(self, pts_ns: int) -> Expected:
        """Return what an update at ``pts_ns`` would match detections to; the tracker is left as it is.

        After ``cut()``, or a gap that is too long, that is nothing.

        Raises:
            ValueError: time stands still or goes back.
        """
        n_tracked, n_lost = self._counts[_state.N_TRACKED], self._counts[_state.N_LOST]
        lists = (self._lists[_state.TRACKED_SLOTS, :n_tracked], self._lists[_state.LOST_SLOTS, :n_lost])
        slots = np.concatenate(lists)[: 0 if self._counts[_state.CUT] or self._is_after_gap(pts_ns) else None]
        # An update of a copy predicts as the kernels do, to the bit. Slots keep their motion where it ends a track.
        other = copy.copy(self)
        vars(other).update({name: kept.copy() for name, kept in vars(self).items() if isinstance(kept, np.ndarray)})
        other.update(Detections.empty(), pts_ns)
        motion, facts = other._motion[:, slots], self._facts[:, slots]
        timed = self._step is _timed.update
        return Expected(
            facts[_state.ID],
            facts[_state.STATE],
            facts[_state.KIND],
            np.ascontiguousarray(motion[_state.X0 : _state.Y1 + 1].T),
            np.sqrt(motion[_motion.VAR]) * motion[_motion.HEIGHT] if timed else np.zeros(len(slots)),
            facts[_state.MATCHED_NS],
        )

    def cut(self) -> None:
        """Say that the next frame is of another shot: every track ends with the next update, which lists them.

        That update is then like the very first: what it starts is CONFIRMED at once. Ids go on counting.
        """
        self._counts[_state.CUT] = 1

    def _view(self, live: int) -> None:
        # Making a view takes as long as copying what it shows, and most frames have as many tracks as the last.
        self._viewed = live
        self._views = (
            self._ids[:live],
            self._boxes[:live],
            self._scores[:live],
            self._classes[:live],
            self._states[:live],
            self._rows[:live],
        )

    def _shown(self, live: int, ended: int) -> TrackUpdate:
        if live != self._viewed:
            self._view(live)
        ids, boxes, scores, classes, states, rows = self._views
        return TrackUpdate.unchecked(
            ids.copy(),
            boxes.copy(),
            scores.copy(),
            classes.copy(),
            states.copy(),
            rows.copy(),
            self._ended[:ended].copy() if ended else _NONE_ENDED,
        )

    def warm_up(self) -> None:
        """Compile the kernels, or load them from the disk: seconds at most once per machine, here and not in a frame.

        The tracker itself is left as it is.
        """
        other = ByteTracker(self._params, max_lost_ns=0)
        other.update(Detections.empty(), 0)

    def _refusal(self, n: int, pts_ns: int) -> str:
        if n > MAX_DETECTIONS:
            return f"{n} detections in one frame; at most {MAX_DETECTIONS} can be tracked: raise the confidence"
        if self._last_ns == _NEVER or pts_ns > self._last_ns:
            return f"pts_ns must be within +-2**62, got {pts_ns}"
        return f"time must go on from frame to frame: pts_ns {pts_ns} comes after {self._last_ns}"


def _contiguous(array: NDArray[Number]) -> NDArray[Number]:
    # Another memory layout would be another kernel to compile, in the middle of a run.
    copy = array.copy()
    copy.setflags(write=False)
    return copy


def _wrong_row(detections: Detections, row: int) -> str:
    box: Float32Array = detections.boxes[row]
    corners = ", ".join(f"{v:g}" for v in box)
    if not np.isfinite(box).all():
        return f"box {row} of the frame is not finite: ({corners})"
    if box[0] > box[2] or box[1] > box[3]:
        return f"box {row} of the frame is inside out (x0 > x1 or y0 > y1): ({corners})"
    return f"score {row} of the frame is not in 0..1: {detections.scores[row]:g}"
