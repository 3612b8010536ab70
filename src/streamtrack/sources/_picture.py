"""Decoded frames as pictures: the size and region that somebody asks for, straight from the decoder's planes.

A whole frame that shrinks by a small whole factor goes through a kernel of our own (``_shrinking``). Everything else
goes through FFmpeg's swscale, which knows colour matrices, ranges, bit depths and chroma layouts; 8-bit planes are
scaled first and the small picture is converted, which takes two thirds of the time of both in one step.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping
from functools import cache, lru_cache
from typing import NamedTuple, cast

import numpy as np
from av.buffer import Buffer
from av.sidedata.sidedata import SideDataContainer
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, ColorTrc, Interpolation, VideoReformatter
from numpy.typing import NDArray

UInt8Array = NDArray[np.uint8]
Region = tuple[int, int, int, int]

# AVColorSpace (libavutil/pixfmt.h) of a frame -> the one whose matrix converts it. BT.470BG and SMPTE 170M are BT.601
# under two names; constant luminance BT.2020 is converted as the usual kind, as swscale has no other.
_BT709, _BT601 = 1, 6
_MATRICES = {1: _BT709, 4: 4, 5: _BT601, 6: _BT601, 7: 7, 9: 9, 10: 9}

# 8-bit formats that ``_shrinking`` knows, and that lose nothing to speak of when they are scaled as yuv420p first.
_SCALE_FIRST = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuva420p", "nv12", "nv21"})

# How many times smaller ``_shrinking`` makes a picture.
_FACTORS = frozenset({2, 3, 4, 6})

# What swscale converts to RGB by a fast path where nothing is scaled. That path wants an even height, and leaves the
# last columns undefined unless the width is a multiple of 16. Other formats take the general path, which gives packed
# RGB only every other chroma sample, so it is asked for planes.
_FAST = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuva420p"})
_FAST_UNIT = 16, 2

# Whole frames of a stream always need the same few conversions; the limit only guards against sizes without end.
_MAX_CONTEXTS = 16


class Orientation(NamedTuple):
    """How a coded picture becomes the displayed one: first transposed, then mirrored in x, then in y."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> Orientation:
        """Return what the frame's display matrix says (libavutil/display.h); off-axis angles are rounded to 90."""
        found = attached(frame)
        if found is None:
            return _TURNED[round(frame.rotation / 90) % 4]
        data = found.get("DISPLAYMATRIX")
        if data is None:
            return _UPRIGHT
        # Row vectors: x' = a x + c y, y' = b x + d y, both axes as on the screen.
        a, b, _, c, d = (int(v) for v in np.frombuffer(memoryview(data), np.int32)[:5])
        if abs(b) > abs(a):
            return cls(True, c < 0, b < 0)
        return cls(False, a < 0, d < 0)

    def coded(self, region: Region, width: int, height: int) -> Region:
        """Return where ``region`` of the displayed picture of ``width`` x ``height`` px lies in the coded one."""
        x0, y0, x1, y1 = region
        if self.mirror_x:
            x0, x1 = width - x1, width - x0
        if self.mirror_y:
            y0, y1 = height - y1, height - y0
        return (y0, x0, y1, x1) if self.transpose else (x0, y0, x1, y1)

    def display(self, image: UInt8Array, *, planar: bool) -> UInt8Array:
        """Turn a coded (h, w, 3) image into the displayed one, in the same kind of memory."""
        if self.transpose:
            image = image.transpose(1, 0, 2)
        image = image[:: -1 if self.mirror_y else 1, :: -1 if self.mirror_x else 1]
        return _planes(image) if planar else np.ascontiguousarray(image)


_UPRIGHT = Orientation()
# By quarter turns counter-clockwise.
_TURNED = _UPRIGHT, Orientation(True, False, True), Orientation(False, True, True), Orientation(True, True, False)


def attached(frame: VideoFrame) -> Mapping[str, Buffer] | None:
    """Return what is attached to a frame by kind; None where PyAV cannot list it, as some is of a kind it knows not."""
    try:
        # Not ``frame.side_data``: the frame would hold what holds the frame, and megabytes of pixels would wait for
        # the cyclic garbage collector.
        return cast(Mapping[str, Buffer], SideDataContainer(frame))  # type: ignore[call-arg]
    except ValueError:
        # Of Exif, for instance.
        return None


