"""Draws a report: a header, a card per track with its best pictures, and a timeline of the tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from streamtrack.sinks import _draw
from streamtrack.sinks._draw import INK, WHITE, Colour, clock, draw_text, fill_rounded, text_width
from streamtrack.sinks._gallery import KEPT_THUMBNAILS, THUMBNAIL, Story
from streamtrack.types import NS_PER_S

WIDTH = 1600
MARGIN = 56
_INNER = WIDTH - 2 * MARGIN
_GAP = 24

_PAPER: Colour = (244, 245, 248)
_LINE: Colour = (222, 225, 231)
_LANE: Colour = (238, 240, 244)
_GREY: Colour = (104, 112, 124)

_HEADER, _HEADING, _CARD_TOP, _CARD_BOTTOM, _PAD, _AXIS = 218, 66, 58, 48, 16, 44
_LABEL = 96
_FEW = 24
"""Up to so many tracks, cards and lanes are large."""
_PICTURES = {2: KEPT_THUMBNAILS, 3: 4, 4: 3}
"""Pictures on a card, by cards in a row."""
_TICKS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a report says."""

    title: str
    subtitle: str
    figures: Sequence[tuple[str, str]]
    """Big number and what it counts."""
    stories: Sequence[Story]
    """In order of appearance."""
    hidden: int
    """Tracks that are not shown; none has more frames than those that are."""
    start_ns: int
    end_ns: int
    class_names: Sequence[str]

    def draw(self) -> Image.Image:
        """Return the report as a picture, RGB."""
        columns = min(3, max(2, len(self.stories))) if len(self.stories) <= _FEW else 4
        card = _Card(columns)
        rows = -(-len(self.stories) // columns)
        lane = 34 if len(self.stories) <= _FEW else 26
        cards_height = rows * (card.height + _GAP)
        timeline_height = _AXIS + len(self.stories) * lane + _PAD
        body = _HEADING + cards_height + _HEADING + timeline_height if self.stories else 140
        image = Image.new("RGB", (WIDTH, _HEADER + body + MARGIN), _PAPER)
        self._draw_header(image)
        if not self.stories:
            _panel(image, (MARGIN, _HEADER, WIDTH - MARGIN, _HEADER + 140))
            draw_text(image, (WIDTH / 2, _HEADER + 70), "No tracks were found.", 26, _GREY, anchor="mm")
            return image
        y = self._draw_heading(image, _HEADER, "Tracks", self._remark())
        for k, story in enumerate(self.stories):
            row, column = divmod(k, columns)
            corner = MARGIN + column * (card.width + _GAP), y + row * (card.height + _GAP)
            card.draw(image, corner, story, self._class_name(story))
        y = self._draw_heading(
            image, y + cards_height, "Timeline", "a bar where a track is seen, a line where it is lost"
        )
        _Timeline(self.start_ns, self.end_ns, lane).draw(image, y, timeline_height, self.stories)
        return image

    def _remark(self) -> str:
        return f"the {len(self.stories)} with the most frames; +{self.hidden:,} more" if self.hidden else ""

    def _class_name(self, story: Story) -> str:
        several = len(self.class_names) > 1 and story.class_id < len(self.class_names)
        return _draw.readable(self.class_names[story.class_id]) if several else ""

    def _draw_header(self, image: Image.Image) -> None:
        ImageDraw.Draw(image).rectangle((0, 0, WIDTH, 8), fill=INK)
        brand = "streamtrack"
        room = _INNER - text_width(brand, 20) - 40
        _draw_bold(image, (MARGIN, 70), _draw.shortened(_draw.readable(self.title), 36, room), 36)
        draw_text(image, (WIDTH - MARGIN, 70), brand, 20, _GREY, anchor="rs")
        draw_text(image, (MARGIN, 104), _draw.shortened(_draw.readable(self.subtitle), 19, _INNER), 19, _GREY)
        width = (_INNER - _GAP * (len(self.figures) - 1)) // max(1, len(self.figures))
        for k, (number, label) in enumerate(self.figures):
            x = MARGIN + k * (width + _GAP)
            _panel(image, (x, 128, x + width, 196))
            _draw_bold(image, (x + 20, 174), number, 34)
            draw_text(image, (x + 34 + text_width(number, 34), 174), label, 19, _GREY)

    def _draw_heading(self, image: Image.Image, y: int, text: str, remark: str) -> int:
        _draw_bold(image, (MARGIN, y + 42), text, 24)
        draw_text(image, (MARGIN + text_width(text, 24) + 16, y + 42), remark, 18, _GREY)
        return y + _HEADING


class _Card:
    """One track: id and time, its best pictures, how often and how surely it was seen."""

    def __init__(self, columns: int) -> None:
        self.width = (_INNER - _GAP * (columns - 1)) // columns
        self._pictures = _PICTURES[columns]
        inner = self.width - 2 * _PAD
        self._side = min(THUMBNAIL, (inner - 8 * (self._pictures - 1)) // self._pictures)
        self.height = _CARD_TOP + self._side + _CARD_BOTTOM

    def draw(self, image: Image.Image, corner: tuple[int, int], story: Story, class_name: str) -> None:
        x, y = corner
        _panel(image, (x, y, x + self.width, y + self.height))
        left, right = x + _PAD, x + self.width - _PAD
        seen = f"{clock(story.first_ns, 1)} - {clock(story.last_ns, 1)}"
        seen_left = right - text_width(seen, 18)
        draw_text(image, (right, y + _PAD + 21), seen, 18, _GREY, anchor="rs")
        name = _draw.shortened(f"#{story.track_id}", 20, seen_left - left - 40)
        after = _chip(image, (left, y + _PAD), name, _draw.track_colour(story.track_id)) + 12
        draw_text(image, (after, y + _PAD + 21), _draw.shortened(class_name, 18, seen_left - after - 16), 18, INK)
        for k, thumbnail in enumerate(story.best_thumbnails(self._pictures)):
            picture = Image.fromarray(thumbnail.pixels).resize((self._side, self._side), Image.Resampling.LANCZOS)
            _paste_rounded(image, picture, (left + k * (self._side + 8), y + _CARD_TOP))
        base = y + _CARD_TOP + self._side + 31
        draw_text(image, (left, base), f"{story.frames:,} frame{'s' * (story.frames != 1)}", 18, INK)
        draw_text(image, (right, base), f"mean confidence {story.confidence:.2f}", 18, _GREY, anchor="rs")


class _Timeline:
    """A lane per track over a common axis of media time."""

    def __init__(self, start_ns: int, end_ns: int, lane: int) -> None:
        self._start_ns = start_ns
        self._length_ns = max(1, end_ns - start_ns)
        self._lane = lane
        self._left, self._right = MARGIN + _LABEL, WIDTH - MARGIN - 2 * _PAD

    def _x(self, pts_ns: int) -> float:
        return self._left + (self._right - self._left) * (pts_ns - self._start_ns) / self._length_ns

    def draw(self, image: Image.Image, y: int, height: int, stories: Sequence[Story]) -> None:
        _panel(image, (MARGIN, y, WIDTH - MARGIN, y + height))
        top = y + _AXIS
        self._draw_axis(image, top, top + len(stories) * self._lane)
        for k, story in enumerate(stories):
            self._draw_lane(image, top + k * self._lane, story)

    def _draw_axis(self, image: Image.Image, top: int, bottom: int) -> None:
        draw = ImageDraw.Draw(image)
        step_ns = _tick_step_s(self._length_ns / NS_PER_S) * NS_PER_S
        tick = -(-self._start_ns // step_ns) * step_ns
        while tick <= self._start_ns + self._length_ns:
            x = round(self._x(tick))
            draw.line((x, top - 4, x, bottom), fill=_LINE)
            draw_text(image, (x, top - 14), clock(tick), 16, _GREY, anchor="ms")
            tick += step_ns

    def _draw_lane(self, image: Image.Image, y: int, story: Story) -> None:
        colour = _draw.track_colour(story.track_id)
        centre, half = y + self._lane // 2, self._lane // 2 - 6
        label = _draw.shortened(f"#{story.track_id}", 18, _LABEL - 2 * _PAD)
        draw_text(image, (self._left - _PAD, centre), label, 18, _draw.mixed(colour, INK, 0.45), anchor="rm")
        first, last = round(self._x(story.first_ns)), round(self._x(story.last_ns))
        ImageDraw.Draw(image).line((first, centre, last, centre), fill=_draw.mixed(colour, WHITE, 0.35), width=2)
        for begin_ns, end_ns in story.spans:
            x0 = round(self._x(begin_ns))
            # However short, it must be seen.
            x1 = max(round(self._x(end_ns)), x0 + 3)
            fill_rounded(image, (x0, centre - half, x1, centre + half), colour, min(5.0, (x1 - x0) / 2))


def _tick_step_s(length_s: float) -> int:
    return next((step for step in _TICKS_S if length_s / step <= 12), int(length_s // 12) + 1)


def _panel(image: Image.Image, box: tuple[int, int, int, int]) -> None:
    x0, y0, x1, y1 = box
    fill_rounded(image, box, _LINE, 12)
    fill_rounded(image, (x0 + 1, y0 + 1, x1 - 1, y1 - 1), WHITE, 11)


def _chip(image: Image.Image, corner: tuple[int, int], text: str, colour: Colour) -> int:
    """Draw a label on its colour; return where it ends."""
    x, y = corner
    width = text_width(text, 20) + 20
    fill_rounded(image, (x, y, x + width, y + 30), colour, 8)
    _draw_bold(image, (x + 10, y + 22), text, 20)
    return x + width


def _draw_bold(image: Image.Image, xy: tuple[float, float], text: str, size: int) -> None:
    # The font has no bold; drawn twice, a little apart, it looks like one.
    for shift in (0.0, size / 34):
        draw_text(image, (xy[0] + shift, xy[1]), text, size, INK)


def _paste_rounded(image: Image.Image, picture: Image.Image, corner: tuple[int, int]) -> None:
    image.paste(picture, corner, _draw.round_rect_mask(picture.width, picture.height, 8.0, 1.0))
