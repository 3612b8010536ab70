"""Damaged files: everything that can be decoded comes out, and the rest is counted."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import av
import pytest
from av.packet import Packet

from streamtrack.api import SourceOptions
from streamtrack.errors import SourceError
from streamtrack.sources._decoding import Decoder
from streamtrack.sources.pyav import PyAVSource
from streamtrack.testing.clips import indexed_frames, read_index, scramble, truncate, write_clip
from streamtrack.testing.sources import opened
from streamtrack.types import SourceStats

FRAMES = 120
INDEX_FIRST = {"movflags": "faststart"}
CLIPS: dict[str, dict[str, Any]] = {
    "h264.mp4": {"options": {"g": "12"}, "container_options": INDEX_FIRST},
    "h264.mkv": {"options": {"g": "12"}},
    "h264.ts": {"options": {"g": "12"}},
    "hevc.mp4": {
        "codec": "libx265",
        "options": {"preset": "ultrafast", "x265-params": "log-level=none:keyint=12"},
        "container_options": INDEX_FIRST,
    },
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "12", "qmin": "5", "qmax": "5"}},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "options": {"qmin": "5", "qmax": "5"}},
    "vp8.webm": {"codec": "libvpx", "options": {"g": "12", "deadline": "realtime", "cpu-used": "8"}},
}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    for name, how in CLIPS.items():
        write_clip(folder / name, indexed_frames(FRAMES), **how)
    return folder


@pytest.fixture
def copy(originals: Path, tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        path = tmp_path / name
        path.write_bytes((originals / name).read_bytes())
        return path

    return make


def play(path: Path, **options: Any) -> tuple[list[int | None], SourceStats]:
    """Return what each frame's pixels say (None where they say nothing), having checked what must always hold."""
    source = opened(PyAVSource(str(path), SourceOptions(**options)))
    said: list[int | None] = []
    last_ns = -1
    for number, frame in enumerate(source):
        assert frame.index == number
        assert frame.pts_ns > last_ns
        last_ns = frame.pts_ns
        try:
            said.append(read_index(frame.scaled(160, 96)))
        except ValueError:
            said.append(None)
    source.close()
    assert source.stats.seen == source.stats.corrupt + source.stats.delivered
    return said, source.stats


@pytest.mark.parametrize("name", CLIPS)
def test_undamaged_clips_are_whole(copy: Callable[[str], Path], name: str) -> None:
    said, stats = play(copy(name))
    assert said == list(range(FRAMES))
    assert (stats.corrupt, stats.damaged) == (0, 0)


class Layout(NamedTuple):
    """Where the packets of a clip lie, in the order of decoding."""

    starts: list[int]
    ends: list[int]
    keys: list[bool]
    ranks: list[int]
    """Presentation order, which is also what the frame's pixels say."""

    @classmethod
    def of(cls, path: Path) -> Layout:
        with av.open(str(path)) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
        starts = [packet.pos or 0 for packet in packets]
        order = [packet.dts if path.suffix == ".avi" else packet.pts for packet in packets]
        ranks = [sorted(order).index(stamp) for stamp in order]
        return cls(starts, [*starts[1:], path.stat().st_size], [packet.is_keyframe for packet in packets], ranks)

    def spared(self, start: int, stop: int) -> tuple[list[int], list[int]]:
        """Return the frames that damage to some bytes cannot reach: before its GOP, and a GOP after it."""
        gop, gops = -1, []
        for key in self.keys:
            gop += key
            gops.append(gop)
        hit = [g for g, a, b in zip(gops, self.starts, self.ends, strict=True) if a < stop and b > start]
        before = sorted(rank for rank, g in zip(self.ranks, gops, strict=True) if g < min(hit))
        after = sorted(rank for rank, g in zip(self.ranks, gops, strict=True) if g > max(hit) + 1)
        return before, after


