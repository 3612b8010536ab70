"""What dark, flat and noisy pictures do to a detector and to tracks, at fixed thresholds and at adaptive ones.

``python benchmarks/bench_light.py [CLIP ...] [--model MODEL] [--frames N] [--min-size PX] [--tracks]``. Frames of each
clip are made darker, flatter or noisier, and looked at again. Without ``--tracks`` N frames are spread over each clip,
and the table says, over all clips: mean luma and contrast, the share that ``detector.adaptive`` makes of every
threshold; *recall*, the part of the faces at or over the tracker's threshold for births in the frames as they were that
is there again; and *false*, boxes over it where even the weakest detection saw nothing. With ``--tracks`` the first N
frames of each clip are tracked at stride 1: *again* are the tracked boxes of the unchanged frames that are tracked
again, *right* those tracked boxes of how many that lie on a detection of the unchanged frames. Without a clip it makes
up white squares and a model that finds them. No figure is a time.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from streamtrack.api import BackendOptions, SourceOptions
from streamtrack.lighting import AdaptiveConfidence, share_for
from streamtrack.models.detector import Detector, load_detector
from streamtrack.models.parity import iou
from streamtrack.models.spec import ModelSpec
from streamtrack.params import DetectorParams, TrackerParams
from streamtrack.sources.pyav import PyAVSource
from streamtrack.testing.clips import write_clip
from streamtrack.testing.models import square_frames, write_square_detector
from streamtrack.testing.results import ArrayPicture
from streamtrack.tracking.tracker import ByteTracker
from streamtrack.types import CONFIRMED, NS_PER_S, Detections, Float32Array, Frame, UInt8Array
from streamtrack_onnx import OnnxBackend

TRACKER = TrackerParams()
SAME = 0.5
"""IoU from which a box is the same face."""
NEAR = 0.4
"""IoU up to which a box lies on nothing."""


class Light(NamedTuple):
    """What is done to every level of a picture: times ``gain`` about mid-grey, which comes to ``level``; then noise."""

    name: str
    gain: float
    level: float
    noise: float = 0.0

    def on(self, picture: UInt8Array, random: np.random.Generator) -> UInt8Array:
        """Return the picture in this light."""
        wanted = self.level + self.gain * (picture.astype(np.float32) - 128)
        if self.noise:
            wanted += random.normal(0, self.noise, wanted.shape)
        return np.clip(np.rint(wanted), 0, 255).astype(np.uint8)


def darker(gain: float, noise: float = 0.0) -> Light:
    """Return a light by which every level is multiplied."""
    return Light(f"x {gain:g}" + f", noise {noise:g}" * bool(noise), gain, 128 * gain, noise)


AS_IT_IS = Light("nothing", 1, 128)
LIGHTS = (
    AS_IT_IS,
    darker(0.5),
    darker(0.25, 4),
    darker(0.12),
    darker(0.12, 4),
    darker(0.06, 4),
    Light("contrast x 0.5", 0.5, 128),
    Light("contrast x 0.25", 0.25, 128),
    Light("contrast x 0.25, bright", 0.25, 200),
    Light("contrast x 0.12", 0.12, 128),
    Light("noise 25", 1, 128, 25),
)


class Looked(NamedTuple):
    """One clip in one light: what was found in each frame, at fixed thresholds and at those the light allows."""

    fixed: list[Detections]
    adaptive: list[Detections]
    luma: list[tuple[float, float, float]]
    """Mean, contrast and wanted share of each frame."""


def read(clip: Path, count: int, *, spread: bool) -> list[Frame]:
    """Return ``count`` frames of a clip, spread over it or its first."""
    wanted = set(range(count))
    if spread:
        in_all = sum(1 for _ in decoded(clip))
        wanted = set(np.linspace(0, in_all - 1, min(count, in_all)).astype(int).tolist())
    return [frame for frame in decoded(clip) if frame.index in wanted]


def decoded(clip: Path) -> Iterator[Frame]:
    """Yield every frame of a clip; its pixels are converted when they are asked for."""
    source = PyAVSource(str(clip), SourceOptions(stride=1))
    source.open()
    try:
        yield from source
    finally:
        source.close()


def look(detector: Detector, frames: Sequence[Frame], light: Light, *, apart: bool) -> Looked:
    """Detect in each frame in a light; if they are ``apart``, the light of one says nothing of that of the next."""
    random = np.random.default_rng(1)
    adapting = AdaptiveConfidence(detector.params)
    looked = Looked([], [], [])
    for frame in frames:
        picture = ArrayPicture(light.on(frame.rgb(), random))
        seen = Frame(frame.index, frame.pts_ns, frame.width, frame.height, picture)
        (found,) = detector.detect([seen])
        (thumbnail,) = detector.thumbnails
        rows = np.flatnonzero(found.scores >= np.float32(detector.params.confidence_th))
        looked.fixed.append(
            Detections(found.boxes[rows], found.scores[rows], found.classes[rows], found.keypoints[rows])
        )
        looked.adaptive.append(adapting.adapt(found, thumbnail, frame.pts_ns, apart))
        luma = np.array((0.299, 0.587, 0.114), np.float32) @ thumbnail.reshape(3, -1)
        share = float(np.clip(share_for(thumbnail), detector.params.adaptive_min, detector.params.adaptive_max))
        looked.luma.append((float(luma.mean()), float(luma.std() / max(luma.mean(), 1)), share))
    return looked


def again_and_false(plain: Sequence[Detections], found: Sequence[Detections]) -> tuple[int, int, int]:
    """Return how many births of ``plain`` could be births again, of how many, and how many of ``found`` are false."""
    again = wanted = false = 0
    for before, after in zip(plain, found, strict=True):
        strong = after.boxes[after.scores >= np.float32(TRACKER.new_thresh)]
        faces = before.boxes[before.scores >= np.float32(TRACKER.new_thresh)]
        wanted += len(faces)
        again += int((iou(faces, strong).max(axis=1, initial=0) >= SAME).sum())
        false += int((iou(strong, before.boxes).max(axis=1, initial=0) < NEAR).sum())
    return again, wanted, false


class Tracked(NamedTuple):
    """The tracked boxes of each frame, (N, 4), and how many tracks there were."""

    boxes: list[Float32Array]
    tracks: int


def track(frames: Sequence[Frame], found: Sequence[Detections]) -> Tracked:
    """Track detections, with the tracker's defaults."""
    tracker = ByteTracker(TRACKER, max_lost_ns=round(TRACKER.max_gap_s * NS_PER_S))
    boxes, ids = [], set()
    for frame, detections in zip(frames, found, strict=True):
        update = tracker.update(detections, frame.pts_ns)
        here = (update.states == CONFIRMED) & (update.rows >= 0)
        boxes.append(detections.boxes[update.rows[here]])
        ids.update(update.ids[here].tolist())
    return Tracked(boxes, len(ids))


