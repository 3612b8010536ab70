"""Pixels against an independent conversion in numpy: colours, scaling, regions, rotation, sharing."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from streamtrack.sources._picture import AvPicture, Orientation
from streamtrack.testing.clips import draw_index, write_clip

# Luma weights of red and blue: ITU-R BT.601-7, BT.709-6 and BT.2020-2, and SMPTE 240M.
WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
LIMITED, FULL = 1, 2
FORMATS = [
    "yuv420p",
    "yuv422p",
    "yuv444p",
    "yuv411p",
    "nv12",
    "yuyv422",
    "yuv420p10le",
    "yuv422p10le",
    "yuv444p12le",
    "p010le",
    "yuva420p",
]
RGB_FORMATS = ["gbrp", "rgb24", "bgra", "rgb48le", "pal8"]


def to_codes(rgb: NDArray[np.float64], matrix: int, colour_range: int, bits: int) -> NDArray[np.float64]:
    """Return Y'CbCr code values (h, w, 3) of RGB 0..255, after the equations of the ITU-R recommendations."""
    kr, kb = WEIGHTS[matrix]
    r, g, b = np.moveaxis(rgb / 255, -1, 0)
    y = kr * r + (1 - kr - kb) * g + kb * b
    cb, cr = (b - y) / (2 - 2 * kb), (r - y) / (2 - 2 * kr)
    if colour_range == FULL:
        top = 2**bits - 1
        codes = [y * top, cb * top + 2 ** (bits - 1), cr * top + 2 ** (bits - 1)]
    else:
        codes = [(219 * y + 16) * 2 ** (bits - 8), *((224 * c + 128) * 2 ** (bits - 8) for c in (cb, cr))]
    return np.clip(np.round(np.stack(codes, -1)), 0, 2**bits - 1)


def write_plane(frame: VideoFrame, index: int, samples: NDArray[np.generic]) -> None:
    plane = frame.planes[index]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    data = np.ascontiguousarray(samples).view(np.uint8).reshape(plane.height, -1)
    rows[:, : data.shape[1]] = data


