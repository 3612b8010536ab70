"""How old a live feed's tracks are when the detector is slow: from the camera's clock in the pixels to the result.

``python benchmarks/bench_latency.py [--minutes M] [--work-ms MS ...] [--transport tcp|udp]``. The camera is the RTSP
server of the live tests (GStreamer's, Debian packages): 25 frames a second, each of which shows the wall clock. The
detector does nothing for so many ms a frame. Beside it runs what one writes first: a loop that reads a frame, works on
it, and reads the next. Latency is a wall time, so it is only as good as the machine is idle; how it develops from the
first minute to the last is not.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import av
import numpy as np
import pytest

from streamtrack.api import SourceOptions
from streamtrack.params import TrackerParams
from streamtrack.pipeline import Plan, StagePipeline, Stages
from streamtrack.plugins import make_source
from streamtrack.testing.results import make_info
from streamtrack.tracking.tracker import ByteTracker
from streamtrack.types import Detections, Float32Array, Frame


def live_tests() -> ModuleType:
    """Return the module that holds the tests' RTSP server."""
    path = Path(__file__).parent.parent / "tests" / "live" / "servers.py"
    spec = importlib.util.spec_from_file_location("live_servers", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["live_servers"] = module
    spec.loader.exec_module(module)
    return module


class SlowDetector:
    """Finds nothing, and takes its time."""

    def __init__(self, work_s: float) -> None:
        self._work_s = work_s
        self.thumbnails: Sequence[Float32Array] = ()
        self.box_counts: Sequence[None] = ()

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Wait."""
        time.sleep(self._work_s * len(frames))
        self.thumbnails, self.box_counts = [np.zeros((3, 2, 2), np.float32) for _ in frames], [None] * len(frames)
        return [Detections.empty() for _ in frames]

    def close(self) -> None:
        """Nothing is held."""


class Sample(NamedTuple):
    """One result: seconds since the start, and how old its frame was."""

    at_s: float
    age_ms: float


def pipeline(url: str, work_s: float, seconds: float, servers: ModuleType) -> Iterator[Sample]:
    """Yield the age of every result of streamtrack."""

    def make_tracker() -> ByteTracker:
        tracker = ByteTracker(TrackerParams(), max_lost_ns=10**9)
        tracker.warm_up()
        return tracker

    plan = Plan(lambda: SlowDetector(work_s), make_tracker, lambda: make_info(None))
    began = time.monotonic()
    with StagePipeline(Stages(lambda: make_source(url, SourceOptions(), {}), lambda info: plan)) as running:
        for result in running:
            at_s = time.monotonic() - began
            now_ms = time.time() * 1000
            yield Sample(at_s, now_ms - servers.read_clock(result.frame.rgb()))
            if at_s > seconds:
                return


def simple_loop(url: str, work_s: float, seconds: float, servers: ModuleType) -> Iterator[Sample]:
    """Yield the age of every frame of a loop that reads, works, and reads again."""
    began = time.monotonic()
    with av.open(url, options={"rtsp_transport": "tcp"}, timeout=(5, 5)) as container:
        for frame in container.decode(video=0):
            time.sleep(work_s)
            at_s = time.monotonic() - began
            yield Sample(at_s, time.time() * 1000 - servers.read_clock(frame.to_ndarray(format="rgb24")))
            if at_s > seconds:
                return


def row(name: str, samples: list[Sample], seconds: float) -> str:
    """Return the figures of one contender: all of it, its first sixth and its last."""
    ages = [sample.age_ms for sample in samples if sample.at_s > 1.0]
    first, last = (
        statistics.median(sample.age_ms for sample in samples if low <= sample.at_s < high)
        for low, high in ((1.0, 1.0 + seconds / 6), (seconds * 5 / 6, seconds))
    )
    return (
        f"{name:24} {len(ages):7} {np.percentile(ages, 50):8.0f} {np.percentile(ages, 95):8.0f} {max(ages):8.0f}"
        f" {first:10.0f} {last:9.0f}"
    )


def main() -> None:
    """Print the table; both contenders watch the same camera at the same time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--work-ms", type=float, nargs="+", default=[20, 100])
    parser.add_argument("--transport", default="tcp", choices=("tcp", "udp"))
    args = parser.parse_args()
    servers, seconds = live_tests(), 60 * args.minutes
    print(f"{'age in ms':24} {'frames':>7} {'p50':>8} {'p95':>8} {'max':>8} {'first p50':>10} {'last p50':>9}")
    with tempfile.TemporaryDirectory() as folder, servers.RtspServer(servers.Clips(Path(folder)), clock=True) as camera:
        for work_ms in args.work_ms:
            ours, theirs = watch_both(camera.url, args.transport, work_ms / 1000, seconds, servers)
            print(row(f"streamtrack, {work_ms:.0f} ms", ours, seconds))
            print(row(f"simple loop, {work_ms:.0f} ms", theirs, seconds))


def watch_both(
    url: str, transport: str, work_s: float, seconds: float, servers: ModuleType
) -> tuple[list[Sample], list[Sample]]:
    """Return the samples of both contenders, who run at the same time."""
    theirs: list[Sample] = []
    other = threading.Thread(target=lambda: theirs.extend(simple_loop(url, work_s, seconds, servers)))
    other.start()
    ours = list(pipeline(f"{url}?transport={transport}", work_s, seconds, servers))
    other.join()
    return ours, theirs


@pytest.mark.requires(module="streamtrack", install="the live tests say which Debian packages their RTSP server needs")
def test_a_slow_detector_does_not_make_the_feed_late(tmp_path: Path) -> None:
    servers = live_tests()
    with servers.RtspServer(servers.Clips(tmp_path), clock=True) as camera:
        ours, theirs = watch_both(camera.url, "tcp", 0.1, 6.0, servers)
    # After six seconds a loop that takes 100 ms for each of 25 frames a second is more than three behind; a feed of
    # which only the newest frame waits is not, however slow the machine.
    assert statistics.median(sample.age_ms for sample in theirs[-5:]) > 2000
    assert statistics.median(sample.age_ms for sample in ours[-5:]) < 1500
    assert 20 < len(ours) < 80


if __name__ == "__main__":
    main()
