"""The whole update against its twin, on scenes made up at random."""

from itertools import pairwise

import numba
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import NaiveByteTracker
from scenes import Scene, detect

from streamtrack.params import TrackerParams
from streamtrack.tracking.tracker import ByteTracker
from streamtrack.types import Detections

EXAMPLES = 12 if numba.config.DISABLE_JIT else 60


def compare(params: TrackerParams, frames: list[Detections], times_ns: list[int], max_lost_ns: int) -> int:
    """Run both over the same frames; return how many rows were compared."""
    tracker, twin = ByteTracker(params, max_lost_ns=max_lost_ns), NaiveByteTracker(params, max_lost_ns)
    rows = 0
    for frame, pts_ns in zip(frames, times_ns, strict=True):
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
    mode=st.just("reference"),
    high_thresh=st.sampled_from([0.45, 0.6]),
    new_thresh=st.sampled_from([0.3, 0.55, 0.7]),
    low_thresh=st.sampled_from([0.1, 0.6]),
    match_thresh=st.sampled_from([0.5, 0.72, 0.9, 0.99]),
    fuse_score=st.booleans(),
)


@settings(max_examples=EXAMPLES)
@given(thresholds, scenes, st.sampled_from([1, 2, 5]), st.sampled_from([0, 1, 4, 30]))
def test_kernels_track_as_the_twin_does(params: TrackerParams, scene: Scene, stride: int, max_lost: int) -> None:
    frames = detect(scene)[::stride]
    compare(params, frames, list(range(len(frames))), max_lost)


@settings(max_examples=EXAMPLES // 3)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 10**9), min_size=30, max_size=30))
def test_kernels_count_a_lifetime_in_time_not_in_updates(seed: int, gaps_ns: list[int]) -> None:
    frames = detect(Scene(seed, frames=len(gaps_ns), objects=6, dropout=0.4))
    times_ns = [sum(gaps_ns[: k + 1]) for k in range(len(gaps_ns))]
    assert all(a < b for a, b in pairwise(times_ns))
    compare(TrackerParams(mode="reference"), frames, times_ns, 10**9)


def test_kernels_track_a_scene_that_outgrows_every_array() -> None:
    scene = Scene(1, frames=8, objects=20 if numba.config.DISABLE_JIT else 150)
    assert compare(TrackerParams(mode="reference"), detect(scene), list(range(8)), 3) > 100
