"""The parity gate: on an accelerator, the first frames run on the CPU too; boxes must agree, and both are timed.

What is compared are the boxes before suppression. Of two boxes on one face that score almost the same either may be
the one that suppression leaves, so comparing what is left would call rounding a disagreement.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamtrack.errors import InferenceError
from streamtrack.models.detector import Detector, select
from streamtrack.models.spec import ModelSpec
from streamtrack.models.verdicts import ParityMetrics, Verdict
from streamtrack.params import DetectorParams
from streamtrack.types import BoxCounts, Detections, Float32Array, Frame

SLOWER: Final = 1.25
"""How many times slower than the CPU an accelerator is left for it: one about as fast still frees the CPU."""
_PATIENCE: Final = 10
"""How many times the frames of the gate are waited for something to be seen."""
_SETTING_UP: Final = 1
"""Calls of either side whose time says nothing."""
_STRONGEST: Final = 1000
"""Boxes a frame that are compared."""


class Tolerance(NamedTuple):
    """How far a box may be from its counterpart."""

    iou: float
    """Least intersection over union."""
    score: float
    """Largest difference of scores."""


TOLERANCES: Final = {
    "fp32": Tolerance(iou=0.95, score=0.02),
    "fp16": Tolerance(iou=0.85, score=0.05),
    "int8": Tolerance(iou=0.6, score=0.25),
}
"""By what the accelerator computes in. fp32 leaves room for TF32, which GPUs use for it. Measured: YuNet with its graph
in half precision keeps 0.998 and 0.004 on 768 boxes of four clips; small boxes and other models need more."""


class Comparison(NamedTuple):
    """One frame, or several, on both sides."""

    boxes: int = 0
    disagreeing: int = 0
    worst_iou: float = 1.0
    worst_score_gap: float = 0.0
    example: str = ""
    """The first disagreement in words."""

    def __add__(self, other: object) -> Comparison:
        """Return both together."""
        if not isinstance(other, Comparison):
            return NotImplemented
        return Comparison(
            self.boxes + other.boxes,
            self.disagreeing + other.disagreeing,
            min(self.worst_iou, other.worst_iou),
            max(self.worst_score_gap, other.worst_score_gap),
            self.example or other.example,
        )


def compare(ours: Detections, theirs: Detections, tolerance: Tolerance, confidence: float) -> Comparison:
    """Return how well the accelerator's boxes (``ours``) and the CPU's (``theirs``) agree.

    A box agrees if the other side has one of its class that overlaps and scores as ``tolerance`` demands. Boxes so weak
    that their counterpart may have fallen below ``confidence`` need none.

    Args:
        ours: before suppression, strongest first.
        theirs: likewise.
        tolerance: how far they may differ.
        confidence: the score below which neither side reports a box.
    """
    sides = (("it", ours, theirs), ("the CPU", theirs, ours))
    return _one_sided(*sides[0], tolerance, confidence) + _one_sided(*sides[1], tolerance, confidence)


def _one_sided(who: str, found: Detections, other: Detections, tolerance: Tolerance, confidence: float) -> Comparison:
    # Where the other side is cut off, what is just above its last box may be missing for no other reason.
    least = max(confidence, float(other.scores[_STRONGEST - 1]) if len(other) >= _STRONGEST else 0.0)
    rows = np.flatnonzero(found.scores[:_STRONGEST] >= least + tolerance.score)
    if not len(rows):
        return Comparison()
    columns = slice(0, _STRONGEST)
    overlaps = iou(found.boxes[rows], other.boxes[columns])
    overlaps[found.classes[rows][:, None] != other.classes[columns]] = 0.0
    gaps = np.abs(found.scores[rows][:, None] - other.scores[columns])
    alike = np.where(gaps <= tolerance.score, overlaps, -1.0)
    if not alike.shape[1]:
        return Comparison(len(rows), len(rows), example=_described(who, found, int(rows[0]), other, overlaps[0]))
    best = alike.max(axis=1)
    agreed = best >= tolerance.iou
    wrong = np.flatnonzero(~agreed)
    # Of boxes in one place, the one that scores most alike is the counterpart.
    partner = (alike - gaps).argmax(axis=1)
    return Comparison(
        len(rows),
        len(wrong),
        float(best[agreed].min(initial=1.0)),
        float(gaps[np.arange(len(rows)), partner][agreed].max(initial=0.0)),
        _described(who, found, int(rows[wrong[0]]), other, overlaps[wrong[0]]) if len(wrong) else "",
    )


def _described(who: str, found: Detections, row: int, other: Detections, overlaps: NDArray[np.float32]) -> str:
    place = " ".join(f"{side:.0f}" for side in found.boxes[row])
    text = f"{who} sees a box at {place} with score {found.scores[row]:.2f}"
    whose = "the CPU's" if who == "it" else "its"
    if not overlaps.any():
        return f"{text} and nothing of {whose} is there"
    nearest = int(overlaps.argmax())
    return f"{text}; {whose} nearest overlaps by {overlaps[nearest]:.2f} and scores {other.scores[nearest]:.2f}"


def iou(a: Float32Array, b: Float32Array) -> Float32Array:
    """Return the intersection over union, (len(a), len(b)), of boxes ``x0 y0 x1 y1``."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.maximum(high - low, 0.0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b)]
    union = areas[0][:, None] + areas[1] - shared
    overlaps: Float32Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlaps


