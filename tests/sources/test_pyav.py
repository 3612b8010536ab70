"""PyAVSource over real containers and codecs: the contract, and whatever can be wrong with a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from streamtrack.api import SourceOptions
from streamtrack.sources.pyav import PyAVSource
from streamtrack.testing.clips import indexed_frames, write_clip
from streamtrack.testing.sources import SourceConformance

QUIET = {"x265-params": "log-level=none"}


class PyAVConformance(SourceConformance):
    """A clip written once per class, read again in every test."""

    name = "clip.mp4"
    clip: Mapping[str, Any] = {}
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
    clip = {"options": {"bf": "3", "b-pyramid": "normal", "g": "12"}}


class TestOpenGopInMatroska(PyAVConformance):
    name = "clip.mkv"
    clip = {"options": {"x264-params": "open-gop=1:keyint=10:bframes=2"}}


class TestTransportStream(PyAVConformance):
    name = "clip.ts"


class TestHevcTenBit(PyAVConformance):
    clip = {"codec": "libx265", "pix_fmt": "yuv420p10le", "options": QUIET}


class TestVp9OddSize(PyAVConformance):
    name = "clip.webm"
    size = (161, 97)
    clip = {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}}


class TestMpeg4WithBFramesInAvi(PyAVConformance):
    name = "clip.avi"
    clip = {"codec": "mpeg4", "options": {"bf": "2"}}


class TestRawH264(PyAVConformance):
    name = "clip.h264"


class TestLosslessFullColourOddSize(PyAVConformance):
    name = "clip.mkv"
    size = (65, 49)
    clip = {"codec": "ffv1", "pix_fmt": "yuv444p"}


class TestGif(PyAVConformance):
    name = "clip.gif"
    clip = {"codec": "gif", "pix_fmt": "rgb8", "rate": 20}


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

    def read(self, frame: Any) -> int:
        return super().read(frame) - 10
