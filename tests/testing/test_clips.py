from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.testing.clips import (
    draw_index,
    indexed_frames,
    read_index,
    scramble,
    truncate,
    write_audio,
    write_clip,
)


@given(st.integers(0, 2**15 - 1), st.integers(16, 90), st.integers(16, 70))
def test_what_is_drawn_can_be_read(index: int, width: int, height: int) -> None:
    picture = draw_index(index, width, height)
    assert (picture.shape, picture.dtype) == ((height, width, 3), np.uint8)
    assert read_index(picture) == index
    assert np.array_equal(picture, draw_index(index, width, height))


@given(st.integers(0, 2**15 - 1), st.integers(0, 15))
def test_a_wrong_block_is_noticed(index: int, block: int) -> None:
    picture = draw_index(index, 64, 64)
    row, column = divmod(block, 4)
    part = picture[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16]
    part[:] = 255 - part
    with pytest.raises(ValueError, match="parity"):
        read_index(picture)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_even_picture_says_nothing(level: int) -> None:
    with pytest.raises(ValueError, match=r"neither|parity"):
        read_index(np.full((40, 60, 3), level, np.uint8))


@pytest.mark.parametrize("index", [-1, 2**15])
def test_indexes_have_15_bits(index: int) -> None:
    with pytest.raises(ValueError, match=r"0\.\.32767"):
        draw_index(index)


def test_numbers_survive_an_encoder(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", indexed_frames(20), options={"crf": "35"})
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 25
        assert stream.codec_context.has_b_frames
        assert [read_index(frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)] == list(range(20))


def test_times_are_those_asked_for(tmp_path: Path) -> None:
    pts = [0, 10, 100, 101, 500, 900]
    path = write_clip(tmp_path / "clip.mkv", indexed_frames(6), pts=pts, time_base=Fraction(1, 1000))
    with av.open(str(path)) as container:
        assert [round((frame.time or 0) * 1000) for frame in container.decode(video=0)] == pts


@pytest.mark.parametrize("name", ["clip.mkv", "clip.ts"])
def test_the_same_arguments_give_the_same_bytes(tmp_path: Path, name: str) -> None:
    once = [write_clip(tmp_path / name, indexed_frames(30, 96, 64)).read_bytes() for _ in range(5)]
    assert len(set(once)) == 1


def test_frames_of_the_decoders_kind_are_written_as_they_are(tmp_path: Path) -> None:
    frame = av.VideoFrame.from_ndarray(np.full((72, 64), 77, np.uint8), format="yuv420p")
    frame.colorspace, frame.color_range = 1, 2
    path = write_clip(tmp_path / "clip.mkv", [frame], codec="ffv1")
    with av.open(str(path)) as container:
        again = next(container.decode(video=0))
    assert (again.colorspace, again.color_range, again.format.name) == (1, 2, "yuv420p")
    assert np.array_equal(again.to_ndarray(), frame.to_ndarray())


def test_sound_has_no_pictures(tmp_path: Path) -> None:
    with av.open(str(write_audio(tmp_path / "sound.m4a"))) as container:
        assert not container.streams.video
        assert container.streams.audio


def test_damage_is_where_it_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(bytes(1000))
    scramble(path, 0.2, 0.3, every=10)
    data = np.frombuffer(path.read_bytes(), np.uint8)
    assert set(np.flatnonzero(data)) <= set(range(200, 300, 10))
    assert np.count_nonzero(data) >= 5
    assert truncate(path, 0.25).stat().st_size == 250
