"""What a run measures, as families of metrics for Prometheus: read while it goes on, from any thread.

Names and units follow Prometheus (https://prometheus.io/docs/practices/naming/): base units, counters end in
``_total`` and never fall. Labels are of a fixed few words, the names of channels, stages and sinks; nothing of a URL is
in them. ``docs/metrics.md`` lists the families.
"""

from __future__ import annotations

import platform
import sys
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple, get_args

from streamtrack.pipeline import StagePipeline
from streamtrack.types import FeedState, Result

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

_LATENCY_S: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_FRAME_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_RECENT_S: Final = 10.0
"""Of wall time, over which the current rate is measured."""
_SINK: Final = "sink "

Labelled = Iterable[tuple[Sequence[str], float]]


class Health(NamedTuple):
    """Whether a run is doing its work."""

    good: bool
    reason: str
    """In words."""


class Histogram:
    """Counts values in fixed bins; added to by one thread and read by others."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """Set the upper bounds of the bins, ascending; a last bin takes what is above."""
        self._bounds = bounds
        self._lock = threading.Lock()
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count ``value``, which belongs to the first bin whose bound it does not exceed."""
        with self._lock:
            self._counts[bisect_left(self._bounds, value)] += 1
            self._sum += value

    def family(self, name: str, about: str) -> HistogramMetricFamily:
        """Return the counts as Prometheus has them: each bucket holds those below it, too."""
        from prometheus_client.core import HistogramMetricFamily

        with self._lock:
            counts, total = list(self._counts), self._sum
        bounds = [*(repr(float(bound)) for bound in self._bounds), "+Inf"]
        buckets: list[tuple[str, float]] = list(zip(bounds, map(float, accumulate(counts)), strict=True))
        family = HistogramMetricFamily(name, about)
        family.add_metric([], buckets, total)
        return family


