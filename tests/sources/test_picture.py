"""Pixels against an independent conversion in numpy: colours, scaling, regions, rotation, sharing."""

from __future__ import annotations

import gc
import io
import itertools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamtrack.sources import _picture, _shrinking
from streamtrack.sources._picture import AvPicture, Orientation, displayed_size
from streamtrack.testing.clips import write_clip
from streamtrack.types import Frame

# Luma weights of red and blue: ITU-R BT.601-7, BT.709-6 and BT.2020-2, SMPTE 240M, and FCC (1953).
WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.3, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
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
RGB_FORMATS = ["gbrp", "rgb24", "bgra", "rgb48le"]


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


@pytest.mark.parametrize("colour_range", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", [1, 5, 6, 7, 9])
@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_colours_are_right(pix_fmt: str, matrix: int, colour_range: int) -> None:
    """Within rounding; FFmpeg's fast converters round down twice, so they may be 1.5 levels dark on average."""
    rgb = patches()
    picture = AvPicture(paint(rgb, pix_fmt, matrix, colour_range))
    for planar in (False, True):
        error = middles(whole(picture, planar=planar)) - middles(rgb)
        assert np.abs(error).max() <= 4
        assert np.abs(error.mean((0, 1))).max() <= (1.6 if pix_fmt in _picture._FAST else 0.5)


@pytest.mark.parametrize("pix_fmt", ["gray", "gray10le"])
@pytest.mark.parametrize("colour_range", [LIMITED, FULL, 0])
def test_grey_keeps_its_levels_in_either_range(pix_fmt: str, colour_range: int) -> None:
    rgb = patches()[:, :, :1].repeat(3, 2)
    frame = paint(rgb, pix_fmt, 1, colour_range or FULL)
    frame.color_range = colour_range
    assert np.abs(middles(whole(AvPicture(frame))) - middles(rgb)).max() <= 3


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("pix_fmt", [*RGB_FORMATS, "pal8"])
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


@pytest.mark.parametrize("size", [(720, 576), (1280, 720)])
@pytest.mark.parametrize(
    ("matrix", "colour_range"), [(1, LIMITED), (1, FULL), (5, LIMITED), (6, FULL), (9, LIMITED), (2, 0), (2, FULL)]
)
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_colours_of_a_file_are_right_down_to_the_models_input(
    tmp_path: Path, pix_fmt: str, matrix: int, colour_range: int, size: tuple[int, int]
) -> None:
    """Tagged and untagged, in a file whose codec loses nothing, against the equations of the standards."""
    guess = 1 if size[0] >= 1280 else 5
    rgb = patches(*size, 48)
    frame = paint(rgb, pix_fmt, guess if matrix == 2 else matrix, colour_range or LIMITED)
    frame.colorspace, frame.color_range = matrix, colour_range
    path = write_clip(tmp_path / "clip.mkv", [frame], options={"qp": "0", "preset": "ultrafast"})
    with av.open(str(path)) as container:
        (decoded,) = container.decode(video=0)
    assert (decoded.colorspace, decoded.color_range) == (matrix, colour_range)
    shown = Frame(0, 0, *size, AvPicture(decoded))
    assert np.abs(middles(shown.rgb(), 48) - middles(rgb, 48)).max() <= 4
    for third in (shown.scaled(size[0] // 3, size[1] // 3), shown.scaled(size[0] // 3, size[1] // 3 + 1)):
        assert np.abs(middles(third, 16) - middles(rgb, 48)[: len(middles(third, 16))]).max() <= 4


def frame_of(rgb: NDArray[np.uint8], pix_fmt: str) -> VideoFrame:
    if pix_fmt in RGB_FORMATS:
        return VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pix_fmt)
    return paint(rgb, pix_fmt)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "nv12", "yuv420p10le", "yuyv422", "rgb24"])
