"""The slow and obvious twin of the tracker that measures time; it specifies what the kernels compute.

Objects, lists and dense matrices; the filter is the textbook one for (position, velocity), in heights of the track, and
matching is scipy's. It shares nothing with the code it judges but what ``naive`` has: detections and rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from naive import OTHER_CLASS, Detection, Matrix, Row
from scipy.optimize import linear_sum_assignment

from streamtrack.params import TrackerParams
from streamtrack.types import CONFIRMED, LOST, TENTATIVE, Detections

GROWTH = 0.6
WEAK_LIMIT, TENTATIVE_LIMIT, DUPLICATE_LIMIT = 0.5, 0.6, 0.15
HEIGHT_COST = 0.05
CONFIRMED_AFTER_NS = 149_000_000
MEASURED_STD, SPEED_STD, ACCELERATION, WANDERING, FADING = 0.033, 2.0, 0.05, 0.01, 0.3


def measure(box: Matrix) -> Matrix:
    """Centre x, centre y, width, height of a box."""
    return np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]])


class Motion:
    """Constant velocity of (centre x, centre y, width, height), with one covariance (2, 2) in heights for all four."""

    def __init__(self, box: Matrix) -> None:
        self.position, self.velocity = measure(box), np.zeros(4)
        self.covariance = np.diag([MEASURED_STD**2, SPEED_STD**2])

    def fade(self, dt: float) -> None:
        self.velocity = self.velocity * math.exp(-FADING * dt) * [1, 1, 0, 0]

    def predict(self, dt: float) -> None:
        before = self.position
        self.position = before + dt * self.velocity
        self.position[2:] = np.maximum(self.position[2:], before[2:] / 2)
        step = np.array([[1, dt], [0, 1]])
        noise = ACCELERATION * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]]) + WANDERING * np.diag([dt, 0])
        self.covariance = step @ self.covariance @ step.T + noise

    def correct(self, box: Matrix) -> None:
        gain = self.covariance[:, 0] / (self.covariance[0, 0] + MEASURED_STD**2)
        off = measure(box) - self.position
        self.position = self.position + gain[0] * off
        self.velocity = self.velocity + gain[1] * off
        self.covariance = (np.eye(2) - np.outer(gain, [1, 0])) @ self.covariance

    @property
    def box(self) -> Matrix:
        x, y, width, height = self.position
        return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])

    @property
    def spread(self) -> float:
        """Standard deviation of the position, px."""
        return float(math.sqrt(self.covariance[0, 0]) * self.position[3])


@dataclass(eq=False)
class Track:
    id: int
    motion: Motion
    detection: Detection
    started_ns: int
    matched_ns: int
    state: int

    def match(self, detection: Detection, pts_ns: int, believed_ns: float) -> None:
        self.motion.correct(detection.box)
        self.detection, self.matched_ns = detection, pts_ns
        if self.state != TENTATIVE or pts_ns - self.started_ns >= believed_ns:
            self.state = CONFIRMED

    def row(self) -> Row:
        row = -1 if self.state == LOST else self.detection.row
        return Row(self.id, self.motion.box, self.detection.score, self.detection.kind, self.state, row)


def iou(a: Matrix, b: Matrix, margin: float) -> float:
    """Intersection over union of two boxes, both grown by ``margin`` on every side."""
    a, b = (box + np.array([-margin, -margin, margin, margin]) for box in (a, b))
    wide, tall = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(wide, 0) * max(tall, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return float(shared / (sum(areas) - shared))


class NaiveTimedTracker:
    """ByteTrack's rounds over motion in seconds."""

    def __init__(self, params: TrackerParams, max_lost_ns: int) -> None:
        self.params, self.max_lost_ns = params, max_lost_ns
        self.believed_ns = max(CONFIRMED_AFTER_NS, params.min_track_s * 1e9 - 1e6)
        self.tracked: list[Track] = []
        self.lost: list[Track] = []
        self.told: set[int] = set()
        self.first, self.cut_pending = True, False
        self.last_id, self.last_ns = 0, 0

    def cut(self) -> None:
        self.cut_pending = True

    def update(self, detections: Detections, pts_ns: int) -> tuple[list[Row], list[int]]:
        """Return the live tracks, those seen now and then the lost ones, and the ids of believed ones that ended."""
        before = {track.id for track in self.tracked + self.lost if track.id in self.told}
        if self.cut_pending:
            self.tracked, self.lost, self.first, self.cut_pending = [], [], True, False
        for track in self.tracked + self.lost:
            dt = (pts_ns - self.last_ns) * 1e-9
            if track.state == LOST:
                track.motion.fade(dt)
            track.motion.predict(dt)
        self.last_ns = pts_ns
        strong, weak = self.split(detections)
        fuse = self.params.fuse_score

        tentative = [track for track in self.tracked if track.state == TENTATIVE]
        rest = [track for track in self.tracked + self.lost if track.state != TENTATIVE]
        rest, strong = self.match(rest, strong, GROWTH, self.params.match_thresh, pts_ns, fuse=fuse)
        rest, _ = self.match(rest, weak, 0, WEAK_LIMIT, pts_ns, fuse=False)
        gone, strong = self.match(tentative, strong, GROWTH, TENTATIVE_LIMIT, pts_ns, fuse=fuse)
        newly_lost = [track for track in rest if track.state == CONFIRMED]
        for track in newly_lost:
            track.state = LOST

        out_of_sight = [track for track in self.lost if track.state == LOST] + newly_lost
        found_again = [track for track in self.lost if track.state != LOST]
        born = [self.birth(detection, pts_ns) for detection in strong if self.starts(detection)]
        self.tracked = [track for track in self.tracked if track not in gone + newly_lost] + found_again + born
        self.lost = [track for track in out_of_sight if pts_ns - track.matched_ns <= self.max_lost_ns]
        self.remove_duplicates()
        self.first = False
        live = self.tracked + self.lost
        self.told |= {track.id for track in live if track.state != TENTATIVE}
        return [track.row() for track in live], sorted(before - {track.id for track in live})

    def split(self, detections: Detections) -> tuple[list[Detection], list[Detection]]:
        strong, weak = [], []
        for row, box in enumerate(detections.boxes.astype(np.float64)):
            score = detections.scores[row]
            area = (box[2] - box[0]) * (box[3] - box[1])
            detection = Detection(row, box, float(score), int(detections.classes[row]))
            if area == 0 or area < self.params.min_area:
                continue
            if score > np.float32(self.params.high_thresh):
                strong.append(detection)
            elif score > np.float32(self.params.low_thresh):
                weak.append(detection)
        return strong, weak

    def match(
        self, tracks: list[Track], found: list[Detection], growth: float, limit: float, pts_ns: int, *, fuse: bool
    ) -> tuple[list[Track], list[Detection]]:
        """Match what can be matched, at the lowest price; return what is left of both."""
        gain = np.zeros((len(tracks), len(found)))
        for i, track in enumerate(tracks):
            for j, detection in enumerate(found):
                gain[i, j] = min(self.cost(track, detection, growth, fuse) - limit, 0)
        pairs = [(i, j) for i, j in zip(*linear_sum_assignment(gain), strict=True) if gain[i, j] < 0]
        for i, j in pairs:
            tracks[i].match(found[j], pts_ns, self.believed_ns)
        taken, used = {i for i, _ in pairs}, {j for _, j in pairs}
        left = [track for i, track in enumerate(tracks) if i not in taken]
        return left, [detection for j, detection in enumerate(found) if j not in used]

    def cost(self, track: Track, detection: Detection, growth: float, fuse: bool) -> float:
        if self.params.class_aware and track.detection.kind != detection.kind:
            return OTHER_CLASS
        overlap = iou(track.motion.box, detection.box, growth * track.motion.spread)
        ratio = track.motion.position[3] / (detection.box[3] - detection.box[1])
        return 1 - overlap * (detection.score if fuse else 1) + HEIGHT_COST * abs(math.log(ratio))

    def starts(self, detection: Detection) -> bool:
        return bool(np.float32(detection.score) >= np.float32(self.params.new_thresh))

    def birth(self, detection: Detection, pts_ns: int) -> Track:
        self.last_id += 1
        state = CONFIRMED if self.first and not self.params.min_track_s else TENTATIVE
        return Track(self.last_id, Motion(detection.box), detection, pts_ns, pts_ns, state)

    def remove_duplicates(self) -> None:
        drop = []
        for a in self.tracked:
            for b in self.lost:
                same = not self.params.class_aware or a.detection.kind == b.detection.kind
                if same and 1 - iou(a.motion.box, b.motion.box, 0) < DUPLICATE_LIMIT:
                    drop.append(b if a.matched_ns - a.started_ns > b.matched_ns - b.started_ns else a)
        self.tracked = [track for track in self.tracked if track not in drop]
        self.lost = [track for track in self.lost if track not in drop]
