"""The tracker that measures time: against its twin, and what must not depend on stride, frame rate, or scale."""

import gzip
from itertools import pairwise

import goldens
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_timed import NaiveTimedTracker
from scenes import Scene, detect
from test_tracker import BOX, found, moved

from streamtrack.params import TrackerParams
from streamtrack.tracking.tracker import ByteTracker
from streamtrack.types import CONFIRMED, LOST, TENTATIVE, Detections

EXAMPLES = 6 if numba.config.DISABLE_JIT else 40
MS = 1_000_000
LIFETIME_NS = 1000 * MS


def compare(
    params: TrackerParams, frames: list[Detections], times_ns: list[int], max_lost_ns: int, cuts: set[int]
) -> int:
    """Run both over the same frames; return how many rows were compared."""
    tracker, twin = ByteTracker(params, max_lost_ns=max_lost_ns), NaiveTimedTracker(params, max_lost_ns)
    rows = 0
    for k, (frame, pts_ns) in enumerate(zip(frames, times_ns, strict=True)):
        if k in cuts:
            tracker.cut()
            twin.cut()
        update = tracker.update(frame, pts_ns)
        live, ended = twin.update(frame, pts_ns)
        assert update.ids.tolist() == [row.id for row in live]
        assert update.states.tolist() == [row.state for row in live]
        assert update.rows.tolist() == [row.row for row in live]
        assert update.classes.tolist() == [row.kind for row in live]
        assert update.scores.tolist() == [row.score for row in live]
        assert sorted(update.ended.tolist()) == ended
        boxes = np.array([row.box for row in live]).reshape(-1, 4)
        np.testing.assert_allclose(update.boxes, boxes, rtol=1e-6, atol=1e-4)
        rows += len(live)
    return rows


scenes = st.builds(
    Scene,
    seed=st.integers(0, 10**6),
    frames=st.integers(1, 40),
    objects=st.integers(0, 20),
    classes=st.integers(1, 3),
    dropout=st.sampled_from([0.0, 0.1, 0.4]),
    clutter=st.sampled_from([0.0, 0.5, 1.0]),
    jitter=st.sampled_from([0.01, 0.05]),
)
thresholds = st.builds(
    TrackerParams,
    high_thresh=st.sampled_from([0.45, 0.6]),
    new_thresh=st.sampled_from([0.3, 0.55, 0.7]),
    low_thresh=st.sampled_from([0.1, 0.6]),
    match_thresh=st.sampled_from([0.5, 0.72, 0.9, 0.99]),
    fuse_score=st.booleans(),
    class_aware=st.booleans(),
    min_area=st.sampled_from([0.0, 4000.0]),
    min_track_s=st.sampled_from([0.0, 0.0, 0.3]),
)
intervals = st.one_of(
    st.sampled_from([20 * MS, 40 * MS, 400 * MS]).map(lambda gap: [gap] * 40),
    st.lists(st.integers(1, 500 * MS), min_size=40, max_size=40),
)


@settings(max_examples=EXAMPLES)
@given(
    thresholds, scenes, intervals, st.sampled_from([0, 300 * MS, 2500 * MS]), st.sets(st.integers(0, 39), max_size=2)
)
def test_kernels_track_in_time_as_the_twin_does(
    params: TrackerParams, scene: Scene, gaps_ns: list[int], max_lost_ns: int, cuts: set[int]
) -> None:
    frames = detect(scene)
    times_ns = [sum(gaps_ns[:k]) for k in range(len(frames))]
    assert all(a < b for a, b in pairwise(times_ns))
    compare(params, frames, times_ns, max_lost_ns, cuts)


def test_kernels_track_in_time_a_scene_that_outgrows_every_array() -> None:
    scene = Scene(1, frames=8, objects=20 if numba.config.DISABLE_JIT else 150)
    assert compare(TrackerParams(), detect(scene), list(range(0, 320 * MS, 40 * MS)), LIFETIME_NS, set()) > 100


