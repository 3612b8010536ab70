"""Planes of 8-bit Y'CbCr to a small RGB picture by area, in one pass: the way from a whole frame to a detector's input.

Where the picture shrinks by a small whole factor, every pixel of the result is the mean of a square of the source's,
so nothing has to be filtered: rows are summed, then columns, and the sums become colours, a row at a time in the
processor's nearest cache. On 1080p to 640x360 this takes a third of what swscale takes, and loses less.

Importing this imports numba, so it is imported only where it is needed.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from numpy.typing import NDArray

from streamtrack.tracking import kernel

UInt8Array = NDArray[np.uint8]
Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]

# Sums of other ones would need loops of their own to be fast.
FACTORS = frozenset({2, 3, 4, 6})

# Pixel format -> log2 of the subsampling across and down, the plane of Cb and of Cr, bytes from one sample to the next,
# and which byte is Cb's and which Cr's.
_LAYOUTS = {
    "yuv420p": (1, 1, 1, 2, 1, 0, 0),
    "yuvj420p": (1, 1, 1, 2, 1, 0, 0),
    "yuva420p": (1, 1, 1, 2, 1, 0, 0),
    "yuv422p": (1, 0, 1, 2, 1, 0, 0),
    "yuvj422p": (1, 0, 1, 2, 1, 0, 0),
    "nv12": (1, 1, 1, 1, 2, 0, 1),
    "nv21": (1, 1, 1, 1, 2, 1, 0),
}
FORMATS = frozenset(_LAYOUTS)

# AVColorSpace -> luma weights of red and blue: BT.709, FCC, BT.601, SMPTE 240M, BT.2020.
_WEIGHTS = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}

# Colours are computed in 32 bits: the largest value is below 900 levels.
_FRACTION_BITS = 20


def shrunk(frame: VideoFrame, factor: int, *, full_range: bool) -> UInt8Array | None:
    """Return the whole of ``frame`` as planes of RGB, (3, height / factor, width / factor).

    Args:
        frame: of one of ``FORMATS``, its matrix one of those of ``_picture``; its size a multiple of ``factor``.
        factor: one of ``FACTORS``.
        full_range: whether its levels are 0..255.

    Returns:
        The picture, or None where the planes lie bottom up.
    """
    across, down, first, second, step, cb_byte, cr_byte = _LAYOUTS[frame.format.name]
    found = frame.planes
    luma, blue, red = found[0], found[first], found[second]
    if min(luma.line_size, blue.line_size, red.line_size) < 0:
        return None
    out = np.empty((3, frame.height // factor, frame.width // factor), np.uint8)
    gains = _gains(int(frame.colorspace), factor, across, down, full_range=full_range)
    layout = across, down, step, cb_byte, cr_byte
    shrink(_rows(luma), _rows(blue), _rows(red), layout, factor, gains, out)
    return out


def _rows(plane: VideoPlane) -> UInt8Array:
    return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)


def warm_up() -> None:
    """Compile the kernel, or load it from the disk: seconds at most once per machine, here and not in a frame."""
    plane = np.zeros((2, 2), np.uint8)
    gains = _gains(1, 2, 1, 1, full_range=True)
    shrink(plane, plane, plane, (1, 1, 1, 0, 0), 2, gains, np.empty((3, 1, 1), np.uint8))


@lru_cache(maxsize=32)
def _gains(matrix: int, factor: int, across: int, down: int, *, full_range: bool) -> Int32Array:
    """Return what ``shrink`` multiplies sums of samples with and adds, as fixed-point numbers.

    Y' and Cb, Cr are as in ITU-R BT.601-7 2.5 and its siblings: 16..235 and 16..240, or 0..255.
    """
    red, blue = _WEIGHTS[matrix]
    green = 1 - red - blue
    black, light, chroma = (0, 1.0, 1.0) if full_range else (16, 255 / 219, 255 / 224)
    of_red, of_blue = 2 * (1 - red) * chroma, 2 * (1 - blue) * chroma
    green_cb, green_cr = -of_blue * blue / green, -of_red * red / green
    count = _summed(factor, across) * _summed(factor, down)
    one = 1 << _FRACTION_BITS
    per_sample = [light / factor**2, *(gain / count for gain in (of_red, green_cb, green_cr, of_blue))]
    at_zero = [0.5 - black * light - 128 * gain for gain in (of_red, green_cb + green_cr, of_blue)]
    gains = np.array([round(value * one) for value in per_sample + at_zero], np.int32)
    gains.setflags(write=False)
    return gains


def _summed(factor: int, shift: int) -> int:
    """Return how many samples along one axis make a pixel of the result; half ones count as two."""
    return factor >> shift if factor % (1 << shift) == 0 else factor


@kernel
def shrink(
    luma: UInt8Array,
    blue_plane: UInt8Array,
    red_plane: UInt8Array,
    layout: tuple[int, int, int, int, int],
    factor: int,
    gains: Int32Array,
    out: UInt8Array,
) -> None:
    """Write the mean of every ``factor`` x ``factor`` px as RGB.

    A sample of chroma stands for the pixels that share it. Where ``factor`` is odd it may count for two pixels of the
    result, for each with the pixels that lie in it.

    Args:
        luma: (rows, bytes) Y', padding of rows included.
        blue_plane: the plane with Cb.
        red_plane: the plane with Cr; the same where they alternate.
        layout: log2 of chroma's subsampling across and down, bytes from one sample to the next, Cb's byte, Cr's byte.
        factor: one of ``FACTORS``.
        gains: of ``_gains``.
        out: (3, h, w), written.
    """
    across, down, step, blue_byte, red_byte = layout
    height, width = out.shape[1], out.shape[2]
    sums = np.empty(width * factor * 2, np.uint16)
    picked = np.empty(width * factor, np.uint16)
    means = np.empty((3, width + width % 2), np.uint16)
    # Two at once, the first in the lower half, for processors that are little-endian: all that there are wheels for.
    pairs = means.view(np.uint32)
    light_gain, red_cr, green_cb, green_cr, blue_cb, red_zero, green_zero, blue_zero = (
        gains[0],
        gains[1],
        gains[2],
        gains[3],
        gains[4],
        gains[5],
        gains[6],
        gains[7],
    )
    odd = factor % 2
    for y in range(height):
        for channel in range(3):
            plane = luma if channel == 0 else blue_plane if channel == 1 else red_plane
            shift_x, shift_y = (across, down) if channel else (0, 0)
            halved_x, halved_y = odd * shift_x, odd * shift_y
            rows, columns = factor >> (shift_y - halved_y), factor >> (shift_x - halved_x)
            samples = (width * factor + shift_x) >> shift_x
            interleaved = channel > 0 and step == 2
            n = 2 * samples if interleaved else samples
            top = y * rows
            row = plane[top >> halved_y]
            for x in range(n):
                sums[x] = row[x]
            for k in range(top + 1, top + rows):
                row = plane[k >> halved_y]
                for x in range(n):
                    sums[x] += row[x]
            if interleaved:
                if (blue_byte if channel == 1 else red_byte) == 1:
                    for x in range(samples):
                        picked[x] = sums[2 * x + 1]
                else:
                    for x in range(samples):
                        picked[x] = sums[2 * x]
                for x in range(samples):
                    sums[x] = picked[x]

            # Every way to sum is written out, because only then the compiler makes good vectors of it.
            mean, pair = means[channel], pairs[channel]
            if halved_x:
                for x in range(width >> 1):
                    shared = np.uint32(sums[3 * x + 1])
                    first, second = 2 * np.uint32(sums[3 * x]) + shared, shared + 2 * np.uint32(sums[3 * x + 2])
                    pair[x] = first | second << 16
                if width & 1:
                    mean[width - 1] = 2 * sums[samples - 2] + sums[samples - 1]
            elif columns == 1:
                for x in range(width):
                    mean[x] = sums[x]
            elif columns == 2:
                for x in range(width):
                    mean[x] = sums[2 * x] + sums[2 * x + 1]
            elif columns == 3:
                for x in range(width):
                    mean[x] = sums[3 * x] + sums[3 * x + 1] + sums[3 * x + 2]
            elif columns == 4:
                for x in range(width):
                    mean[x] = sums[4 * x] + sums[4 * x + 1] + sums[4 * x + 2] + sums[4 * x + 3]
            else:
                for x in range(width):
                    left = sums[6 * x] + sums[6 * x + 1] + sums[6 * x + 2]
                    mean[x] = left + sums[6 * x + 3] + sums[6 * x + 4] + sums[6 * x + 5]

        light_sums, blue_sums, red_sums = means[0], means[1], means[2]
        red, green, blue = out[0, y], out[1, y], out[2, y]
        for x in range(width):
            light, cb, cr = (
                np.int32(light_gain * np.int32(light_sums[x])),
                np.int32(blue_sums[x]),
                np.int32(red_sums[x]),
            )
            red[x] = min(max(np.int32(light + red_cr * cr + red_zero) >> _FRACTION_BITS, 0), 255)
            green[x] = min(max(np.int32(light + green_cb * cb + green_cr * cr + green_zero) >> _FRACTION_BITS, 0), 255)
            blue[x] = min(max(np.int32(light + blue_cb * cb + blue_zero) >> _FRACTION_BITS, 0), 255)
