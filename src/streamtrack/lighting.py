"""Adaptive confidence: a threshold that goes with the light, from the small pictures that detection leaves behind.

Pure, causal, driven by media time. Detectors score the same face lower in a dark or flat picture, hardly find more that
is none there, and find more that is none where a picture is burnt out: see ``docs/detector.md`` for what was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from streamtrack.params import DetectorParams
from streamtrack.types import NS_PER_S, Detections, Float32Array

_LUMA: Final = np.array((0.299, 0.587, 0.114), np.float32)  # ITU-R BT.601
_FLAT: Final = 0.16
"""Contrast (standard deviation of luma by its mean, RMS contrast) below which scores fall."""
_DARK: Final = 30.0
"""Mean luma, 0..255, below which scores fall."""
_GLARING: Final = 210.0
"""Mean luma over which more is found that is none."""
_BURNT: Final = 240.0
"""Mean luma at which the threshold is a quarter higher."""
_HALF_LIFE_S: Final = 1.0
"""In this time the memory of earlier light fades to a half."""


@dataclass(slots=True)
class ThresholdStats:
    """Thresholds that frames were given so far."""

    frames: int = 0
    least: float = 0.0
    most: float = 0.0
    total: float = 0.0

    def add(self, threshold: float) -> None:
        """Count one frame."""
        self.least = min(self.least, threshold) if self.frames else threshold
        self.most = max(self.most, threshold)
        self.frames += 1
        self.total += threshold


class AdaptiveConfidence:
    """Tells scores relative to what the light allows; one per stream, called frame by frame in order.

    A threshold lowered to a half is the same as scores told twice as high, and that way all thresholds move together:
    the detector's, the tracker's for births, and its costs, in which the score is a factor. To lower births alone would
    start tracks that then match nothing.
    """

    def __init__(self, params: DetectorParams) -> None:
        """Start before the first frame."""
        self.params = params
        self.stats = ThresholdStats()
        self._share: float | None = None
        self._pts_ns = 0

    def adapt(self, found: Detections, thumbnail: Float32Array, pts_ns: int, cut: bool) -> Detections:
        """Return the detections over the threshold of this frame, their scores times ``confidence_th`` by it.

        Args:
            found: every detection over ``params.floor``.
            thumbnail: the frame's RGB picture, planar (3, rows, columns), 0..255; some dozen rows and columns.
            pts_ns: presentation time of the frame, later than that of the call before.
            cut: whether the frame is the first of a shot: what was before says nothing of its light.
        """
        if not self.params.adaptive:
            return found
        share = self._smoothed(self._wanted(thumbnail), pts_ns, cut)
        self.stats.add(share * self.params.confidence_th)
        scores = np.minimum(found.scores / np.float32(share), np.float32(1))
        rows = np.flatnonzero(scores >= np.float32(self.params.confidence_th))
        return Detections(found.boxes[rows], scores[rows], found.classes[rows], found.keypoints[rows])

    def _wanted(self, thumbnail: Float32Array) -> float:
        return min(max(share_for(thumbnail), self.params.adaptive_min), self.params.adaptive_max)

    def _smoothed(self, wanted: float, pts_ns: int, cut: bool) -> float:
        if self._share is None or cut:
            share = wanted
        else:
            kept = 0.5 ** ((pts_ns - self._pts_ns) / (_HALF_LIFE_S * NS_PER_S))
            share = wanted + (self._share - wanted) * kept
        self._share, self._pts_ns = share, pts_ns
        return share


def share_for(thumbnail: Float32Array) -> float:
    """Return by what a picture's brightness and contrast want every threshold multiplied, without bounds.

    1 in ordinary light; less the flatter a picture is for its brightness, and the darker; more where it is burnt out.

    Args:
        thumbnail: RGB, planar (3, rows, columns), 0..255.
    """
    luma = _LUMA @ thumbnail.reshape(3, -1)
    mean = float(luma.mean())
    flat = float(luma.std()) / (_FLAT * max(mean, 1.0))
    lowered = min(1.0, flat, mean / _DARK)
    if lowered < 1.0:
        return lowered
    return max(1.0, 1.0 + 0.25 * (mean - _GLARING) / (_BURNT - _GLARING))