@given(scenes, st.sampled_from([0.2, 1.0]))
def test_no_track_is_confirmed_before_its_time(scene: Scene, min_track_s: float) -> None:
    tracker = ByteTracker(TrackerParams(min_track_s=min_track_s), max_lost_ns=LIFETIME_NS)
    first_seen: dict[int, int] = {}
    for count, detections in enumerate(detect(scene)):
        update = tracker.update(detections, count * 40 * MS)
        for track, state in zip(update.ids.tolist(), update.states.tolist(), strict=True):
            born = first_seen.setdefault(track, count)
            assert state == TENTATIVE or (count - born) * 40 * MS >= min_track_s * 1e9


def golden_lines(name: str, stride: int) -> list[str]:
    tracker, lines = ByteTracker(TrackerParams(), max_lost_ns=LIFETIME_NS), []
    for count, detections in enumerate(detect(goldens.SCENES[name])[::stride]):
        update = tracker.update(detections, count * stride * 40 * MS)
        for k in range(len(update)):
            facts = f"{1 + count * stride},{update.ids[k]},{update.states[k]},{update.rows[k]}"
            lines.append(facts + "," + ",".join(f"{v:.3f}" for v in update.boxes[k]))
    return lines


@pytest.mark.parametrize("stride", goldens.STRIDES)
@pytest.mark.parametrize("name", goldens.SCENES)
def test_equals_its_goldens(name: str, stride: int) -> None:
    golden = gzip.decompress(goldens.timed_path(name, stride).read_bytes()).decode("ascii").splitlines()
    lines = golden_lines(name, stride)
    assert [line.split(",")[:4] for line in lines] == [line.split(",")[:4] for line in golden]
    boxes = [[[float(v) for v in line.split(",")[4:]] for line in side] for side in (lines, golden)]
    np.testing.assert_allclose(boxes[0], boxes[1], atol=2e-3)


# --- what elapsed time means ---


def march(frame: int) -> Detections:
    """Four boxes that move smoothly at different speeds, one of them shrinking, far apart."""
    t = frame / 30
    boxes = [moved((100.0, 200.0 * k, 150.0, 200.0 * k + 120.0), (60.0 + 70.0 * k) * t) for k in range(3)]
    size = 80.0 - 8.0 * t
    return found(*boxes, (900.0, 300.0, 900.0 + size, 300.0 + 2 * size))


def confirmed_by_row(tracker: ByteTracker, stride: int) -> list[dict[int, int]]:
    updates = [tracker.update(march(k), round(k / 30 * 1e9)) for k in range(0, 91, stride)]
    return [dict(zip(u.rows.tolist(), u.ids.tolist(), strict=True)) for u in updates]


@pytest.mark.parametrize("stride", [1, 2, 3, 6, 10])
def test_smooth_motion_is_the_same_at_any_stride(stride: int) -> None:
    tracker = ByteTracker(TrackerParams(), max_lost_ns=LIFETIME_NS)
    assert confirmed_by_row(tracker, stride) == [{0: 1, 1: 2, 2: 3, 3: 4}] * len(range(0, 91, stride))
    last = tracker.update(Detections.empty(), round(94 / 30 * 1e9))
    # Whatever the stride, each is predicted where it has gone meanwhile.
    np.testing.assert_allclose(last.boxes, march(94).boxes, atol=8)


