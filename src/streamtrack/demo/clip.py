"""The demo's clip: two people in two places, 20 seconds, with the truth known to the pixel.

They stand, walk, come closer, cross, pass behind a pillar, leave and return; after 11.6 s there is a hard cut. How
many true tracks that makes is computed from what can be seen, see ``truth.number_tracks``. A tracker that knows nothing
of cuts can get it right, because nobody is where the motion of a face before the cut would lead it to expect one.

The same portraits give the same pixels and the same truth every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from streamtrack.demo import scenery
from streamtrack.demo.figure import COARSE, Figure, Painter
from streamtrack.demo.portraits import COLLINS, HOPPER, PORTRAITS, Portrait, cut_out
from streamtrack.demo.scenery import HEIGHT, WIDTH, Scenery
from streamtrack.demo.truth import TrueFace, Truth, number_tracks
from streamtrack.errors import SinkError

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


# Hopper walks to the right and behind the pillar, comes closer and stays.
_HOPPER_IN_THE_HALL = (
    (0.0, 262, 318, 132),
    (1.6, 290, 316, 136),
    (7.2, 1010, 306, 172),
    (11.6, 1040, 304, 178),
)
# Collins comes in from the right, passes behind the pillar and behind Hopper, leaves, and is back 4 s later.
_COLLINS_IN_THE_HALL = (
    (0.4, 1400, 300, 112),
    (4.9, 240, 300, 116),
    (6.2, -110, 300, 116),
    (9.3, -110, 296, 124),
    (11.6, 400, 296, 128),
)
# Collins is close and steps back to the left.
_COLLINS_ON_THE_TERRACE = (
    (0.0, 660, 300, 224),
    (1.4, 650, 302, 216),
    (4.4, 280, 306, 168),
    (8.4, 330, 306, 160),
)
# Hopper crosses behind her, to the right, and leaves.
_HOPPER_ON_THE_TERRACE = (
    (0.0, 190, 320, 112),
    (0.8, 200, 320, 112),
    (4.6, 880, 318, 150),
    (5.6, 960, 316, 158),
    (7.0, 1440, 312, 168),
)

SHOTS = (
    Shot(scenery.hall, 290, (Walk(HOPPER, _HOPPER_IN_THE_HALL), Walk(COLLINS, _COLLINS_IN_THE_HALL))),
    Shot(scenery.terrace, 210, (Walk(HOPPER, _HOPPER_ON_THE_TERRACE), Walk(COLLINS, _COLLINS_ON_THE_TERRACE))),
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
            if visible > 0:
                box = figure.face_box(pose)
                yield TrueFace(frame_idx=start + n, person=figure.portrait.name, bbox=box, visible=round(visible, 3))


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


def encode(frames: Iterator[Image.Image], path: Path) -> None:
    """Write pictures as H.264 that any player and browser shows."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        options = {"preset": "veryfast", "crf": "20"}
        stream = container.add_stream("libx264", rate=Fraction(FPS), options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(picture), "rgb24")))
        container.mux(stream.encode(None))


def write_clip(folder: Path, portraits: Mapping[str, Path]) -> tuple[Path, Truth]:
    """Write ``clip.mp4`` and ``truth.jsonl`` into ``folder``; return the clip's path and the truth.

    Args:
        folder: created where it is missing.
        portraits: each portrait's file by its name.

    Raises:
        SinkError: they cannot be written.
    """
    clip, truth = folder / "clip.mp4", true_faces()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / ".clip.mp4.part"
        encode(pictures({p.name: cut_out(p, portraits[p.name]) for p in PORTRAITS}), part)
        part.replace(clip)
        truth.save(folder / "truth.jsonl")
    except (OSError, av.FFmpegError) as error:
        reason = error.strerror or error
        raise SinkError(f"Cannot write the demo's clip to '{clip}': {reason}; choose another with --out.") from error
    return clip, truth
