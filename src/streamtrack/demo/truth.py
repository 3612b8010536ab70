"""What is really in the demo's clip: a face's box and visibility per frame, and which true track it belongs to.

A *true track* is one presence of a person in a shot. A cut ends it. So does being out of view for longer than a
tracker keeps a track (``max_gap_s``); a shorter absence, behind a pillar or somebody else, does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

IN_VIEW = 0.5
"""A face counts as in view when at least this share of it can be seen."""


class TrueFace(msgspec.Struct, frozen=True, kw_only=True):
    """One person's face in one frame."""

    frame_idx: int
    person: str
    bbox: tuple[float, float, float, float]
    """x0 y0 x1 y1 px, within the picture; what others hide is included."""
    visible: Annotated[float, Meta(ge=0, le=1)]
    """Share of the face that is neither hidden nor outside the picture."""
    track: int = 0
    """True track, from 1 up; 0 before the first and after the last frame in view."""

    @property
    def in_view(self) -> bool:
        """Whether a detector can be expected to find it."""
        return self.visible >= IN_VIEW


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """Ground truth of a clip."""

    schema_version: int = 1
    frames: int
    fps: float
    width: int
    height: int
    shots: tuple[tuple[int, int], ...]
    """First frame and end (exclusive) of each shot."""
    max_gap_s: float
    faces: tuple[TrueFace, ...] = ()
    """Ordered by frame."""

    @property
    def tracks(self) -> int:
        """How many true tracks there are."""
        return max((face.track for face in self.faces), default=0)

    @property
    def people(self) -> tuple[str, ...]:
        """Names, in order of appearance."""
        return tuple(dict.fromkeys(face.person for face in self.faces))

    def save(self, path: Path) -> None:
        """Write JSON lines: the clip first, then one face per line."""
        head = msgspec.structs.replace(self, faces=())
        path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in (head, *self.faces)))

    @classmethod
    def load(cls, path: Path) -> Truth:
        """Read what ``save`` wrote."""
        head, *faces = path.read_bytes().splitlines()
        rows = tuple(msgspec.json.decode(line, type=TrueFace) for line in faces)
        return msgspec.structs.replace(msgspec.json.decode(head, type=Truth), faces=rows)


def number_tracks(truth: Truth) -> Truth:
    """Return ``truth`` with the true tracks of its faces numbered in order of appearance."""
    presences = [
        presence
        for person in truth.people
        for start, end in truth.shots
        for presence in _presences(
            [f for f in truth.faces if f.person == person and start <= f.frame_idx < end],
            max_gap=truth.max_gap_s * truth.fps,
        )
    ]
    presences.sort(key=lambda presence: (presence[0].frame_idx, truth.people.index(presence[0].person)))
    track_of = {(f.frame_idx, f.person): n for n, presence in enumerate(presences, start=1) for f in presence}
    faces = (msgspec.structs.replace(f, track=track_of.get((f.frame_idx, f.person), 0)) for f in truth.faces)
    return msgspec.structs.replace(truth, faces=tuple(faces))


def _presences(faces: Sequence[TrueFace], max_gap: float) -> list[list[TrueFace]]:
    """Split one person's faces in one shot wherever they are out of view for more than ``max_gap`` frames."""
    presences: list[list[TrueFace]] = []
    hidden: list[TrueFace] = []
    for face in faces:
        if not face.in_view:
            hidden.append(face)
        elif presences and face.frame_idx - presences[-1][-1].frame_idx <= max_gap:
            presences[-1] += [*hidden, face]
            hidden = []
        else:
            presences.append([face])
            hidden = []
    return presences
