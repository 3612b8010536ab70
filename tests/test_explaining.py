"""What is told of a track is what the tracker did."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from streamtrack.errors import ConfigError, SourceError
from streamtrack.explaining import Explanation, explain
from streamtrack.params import TrackerParams
from streamtrack.retracking import retrack
from streamtrack.tape import Tape, read_tape
from streamtrack.types import CONFIRMED, Result

RATE = 10.0
Seen = tuple[int, float, float, float]  # frame from 1, x, y, score of a box 40 px wide and 80 px tall


def tape_of(folder: Path, seen: Iterable[Seen], cuts: Iterable[int] = ()) -> Tape:
    file = folder / "det.txt"
    file.write_text("".join(f"{f},-1,{x},{y},40,80,{score}\n" for f, x, y, score in seen))
    tape = read_tape(file, RATE)
    return dataclasses.replace(tape, cuts=np.isin(tape.frames + 1, list(cuts)))


def walk(frames: Iterable[int], y: float = 100.0, score: float = 0.9, step: float = 2.0, x: float = 10.0) -> list[Seen]:
    return [(f, x + step * f, y, score) for f in frames]


def told(folder: Path, seen: Iterable[Seen], track: int = 1, **settings: object) -> Explanation:
    return explain(tape_of(folder, seen), TrackerParams(**settings), track)  # type: ignore[arg-type]


def test_a_birth_names_the_track_that_was_near(tmp_path: Path) -> None:
    birth = told(tmp_path, walk(range(1, 20)) + walk(range(5, 20), x=40, score=0.8), 2).birth
    assert (birth.frame, birth.first_of_shot, birth.new_thresh) == (5, False, 0.55)
    assert birth.time_s == pytest.approx(0.4)
    assert birth.score == pytest.approx(0.8)
    assert birth.box == [50, 100, 90, 180]
    (other,) = birth.neighbours
    assert (other.track, other.verdict, other.owner) == (1, "over", 2)
    assert other.match_cost is not None
    assert other.match_cost < 0.2 < other.limit < (other.cost or 0)


def test_a_birth_beside_a_track_that_had_better_to_match(tmp_path: Path) -> None:
    birth = told(tmp_path, walk(range(1, 20)) + walk(range(5, 20), x=16, score=0.9), 2).birth
    assert [each.verdict for each in birth.neighbours] == ["dearer"]


def test_of_the_first_frame_all_are_believed_and_later_ones_after_a_while(tmp_path: Path) -> None:
    seen = walk(range(1, 20)) + walk(range(5, 20), y=300)
    first, second = told(tmp_path, seen), told(tmp_path, seen, 2)
    assert first.birth.first_of_shot
    assert first.confirmed
    assert (first.confirmed.frame, first.confirmed.matches) == (1, 1)
    assert second.confirmed
    assert (second.confirmed.frame, second.confirmed.matches) == (7, 3)
    assert second.confirmed.seconds == pytest.approx(0.2)
    assert [moment.state for moment in second.updates[:3]] == ["tentative", "tentative", "confirmed"]


def test_a_gap_is_told_with_what_refused_the_nearest(tmp_path: Path) -> None:
    below = [(f, 10.0 + 2 * f, 100.0, 0.05) for f in range(11, 14)]
    far = [(14, 60.0, 130.0, 0.3)]
    life = told(tmp_path, walk([*range(1, 11), *range(18, 25)]) + below + far)
    (gap,) = life.gaps
    assert (gap.start.frame, gap.end.frame, gap.updates, gap.found_again) == (11, 17, 7, True)
    assert gap.seconds == pytest.approx(0.8)
    assert [each.verdict for each in gap.start.others] == ["below"]
    by_frame = {moment.frame: moment for moment in life.updates}
    assert [(each.verdict, each.round) for each in by_frame[14].others] == [("over", "weak")]
    assert by_frame[16].others == []
    assert by_frame[18].state == "lost"
    assert by_frame[18].match
    assert life.matches == 17
    assert (life.end.reason, life.end.state, life.end.moment) == ("tape", "confirmed", None)


def test_a_detection_that_another_took(tmp_path: Path) -> None:
    # The second one hides behind the first in frames 11 to 13.
    seen = walk(range(1, 25), step=0) + walk([*range(1, 11), *range(14, 25)], step=0, x=26)
    (gap,) = told(tmp_path, seen, 2).gaps
    (other,) = gap.start.others
    assert (other.verdict, other.owner) == ("taken", 1)
    assert other.owner_cost is not None
    assert other.owner_cost < (other.cost or 0) < other.limit


def test_doubts(tmp_path: Path) -> None:
    weak = walk([10], score=0.3)
    dear = [(20, 67.0, 100.0, 0.9)]
    seen = walk([*range(1, 10), *range(11, 20), *range(21, 30)]) + weak + dear
    life = told(tmp_path, seen)
    doubts = {moment.frame: moment.doubts for moment in life.doubtful}
    assert doubts[10] == ["weak"]
    assert doubts[20] == ["dear"]
    close = told(tmp_path, [*walk(range(1, 20), step=0), (12, 12.0, 100.0, 0.9)])
    (moment,) = close.doubtful
    assert (moment.frame, moment.doubts) == (12, ["close"])
    assert [each.verdict for each in moment.others] == ["dearer"]
    rivals = told(tmp_path, walk(range(1, 20), step=0) + walk(range(1, 10), step=0, x=12))
    frames = [moment.frame for moment in rivals.doubtful if [each.track for each in moment.rivals] == [2]]
    # In frame 10 it is out of sight, and in the place of the first one: that is the end of it.
    assert frames == list(range(2, 11))


def test_lost_for_too_long(tmp_path: Path) -> None:
    anchor = walk(range(1, 60), y=400)
    end = told(tmp_path, walk(range(1, 11)) + anchor, 1, max_gap_s=1.0).end
    assert (end.reason, end.state, end.last_frame, end.frame) == ("lifetime", "lost", 10, 21)
    assert end.lost_s == pytest.approx(1.1)
    life = told(tmp_path, walk(range(1, 11)) + anchor, 1, track_buffer=8)
    assert (life.lifetime_is, life.end.frame) == ("track_buffer", 19)
    assert life.lifetime_s == pytest.approx(0.8)
    official = told(tmp_path, walk(range(1, 11)) + anchor, 1, track_buffer=8, mode="reference")
    assert (official.end.reason, official.end.frame) == ("lifetime", 20)


def test_a_cut_ends_and_a_new_shot_begins(tmp_path: Path) -> None:
    tape = tape_of(tmp_path, walk(range(1, 20)), cuts=[11])
    first, second = (explain(tape, TrackerParams(), track) for track in (1, 2))
    assert (first.end.reason, first.end.frame, first.end.last_frame, first.gaps) == ("cut", 11, 10, [])
    assert (second.birth.frame, second.birth.first_of_shot, second.birth.neighbours) == (11, True, [])


def test_what_is_tentative_ends_without_a_match(tmp_path: Path) -> None:
    flicker = [(5, 300.0, 300.0, 0.9), (6, 330.0, 300.0, 0.5)]
    life = told(tmp_path, walk(range(1, 20)) + flicker, 2)
    assert (life.confirmed, life.matches, life.gaps) == (None, 1, [])
    assert (life.end.reason, life.end.frame) == ("unconfirmed", 6)
    assert life.end.moment
    assert [(each.round, each.verdict) for each in life.end.moment.others] == [("tentative", "over")]


def test_of_two_tracks_in_one_place_the_younger_goes(tmp_path: Path) -> None:
    # The first one jumps away in frame 10; what takes its place ends when they are seen to be one.
    seen = walk(range(1, 10), step=0) + walk(range(1, 30), y=400) + walk(range(12, 14), step=0, x=42)
    seen += [(f, 42.0 - 11 * (f - 13), 100.0, 0.9) for f in (14, 15)] + walk(range(16, 30), step=0, x=11)
    tape = tape_of(tmp_path, seen)
    ends = []
    for track in (1, 2, 3):
        try:
            ends.append(explain(tape, TrackerParams(mode="reference", match_thresh=0.6), track).end)
        except ConfigError:
            continue
    removed = [end for end in ends if end.reason == "duplicate"]
    assert [end.duplicate_of for end in removed] == [1]


@pytest.mark.parametrize("mode", ["time", "reference"])
def test_every_track_is_told_as_it_was_tracked(tmp_path: Path, mode: Literal["time", "reference"]) -> None:
    rng = np.random.default_rng(5)
    seen = [
        (f, x + f * step + rng.normal(0, 2), y + rng.normal(0, 2), round(float(rng.uniform(0.2, 1)), 3))
        for x, y, step in zip(rng.uniform(0, 200, 6), rng.uniform(0, 150, 6), rng.normal(0, 4, 6), strict=True)
        for f in range(1, 50)
        if rng.random() < 0.8
    ]
    tape, params = tape_of(tmp_path, seen, cuts=[30]), TrackerParams(mode=mode, max_gap_s=0.6)
    claims: dict[int, list[int]] = {}
    ended: dict[int, int] = {}
    confirmed: dict[int, int] = {}

    def note(result: Result) -> None:
        number, tracks = result.frame.index + 1, result.tracks
        for track, row, state in zip(tracks.ids.tolist(), tracks.rows.tolist(), tracks.states.tolist(), strict=True):
            claims.setdefault(track, []).extend([number] * (row >= 0))
            if state == CONFIRMED:
                confirmed.setdefault(track, number)
        ended.update(dict.fromkeys(tracks.ended.tolist(), number))

    retrack(tape, params, note)
    assert len(claims) > 6
    for track, frames in claims.items():
        life = explain(tape, params, track)
        assert [life.birth.frame, *(m.frame for m in life.updates if m.match)] == frames
        assert life.matches == len(frames)
        assert (life.confirmed.frame if life.confirmed else None) == confirmed.get(track)
        assert all(moment.match is None or moment.match.excess <= 1e-9 for moment in life.updates)
        assert all(moment.match is None or moment.match.verdict == "matched" for moment in life.updates)
        if track in ended:
            assert life.end.frame == ended[track]
            assert life.end.reason in ("lifetime", "cut", "duplicate")


def test_a_track_that_is_not_there(tmp_path: Path) -> None:
    tape = tape_of(tmp_path, walk(range(1, 20)) + walk(range(3, 20), y=300) + [(5, 500.0, 500.0, 0.9)])
    with pytest.raises(ConfigError, match=r"There is no track 9\. Confirmed were 1-2; never more than tentative 3\."):
        explain(tape, TrackerParams(), 9)
    with pytest.raises(ConfigError, match="no confirmed track at all"):
        explain(tape, TrackerParams(new_thresh=1.0), 1)


def test_a_detection_that_the_tracker_refuses_is_an_error_of_the_tape(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"Frame 2 of .*det\.txt': score 0 of the frame"):
        told(tmp_path, [*walk([1]), (2, 10.0, 100.0, 7.0)])
