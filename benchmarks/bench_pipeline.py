"""CPU of the whole pipeline against decode plus inference alone, on the same clip, in one run.

``python benchmarks/bench_pipeline.py [VIDEO] [--model NAME] [--stride N] [--rounds N]``. Without a video it
renders one: 1080p H.264 with x264's defaults. The bare loop decodes every frame and calls the model on an
input that is already prepared for each wanted one; the pipeline also letterboxes, decodes the model's output,
suppresses, tracks and writes all records. Both use the same number of threads, the rounds alternate, and the
figure is CPU time of the whole process, so a busy machine changes little.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np

import streamtrack
from streamtrack import config
from streamtrack.api import BackendOptions
from streamtrack.models.detector import load_detector
from streamtrack.models.zoo import ResolvedModel, resolve
from streamtrack.params import DetectorParams
from streamtrack.testing.clips import write_clip
from streamtrack.testing.models import square_frames, write_square_detector
from streamtrack_onnx import OnnxBackend

PATHS = [(40.0, 60.0, 4.0, 1.0), (1500.0, 850.0, -3.0, -1.0), (900.0, 500.0, 0.0, 0.0)]


def textured_frames(count: int, width: int, height: int) -> Iterator[np.ndarray]:
    """Yield moving squares over a fixed texture, so that the encoder has something to code."""
    noise = np.random.default_rng(1).integers(0, 48, (height, width, 3), np.uint8)
    return (np.maximum(frame, noise) for frame in square_frames(count, PATHS, width=width, height=height))


def bare_loop(video: str, model: ResolvedModel, picture: np.ndarray, stride: int, threads: int) -> tuple[int, float]:
    """Decode everything and run the model once for every wanted frame; return source frames and CPU seconds."""
    session = OnnxBackend().load(model.path, model.spec, BackendOptions(threads=threads))
    session.run(picture)
    seen, cpu = 0, time.process_time()
    with av.open(video) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        for index, _ in enumerate(container.decode(stream)):
            seen += 1
            if index % stride == 0:
                session.run(picture)
    return seen, time.process_time() - cpu


def pipeline(video: str, model: str, stride: int, threads: int, out: Path) -> tuple[int, float]:
    """Run the whole pipeline with its records; return source frames and CPU seconds from the first result on."""
    # A short queue: what is decoded while the model loads is not measured, and should be little.
    settings = {"output.save_frames": False, "detector.batch_size": 1, "runtime.queue_size": 1}
    with streamtrack.Pipeline(
        video, model=model, stride=stride, threads=threads, out=out, overwrite=True, set=settings
    ) as running:
        cpu = time.process_time()
        for _ in running:
            pass
    return running.summary().metrics.frame_ledger["seen"], time.process_time() - cpu


def compare(video: str, model: str, stride: int, threads: int, rounds: int) -> tuple[float, float, float]:
    """Return CPU ms per source frame of the bare loop and of the pipeline, and the median ratio of a round."""
    found = resolve(model, None, config.model_dir(), say=print)
    with av.open(video) as container:
        codec = container.streams.video[0].codec_context
        width, height = codec.width, codec.height
    # Loading tells what a model that came by path is, and the size of its input for this clip.
    detector = load_detector(found.path, found.spec, OnnxBackend(), BackendOptions(threads=threads), DetectorParams())
    found, (rows, columns) = replace(found, spec=detector.spec), detector.input_size(width, height)
    detector.close()
    picture = np.random.default_rng(2).uniform(0, 255, (1, 3, rows, columns)).astype(np.float32)
    bare, whole = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            seen, cpu = bare_loop(video, found, picture, stride, threads)
            bare.append(1000 * cpu / seen)
            seen, cpu = pipeline(video, model, stride, threads, Path(folder) / "run")
            whole.append(1000 * cpu / seen)
    ratios = [b / a for a, b in zip(bare, whole, strict=True)]
    return statistics.median(bare), statistics.median(whole), statistics.median(ratios)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", nargs="?")
    parser.add_argument("--model", default="auto")
    parser.add_argument("--stride", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        video = args.video or str(write_clip(Path(folder) / "clip.mp4", textured_frames(300, 1920, 1080)))
        print(f"{'stride':>6} {'bare loop':>12} {'pipeline':>12} {'ratio':>6}   (CPU ms per source frame)")
        for stride in args.stride:
            bare, whole, ratio = compare(video, args.model, stride, args.threads, args.rounds)
            print(f"{stride:6} {bare:12.2f} {whole:12.2f} {ratio:6.2f}")


def test_the_comparison_runs_and_compares_the_same_work(tmp_path: Path) -> None:
    model = write_square_detector(tmp_path / "squares.onnx")
    video = write_clip(tmp_path / "clip.mp4", textured_frames(20, 320, 192))
    bare, whole, ratio = compare(str(video), str(model), 2, 1, 1)
    assert bare > 0
    assert whole > 0
    assert ratio > 0


if __name__ == "__main__":
    main()
