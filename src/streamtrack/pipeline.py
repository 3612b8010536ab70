"""The stages on their threads: source -> detector -> tracker -> sinks.

```
[decode]          [infer]                      [caller's thread]          [one thread per sink]
Source  =frames=> Detector.detect  =found=>    ByteTracker.update  =sink=> Sink.write
        ^ the only place that may drop: block for files, drop-oldest for live feeds
```

``StagePipeline`` is a nursery: no thread outlives its ``with`` block. Whoever uses a resource opens and closes it on
its own thread, so the stages come as factories.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, Self

from streamtrack.api import Delivery, Sink, Source
from streamtrack.channel import Cancelled, Channel, ChannelClosed, ChannelStats
from streamtrack.errors import InternalError
from streamtrack.models.spec import ModelSpec
from streamtrack.pacing import Pacer
from streamtrack.threads import StageClock, ThreadGroup
from streamtrack.types import (
    CONFIRMED,
    BoxCounts,
    Detections,
    Float32Array,
    Frame,
    Result,
    RunInfo,
    SourceInfo,
    SourceStats,
    TrackUpdate,
)

NEVER_NS: Final = 2**62 - 1
"""146 years."""
_STOP_TIMEOUT_S = 10.0
_POLL_S = 0.5


class FrameDetector(Protocol):
    """What the infer thread needs of ``streamtrack.models.detector.Detector``."""

    @property
    def thumbnails(self) -> Sequence[Float32Array]:
        """Small pictures of the frames of the latest ``detect``: planar RGB (3, rows, columns), 0..255."""
        ...

    @property
    def box_counts(self) -> Sequence[BoxCounts | None]:
        """What became of the model's boxes in the frames of the latest ``detect``; None where there is no model."""
        ...

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Return the detections of each frame."""
        ...

    def close(self) -> None:
        """Release the model."""
        ...


class RecordedDetector(FrameDetector, Protocol):
    """What the method ``detector()`` of a source returns that brings along what was found in its frames."""

    spec: ModelSpec
    """Its classes and keypoints."""
    device: str
    origin: str
    """Where the detections come from: a file."""
    note: str
    """What they are, in words."""
    notes: Sequence[str]
    """What a person should know, a sentence each."""
    pictures: bool
    """Whether frames come with their pixels; else they are grey."""

    def is_cut(self, thumbnail: Float32Array, pts_ns: int) -> bool:
        """Return whether a new shot was seen to begin at ``pts_ns``."""
        ...


class FrameTracker(Protocol):
    """What the caller's thread needs of ``streamtrack.tracking.ByteTracker``."""

    def cut(self) -> object:
        """End all tracks: the next update is of another shot."""
        ...

    def update(self, detections: Detections, pts_ns: int) -> TrackUpdate:
        """Advance to ``pts_ns``."""
        ...


class Seen(NamedTuple):
    """What the infer thread says of one frame."""

    frame: Frame
    detections: Detections
    thumbnail: Float32Array
    box_counts: BoxCounts | None


class Plan(NamedTuple):
    """What can only be decided once the source is open."""

    open_detector: Callable[[], FrameDetector]
    """Called on the infer thread."""
    make_tracker: Callable[[], FrameTracker]
    """Called on the caller's thread, while the detector loads."""
    run_info: Callable[[], RunInfo]
    """Called on the caller's thread once the detector has loaded."""
    is_cut: Callable[[Float32Array, int], bool] = lambda thumbnail, pts_ns: False
    """Called on the caller's thread, frame by frame in order: whether a new shot begins."""
    adapt: Callable[[Detections, Float32Array, int, bool], Detections] = lambda found, thumbnail, pts_ns, cut: found
    """Called on the caller's thread, frame by frame in order: the detections that count in the light of the frame."""
    interrupt: Callable[[], None] = lambda: None
    """Called from any thread when the run stops: a model may take minutes to build, and shall not."""


class Outlet(NamedTuple):
    """A sink, and how results reach it."""

    name: str
    sink: Sink
    delivery: Delivery = Delivery()

    def drops(self, *, live: bool) -> bool:
        """Return whether results are lost while the sink is behind; else the run waits for it."""
        chosen = self.delivery.when_full or getattr(self.sink, "when_full", None)
        return chosen == "drop" if chosen else live


