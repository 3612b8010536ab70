"""Single picture files: against Pillow as an independent decoder, upright, and broken ones told."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from av.codec.context import CodecContext
from av.packet import Packet
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps

from streamtrack.errors import DecodeError
from streamtrack.sources._picture import AvPicture
from streamtrack.sources._still import decode_still

FORMATS = ["JPEG", "PNG", "BMP", "TIFF", "WEBP"]


def patches(width: int = 96, height: int = 64) -> Image.Image:
    """Large even areas, all different, so that neither chroma sampling nor orientation goes unseen."""
    colours = np.array([[(200, 30, 40), (20, 160, 60), (30, 60, 210)], [(240, 240, 240), (10, 10, 10), (220, 190, 20)]])
    grid = colours.repeat(height // 2, axis=0).repeat(width // 3, axis=1)
    return Image.fromarray(grid.astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def shown(picture: AvPicture) -> np.ndarray:
    size = picture.width, picture.height
    return picture.rgb((0, 0, *size), size, planar=False).astype(int)


def by_pillow(data: bytes) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")).astype(int)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *(("JPEG", mode) for mode in ("RGB", "L", "1", "CMYK")),
        *(("PNG", mode) for mode in ("RGB", "L", "P", "1", "RGBA", "LA")),
        *(("BMP", mode) for mode in ("RGB", "L", "P", "1", "RGBA")),
        *(("TIFF", mode) for mode in ("RGB", "L", "P", "1", "RGBA", "LA", "CMYK")),
        *(("WEBP", mode) for mode in ("RGB", "L", "RGBA")),
    ],
)
def test_colours_are_those_of_another_decoder(kind: str, mode: str) -> None:
    data = encoded(patches().convert(mode), kind)
    still = decode_still(data)
    difference = np.abs(shown(still.picture) - by_pillow(data))
    assert np.median(difference) <= 2
    assert difference.mean() < 3
    assert (still.kind, still.damaged) == (kind.lower(), False)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"progressive": True}),
        ("JPEG", {"subsampling": 0}),
        ("JPEG", {"keep_rgb": True}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"save_all": True, "append_images": [Image.new("RGB", (96, 64))]}),
    ],
)
def test_kinds_within_a_format(kind: str, options: dict[str, Any]) -> None:
    data = encoded(patches(), kind, **options)
    difference = np.abs(shown(decode_still(data).picture) - by_pillow(data))
    assert np.median(difference) <= 2
    assert difference.mean() < 4


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_brought_down_to_eight(kind: str) -> None:
    deep = (np.asarray(patches().convert("L")).astype(np.uint16) << 8) + 17
    found = shown(decode_still(encoded(Image.fromarray(deep), kind)).picture)
    assert np.abs(found - (deep >> 8)[:, :, None]).max() <= 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = encoded(patches(), kind, exif=exif)
    picture = decode_still(data).picture
    assert (picture.width, picture.height) == ((96, 64) if orientation < 5 else (64, 96))
    assert np.median(np.abs(shown(picture) - by_pillow(data))) <= 2


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_frame_of_a_stream_of_jpegs_with_exif_is_turned_too(orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = encoded(patches(), "JPEG", exif=exif)
    context = CodecContext.create("mjpeg", "r")
    picture = AvPicture(context.decode(Packet(data))[0])
    assert np.median(np.abs(shown(picture) - by_pillow(data))) <= 2


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.6, 0.95])
def test_a_jpeg_that_was_cut_off_is_given_and_said_to_be_damaged(share: float, progressive: bool) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))
    data = encoded(noise, "JPEG", progressive=progressive)
    still = decode_still(data[: int(len(data) * share)])
    assert still.damaged
    assert (still.picture.width, still.picture.height) == (96, 64)


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", b"no picture", b"\xff\xd8\xff", b"RIFF\0\0\0\0WAVE", b"BM" + bytes(90)]
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError, match=r"picture|decoded"):
        decode_still(data)


@given(kind=st.sampled_from(FORMATS), data=st.data())
def test_whatever_is_in_a_file_it_is_decoded_or_refused(kind: str, data: st.DataObject) -> None:
    content = bytearray(encoded(patches(24, 16), kind))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    try:
        picture = decode_still(bytes(content[: data.draw(st.integers(0, len(content)))])).picture
    except DecodeError:
        return
    assert picture.rgb((0, 0, 1, 1), (1, 1), planar=False).shape == (1, 1, 3)