def paint(rgb: NDArray[np.uint8], pix_fmt: str, matrix: int = 1, colour_range: int = LIMITED) -> VideoFrame:
    """Return a frame of ``rgb`` (h, w, 3) whose planes were computed here, not by FFmpeg."""
    height, width = rgb.shape[:2]
    frame = VideoFrame(width, height, pix_fmt)
    bits = frame.format.components[0].bits
    codes = to_codes(rgb.astype(np.float64), matrix, colour_range, bits)
    dtype = np.uint8 if bits == 8 else np.uint16
    shift = 6 if pix_fmt.startswith("p0") else 0
    y = (codes[:, :, 0].astype(np.uint16) << shift).astype(dtype)
    if pix_fmt.startswith("gray"):
        write_plane(frame, 0, y)
    elif pix_fmt == "yuyv422":
        chroma = codes[:, ::2, 1:].astype(np.uint8)
        packed = np.stack([y[:, ::2], chroma[:, :, 0], y[:, 1::2], chroma[:, :, 1]], -1)
        write_plane(frame, 0, packed)
    else:
        step_x = -(-width // frame.format.components[1].width)
        step_y = -(-height // frame.format.components[1].height)
        padded = np.pad(codes, ((0, -height % step_y), (0, -width % step_x), (0, 0)), "edge")
        cells = padded.reshape(len(padded) // step_y, step_y, -1, step_x, 3)
        chroma = (np.round(cells.mean((1, 3)))[:, :, 1:].astype(np.uint16) << shift).astype(dtype)
        write_plane(frame, 0, y)
        if pix_fmt in ("nv12", "p010le"):
            write_plane(frame, 1, chroma)
        else:
            write_plane(frame, 1, chroma[:, :, 0])
            write_plane(frame, 2, chroma[:, :, 1])
    frame.colorspace, frame.color_range = matrix, colour_range
    return frame


def patches(width: int = 192, height: int = 128, cell: int = 16) -> NDArray[np.uint8]:
    """A board of random colours, so large that no chroma layout mixes them in the middle of a cell."""
    random = np.random.default_rng(7)
    board = random.integers(0, 256, (-(-height // cell), -(-width // cell), 3), dtype=np.uint8)
    return board.repeat(cell, 0).repeat(cell, 1)[:height, :width]


def middles(image: NDArray[np.uint8], cell: int = 16) -> NDArray[np.int16]:
    return image[cell // 2 :: cell, cell // 2 :: cell].astype(np.int16)


def scene(width: int, height: int) -> NDArray[np.uint8]:
    """Something like a photograph: soft waves of every colour, a few edges, a little grain."""
    y, x = np.mgrid[0:height, 0:width] / height
    hues = np.stack([np.sin(np.pi * (x + k * y) + 2 * k) for k in range(3)], -1)
    image = 128 + 40 * hues + 30 * np.sin(2 * np.pi * (11 * x - 7 * y * y))[:, :, None]
    image[height // 3 : height // 2, width // 4 : width // 2] += 40
    image += np.random.default_rng(3).normal(0, 4, (height, width, 1))
    return np.clip(image, 0, 255).astype(np.uint8)


def area(image: NDArray[np.generic], factor: int) -> NDArray[np.float64]:
    height, width = image.shape[0] // factor, image.shape[1] // factor
    return image.reshape(height, factor, width, factor, 3).astype(np.float64).mean((1, 3))


def psnr(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    return float(10 * np.log10(255**2 / (1e-9 + np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))))


def whole(picture: AvPicture, *, planar: bool = False) -> NDArray[np.uint8]:
    size = picture.width, picture.height
    return picture.rgb((0, 0, *size), size, planar=planar)


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("colour_range", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", [1, 5, 6, 7, 9])
@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_colours_are_right(pix_fmt: str, matrix: int, colour_range: int, planar: bool) -> None:
    rgb = patches()
    picture = AvPicture(paint(rgb, pix_fmt, matrix, colour_range))
    error = middles(whole(picture, planar=planar)) - middles(rgb)
    assert np.abs(error).max() <= 4
    assert np.abs(error.mean((0, 1))).max() <= 1.6


@pytest.mark.parametrize("pix_fmt", ["gray", "gray10le"])
@pytest.mark.parametrize("colour_range", [LIMITED, FULL, 0])
def test_grey_keeps_its_levels_in_either_range(pix_fmt: str, colour_range: int) -> None:
    rgb = patches()[:, :, :1].repeat(3, 2)
    frame = paint(rgb, pix_fmt, 1, colour_range or FULL)
    frame.color_range = colour_range
    assert np.abs(middles(whole(AvPicture(frame))) - middles(rgb)).max() <= 3


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("pix_fmt", ["gbrp", "rgb24", "bgra", "rgb48le", "pal8"])
def test_rgb_passes_through(pix_fmt: str, planar: bool) -> None:
    rgb = patches() & np.uint8(0xF8)
    if pix_fmt == "pal8":
        colours, where = np.unique(rgb.reshape(-1, 3), axis=0, return_inverse=True)
        palette = np.zeros((256, 4), np.uint8)
        palette[: len(colours), 0], palette[: len(colours), 1:] = 255, colours
        frame = VideoFrame.from_ndarray((where.reshape(rgb.shape[:2]).astype(np.uint8), palette), format="pal8")
    else:
        frame = VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pix_fmt)
    assert np.abs(whole(AvPicture(frame), planar=planar).astype(np.int16) - rgb).max() <= 2


@pytest.mark.parametrize(
    ("size", "matrix"), [((1280, 64), 1), ((64, 578), 1), ((64, 720), 1), ((720, 576), 5), ((640, 480), 5)]
)
def test_unspecified_colours_follow_the_size(size: tuple[int, int], matrix: int) -> None:
    rgb = patches(*size)
    frame = paint(rgb, "yuv444p", matrix, LIMITED)
    frame.colorspace, frame.color_range = 2, 0
    assert np.abs(middles(whole(AvPicture(frame))) - middles(rgb)).max() <= 4


def test_names_with_j_are_full_range() -> None:
    frame = paint(patches(), "yuvj420p", 5, FULL)
    frame.color_range = 0
    assert np.abs(middles(whole(AvPicture(frame))) - middles(patches())).max() <= 4


def test_transfer_functions_and_primaries_do_not_matter() -> None:
    frame = paint(patches(), "yuv420p", 9, LIMITED)
    frame.color_trc, frame.color_primaries = 0, 3  # Reserved values, which swscale refuses.
    assert np.abs(middles(whole(AvPicture(frame))) - middles(patches())).max() <= 4


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize(
    "pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "nv12", "yuv420p10le", "yuyv422", "gbrp", "rgb24"]
)
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_scaling_down_is_an_area_average(pix_fmt: str, factor: int, planar: bool) -> None:
    rgb = scene(960, 540)
    frame = (
        VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pix_fmt)
        if "rgb" in pix_fmt or pix_fmt == "gbrp"
        else paint(rgb, pix_fmt)
    )
    picture = AvPicture(frame)
    small = picture.rgb((0, 0, 960, 540), (960 // factor, 540 // factor), planar=planar)
    print(pix_fmt, factor, planar, psnr(small, area(rgb, factor)))
    assert psnr(small, area(rgb, factor)) >= 40


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "yuv420p10le", "rgb24", "nv12"])
def test_scaled_region_is_the_scaled_crop(pix_fmt: str) -> None:
    rgb = scene(640, 360)
    frame = VideoFrame.from_ndarray(rgb, format="rgb24") if pix_fmt == "rgb24" else paint(rgb, pix_fmt)
    picture = AvPicture(frame)
    for x0, y0 in ((0, 0), (100, 50), (101, 51), (399, 119)):
        part = picture.rgb((x0, y0, x0 + 240, y0 + 240), (80, 80), planar=False)
        print(pix_fmt, x0, y0, psnr(part, area(rgb[y0 : y0 + 240, x0 : x0 + 240], 3)))
        assert psnr(part, area(rgb[y0 : y0 + 240, x0 : x0 + 240], 3)) >= 40


@pytest.mark.parametrize(
    "pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv411p", "nv12", "yuv420p10le", "yuyv422", "gbrp", "rgb24", "pal8"]
)
@pytest.mark.parametrize("size", [(64, 48), (65, 49), (67, 50)])
def test_region_is_a_slice_of_the_whole(pix_fmt: str, size: tuple[int, int]) -> None:
    if pix_fmt == "yuyv422" and size[0] % 2:
        pytest.skip()
    rgb = scene(*size)
    frame = VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="rgb8" if pix_fmt == "pal8" else pix_fmt)
    picture = AvPicture(frame)
    full = whole(picture)
    worst = 0
    rng = np.random.default_rng(0)
    for _ in range(50):
        x0, y0 = rng.integers(0, size[0]), rng.integers(0, size[1])
        x1, y1 = rng.integers(x0 + 1, size[0] + 1), rng.integers(y0 + 1, size[1] + 1)
        for planar in (False, True):
            part = picture.rgb((int(x0), int(y0), int(x1), int(y1)), (int(x1 - x0), int(y1 - y0)), planar=planar)
            worst = max(worst, np.abs(part.astype(int) - full[y0:y1, x0:x1]).max())
    print(pix_fmt, size, worst, psnr(full, rgb))
    assert worst <= 1