def displayed_size(frame: VideoFrame) -> tuple[int, int]:
    """Return the width and height in px of a frame as it is to be shown."""
    size = frame.width, frame.height
    return size[::-1] if Orientation.of(frame).transpose else size


class AvPicture:
    """The ``Picture`` over a decoded frame. Holds the decoder's planes, which outlive the container; reads only."""

    __slots__ = ("_frame", "_orientation", "height", "width")

    def __init__(self, frame: VideoFrame, orientation: Orientation | None = None) -> None:
        """Take over ``frame``; nobody else may use it from here on.

        Args:
            frame: the decoded frame.
            orientation: how it is to be shown; None for what the frame says itself.
        """
        self._orientation = Orientation.of(frame) if orientation is None else orientation
        self._frame = _with_known_colours(frame)
        if self._frame.format.name in _SCALE_FIRST:
            _shrink()  # Loaded before the first frame is given away, and not by whoever works on it first.
        size = frame.width, frame.height
        self.width, self.height = size[::-1] if self._orientation.transpose else size

    def rgb(self, region: Region, size: tuple[int, int], *, planar: bool) -> UInt8Array:
        """Return ``region`` (x0 y0 x1 y1 px) at ``size`` (width, height), as ``types.Picture`` says."""
        orientation, frame = self._orientation, self._frame
        coded = orientation.coded(region, self.width, self.height)
        coded_size = size[::-1] if orientation.transpose else size
        if coded == (0, 0, frame.width, frame.height):
            job: Hashable = (frame.width, frame.height, frame.format.name, coded_size)
        else:
            # Regions are all different: one context that is set up anew each time beats a new one.
            job, frame = "region", self._cuttable()
        if coded_size == (coded[2] - coded[0], coded[3] - coded[1]):
            image = _unscaled(frame, coded, planar=planar, job=job)
        else:
            image = _scaled(_isolated(frame, coded), coded_size, planar=planar, job=job)
        return image if orientation is _UPRIGHT else orientation.display(image, planar=planar)

    def _cuttable(self) -> VideoFrame:
        if _layout(self._frame.format.name) is None:
            # Packed and palette formats cannot be cut by plane. Two threads may both convert; either result will do.
            self._frame = _convert(self._frame, (self._frame.width, self._frame.height), "gbrp", job="unpack")
        return self._frame


def _with_known_colours(frame: VideoFrame) -> VideoFrame:
    """Write matrix and range into the frame itself, guessed where the stream does not say.

    Unspecified YUV is limited range, and BT.709 if it is 1280 px wide or more than 576 px high, else BT.601: the rule
    of mpv (``mp_csp_guess_colorspace``) and other players. Grey without a range is full range, as in FFmpeg.

    The tags must be on the frame before it is shared: a reformatter sets and restores them while it works, which
    two threads may only do when what they set is what is there already. The transfer function and the primaries are
    not converted, and swscale refuses some of their values.
    """
    rgb, gray, full = _family(frame.format.name)
    if not rgb:
        guess = _BT709 if frame.width >= 1280 or frame.height > 576 else _BT601
        frame.colorspace = _MATRICES.get(frame.colorspace, guess)
    limited = not (rgb or full) and (frame.color_range == ColorRange.MPEG or (frame.color_range == 0 and not gray))
    frame.color_range = ColorRange.MPEG if limited else ColorRange.JPEG
    frame.color_trc, frame.color_primaries = ColorTrc.UNSPECIFIED, ColorPrimaries.UNSPECIFIED
    return _with_chroma(frame) if gray and limited else frame


def _with_chroma(gray: VideoFrame) -> VideoFrame:
    """Return a grey frame as yuv420p of the same depth, because swscale takes any grey for full range."""
    name = "yuv420p" + gray.format.name.removeprefix("gray")
    frame = VideoFrame(gray.width, gray.height, name)
    frame.colorspace, frame.color_range = gray.colorspace, gray.color_range
    bits = frame.format.components[0].bits
    dtype = np.dtype(np.uint8 if bits == 8 else ">u2" if frame.format.is_big_endian else "<u2")
    row = gray.width * dtype.itemsize
    _view(frame, 0)[:, :row] = _view(gray, 0)[:, :row]
    for plane in (1, 2):
        _view(frame, plane).view(dtype)[:] = 1 << (bits - 1)
    return frame


