"""CPU of reading every n-th frame against decoding everything, on the same clips, in one run.

``python benchmarks/bench_stride.py [VIDEO ...] [--stride N ...] [--rounds N] [--threads N]``. Without a video it
renders some at 1080p: H.264 with x264's defaults, without B-frames as references, with open GOPs and without B-frames;
HEVC; VP9; and MJPEG. Both sides read the same file with as many threads and convert nothing; the rounds alternate, and
the figure is CPU time of the whole process, so a busy machine changes little.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np

from streamtrack.api import SourceOptions
from streamtrack.sources.pyav import PyAVSource
from streamtrack.testing.clips import write_clip
from streamtrack.types import SourceStats

CLIPS: dict[str, dict[str, Any]] = {
    "x264-default.mp4": {},
    "x264-no-b-pyramid.mp4": {"options": {"b-pyramid": "none"}},
    "x264-open-gop.mkv": {"options": {"x264-params": "open-gop=1:keyint=50"}},
    "x264-no-b-frames.mp4": {"options": {"bf": "0"}},
    "hevc.mp4": {"codec": "libx265", "options": {"preset": "veryfast", "x265-params": "log-level=none"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8", "g": "60"}},
    "mjpeg.mkv": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "options": {"qmin": "4", "qmax": "4"}},
}


def moving_frames(count: int, width: int, height: int) -> Iterator[np.ndarray]:
    """Yield what a fixed camera sees: a still scene, things that move through it evenly, and a little noise."""
    rng = np.random.default_rng(1)
    rows, columns = np.ogrid[:height, :width]
    still = 128 + 50 * np.sin(rows / 37) + 40 * np.cos(columns / 53 + rows / 91)
    scene = (still[:, :, None] + rng.integers(-12, 13, (height, width, 3))).astype(np.uint8)
    noise = rng.integers(0, 4, (height + 16, width + 16, 3), np.uint8)
    side = height // 6
    things = [(scene[n * side : n * side + side, :side][::-1, ::-1] // 2 + 20 * n, 3 + 2 * n) for n in range(5)]
    for n in range(count):
        y, x = rng.integers(0, 16, 2)
        frame = scene + noise[y : y + height, x : x + width]
        for row, (thing, speed) in enumerate(things):
            left = (speed * n * width // 1920 + 97 * row) % (width - side)
            frame[row * side : row * side + side, left : left + side] = thing
        yield frame


def decode_all(video: str, threads: int) -> float:
    """Decode everything; return CPU seconds."""
    cpu = time.process_time()
    with av.open(video) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        for _ in container.decode(stream):
            pass
    return time.process_time() - cpu


def read(video: str, stride: int, threads: int) -> tuple[SourceStats, float]:
    """Read every ``stride``-th frame; return what was done and CPU seconds."""
    cpu = time.process_time()
    source = PyAVSource(video, SourceOptions(stride=stride, threads=threads))
    source.open()
    for _ in source:
        pass
    source.close()
    return source.stats, time.process_time() - cpu


def compare(video: str, stride: int, threads: int, rounds: int) -> tuple[SourceStats, float]:
    """Return what was done, and how many times less CPU it took than decoding everything, as a median of rounds."""
    ratios = []
    for _ in range(rounds):
        everything = decode_all(video, threads)
        stats, cpu = read(video, stride, threads)
        ratios.append(everything / cpu)
    return stats, statistics.median(ratios)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", nargs="*")
    parser.add_argument("--stride", type=int, nargs="+", default=[1, 3, 5, 10])
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'clip':24} {'stride':>6} {'not decoded':>12} {'times less CPU':>14}")
        for name in args.videos or CLIPS:
            video = name
            if name in CLIPS:
                video = str(write_clip(Path(folder) / name, moving_frames(args.frames, 1920, 1080), **CLIPS[name]))
            for stride in args.stride:
                stats, ratio = compare(video, stride, args.threads, args.rounds)
                share = stats.undecoded / stats.seen
                print(f"{Path(name).name:24} {stride:6} {share:12.0%} {ratio:14.2f}", flush=True)


def test_the_comparison_runs_and_leaves_packets_out(tmp_path: Path) -> None:
    video = str(write_clip(tmp_path / "clip.mp4", moving_frames(40, 320, 192)))
    everything, ratio = compare(video, 1, 1, 1)
    assert (everything.seen, everything.undecoded) == (40, 0)
    assert ratio > 0
    stats, ratio = compare(video, 5, 1, 1)
    assert stats.seen == 40
    assert 0 < stats.undecoded <= stats.strided
    assert ratio > 0


if __name__ == "__main__":
    main()
