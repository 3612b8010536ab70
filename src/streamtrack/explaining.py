"""Why one track was born, what it matched at each doubtful moment, and why it ended.

The detections go through the run's own tracker once more. Before each update it is asked where it expects its tracks;
what each pair would then have cost is computed here once more, and what was decided is read from the update itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamtrack import config
from streamtrack.build import make_tracker
from streamtrack.errors import ConfigError, SourceError
from streamtrack.params import TrackerParams
from streamtrack.tape import Tape
from streamtrack.tracking.rounds import Round, pair_costs, rounds
from streamtrack.tracking.tracker import Expected
from streamtrack.types import CONFIRMED, LOST, NS_PER_S, TENTATIVE, Detections, Frame, TrackUpdate

Float64Array = NDArray[np.float64]

STATES = {TENTATIVE: "tentative", CONFIRMED: "confirmed", LOST: "lost"}
DEAR = 0.7
"""A match that cost more than this share of its limit is doubtful."""
CLOSE = 0.1
"""So is one for which another candidate cost at most so much more."""
SHOWN = 3
"""Candidates told of a moment."""
_EXACT = 1e-9
"""Costs are computed here once more, with roundings of their own."""
_LOOKED_AT = 30
"""Pairs in one update that are looked at in detail, the nearest ones."""
_SAME_BOX = 0.3
"""Largest 1 - IoU of a removed duplicate and what stayed: the tracker asks for less, but of boxes not all shown."""


# --- what is told ---


class Candidate(msgspec.Struct, kw_only=True):
    """A track and a detection that might have been its."""

    track: int
    row: int
    """Of the frame's detections."""
    score: float
    box: list[float]
    heights_away: float
    """From centre to centre, in heights of the track's box."""
    round: str
    """``strong``, ``weak`` or ``tentative``: that in which the two can meet, else the last one for such a track."""
    cost: float | None
    """None where the boxes, grown as they are in this round, do not overlap."""
    limit: float
    verdict: str
    """``matched``, ``taken`` (by another), ``dearer`` (than what the track matched), ``over`` (the limit), ``apart``
    (no overlap), ``weak`` (for a track in its state), ``below`` (``low_thresh``), ``class`` or ``area``."""
    owner: int | None
    """The track that has the detection after the update."""
    owner_cost: float | None
    """What it cost that one; None where it was born with it."""
    match_cost: float | None
    """What ``track`` matched in this update cost it; None where nothing did."""

    @property
    def excess(self) -> float:
        """How far the cost is over the limit; below 0 where it is not, inf without overlap."""
        return np.inf if self.cost is None else self.cost - self.limit


class Moment(msgspec.Struct, kw_only=True):
    """The track in one update."""

    frame: int
    time_s: float
    state: str
    """Before the update."""
    match: Candidate | None
    doubts: list[str]
    """``weak`` (detection), ``dear`` (for the limit), ``close`` (another candidate cost about the same)."""
    others: list[Candidate]
    """Detections that it might have matched instead, the nearest first."""
    rivals: list[Candidate]
    """Other tracks that might have matched its detection."""


class Gap(msgspec.Struct, kw_only=True):
    """Updates in a row in which nothing matched."""

    start: Moment
    end: Moment
    closest: Moment
    """The one that came closest to a match."""
    updates: int
    seconds: float
    """From the last match to the next, or to the last update that saw the track lost."""
    found_again: bool


class Birth(msgspec.Struct, kw_only=True):
    """The first detection of the track."""

    frame: int
    time_s: float
    score: float
    new_thresh: float
    box: list[float]
    first_of_shot: bool
    """Then it was confirmed at once."""
    neighbours: list[Candidate]
    """The tracks that might have taken the detection, the nearest first."""


class Confirmation(msgspec.Struct, kw_only=True):
    """When the track was believed."""

    frame: int
    time_s: float
    matches: int
    seconds: float
    """Since its birth."""


class End(msgspec.Struct, kw_only=True):
    """The first frame without the track, or the last of the tape."""

    frame: int
    time_s: float
    reason: str
    """``lifetime``, ``cut``, ``duplicate``, ``unconfirmed`` or ``tape``."""
    state: str
    last_frame: int
    """With a detection of it."""
    lost_s: float
    """Since then."""
    duplicate_of: int | None
    moment: Moment | None
    """What was there to match in the end; None after a cut and at the end of the tape."""


