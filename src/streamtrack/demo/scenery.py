"""The two places of the demo's clip, drawn: a hall at night and a terrace by the sea. Each is a back and a front.

The front (pillar, desk, wall) is what people pass behind; it also hides where the portraits end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

WIDTH, HEIGHT = 1280, 720
FRONT_TOP = 546
"""Nothing behind the front can be seen from this row down."""
_DESK_TOP, _WALL_TOP = 540, FRONT_TOP

_OVERSAMPLING = 2
Colour = tuple[int, int, int]
Stops = list[tuple[float, Colour]]


@dataclass(frozen=True, slots=True)
class Scenery:
    """What stands behind and in front of people, and the colour of the light that falls on them."""

    back: Image.Image
    """RGB."""
    front: tuple[tuple[Image.Image, tuple[int, int]], ...]
    """Opaque pieces, RGB, and where their top left corners are."""
    light: tuple[float, float, float]
    """Gain of red, green and blue."""

    def front_mask(self) -> Image.Image:
        """Return 255 where the front hides what is behind it."""
        mask = Image.new("L", self.back.size)
        for piece, (x, y) in self.front:
            mask.paste(255, (x, y, x + piece.width, y + piece.height))
        return mask


def _gradient(size: tuple[int, int], stops: Stops, *, horizontal: bool = False) -> Image.Image:
    """Blend colours along one axis; ``stops`` are (position 0 to 1, RGB)."""
    n = size[0] if horizontal else size[1]
    at, colours = zip(*stops, strict=True)
    t = np.linspace(0.0, 1.0, n)
    line = np.stack([np.interp(t, at, [c[k] for c in colours]) for k in range(3)], axis=1).round().astype(np.uint8)
    strip = Image.fromarray(line[None] if horizontal else line[:, None])
    return strip.resize(size)


def _glow(size: tuple[int, int], centre: tuple[float, float], radius: float, strength: float) -> Image.Image:
    """Return a mask that falls off softly from ``centre``."""
    y, x = np.ogrid[0 : size[1], 0 : size[0]]
    square = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / radius**2
    return Image.fromarray((255 * strength * np.exp(-square)).astype(np.uint8))


def _lit(picture: Image.Image, mask: Image.Image, colour: Colour) -> Image.Image:
    light = Image.composite(Image.new("RGB", picture.size, colour), Image.new("RGB", picture.size), mask)
    return ImageChops.screen(picture, light)


def _with_grain(picture: Image.Image, seed: int) -> Image.Image:
    """Add still noise, so that the encoder leaves no bands in the gradients."""
    grain: NDArray[np.float64] = np.random.default_rng(seed).normal(0.0, 2.2, (picture.height, picture.width, 1))
    return Image.fromarray((np.asarray(picture) + grain).clip(0, 255).astype(np.uint8))


def _canvas() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    layer = Image.new("RGBA", (WIDTH * _OVERSAMPLING, HEIGHT * _OVERSAMPLING))
    return layer, ImageDraw.Draw(layer)


def _scaled(*values: float) -> list[float]:
    return [_OVERSAMPLING * v for v in values]


def _finished(layer: Image.Image, blur: float = 0.0) -> Image.Image:
    layer = layer.resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    if not blur:
        return layer
    # With premultiplied alpha; otherwise the black of what is transparent bleeds into the edges.
    return layer.convert("RGBa").filter(ImageFilter.GaussianBlur(blur)).convert("RGBA")


def _under(back: Image.Image, layer: Image.Image) -> Image.Image:
    return Image.alpha_composite(back.convert("RGBA"), layer).convert("RGB")


def hall() -> Scenery:
    """A hall with tall windows onto the night, lamps, a pillar and a desk in front."""
    size = (WIDTH, HEIGHT)
    back = _gradient(size, [(0.0, (34, 44, 58)), (0.62, (92, 104, 114)), (0.63, (58, 48, 44)), (1.0, (32, 26, 25))])
    back = _under(back, _finished(_windows(), blur=2.2))
    for x in (220, 640, 1060):
        back = _lit(back, _glow(size, (x, 96), 150, 0.55), (255, 214, 150))
        back = _lit(back, _glow(size, (x, 96), 26, 1.0), (255, 240, 214))
    front = ((_desk(), (0, _DESK_TOP)), (_pillar(), (798, 0)))
    return Scenery(_with_grain(back, 1), front, (0.97, 0.98, 1.0))


def _windows() -> Image.Image:
    layer, draw = _canvas()
    night = _gradient(layer.size, [(0.0, (14, 22, 48)), (0.45, (40, 58, 104)), (0.7, (120, 112, 132))])
    opening = Image.new("L", layer.size)
    mask = ImageDraw.Draw(opening)
    for x in (90, 480, 870):
        mask.rounded_rectangle(_scaled(x, 130, x + 320, 400), radius=60, fill=255, corners=(True, True, False, False))
    layer.paste(night, (0, 0), opening)
    for x in (90, 480, 870):
        draw.rounded_rectangle(
            _scaled(x, 130, x + 320, 402),
            60,
            outline=(150, 142, 128, 255),
            width=14,
            corners=(True, True, False, False),
        )
        draw.line(_scaled(x + 160, 130, x + 160, 400), fill=(150, 142, 128, 255), width=10)
        draw.line(_scaled(x, 250, x + 320, 250), fill=(150, 142, 128, 255), width=8)
    draw.rectangle(_scaled(0, 404, WIDTH, 420), fill=(118, 108, 98, 255))
    for x in (220, 640, 1060):
        draw.line(_scaled(x, 0, x, 84), fill=(24, 26, 30, 255), width=4)
    return layer


def _desk() -> Image.Image:
    height = HEIGHT - _DESK_TOP
    wood = [(0.0, (124, 82, 52)), (0.11, (118, 77, 49)), (0.13, (92, 58, 38)), (1.0, (48, 30, 22))]
    desk = _gradient((WIDTH * _OVERSAMPLING, height * _OVERSAMPLING), wood)
    draw = ImageDraw.Draw(desk)
    draw.rectangle(_scaled(0, 0, WIDTH, 3), fill=(196, 146, 104))
    draw.rectangle(_scaled(0, 22, WIDTH, 26), fill=(44, 28, 20))
    for x in range(-40, WIDTH, 220):
        draw.rounded_rectangle(_scaled(x + 12, 48, x + 208, 200), 8, outline=(40, 25, 18), width=5)
        draw.rounded_rectangle(_scaled(x + 15, 51, x + 205, 200), 8, outline=(112, 74, 50), width=2)
    return desk.resize((WIDTH, height), Image.Resampling.BOX)


def _pillar() -> Image.Image:
    """Return a round stone pillar, 72 px wide, standing before the desk."""
    width = 72
    shading = [(0.0, (66, 64, 64)), (0.32, (206, 200, 190)), (0.45, (218, 212, 202)), (1.0, (58, 56, 58))]
    pillar = _gradient((width, HEIGHT), shading, horizontal=True)
    flutes = ImageDraw.Draw(pillar, "RGBA")
    for k in range(1, 12):
        x = width / 2 * (1 - np.cos(np.pi * k / 12))
        flutes.line((x, 0, x, HEIGHT), fill=(30, 28, 30, 70), width=2)
        flutes.line((x + 2, 0, x + 2, HEIGHT), fill=(255, 250, 240, 50), width=1)
    return _with_grain(pillar.filter(ImageFilter.GaussianBlur(0.6)), 3)


def terrace() -> Scenery:
    """A terrace above the sea at sunset, with a stone wall in front."""
    size = (WIDTH, HEIGHT)
    sky: Stops = [(0.0, (62, 86, 142)), (0.3, (150, 140, 170)), (0.5, (250, 186, 132)), (0.56, (255, 208, 146))]
    back = _gradient(size, [*sky, (0.565, (150, 120, 124)), (0.8, (52, 66, 96)), (1.0, (34, 46, 72))])
    back = _lit(back, _glow(size, (1010, 372), 330, 0.7), (255, 170, 84))
    back = _lit(back, _glow(size, (1010, 372), 46, 1.0), (255, 236, 190))
    back = _under(back, _finished(_coast(), blur=1.8))
    return Scenery(_with_grain(back, 2), ((_wall(), (0, _WALL_TOP)),), (1.0, 0.955, 0.9))


def _coast() -> Image.Image:
    layer, draw = _canvas()
    x = np.arange(0, WIDTH + 1, 4)
    for base, height, colour in ((404, 88, (112, 104, 132)), (406, 52, (74, 76, 104))):
        ridge = base - height * np.exp(-(((x - 140 - 3 * (404 - base)) / 320) ** 2)) * (1 + 0.16 * np.sin(x / 47.0))
        outline = [*zip(_scaled(*x), _scaled(*ridge), strict=True), *[tuple(_scaled(WIDTH, base)), (0, base * 2)]]
        draw.polygon(outline, fill=(*colour, 255))
    rng = np.random.default_rng(7)
    for y in range(412, 560, 3):
        # Glitter: short bright strokes, wider and sparser towards the viewer.
        spread = 26 + (y - 408) * 0.7
        for _ in range(4):
            at, length = rng.normal(1010, spread), rng.uniform(6, 10 + (y - 408) * 0.25)
            draw.line(_scaled(at - length, y, at + length, y), fill=(255, 214, 158, 120), width=3)
    return layer


def _wall() -> Image.Image:
    height = HEIGHT - _WALL_TOP
    stone = [(0.0, (142, 122, 112)), (1.0, (70, 60, 62))]
    wall = _gradient((WIDTH * _OVERSAMPLING, height * _OVERSAMPLING), stone)
    draw = ImageDraw.Draw(wall)
    draw.rectangle(_scaled(0, 0, WIDTH, 3), fill=(234, 200, 170))
    draw.rectangle(_scaled(0, 26, WIDTH, 29), fill=(58, 50, 52))
    for row, y in enumerate(range(29, height, 48)):
        draw.line(_scaled(0, y + 48, WIDTH, y + 48), fill=(66, 57, 58), width=3)
        for x in range(-60 * (row % 2), WIDTH, 120):
            draw.line(_scaled(x, y, x, y + 48), fill=(66, 57, 58), width=3)
    return wall.resize((WIDTH, height), Image.Resampling.BOX)