def told_apart(sinks: Sequence[Outlet]) -> list[Outlet]:
    """Return ``sinks`` with a number behind a name that one before it has."""
    count: Counter[str] = Counter()
    apart = []
    for sink in sinks:
        count[sink.name] += 1
        apart.append(sink._replace(name=f"{sink.name} {count[sink.name]}") if count[sink.name] > 1 else sink)
    return apart


@dataclass(frozen=True, slots=True)
class Stages:
    """How to make each stage."""

    make_source: Callable[[], Source]
    """Called on the caller's thread; the source is opened on the decode thread."""
    plan: Callable[[SourceInfo], Plan]
    """Called on the caller's thread once the source is open; the place to fetch a model or to make a folder."""
    sinks: Sequence[Outlet] = ()
    batch_size: int = 1
    queue_size: int = 4
    max_staleness_ns: int = NEVER_NS
    """Frames of a live feed that are older than this are not detected in."""
    pacer: Pacer = field(default_factory=Pacer)
    """Holds the infer thread back: a file then waits, and a live feed gives up its older frames."""


class Ledger(NamedTuple):
    """Every source frame ends in exactly one bucket; the buckets sum to ``seen``."""

    seen: int
    strided: int
    """Not wanted by stride or fps."""
    detected: int
    coasted: int
    """Tracked without detection."""
    dropped_queue: int
    """Given up because a stage was late, or because the run was stopped while they waited."""
    dropped_stale: int
    """Of a live feed, and too old when their turn came."""
    corrupt: int


@dataclass(slots=True)
class Totals:
    """What has been found so far."""

    frames: int = 0
    detections: int = 0
    tracks: int = 0
    """Tracks that were ever confirmed."""
    cuts: int = 0
    boxes: BoxCounts | None = None
    """What became of the model's; None as long as it is unknown of every frame."""
    alive: frozenset[int] = field(default_factory=frozenset)
    """Ids of the confirmed tracks that have not ended."""

    def add(self, result: Result) -> None:
        """Count one result."""
        self.frames += 1
        self.detections += len(result.detections)
        self.cuts += result.cut
        if result.box_counts is not None:
            self.boxes = result.box_counts + (self.boxes or BoxCounts())
        confirmed = frozenset(result.tracks.ids[result.tracks.states == CONFIRMED].tolist())
        self.tracks += len(confirmed - self.alive)
        self.alive = (self.alive | confirmed) - frozenset(result.tracks.ended.tolist())


