"""The two people of the demo: public-domain portraits from PyPI packages, cut out along hand-checked outlines.

Both pictures are by NASA and the US Navy and as such in the public domain. They are downloaded, never shipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

from streamtrack.fetch import Asset

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Portrait:
    """A person's picture, where the face is in it and what is person and not background."""

    name: str
    asset: Asset
    size: tuple[int, int]
    """Width, height in px."""
    face: Box
    """Face in the picture, x0 y0 x1 y1 px: brow to chin, cheek to cheek, as annotators of face data sets draw it."""
    outline: str
    """Outline of head and shoulders as ``x,y`` px pairs."""
    body_below: int
    """How many px to continue the picture below its lower edge, so that the body reaches the foreground."""


COLLINS = Portrait(
    name="Collins",
    asset=Asset(
        filename="astronaut.png",
        sha256="88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        size=791555,
        sources=("pypi:scikit-image==0.26.0/skimage/data/astronaut.png",),
    ),
    size=(512, 512),
    face=(181.0, 58.0, 272.0, 184.0),
    outline="""
        189,31 181,40 163,51 157,57 153,68 156,101 162,110 169,116 174,128 179,132 180,145 177,148 161,149 149,153
        140,158 131,167 121,183 120,192 122,199 113,203 98,222 95,230 73,250 45,282 40,294 36,305 31,325 26,350 22,380
        20,404 20,415 24,432 23,460 25,479 29,493 36,501 39,520 506,520 506,488 499,478 494,478 491,475 492,470
        501,462 502,457 495,451 493,421 488,405 478,384 455,361 436,351 418,345 401,345 392,353 366,352 360,342
        356,302 352,288 347,282 341,264 331,253 303,232 299,219 289,203 276,189 256,173 256,163 266,141 275,134
        290,117 296,107 299,97 299,72 296,66 296,58 288,43 276,31 248,18 227,16 214,21 205,21""",
    body_below=0,
)

HOPPER = Portrait(
    name="Hopper",
    asset=Asset(
        filename="grace_hopper.jpg",
        sha256="a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130",
        size=61306,
        sources=("pypi:matplotlib==3.11.2/matplotlib/mpl-data/sample_data/grace_hopper.jpg",),
    ),
    size=(512, 600),
    face=(172.0, 128.0, 360.0, 335.0),
    outline="""
        226,30 211,43 196,50 184,60 177,70 174,84 160,94 152,98 147,104 146,167 151,180 157,185 153,197 153,211
        161,228 169,259 177,269 176,275 171,279 171,284 174,288 186,293 194,297 200,304 203,313 196,322 183,333
        167,343 132,354 121,360 96,363 74,371 63,379 57,380 42,398 36,417 27,459 23,495 17,526 12,600 12,920
        511,920 511,437 505,431 492,393 464,377 422,366 400,357 366,341 350,333 338,323 333,312 338,300 343,291
        346,286 346,277 350,270 361,261 367,236 367,228 370,222 370,208 375,196 374,188 368,181 371,134 369,129
        369,100 364,88 356,87 353,84 348,71 335,56 310,43 302,36 295,35 281,27 270,24 249,23 235,25""",
    body_below=320,
)

PORTRAITS = (COLLINS, HOPPER)

_MIRRORED = 70
"""Rows of the lower edge that hold nothing but cloth and can be mirrored downwards."""


def cut_out(portrait: Portrait, path: Path) -> Image.Image:
    """Return the person as RGBA with soft edges, continued below where ``body_below`` says so."""
    with Image.open(path) as file:
        picture = file.convert("RGB")
    picture = _continued(picture, portrait.body_below)
    picture.putalpha(body_mask(portrait))
    return picture


def body_mask(portrait: Portrait) -> Image.Image:
    """Return the person's soft-edged mask, the size of the cut-out."""
    width, height = _cut_out_size(portrait)
    scale = 4
    points = [(scale * float(x), scale * float(y)) for x, y in (p.split(",") for p in portrait.outline.split())]
    mask = Image.new("L", (width * scale, height * scale))
    ImageDraw.Draw(mask).polygon(points, fill=255)
    mask = mask.resize((width, height), Image.Resampling.BOX)
    # One pixel in, then soft: a rim of the old background would give the cut-out away.
    return mask.filter(ImageFilter.MinFilter(3)).filter(ImageFilter.GaussianBlur(0.9))


def face_mask(portrait: Portrait) -> Image.Image:
    """Return the face's ellipse as a mask, the size of the cut-out."""
    mask = Image.new("L", _cut_out_size(portrait))
    ImageDraw.Draw(mask).ellipse(portrait.face, fill=255)
    return mask


def _cut_out_size(portrait: Portrait) -> tuple[int, int]:
    return portrait.size[0], portrait.size[1] + portrait.body_below


def _continued(picture: Image.Image, rows: int) -> Image.Image:
    if not rows:
        return picture
    width, height = picture.size
    tall = Image.new("RGB", (width, height + rows))
    tall.paste(picture, (0, 0))
    mirrored = picture.crop((0, height - _MIRRORED, width, height)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    tall.paste(mirrored, (0, height))
    last_row = mirrored.crop((0, _MIRRORED - 1, width, _MIRRORED)).filter(ImageFilter.GaussianBlur(6))
    tall.paste(last_row.resize((width, rows - _MIRRORED)), (0, height + _MIRRORED))
    return tall
