"""The demo's clip: two people in two places, 20 seconds, with the truth known to the pixel.

They stand, walk, come closer, cross, pass behind a pillar, leave and return; after 12 s there is a hard cut. How
many true tracks that makes is computed from what can be seen, see ``truth.number_tracks``. A tracker that knows nothing
of cuts can get it right, because nobody is where the motion of a face before the cut would lead it to expect one.

The same portraits give the same pixels and the same truth every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from streamtrack.demo import scenery
from streamtrack.demo.figure import COARSE, Figure, Painter
from streamtrack.demo.portraits import COLLINS, HOPPER, PORTRAITS, Box, Portrait, cut_out
from streamtrack.demo.scenery import HEIGHT, WIDTH, Scenery
from streamtrack.demo.truth import TrueFace, Truth, number_tracks
from streamtrack.sinks._files import make_folder, replacing
from streamtrack.sinks._h264 import H264Writer
from streamtrack.types import NS_PER_S

FPS = 25
MAX_GAP_S = 2.5
"""An absence longer than this ends a true track, as it does for the tracker (``TrackerParams.max_gap_s``)."""

_SMOOTHING = round(0.7 * FPS)  # frames over which a person changes speed

Waypoint = tuple[float, float, float, float]  # seconds into the shot, centre x y px and height px of the face


@dataclass(frozen=True, slots=True)
class Walk:
    """A person's way through a shot, from waypoint to waypoint; the first and the last are held."""

    portrait: Portrait
    waypoints: Sequence[Waypoint]

    def poses(self, frames: int) -> NDArray[np.float64]:
        """Return the pose in every frame, (frames, 4): without jerks, and with a walker's gait."""
        t = np.arange(-_SMOOTHING, frames + _SMOOTHING) / FPS
        at, *columns = np.array(self.waypoints, np.float64).T
        kernel = np.ones(_SMOOTHING) / _SMOOTHING
        x, y, size = (np.convolve(np.interp(t, at, column), kernel, "same") for column in columns)
        steps = np.cumsum(np.abs(np.gradient(x)) / (1.5 * size))  # a step takes one and a half faces
        y += 0.03 * size * np.sin(2 * np.pi * steps)
        tilt = 1.6 * np.sin(np.pi * steps) + 1.1 * np.sin(2 * np.pi * t / 3.1)
        return np.stack([x, y, size, tilt], axis=1)[_SMOOTHING:-_SMOOTHING]


@dataclass(frozen=True, slots=True)
class Shot:
    """What the camera sees between two cuts."""

    place: Callable[[], Scenery]
    frames: int
    walks: Sequence[Walk]


# Hopper walks slowly to the right, comes closer and stays.
_HOPPER_IN_THE_HALL = (
    (0.0, 232, 318, 126),
    (2.0, 250, 316, 130),
    (8.0, 610, 306, 168),
    (12.0, 630, 304, 176),
)
# Collins comes in from the right, passes behind the pillar and behind Hopper, leaves, and is back 4 s later.
_COLLINS_IN_THE_HALL = (
    (0.3, 1400, 300, 112),
    (6.3, -110, 300, 116),
    (9.2, -110, 296, 124),
    (12.0, 300, 296, 128),
)
# Hopper is close, walks to the left in front of Collins, and leaves.
_HOPPER_ON_THE_TERRACE = (
    (0.0, 1110, 306, 214),
    (1.2, 1100, 306, 210),
    (5.8, -170, 308, 190),
)
# Collins stands far off, is hidden for a moment, and comes closer.
_COLLINS_ON_THE_TERRACE = (
    (0.0, 800, 316, 124),
    (3.9, 790, 316, 126),
    (7.6, 640, 300, 226),
)

SHOTS = (
    Shot(scenery.hall, 300, (Walk(HOPPER, _HOPPER_IN_THE_HALL), Walk(COLLINS, _COLLINS_IN_THE_HALL))),
    Shot(scenery.terrace, 200, (Walk(HOPPER, _HOPPER_ON_THE_TERRACE), Walk(COLLINS, _COLLINS_ON_THE_TERRACE))),
)


def true_faces(shots: Sequence[Shot] = SHOTS) -> Truth:
    """Return what is in the clip; it needs no portraits."""
    ends = np.cumsum([shot.frames for shot in shots]).tolist()
    starts = [0, *ends[:-1]]
    faces = [face for shot, start in zip(shots, starts, strict=True) for face in _faces(shot, start)]
    return number_tracks(
        Truth(
            frames=ends[-1],
            fps=FPS,
            width=WIDTH,
            height=HEIGHT,
            shots=tuple(zip(starts, ends, strict=True)),
            max_gap_s=MAX_GAP_S,
            faces=tuple(faces),
        )
    )


def _faces(shot: Shot, start: int) -> Iterator[TrueFace]:
    front = np.asarray(shot.place().front_mask().reduce(COARSE)) / 255.0
    people = [(Figure(walk.portrait), walk.poses(shot.frames)) for walk in shot.walks]
    for n in range(shot.frames):
        cover = front
        # Nearest first: whoever is larger stands before the others.
        for figure, poses in sorted(people, key=lambda person: -person[1][n, 2]):
            pose = poses[n]
            body, face = figure.coarse_masks(pose)
            visible = min(1.0, float((face * (1 - cover)).sum()) / figure.coarse_face_area(pose))
            cover = np.maximum(cover, body)
            box = _within_picture(figure.face_box(pose))
            if box[0] < box[2]:
                yield TrueFace(frame_idx=start + n, person=figure.portrait.name, bbox=box, visible=round(visible, 3))


def _within_picture(box: Box) -> Box:
    x0, y0, x1, y1 = box
    return max(x0, 0.0), max(y0, 0.0), min(x1, float(WIDTH)), min(y1, float(HEIGHT))


def pictures(cut_outs: Mapping[str, Image.Image], shots: Sequence[Shot] = SHOTS) -> Iterator[Image.Image]:
    """Yield every frame of the clip, RGB; ``cut_outs`` holds each person's cut-out by name."""
    for shot in shots:
        place = shot.place()
        people = []
        for walk in shot.walks:
            painter = Painter(Figure(walk.portrait), cut_outs[walk.portrait.name], place.light)
            people.append((painter, walk.poses(shot.frames)))
        for n in range(shot.frames):
            canvas = place.back.copy()
            for painter, poses in sorted(people, key=lambda person: person[1][n, 2]):
                painter.paint(canvas, poses[n])
            for piece, corner in place.front:
                canvas.paste(piece, corner)
            yield canvas


def write_clip(folder: Path, portraits: Mapping[str, Path], shots: Sequence[Shot] = SHOTS) -> tuple[Path, Truth]:
    """Write ``clip.mp4`` and ``truth.jsonl`` into ``folder``; return the clip's path and the truth.

    Args:
        folder: created where it is missing.
        portraits: each portrait's file by its name.
        shots: what happens.

    Raises:
        SinkError: they cannot be written.
    """
    clip, truth = folder / "clip.mp4", true_faces(shots)
    cut_outs = {p.name: cut_out(p, portraits[p.name]) for p in PORTRAITS}
    make_folder(folder)
    with H264Writer(clip, (WIDTH, HEIGHT), rate=FPS, crf=20) as writer:
        for n, picture in enumerate(pictures(cut_outs, shots)):
            writer.write(np.asarray(picture), n * NS_PER_S // FPS)
    with replacing(folder / "truth.jsonl") as temporary:
        truth.save(temporary)
    return clip, truth
