"""What the tracker promises its caller; what it computes is compared in the other modules here."""

import threading
from typing import Literal

import numpy as np
import pytest

from streamtrack.params import TrackerParams
from streamtrack.tracking.tracker import MAX_DETECTIONS, ByteTracker
from streamtrack.types import CONFIRMED, LOST, TENTATIVE, Detections

BOX = (100.0, 100.0, 150.0, 220.0)


def found(*boxes: tuple[float, ...], score: float = 0.9, kind: int = 0) -> Detections:
    n = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(n, 4),
        np.full(n, score, np.float32),
        np.full(n, kind, np.int32),
        np.empty((n, 0, 2), np.float32),
    )


def moved(box: tuple[float, ...], dx: float) -> tuple[float, ...]:
    return (box[0] + dx, box[1], box[2] + dx, box[3])


@pytest.fixture
def tracker() -> ByteTracker:
    return ByteTracker(TrackerParams(mode="reference"), max_lost_ns=100)


def test_a_life_from_birth_to_end(tracker: ByteTracker) -> None:
    assert len(tracker.update(Detections.empty(), 0)) == 0
    states, ended = [], []
    for k, here in enumerate([True, True, True, False, False, True] + [False] * 4):
        update = tracker.update(found(BOX) if here else Detections.empty(), 50 * (k + 1))
        states.append(
            [(int(i), int(s), int(r)) for i, s, r in zip(update.ids, update.states, update.rows, strict=True)]
        )
        ended.append(update.ended.tolist())
    # It ends in the update after the first one that found it lost for more than 100 ns.
    assert states == [
        [(1, TENTATIVE, 0)],
        [(1, CONFIRMED, 0)],
        [(1, CONFIRMED, 0)],
        [(1, LOST, -1)],
        [(1, LOST, -1)],
        [(1, CONFIRMED, 0)],
        [(1, LOST, -1)],
        [(1, LOST, -1)],
        [(1, LOST, -1)],
        [],
    ]
    assert ended == [[]] * 9 + [[1]]


def test_tracks_of_the_first_update_are_believed_at_once(tracker: ByteTracker) -> None:
    assert tracker.update(found(BOX), 0).states.tolist() == [CONFIRMED]


def test_a_tentative_track_that_vanishes_is_not_told_and_its_id_is_not_used_again(tracker: ByteTracker) -> None:
    tracker.update(Detections.empty(), 0)
    assert tracker.update(found(BOX), 1).ids.tolist() == [1]
    gone = tracker.update(Detections.empty(), 2)
    assert (gone.ids.tolist(), gone.ended.tolist()) == ([], [])
    assert tracker.update(found(BOX), 3).ids.tolist() == [2]


def test_a_weak_detection_keeps_a_track_but_starts_none(tracker: ByteTracker) -> None:
    tracker.update(found(BOX), 0)
    kept = tracker.update(found(BOX, moved(BOX, 500), score=0.2), 1)
    assert (kept.ids.tolist(), kept.states.tolist(), kept.scores.tolist()) == ([1], [CONFIRMED], [np.float32(0.2)])


def test_classes_never_match_each_other(tracker: ByteTracker) -> None:
    tracker.update(found(BOX, kind=3), 0)
    update = tracker.update(found(BOX, kind=4), 1)
    assert (update.ids.tolist(), update.classes.tolist()) == ([2, 1], [4, 3])
    assert update.states.tolist() == [TENTATIVE, LOST]


def test_a_lost_track_moves_on(tracker: ByteTracker) -> None:
    for k in range(10):
        tracker.update(found(moved(BOX, 5.0 * k)), k)
    lost = tracker.update(Detections.empty(), 10)
    assert lost.states.tolist() == [LOST]
    assert lost.boxes[0, 0] == pytest.approx(BOX[0] + 50, abs=2)


def test_each_tracker_counts_its_own_ids() -> None:
    for _ in range(2):
        assert ByteTracker(TrackerParams(), max_lost_ns=1).update(found(BOX), 0).ids.tolist() == [1]


