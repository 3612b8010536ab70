"""CPU from a video file to a detector's input, against decoding alone and against OpenCV, in one run.

``python benchmarks/bench_ingest.py [VIDEO ...] [--threads N ...] [--frames N] [--rounds N]``. Without a video it
renders two of 1080p H.264 with x264's defaults: a moving scene with the grain of a good camera, and of a bad one. Rows:

- decode: PyAV, every frame decoded and thrown away;
- streamtrack: the source's frames letterboxed into a detector's float32 input, 640 px wide;
- opencv: ``VideoCapture.read``, ``resize`` into a letterbox, uint8 BGR;
- opencv, float: the same, and ``blobFromImage``, which gives what a detector takes.

All use the same number of decoder threads, and OpenCV's own are off. The rounds alternate; the figure is CPU time of
the whole process, opening included, and ratios are medians of the rounds' own, so a busy machine changes little.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from streamtrack.api import SourceOptions
from streamtrack.models.preprocess import InputBuffer, Letterbox, input_size_for
from streamtrack.models.spec import ModelSpec
from streamtrack.sources.pyav import PyAVSource
from streamtrack.testing.clips import write_clip

try:
    import cv2
except ImportError:
    cv2 = None

SPEC = ModelSpec(name="yunet", head="yunet", channels="bgr")
Reader = Callable[[str, int, int], int]


def scene_frames(count: int, width: int, height: int, noise: float) -> Iterator[np.ndarray]:
    """Yield a picture of many scales that moves by a few pixels a frame, with fresh grain of ``noise`` levels."""
    rng = np.random.default_rng(1)
    canvas = np.full((height + 4 * count, width + 4 * count, 3), 128.0)
    for cell in (4, 16, 64, 256):
        coarse = rng.normal(0, 14, (canvas.shape[0] // cell + 1, canvas.shape[1] // cell + 1, 3))
        canvas += coarse.repeat(cell, 0).repeat(cell, 1)[: canvas.shape[0], : canvas.shape[1]]
    grain = rng.normal(0, noise, (height + 64, width + 64, 1)).astype(np.float32)
    still = np.clip(canvas, 0, 255).astype(np.float32)
    for n in range(count):
        y, x = rng.integers(0, 64, 2)
        view = still[2 * n : 2 * n + height, 4 * n : 4 * n + width]
        yield np.clip(view + grain[y : y + height, x : x + width], 0, 255).astype(np.uint8)


def decode(video: str, threads: int, frames: int) -> int:
    """Decode and nothing else; return how many frames there were."""
    with av.open(video) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        return sum(1 for _ in islice(container.decode(stream), frames))


def letterboxed(video: str, threads: int, frames: int) -> int:
    """Put every frame of the source into a detector's input."""
    source = PyAVSource(video, SourceOptions(threads=threads))
    try:
        info = source.open()
        buffer = InputBuffer(SPEC, 1, input_size_for(SPEC, info.width, info.height))
        seen = 0
        for frame in islice(source, frames):
            buffer.write(0, frame)
            seen += 1
        return seen
    finally:
        source.close()


def opencv(video: str, threads: int, frames: int, *, as_float: bool = False) -> int:
    """Read and resize with OpenCV, into the same letterbox; ``as_float`` also makes the tensor."""
    capture = cv2.VideoCapture(video, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, threads] if threads else [])
    width, height = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    rows, columns = input_size_for(SPEC, width, height)
    box = Letterbox.fit((width, height), (columns, rows))
    canvas = np.zeros((rows, columns, 3), np.uint8)
    seen, picture = 0, None
    try:
        while seen < frames:
            found, picture = capture.read(picture)
            if not found:
                break
            cv2.resize(picture, (box.width, box.height), dst=canvas[: box.height, : box.width])
            if as_float:
                cv2.dnn.blobFromImage(canvas)
            seen += 1
    finally:
        capture.release()
    return seen


def opencv_float(video: str, threads: int, frames: int) -> int:
    """Read, resize and convert with OpenCV."""
    return opencv(video, threads, frames, as_float=True)


def readers() -> dict[str, Reader]:
    """Return who is compared, by name; OpenCV only where it is installed."""
    rows: dict[str, Reader] = {"decode": decode, "streamtrack": letterboxed}
    if cv2 is not None:
        cv2.setNumThreads(1)
        rows |= {"opencv": opencv, "opencv, float": opencv_float}
    return rows


def compare(video: str, threads: int, frames: int, rounds: int) -> dict[str, list[float]]:
    """Return CPU ms a frame of each reader in each round; the first round, which warms up, is left out."""
    taken: dict[str, list[float]] = {name: [] for name in readers()}
    seen = set()
    for _ in range(rounds + 1):
        for name, read in readers().items():
            cpu = time.process_time()
            count = read(video, threads, frames)
            taken[name].append(1000 * (time.process_time() - cpu) / count)
            seen.add(count)
    if len(seen) != 1:
        raise ValueError(f"the readers disagree on how many frames {video} has: {sorted(seen)}")
    return {name: values[1:] for name, values in taken.items()}


def ratio(taken: dict[str, list[float]], name: str, other: str) -> float:
    """Return the median over the rounds of ``name`` / ``other``."""
    return statistics.median(a / b for a, b in zip(taken[name], taken[other], strict=True))


def show(video: str, threads: int, taken: dict[str, list[float]]) -> None:
    """Print one table."""
    print(f"\n{Path(video).name}, {f'{threads} thread(s)' if threads else 'threads as the decoder chooses'}")
    print(f"{'':14} {'CPU ms a frame':>14} {'fastest':>8} {'of decode':>10} {'streamtrack is':>15}")
    for name, values in taken.items():
        print(
            f"{name:14} {statistics.median(values):14.2f} {min(values):8.2f} {ratio(taken, name, 'decode'):10.2f} "
            f"{ratio(taken, 'streamtrack', name):15.2f}"
        )


def main() -> None:
    """Print a table for each video and number of threads."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", nargs="*")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 0], help="0: the decoder chooses")
    parser.add_argument("--frames", type=int, default=100, help="of each video, at most")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    if cv2 is None:
        print("OpenCV is left out: `pip install opencv-python-headless` to compare with it.")
    with tempfile.TemporaryDirectory() as folder:
        videos = args.video
        if not videos:
            for name, noise in (("scene", 3.0), ("noisy", 5.0)):
                frames = scene_frames(args.frames, 1920, 1080, noise)
                videos.append(str(write_clip(Path(folder) / f"{name}.mp4", frames)))
        for video in videos:
            for threads in args.threads:
                show(video, threads, compare(video, threads, args.frames, args.rounds))


@pytest.mark.parametrize("threads", [0, 1])
def test_everybody_reads_the_same_frames(tmp_path: Path, threads: int) -> None:
    video = write_clip(tmp_path / "clip.mp4", scene_frames(12, 320, 192, 4.0))
    taken = compare(str(video), threads, 10, 2)
    assert {"decode", "streamtrack"} <= taken.keys()
    assert all(len(values) == 2 and min(values) > 0 for values in taken.values())
    assert ratio(taken, "streamtrack", "streamtrack") == 1


if __name__ == "__main__":
    main()
