"""Where the goldens are, how a line of them reads, and how they are made anew: ``python tests/tracking/goldens.py``.

A golden is what the twin (``naive``) makes of a made-up scene (``scenes``), one line per live track and frame:
``frame,id,state,row,x0,y0,x1,y1``, frames from 1, boxes in px. Twin and official code agree on the sequences and
strides that ``test_goldens`` compares where the reference data is at hand. Make them anew only when a change of the
tracker's behaviour is wanted, and say in the change why.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from naive import NaiveByteTracker
from naive_timed import NaiveTimedTracker
from scenes import Scene, detect

from streamtrack.params import TrackerParams

FOLDER = Path(__file__).parent.parent / "golden" / "bytetrack"
STRIDES = (1, 3, 6, 10)
MAX_LOST = 30
"""Lifetime of a lost track, in updates."""
PARAMS = TrackerParams(mode="reference", high_thresh=0.6, new_thresh=0.7, low_thresh=0.1, match_thresh=0.9)
"""The settings of the official code."""
SCENES = {
    "street": Scene(11, frames=90, objects=16),
    "crowd": Scene(12, frames=40, objects=35, dropout=0.1, clutter=1.0, jitter=0.04),
    "classes": Scene(13, frames=120, objects=9, classes=3, dropout=0.3, jitter=0.03),
}


class Line(NamedTuple):
    frame: int
    id: int
    state: int
    row: int
    box: tuple[float, ...]


def path(name: str, stride: int) -> Path:
    return FOLDER / f"{name}-stride{stride}.txt.gz"


def timed_path(name: str, stride: int) -> Path:
    """Where the golden of the tracker that measures time is, 40 ms a frame; lost tracks live for a second."""
    return FOLDER.parent / "timed" / f"{name}-stride{stride}.txt.gz"


def read(golden: Path) -> Iterator[Line]:
    with gzip.open(golden, "rt", encoding="ascii") as lines:
        for line in lines:
            frame, number, state, row, *box = line.split(",")
            yield Line(int(frame), int(number), int(state), int(row), tuple(map(float, box)))


def make_timed(scene: Scene, stride: int) -> str:
    twin, lines = NaiveTimedTracker(TrackerParams(), 10**9), []
    for count, detections in enumerate(detect(scene)[::stride]):
        for row in twin.update(detections, count * stride * 40_000_000)[0]:
            box = ",".join(f"{v:.3f}" for v in row.box)
            lines.append(f"{1 + count * stride},{row.id},{row.state},{row.row},{box}\n")
    return "".join(lines)


def make(scene: Scene, stride: int) -> str:
    twin, lines = NaiveByteTracker(PARAMS, MAX_LOST), []
    for count, detections in enumerate(detect(scene)[::stride]):
        for row in twin.update(detections, count)[0]:
            box = ",".join(f"{v:.3f}" for v in row.box)
            lines.append(f"{1 + count * stride},{row.id},{row.state},{row.row},{box}\n")
    return "".join(lines)


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, scene in SCENES.items():
        for stride in STRIDES:
            # Without a time of day in it, the same golden is the same file.
            path(name, stride).write_bytes(gzip.compress(make(scene, stride).encode("ascii"), mtime=0))
            timed = timed_path(name, stride)
            timed.parent.mkdir(parents=True, exist_ok=True)
            timed.write_bytes(gzip.compress(make_timed(scene, stride).encode("ascii"), mtime=0))


if __name__ == "__main__":
    main()
