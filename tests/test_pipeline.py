"""The nursery under faults: every error reaches the caller, nothing hangs, every frame is accounted for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.api import Delivery
from streamtrack.errors import DecodeError, InferenceError, InternalError, SinkError, SourceOpenError
from streamtrack.pacing import Pacer
from streamtrack.pipeline import Outlet, Plan, StagePipeline, Stages
from streamtrack.testing.results import make_frame, make_info
from streamtrack.types import (
    CONFIRMED,
    LOST,
    Detections,
    Frame,
    Result,
    RunInfo,
    SourceInfo,
    TrackUpdate,
)

from .scripted import Fault, OneTrack, Paced, Recorder, ScriptedDetector, ScriptedSource, fails_at, no_fault

PLAN = Plan(ScriptedDetector, OneTrack, lambda: make_info(None))


def make(
    source: ScriptedSource,
    detector: ScriptedDetector | None = None,
    *sinks: Recorder,
    batch_size: int = 1,
    queue_size: int = 2,
) -> StagePipeline:
    def plan(info: SourceInfo) -> Plan:
        return Plan(lambda: detector or ScriptedDetector(), OneTrack, lambda: make_info(None))

    named = [Outlet(f"recorder{i}", sink, sink.delivery) for i, sink in enumerate(sinks)]
    return StagePipeline(Stages(lambda: source, plan, named, batch_size, queue_size))


def test_sinks_that_want_to_know_are_told_how_the_run_went() -> None:
    knowing, other = Recorder(), Recorder()
    knowing.conclude = lambda metrics: knowing.events.extend(metrics)  # type: ignore[attr-defined]
    with make(ScriptedSource(3), None, knowing, other) as pipeline:
        list(pipeline)
    pipeline.conclude_sinks({"status": "complete"})
    assert (knowing.events, other.events) == (["open", "close", "status"], ["open", "close"])


def consume(pipeline: StagePipeline, each: Fault, after: Callable[[], None] = lambda: None) -> None:
    for result in pipeline:
        each(result.frame.index)
    after()


@given(
    count=st.integers(0, 40),
    stride=st.integers(1, 7),
    batch=st.integers(1, 5),
    queue=st.integers(1, 6),
)
def test_every_wanted_frame_comes_once_in_order_whatever_the_sizes(
    count: int, stride: int, batch: int, queue: int
) -> None:
    sink = Recorder()
    source = ScriptedSource(count, stride=stride)
    with make(source, None, sink, batch_size=batch, queue_size=queue) as pipeline:
        indexes = [result.frame.index for result in pipeline]
    wanted = list(range(0, count, stride))
    assert indexes == wanted
    assert sink.frames == wanted
    ledger = pipeline.ledger()
    assert ledger.seen == count == sum(ledger[1:])
    assert ledger.detected == len(wanted)


def test_a_file_fills_its_batches() -> None:
    detector = ScriptedDetector()
    with make(ScriptedSource(10), detector, batch_size=4, queue_size=4) as pipeline:
        assert len(list(pipeline)) == 10
    assert detector.batches == [4, 4, 2]
    assert detector.closed == 1


class Slept:
    """A clock that only waiting moves, and what was waited for."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def pacer(self, max_fps: float) -> Pacer:
        return Pacer(max_fps, clock=lambda: self.now, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.mark.parametrize(("batch", "waits"), [(1, [0.25] * 9), (4, [1.0, 1.0])])
def test_a_file_is_held_to_its_rate_and_loses_nothing(batch: int, waits: list[float]) -> None:
    clock, detector = Slept(), ScriptedDetector()
    plan = Plan(lambda: detector, OneTrack, lambda: make_info(None))
    stages = Stages(lambda: ScriptedSource(10), lambda info: plan, batch_size=batch, pacer=clock.pacer(4))
    with StagePipeline(stages) as pipeline:
        assert [result.frame.index for result in pipeline] == list(range(10))
    # One wait less than there are batches: nobody waits for what does not come.
    assert clock.slept == waits


def test_a_live_feed_that_is_held_back_gives_up_its_older_frames() -> None:
    begun, waiting, fed = threading.Event(), threading.Event(), threading.Event()

    class Feed(ScriptedSource):
        def __iter__(self) -> Iterator[Frame]:
            frames = super().__iter__()
            yield next(frames)
            assert begun.wait(60)
            # The one for whose turn is waited.
            yield next(frames)
            assert waiting.wait(60)
            yield from frames
            fed.set()

    def sleep(seconds: float) -> None:
        waiting.set()
        assert fed.wait(60)

    detector = ScriptedDetector(fault=lambda index: begun.set())
    plan = Plan(lambda: detector, OneTrack, lambda: make_info(None))
    pacer = Pacer(4, clock=lambda: 0.0, sleep=sleep)
    with StagePipeline(Stages(lambda: Feed(50, live=True), lambda info: plan, pacer=pacer)) as pipeline:
        indexes = [result.frame.index for result in pipeline]
    assert indexes == [0, 49], "the newest is taken when the turn comes"
    assert pipeline.ledger().dropped_queue == 48


def test_leaving_does_not_wait_for_a_turn_that_is_hours_away() -> None:
    stages = Stages(lambda: ScriptedSource(10), lambda info: PLAN, pacer=Pacer(1e-4))
    with StagePipeline(stages) as pipeline:
        assert next(iter(pipeline)).frame.index == 0
    assert pipeline.ledger().detected == 1


def test_a_live_feed_drops_what_is_late_and_counts_it() -> None:
    with make(ScriptedSource(50, live=True), ScriptedDetector(delay_s=0.01)) as pipeline:
        indexes = [result.frame.index for result in pipeline]
    ledger = pipeline.ledger()
    assert indexes == sorted(set(indexes))
    assert indexes[-1] == 49
    assert ledger.dropped_queue == 50 - len(indexes) > 0


def test_what_a_source_left_out_because_decoding_was_late_is_dropped() -> None:
    source = ScriptedSource(10)
    source.stats.dropped = source.stats.seen = 7
    with make(source, ScriptedDetector()) as pipeline:
        assert len(list(pipeline)) == 10
    ledger = pipeline.ledger()
    assert (ledger.seen, ledger.detected, ledger.dropped_queue) == (17, 10, 7)


def test_only_the_newest_frame_of_a_live_feed_waits() -> None:
    """A detector that is ten times too slow sees the frame of that moment, not the one of a queue ago."""

    class Paced(ScriptedSource):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                time.sleep(0.004)
                yield replace(frame, captured_ns=time.time_ns())

    with make(Paced(100, live=True), ScriptedDetector(delay_s=0.04), queue_size=16) as pipeline:
        ages = [result.age_ms for result in pipeline]
    assert pipeline.ledger().dropped_queue > 50
    # Detecting takes 40 ms, waiting at most the time between two frames; a full queue of 16 would be 600 ms late.
    assert sorted(age for age in ages if age is not None)[len(ages) // 2] < 300


def test_a_slow_sink_makes_nothing_late() -> None:
    """Frames wait for it where newer ones replace them, not behind the detector."""
    sink = Recorder(delay_s=0.1)
    sink.delivery = Delivery(when_full="wait")
    with make(Paced(200, live=True), None, sink) as pipeline:
        ages = [result.age_ms for result in pipeline]
    assert sink.frames == sorted(set(sink.frames))
    assert len(sink.frames) == len(ages) == pipeline.ledger().detected
    # Behind a detector that does not wait, every frame would be as old as the sink takes for one, and more.
    assert sorted(age for age in ages if age is not None)[len(ages) // 2] < 90


def test_frames_that_are_too_old_are_given_up_and_counted() -> None:
    class Late(ScriptedSource):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                age_s = 60 if frame.index % 2 else 0
                yield replace(frame, captured_ns=time.time_ns() - age_s * 10**9)

    stages = Stages(lambda: Late(20), lambda info: PLAN, queue_size=4, max_staleness_ns=30 * 10**9)
    with StagePipeline(stages) as pipeline:
        indexes = [result.frame.index for result in pipeline]
    assert indexes == list(range(0, 20, 2))
    assert pipeline.ledger().dropped_stale == 10


def test_frames_of_a_file_have_no_age() -> None:
    with make(ScriptedSource(3)) as pipeline:
        assert [result.age_ms for result in pipeline] == [None] * 3


class CutTracker(OneTrack):
    """Remembers before which updates tracks were ended."""

    def __init__(self) -> None:
        self.updates = 0
        self.cuts: list[int] = []

    def cut(self) -> None:
        self.cuts.append(self.updates)

    def update(self, detections: Detections, pts_ns: int) -> TrackUpdate:
        self.updates += 1
        return super().update(detections, pts_ns)


def cuts(frames: Sequence[Frame], *, live: bool) -> list[int]:
    tracker = CutTracker()

    class Given(ScriptedSource):
        def __iter__(self) -> Iterator[Frame]:
            for n, frame in enumerate(frames):
                self.stats.seen = self.stats.delivered = n + 1
                yield frame
                # A frame that nobody waits for would be dropped for the next one.
                while tracker.updates <= n:
                    time.sleep(0.001)

    plan = PLAN._replace(make_tracker=lambda: tracker)
    with StagePipeline(Stages(lambda: Given(0, live=live), lambda info: plan)) as pipeline:
        flags = [result.cut for result in pipeline]
    assert [n for n, cut in enumerate(flags) if cut] == tracker.cuts
    return tracker.cuts


@pytest.mark.parametrize("live", [False, True])
def test_a_change_of_size_ends_all_tracks(live: bool) -> None:
    frames = [make_frame(n, width=8 + 8 * (n in (2, 3)), height=8) for n in range(6)]
    assert cuts(frames, live=live) == [2, 4]


def test_each_resource_is_closed_on_the_thread_that_opened_it() -> None:
    source = ScriptedSource(3)
    with make(source) as pipeline:
        list(pipeline)
    assert source.closed_on == ["streamtrack-decode"]


@pytest.mark.parametrize("position", [0, 1, 7])
def test_a_source_that_fails_raises_in_the_caller_and_flushes_sinks(position: int) -> None:
    source = ScriptedSource(9, fault=fails_at(position, DecodeError("broken")))
    sink = Recorder()
    pipeline = make(source, None, sink)
    with pytest.raises(DecodeError, match="broken"), pipeline:
        list(pipeline)
    assert sink.events[-1:] in ([], ["close"])
    assert sink.frames == list(range(len(sink.frames)))
    assert pipeline.ledger().detected == len(sink.frames)
    assert source.closed_on


def test_a_source_that_does_not_open_raises_on_entry() -> None:
    def refuse() -> ScriptedSource:
        raise SourceOpenError("no such file")

    stages = Stages(refuse, lambda info: Plan(ScriptedDetector, OneTrack, lambda: make_info(None)))
    with pytest.raises(SourceOpenError, match="no such file"), StagePipeline(stages):
        pytest.fail("entered")


def test_a_model_that_does_not_load_raises_on_entry_and_closes_the_source() -> None:
    source = ScriptedSource(100)

    def refuse() -> ScriptedDetector:
        raise InferenceError("corrupt model")

    stages = Stages(lambda: source, lambda info: Plan(refuse, OneTrack, lambda: make_info(None)))
    with pytest.raises(InferenceError, match="corrupt model"), StagePipeline(stages):
        pytest.fail("entered")
    assert source.closed_on == ["streamtrack-decode"]


def test_a_detector_that_fails_raises_in_the_caller() -> None:
    detector = ScriptedDetector(fault=fails_at(5, InferenceError("out of memory")))
    with pytest.raises(InferenceError, match="out of memory"), make(ScriptedSource(99), detector) as pipeline:
        list(pipeline)
    assert detector.closed == 1


@pytest.mark.parametrize("sinks", [1, 3])
def test_a_sink_that_fails_ends_the_run_and_the_others_are_flushed(sinks: int) -> None:
    bad = Recorder(fault=fails_at(4, SinkError("disk full")))
    good = [Recorder() for _ in range(sinks - 1)]
    with pytest.raises(SinkError, match="disk full"), make(ScriptedSource(500), None, bad, *good) as pipeline:
        list(pipeline)
    assert bad.frames == [0, 1, 2, 3]
    for sink in good:
        assert sink.events == ["open", "close"]
        assert sink.frames == list(range(len(sink.frames)))
        assert len(sink.frames) == pipeline.totals.frames or len(sink.frames) == pipeline.totals.frames - 1


def test_a_sink_that_does_not_open_raises_on_entry_and_the_others_are_closed() -> None:
    detector, other = ScriptedDetector(), Recorder()
    with (
        pytest.raises(SinkError, match="no room"),
        make(ScriptedSource(500), detector, other, Recorder(fail_open=True)),
    ):
        pytest.fail("entered")
    assert detector.batches == [], "no frame was lost to a sink that could not take it"
    assert other.events[-1:] in ([], ["close"])


def test_nothing_is_detected_before_every_sink_is_open() -> None:
    detector, opened = ScriptedDetector(), threading.Event()

    class Slow(Recorder):
        def open(self, info: RunInfo) -> None:
            assert not opened.wait(0.05)
            super().open(info)
            assert detector.batches == []

    sink = Slow()
    with make(ScriptedSource(5), detector, Recorder(), sink) as pipeline:
        assert sink.events == ["open"]
        assert len(list(pipeline)) == 5


def test_a_slow_sink_holds_the_run_back_but_loses_nothing() -> None:
    sink = Recorder(delay_s=0.002)
    with make(ScriptedSource(60), None, sink) as pipeline:
        list(pipeline)
    assert sink.frames == list(range(60))
    assert pipeline.channel_stats()[-1].put_wait_s > 0


def test_leaving_early_stops_promptly_and_accounts_for_every_frame() -> None:
    sink = Recorder()
    source = ScriptedSource(10**9)
    with make(source, None, sink) as pipeline:
        for result in pipeline:
            if result.frame.index == 20:
                break
    ledger = pipeline.ledger()
    assert not pipeline.finished
    assert sink.frames == list(range(21))
    assert sink.events == ["open", "close"]
    assert ledger.detected == 21
    assert sum(ledger[1:]) == ledger.seen == source.stats.seen


def test_a_source_that_waits_for_ever_is_woken() -> None:
    class Silent(ScriptedSource):
        def __init__(self) -> None:
            super().__init__(1)
            self._woken = threading.Event()

        def __iter__(self) -> Iterator[Frame]:
            yield from super().__iter__()
            self._woken.wait()

        def interrupt(self) -> None:
            self._woken.set()

    source = Silent()
    with make(source) as pipeline:
        next(iter(pipeline))
    assert source.closed_on


def test_a_model_that_takes_long_to_build_is_interrupted_when_the_run_stops() -> None:
    stopped = threading.Event()

    def build_for_ever() -> ScriptedDetector:
        assert stopped.wait(30)
        raise InferenceError("interrupted")

    source = ScriptedSource(10**9)

    def fail(info: SourceInfo) -> OneTrack:
        raise KeyboardInterrupt

    plan = Plan(build_for_ever, lambda: fail(source.info), lambda: make_info(None), interrupt=stopped.set)
    with pytest.raises(KeyboardInterrupt), StagePipeline(Stages(lambda: source, lambda info: plan)):
        pytest.fail("entered")
    assert stopped.is_set()


def test_an_error_of_the_caller_is_the_one_that_is_raised() -> None:
    sink = Recorder()

    def interrupt_at_3(index: int) -> None:
        if index == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), make(ScriptedSource(10**9), None, sink) as pipeline:
        consume(pipeline, interrupt_at_3)
    assert sink.frames == [0, 1, 2, 3]


def test_later_errors_hang_on_the_first_one() -> None:
    source = ScriptedSource(10**9)
    bad = [Recorder(fault=fails_at(2, SinkError("first"))), Recorder(fault=fails_at(2, SinkError("second")))]
    with pytest.raises(SinkError) as caught, make(source, None, *bad) as pipeline:
        list(pipeline)
    both = {str(caught.value), *(note.rpartition(": ")[2] for note in getattr(caught.value, "__notes__", []))}
    assert both == {"first", "second"} or both < {"first", "second"}


def test_a_ledger_that_does_not_add_up_is_an_internal_error() -> None:
    source = ScriptedSource(5)
    with pytest.raises(InternalError, match="does not add up"), make(source) as pipeline:
        consume(pipeline, no_fault, after=lambda: setattr(source.stats, "seen", 6))


def test_a_cut_is_told_to_the_tracker_before_the_frame_and_travels_with_it() -> None:
    told: list[object] = []

    class Told(OneTrack):
        def cut(self) -> None:
            told.append("cut")

        def update(self, detections: Detections, pts_ns: int) -> TrackUpdate:
            told.append(pts_ns)
            return super().update(detections, pts_ns)

    def plan(info: SourceInfo) -> Plan:
        return Plan(ScriptedDetector, Told, lambda: make_info(None), lambda small, pts_ns: small.max() in (2, 3, 7))

    with StagePipeline(Stages(lambda: ScriptedSource(9), plan, batch_size=4)) as pipeline:
        results = list(pipeline)
    assert [result.frame.index for result in results if result.cut] == [2, 3, 7]
    times: list[object] = [result.frame.pts_ns for result in results]
    assert told == [*times[:2], "cut", times[2], "cut", *times[3:7], "cut", *times[7:]]
    assert pipeline.totals.cuts == 3


def test_info_before_entry_is_an_internal_error() -> None:
    with pytest.raises(InternalError, match="'with' block"):
        _ = make(ScriptedSource(1)).info


def test_totals_count_confirmed_tracks_once() -> None:
    from streamtrack.pipeline import Totals

    def result(ids: list[int], states: list[int], ended: list[int]) -> Result:
        m = len(ids)
        tracks = TrackUpdate(
            np.array(ids, np.int64),
            np.zeros((m, 4), np.float32),
            np.ones(m, np.float32),
            np.zeros(m, np.int32),
            np.array(states, np.uint8),
            np.full(m, -1, np.int32),
            np.array(ended, np.int64),
        )
        return Result(make_frame(0, width=8, height=8), Detections.empty(), tracks)

    totals = Totals()
    totals.add(result([1, 2], [CONFIRMED, LOST], []))
    totals.add(result([1, 3], [LOST, CONFIRMED], [2]))
    totals.add(result([1], [CONFIRMED], [3]))
    assert totals.tracks == 2
    assert totals.alive == frozenset({1})
    assert totals.frames == 3