def on(boxes: Sequence[Float32Array], others: Sequence[Float32Array]) -> int:
    """Return how many of the boxes of all frames lie on one of the others."""
    return sum(int((iou(a, b).max(axis=1, initial=0) > NEAR).sum()) for a, b in zip(boxes, others, strict=True))


def frames_table(detector: Detector, clips: Sequence[Path], count: int) -> list[str]:
    """Return a line for each light, over all clips."""
    lines = ["light                       m     c  share  recall fixed  adaptive  false fixed  adaptive"]
    frames = [read(clip, count, spread=True) for clip in clips]
    plain = [look(detector, each, AS_IT_IS, apart=True) for each in frames]
    for light in LIGHTS:
        seen = [look(detector, each, light, apart=True) for each in frames]
        luma = np.array([row for each in seen for row in each.luma]).mean(axis=0)
        sums = [
            np.sum([again_and_false(p.fixed, getattr(s, how)) for p, s in zip(plain, seen, strict=True)], axis=0)
            for how in ("fixed", "adaptive")
        ]
        recall = [again / max(wanted, 1) for again, wanted, _ in sums]
        lines.append(
            f"{light.name:25} {luma[0]:3.0f}  {luma[1]:.2f}   {luma[2]:.2f}  {recall[0]:12.2f}  {recall[1]:8.2f}"
            f"  {sums[0][2]:11}  {sums[1][2]:8}"
        )
    return [*lines, f"{sum(map(len, frames))} frames, {sums[0][1]} faces in them as they were"]