def test_slots_are_used_again(tracker: ByteTracker) -> None:
    # Births and deaths for ever in the room of a few.
    capacity = tracker.capacity
    last_id = 0
    for k in range(2000):
        update = tracker.update(found(moved(BOX, 200.0 * (k // 2 % 7)), moved(BOX, 3000.0)), 60 * k)
        assert len(update) <= 6
        assert len(set(update.ids.tolist())) == len(update)
        last_id = max(last_id, *update.ids.tolist())
    assert last_id > 500
    assert tracker.capacity == capacity


def test_room_is_made_for_a_crowd_and_for_all_its_pairs(tracker: ByteTracker) -> None:
    tracker.update(found(BOX), 0)
    crowd = found(*(moved(BOX, 0.5 * k) for k in range(300)))
    update = tracker.update(crowd, 1)
    assert tracker.capacity >= 301
    assert 1 in update.ids
    again = tracker.update(crowd, 2)
    assert set(update.ids[update.states == TENTATIVE]) <= set(again.ids)
    assert (again.states == CONFIRMED).sum() == 300


def test_results_stay_as_they_were(tracker: ByteTracker) -> None:
    first = tracker.update(found(BOX), 0)
    kept = first.boxes.copy()
    tracker.update(found(moved(BOX, 7.0)), 1)
    assert (first.boxes == kept).all()
    assert not first.boxes.flags.writeable


def test_boxes_without_area_are_left_out_and_counted(tracker: ByteTracker) -> None:
    update = tracker.update(found((5, 5, 5, 9), BOX, (5, 5, 9, 5)), 0)
    assert update.rows.tolist() == [1]
    assert tracker.ignored == 2


def test_any_memory_layout_will_do(tracker: ByteTracker) -> None:
    wide = np.zeros((3, 8), np.float32)
    wide[:, :4] = BOX + np.arange(3)[:, None] * np.float32(200)
    kinds = np.zeros(6, np.int32)[::2]
    scores = np.full(3, 0.9, np.float32)
    update = tracker.update(Detections(wide[:, :4], scores, kinds, np.empty((3, 0, 2), np.float32)), 0)
    assert (update.boxes == wide[:, :4]).all()
    same = ByteTracker(TrackerParams(), max_lost_ns=1).update(found(*wide[:, :4].tolist()), 0)
    assert (same.boxes == update.boxes).all()


@pytest.mark.parametrize(
    ("detections", "message"),
    [
        (found(BOX, (0, 0, np.nan, 1)), r"box 1 of the frame is not finite: \(0, 0, nan, 1\)"),
        (found((0, 0, np.inf, 1)), "box 0 of the frame is not finite"),
        (found(BOX, BOX, (9, 0, 1, 1)), r"box 2 of the frame is inside out .*: \(9, 0, 1, 1\)"),
        (found(BOX, score=1.5), r"score 0 of the frame is not in 0\.\.1: 1\.5"),
        (found(BOX, score=float("nan")), r"score 0 of the frame is not in 0\.\.1: nan"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    tracker: ByteTracker, detections: Detections, message: str
) -> None:
    tracker.update(found(BOX), 0)
    with pytest.raises(ValueError, match=message):
        tracker.update(detections, 1)
    after = tracker.update(found(BOX), 1)
    assert (after.ids.tolist(), after.states.tolist()) == ([1], [CONFIRMED])


@pytest.mark.parametrize("pts_ns", [5, 4, -1])
def test_time_goes_on(tracker: ByteTracker, pts_ns: int) -> None:
    tracker.update(Detections.empty(), 5)
    with pytest.raises(ValueError, match=f"pts_ns {pts_ns} comes after 5"):
        tracker.update(Detections.empty(), pts_ns)


@pytest.mark.parametrize("pts_ns", [2**62, -(2**62), 2**70])
def test_time_has_bounds(tracker: ByteTracker, pts_ns: int) -> None:
    with pytest.raises(ValueError, match="within"):
        tracker.update(Detections.empty(), pts_ns)


@pytest.mark.parametrize("max_lost_ns", [-1, 2**62])
def test_a_lifetime_has_bounds(max_lost_ns: int) -> None:
    with pytest.raises(ValueError, match="max_lost_ns must be from 0"):
        ByteTracker(TrackerParams(), max_lost_ns=max_lost_ns)


def test_tracks_end_over_a_long_gap_and_go_on_over_a_short_one() -> None:
    second = 10**9
    tracker = ByteTracker(TrackerParams(), max_lost_ns=10 * second, max_gap_ns=2 * second)
    assert tracker.update(found(BOX), 0).ids.tolist() == [1]
    assert tracker.update(found(BOX), 2 * second).ids.tolist() == [1]
    assert len(tracker.expect(4 * second).ids) == 1
    assert len(tracker.expect(4 * second + 1).ids) == 0
    after = tracker.update(found(BOX), 4 * second + 1)
    assert (after.ids.tolist(), after.ended.tolist()) == ([2], [1])
    assert after.states.tolist() == [CONFIRMED]


def test_what_is_refused_after_a_gap_changes_nothing() -> None:
    second = 10**9
    tracker = ByteTracker(TrackerParams(), max_lost_ns=10 * second, max_gap_ns=2 * second)
    tracker.update(found(BOX), 0)
    with pytest.raises(ValueError, match=r"not finite|inside out"):
        tracker.update(found((9, 9, 1, 1)), 3 * second)
    assert tracker.update(found(BOX), second).ids.tolist() == [1]


def test_too_many_detections_are_refused(tracker: ByteTracker) -> None:
    with pytest.raises(ValueError, match=f"{MAX_DETECTIONS + 1} detections in one frame"):
        tracker.update(found(*[BOX] * (MAX_DETECTIONS + 1)), 0)
    assert len(tracker.update(found(BOX), 0)) == 1


def test_huge_and_far_boxes_do_no_harm(tracker: ByteTracker) -> None:
    far = float(np.finfo(np.float32).max)
    frame = found((-far, -far, far, far), (far / 2, 0, far, 1), (0, 0, 1e-30, 1e-30), BOX)
    for k in range(50):
        assert 4 in tracker.update(frame, k).ids


def test_warming_up_leaves_the_tracker_as_it_is(tracker: ByteTracker) -> None:
    tracker.update(found(BOX), 0)
    tracker.warm_up()
    assert tracker.update(found(BOX), 1).ids.tolist() == [1]


def test_two_trackers_in_two_threads_do_not_meet() -> None:
    frames = [found(moved(BOX, 3.0 * k), moved(BOX, 900 - 3.0 * k)) for k in range(300)]

    def run(results: list[bytes]) -> None:
        tracker = ByteTracker(TrackerParams(), max_lost_ns=10)
        results.append(b"".join(tracker.update(frame, k).boxes.tobytes() for k, frame in enumerate(frames)))

    results: list[bytes] = []
    threads = [threading.Thread(target=run, args=(results,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    assert results[0] == results[1]


@pytest.mark.parametrize("mode", ["time", "reference"])
def test_what_is_expected_is_what_a_lost_track_shows(mode: Literal["time", "reference"]) -> None:
    tracker, twin = (ByteTracker(TrackerParams(mode=mode), max_lost_ns=10**9) for _ in range(2))
    for k in range(5):
        for each in (tracker, twin):
            each.update(found(moved(BOX, 4.0 * k), moved(BOX, 500)), 40_000_000 * k)
    expected = tracker.expect(200_000_000)
    assert expected.ids.tolist() == [1, 2]
    assert expected.states.tolist() == [CONFIRMED, CONFIRMED]
    assert expected.matched_ns.tolist() == [160_000_000] * 2
    assert (expected.deviations > 0).all() == (mode == "time")
    assert 114 < expected.boxes[0, 0] < 124
    # Nothing is found, so the update shows its predictions; and having asked makes no difference.
    update = tracker.update(Detections.empty(), 200_000_000)
    np.testing.assert_array_equal(update.boxes, expected.boxes.astype(np.float32))
    np.testing.assert_array_equal(update.boxes, twin.update(Detections.empty(), 200_000_000).boxes)


def test_after_a_cut_nothing_is_expected(tracker: ByteTracker) -> None:
    tracker.update(found(BOX), 0)
    tracker.cut()
    assert tracker.expect(1).ids.tolist() == []
    assert tracker.update(found(BOX), 1).ended.tolist() == [1]
    with pytest.raises(ValueError, match="time must go on"):
        tracker.expect(1)
