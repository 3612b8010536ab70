"""What a report costs and how large its page becomes: synthetic tracks in pictures of noise, through the sink alone.

``python benchmarks/bench_report.py [--minutes 60] [--tracks 5000]``. Five processed frames a second of 1280 x 720, so
that every detection is a candidate for a picture; each track is there for seven seconds, lost in every twelfth frame.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from streamtrack.sinks.report import ReportSink
from streamtrack.testing.results import ArrayPicture, make_info, make_result
from streamtrack.types import Frame, Result

FPS, LIFE, WIDTH, HEIGHT = 5.0, 36, 1280, 720


class Cost(NamedTuple):
    """What one report took."""

    detections: int
    cpu_ms_each: float
    page_cpu_s: float
    page_mb: float


def results(frames: int, tracks: int) -> Iterator[Result]:
    """Yield ``frames`` results in which ``tracks`` tracks begin, evenly spread."""
    random = np.random.default_rng(0)
    pictures = [ArrayPicture(random.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)) for _ in range(4)]
    births = np.sort(random.integers(0, max(1, frames - LIFE), tracks))
    corners = random.uniform((0, 0), (WIDTH - 300, HEIGHT - 120), (tracks, 2))
    for n in range(frames):
        alive = range(*np.searchsorted(births, (n - LIFE + 1, n + 1)))
        boxes = {k + 1: (*corners[k], *(corners[k] + (90, 110))) for k in alive}
        lost = [each for each in boxes.items() if (n + each[0]) % 12 == 0]
        seen = [each for each in boxes.items() if (n + each[0]) % 12]
        ended = [k + 1 for k in range(*np.searchsorted(births, (n - LIFE, n - LIFE + 1)))]
        frame = Frame(n, round(n / FPS * 1e9), WIDTH, HEIGHT, pictures[n % len(pictures)])
        yield make_result(frame, seen, lost=lost, ended=ended)


def measure(minutes: float, tracks: int) -> Cost:
    """Write the report of a run of ``minutes`` with ``tracks`` tracks."""
    detections, working_s = 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        sink = ReportSink()
        sink.open(make_info(Path(folder), width=WIDTH, height=HEIGHT, rate=FPS))
        for result in results(round(60 * minutes * FPS), tracks):
            detections += len(result.detections)
            started = time.thread_time()
            sink.write(result)
            working_s += time.thread_time() - started
        started = time.thread_time()
        sink.close()
        page_s = time.thread_time() - started
        size = (Path(folder) / "report.html").stat().st_size
    return Cost(detections, 1000 * working_s / detections, page_s, size / 1e6)


def main() -> None:
    """Print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--tracks", type=int, default=5000)
    args = parser.parse_args()
    cost = measure(args.minutes, args.tracks)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{args.minutes:g} minutes, {args.tracks:,} tracks, {cost.detections:,} detections")
    print(f"a detection  {cost.cpu_ms_each:.2f} ms of CPU")
    print(f"the page     {cost.page_cpu_s:.2f} s of CPU, {cost.page_mb:.1f} MB")
    print(f"memory       {peak_mb:.0f} MB at most")


def test_every_detection_is_paid_for_and_the_page_is_bounded() -> None:
    cost = measure(0.2, 6)
    assert cost.detections > 6 * 0.8 * LIFE
    assert cost.cpu_ms_each > 0
    assert 0 < cost.page_mb < 4


if __name__ == "__main__":
    main()