class GateRules(NamedTuple):
    """What the gate is to do."""

    name: str
    """Of what is on trial, for people: ``tensorrt on cuda``."""
    frames: int
    """How many run on both sides, in two calls at least; at least 1."""
    allow_drift: bool = False
    """Go on where boxes disagree."""
    may_leave: bool = False
    """Go over to the CPU where the accelerator is slower or fails; without, the one is said and the other an error."""


class CheckedDetector:
    """A detector on an accelerator, whose first frames run on the CPU as well; created, used and closed on one thread.

    What it returns is the accelerator's, frame by frame, until it is left for the CPU. No frame is lost by that.
    """

    def __init__(
        self,
        fast: Detector,
        reference: Detector,
        rules: GateRules,
        *,
        backend: str,
        say: Callable[[str], None],
        keep: Callable[[ParityMetrics], None] = lambda found: None,
    ) -> None:
        """Take both detectors over, to close them.

        Args:
            fast: on the accelerator.
            reference: the same model on the CPU, with the same input size.
            rules: what to do.
            backend: of ``fast``, for the metrics.
            say: told in one line what a person should know.
            keep: given the verdict, once.
        """
        self.spec: ModelSpec = fast.spec
        self.thumbnails: list[Float32Array] = []
        self.box_counts: list[BoxCounts] = []
        self.left = False
        """Whether the accelerator was left for the CPU."""
        self._fast, self._reference = fast, reference
        self._rules, self._say, self._keep = rules, say, keep
        self._params = fast.params
        self._begun_warm = fast.changing
        self._seen = Comparison()
        self._frames = 0
        self._times: list[tuple[float, float]] = []
        self._on_trial = True
        self.parity = ParityMetrics(
            verdict="unchecked", backend=backend, device=fast.device, precision=fast.precision, note="not yet"
        )
        """What is known so far."""
        for each in (fast, reference):
            each.params = _unsuppressed(self._params)

    @property
    def device(self) -> str:
        """What it runs on now."""
        return self._active.device

    @property
    def changed_after(self) -> int | None:
        """See ``Detector.changed_after``."""
        return self._fast.changed_after

    @property
    def _active(self) -> Detector:
        return self._reference if self.left else self._fast

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Return the detections of each frame; see ``Detector.detect``.

        Raises:
            InferenceError: the model failed to run, or the accelerator's boxes are not those of the CPU.
        """
        if self._on_trial:
            found, self.box_counts = self._tried(frames)
        else:
            found, self.box_counts = self._active.detect(frames), self._active.box_counts
        self.thumbnails = self._active.thumbnails
        return found

    def look(self, frames: Sequence[Frame]) -> None:
        """Leave the thumbnails behind that ``detect`` would leave, without running the model."""
        self._active.look(frames)
        self.thumbnails = self._active.thumbnails

    def close(self) -> None:
        """Release the sessions; more than once does no harm."""
        self._fast.close()
        self._reference.close()

    def _tried(self, frames: Sequence[Frame]) -> tuple[list[Detections], list[BoxCounts]]:
        try:
            before = self._fast.stats.inference_s
            ours = self._fast.detect(frames)
            fast_s = self._fast.stats.inference_s - before
        except InferenceError as error:
            if not self._rules.may_leave:
                raise
            self._conclude("failed", f"{self._rules.name} failed: using the CPU ({error})", leave=True)
            return self._reference.detect(frames), self._reference.box_counts
        if self._fast.changing:
            # What shall be tried is not there yet.
            return self._suppressed(ours)
        if self._begun_warm and self.changed_after is None:
            self._conclude("failed", f"{self._rules.name} could not take over: using the CPU", leave=True)
            return self._suppressed(ours)
        before = self._reference.stats.inference_s
        theirs = self._reference.detect(frames)
        self._times.append((fast_s / len(frames), (self._reference.stats.inference_s - before) / len(frames)))
        self._frames += len(frames)
        tolerance = TOLERANCES.get(self._fast.precision, TOLERANCES["fp32"])
        for frame, our, their in zip(frames, ours, theirs, strict=True):
            seen = compare(our, their, tolerance, self._params.floor)
            where = f"in frame {frame.index} {seen.example}" if seen.example else ""
            self._seen += seen._replace(example=where)
        self._judge()
        return self._suppressed(ours)

    def _suppressed(self, found: Sequence[Detections]) -> tuple[list[Detections], list[BoxCounts]]:
        """Return what the detector would have returned with the run's own settings, and what became of the rest."""
        left, counted = [], []
        for each in found:
            kept, scores, counts = select(each.boxes, each.scores, each.classes, self._params)
            left.append(Detections(each.boxes[kept], np.clip(scores, 0, 1), each.classes[kept], each.keypoints[kept]))
            counted.append(counts)
        return left, counted

    def _judge(self) -> None:
        """Come to a verdict, if there is enough for one."""
        seen, rules = self._seen, self._rules
        if seen.disagreeing and not rules.allow_drift:
            note = f"{rules.name} does not agree with the CPU: {seen.example}"
            self._conclude("drifted", f"{note} ({seen.disagreeing} of {seen.boxes} boxes differ)")
            raise InferenceError(f"{self.parity.note}. Use --device cpu, or --allow-drift to go on all the same.")
        if self._frames < rules.frames or len(self._times) <= _SETTING_UP:
            return
        times = self._slower()
        slower = f"{rules.name}, {times:.2g} times slower than the CPU" if times >= SLOWER else ""
        if slower and rules.may_leave:
            self._conclude("slower", f"{slower}: using the CPU", leave=True)
        elif seen.disagreeing:
            self._conclude("drifted", f"{rules.name} does not agree with the CPU, as allowed: {seen.example}")
        elif seen.boxes and slower:
            self._conclude("slower", f"{slower}: --device cpu would be faster")
        elif seen.boxes:
            self._conclude("agreed", f"{rules.name} agrees with the CPU in {seen.boxes} boxes", silent=True)
        elif self._frames >= _PATIENCE * rules.frames:
            self._conclude("unchecked", f"nothing was seen in {self._frames} frames", silent=True)

    def _slower(self) -> float:
        """Return how many times slower than the CPU the accelerator is."""
        fast_s, reference_s = self._typical_s()
        return fast_s / reference_s if reference_s > 0 else 0.0

    def _typical_s(self) -> tuple[float, float]:
        later = self._times[_SETTING_UP:] or [(0.0, 0.0)]
        return statistics.median(fast for fast, _ in later), statistics.median(cpu for _, cpu in later)

    def _conclude(self, verdict: Verdict, note: str, *, leave: bool = False, silent: bool = False) -> None:
        fast_s, reference_s = self._typical_s()
        timed = len(self._times) > _SETTING_UP
        seen = self._seen
        self.parity = msgspec.structs.replace(
            self.parity,
            verdict=verdict,
            device=self._fast.device,
            precision=self._fast.precision,
            frames=self._frames,
            boxes=seen.boxes,
            disagreeing=seen.disagreeing,
            worst_iou=round(seen.worst_iou, 4) if seen.boxes > seen.disagreeing else None,
            worst_score_gap=round(seen.worst_score_gap, 4),
            ms=round(1000 * fast_s, 3) if timed else None,
            reference_ms=round(1000 * reference_s, 3) if timed else None,
            note=note,
        )
        if not silent:
            self._say(note)
        self._keep(self.parity)
        self._on_trial, self.left = False, leave
        self._active.params = self._params
        (self._fast if leave else self._reference).close()


def _unsuppressed(params: DetectorParams) -> DetectorParams:
    return msgspec.structs.replace(params, nms="hard", nms_iou=1.0, min_size=0.0, max_detections=10_000)