def tracks_table(detector: Detector, clips: Sequence[Path], count: int) -> list[str]:
    """Return a line for each clip and light."""
    lines = [f"{'clip, light':50} fixed: again, right, tracks    adaptive: again, right, tracks"]
    for clip in clips:
        frames = read(clip, count, spread=False)
        plain = look(detector, frames, AS_IT_IS, apart=False)
        reference = track(frames, plain.fixed)
        present = [detections.boxes for detections in plain.fixed]
        for light in LIGHTS:
            seen = look(detector, frames, light, apart=False)
            shown = []
            for found in (seen.fixed, seen.adaptive):
                tracked = track(frames, found)
                again = f"{on(reference.boxes, tracked.boxes)} of {sum(map(len, reference.boxes))}"
                right = f"{on(tracked.boxes, present)} of {sum(map(len, tracked.boxes))}"
                shown.append(f"{again}, {right}, {tracked.tracks}")
            lines.append(f"{clip.stem[:24]}, {light.name:24} {shown[0]:>25} {shown[1]:>35}")
    return lines


def opened(model: Path, min_size: float) -> Detector:
    """Return a detector that gives all that may count in any light."""
    params = DetectorParams(adaptive=True, min_size=min_size)
    spec = ModelSpec(name=model.stem, head="auto")
    return load_detector(model, spec, OnnxBackend(), BackendOptions(device="cpu", threads=1), params)


def made_up(folder: Path, frames: int) -> tuple[Path, Path]:
    """Return a clip of two white squares that move, and a model that finds them."""
    pictures = square_frames(frames, [(40, 60, 3, 1), (300, 200, -2, 1)])
    return write_clip(folder / "squares.mkv", pictures, codec="ffv1"), write_square_detector(folder / "squares.onnx")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--model", type=Path, help="an ONNX file")
    parser.add_argument("--frames", type=int, default=24, help="of each clip (default 24)")
    parser.add_argument("--min-size", type=float, default=20.0, help="detector.min_size, in px")
    parser.add_argument("--tracks", action="store_true")
    args = parser.parse_args()
    if bool(args.clips) != bool(args.model):
        parser.error("clips and --model go together: give both, or neither for squares that are made up")
    with TemporaryDirectory() as folder:
        clip, model = (None, args.model) if args.clips else made_up(Path(folder), args.frames)
        detector = opened(model, args.min_size)
        table = tracks_table if args.tracks else frames_table
        print(*table(detector, args.clips or [clip], args.frames), sep="\n")
        detector.close()


def test_in_ordinary_light_all_is_found_again_and_in_the_dark_less(tmp_path: Path) -> None:
    clip, model = made_up(tmp_path, 3)
    detector = opened(model, 20.0)
    frames = read(clip, 3, spread=True)
    plain, half, dark = (look(detector, frames, darker(gain), apart=True) for gain in (1.0, 0.7, 0.3))
    assert again_and_false(plain.fixed, plain.fixed) == again_and_false(plain.fixed, half.fixed) == (6, 6, 0)
    assert again_and_false(plain.fixed, dark.fixed) == (0, 6, 0)
    assert dark.luma[0][0] < 0.35 * plain.luma[0][0]
    assert again_and_false([Detections.empty()] * 3, plain.fixed) == (0, 0, 6)
    tracked = track(frames, plain.fixed)
    assert (tracked.tracks, on(tracked.boxes, [found.boxes for found in plain.fixed])) == (2, 6)
    assert on(tracked.boxes, [boxes + 300 for boxes in tracked.boxes]) == 0
    detector.close()


if __name__ == "__main__":
    main()
