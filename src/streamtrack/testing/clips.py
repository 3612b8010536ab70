"""Synthetic clips whose frames carry their own number in the pixels, so that a test can prove which frame it got.

A frame is a 4 x 4 grid of dark and bright blocks, a 15-bit number and a parity bit, with noise on top so that a codec
has something to do. The blocks survive lossy compression, scaling and colour conversion.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final, cast

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

UInt8Array = NDArray[np.uint8]

_GRID = 4
_BITS = _GRID * _GRID - 1
_DARK, _BRIGHT, _NOISE = 48, 208, 24
# Muxers write dates and random names, and x264 weighs blocks of small pictures by memory that it has not set.
_SAME_CONTAINER: Final = {"fflags": "+bitexact"}
_SAME_CODE: Final = {"libx264": {"mbtree": "0"}}


def draw_index(index: int, width: int = 160, height: int = 96) -> UInt8Array:
    """Return a picture that says ``index``.

    Args:
        index: 0 to 32767.
        width: px, at least 16.
        height: px, at least 16.

    Returns:
        RGB uint8 (height, width, 3), the same for the same arguments.
    """
    if not 0 <= index < 1 << _BITS:
        raise ValueError(f"index must be in 0..{(1 << _BITS) - 1}, got {index}")
    # Odd parity: a black, white or grey picture says nothing.
    word = index << 1 | (1 - index.bit_count() % 2)
    bits = np.array([word >> bit & 1 for bit in range(_BITS + 1)]).reshape(_GRID, _GRID)
    rows, columns = np.arange(height) * _GRID // height, np.arange(width) * _GRID // width
    blocks = np.where(bits, _BRIGHT, _DARK)[rows[:, None], columns]
    noise = np.random.default_rng(index).integers(-_NOISE, _NOISE + 1, (height, width, 3))
    return (blocks[:, :, None] + noise).astype(np.uint8)


def read_index(rgb: UInt8Array) -> int:
    """Return the number that a picture of ``draw_index`` says, at whatever size it is now.

    Args:
        rgb: uint8 (height, width, 3).

    Raises:
        ValueError: the picture says no number: a block is neither dark nor bright, or the parity is wrong.
    """
    height, width = rgb.shape[:2]
    middle = (_DARK + _BRIGHT) / 2
    word = 0
    for bit in range(_BITS + 1):
        row, column = divmod(bit, _GRID)
        # The inner half of a block: its edges blur into the neighbours.
        y0, y1 = int((row + 0.25) * height / _GRID), int(np.ceil((row + 0.75) * height / _GRID))
        x0, x1 = int((column + 0.25) * width / _GRID), int(np.ceil((column + 0.75) * width / _GRID))
        level = float(rgb[y0:y1, x0:x1].mean())
        if abs(level - middle) < (_BRIGHT - _DARK) / 4:
            raise ValueError(f"block {bit} of the picture is neither dark nor bright: {level:.0f}")
        word |= int(level > middle) << bit
    if word.bit_count() % 2 == 0:
        raise ValueError(f"the picture's parity is wrong: {word:016b}")
    return word >> 1


def indexed_frames(count: int, width: int = 160, height: int = 96) -> Iterator[UInt8Array]:
    """Yield the pictures of the indexes 0 to ``count - 1``."""
    return (draw_index(index, width, height) for index in range(count))


def write_clip(
    path: Path,
    frames: Iterable[UInt8Array | VideoFrame],
    *,
    codec: str = "libx264",
    rate: int | Fraction = 25,
    pix_fmt: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    rotation: int = 0,
    mirrored: bool = False,
) -> Path:
    """Encode ``frames`` into ``path``, whose suffix says the container: the same bytes for the same arguments.

    Args:
        path: where to write.
        frames: RGB uint8 (height, width, 3), or frames of the decoder's own kind, written as they are.
        codec: name of an encoder of FFmpeg.
        rate: frames a second.
        pix_fmt: pixel format to encode RGB frames in.
        options: of the encoder, e.g. ``{"bf": "3"}``.
        container_options: of the container, e.g. ``{"movflags": "faststart"}``.
        pts: presentation time of each frame in units of ``time_base``; by default frame n is at n / ``rate``.
        time_base: unit of ``pts`` in seconds; by default 1 / ``rate``.
        rotation: degrees counter-clockwise by which a player shall turn the picture.
        mirrored: whether a player shall then mirror it left to right.

    Returns:
        ``path``.
    """
    unit = time_base or 1 / Fraction(rate)
    times = iter(pts) if pts is not None else None
    with av.open(str(path), "w", container_options={**_SAME_CONTAINER, **(container_options or {})}) as container:
        stream: VideoStream | None = None
        for number, frame in enumerate(frames):
            picture = frame if isinstance(frame, VideoFrame) else _picture(frame, pix_fmt)
            if stream is None:
                stream = _add_stream(container, codec, rate, unit, picture, options)
                if rotation or mirrored:
                    stream.set_display_rotation(rotation, hflip=mirrored)
            picture.time_base = unit
            picture.pts = number if times is None else next(times)
            container.mux(stream.encode(picture))
        if stream is not None:
            container.mux(stream.encode(None))
    return path


def _add_stream(
    container: OutputContainer,
    codec: str,
    rate: int | Fraction,
    unit: Fraction,
    picture: VideoFrame,
    options: Mapping[str, str] | None,
) -> VideoStream:
    every = {**_SAME_CODE.get(codec, {}), **(options or {})}
    stream = cast(VideoStream, container.add_stream(codec, rate=rate, options=every))
    stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, picture.format.name
    context = stream.codec_context
    context.thread_count, context.time_base = 1, unit
    context.colorspace, context.color_range = picture.colorspace, picture.color_range
    return stream


def _picture(rgb: UInt8Array, pix_fmt: str) -> VideoFrame:
    return VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(format=pix_fmt)


def write_audio(path: Path, seconds: float = 0.5) -> Path:
    """Write silence into ``path``: a file without pictures."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        samples = np.zeros((1, 1024), np.float32)
        for number in range(max(1, round(seconds * 16000 / 1024))):
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, number * 1024, Fraction(1, 16000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def truncate(path: Path, share: float) -> Path:
    """Cut a file off after ``share`` of its bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def scramble(path: Path, start: float, stop: float, *, every: int = 1, seed: int = 0) -> Path:
    """Overwrite every ``every``-th byte between two shares of a file with noise."""
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    part = data[int(len(data) * start) : int(len(data) * stop) : every]
    part[:] = np.random.default_rng(seed).integers(0, 256, len(part))
    path.write_bytes(data.tobytes())
    return path
