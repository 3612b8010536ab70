"""What it costs to bring a face upright and into a model's input, by how many times smaller it becomes.

``python benchmarks/bench_embedder.py [--rounds N] [--calls N]``. Faces in a made-up 1080p frame of 4:2:0 planes, which
is what a decoder gives. Beside it stands what OpenCV needs for the same where it is installed: ``warpAffine`` on a crop
that is RGB already, and then ``blobFromImage``; on a decoded frame it would first have to convert.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from av.video.frame import VideoFrame

from streamtrack.models.alignment import FACE_POINTS, Similarity, box_place, face_place
from streamtrack.models.embedder import EMBEDDINGS
from streamtrack.models.warping import Warper, cut
from streamtrack.sources._picture import AvPicture
from streamtrack.types import Frame

SCALES = (0.5, 1.5, 2.5, 4.0, 6.5)
SIDE = 112


def frame_1080p() -> Frame:
    """Return smooth noise, as a decoder gives it."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (90, 160), np.uint8)
    planes = np.concatenate([np.kron(small, np.ones((12, 12), np.uint8)), np.full((540, 1920), 128, np.uint8)])
    return Frame(0, 0, 1920, 1080, AvPicture(VideoFrame.from_ndarray(planes, format="yuv420p")))


def face(scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the keypoints and the box of a face in the middle, slightly turned, ``scale`` times the input's size."""
    cos, sin = scale * math.cos(0.2), scale * math.sin(0.2)
    place = Similarity(cos, sin, 960 - 56 * (cos - sin), 540 - 56 * (sin + cos))
    half = 56 * scale
    return place.apply(FACE_POINTS).astype(np.float32), np.array((960 - half, 540 - half, 960 + half, 540 + half))


def median_us(call: Callable[[], Any], calls: int, rounds: int) -> float:
    """Return the median over rounds of the CPU time of a call, in us."""
    call()
    figures = []
    for _ in range(rounds):
        started = time.thread_time()
        for _ in range(calls):
            call()
        figures.append((time.thread_time() - started) / calls * 1e6)
    return statistics.median(figures)


def opencv(pixels: np.ndarray, place: Similarity) -> Callable[[], Any] | None:
    """Return the same warp and normalisation by OpenCV, on a crop that is RGB already."""
    try:
        import cv2
    except ImportError:
        return None
    cv2.setNumThreads(1)
    back = place.inverse()
    matrix = np.array(((back.cos, -back.sin, back.right), (back.sin, back.cos, back.down)))
    return lambda: cv2.dnn.blobFromImage(cv2.warpAffine(pixels, matrix, (SIDE, SIDE)), 1, (SIDE, SIDE))


def measure(scale: float, calls: int, rounds: int) -> dict[str, float | None]:
    """Return the us of each step for a face ``scale`` times the input's size."""
    frame, warper = frame_1080p(), Warper(EMBEDDINGS["sface"])
    keypoints, box = face(scale)
    out = np.zeros((3, SIDE, SIDE), np.float32)
    place = face_place(keypoints, SIDE, SIDE)
    if place is None:
        raise ValueError("this is no face")
    steps: dict[str, Callable[[], Any] | None] = {
        "fit": lambda: face_place(keypoints, SIDE, SIDE),
        "crop": lambda: cut(frame, place, SIDE, SIDE),
        "aligned in all": lambda: warper.write(frame, place, out),
        "box in all": lambda: warper.write(frame, box_place(box, SIDE, SIDE, 0.0), out),
        "OpenCV, without crop": opencv(frame.rgb(), place),
    }
    return {name: call and median_us(call, calls, rounds) for name, call in steps.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=200)
    args = parser.parse_args()
    rows = {scale: measure(scale, args.calls, args.rounds) for scale in SCALES}
    print(f"us of CPU a face, {SIDE}x{SIDE} input, from a 1080p frame of 4:2:0 planes")
    print("smaller by  " + "  ".join(rows[SCALES[0]]))
    for scale, row in rows.items():
        shown = (f"{value:{len(name)}.0f}" if value else f"{'-':>{len(name)}}" for name, value in row.items())
        print(f"{scale:10}  " + "  ".join(shown))


def test_a_face_costs_something_at_every_scale() -> None:
    for scale in SCALES:
        found = measure(scale, calls=1, rounds=1)
        assert all(value is None or value > 0 for value in found.values())


if __name__ == "__main__":
    main()