class Explanation(msgspec.Struct, kw_only=True):
    """The life of one track. Frames are numbered as in the tape's file."""

    schema_version: int = 1
    tape: str
    track: int
    mode: str
    frames_from: int
    """Number of the first frame: 0 in a run, 1 in a det.txt."""
    lifetime_s: float
    lifetime_is: str
    """The setting that binds, ``max_gap_s`` or ``track_buffer``."""
    settings: TrackerParams
    birth: Birth
    confirmed: Confirmation | None
    matches: int
    """Detections it had, that of its birth included."""
    doubtful: list[Moment]
    gaps: list[Gap]
    end: End
    updates: list[Moment]
    """All from birth to end."""


# --- how it is found out ---


def explain(tape: Tape, params: TrackerParams, track: int) -> Explanation:
    """Send a tape through the tracker and tell the life of one of its tracks.

    Args:
        tape: the tape.
        params: settings of the tracker, of the run for the tracks of the run.
        track: its id.

    Raises:
        ConfigError: there is no such track.
        SourceError: a detection that the tracker refuses; the frame is named.
    """
    witness = _Witness(tape, params, track)
    ids: dict[int, bool] = {}
    for scene in _scenes(tape, params):
        for each, state in zip(scene.after.ids.tolist(), scene.after.states.tolist(), strict=True):
            ids[each] = ids.get(each, False) or state != TENTATIVE
        witness.see(scene)
    if witness.birth is None:
        raise ConfigError(_no_such(track, ids))
    return witness.explanation()


def _no_such(track: int, ids: dict[int, bool]) -> str:
    confirmed = [each for each, was in ids.items() if was]
    if not confirmed:
        return f"There is no track {track}: the tape has no confirmed track at all."
    # An id that was given and never shown was a duplicate from the start.
    known = f"Confirmed were {_ranges(confirmed)}"
    if tentative := [each for each, was in ids.items() if not was]:
        known += f"; never more than tentative {_ranges(tentative)}"
    return f"There is no track {track}. {known}."


