import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from streamtrack.sinks import _draw
from streamtrack.sinks._draw import INK, Colour


def luminance(colour: Colour) -> float:
    """Relative luminance as WCAG 2 defines it."""
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@given(st.integers(0, 2**62))
def test_a_colour_is_stable_and_dark_text_reads_well_on_it(track_id: int) -> None:
    colour = _draw.track_colour(track_id)
    assert colour == _draw.track_colour.__wrapped__(track_id)
    contrast = (luminance(colour) + 0.05) / (luminance(INK) + 0.05)
    assert contrast >= 4.5, "WCAG 2 AA"


def test_colours_of_tracks_that_are_seen_together_differ() -> None:
    for first in range(1, 200, 7):
        colours = np.array([_draw.track_colour(k) for k in range(first, first + 8)], float)
        distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(colours, 2)]
        assert min(distances) > 25


@given(st.text(max_size=60), st.integers(30, 400))
def test_shortened_text_fits(text: str, width: int) -> None:
    text = _draw.readable(text)
    short = _draw.shortened(text, 18, width)
    assert short == text or _draw.text_width(short, 18) <= width
    assert set(short) <= {*text, "…"}


def test_shortened_text_keeps_both_ends() -> None:
    short = _draw.shortened("a-long-name-with-its-date-2026-11-21.mp4", 18, 160)
    assert short.startswith("a-long")
    assert short.endswith(".mp4")


@pytest.mark.parametrize(
    ("text", "readable"), [("café.mp4", "cafe.mp4"), ("映画.mp4", "??.mp4"), ("a · b…", "a · b..."), ("plain", "plain")]
)
def test_text_is_written_in_letters_that_the_font_has(text: str, readable: str) -> None:
    assert _draw.readable(text) == readable


@pytest.mark.parametrize(
    ("pts_ns", "decimals", "text"),
    [
        (0, 0, "0:00"),
        (62_345_678_901, 0, "1:02"),
        (62_345_678_901, 2, "1:02.34"),
        (3_662_999_999_999, 1, "1:01:02.9"),
        (359_999_000_000_000, 0, "99:59:59"),
    ],
)
def test_clock(pts_ns: int, decimals: int, text: str) -> None:
    assert _draw.clock(pts_ns, decimals) == text


@given(st.integers(-20, 60), st.integers(-20, 60), st.integers(4, 50), st.integers(4, 50), st.integers(0, 20))
def test_an_outline_stays_within_its_box_and_leaves_the_inside_alone(x: int, y: int, w: int, h: int, r: int) -> None:
    image = Image.new("RGB", (64, 64))
    _draw.outline_rounded(image, (x, y, x + w, y + h), (255, 255, 255), 2, r)
    drawn = np.asarray(image).any(axis=2)
    rows, columns = np.nonzero(drawn)
    if rows.size:
        assert rows.min() >= y
        assert rows.max() < y + h
        assert columns.min() >= x
        assert columns.max() < x + w
    middle_x, middle_y = x + w // 2, y + h // 2
    if min(w, h) >= 2 * max(r, 2) + 6 and 0 <= middle_x < 64 and 0 <= middle_y < 64:
        assert not drawn[middle_y, middle_x]


def test_a_fading_line_is_strongest_at_its_end() -> None:
    image = Image.new("RGB", (200, 20))
    _draw.draw_fading_line(image, [(x, 10.0) for x in range(10, 191, 20)], 4.0, (255, 255, 255))
    row = np.asarray(image)[10, :, 0]
    assert row[185] > 200
    assert row[15] < 60
    assert list(row[20:180:20]) == sorted(row[20:180:20])


@pytest.mark.parametrize("points", [[], [(5.0, 5.0)], [(-90.0, -90.0), (-80.0, -80.0)]])
def test_a_line_of_nothing_or_outside_draws_nothing(points: list[tuple[float, float]]) -> None:
    image = Image.new("RGB", (20, 20))
    _draw.draw_fading_line(image, points, 4.0, (255, 255, 255))
    assert not np.asarray(image).any()
