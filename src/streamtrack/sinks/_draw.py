"""Drawing for pictures that people look at: stable colours, clear type, smooth edges.

Pillow draws without antialiasing; shapes are therefore drawn larger as a mask, reduced, and pasted in their colour.
Masks that recur are cached.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from streamtrack.types import NS_PER_S

Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
INK: Colour = (16, 20, 26)

_SMOOTH = 4
_GOLDEN_ANGLE = 137.50776  # degrees; consecutive hues never come near each other


@lru_cache(maxsize=4096)
def track_colour(track_id: int) -> Colour:
    """Return the colour of a track: the same for an id always, far apart for ids close to each other.

    All are equally light, so that dark text reads well on each.
    """
    hue = np.radians((track_id * _GOLDEN_ANGLE + 25.0) % 360.0)
    lightness = 0.78 if track_id % 2 else 0.71
    for chroma in np.linspace(0.17, 0.0, 18):
        rgb = _from_oklab(lightness, chroma * np.cos(hue), chroma * np.sin(hue))
        if rgb.min() >= 0.0 and rgb.max() <= 1.0:
            break
    red, green, blue = (round(255 * float(v)) for v in rgb.clip(0.0, 1.0))
    return red, green, blue


def _from_oklab(lightness: float, a: float, b: float) -> NDArray[np.float64]:
    """Return sRGB, 0 to 1 where it is in gamut (Ottosson, "A perceptual color space for image processing", 2020)."""
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = np.array(
        [
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        ]
    )
    curved = 1.055 * np.abs(linear) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, curved)


def mixed(colour: Colour, other: Colour, share: float) -> Colour:
    """Return ``colour`` with ``share`` (0 to 1) of ``other`` in it."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue


