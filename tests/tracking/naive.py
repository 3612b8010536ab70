"""The slow and obvious twin of the tracker: it specifies what the kernels compute, and goldens are made with it.

It follows the official ByteTrack step by step with objects, lists and 8 x 8 matrices, and matches with ``lap``. Besides
numpy and ``lap`` it shares nothing with the code it judges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import lap
import numpy as np
from numpy.typing import NDArray

from streamtrack.params import TrackerParams
from streamtrack.types import CONFIRMED, LOST, TENTATIVE, Detections

Matrix = NDArray[np.float64]

OTHER_CLASS = 1e3  # a cost that no limit accepts
SECOND_LIMIT, TENTATIVE_LIMIT, DUPLICATE_LIMIT = 0.5, 0.7, 0.15


def measure(box: Matrix) -> Matrix:
    """Centre x, centre y, aspect, height of a box."""
    width, height = box[2] - box[0], box[3] - box[1]
    return np.array([box[0] + width / 2, box[1] + height / 2, width / height, height])


class Kalman:
    """Constant speed over (centre x, centre y, aspect, height): mean (8,), covariance (8, 8)."""

    def __init__(self, box: Matrix) -> None:
        self.mean = np.concatenate([measure(box), np.zeros(4)])
        h = self.mean[3]
        std = [h / 10, h / 10, 1e-2, h / 10, h / 16, h / 16, 1e-5, h / 16]
        self.covariance = np.diag(np.square(std))

    def predict(self, dt: float = 1.0) -> None:
        h = self.mean[3]
        step = np.eye(8)
        step[:4, 4:] = dt * np.eye(4)
        noise = dt * np.diag(np.square([h / 20, h / 20, 1e-2, h / 20, h / 160, h / 160, 1e-5, h / 160]))
        self.mean = step @ self.mean
        self.covariance = step @ self.covariance @ step.T + noise

    def correct(self, box: Matrix) -> None:
        h = self.mean[3]
        see = np.eye(4, 8)
        noise = np.diag(np.square([h / 20, h / 20, 1e-1, h / 20]))
        total = see @ self.covariance @ see.T + noise
        gain = np.linalg.solve(total, see @ self.covariance).T
        self.mean = self.mean + gain @ (measure(box) - see @ self.mean)
        self.covariance = self.covariance - gain @ total @ gain.T

    @property
    def box(self) -> Matrix:
        x, y, aspect, height = self.mean[:4]
        width = aspect * height
        return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])


class Detection(NamedTuple):
    row: int
    box: Matrix
    score: float
    kind: int


@dataclass(eq=False)
class Track:
    id: int
    kalman: Kalman
    kind: int
    score: float
    row: int
    started_ns: int
    matched_ns: int
    confirmed: bool
    state: str = "tracked"

    @property
    def box(self) -> Matrix:
        return self.kalman.box

    def match(self, detection: Detection, pts_ns: int) -> None:
        self.kalman.correct(detection.box)
        self.kind, self.score, self.row = detection.kind, detection.score, detection.row
        self.matched_ns = pts_ns
        self.state, self.confirmed = "tracked", True


def iou(a: Matrix, b: Matrix) -> float:
    """Intersection over union, counting pixels with both edges included; 0 where the boxes do not overlap."""
    wide = min(a[2], b[2]) - max(a[0], b[0]) + 1
    tall = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if wide <= 0 or tall <= 0:
        return 0.0
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    union = areas[0] + areas[1] - wide * tall
    return float(wide * tall / union) if union > 0 else 0.0


def costs(left: list[Track], right: list[Detection] | list[Track], *, fuse_score: bool) -> Matrix:
    matrix = np.ones((len(left), len(right)))
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            cost = 1 - iou(a.box, b.box)
            if fuse_score:
                cost = 1 - (1 - cost) * b.score
            matrix[i, j] = cost if a.kind == b.kind else OTHER_CLASS
    return matrix


def assign(cost: Matrix, limit: float) -> list[int]:
    """The column matched to each row, or -1: the cheapest matching, an unmatched pair costing ``limit``."""
    if cost.size == 0:
        return [-1] * len(cost)
    _, to_right, _ = lap.lapjv(cost, extend_cost=True, cost_limit=limit)
    return [int(j) for j in to_right]


class Row(NamedTuple):
    """One live track after an update."""

    id: int
    box: Matrix
    score: float
    kind: int
    state: int
    row: int


class NaiveByteTracker:
    """The official BYTETracker, with classes, and lifetimes in media time."""

    def __init__(self, params: TrackerParams, max_lost_ns: int) -> None:
        self.params = params
        self.max_lost_ns = max_lost_ns
        self.tracked: list[Track] = []
        self.lost: list[Track] = []
        self.removed: set[int] = set()  # ids, for ever: a track that expired once is never lost again
        self.first = True
        self.last_id = 0

    def update(self, detections: Detections, pts_ns: int) -> tuple[list[Row], list[int]]:
        """Return the live tracks, those seen now and then the lost ones, and the ids of believed ones that ended."""
        before = {track.id for track in self.tracked + self.lost if track.confirmed}
        strong, weak = self.split(detections)
        confirmed = [track for track in self.tracked if track.confirmed]
        unsure = [track for track in self.tracked if not track.confirmed]

        pool = confirmed + self.lost
        for track in pool:
            if track.state != "tracked":
                track.kalman.mean[7] = 0
            track.kalman.predict()
        fuse = self.params.fuse_score
        matched = assign(costs(pool, strong, fuse_score=fuse), self.params.match_thresh)
        refound = []
        for track, j in zip(pool, matched, strict=True):
            if j >= 0:
                if track.state != "tracked":
                    refound.append(track)
                track.match(strong[j], pts_ns)
        strong = [detection for j, detection in enumerate(strong) if j not in matched]

        rest = [track for track, j in zip(pool, matched, strict=True) if j < 0 and track.state == "tracked"]
        newly_lost = []
        for track, j in zip(rest, assign(costs(rest, weak, fuse_score=False), SECOND_LIMIT), strict=True):
            if j >= 0:
                track.match(weak[j], pts_ns)
            else:
                track.state = "lost"
                newly_lost.append(track)

        matched = assign(costs(unsure, strong, fuse_score=fuse), TENTATIVE_LIMIT)
        for track, j in zip(unsure, matched, strict=True):
            if j >= 0:
                track.match(strong[j], pts_ns)
            else:
                track.state = "removed"
        born = [self.birth(d, pts_ns) for j, d in enumerate(strong) if j not in matched and self.starts(d)]

        expired = {track.id for track in self.lost if pts_ns - track.matched_ns > self.max_lost_ns}
        self.tracked = [track for track in self.tracked if track.state == "tracked"] + born + refound
        seen = {track.id for track in self.tracked}
        self.lost = [track for track in self.lost if track.id not in seen] + newly_lost
        self.lost = [track for track in self.lost if track.id not in self.removed]
        self.removed |= expired
        self.remove_duplicates()
        self.first = False
        after = {track.id for track in self.tracked + self.lost}
        return self.rows(), sorted(before - after)

    def split(self, detections: Detections) -> tuple[list[Detection], list[Detection]]:
        high, low = np.float32(self.params.high_thresh), np.float32(self.params.low_thresh)
        strong, weak = [], []
        for row, box in enumerate(detections.boxes.astype(np.float64)):
            score = detections.scores[row]
            detection = Detection(row, box, float(score), int(detections.classes[row]))
            if box[0] == box[2] or box[1] == box[3]:
                continue
            if score > high:
                strong.append(detection)
            elif low < score < high:
                weak.append(detection)
        return strong, weak

    def starts(self, detection: Detection) -> bool:
        return bool(np.float32(detection.score) >= np.float32(self.params.new_thresh))

    def birth(self, detection: Detection, pts_ns: int) -> Track:
        self.last_id += 1
        row, box, score, kind = detection
        return Track(self.last_id, Kalman(box), kind, score, row, pts_ns, pts_ns, confirmed=self.first)

    def remove_duplicates(self) -> None:
        drop = set()
        cost = costs(self.tracked, self.lost, fuse_score=False)
        for i, j in zip(*np.nonzero(cost < DUPLICATE_LIMIT), strict=True):
            a, b = self.tracked[i], self.lost[j]
            drop.add(b.id if a.matched_ns - a.started_ns > b.matched_ns - b.started_ns else a.id)
        self.tracked = [track for track in self.tracked if track.id not in drop]
        self.lost = [track for track in self.lost if track.id not in drop]

    def rows(self) -> list[Row]:
        seen = [Row(t.id, t.box, t.score, t.kind, CONFIRMED if t.confirmed else TENTATIVE, t.row) for t in self.tracked]
        return seen + [Row(t.id, t.box, t.score, t.kind, LOST, -1) for t in self.lost]