@lru_cache(maxsize=64)
def _family(name: str) -> tuple[bool, bool, bool]:
    """Return whether a pixel format is RGB, is grey, and is full range by its name."""
    pixel_format = VideoFormat(name)
    return pixel_format.is_rgb or pixel_format.has_palette, name.startswith("gray"), name.startswith("yuvj")


@lru_cache(maxsize=64)
def _layout(name: str) -> tuple[tuple[int, int, int], ...] | None:
    """Return (bytes per sample, log2 of the horizontal and vertical subsampling) of each plane; None if packed."""
    pixel_format = VideoFormat(name, 64, 64)
    components = pixel_format.components
    odd = pixel_format.has_palette or pixel_format.is_bit_stream or pixel_format.is_bayer
    if odd or not (pixel_format.is_planar or len(components) == 1):
        return None
    planes = []
    for plane in range(1 + max(component.plane for component in components)):
        inside = [component for component in components if component.plane == plane]
        step = len(inside) * -(-inside[0].bits // 8)
        planes.append((step, 6 - (inside[0].width.bit_length() - 1), 6 - (inside[0].height.bit_length() - 1)))
    return tuple(planes)


def _chroma_grid(name: str) -> tuple[int, int]:
    """Return the width and height in px that a chroma sample covers; (1, 1) for packed formats."""
    layout = _layout(name) or ((1, 0, 0),)
    return 1 << max(x for _, x, _ in layout), 1 << max(y for _, _, y in layout)


def _unit(name: str) -> tuple[int, int]:
    """Return what the width and height of a frame must be a multiple of to be converted right without scaling."""
    return _FAST_UNIT if name in _FAST else _chroma_grid(name)


def _view(frame: VideoFrame, index: int) -> UInt8Array:
    """Return the bytes of a plane as (rows, bytes), top row first, padding included; no copy."""
    plane = frame.planes[index]
    stride = plane.line_size
    rows: UInt8Array = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, abs(stride))
    # Some decoders give pictures bottom up.
    return rows if stride > 0 else rows[::-1]


