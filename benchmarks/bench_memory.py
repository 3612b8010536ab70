"""Resident memory of a long run: flat from frame 1,000 to frame 50,000.

``python benchmarks/bench_memory.py [--frames 50000]``. The clip is small so that the run takes minutes, not
hours; what could grow with a run (tracks, records, queues, statistics) does not depend on the size of its
pictures. New tracks are born and end all the time. Memory is read from /proc/self/statm after every hundredth
frame.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import streamtrack
from streamtrack.testing.clips import write_clip
from streamtrack.testing.models import SIDE, write_square_detector

WIDTH, HEIGHT = 160, 96


def busy_frames(count: int) -> Iterator[np.ndarray]:
    """Yield a square that jumps to another place every 50 frames: a new track each time."""
    for index in range(count):
        frame = np.full((HEIGHT, WIDTH, 3), 16, np.uint8)
        x, y = (index // 50 * 71) % (WIDTH - SIDE), (index // 50 * 37) % (HEIGHT - SIDE)
        frame[y : y + SIDE, x : x + SIDE] = 255
        yield frame


def resident_mb() -> float:
    """Return the memory that the process holds now, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def measure(frames: int, at: list[int]) -> tuple[dict[int, float], int]:
    """Run over a clip of ``frames`` frames; return memory in MB at the frames ``at``, and the number of tracks."""
    found: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        model = write_square_detector(Path(folder) / "squares.onnx")
        clip = write_clip(Path(folder) / "long.mp4", busy_frames(frames), options={"preset": "ultrafast"})
        settings = {"output.save_frames": False, "detector.input_size": WIDTH, "tracker.max_gap_s": 0.5}
        out = Path(folder) / "run"
        with streamtrack.Pipeline(clip, model=str(model), stride=1, out=out, set=settings) as pipeline:
            for result in pipeline:
                if result.frame.index in at:
                    found[result.frame.index] = resident_mb()
        return found, pipeline.totals.tracks


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=50_000)
    args = parser.parse_args()
    at = [n for n in (1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 40_000, 50_000) if n < args.frames]
    found, tracks = measure(args.frames, [*at, args.frames - 1])
    base = found[at[0]]
    print(f"{'frame':>8} {'MB':>8} {'ratio':>6}   ({tracks} tracks were born)")
    for index, memory in found.items():
        print(f"{index:8} {memory:8.1f} {memory / base:6.3f}")


def test_memory_does_not_grow_with_the_run() -> None:
    found, tracks = measure(2_000, [1_000, 1_950])
    assert 30 <= tracks <= 40
    assert found[1_950] < found[1_000] * 1.05


if __name__ == "__main__":
    main()