@pytest.mark.parametrize("factor", [2, 3, 4, 6])
def test_scaling_down_is_an_area_average(pix_fmt: str, factor: int) -> None:
    rgb = scene(480, 288)
    picture = AvPicture(frame_of(rgb, pix_fmt))
    for planar in (False, True):
        small = picture.rgb((0, 0, 480, 288), (480 // factor, 288 // factor), planar=planar)
        assert psnr(small, area(rgb, factor)) >= 40


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "nv12"])
@pytest.mark.parametrize("factor", [3, 4, 5, 6, 9])
def test_scaling_down_shifts_nothing(pix_fmt: str, factor: int) -> None:
    """An edge between two rows of the result stays there, and a slope keeps its level."""
    edge = np.zeros((20 * factor, 64, 3), np.uint8)
    edge[8 * factor :] = 200
    slope = np.linspace(20, 220, 20 * factor)[:, None, None].repeat(64, 1).repeat(3, 2).astype(np.uint8)
    for rgb in (edge, slope):
        small = AvPicture(frame_of(rgb, pix_fmt)).rgb((0, 0, 64, 20 * factor), (64, 20), planar=True)
        exact = rgb.reshape(20, factor, 64, 3).mean(1)
        assert np.abs(small - exact)[1:-1].max() <= 3


