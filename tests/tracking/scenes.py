"""Made-up scenes: boxes that cross, hide, drop out, come and go, and detections of nothing; the same on every machine.

Only ``random.random`` and plain arithmetic are used, and all numbers are rounded, so a seed means one scene on every
platform and version.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from streamtrack.types import Detections

WIDTH, HEIGHT = 1280.0, 720.0


@dataclass(frozen=True)
class Scene:
    seed: int
    frames: int = 100
    objects: int = 12
    classes: int = 1
    dropout: float = 0.05
    """Share of detections that are missing for no reason."""
    clutter: float = 0.5
    """Detections of nothing per frame."""
    jitter: float = 0.02
    """Error of a box, as a share of its size."""


@dataclass
class Walker:
    first: int
    last: int
    x: float
    y: float
    width: float
    height: float
    x_speed: float
    y_speed: float
    growth: float
    kind: int

    def box(self, frame: int) -> list[float]:
        age = frame - self.first
        scale = 1 + self.growth * age
        x, y = self.x + self.x_speed * age, self.y + self.y_speed * age
        return [x, y, x + self.width * scale, y + self.height * scale]


def walker(scene: Scene, rng: random.Random, number: int) -> Walker:
    first = 0 if number < scene.objects // 2 else int(rng.random() * scene.frames * 0.7)
    width = 30 + 50 * rng.random()
    # Half of them walk left, half right, on lanes close enough to hide each other.
    speed = (1 + 6 * rng.random()) * (1 if number % 2 else -1)
    return Walker(
        first=first,
        last=first + 10 + int(rng.random() * scene.frames),
        x=WIDTH * rng.random(),
        y=HEIGHT * (0.2 + 0.4 * rng.random()),
        width=width,
        height=width * (2 + rng.random()),
        x_speed=speed,
        y_speed=2 * rng.random() - 1,
        growth=0.01 * (rng.random() - 0.4),
        kind=int(rng.random() * scene.classes),
    )


def hidden_share(box: list[float], nearer: list[list[float]]) -> float:
    """The largest share of the box that one of the nearer boxes covers."""
    area = (box[2] - box[0]) * (box[3] - box[1])
    covered = 0.0
    for other in nearer:
        wide = min(box[2], other[2]) - max(box[0], other[0])
        tall = min(box[3], other[3]) - max(box[1], other[1])
        covered = max(covered, max(wide, 0) * max(tall, 0) / area)
    return covered


def noise(rng: random.Random) -> float:
    """About normal, with a standard deviation of 1."""
    return sum(rng.random() for _ in range(12)) - 6


def detect(scene: Scene) -> list[Detections]:
    """Return what a detector would find in each frame of the scene."""
    rng = random.Random(scene.seed)
    walkers = [walker(scene, rng, number) for number in range(scene.objects)]
    frames = []
    for frame in range(scene.frames):
        found: list[tuple[list[float], float, int]] = []
        alive = [w for w in walkers if w.first <= frame <= w.last]
        for w in alive:
            box = w.box(frame)
            hidden = hidden_share(box, [other.box(frame) for other in alive if other.box(frame)[3] > box[3]])
            score = 0.95 - 0.8 * hidden + 0.05 * noise(rng)
            shift = [scene.jitter * noise(rng) * size for size in (w.width, w.height, w.width, w.height)]
            if rng.random() >= scene.dropout and hidden < 0.9:
                found.append(([a + b for a, b in zip(box, shift, strict=True)], score, w.kind))
        if rng.random() < scene.clutter:
            x, y = WIDTH * rng.random(), HEIGHT * rng.random()
            size = 20 + 100 * rng.random()
            found.append(([x, y, x + size, y + 2 * size], rng.random(), int(rng.random() * scene.classes)))
        frames.append(detections(found))
    return frames


def detections(found: list[tuple[list[float], float, int]]) -> Detections:
    """Pack (box, score, class) triples; rounded, so that no platform's last digit matters."""
    return Detections(
        np.array([[round(v, 1) for v in box] for box, _, _ in found], np.float32).reshape(-1, 4),
        np.array([round(min(max(score, 0.0), 1.0), 3) for _, score, _ in found], np.float32),
        np.array([kind for _, _, kind in found], np.int32),
        np.empty((len(found), 0, 2), np.float32),
    )
