"""Draws tracks into frames: boxes, ids, keypoints, short trails, a clock and where shots end."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from streamtrack.sinks import _draw
from streamtrack.sinks._draw import INK, WHITE, Colour
from streamtrack.types import CONFIRMED, NS_PER_S, Detections, Frame, Result

_CUT: Colour = (226, 62, 74)
_CUT_SHOWN_NS = 700_000_000

Trail = deque[tuple[int, float, float]]  # pts_ns, x, y px of the picture


class Annotator:
    """Draws results of one run into pictures of one size; remembers where each live track has been."""

    def __init__(self, size: tuple[int, int], *, trail_s: float) -> None:
        """Draw into pictures of ``size`` (width, height px), with trails ``trail_s`` seconds of media long."""
        self._size = size
        unit = min(size) / 720
        self._line = max(2, round(3 * unit))
        self._edge = max(1, round(unit))
        self._radius = max(3, round(8 * unit))
        self._text = max(11, round(20 * unit))
        self._dot = max(1.2, 2.6 * unit)
        self._trail_ns = round(trail_s * NS_PER_S)
        self._trails: dict[int, Trail] = {}
        self._cut_ns: int | None = None

    def follow(self, result: Result, scale: float, offset: tuple[float, float]) -> None:
        """Remember where the tracks of ``result`` are; every result is followed, once, whether it is drawn or not.

        Args:
            result: the next one.
            scale: of its frame in the picture.
            offset: of the frame's corner in the picture, px.
        """
        tracks, pts_ns = result.tracks, result.frame.pts_ns
        if result.cut:
            self._cut_ns = pts_ns
        shown = np.flatnonzero(tracks.states == CONFIRMED)
        # The tracker's own boxes: smoother than the detections.
        boxes = tracks.boxes[shown] * scale + np.array([*offset, *offset])
        self._remember(tracks.ids[shown].tolist(), boxes, pts_ns)
        for track in tracks.ended.tolist():
            self._trails.pop(track, None)

    def draw(self, image: Image.Image, result: Result, scale: float, offset: tuple[float, float]) -> None:
        """Draw ``result``, the one followed last, into ``image``, which holds its frame as ``follow`` was told."""
        tracks, frame = result.tracks, result.frame
        shown = np.flatnonzero(tracks.states == CONFIRMED)
        boxes = _drawn_boxes(result)[shown] * scale + np.array([*offset, *offset])
        ids = tracks.ids[shown].tolist()
        for track in ids:
            self._draw_trail(image, track)
        self._draw_keypoints(image, result.detections, tracks.rows[shown], scale, offset)
        for track, box in zip(ids, boxes, strict=True):
            self._draw_box(image, box, _draw.track_colour(track))
        for m, track, box in zip(shown, ids, boxes, strict=True):
            self._draw_label(image, box, f"#{track}", f"{tracks.scores[m]:.2f}", _draw.track_colour(track))
        self._draw_clock(image, frame, len(ids))

    def _remember(self, ids: list[int], boxes: NDArray[np.float64], pts_ns: int) -> None:
        for track, (x0, _, x1, y1) in zip(ids, boxes.tolist(), strict=True):
            self._trails.setdefault(track, deque()).append((pts_ns, (x0 + x1) / 2, y1))
        for trail in self._trails.values():
            while trail and pts_ns - trail[0][0] > self._trail_ns:
                trail.popleft()

    def _draw_trail(self, image: Image.Image, track: int) -> None:
        points = [(x, y) for _, x, y in self._trails.get(track, ())]
        _draw.draw_fading_line(image, points, 1.4 * self._line, _draw.track_colour(track))

    def _draw_keypoints(
        self,
        image: Image.Image,
        detections: Detections,
        rows: NDArray[np.int32],
        scale: float,
        offset: tuple[float, float],
    ) -> None:
        for row in rows[rows >= 0]:
            x0, y0, x1, y1 = (float(v) * scale for v in detections.boxes[row])
            # In quarters of a px, so that their masks recur; on a small face they would hide it.
            radius = min(self._dot, round(0.11 * min(x1 - x0, y1 - y0)) / 4)
            if radius < 0.75:
                continue
            for x, y in detections.keypoints[row].tolist():
                at = x * scale + offset[0], y * scale + offset[1]
                _draw.draw_dot(image, at, 1.45 * radius, INK)
                _draw.draw_dot(image, at, radius, WHITE)

    def _draw_box(self, image: Image.Image, box: NDArray[np.float64], colour: Colour) -> None:
        x0, y0, x1, y1 = (round(float(v)) for v in box)
        if x1 - x0 > 2 * self._line and y1 - y0 > 2 * self._line:
            edge = self._edge
            around = (x0 - edge, y0 - edge, x1 + edge, y1 + edge)
            _draw.outline_rounded(image, around, INK, self._line + 2 * edge, self._radius + edge)
            _draw.outline_rounded(image, (x0, y0, x1, y1), colour, self._line, self._radius)

    def _draw_label(
        self, image: Image.Image, box: NDArray[np.float64], name: str, confidence: str, colour: Colour
    ) -> None:
        """Draw id and confidence above the box, or inside its top where there is no room above."""
        size, pad = self._text, max(3, self._text // 3)
        small = max(9, round(0.78 * size))
        name_width = _draw.text_width(name, size)
        width = name_width + _draw.text_width(confidence, small) + 3 * pad
        height = size + pad
        x = min(max(round(float(box[0])), 0), max(0, image.width - width))
        y = round(float(box[1])) - height - 2
        if y < 0:
            y = min(max(round(float(box[1])) + self._line + 2, 0), max(0, image.height - height))
        _draw.fill_rounded(image, (x, y, x + width, y + height), colour, 0.28 * height)
        baseline = y + height - pad / 2 - 0.16 * size
        # Drawn twice, a little apart: the font has no bold, and the id is what people look for.
        for shift in (0.0, size / 33):
            _draw.draw_text(image, (x + pad + shift, baseline), name, size, INK)
        _draw.draw_text(image, (x + 2 * pad + name_width, baseline), confidence, small, _draw.mixed(INK, colour, 0.2))

    def _draw_clock(self, image: Image.Image, frame: Frame, tracks: int) -> None:
        size, pad = self._text, self._text // 2
        time, rest = _draw.clock(frame.pts_ns, 2), f"frame {frame.index} · {tracks} track{'s' * (tracks != 1)}"
        small = max(9, round(0.78 * size))
        # The rest is measured with full digits, so that the chip does not jump while it counts.
        template = "".join("0" if c.isdigit() else c for c in rest)
        width = _draw.text_width(time, size) + _draw.text_width(template, small) + 3 * pad
        height = size + pad
        x, y = pad, image.height - height - pad
        if width + 2 * pad > image.width:
            return
        _draw.fill_rounded(image, (x, y, x + width, y + height), INK, 0.28 * height, opacity=0.72)
        baseline = y + height - pad / 2 - 0.16 * size
        _draw.draw_text(image, (x + pad, baseline), time, size, WHITE)
        _draw.draw_text(image, (x + 2 * pad + _draw.text_width(time, size), baseline), rest, small, (196, 202, 210))
        if self._cut_ns is not None and frame.pts_ns - self._cut_ns <= _CUT_SHOWN_NS:
            left = x + width + pad
            _draw.fill_rounded(
                image, (left, y, left + _draw.text_width("cut", size) + 2 * pad, y + height), _CUT, 0.28 * height
            )
            _draw.draw_text(image, (left + pad, baseline), "cut", size, WHITE)


def _drawn_boxes(result: Result) -> NDArray[np.float64]:
    """Return the box to draw for each track: its detection's where there is one, since that fits what one sees."""
    boxes = result.tracks.boxes.astype(np.float64)
    seen = result.tracks.rows >= 0
    boxes[seen] = result.detections.boxes[result.tracks.rows[seen]]
    return boxes
