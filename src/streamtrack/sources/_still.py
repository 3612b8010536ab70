"""Decoding one picture file: JPEG, PNG, BMP, TIFF or WebP, told by how it begins, not by what it is called."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Final, NamedTuple

import av
import numpy as np
from av.codec.context import CodecContext
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from PIL import ExifTags, Image, ImageOps

from streamtrack.errors import DecodeError
from streamtrack.sources._picture import AvPicture, Orientation, attached

# How it begins, FFmpeg's decoder, and what we call it.
_DECODERS: Final = (
    (b"\xff\xd8\xff", "mjpeg", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png", "png"),
    (b"BM", "bmp", "bmp"),
    (b"II*\0", "", "tiff"),
    (b"MM\0*", "", "tiff"),
    (b"RIFF", "webp", "webp"),
)
# Exif 2.32, tag 0x0112: where row 0 and column 0 are. As ``Orientation``: transposed, then mirrored in x, then in y.
_ORIENTATIONS: Final = {
    2: Orientation(False, True, False),
    3: Orientation(False, True, True),
    4: Orientation(False, False, True),
    5: Orientation(True, False, False),
    6: Orientation(True, True, False),
    7: Orientation(True, True, True),
    8: Orientation(True, False, True),
}
_UPRIGHT: Final = Orientation()


class Still(NamedTuple):
    """A decoded picture file."""

    picture: AvPicture
    kind: str
    """``jpeg``, ``png``, ``bmp``, ``tiff`` or ``webp``."""
    damaged: bool
    """Whether a part of it is missing, as in a copy that was cut off."""


def decode_still(data: bytes) -> Still:
    """Decode the bytes of a picture file; Exif orientation is applied. May be called from any thread.

    FFmpeg decodes what it can: its planes scale three times faster than libjpeg's RGB (1080p to 640 x 360: 9 instead of
    30 ms). TIFF is Pillow's, because FFmpeg gets some of it wrong (alpha, JPEG inside), and so is what FFmpeg refuses.

    Raises:
        DecodeError: they are no picture of a known kind, or one too damaged to show anything.
    """
    found = next(((codec, kind) for start, codec, kind in _DECODERS if data.startswith(start)), None)
    if found is None:
        raise DecodeError("It does not begin like a picture.")
    codec, kind = found
    for strict in (True, False) if codec else ():
        with suppress(av.FFmpegError, ValueError):
            frame = _first_frame(codec, data, strict=strict)
            return Still(AvPicture(frame, _orientation(frame, data)), kind, damaged=not strict)
    return Still(AvPicture(_by_pillow(data)), kind, damaged=False)


def _by_pillow(data: bytes) -> VideoFrame:
    try:
        with Image.open(io.BytesIO(data)) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I;16"):
                # Pillow would not scale 16 bits but cut them off.
                return VideoFrame.from_ndarray(np.asarray(upright).astype(np.uint16), "gray16le")
            return VideoFrame.from_ndarray(np.asarray(upright.convert("RGB")), "rgb24")
    except Exception as error:
        # Of damaged files Pillow raises whatever its parsers stumble over.
        raise DecodeError(f"It cannot be decoded: {error}.") from error


def _first_frame(codec: str, data: bytes, *, strict: bool) -> VideoFrame:
    context = CodecContext.create(codec, "r")
    assert isinstance(context, VideoCodecContext)
    context.thread_count = 1
    # Without this FFmpeg fills up what is missing of a JPEG and says nothing.
    context.options = {"err_detect": "explode"} if strict else {}
    frames = context.decode(Packet(data)) or context.decode(None)
    if not frames:
        raise ValueError("it holds no picture")
    return frames[0]


def _orientation(frame: VideoFrame, data: bytes) -> Orientation:
    # Where PyAV cannot show what is attached it is Exif, and the angle that it can tell says nothing of mirroring.
    return _by_exif(data) if attached(frame) is None else Orientation.of(frame)


def _by_exif(data: bytes) -> Orientation:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return _ORIENTATIONS.get(image.getexif().get(ExifTags.Base.Orientation, 1), _UPRIGHT)
    except Exception:
        # Whatever is wrong with what is said about a picture, the picture is there.
        return _UPRIGHT