class StagePipeline:
    """Runs the stages; iterate it for results.

    ``with StagePipeline(stages) as p: for result in p: ...``. On entry the source is opened, the model loaded and the
    sinks are opened, and what goes wrong there is raised there. A slow caller is back-pressure. Leaving the block early
    stops the run; sinks are flushed in every case. The first error of any thread is raised in the caller.
    """

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        size = max(stages.queue_size, stages.batch_size)
        self._frames: Channel[Frame] = Channel("frames", size)
        self._found: Channel[Seen] = Channel("detections", size)
        self._outlets: list[Channel[Result]] = [
            Channel(f"sink {sink.name}", sink.delivery.queue or size, inherit=_inherit) for sink in stages.sinks
        ]
        self._group = ThreadGroup(on_error=self._wake)
        self._source_open, self._detector_ready, self._begun = (threading.Event() for _ in range(3))
        self._sinks_open = [threading.Event() for _ in stages.sinks]
        self._live = False
        self._stale = 0
        self._previous: Frame | None = None
        self._decided: Plan | None = None
        self._finished = self._under_way = False
        self._stats = SourceStats()
        self._source: Source | None = None
        self._info: SourceInfo | None = None
        self.clocks = {name: StageClock() for name in ("decode", "detect", "track", *self._sink_names())}
        self.totals = Totals()

    def _sink_names(self) -> list[str]:
        return [f"sink {sink.name}" for sink in self._stages.sinks]

    @property
    def info(self) -> SourceInfo:
        """What is known of the source.

        Raises:
            InternalError: outside the ``with`` block.
        """
        if self._info is None:
            raise InternalError("The pipeline has not been entered: use it in a 'with' block.")
        return self._info

    @property
    def finished(self) -> bool:
        """Whether the source was read to its end and every result was handed out."""
        return self._finished

    @property
    def opened(self) -> bool:
        """Whether ``info`` is there."""
        return self._info is not None

    @property
    def begun(self) -> bool:
        """Whether everything is ready for frames, and the run has neither ended nor been stopped."""
        return self._under_way

    def __enter__(self) -> Self:
        source = self._source = self._stages.make_source()
        self._stats = source.stats
        try:
            self._group.start("decode", partial(self._decode, source))
            self._await(self._source_open)
            plan = self._decided = self._stages.plan(self.info)
            self._is_cut, self._adapt = plan.is_cut, plan.adapt
            self._group.start("infer", partial(self._infer, plan.open_detector))
            self._tracker = plan.make_tracker()
            self._await(self._detector_ready)
            run_info = plan.run_info()
            for i, sink in enumerate(self._stages.sinks):
                self._outlets[i].drop_oldest = sink.drops(live=self._live)
                self._group.start(f"sink-{sink.name}", partial(self._drain, i, run_info))
            # A sink may have a model to load, and no frame shall be lost to one that cannot.
            for opened in self._sinks_open:
                self._await(opened)
            self._begun.set()
            self._under_way = True
        except BaseException:
            self._shut_down()
            raise
        return self

    def __iter__(self) -> Iterator[Result]:
        clock = self.clocks["track"]
        try:
            for seen in self._found:
                with clock.working():
                    result = self._track(seen)
                    self.totals.add(result)
                for outlet in self._outlets:
                    outlet.put(result)
                yield result
        except (Cancelled, ChannelClosed):
            self._raise_first_error()
            return
        self._raise_first_error()
        self._finished = True

    def _track(self, seen: Seen) -> Result:
        frame, found, thumbnail, box_counts = seen
        cut = self._is_cut(thumbnail, frame.pts_ns) or self._is_resized(frame)
        self._previous = frame
        if cut:
            self._tracker.cut()
        detections = self._adapt(found, thumbnail, frame.pts_ns, cut)
        tracks = self._tracker.update(detections, frame.pts_ns)
        age_ms = _age_ns(frame) / 1e6 if frame.captured_ns is not None else None
        return Result(frame, detections, tracks, cut, age_ms, box_counts)

    def _is_resized(self, frame: Frame) -> bool:
        """Return whether boxes of the previous frame say nothing about this one: its pixels are others."""
        previous = self._previous
        return previous is not None and (frame.width, frame.height) != (previous.width, previous.height)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        survivors = self._shut_down()
        if error is None:
            self._raise_first_error()
            if survivors:
                raise InternalError(f"{', '.join(survivors)} did not stop within {_STOP_TIMEOUT_S:.0f} s.")
            self.ledger()

    def _shut_down(self) -> list[str]:
        self._under_way = False
        if not self._finished:
            self._cancel_input()
            self._hurry_sinks()
        # Sinks are closed, not cancelled: what was tracked is written, whatever ended the run.
        for outlet in self._outlets:
            outlet.close()
        try:
            return self._group.join(None if self._finished else _STOP_TIMEOUT_S)
        except KeyboardInterrupt:
            self._hurry_sinks()
            self._group.join(_STOP_TIMEOUT_S)
            raise

    def _cancel_input(self) -> None:
        self._under_way = False
        # A source that waits for somebody else, such as a silent pipe, may offer to be woken.
        getattr(self._source, "interrupt", lambda: None)()
        if self._decided is not None:
            self._decided.interrupt()
        self._stages.pacer.release()
        self._frames.cancel()
        self._found.cancel()
        self._begun.set()

    def _hurry_sinks(self) -> None:
        # One that waits for somebody else, such as a broker, may offer to be told that nobody waits any more.
        for _, sink, _ in self._stages.sinks:
            getattr(sink, "interrupt", lambda: None)()

    def _wake(self) -> None:
        self._cancel_input()
        # The caller may be waiting for room in a channel that leads to one.
        self._hurry_sinks()
        for event in (self._source_open, self._detector_ready, *self._sinks_open):
            event.set()

    def _await(self, ready: threading.Event) -> None:
        # Without a limit, a Ctrl-C just before the wait would be seen when it ends: with a silent feed, never.
        while not ready.wait(_POLL_S):
            pass
        self._raise_first_error()

    def _raise_first_error(self) -> None:
        if self._group.error is not None:
            raise self._group.error

    def _decode(self, source: Source) -> None:
        try:
            self._info = source.open()
            self._live = self._info.live
            if self._live:
                # Whatever waits grows old: nothing may wait but the newest.
                self._frames.resize(self._stages.batch_size, drop_oldest=True)
                self._found.resize(1, drop_oldest=False)
            self._source_open.set()
            self._feed(iter(source))
            self._frames.close()
        finally:
            source.close()

    def _feed(self, frames: Iterator[Frame]) -> None:
        clock = self.clocks["decode"]
        while True:
            with clock.working(items=0):
                frame = next(frames, None)
            if frame is None:
                return
            clock.items += 1
            self._frames.put(frame)

    def _infer(self, open_detector: Callable[[], FrameDetector]) -> None:
        detector = open_detector()
        clock, pacer = self.clocks["detect"], self._stages.pacer
        try:
            self._detector_ready.set()
            # What is detected before there is a tracker only grows old.
            self._begun.wait()
            while True:
                self._await_room()
                # Nobody waits for the turn of a frame that never comes.
                self._frames.wait_for_item()
                pacer.wait()
                frames = self._fresh(self._frames.get_batch(self._stages.batch_size, fill=not self._live))
                if not frames:
                    continue
                pacer.took(len(frames))
                with clock.working(len(frames)):
                    found = detector.detect(frames)
                for seen in zip(frames, found, detector.thumbnails, detector.box_counts, strict=True):
                    self._found.put(Seen(*seen))
        except ChannelClosed:
            self._found.close()
        finally:
            detector.close()

    def _await_room(self) -> None:
        """Take no frame of a live feed that would only wait later on: where it waits now, a newer one replaces it."""
        if self._live:
            self._found.wait_for_room()
            for outlet in self._outlets:
                if not outlet.drop_oldest:
                    outlet.wait_for_room()

    def _fresh(self, frames: list[Frame]) -> list[Frame]:
        """Leave out frames that are too old to be of use."""
        fresh = [frame for frame in frames if _age_ns(frame) <= self._stages.max_staleness_ns]
        self._stale += len(frames) - len(fresh)
        return fresh

    def _drain(self, number: int, info: RunInfo) -> None:
        (name, sink, _), outlet = self._stages.sinks[number], self._outlets[number]
        clock = self.clocks[f"sink {name}"]
        try:
            sink.open(info)
            self._sinks_open[number].set()
            for result in outlet:
                with clock.working():
                    sink.write(result)
        except BaseException:
            # The caller may be waiting for room in this channel; nobody will make any more.
            outlet.cancel()
            raise
        finally:
            sink.close()

    def ledger(self) -> Ledger:
        """Return where every source frame so far has gone.

        Raises:
            InternalError: the run is complete and the buckets do not sum to the frames seen.
        """
        ledger = self.settled()
        if self._finished and sum(ledger[1:]) != ledger.seen:
            raise InternalError(f"The frame ledger does not add up: {ledger}. Please report this.")
        known = ledger.dropped_queue - self._stats.dropped + ledger.detected + ledger.dropped_stale
        undelivered = 0 if self._finished else self._stats.delivered - known
        return ledger._replace(dropped_queue=ledger.dropped_queue + undelivered)

    def settled(self) -> Ledger:
        """Return the ledger without the frames that are still on their way: none of its numbers ever falls."""
        stats, dropped = self._stats, self._frames.stats.dropped
        return Ledger(
            seen=stats.seen,
            strided=stats.strided,
            detected=self.totals.frames,
            coasted=0,
            dropped_queue=dropped + stats.dropped,
            dropped_stale=self._stale,
            corrupt=stats.corrupt,
        )

    @property
    def source_stats(self) -> SourceStats:
        """Counters of the source, beyond those in the ledger."""
        return self._stats

    def sink_counts(self) -> dict[str, dict[str, int]]:
        """Return what the sinks that count have counted so far, by the name of the sink."""
        counting = ((name, getattr(sink, "counts", None)) for name, sink, _ in self._stages.sinks)
        return {name: dict(counts()) for name, counts in counting if counts is not None}

    def conclude_sinks(self, metrics: Mapping[str, Any]) -> None:
        """Tell the sinks that want to know how the run went; all are closed.

        Raises:
            SinkError: one of them could not write it.
        """
        for _, sink, _ in self._stages.sinks:
            getattr(sink, "conclude", lambda told: None)(metrics)

    def channel_stats(self) -> list[ChannelStats]:
        """Return the statistics of every channel, in the order of the stages."""
        return [self._frames.stats, self._found.stats, *(outlet.stats for outlet in self._outlets)]


def _inherit(lost: Result, heir: Result) -> Result:
    return heir.inheriting(lost)


def _age_ns(frame: Frame) -> int:
    """Return how long ago a frame was captured; 0 where nobody knows, as in a file."""
    return 0 if frame.captured_ns is None else time.time_ns() - frame.captured_ns
