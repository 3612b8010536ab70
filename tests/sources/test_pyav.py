"""PyAVSource over real containers and codecs: the contract, and whatever can be wrong with a file."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
import pytest
from av.stream import Disposition

from streamtrack.api import SourceOptions
from streamtrack.sources.pyav import PyAVSource
from streamtrack.testing.clips import indexed_frames, read_index, write_clip
from streamtrack.testing.sources import SourceConformance, opened
from streamtrack.types import Frame

QUIET = {"preset": "ultrafast", "x265-params": "log-level=none"}


class PyAVConformance(SourceConformance):
    """A clip written once per class, read again in every test."""

    name = "clip.mp4"
    clip: ClassVar[Mapping[str, Any]] = {}
    size = (160, 96)

    @pytest.fixture(autouse=True)
    def _written(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        path = tmp_path_factory.getbasetemp() / f"{type(self).__name__}-{self.name}"
        if not path.exists():
            write_clip(path, indexed_frames(self.frames, *self.size), **self.clip)
        self.path = path

    def make_source(self, options: SourceOptions) -> PyAVSource:
        return PyAVSource(str(self.path), options)


class TestH264WithBFramesInMp4(PyAVConformance):
    clip: ClassVar = {"options": {"bf": "3", "b-pyramid": "normal", "g": "12"}}


class TestOpenGopInMatroska(PyAVConformance):
    name = "clip.mkv"
    clip: ClassVar = {"options": {"x264-params": "open-gop=1:keyint=10:bframes=2"}}


class TestTransportStream(PyAVConformance):
    name = "clip.ts"


class TestHevcTenBit(PyAVConformance):
    clip: ClassVar = {"codec": "libx265", "pix_fmt": "yuv420p10le", "options": QUIET}


class TestVp9OddSize(PyAVConformance):
    name = "clip.webm"
    size = (161, 97)
    clip: ClassVar = {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}}


class TestMpeg4WithBFramesInAvi(PyAVConformance):
    name = "clip.avi"
    clip: ClassVar = {"codec": "mpeg4", "options": {"bf": "2"}}


class TestRawH264(PyAVConformance):
    name = "clip.h264"


class TestLosslessFullColourOddSize(PyAVConformance):
    name = "clip.mkv"
    size = (65, 49)
    clip: ClassVar = {"codec": "ffv1", "pix_fmt": "yuv444p"}


class TestGif(PyAVConformance):
    name = "clip.gif"
    clip: ClassVar = {"codec": "gif", "pix_fmt": "rgb8", "rate": 20}


class TestEditListThatSkipsTheBeginning(PyAVConformance):
    """The container holds ten frames more than it shows."""

    @pytest.fixture(autouse=True)
    def _written(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.path = tmp_path_factory.getbasetemp() / "edited.mp4"
        if not self.path.exists():
            write_clip(
                self.path,
                indexed_frames(self.frames + 10),
                pts=range(-10, self.frames),
                options={"g": "7", "bf": "2"},
                container_options={"avoid_negative_ts": "disabled"},
            )

    def read(self, frame: Frame) -> int:
        return super().read(frame) - 10


class TestTurnedPhoneClip(PyAVConformance):
    """Coded on its side; what counts is what is displayed."""

    name = "clip.mov"
    clip: ClassVar = {"rotation": -90}

    def read(self, frame: Frame) -> int:
        assert (frame.width, frame.height) == (96, 160)
        return read_index(np.rot90(frame.scaled(96, 160)))


class TestVariableRate(PyAVConformance):
    """Frames between 3 and 170 ms apart, the first not at 0."""

    even = False
    name = "clip.mkv"
    times: ClassVar = list(itertools.accumulate((3 + 37 * n * n % 168 for n in range(1, 40)), initial=700))
    clip: ClassVar = {"pts": times, "time_base": Fraction(1, 1000)}

    def test_times_are_those_of_the_container(self) -> None:
        assert [frame.pts_ns for frame in self.play()[0]] == [(t - 700) * 1_000_000 for t in self.times]


def make(path: Path, frames: int, **how: Any) -> PyAVSource:
    options = {key: how.pop(key) for key in ("stride", "fps") if key in how}
    return opened(PyAVSource(str(write_clip(path, indexed_frames(frames), **how)), SourceOptions(**options)))


def test_says_what_it_read_and_how(tmp_path: Path) -> None:
    source = make(tmp_path / "clip.mp4", 50, stride=5, fps=8.0)
    source.close()
    info = source.info
    assert info.uri == str(tmp_path / "clip.mp4")
    assert (info.width, info.height, info.rate, info.codec) == (160, 96, 25.0, "h264")
    assert (info.frames_estimate, info.duration_s) == (50, 2.0)
    assert (info.sampling, info.sample_rate) == ("every 5th frame (sparser than 8 fps)", 5.0)


def test_a_raw_stream_has_no_times_and_says_so(tmp_path: Path) -> None:
    source = make(tmp_path / "clip.h264", 20)
    frames = list(source)
    source.close()
    assert [frame.pts_ns for frame in frames] == [40_000_000 * n for n in range(20)]
    assert source.stats.pts_repaired == 20


def test_avi_is_timed_by_decode_time(shared_data: Path) -> None:
    """The packets of vtest.avi have presentation times that go backwards 82 times."""
    source = opened(PyAVSource(str(shared_data / "video" / "vtest.avi"), SourceOptions()))
    times = [frame.pts_ns for frame in source]
    source.close()
    assert times == [40_000_000 * n for n in range(341)]
    assert source.stats.pts_repaired <= 1


def test_a_change_of_size_changes_the_frames(tmp_path: Path) -> None:
    """Two streams one after the other in one file, as a feed does when its camera is reconfigured."""
    first = write_clip(tmp_path / "a.ts", indexed_frames(10, 160, 96))
    second = write_clip(tmp_path / "b.ts", indexed_frames(10, 96, 64))
    both = tmp_path / "both.ts"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    source = opened(PyAVSource(str(both), SourceOptions()))
    frames = list(source)
    source.close()
    assert [(frame.width, frame.height) for frame in frames] == [(160, 96)] * 10 + [(96, 64)] * 10
    assert [read_index(frame.scaled(160, 96)) for frame in frames] == [*range(10), *range(10)]
    assert all(a.pts_ns < b.pts_ns for a, b in itertools.pairwise(frames))


def test_a_cover_picture_is_not_the_video(tmp_path: Path) -> None:
    path = tmp_path / "two.mp4"
    with av.open(str(path), "w") as container:
        small = container.add_stream("mjpeg", rate=25, width=32, height=24, pix_fmt="yuvj420p")
        small.disposition = Disposition.attached_pic
        large = container.add_stream("libx264", rate=25, width=160, height=96, pix_fmt="yuv420p")
        container.mux(small.encode(av.VideoFrame(32, 24, "yuvj420p")))
        for picture in indexed_frames(5):
            container.mux(large.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(large.encode(None))
    source = opened(PyAVSource(str(path), SourceOptions()))
    assert [read_index(frame.scaled(160, 96)) for frame in source] == list(range(5))
    source.close()


def test_constructed_and_dropped_leaves_nothing_open(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", indexed_frames(5))
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    for _ in range(5):
        source = opened(PyAVSource(str(path), SourceOptions()))
        next(iter(source))
        source.close()
    after = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    assert after == before


def test_names_that_are_not_utf8_in_the_metadata_do_not_matter(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.avi", indexed_frames(5), codec="mpeg4")
    path.write_bytes(path.read_bytes().replace(b"Lavf", b"\xff\xfe\xfd\xfc"))
    source = opened(PyAVSource(str(path), SourceOptions()))
    assert len(list(source)) == 5
    source.close()