def _cut(frame: VideoFrame, region: Region, *, context: bool) -> tuple[VideoFrame, int, int]:
    """Copy the planes under ``region``, which must begin and end where chroma samples do or come with ``context``.

    Args:
        frame: of a format with a ``_layout``.
        region: x0 y0 x1 y1 px.
        context: take along what the conversion to RGB needs to give what it gives within the whole frame:
            neighbouring chroma, and a size in whole units (what that adds beyond the frame's edge is undefined).

    Returns:
        The patch, and where in it (x, y) the region begins.
    """
    layout = _layout(frame.format.name)
    if layout is None:
        raise ValueError(f"{frame.format.name} cannot be cut by plane")
    grid_x, grid_y = _chroma_grid(frame.format.name)
    near = frame.format.name in _FAST or not context
    margin_x, margin_y = (0 if near or grid == 1 else 2 * grid for grid in (grid_x, grid_y))
    x0, y0 = (max(0, v // g * g - m) for v, g, m in ((region[0], grid_x, margin_x), (region[1], grid_y, margin_y)))
    x1 = min(-(-region[2] // grid_x) * grid_x + margin_x, frame.width)
    y1 = min(-(-region[3] // grid_y) * grid_y + margin_y, frame.height)
    unit_x, unit_y = _unit(frame.format.name) if context else (1, 1)
    patch = VideoFrame(-((x0 - x1) // unit_x) * unit_x, -((y0 - y1) // unit_y) * unit_y, frame.format.name)
    patch.colorspace, patch.color_range = frame.colorspace, frame.color_range
    for index, (step, shift_x, shift_y) in enumerate(layout):
        left, width = (x0 >> shift_x) * step, -((x0 - x1) >> shift_x) * step
        top, height = y0 >> shift_y, -((y0 - y1) >> shift_y)
        _view(patch, index)[:height, :width] = _view(frame, index)[top : top + height, left : left + width]
    return patch, region[0] - x0, region[1] - y0


def _isolated(frame: VideoFrame, region: Region) -> VideoFrame:
    """Return ``region`` as a frame of its own, without copying where it is the whole of ``frame``."""
    if region == (0, 0, frame.width, frame.height):
        return frame
    grid_x, grid_y = _chroma_grid(frame.format.name)
    at_edge_x, at_edge_y = region[2] == frame.width, region[3] == frame.height
    x0, y0, x1, y1 = region
    if x0 % grid_x or y0 % grid_y or (x1 % grid_x and not at_edge_x) or (y1 % grid_y and not at_edge_y):
        # Chroma is shared with pixels outside the region, so it is cut to the pixel in RGB.
        patch, left, top = _cut(frame, region, context=True)
        frame = _convert(patch, (patch.width, patch.height), "gbrp", job="region gbrp")
        region = (left, top, left + x1 - x0, top + y1 - y0)
    return _cut(frame, region, context=False)[0]


def _unscaled(frame: VideoFrame, region: Region, *, planar: bool, job: Hashable) -> UInt8Array:
    """Return ``region`` of ``frame`` as (height, width, 3) RGB, planar or interleaved in memory."""
    x0, y0, x1, y1 = region
    fast = frame.format.name in _FAST
    unit_x, unit_y = _unit(frame.format.name)
    if region != (0, 0, frame.width, frame.height) or x1 % unit_x or y1 % unit_y:
        frame, x0, y0 = _cut(frame, region, context=True)
        x1, y1 = x0 + x1 - region[0], y0 + y1 - region[1]
    size = frame.width, frame.height
    if planar or not fast:
        return _joined(_convert(frame, size, "gbrp", job=(job, "gbrp")), (x0, y0, x1, y1), planar=planar)
    rows = _view(_convert(frame, size, "rgb24", job=(job, "rgb24")), 0)[y0:y1, 3 * x0 : 3 * x1]
    return np.ascontiguousarray(rows).reshape(y1 - y0, x1 - x0, 3)


def _scaled(frame: VideoFrame, size: tuple[int, int], *, planar: bool, job: Hashable) -> UInt8Array:
    """Return the whole of ``frame`` at ``size`` as (height, width, 3) RGB, planar or interleaved in memory."""
    region = (0, 0, *size)
    if frame.format.name not in _SCALE_FIRST:
        return _joined(_convert(frame, size, "gbrp", job=(job, "scale")), region, planar=planar)
    factor = frame.width // size[0]
    if factor * size[0] == frame.width and factor * size[1] == frame.height and factor in _FACTORS:
        planes = _shrink()(frame, factor, full_range=frame.color_range == ColorRange.JPEG)
        if planes is not None:
            return _arranged(planes, planar=planar)
    return _unscaled(_convert(frame, size, "yuv420p", job=(job, "scale")), region, planar=planar, job=job)


@cache
def _shrink() -> Callable[..., UInt8Array | None]:
    """Return ``_shrinking.shrunk``, ready to run."""
    from streamtrack.sources import _shrinking

    _shrinking.warm_up()
    return _shrinking.shrunk


def _joined(frame: VideoFrame, region: Region, *, planar: bool) -> UInt8Array:
    """Return ``region`` of a gbrp frame as one (height, width, 3) array."""
    x0, y0, x1, y1 = region
    image: UInt8Array = np.empty((3, y1 - y0, x1 - x0), np.uint8)
    for channel, plane in enumerate((2, 0, 1)):
        image[channel] = _view(frame, plane)[y0:y1, x0:x1]
    return _arranged(image, planar=planar)


def _arranged(planes: UInt8Array, *, planar: bool) -> UInt8Array:
    image = planes.transpose(1, 2, 0)
    return image if planar else np.ascontiguousarray(image)


def _planes(image: UInt8Array) -> UInt8Array:
    return np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0)


class _Contexts(threading.local):
    """Conversion contexts of one thread: they cannot be shared, and setting one up costs more than a small patch."""

    def __init__(self) -> None:
        self.by_job: dict[Hashable, VideoReformatter] = {}


_contexts = _Contexts()


def _convert(frame: VideoFrame, size: tuple[int, int], pixel_format: str, *, job: Hashable) -> VideoFrame:
    """Scale and convert ``frame`` with the context kept for ``job``: same job, mostly same sizes and formats."""
    contexts = _contexts.by_job
    context = contexts.get(job)
    if context is None:
        if len(contexts) >= _MAX_CONTEXTS:
            contexts.clear()
        context = contexts[job] = VideoReformatter()
    to_rgb = pixel_format in ("gbrp", "rgb24")
    return context.reformat(
        frame,
        *size,
        pixel_format,
        interpolation=Interpolation.AREA,
        dst_color_range=ColorRange.JPEG if to_rgb else frame.color_range,
        threads=1,
    )