@settings(max_examples=EXAMPLES // 2)
@given(st.integers(0, 10**6), st.sampled_from([0.125, 0.5, 4.0]))
def test_scale_of_the_picture_does_not_matter(seed: int, scale: float) -> None:
    frames = detect(Scene(seed, frames=25, objects=10, dropout=0.1))
    trackers = [ByteTracker(TrackerParams(), max_lost_ns=LIFETIME_NS) for _ in range(2)]
    for k, frame in enumerate(frames):
        scaled = Detections(frame.boxes * np.float32(scale), frame.scores, frame.classes, frame.keypoints)
        a, b = trackers[0].update(frame, k * 40 * MS), trackers[1].update(scaled, k * 40 * MS)
        assert (a.ids.tolist(), a.states.tolist()) == (b.ids.tolist(), b.states.tolist())
        np.testing.assert_allclose(a.boxes * scale, b.boxes, rtol=1e-5, atol=1e-3)


@settings(max_examples=EXAMPLES // 2)
@given(st.integers(0, 10**6), st.integers(-(10**15), 10**15))
def test_when_it_all_begins_does_not_matter(seed: int, offset_ns: int) -> None:
    frames = detect(Scene(seed, frames=25, objects=10, dropout=0.1))
    trackers = [ByteTracker(TrackerParams(), max_lost_ns=LIFETIME_NS) for _ in range(2)]
    for k, frame in enumerate(frames):
        a, b = trackers[0].update(frame, k * 40 * MS), trackers[1].update(frame, k * 40 * MS + offset_ns)
        assert (a.ids.tolist(), a.boxes.tolist()) == (b.ids.tolist(), b.boxes.tolist())


@pytest.mark.parametrize("interval_ms", [10, 50, 150, 400])
def test_a_track_is_believed_by_its_age(interval_ms: int) -> None:
    tracker = ByteTracker(TrackerParams(), max_lost_ns=LIFETIME_NS)
    tracker.update(Detections.empty(), 0)
    for k in range(1, 40):
        update = tracker.update(found(BOX), k * interval_ms * MS)
        assert update.ids.tolist() == [1]
        age_ms = (k - 1) * interval_ms
        assert update.states.tolist() == [CONFIRMED if age_ms >= 150 else TENTATIVE]


def test_a_tentative_track_without_a_match_is_gone_and_its_id_is_not_used_again() -> None:
    tracker = ByteTracker(TrackerParams(), max_lost_ns=LIFETIME_NS)
    tracker.update(Detections.empty(), 0)
    assert tracker.update(found(BOX), 40 * MS).ids.tolist() == [1]
    gone = tracker.update(Detections.empty(), 80 * MS)
    assert (gone.ids.tolist(), gone.ended.tolist()) == ([], [])
    assert tracker.update(found(BOX), 120 * MS).ids.tolist() == [2]


@pytest.mark.parametrize("interval_ms", [20, 100, 250])
def test_a_lost_track_ends_when_its_time_is_over(interval_ms: int) -> None:
    tracker = ByteTracker(TrackerParams(), max_lost_ns=LIFETIME_NS)
    assert tracker.update(found(BOX), 0).states.tolist() == [CONFIRMED]
    for t in range(interval_ms, 1001, interval_ms):
        assert tracker.update(Detections.empty(), t * MS).states.tolist() == [LOST]
    update = tracker.update(Detections.empty(), 1001 * MS)
    assert (len(update), update.ended.tolist()) == (0, [1])


def test_the_tolerance_grows_with_the_time_out_of_sight() -> None:
    # Half a box away is too far after a frame, and near enough after a second.
    ids = []
    for gap_ms in (20, 900):
        tracker = ByteTracker(TrackerParams(), max_lost_ns=LIFETIME_NS)
        for k in range(50):
            tracker.update(found(BOX), k * 20 * MS)
        update = tracker.update(found(moved(BOX, 40.0)), (980 + gap_ms) * MS)
        ids.append(int(update.ids[update.rows == 0][0]))
    assert ids == [2, 1]


# --- options ---


@pytest.mark.parametrize("mode", ["time", "reference"])
def test_a_cut_ends_every_track(mode: str) -> None:
    tracker = ByteTracker(TrackerParams(mode=mode), max_lost_ns=LIFETIME_NS)
    other = moved(BOX, 500.0)
    tracker.update(found(BOX, other), 0)
    tracker.update(found(BOX), 40 * MS)
    tracker.cut()
    update = tracker.update(found(BOX), 80 * MS)
    assert (update.ids.tolist(), update.states.tolist()) == ([3], [CONFIRMED])
    assert sorted(update.ended.tolist()) == [1, 2]
    after = tracker.update(found(BOX, other), 120 * MS)
    assert (after.ids.tolist(), after.states.tolist()) == ([3, 4], [CONFIRMED, TENTATIVE])
    assert after.ended.tolist() == []


@pytest.mark.parametrize("mode", ["time", "reference"])
def test_a_cut_waits_for_an_update_that_can_be(mode: str) -> None:
    tracker = ByteTracker(TrackerParams(mode=mode), max_lost_ns=LIFETIME_NS)
    tracker.update(found(BOX), 0)
    tracker.cut()
    with pytest.raises(ValueError, match="not finite"):
        tracker.update(found((0, 0, np.nan, 1)), 40 * MS)
    assert tracker.update(Detections.empty(), 40 * MS).ended.tolist() == [1]


@pytest.mark.parametrize("mode", ["time", "reference"])
def test_classes_may_be_ignored(mode: str) -> None:
    for class_aware, expected in ((True, [2, 1]), (False, [1])):
        tracker = ByteTracker(TrackerParams(mode=mode, class_aware=class_aware), max_lost_ns=LIFETIME_NS)
        tracker.update(found(BOX, kind=1), 0)
        update = tracker.update(found(BOX, kind=2), 40 * MS)
        assert update.ids.tolist() == expected
        assert update.classes[0] == 2


@pytest.mark.parametrize("mode", ["time", "reference"])
def test_small_detections_may_be_left_out(mode: str) -> None:
    tracker = ByteTracker(TrackerParams(mode=mode, min_area=50 * 120.0), max_lost_ns=LIFETIME_NS)
    update = tracker.update(found(BOX, (300.0, 100.0, 349.0, 220.0)), 0)
    assert update.rows.tolist() == [0]
    assert tracker.ignored == 1


@pytest.mark.parametrize("mode", ["time", "reference"])
def test_boxes_may_be_those_of_the_detector(mode: str) -> None:
    tracker = ByteTracker(TrackerParams(mode=mode, raw_boxes=True), max_lost_ns=LIFETIME_NS)
    for k in range(5):
        here = found(moved(BOX, float(k * k)))
        assert tracker.update(here, k * 40 * MS).boxes.tolist() == here.boxes.tolist()
    lost = tracker.update(Detections.empty(), 200 * MS)
    assert lost.states.tolist() == [LOST]
    assert lost.boxes[0, 0] > BOX[0] + 16


def test_a_score_of_just_the_high_threshold_is_weak() -> None:
    tracker = ByteTracker(TrackerParams(high_thresh=0.6), max_lost_ns=LIFETIME_NS)
    tracker.update(found(BOX), 0)
    assert tracker.update(found(BOX, score=0.6), 40 * MS).states.tolist() == [CONFIRMED]
    assert tracker.update(found(moved(BOX, 900.0), score=0.6), 80 * MS).states.tolist() == [LOST]


# --- bounds ---


def test_slots_are_used_again() -> None:
    tracker = ByteTracker(TrackerParams(), max_lost_ns=100 * MS)
    capacity, seen, ended = tracker.capacity, set[int](), list[int]()
    for k in range(4000):
        update = tracker.update(found(moved(BOX, 400.0 * (k // 8 % 7)), moved(BOX, 9000.0)), 40 * k * MS)
        assert len(update) <= 6
        seen.update(update.ids.tolist())
        ended += update.ended.tolist()
        assert not set(update.ids.tolist()) & set(ended)
    assert len(ended) == len(set(ended)) > 300
    assert max(seen) == len(seen)
    assert tracker.capacity == capacity


def test_huge_and_far_boxes_do_no_harm() -> None:
    tracker = ByteTracker(TrackerParams(), max_lost_ns=2**61)
    far = float(np.finfo(np.float32).max)
    frame = found((-far, -far, far, far), (far / 2, 0, far, 1), (0, 0, 1e-30, 1e-30), BOX)
    for k in range(50):
        assert 4 in tracker.update(frame, k * 40 * MS).ids


def test_a_pause_of_years_does_no_harm() -> None:
    tracker = ByteTracker(TrackerParams(), max_lost_ns=2**61)
    tracker.update(found(BOX), 0)
    tracker.update(found(moved(BOX, 3.0)), 40 * MS)
    assert np.isfinite(tracker.update(Detections.empty(), 2**60).boxes).all()
    assert np.isfinite(tracker.update(found(BOX), 2**61).boxes).all()
