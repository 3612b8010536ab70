"""What faults do to frames is exact and can be repeated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.sources._faults import parse_fault
from streamtrack.sources._spoiling import Shot, Spoiler, garble
from streamtrack.testing.clips import draw_index, read_index
from streamtrack.testing.results import make_frame
from streamtrack.types import UInt8Array

MS = 1_000_000


@dataclass
class Flat:
    """The simplest picture: whole, in one size."""

    image: UInt8Array

    def rgb(self, region: tuple[int, int, int, int], size: tuple[int, int], *, planar: bool) -> UInt8Array:
        height, width = self.image.shape[:2]
        columns, rows = (np.arange(n) * m // n for n, m in zip(size, (width, height), strict=True))
        return np.ascontiguousarray(self.image[rows[:, None], columns])


def spoilt(faults: str, count: int = 100, seed: int = 0) -> list[tuple[int, Shot]]:
    """Frames every 10 ms, through the faults, as (number of the frame, what became of it)."""
    spoiler = Spoiler([parse_fault(fault) for fault in faults.split("&") if fault], seed)
    picture = make_frame(0).picture
    out = []
    for n in range(count):
        out += [(n, shot) for shot in spoiler.spoil(n * 10 * MS, Shot(picture, 160, 96, n * 10 * MS))]
    return out


def numbers(faults: str, **settings: int) -> list[int]:
    return [number for number, _ in spoilt(faults, **settings)]


@pytest.mark.parametrize(
    ("faults", "missing"),
    [
        ("", []),
        ("drop@50ms", [5]),
        ("drop@51ms", [6]),
        ("drop@0s", [0]),
        ("drop@50ms=30ms", [5, 6, 7]),
        ("freeze@50ms=30ms", [5, 6, 7]),
        ("freeze@970ms", [97, 98, 99]),
        ("drop@every300ms", [30, 60, 90]),
        ("drop@every300ms=20ms", [30, 31, 60, 61, 90, 91]),
        ("drop@50ms&drop@70ms", [5, 7]),
        ("drop@950ms=100%", [95, 96, 97, 98, 99]),
        ("drop@950ms=100%/20ms", [95, 96]),
    ],
)
def test_dropped_frames_are_missing(faults: str, missing: list[int]) -> None:
    assert numbers(faults) == [n for n in range(100) if n not in missing]


def test_duplicates_come_twice_with_the_same_time() -> None:
    shots = spoilt("duplicate@50ms", count=8)
    assert [n for n, _ in shots] == [0, 1, 2, 3, 4, 5, 5, 6, 7]
    assert shots[5] == shots[6]


def test_a_jump_stays() -> None:
    times = [shot.pts_ns // MS for _, shot in spoilt("jump@20ms=1s&jump@40ms=-500ms", count=6)]
    assert times == [0, 10, 1020, 1030, 540, 550]
    assert [shot.pts_ns // MS for _, shot in spoilt("jump@every20ms=1s", count=5)] == [0, 10, 1020, 1030, 2040]


def test_a_jump_within_a_gap_is_not_lost() -> None:
    assert [shot.pts_ns // MS for _, shot in spoilt("jump@20ms=1s&freeze@20ms=20ms", count=5)] == [0, 10, 1040]


def test_size_holds_as_long_as_it_says() -> None:
    sizes = [(shot.width, shot.height) for _, shot in spoilt("size@20ms=64x48/20ms&size@30ms=32x32/20ms", count=6)]
    assert sizes == [(160, 96), (160, 96), (64, 48), (32, 32), (32, 32), (160, 96)]


@given(st.integers(0, 2**32))
def test_chance_can_be_repeated(seed: int) -> None:
    first = numbers("drop=30%&duplicate=10%", seed=seed)
    assert first == numbers("drop=30%&duplicate=10%", seed=seed)
    assert first != numbers("drop=30%&duplicate=10%", seed=seed + 1)


def test_shares_are_about_right() -> None:
    assert 700 < len(numbers("drop=25%", count=1000)) < 800
    assert 1050 < len(numbers("duplicate=10%", count=1000)) < 1150
    assert 20 < sum(shot.damaged for _, shot in spoilt("corrupt=5%", count=1000)) < 80


def altered(fault: str) -> Shot:
    (shot,) = Spoiler([parse_fault(fault)], 3).spoil(0, Shot(Flat(draw_index(1234)), 160, 96, 0))
    return shot


def test_a_picture_of_another_size_shows_the_same() -> None:
    shot = altered("size@0s=320x200")
    assert read_index(shot.picture.rgb((0, 0, 320, 200), (320, 200), planar=False)) == 1234
    assert read_index(shot.picture.rgb((0, 0, 320, 200), (80, 48), planar=True)) == 1234
    part = shot.picture.rgb((10, 20, 60, 50), (50, 30), planar=False)
    assert np.array_equal(part, shot.picture.rgb((0, 0, 320, 200), (320, 200), planar=False)[20:50, 10:60])
    assert not shot.damaged


def test_a_garbled_picture_is_marked_and_shows_nothing_right() -> None:
    shot = altered("corrupt@0s")
    assert shot.damaged
    assert (shot.width, shot.height) == (160, 96)
    image = shot.picture.rgb((0, 0, 160, 96), (160, 96), planar=False)
    assert np.array_equal(image, garble(draw_index(1234), (3, 0)))
    with pytest.raises(ValueError, match=r"dark nor bright|parity"):
        read_index(image)


@given(st.integers(16, 70), st.integers(16, 70), st.integers(0, 2**32))
def test_garbling_spares_the_top(width: int, height: int, seed: int) -> None:
    image = np.full((height, width, 3), 256 // 2, np.uint8)
    garbled = garble(image, (seed, 1))
    assert (image == 256 // 2).all()
    assert garbled.shape == image.shape
    assert garbled.dtype == np.uint8
    assert np.array_equal(garbled, garble(image, (seed, 1)))
    changed = np.flatnonzero((garbled != image).any(axis=(1, 2)))
    whole = garble(np.full((height, width, 3), 0, np.uint8), (seed, 1))
    assert np.array_equal(whole[changed] != 0, (garbled[changed] != 0) & (whole[changed] != 0))


def test_garbling_begins_in_the_upper_half() -> None:
    image = draw_index(1)
    first = [int(np.flatnonzero((garble(image, (seed, 1)) != image).any(axis=(1, 2)))[0]) for seed in range(50)]
    assert max(first) <= 48
    assert len(set(first)) > 10