class Rate:
    """How many frames a second there were lately, in bounded memory."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start before the first frame; ``clock`` gives seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._times: deque[float] = deque(maxlen=256)

    def add(self) -> None:
        """Count a frame."""
        with self._lock:
            self._times.append(self._clock())

    def per_second(self) -> float:
        """Return the frames a second of the latest ten seconds, or of the latest 256 frames where that is less."""
        with self._lock:
            times, now = list(self._times), self._clock()
        recent = [then for then in times if now - then <= _RECENT_S]
        if not recent:
            return 0.0
        # From the frame before them, if it is still known: its interval is the first one's.
        earlier = times[: len(times) - len(recent)]
        since = max(earlier[-1], now - _RECENT_S) if earlier else recent[0]
        frames = len(recent) - (not earlier)
        return frames / (now - since) if now > since else 0.0


class Exposition:
    """A run, as Prometheus sees it; a collector for a registry of ``prometheus_client``.

    Args:
        pipeline: the run.
        about: words about it, such as its model; asked at every scrape.
        feed: what its feed is doing, and why; None for a file.
    """

    def __init__(
        self,
        pipeline: StagePipeline,
        about: Callable[[], Mapping[str, str]],
        feed: Callable[[], tuple[FeedState | None, str]],
    ) -> None:
        self._pipeline, self._about, self._feed = pipeline, about, feed
        self._latency, self._interval, self._rate = Histogram(_LATENCY_S), Histogram(_FRAME_S), Rate()
        self._previous: float | None = None

    def observe(self, result: Result) -> None:
        """Count one result; called by the thread that iterates the pipeline, at once."""
        now = time.perf_counter()
        if self._previous is not None:
            self._interval.add(now - self._previous)
        self._previous = now
        self._rate.add()
        if result.age_ms is not None:
            self._latency.add(max(result.age_ms, 0.0) / 1000)

    def health(self) -> Health:
        """Return whether frames are expected to come through now."""
        if not self._pipeline.begun:
            return Health(False, "starting")
        state, reason = self._feed()
        if state in (None, "live"):
            return Health(True, "ok")
        return Health(False, f"feed {state}: {reason}" if reason else f"feed {state}")

    def collect(self) -> Iterator[Metric]:
        """Yield every family as it is now."""
        yield from self._of_frames()
        yield from self._of_finds()
        yield from self._of_stages()
        yield from self._of_sinks()
        yield from self._of_feed()
        yield from self._of_process()

    def _of_frames(self) -> Iterator[Metric]:
        pipeline = self._pipeline
        ledger = pipeline.settled()._asdict()
        in_flight = ledger.pop("seen") - sum(ledger.values())
        yield _counter("frames", "Source frames by what became of them", ("bucket",), _rows(ledger))
        yield _gauge("frames_in_flight", "Frames that wait for a stage or are in one", value=max(in_flight, 0))
        if pipeline.opened and pipeline.info.rate:
            yield _gauge("source_frames_per_second", "Frame rate of the source", value=pipeline.info.rate)
        about = "Frames processed a second over the last ten seconds"
        yield _gauge("processed_frames_per_second", about, value=self._rate.per_second())
        yield self._interval.family("streamtrack_frame_interval_seconds", "From one processed frame to the next")
        if pipeline.opened and pipeline.info.live:
            about = "From the capture of a frame, or its arrival, to its tracks"
            yield self._latency.family("streamtrack_latency_seconds", about)

    def _of_finds(self) -> Iterator[Metric]:
        totals = self._pipeline.totals
        yield _gauge("tracks_alive", "Confirmed tracks that have not ended", value=len(totals.alive))
        yield _counter("tracks_born", "Tracks that were confirmed", value=totals.tracks)
        yield _counter("detections", "Detections that count, in the light of their frame", value=totals.detections)
        yield _counter("cuts", "Shots that began after another one", value=totals.cuts)
        if boxes := totals.boxes:
            fates = ("suppressed", "too_small", "beyond_max", "kept")
            rows = [((fate,), float(getattr(boxes, fate))) for fate in fates]
            yield _counter("boxes", "The model's boxes over the threshold, by what became of them", ("outcome",), rows)

    def _of_stages(self) -> Iterator[Metric]:
        channels = self._pipeline.channel_stats()
        yield _gauge("queue_depth", "Items that wait", ("channel",), [((c.name,), c.depth) for c in channels])
        rows: Labelled = [((c.name,), c.capacity) for c in channels]
        yield _gauge("queue_capacity", "Items that may wait", ("channel",), rows)
        rows = [((c.name, side), s) for c in channels for side, s in (("put", c.put_wait_s), ("get", c.get_wait_s))]
        about = "Time that who fills a queue (put) and who empties it (get) have waited for each other"
        yield _counter("queue_wait_seconds", about, ("channel", "side"), rows)
        clocks = self._pipeline.clocks
        rows = [((name,), clock.wall_s) for name, clock in clocks.items()]
        yield _counter("stage_seconds", "Time that a stage worked", ("stage",), rows)
        rows = [((name,), clock.cpu_s) for name, clock in clocks.items()]
        yield _counter("stage_cpu_seconds", "CPU time of a stage's own thread", ("stage",), rows)

    def _of_sinks(self) -> Iterator[Metric]:
        sinks = [c for c in self._pipeline.channel_stats() if c.name.startswith(_SINK)]
        rows: Labelled = [((c.name.removeprefix(_SINK),), c.items) for c in sinks]
        yield _counter("sink_results", "Results meant for a sink, lost ones included", ("sink",), rows)
        rows = [((c.name.removeprefix(_SINK),), c.dropped) for c in sinks]
        about = "Results that a sink lost, being slower than the run"
        yield _counter("sink_results_dropped", about, ("sink",), rows)
        rows = [((c.name.removeprefix(_SINK),), c.put_wait_s) for c in sinks]
        yield _counter("sink_wait_seconds", "Time that the run has waited for a sink", ("sink",), rows)
        counts = self._pipeline.sink_counts()
        rows = [((sink, what), n) for sink, each in counts.items() for what, n in each.items() if what != "candidates"]
        about = "What a sink did with what it was given, by its own count, which may fall: a kept crop is replaced"
        yield _gauge("sink_items", about, ("sink", "outcome"), rows)
        made = [each["embedded"] for each in counts.values() if "embedded" in each]
        if made:
            yield _counter("embeddings", "Pictures that became vectors", value=sum(made))

    def _of_feed(self) -> Iterator[Metric]:
        now, _ = self._feed()
        yield _counter(
            "reconnects", "Times that a feed was lost and found", value=self._pipeline.source_stats.reconnects
        )
        if now is not None:
            rows = [((state,), float(state == now)) for state in get_args(FeedState)]
            yield _gauge("feed_state", "1 for what a live feed is doing", ("state",), rows)
        yield _gauge("healthy", "1 while /healthz answers 200", value=float(self.health().good))

    def _of_process(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, InfoMetricFamily

        build = {"version": version("streamtrack"), "python": platform.python_version()}
        yield InfoMetricFamily("streamtrack_build", "What is running", value=build)
        yield InfoMetricFamily("streamtrack_run", "With what it runs", value=dict(self._about()))
        if sys.platform != "linux":
            # There prometheus_client reads it, and memory too, from /proc.
            about = "Total user and system CPU time spent in seconds."
            yield CounterMetricFamily("process_cpu_seconds", about, value=time.process_time())


def _rows(values: Mapping[str, float]) -> Labelled:
    return [((word,), value) for word, value in values.items()]


def _counter(
    name: str, about: str, labels: Sequence[str] = (), rows: Labelled = (), *, value: float | None = None
) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    return _filled(CounterMetricFamily(f"streamtrack_{name}", about, labels=labels), rows, value)


def _gauge(
    name: str, about: str, labels: Sequence[str] = (), rows: Labelled = (), *, value: float | None = None
) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    return _filled(GaugeMetricFamily(f"streamtrack_{name}", about, labels=labels), rows, value)


def _filled(family: CounterMetricFamily | GaugeMetricFamily, rows: Labelled, value: float | None) -> Metric:
    for words, number in rows if value is None else [((), value)]:
        family.add_metric(words, number)
    return family
