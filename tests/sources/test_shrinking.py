"""The kernel against sums over an upsampled picture, and its colours against the matrices of the standards."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamtrack.sources import _shrinking

UInt8Array = NDArray[np.uint8]
# Subsampling across and down, bytes a sample, Cb's and Cr's byte: 4:2:0, 4:2:2, NV12, NV21.
LAYOUTS = [(1, 1, 1, 0, 0), (1, 0, 1, 0, 0), (1, 1, 2, 0, 1), (1, 1, 2, 1, 0)]


def twin(
    luma: UInt8Array, cb: UInt8Array, cr: UInt8Array, down: int, factor: int, matrix: int, *, full_range: bool
) -> NDArray[np.float64]:
    """Every pixel with its own sample of chroma, as RGB without limits, then the mean of every square."""
    height, width = luma.shape
    u, v = (plane.repeat(1 + down, 0).repeat(2, 1)[:height, :width].astype(np.float64) for plane in (cb, cr))
    black, light, chroma = (0, 255, 255) if full_range else (16, 219, 224)
    y, u, v = (luma.astype(np.float64) - black) / light, (u - 128) / chroma, (v - 128) / chroma
    red, blue = _shrinking._WEIGHTS[matrix]
    green = 1 - red - blue
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    g = (y - red * r - blue * b) / green
    image = 255 * np.stack([r, g, b])
    return image.reshape(3, height // factor, factor, width // factor, factor).mean((2, 4)).clip(0, 255)


def padded(plane: UInt8Array, extra: int) -> UInt8Array:
    """The same rows with other bytes behind each, as between a row's end and the next one's start."""
    return np.ascontiguousarray(np.pad(plane, ((0, 0), (0, extra)), constant_values=255))


@given(
    factor=st.sampled_from(sorted(_shrinking.FACTORS)),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    layout=st.sampled_from(LAYOUTS),
    matrix=st.sampled_from(sorted(_shrinking._WEIGHTS)),
    full_range=st.booleans(),
    extra=st.integers(0, 5),
    seed=st.integers(0, 2**32 - 1),
)
@example(factor=3, size=(67, 5), layout=LAYOUTS[0], matrix=1, full_range=False, extra=1, seed=1)
@example(factor=6, size=(70, 3), layout=LAYOUTS[2], matrix=9, full_range=True, extra=0, seed=2)
def test_kernels_give_the_mean_of_every_square(
    factor: int,
    size: tuple[int, int],
    layout: tuple[int, int, int, int, int],
    matrix: int,
    full_range: bool,
    extra: int,
    seed: int,
) -> None:
    across, down, step, cb_byte, cr_byte = layout
    width, height = size[0] * factor, size[1] * factor
    rng = np.random.default_rng(seed)
    # Often at the ends of the scale, where sums are largest and colours have to be cut off.
    levels = rng.choice(np.array([0, 16, 128, 235, 255, *rng.integers(0, 256, 5)], np.uint8), (3, height, width))
    luma = levels[0]
    cb, cr = (plane[: (height + down) >> down, : (width + across) >> across] for plane in levels[1:])
    if step == 2:
        both = np.empty((*cb.shape, 2), np.uint8)
        both[:, :, cb_byte], both[:, :, cr_byte] = cb, cr
        first = second = padded(both.reshape(len(cb), -1), 2 * extra)
    else:
        first, second = padded(cb, extra), padded(cr, extra)
    out = np.full((3, size[1], size[0]), 77, np.uint8)
    gains = _shrinking._gains(matrix, factor, across, down, full_range=full_range)
    _shrinking.shrink(padded(luma, extra), first, second, layout, factor, gains, out)
    # Half a level of rounding, and the rest for the fixed-point gains.
    assert np.abs(out - twin(luma, cb, cr, down, factor, matrix, full_range=full_range)).max() <= 0.55


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("factor", sorted(_shrinking.FACTORS))
def test_kernels_keep_black_grey_and_white(factor: int, full_range: bool) -> None:
    gains = _shrinking._gains(1, factor, 1, 1, full_range=full_range)
    grey = np.full((6, 6), 128, np.uint8)
    for code, level in ((0, 0), (255, 255)) if full_range else ((16, 0), (235, 255), (0, 0), (255, 255)):
        luma, out = np.full((12, 12), code, np.uint8), np.empty((3, 12 // factor, 12 // factor), np.uint8)
        _shrinking.shrink(luma, grey, grey, LAYOUTS[0], factor, gains, out)
        assert (out == level).all()


def test_numbers_of_every_matrix_fit_into_32_bits() -> None:
    for matrix in _shrinking._WEIGHTS:
        for factor in _shrinking.FACTORS:
            for down, full_range in ((0, False), (0, True), (1, False), (1, True)):
                gains = _shrinking._gains(matrix, factor, 1, down, full_range=full_range).astype(np.int64)
                chroma = 255 * _shrinking._summed(factor, 1) * _shrinking._summed(factor, down)
                assert 255 * factor**2 * gains[0] + chroma * np.abs(gains[1:5]).max() < 2**31
                assert np.abs(gains[5:]).max() < 2**30


def test_kernels_warm_up_with_the_types_of_a_frame() -> None:
    """Other types would be compiled again, in the middle of a run."""
    _shrinking.warm_up()
    compiled = getattr(_shrinking.shrink, "signatures", [])
    frame = _shrinking.VideoFrame(12, 12, "yuv420p")
    frame.colorspace = 1
    small = _shrinking.shrunk(frame, 2, full_range=False)
    assert small is not None
    assert small.shape == (3, 6, 6)
    assert getattr(_shrinking.shrink, "signatures", []) == compiled