@lru_cache(maxsize=32)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font that comes with Pillow (Aileron), so that every machine draws the same."""
    return ImageFont.load_default(size=size)


def readable(text: str) -> str:
    """Return ``text`` in the letters the font has: accents are dropped, what remains unknown becomes ``?``."""
    plain = unicodedata.normalize("NFKD", text)
    return "".join(c if c.isascii() or c in "·…" else "?" for c in plain if not unicodedata.combining(c))


def text_width(text: str, size: int) -> int:
    """Return the width of ``text`` in px."""
    return round(font(size).getlength(text))


def shortened(text: str, size: int, width: int) -> str:
    """Return ``text``, cut in the middle so that it is at most ``width`` px wide."""
    keep = len(text)
    cut = text
    while keep > 1 and text_width(cut, size) > width:
        keep -= 1
        cut = f"{text[: (keep + 1) // 2]}…{text[len(text) - keep // 2 :]}"
    return cut


def clock(pts_ns: int, decimals: int = 0) -> str:
    """Return a time as ``1:02``, ``1:02.34`` or ``1:01:02``, rounded down."""
    whole, rest = divmod(pts_ns, NS_PER_S)
    minutes, seconds = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{rest * 10**decimals // NS_PER_S:0{decimals}}" if decimals else ""
    return (f"{hours}:{minutes:02}" if hours else f"{minutes}") + f":{seconds:02}{fraction}"


def draw_text(
    image: Image.Image, xy: tuple[float, float], text: str, size: int, colour: Colour, *, anchor: str = "ls"
) -> None:
    """Draw one line; by default ``xy`` is the left end of its baseline."""
    ImageDraw.Draw(image).text(xy, text, fill=colour, font=font(size), anchor=anchor)


@lru_cache(maxsize=512)
def round_rect_mask(width: int, height: int, radius: float, opacity: float) -> Image.Image:
    """Return a mask (px) with round corners."""
    mask = Image.new("L", (width * _SMOOTH, height * _SMOOTH))
    box = (0, 0, mask.width - 1, mask.height - 1)
    ImageDraw.Draw(mask).rounded_rectangle(box, radius * _SMOOTH, fill=round(255 * opacity))
    return mask.reduce(_SMOOTH)


def fill_rounded(
    image: Image.Image, box: tuple[int, int, int, int], colour: Colour, radius: float, opacity: float = 1.0
) -> None:
    """Fill a rectangle (x0 y0 x1 y1, whole px) with round corners."""
    x0, y0, x1, y1 = box
    if x1 > x0 and y1 > y0:
        image.paste(colour, box, round_rect_mask(x1 - x0, y1 - y0, radius, opacity))


@lru_cache(maxsize=64)
def _corner_masks(radius: int, width: int) -> tuple[Image.Image, ...]:
    """Return the four corners of a ring, each ``radius`` px square: top left, top right, bottom left, bottom right."""
    side = 2 * radius * _SMOOTH
    ring = Image.new("L", (side, side))
    ImageDraw.Draw(ring).ellipse((0, 0, side - 1, side - 1), outline=255, width=width * _SMOOTH)
    ring = ring.reduce(_SMOOTH)
    r = radius
    return tuple(ring.crop((x, y, x + r, y + r)) for y in (0, r) for x in (0, r))


def outline_rounded(
    image: Image.Image, box: tuple[int, int, int, int], colour: Colour, width: int, radius: int
) -> None:
    """Draw the outline of a rectangle (x0 y0 x1 y1, whole px) with round corners, inwards from its edge."""
    x0, y0, x1, y1 = box
    r = max(width, min(radius, (x1 - x0) // 2, (y1 - y0) // 2))
    draw = ImageDraw.Draw(image)
    for x, y in ((x0, y0), (x0, y1 - width)):
        draw.rectangle((x + r, y, x1 - r - 1, y + width - 1), fill=colour) if x1 - r > x + r else None
    for x in (x0, x1 - width):
        draw.rectangle((x, y0 + r, x + width - 1, y1 - r - 1), fill=colour) if y1 - r > y0 + r else None
    corners = ((x0, y0), (x1 - r, y0), (x0, y1 - r), (x1 - r, y1 - r))
    for corner, mask in zip(corners, _corner_masks(r, width), strict=True):
        image.paste(colour, corner, mask)


@lru_cache(maxsize=64)
def _dot_mask(radius: float) -> Image.Image:
    side = 2 * int(np.ceil(radius)) + 2
    mask = Image.new("L", (side * _SMOOTH, side * _SMOOTH))
    centre, r = side * _SMOOTH / 2, radius * _SMOOTH
    ImageDraw.Draw(mask).ellipse((centre - r, centre - r, centre + r, centre + r), fill=255)
    return mask.reduce(_SMOOTH)


def draw_dot(image: Image.Image, xy: tuple[float, float], radius: float, colour: Colour) -> None:
    """Fill a circle."""
    mask = _dot_mask(radius)
    image.paste(colour, (round(xy[0] - mask.width / 2), round(xy[1] - mask.height / 2)), mask)


def draw_fading_line(image: Image.Image, points: Sequence[tuple[float, float]], width: float, colour: Colour) -> None:
    """Draw a line through ``points`` that is opaque at its last one and fades towards its first."""
    if len(points) < 2:
        return
    scale, margin = 2, int(width) + 2
    xs, ys = zip(*points, strict=True)
    left, top = max(0, int(min(xs)) - margin), max(0, int(min(ys)) - margin)
    right, bottom = min(image.width, int(max(xs)) + margin), min(image.height, int(max(ys)) + margin)
    if right <= left or bottom <= top:
        return
    mask = Image.new("L", ((right - left) * scale, (bottom - top) * scale))
    draw = ImageDraw.Draw(mask)
    at = [((x - left) * scale, (y - top) * scale) for x, y in points]
    r = width * scale / 2
    for k in range(1, len(at)):
        strength = round(235 * k / (len(at) - 1))
        draw.line((*at[k - 1], *at[k]), fill=strength, width=round(2 * r))
        x, y = at[k]
        draw.ellipse((x - r, y - r, x + r, y + r), fill=strength)
    image.paste(colour, (left, top), mask.reduce(scale))
