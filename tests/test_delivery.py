"""A sink that is slower than the run: what it loses, what it learns of that all the same, and that nobody else pays."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import numpy as np
import pytest

from streamtrack import registry
from streamtrack.api import Delivery
from streamtrack.pipeline import Outlet, Plan, StagePipeline, Stages
from streamtrack.testing.results import make_info
from streamtrack.types import CONFIRMED, Detections, Result, TrackUpdate

from .scripted import OneTrack, Paced, Recorder, ScriptedDetector, ScriptedSource


class Passing:
    """Tracks live for three frames each, one at a time: number n ends with frame 3n."""

    def __init__(self) -> None:
        self.frame = 0

    def cut(self) -> None:
        self.frame = -(-self.frame // 3) * 3

    def update(self, detections: Detections, pts_ns: int) -> TrackUpdate:
        number, position = divmod(self.frame, 3)
        self.frame += 1
        return TrackUpdate(
            np.array([number + 1]),
            detections.boxes,
            detections.scores,
            detections.classes,
            np.full(1, CONFIRMED, np.uint8),
            np.zeros(1, np.int32),
            np.array([number] if number and not position else [], np.int64),
        )


class Bookkeeper(Recorder):
    """Holds its first result until it is told to go on, and keeps all of them."""

    def __init__(self, delivery: Delivery) -> None:
        super().__init__()
        self.delivery = delivery
        self.held = threading.Event()
        self.released = threading.Event()
        self.results: list[Result] = []

    def write(self, result: Result) -> None:
        self.held.set()
        self.released.wait(30)
        super().write(result)
        self.results.append(result)


@pytest.mark.parametrize("queue", [1, 3])
@pytest.mark.parametrize("live", [False, True])
def test_a_slow_sink_that_drops_costs_nobody_else_anything_and_keeps_its_books(live: bool, queue: int) -> None:
    slow, quick = Bookkeeper(Delivery(when_full="drop", queue=queue)), Recorder()
    quick.delivery = Delivery(when_full="wait")
    turn = threading.Semaphore(1)

    def await_turn(index: int) -> None:
        """Let one frame in at a time, so that a live feed drops none before it is tracked."""
        assert turn.acquire(timeout=30)

    source = ScriptedSource(31, live=live, fault=await_turn)
    cut_at = {13 * 40_000_000}
    plan = Plan(ScriptedDetector, Passing, lambda: make_info(None), is_cut=lambda _, pts_ns: pts_ns in cut_at)
    outlets = [Outlet("slow", slow, slow.delivery), Outlet("quick", quick, quick.delivery)]
    with StagePipeline(Stages(lambda: source, lambda info: plan, outlets)) as pipeline:
        results = []
        for result in pipeline:
            results.append(result)
            # What comes first must be taken, so that what is queued is lost behind it and not before.
            assert slow.held.wait(30)
            turn.release()
        slow.released.set()
    assert quick.frames == [result.frame.index for result in results]
    assert slow.frames == [*quick.frames[:1], *quick.frames[-queue:]]
    ended = [track for result in results for track in result.tracks.ended.tolist()]
    assert len(ended) >= 9
    assert [track for result in slow.results for track in result.tracks.ended.tolist()] == ended
    assert [result.cut for result in slow.results][:2] == [
        False,
        any(r.cut for r in results[: len(results) - queue + 1]),
    ]
    lost, whole = pipeline.channel_stats()[-2:]
    assert (lost.dropped, lost.items, lost.capacity) == (len(results) - 1 - queue, len(results), queue)
    assert (whole.dropped, whole.items) == (0, len(results))
    assert pipeline.ledger().detected == len(results)


@pytest.mark.parametrize(("wish", "lossy"), [(None, (False, True)), ("wait", (False, False)), ("drop", (True, True))])
def test_a_sink_says_whether_it_may_lose_results_and_its_user_says_it_last(
    wish: str | None, lossy: tuple[bool, bool]
) -> None:
    class Wishful(Recorder):
        when_full = wish

    outlet = Outlet("wishful", Wishful())
    assert (outlet.drops(live=False), outlet.drops(live=True)) == lossy
    for word, expected in (("wait", False), ("drop", True)):
        told = outlet._replace(delivery=Delivery(when_full=word))
        assert told.drops(live=False) is told.drops(live=True) is expected


def test_a_slow_sink_of_a_live_feed_takes_no_frame_from_the_tracker() -> None:
    slow = Recorder(delay_s=0.1)
    plan = Plan(ScriptedDetector, OneTrack, lambda: make_info(None))
    stages = Stages(lambda: Paced(40, live=True), lambda info: plan, [Outlet("slow", slow)], queue_size=2)
    with StagePipeline(stages) as pipeline:
        tracked = len(list(pipeline))
    sink = pipeline.channel_stats()[-1]
    # A sink that held the run back would leave about a frame for each of its writes.
    assert tracked > 3 * len(slow.frames)
    assert sink.dropped == tracked - len(slow.frames)


def test_sinks_of_records_wait_and_sinks_of_pictures_may_lose_some() -> None:
    wishes = {name: getattr(registry.load("sinks", name), "when_full", None) for name in registry.names("sinks")}
    lossy = {name for name, wish in wishes.items() if wish is None}
    assert lossy == {"crops", "embeddings", "frames", "report", "video"}
    assert {wish for name, wish in wishes.items() if name not in lossy} == {"wait"}
    # As the page has it.
    rows = (Path(__file__).parent.parent / "docs" / "live.md").read_text(encoding="utf-8").splitlines()
    (row,) = (row for row in rows if row.startswith("| `when_full=drop`"))
    assert set(re.findall(r"`(\w+)`", row.rpartition("live feeds")[2])) == lossy
