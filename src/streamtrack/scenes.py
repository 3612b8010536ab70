"""Scene cuts, from the small pictures that detection leaves behind: pure, causal, driven by media time.

A cut is a jump that is large in itself and much larger than those around it. Three measures must agree on the jump:
the places of light and dark (1 - correlation of luma), the colours (distance of coarse histograms) and the size of the
difference. A lamp or a flash changes colour and size but not the places, a pan the places but not the colours, noise
in the dark none by much. What is recent fades with media time, so that stride and frame rate do not matter.
"""

from __future__ import annotations

import numpy as np

from streamtrack.params import SceneParams
from streamtrack.types import NS_PER_S, Float32Array

_LUMA = np.array((0.299, 0.587, 0.114), np.float32)  # ITU-R BT.601
_BLANK = 4.0
"""Luma levels (standard deviation): a picture with less contrast is a flash or a fade, and shows no scene."""
_STANDS_OUT = 3.0
"""A cut jumps this many times further than the pictures shortly before it."""
_HALF_LIFE_S = 2.0
"""In this time the memory of a jump fades to a half."""
_HALF_RANGE = 128.0
_BINS = 4


class CutDetector:
    """Says which frames begin a new shot; one per stream, called frame by frame in order.

    A frame without a picture (white, black) is never one: what comes after it is compared with what came before it, so
    that a flash that returns ends nothing and a shot behind a black frame begins where it can be seen.
    """

    def __init__(self, params: SceneParams) -> None:
        """Start before the first frame."""
        self.params = params
        self._shot: _Look | None = None
        self._pts_ns = 0
        self._restless = 0.0
        self._cut_ns: int | None = None

    def is_cut(self, thumbnail: Float32Array, pts_ns: int) -> bool:
        """Tell whether a frame is the first of a new shot.

        Args:
            thumbnail: the frame's RGB picture, planar (3, rows, columns), 0..255; some dozen rows and columns.
            pts_ns: presentation time of the frame, later than that of the call before.
        """
        if not self.params.cuts:
            return False
        look = _Look(thumbnail)
        if look.contrast < _BLANK:
            return False
        before, self._shot = self._shot, look
        if before is None or before.luma.shape != look.luma.shape:
            self._pts_ns = pts_ns
            return False
        self._restless *= 0.5 ** ((pts_ns - self._pts_ns) / (_HALF_LIFE_S * NS_PER_S))
        self._pts_ns = pts_ns
        jump = look.jump_from(before)
        if jump >= max(self.params.cut_threshold, _STANDS_OUT * self._restless) and self._shot_is_long_enough(pts_ns):
            self._cut_ns = pts_ns
            return True
        self._restless = max(self._restless, jump)
        return False

    def _shot_is_long_enough(self, pts_ns: int) -> bool:
        return self._cut_ns is None or pts_ns - self._cut_ns >= self.params.min_shot_s * NS_PER_S


class _Look:
    """What is compared of a picture."""

    __slots__ = ("colours", "contrast", "luma", "picture")

    def __init__(self, picture: Float32Array) -> None:
        self.picture = picture
        luma = _LUMA @ picture.reshape(3, -1)
        self.luma = luma - luma.mean()  # (pixels,)
        self.contrast = float(np.sqrt(self.luma @ self.luma / luma.size))
        level = np.minimum(picture.reshape(3, -1) * np.float32(_BINS / 256), _BINS - 1).astype(np.int64)
        bins = np.bincount((level[0] * _BINS + level[1]) * _BINS + level[2], minlength=_BINS**3)
        self.colours = bins / luma.size

    def jump_from(self, before: _Look) -> float:
        """Return how far this picture is from another with contrast: 0 (the same) to 1, the least of three measures."""
        alike = float(self.luma @ before.luma) / (self.luma.size * self.contrast * before.contrast)
        colours = 0.5 * float(np.abs(self.colours - before.colours).sum())
        size = float(np.abs(self.picture - before.picture).mean()) / _HALF_RANGE
        jump: float = max(0.0, min(1.0 - alike, colours, size))
        return jump
