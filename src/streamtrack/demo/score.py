"""Compares what was tracked with what is there, frame by frame (after Bernardin and Stiefelhagen, CLEAR MOT, 2008).

In each frame, tracks and true faces are paired one to one where their boxes overlap by an IoU of 0.5 or more; a pair
that held in the frame before is kept, the rest are taken from the best overlap down. A true face that then has another
id than it last had, in the same true track, is an identity switch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from streamtrack.demo.truth import TrueFace, Truth
from streamtrack.types import CONFIRMED, Result, RunInfo

MIN_IOU = 0.5

Box = Sequence[float]
Observed = Mapping[int, Sequence[tuple[int, Box]]]
"""Confirmed tracks (id, box) in each processed frame, by frame index."""


class Observer:
    """A sink that remembers which track was where in each frame; for clips, not for streams."""

    def __init__(self) -> None:
        self.frames: dict[int, list[tuple[int, Box]]] = {}

    def open(self, info: RunInfo) -> None:
        """Start with nothing."""
        self.frames.clear()

    def write(self, result: Result) -> None:
        """Remember the confirmed tracks of this frame."""
        tracks = result.tracks
        seen = tracks.states == CONFIRMED
        self.frames[result.frame.index] = list(zip(tracks.ids[seen].tolist(), tracks.boxes[seen].tolist(), strict=True))

    def close(self) -> None:
        """Nothing to release."""


@dataclass(slots=True)
class PersonScore:
    """How well one person was followed."""

    person: str
    true_tracks: set[int] = field(default_factory=set)
    found_ids: set[int] = field(default_factory=set)
    in_view: int = 0
    """Processed frames with the face in view."""
    tracked: int = 0
    """Those of them in which a track was on it."""
    switches: int = 0


@dataclass(slots=True)
class Score:
    """How well all were followed."""

    true_tracks: int
    found_tracks: int
    """Different ids of confirmed tracks."""
    false_tracks: int
    """Those of them that were never on a face."""
    people: list[PersonScore]


def score(truth: Truth, observed: Observed) -> Score:
    """Return how well the tracks in the processed frames fit the truth.

    True tracks that no processed frame shows are not counted.
    """
    faces_of: dict[int, list[TrueFace]] = defaultdict(list)
    for face in truth.faces:
        faces_of[face.frame_idx].append(face)
    people = {person: PersonScore(person) for person in truth.people}
    last_id: dict[tuple[str, int], int] = {}  # by person and true track
    paired_before: dict[str, int] = {}
    for frame_idx in sorted(observed):
        faces = faces_of[frame_idx]
        paired = pair(faces, observed[frame_idx], paired_before)
        for face in faces:
            _count(people[face.person], face, paired.get(face.person), last_id)
        paired_before = paired
    found = {track for tracks in observed.values() for track, _ in tracks}
    on_faces = set[int]().union(*(person.found_ids for person in people.values()))
    return Score(
        true_tracks=len(set[int]().union(*(person.true_tracks for person in people.values()))),
        found_tracks=len(found),
        false_tracks=len(found - on_faces),
        people=list(people.values()),
    )


def _count(person: PersonScore, face: TrueFace, track: int | None, last_id: dict[tuple[str, int], int]) -> None:
    if face.in_view:
        person.true_tracks.add(face.track)
        person.in_view += 1
        person.tracked += track is not None
    if track is not None:
        person.found_ids.add(track)
        key = face.person, face.track
        person.switches += last_id.get(key, track) != track
        last_id[key] = track


def pair(faces: Iterable[TrueFace], tracks: Sequence[tuple[int, Box]], before: Mapping[str, int]) -> dict[str, int]:
    """Return the track id of each person that has one in this frame.

    Args:
        faces: true faces of the frame.
        tracks: id and box, x0 y0 x1 y1 px, of each track.
        before: the pairs of the frame before, which are kept where they still overlap.
    """
    candidates = [
        # Hidden faces come last: a track over two faces is on the one that can be seen.
        (face.in_view, before.get(face.person) == track, overlap, face.person, track)
        for face in faces
        for track, box in tracks
        if (overlap := iou(face.bbox, box)) >= MIN_IOU
    ]
    pairs: dict[str, int] = {}
    for *_, person, track in sorted(candidates, reverse=True):
        if person not in pairs and track not in pairs.values():
            pairs[person] = track
    return pairs


def iou(a: Box, b: Box) -> float:
    """Return the intersection over union of two boxes, x0 y0 x1 y1."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def as_rows(result: Score) -> list[list[str]]:
    """Return a table, its header first."""
    header = ["person", "true tracks", "found", "frames in view", "tracked", "id switches"]
    rows = [
        [
            person.person,
            str(len(person.true_tracks)),
            str(len(person.found_ids)),
            str(person.in_view),
            f"{100 * person.tracked / person.in_view:.1f} %" if person.in_view else "-",
            str(person.switches),
        ]
        for person in result.people
    ]
    return [header, *rows]