def _ranges(numbers: Iterable[int]) -> str:
    """Return "1-3, 5" for 1, 2, 3, 5."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][-1] == number - 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)


def _scenes(tape: Tape, params: TrackerParams) -> Iterator[_Scene]:
    tracker = make_tracker(params, tape.source.sample_rate)
    for (frame, detections), cut in zip(tape, tape.cuts.tolist(), strict=True):
        try:
            if cut:
                tracker.cut()
            before = tracker.expect(frame.pts_ns)
            update = tracker.update(detections, frame.pts_ns)
        except ValueError as error:
            raise SourceError(f"Frame {frame.index + tape.frames_from} of '{tape.source.uri}': {error}.") from error
        yield _Scene(frame, detections, before, update, cut, params)


class _Scene:
    """One update: what was expected, what was found, and what was made of it."""

    def __init__(
        self,
        frame: Frame,
        detections: Detections,
        before: Expected,
        after: TrackUpdate,
        cut: bool,
        params: TrackerParams,
    ) -> None:
        self.frame, self.before, self.after, self.cut = frame, before, after, cut
        self.rounds = rounds(params)
        self.any_class = not params.class_aware
        self.boxes, self.kinds = detections.boxes.astype(np.float64), detections.classes
        self.scores = detections.scores.astype(np.float64)
        # The tracker's thresholds have the precision of the scores.
        high, low = np.float32(params.high_thresh), np.float32(params.low_thresh)
        self.strong = detections.scores > high
        self.weak = (detections.scores > low) & ~self.strong
        if params.mode == "reference":
            self.weak &= detections.scores != high
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        self.blank = (sides == 0).any(axis=1) | (sides.prod(axis=1) < params.min_area)
        self.rows = dict(zip(after.ids.tolist(), after.rows.tolist(), strict=True))
        self.owners = {row: track for track, row in self.rows.items() if row >= 0}

    def index(self, track: int) -> int | None:
        """Return where a track stands in ``before``."""
        found = np.flatnonzero(self.before.ids == track)
        return int(found[0]) if len(found) else None

    def meeting(self, i: int, row: int) -> Round | None:
        """Return the round in which a track and a detection can meet."""
        usable = not self.blank[row] and (self.strong[row] or self.weak[row])
        fitting = [each for each in self._of_state(i) if each.strong == self.strong[row]]
        return fitting[0] if usable and fitting else None

    def _of_state(self, i: int) -> list[Round]:
        return [each for each in self.rounds if self.before.states[i] in each.states]

    def cost(self, i: int, row: int) -> tuple[Round, float | None]:
        """Return what a pair costs and in which round; where the two cannot meet in another one, for comparison."""
        each = self.meeting(i, row) or self._of_state(i)[-1]
        one, other = slice(i, i + 1), slice(row, row + 1)
        cost = pair_costs(
            each, self.before.boxes[one], self.before.deviations[one], self.boxes[other], self.scores[other]
        ).item()
        return each, cost if np.isfinite(cost) else None

    def paid(self, track: int) -> float | None:
        """Return the cost at which a track matched in this update."""
        i, row = self.index(track), self.rows.get(track, -1)
        return None if i is None or row < 0 else self.cost(i, row)[1]

    def candidate(self, i: int, row: int) -> Candidate:
        """Tell what kept a track and a detection apart, or brought them together."""
        track, owner = int(self.before.ids[i]), self.owners.get(row)
        each, cost = self.cost(i, row)
        box = self.before.boxes[i]
        away = np.hypot(*((self.boxes[row, :2] + self.boxes[row, 2:] - box[:2] - box[2:]) / 2))
        found = Candidate(
            track=track,
            row=row,
            score=float(self.scores[row]),
            box=self.boxes[row].tolist(),
            heights_away=float(away / max(box[3] - box[1], 1e-9)),
            round=each.name,
            cost=cost,
            limit=each.limit,
            verdict="",
            owner=owner,
            owner_cost=None if owner is None else self.paid(owner),
            match_cost=self.paid(track),
        )
        found.verdict = self._verdict(i, row, found)
        return found

    def _verdict(self, i: int, row: int, found: Candidate) -> str:
        if found.owner == found.track:
            return "matched"
        if self.blank[row]:
            return "area"
        if not (self.strong[row] or self.weak[row]):
            return "below"
        if self.kinds[row] != self.before.classes[i] and not self.any_class:
            return "class"
        if not self.meeting(i, row):
            return "weak"
        if found.excess == np.inf:
            return "apart"
        if found.excess > _EXACT:
            return "over"
        return "dearer" if found.match_cost is not None and found.owner_cost is None else "taken"

    def nearest(self, pairs: Sequence[tuple[int, int]], least: int) -> list[Candidate]:
        """Return the few of some pairs that came closest to a match: all overlap, but for the first ``least``."""
        if not pairs:
            return []
        i, rows = np.array(pairs).T
        middles = (self.before.boxes[i].reshape(-1, 2, 2) - self.boxes[rows].reshape(-1, 2, 2)).mean(axis=1)
        # Only those near by are looked at in detail: a crowd has thousands of pairs.
        near = np.argsort(np.hypot(*middles.T), kind="stable")[:_LOOKED_AT]
        found = [self.candidate(*pairs[k]) for k in near.tolist()]
        found.sort(key=lambda each: (each.excess, each.heights_away))
        return [each for k, each in enumerate(found) if k < least or each.excess < np.inf][:SHOWN]


class _Witness:
    """Watches one track."""

    def __init__(self, tape: Tape, params: TrackerParams, track: int) -> None:
        self.tape, self.params, self.track = tape, params, track
        self.first = tape.frames_from
        self.lifetime = config.lifetime(params, tape.source.sample_rate)
        self.birth: Birth | None = None
        self.confirmed: Confirmation | None = None
        self.end: End | None = None
        self.moments: list[Moment] = []
        self.last_match = self.last = (0, 0.0)  # number and seconds of a frame
        self.matches, self.state = 0, ""

    def see(self, scene: _Scene) -> None:
        """Take in the next update."""
        if self.end:
            return
        now = (scene.frame.index + self.first, scene.frame.pts_ns / NS_PER_S)
        if self.birth is None:
            if self.track not in scene.rows:
                return
            self.birth = self._birth(scene, now)
        elif scene.cut:
            self._finish(now, "cut")
            return
        else:
            self.moments.append(self._moment(scene, now))
            if self.track not in scene.rows:
                self._finish(now, *self._why_gone(scene, now))
                return
        self.last = now
        if scene.rows[self.track] >= 0:
            self.matches += 1
            self.last_match = now
        self.state = STATES[int(scene.after.states[scene.after.ids == self.track][0])]
        if self.state == "confirmed" and not self.confirmed:
            self.confirmed = Confirmation(
                frame=now[0], time_s=now[1], matches=self.matches, seconds=now[1] - self.birth.time_s
            )

    def _birth(self, scene: _Scene, now: tuple[int, float]) -> Birth:
        row = scene.rows[self.track]
        return Birth(
            frame=now[0],
            time_s=now[1],
            score=float(scene.scores[row]),
            new_thresh=self.params.new_thresh,
            box=scene.boxes[row].tolist(),
            first_of_shot=int(scene.after.states[scene.after.ids == self.track][0]) == CONFIRMED,
            neighbours=scene.nearest([(i, row) for i in range(len(scene.before.ids))], least=1),
        )

    def _moment(self, scene: _Scene, now: tuple[int, float]) -> Moment:
        i, row = scene.index(self.track), scene.rows.get(self.track, -1)
        assert i is not None
        match = scene.candidate(i, row) if row >= 0 else None
        others = scene.nearest([(i, k) for k in range(len(scene.scores)) if k != row], least=0 if match else 1)
        rivals = scene.nearest([(k, row) for k in range(len(scene.before.ids)) if k != i], least=0) if match else []
        return Moment(
            frame=now[0],
            time_s=now[1],
            state=STATES[int(scene.before.states[i])],
            match=match,
            doubts=_doubts(match, [*others, *rivals]) if match else [],
            others=others,
            rivals=rivals,
        )

    def _why_gone(self, scene: _Scene, now: tuple[int, float]) -> tuple[str, int | None]:
        moment = self.moments[-1]
        # A match that nobody has was the track's own: it was removed with it.
        own = [each for each in moment.others if each.verdict == "taken" and each.owner is None]
        i = scene.index(self.track)
        assert i is not None
        twin = self._twin(scene, np.array(own[0].box) if own else scene.before.boxes[i])
        if own:
            return "duplicate", twin
        if moment.state == "tentative":
            return "unconfirmed", None
        # The official code takes one more update to let a track go.
        until = now if self.params.mode == "time" else self.last
        expired = until[1] - self.last_match[1] > self.lifetime.seconds
        return ("lifetime", None) if expired or twin is None else ("duplicate", twin)

    def _twin(self, scene: _Scene, box: Float64Array) -> int | None:
        plain = Round("", True, (), 0.0, 0.0, 1.0, False, 0.0)
        boxes = scene.after.boxes.astype(np.float64)
        costs = pair_costs(plain, boxes, np.zeros(len(boxes)), box[None], np.ones(1))[:, 0]
        return int(scene.after.ids[np.argmin(costs)]) if costs.min(initial=np.inf) < _SAME_BOX else None

    def _finish(self, now: tuple[int, float], reason: str, twin: int | None = None) -> None:
        self.end = End(
            frame=now[0],
            time_s=now[1],
            reason=reason,
            state=self.state,
            last_frame=self.last_match[0],
            lost_s=now[1] - self.last_match[1],
            duplicate_of=twin,
            moment=self.moments[-1] if reason not in ("cut", "tape") else None,
        )

    def explanation(self) -> Explanation:
        """Return all that was seen, once the tape is through and the track was there."""
        assert self.birth
        if self.end is None:
            self._finish(self.last, "tape")
        assert self.end
        return Explanation(
            tape=str(self.tape.file),
            track=self.track,
            mode=self.params.mode,
            frames_from=self.first,
            lifetime_s=self.lifetime.seconds,
            lifetime_is=self.lifetime.binds,
            settings=self.params,
            birth=self.birth,
            confirmed=self.confirmed,
            matches=self.matches,
            doubtful=[moment for moment in self.moments if moment.doubts],
            gaps=_gaps(self.birth, self.moments, self.end),
            end=self.end,
            updates=self.moments,
        )


def _doubts(match: Candidate, others: Sequence[Candidate]) -> list[str]:
    assert match.cost is not None
    doubts = ["weak"] if match.round == "weak" else []
    if match.cost > DEAR * match.limit:
        doubts.append("dear")
    able = [each for each in others if each.verdict in ("dearer", "taken") and each.round == match.round]
    if any(each.excess <= 0 and each.cost is not None and each.cost <= match.cost + CLOSE for each in able):
        doubts.append("close")
    return doubts


def _gaps(birth: Birth, moments: Sequence[Moment], end: End) -> list[Gap]:
    # The update that removes a duplicate, or what was never believed, says nothing about a gap.
    told = moments[:-1] if end.reason in ("duplicate", "unconfirmed") else moments
    gaps: list[Gap] = []
    seen_s = birth.time_s
    for missed, group in itertools.groupby(told, lambda moment: moment.match is None):
        run = list(group)
        if not missed:
            seen_s = run[-1].time_s
            if gaps and not gaps[-1].found_again:
                gaps[-1].found_again = True
                gaps[-1].seconds += run[0].time_s - gaps[-1].end.time_s
            continue
        closest = min(run, key=lambda moment: min((each.excess for each in moment.others), default=np.inf))
        gaps.append(
            Gap(
                start=run[0],
                end=run[-1],
                closest=closest,
                updates=len(run),
                seconds=run[-1].time_s - seen_s,
                found_again=False,
            )
        )
    return gaps