@pytest.mark.parametrize("threads", [0, 1])
@pytest.mark.parametrize("name", CLIPS)
def test_goes_on_behind_a_hole(copy: Callable[[str], Path], name: str, threads: int) -> None:
    """A stretch of noise in the middle costs frames around it, and nothing before and after."""
    path = copy(name)
    size = path.stat().st_size
    before, after = Layout.of(path).spared(int(0.45 * size), int(0.5 * size))
    said, stats = play(scramble(path, 0.45, 0.5), threads=threads)
    assert len(before) > 20
    assert len(after) > 20
    assert said[: len(before)] == before
    assert said[-len(after) :] == after
    # AVI and Matroska demuxers step over what they cannot read; only an index can say how much that was.
    assert stats.seen == FRAMES if "mp4" in name else stats.seen <= FRAMES
    assert stats.seen < FRAMES or stats.corrupt + stats.damaged > 0 or None in said


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "h264.ts", "mpeg4.avi", "mjpeg.avi"])
def test_survives_scattered_damage(copy: Callable[[str], Path], name: str) -> None:
    path = copy(name)
    size = path.stat().st_size
    before, _ = Layout.of(path).spared(int(0.3 * size), int(0.9 * size))
    said, stats = play(scramble(path, 0.3, 0.9, every=501))
    assert len(before) > 10
    assert said[: len(before)] == before
    assert stats.delivered >= 0.4 * FRAMES
    assert stats.seen == FRAMES if "mp4" in name else stats.seen <= FRAMES


@pytest.mark.parametrize("share", [0.35, 0.6, 0.95])
@pytest.mark.parametrize("name", CLIPS)
def test_a_truncated_file_gives_what_it_has(copy: Callable[[str], Path], name: str, share: float) -> None:
    path = copy(name)
    layout, cut = Layout.of(path), int(share * path.stat().st_size)
    whole = sorted(rank for rank, end in zip(layout.ranks, layout.ends, strict=True) if end <= cut)
    said, stats = play(truncate(path, share))
    assert len(whole) > 10
    assert set(whole) <= set(said)
    assert len(said) <= len(whole) + 1
    if "mp4" in name:
        assert (stats.seen, stats.corrupt) == (FRAMES, FRAMES - len(said))


class Faulty:
    """A container whose ``demux`` raises once in a while, as PyAV's does."""

    def __init__(self, container: Any, error: Exception, every: int, times: int = 10**9) -> None:
        self.container, self.error, self.every, self.times = container, error, every, times
        self.packets: Iterator[Packet[Any]] | None = None

    def demux(self, stream: Any) -> Iterator[Packet[Any]]:
        if self.packets is None:
            self.packets = self.container.demux(stream)
        for number, packet in enumerate(self.packets, start=1):
            yield packet
            if number % self.every == 0 and self.times:
                self.times -= 1
                raise self.error
        while self.times and self.every == 1:
            raise self.error


def decode(path: Path, error: Exception, every: int, *, persistent: bool) -> tuple[int, Decoder]:
    with av.open(str(path)) as container:
        faulty: Any = Faulty(container, error, every)
        decoder = Decoder(faulty, container.streams.video[0], label="'clip'", listed=0, persistent=persistent)
        return sum(1 for _ in decoder.frames()), decoder


@pytest.mark.parametrize("error", [IndexError("x"), av.InvalidDataError(1, "invalid")])
@pytest.mark.parametrize("persistent", [True, False])
def test_reads_on_when_the_container_stumbles(originals: Path, error: Exception, persistent: bool) -> None:
    frames, decoder = decode(originals / "h264.mkv", error, 7, persistent=persistent)
    assert frames == FRAMES
    assert (decoder.losses.damaged, decoder.losses.lost) == (True, 0)


def test_ends_when_the_container_makes_no_progress(originals: Path) -> None:
    frames, _ = decode(originals / "h264.mkv", IndexError("x"), 1, persistent=True)
    assert frames == FRAMES


def test_a_feed_that_breaks_off_is_an_error(originals: Path) -> None:
    error = ConnectionResetAv(104, "Connection reset by peer", "rtsp://user:hunter2@camera/1")
    with pytest.raises(SourceError, match="'clip' broke off: connection reset") as caught:
        decode(originals / "h264.ts", error, 5, persistent=False)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_file_is_tried_again_but_not_for_ever(originals: Path) -> None:
    error = OsErrorAv(5, "Input/output error")
    assert decode(originals / "h264.mkv", error, 5, persistent=True)[0] == FRAMES
    with pytest.raises(SourceError, match="'clip' broke off: input/output error"):
        decode(originals / "h264.mkv", error, 1, persistent=True)


ConnectionResetAv: Any = av.error.ConnectionResetError  # type: ignore[attr-defined]
OsErrorAv: Any = av.error.OSError  # type: ignore[attr-defined]