@pytest.mark.parametrize("pix_fmt", sorted(_shrinking.FORMATS))
@pytest.mark.parametrize("colour_range", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", sorted(_shrinking._WEIGHTS))
def test_whole_factors_give_the_mean_of_what_the_standards_say(pix_fmt: str, colour_range: int, matrix: int) -> None:
    """Within the rounding of the planes, so without a bias: every matrix, range, layout and factor."""
    rgb = patches(192, 96, 24)
    colour_range = FULL if pix_fmt.startswith("yuvj") else colour_range
    painted = {"yuvj420p": "yuv420p", "yuvj422p": "yuv422p", "nv21": "nv12"}.get(pix_fmt, pix_fmt)
    frame = paint(rgb, painted, matrix, colour_range)
    if pix_fmt != painted:
        frame = renamed(frame, pix_fmt)
    frame.colorspace, frame.color_range = matrix, colour_range
    for factor in sorted(_shrinking.FACTORS):
        small = AvPicture(frame).rgb((0, 0, 192, 96), (192 // factor, 96 // factor), planar=True)
        error = middles(small, 24 // factor) - middles(rgb, 24)
        assert np.abs(error).max() <= 2
        assert np.abs(error.mean((0, 1))).max() <= 0.35


def renamed(frame: VideoFrame, pix_fmt: str) -> VideoFrame:
    """The same picture under the name of a format that differs in range, or in which byte is which."""
    other = VideoFrame(frame.width, frame.height, pix_fmt)
    for index, plane in enumerate(frame.planes):
        samples = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)
        if pix_fmt == "nv21" and index == 1:
            samples = samples.reshape(plane.height, -1, 2)[:, :, ::-1].reshape(plane.height, -1)
        write_plane(other, index, samples)
    return other


def test_who_is_asked_and_who_answers_agree_on_what_can_be_shrunk() -> None:
    assert _picture._SCALE_FIRST == _shrinking.FORMATS
    assert _picture._FACTORS == _shrinking.FACTORS


def test_kernels_are_loaded_with_the_first_picture_and_not_before() -> None:
    code = """
import sys
from av.video.frame import VideoFrame
import streamtrack.sources.pyav
from streamtrack.sources._picture import AvPicture
AvPicture(VideoFrame(64, 48, "rgb24")).rgb((0, 0, 64, 48), (32, 24), planar=True)
assert "numba" not in sys.modules
AvPicture(VideoFrame(64, 48, "yuv420p"))
assert "streamtrack.sources._shrinking" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_many_threads_may_shrink_one_frame() -> None:
    picture = AvPicture(paint(scene(480, 288), "yuv420p"))
    with ThreadPoolExecutor(4) as pool:
        small = list(pool.map(lambda _: picture.rgb((0, 0, 480, 288), (160, 96), planar=True), range(40)))
    assert all(np.array_equal(each, small[0]) for each in small)


def test_the_kernel_leaves_planes_that_lie_bottom_up_to_swscale() -> None:
    frame = cast(VideoFrame, BottomUp(paint(scene(96, 72), "yuv420p")))
    assert _shrinking.shrunk(frame, 3, full_range=False) is None


class BottomUp:
    """A frame whose planes have a negative line size, which PyAV cannot make but some decoders give."""

    def __init__(self, frame: VideoFrame) -> None:
        self.format = frame.format
        self.planes = [SimpleNamespace(line_size=-plane.line_size) for plane in frame.planes]


def test_pictures_of_changing_size_and_format_share_nothing() -> None:
    """What is kept between two pictures is of no consequence for the second."""
    for width, height, pix_fmt in ((96, 72, "yuv420p"), (96, 72, "nv12"), (48, 144, "yuv420p"), (96, 72, "yuv422p")):
        for colour_range in (LIMITED, FULL):
            rgb = np.full((height, width, 3), (200, 100, 50), np.uint8)
            picture = AvPicture(paint(rgb, pix_fmt, 1, colour_range))
            small = picture.rgb((0, 0, width, height), (width // 3, height // 6 * 2), planar=True)
            assert np.abs(small.astype(np.int16) - (200, 100, 50)).max() <= 4


def test_a_frame_is_released_as_soon_as_nobody_holds_it(tmp_path: Path) -> None:
    """Not only when the garbage collector comes by: until then hundreds of them may have gathered."""
    path = write_clip(tmp_path / "clip.mp4", [patches(64, 48)] * 12)

    def alive() -> int:
        return sum(isinstance(found, VideoFrame) for found in gc.get_objects())

    gc.collect()
    before = alive()
    gc.disable()
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                whole(AvPicture(frame))
            del frame
        assert alive() <= before
    finally:
        gc.enable()


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "nv12", "yuv420p10le", "rgb24"])
def test_a_scaled_region_is_the_scaled_crop(pix_fmt: str) -> None:
    rgb = scene(320, 180)
    picture = AvPicture(frame_of(rgb, pix_fmt))
    for x0, y0, x1, y1 in ((0, 0, 120, 120), (100, 50, 220, 170), (101, 51, 191, 141), (230, 90, 320, 180)):
        size = (x1 - x0) // 3, (y1 - y0) // 3
        part = picture.rgb((x0, y0, x1, y1), size, planar=False)
        assert psnr(part, area(rgb[y0:y1, x0:x1], 3)) >= 38


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "rgb24"])
def test_scaling_up_is_smooth(pix_fmt: str) -> None:
    rgb = scene(160, 96)
    picture = AvPicture(frame_of(rgb, pix_fmt))
    large = picture.rgb((0, 0, 160, 96), (480, 288), planar=True)
    assert psnr(area(large, 3), rgb) >= 36
    assert np.abs(np.diff(large.astype(int), axis=1)).max() < np.abs(np.diff(rgb.astype(int), axis=1)).max()


WHOLES: dict[tuple[str, tuple[int, int]], tuple[AvPicture, NDArray[np.uint8]]] = {}


@pytest.mark.parametrize(
    "pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv411p", "nv12", "yuv420p10le", "yuyv422", "gbrp", "bgra"]
)
@given(data=st.data())
def test_a_region_is_a_slice_of_the_whole(pix_fmt: str, data: st.DataObject) -> None:
    size = data.draw(st.sampled_from([(64, 48), (66, 50)] if pix_fmt == "yuyv422" else [(64, 48), (65, 49), (83, 51)]))
    if (pix_fmt, size) not in WHOLES:
        picture = AvPicture(frame_of(scene(*size), pix_fmt))
        WHOLES[pix_fmt, size] = picture, whole(picture)
    picture, full = WHOLES[pix_fmt, size]
    x0, y0 = data.draw(st.integers(0, size[0] - 1)), data.draw(st.integers(0, size[1] - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, size[0])), data.draw(st.integers(y0 + 1, size[1]))
    part = picture.rgb((x0, y0, x1, y1), (x1 - x0, y1 - y0), planar=data.draw(st.booleans()))
    assert part.shape == (y1 - y0, x1 - x0, 3)
    assert np.abs(part.astype(np.int16) - full[y0:y1, x0:x1]).max() <= 1


@pytest.mark.parametrize("pix_fmt", [*FORMATS, "gbrp"])
def test_every_column_of_every_width_is_converted(pix_fmt: str) -> None:
    """FFmpeg's fast converters leave columns out at some widths, and other ones on other processors."""
    for width, planar in itertools.product([*range(2, 44, 2 if pix_fmt == "yuyv422" else 1), 426, 1366], (False, True)):
        rgb = np.full((6, width, 3), (200, 100, 50), np.uint8)
        picture = AvPicture(frame_of(rgb, pix_fmt))
        assert np.abs(whole(picture, planar=planar).astype(np.int16) - rgb).max() <= 4
        assert (
            np.abs(picture.rgb((0, 0, width, 6), (width + 3, 5), planar=planar).astype(np.int16) - rgb[0, 0]).max() <= 4
        )


def test_bottom_up_pictures() -> None:
    """Raw RGB in AVI is stored from the bottom line up."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="avi") as container:
        stream = container.add_stream("rawvideo", rate=25, width=64, height=48, pix_fmt="bgr24")
        container.mux(stream.encode(VideoFrame.from_ndarray(patches(64, 48), format="rgb24")))
        container.mux(stream.encode(None))
    buffer.seek(0)
    with av.open(buffer) as container:
        frame = next(container.decode(video=0))
    picture = AvPicture(frame)
    assert np.array_equal(whole(picture), patches(64, 48))
    assert np.array_equal(picture.rgb((3, 5, 40, 31), (37, 26), planar=True), patches(64, 48)[5:31, 3:40])


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_all_eight_orientations(tmp_path: Path, rotation: int, mirrored: bool) -> None:
    coded = scene(62, 38)
    path = write_clip(
        tmp_path / "turned.mov", [coded], codec="png", pix_fmt="rgb24", rotation=rotation, mirrored=mirrored
    )
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    shown = np.rot90(coded, rotation // 90)
    shown = shown[:, ::-1] if mirrored else shown
    assert displayed_size(frame) == shown.shape[1::-1]
    picture = AvPicture(frame)
    assert (picture.height, picture.width) == shown.shape[:2]
    for planar in (False, True):
        assert np.array_equal(whole(picture, planar=planar), shown)
        part = picture.rgb((5, 9, 30, 34), (25, 25), planar=planar)
        assert np.array_equal(part, shown[9:34, 5:30])
        assert part.transpose(2, 0, 1).flags.c_contiguous if planar else part.flags.c_contiguous
        full, half = (0, 0, picture.width, picture.height), (picture.width // 2, picture.height // 2)
        small = picture.rgb(full, half, planar=planar)
        assert psnr(small, area(shown, 2)) >= 38


@given(st.tuples(st.booleans(), st.booleans(), st.booleans()), st.data())
def test_orientation_maps_regions_as_it_turns_pictures(turn: tuple[bool, bool, bool], data: st.DataObject) -> None:
    orientation = Orientation(*turn)
    coded = np.arange(7 * 5).reshape(5, 7)[:, :, None].repeat(3, 2).astype(np.uint8)
    shown = orientation.display(coded, planar=False)
    height, width = shown.shape[:2]
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    left, top, right, bottom = orientation.coded((x0, y0, x1, y1), width, height)
    again = orientation.display(coded[top:bottom, left:right], planar=True)
    assert np.array_equal(again, shown[y0:y1, x0:x1])


def test_many_sizes_do_not_pile_up_contexts() -> None:
    picture = AvPicture(paint(patches(64, 48), "yuv420p"))
    for width in range(1, 60):
        picture.rgb((0, 0, 64, 48), (width, 20), planar=True)
        picture.rgb((0, 0, width, 20), (width, 20), planar=False)
    assert len(_picture._contexts.by_job) <= _picture._MAX_CONTEXTS
