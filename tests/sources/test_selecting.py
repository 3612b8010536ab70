"""Strided reading leaves packets out and gives exactly what decoding everything gives: proved by hash."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.packet import Packet
from av.video.frame import VideoFrame
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamtrack.api import SourceOptions
from streamtrack.sources import _selecting
from streamtrack.sources._decoding import Decoder
from streamtrack.sources._picture import AvPicture
from streamtrack.sources.pyav import PyAVSource
from streamtrack.sources.sampling import choose
from streamtrack.testing.clips import draw_index, indexed_frames, read_index, scramble, truncate, write_clip
from streamtrack.testing.sources import opened
from streamtrack.types import Frame, SourceStats

FRAMES = 60
SAMPLINGS: list[dict[str, Any]] = [
    *({"stride": stride} for stride in (2, 3, 5, 7, 10, 45)),
    *({"fps": fps} for fps in (1.0, 7.0)),
]
UNEVEN = list(itertools.accumulate((3 + 37 * n * n % 168 for n in range(1, FRAMES)), initial=700))


def x264(parameters: str, **how: Any) -> dict[str, Any]:
    return {"options": {"preset": "veryfast", "x264-params": parameters}, **how}


def x265(parameters: str, **how: Any) -> dict[str, Any]:
    options = {"preset": "ultrafast", "x265-params": f"log-level=none:{parameters}"}
    return {"codec": "libx265", "options": options, **how}


VP9 = {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "g": "20", "auto-alt-ref": "1", "lag-in-frames": "12"}}
AV1 = {"codec": "libsvtav1", "options": {"preset": "12", "g": "20", "svtav1-params": "lp=1"}}

SPARED: dict[str, dict[str, Any]] = {
    "h264.mp4": {},
    "h264-gops.mov": x264("keyint=12"),
    "h264-no-pyramid.mkv": x264("keyint=30:b-pyramid=none"),
    "h264-strict-pyramid.flv": x264("keyint=30:b-pyramid=strict:bframes=5:b-adapt=0"),
    "h264-sixteen-b.ts": x264("keyint=40:bframes=16:b-adapt=0"),
    "h264-no-b.ts": x264("keyint=17:bframes=0"),
    "h264-intra.mp4": x264("keyint=1"),
    "h264-open.mp4": x264("open-gop=1:keyint=10"),
    "h264-open.mkv": x264("open-gop=1:keyint=10"),
    "h264-open.ts": x264("open-gop=1:keyint=10"),
    "h264-refresh.ts": x264("intra-refresh=1:keyint=20"),
    "h264-slices.mp4": x264("slices=4:keyint=30"),
    "h264-slices.ts": x264("slices=4:keyint=30:aud=1"),
    "h264-interlaced.mp4": x264("interlaced=1:keyint=30"),
    "h264-interlaced.ts": x264("tff=1:keyint=30"),
    "h264-pulldown.mkv": x264("fake-interlaced=1:keyint=30"),
    "h264-ten-bit.mp4": x264("keyint=30", pix_fmt="yuv420p10le"),
    "h264-full-colour.mp4": x264("keyint=30", pix_fmt="yuv444p"),
    "h264-uneven.mkv": x264("keyint=20", pts=UNEVEN, time_base=Fraction(1, 1000)),
    "h264-uneven.ts": x264("keyint=20", pts=UNEVEN, time_base=Fraction(1, 1000)),
    "h264-late.mp4": x264("keyint=12", pts=range(1000, 1000 + FRAMES)),
    "h264-edited.mp4": x264(
        "keyint=12", pts=range(-17, FRAMES - 17), container_options={"avoid_negative_ts": "disabled"}
    ),
    "h264-negative.mp4": x264("keyint=12", container_options={"movflags": "negative_cts_offsets"}),
    "h264-fragments.mp4": x264("keyint=12", container_options={"movflags": "frag_keyframe+empty_moov"}),
    "hevc.mp4": x265("keyint=30"),
    "hevc.mkv": x265("keyint=30:bframes=4:b-pyramid=0"),
    "hevc.ts": x265("keyint=30:slices=2"),
    "hevc-closed.mp4": x265("keyint=15:open-gop=0:bframes=4"),
    "hevc-radl.mp4": x265("keyint=20:open-gop=0:bframes=4:radl=2"),
    "hevc-layers.mp4": x265("keyint=30:temporal-layers=3:bframes=4"),
    "hevc-fields.mkv": x265("keyint=20:interlace=tff"),
    "hevc-ten-bit.mp4": x265("keyint=30", pix_fmt="yuv420p10le"),
    "vp9.webm": VP9,
    "vp9.mp4": VP9,
    "av1.mkv": AV1,
    "av1.mp4": AV1,
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "mjpeg.mkv": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "prores.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le"},
    "ffv1.mkv": {"codec": "ffv1", "options": {"g": "12"}},
}
WHOLE: dict[str, tuple[dict[str, Any], str]] = {
    "h264.avi": ({}, "AVI has no presentation times"),
    "mpeg4.avi": ({"codec": "mpeg4", "options": {"bf": "2"}}, "AVI has no presentation times"),
    "h264.h264": ({}, "there are no presentation times"),
    "hevc.hevc": (x265("keyint=30"), "there are no presentation times"),
    "vp8.webm": ({"codec": "libvpx", "options": {"cpu-used": "8"}}, "not looked into for vp8"),
    "mpeg2.ts": ({"codec": "mpeg2video", "options": {"bf": "2"}}, "not looked into for mpeg2video"),
    "gif.gif": ({"codec": "gif", "pix_fmt": "rgb8", "rate": 20}, "not looked into for gif"),
}


def digest(frame: VideoFrame) -> str:
    """Return a hash of every sample; what pads a line is not one."""
    total = hashlib.md5(usedforsecurity=False)
    size = -(-frame.format.components[0].bits // 8) * (3 if frame.format.name == "gbrp" else 1)
    for plane in frame.planes:
        lines = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        total.update(lines[: plane.height, : plane.width * size].tobytes())
    return total.hexdigest()


@dataclass(frozen=True)
class Seen:
    """A frame, as far as it can be compared."""

    index: int
    pts_ns: int
    pixels: str


def look(frame: Frame) -> Seen:
    assert isinstance(frame.picture, AvPicture)
    return Seen(frame.index, frame.pts_ns, digest(frame.picture._frame))


def play(path: Path, **options: Any) -> tuple[list[Seen], SourceStats]:
    source = opened(PyAVSource(str(path), SourceOptions(**options)))
    seen = [look(frame) for frame in source]
    source.close()
    stats = source.stats
    assert stats.seen == stats.strided + stats.corrupt + stats.delivered
    assert stats.undecoded <= stats.strided
    return seen, stats


def expected(every: list[Seen], rate: float, *, stride: int = 1, fps: float = 0.0) -> list[Seen]:
    sampler = choose(stride, fps, rate)
    return [frame for frame in every if sampler.wants(frame.index, frame.pts_ns)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


def clip(folder: Path, name: str, how: Mapping[str, Any]) -> Path:
    path = folder / name
    return path if path.exists() else write_clip(path, indexed_frames(FRAMES, 96, 64), **how)


def check(path: Path) -> list[SourceStats]:
    """Compare every sampling with decoding everything, first with a plain loop over PyAV; return the statistics."""
    every, _ = play(path)
    with av.open(str(path)) as container:
        assert [frame.pixels for frame in every] == [digest(frame) for frame in container.decode(video=0)]
        rate = float(container.streams.video[0].average_rate or 0)
    found = []
    for sampling in SAMPLINGS:
        seen, stats = play(path, **sampling)
        assert seen == expected(every, rate, **sampling), sampling
        assert (stats.seen, stats.corrupt, stats.pts_repaired <= len(seen)) == (len(every), 0, True)
        found.append(stats)
    return found


@pytest.mark.parametrize("name", SPARED)
def test_leaves_out_packets_and_stays_exact(folder: Path, name: str) -> None:
    found = check(clip(folder, name, SPARED[name]))
    assert all(
        stats.decoding in ("what wanted frames need", "all packets: wanted frames need them all") for stats in found
    )
    assert max(stats.undecoded for stats in found) > 0


@pytest.mark.parametrize("name", WHOLE)
def test_decodes_everything_where_it_must_and_says_why(folder: Path, name: str) -> None:
    how, why = WHOLE[name]
    for stats in check(clip(folder, name, how)):
        assert stats.undecoded == 0
        assert stats.decoding.startswith("all packets: ")
        assert stats.decoding.endswith(why)


def test_with_no_sampling_everything_is_wanted(folder: Path) -> None:
    _, stats = play(clip(folder, "h264.mp4", {}))
    assert stats.decoding == "all packets: every frame is wanted"


@pytest.mark.parametrize("threads", [1, 5])
def test_any_number_of_threads(folder: Path, threads: int) -> None:
    path = clip(folder, "h264-gops.mov", SPARED["h264-gops.mov"])
    every, _ = play(path)
    seen, stats = play(path, stride=5, threads=threads)
    assert seen == every[::5]
    assert stats.undecoded > 0


@pytest.mark.parametrize("name", ["again.mkv", "book.mkv", "car-detection.mp4", "one-by-one-person-detection.mp4"])
def test_real_clips(shared_data: Path, name: str) -> None:
    every, _ = play(shared_data / "video" / name)
    for stride in (3, 10):
        seen, stats = play(shared_data / "video" / name, stride=stride)
        assert seen == every[::stride]
        assert stats.undecoded > 0


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keyint=st.integers(1, 30),
    bframes=st.integers(0, 6),
    pyramid=st.sampled_from(["none", "strict", "normal"]),
    flags=st.sets(st.sampled_from(["open-gop=1", "interlaced=1", "b-adapt=0", "slices=2", "aud=1", "ref=6"])),
    container=st.sampled_from(["mp4", "mkv", "ts"]),
    stride=st.integers(2, 12),
    start=st.integers(-9, 9),
)
def test_whatever_x264_makes(
    tmp_path: Path,
    keyint: int,
    bframes: int,
    pyramid: str,
    flags: set[str],
    container: str,
    stride: int,
    start: int,
) -> None:
    parameters = ":".join([f"keyint={keyint}:bframes={bframes}:b-pyramid={pyramid}", *sorted(flags)])
    options = {"preset": "ultrafast", "x264-params": parameters}
    edits = {"avoid_negative_ts": "disabled"} if container == "mp4" else {}
    path = write_clip(
        tmp_path / f"clip.{container}",
        indexed_frames(33, 64, 48),
        options=options,
        pts=range(start, start + 33),
        container_options=edits,
    )
    every, _ = play(path)
    seen, stats = play(path, stride=stride)
    assert seen == every[::stride]
    assert stats.seen == len(every)


# Streams whose order or pieces are not what they should be.


@pytest.mark.parametrize("name", ["h264-gops.ts", "h264-open.ts", "hevc-closed.ts"])
def test_a_recording_that_begins_in_the_middle(tmp_path: Path, folder: Path, name: str) -> None:
    how = {"h264-gops.ts": x264("keyint=12"), "hevc-closed.ts": x265("keyint=15:open-gop=0")}.get(name)
    data = clip(folder, name, how or SPARED[name]).read_bytes()
    path = tmp_path / name
    path.write_bytes(data[len(data) // 3 :])
    every, whole = play(path)
    seen, stats = play(path, stride=5)
    assert seen == every[::5]
    assert (stats.seen, stats.corrupt) == (whole.seen, whole.corrupt)
    if name == "h264-open.ts":
        assert stats.decoding == "all packets: it begins in the middle of a group of pictures"
    else:
        assert stats.undecoded > 0


@pytest.mark.parametrize("sizes", [((96, 64), (96, 64)), ((96, 64), (64, 48))])
def test_a_clock_that_starts_anew(tmp_path: Path, sizes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    """Two recordings in one file: a stretch is decoded whole, and then packets are left out again."""
    parts = [
        write_clip(tmp_path / f"{n}.ts", indexed_frames(FRAMES, *size), **x264("keyint=12")).read_bytes()
        for n, size in enumerate(sizes)
    ]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(parts))
    every, _ = play(path)
    seen, stats = play(path, stride=5)
    assert len(every) == 2 * FRAMES
    assert [frame.index for frame in seen] == [frame.index for frame in every[::5]]
    assert seen == every[::5]
    assert stats.undecoded > 0


def test_timestamps_that_repeat(tmp_path: Path) -> None:
    """A muxer that gives up on a stretch of them."""
    pts = [*range(20), *[20] * 5, *range(25, FRAMES)]
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, width=64, height=48, pix_fmt="yuv420p", options={"bf": "0"})
        stream.codec_context.thread_count = 1
        packets: list[Packet[Any]] = []
        for n in range(FRAMES):
            frame = VideoFrame.from_ndarray(draw_index(n, 64, 48), format="rgb24")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            packets += stream.encode(frame)
        for packet, stamp in zip([*packets, *stream.encode(None)], pts, strict=True):
            packet.pts = packet.dts = stamp
            container.mux(packet)
    every, whole = play(path)
    seen, stats = play(path, stride=4)
    assert whole.pts_repaired > 0
    assert seen == every[::4]
    assert stats.decoding.endswith("decode times do not increase")


def test_gives_up_where_keyframes_are_too_far_apart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clip(folder, "h264-endless.mkv", x264("keyint=1000"))
    every, _ = play(path)
    monkeypatch.setattr(_selecting, "_MAX_KEPT_BYTES", path.stat().st_size // 2)
    seen, stats = play(path, stride=5)
    assert seen == every[::5]
    assert stats.undecoded > 0
    assert stats.decoding.endswith("on: keyframes are too far apart")


# Damage. Concealed pictures depend on how many threads there are and when each is run, so what is compared is which
# frames come, when, and what those say that can be read. Of a picture that is lost where a stride leaves it out nobody
# knows (ADR 0007): so it is with noise at one start in eighty, and at none of these, since clips never change.


def said(path: Path, stride: int) -> tuple[list[tuple[int, int, int | None]], SourceStats]:
    source = opened(PyAVSource(str(path), SourceOptions(stride=stride, threads=1)))
    frames = []
    for frame in source:
        try:
            number: int | None = read_index(frame.scaled(96, 64))
        except ValueError:
            number = None
        frames.append((frame.index, frame.pts_ns, number))
    source.close()
    return frames, source.stats


DAMAGE: dict[str, Callable[[Path], Path]] = {
    "hole": partial(scramble, start=0.45, stop=0.5),
    "scattered": partial(scramble, start=0.3, stop=0.9, every=501),
    "once": partial(scramble, start=0.6, stop=0.603),
    "cut": partial(truncate, share=0.6),
}


def damaged(folder: Path, tmp_path: Path, name: str, damage: str) -> Path:
    how = x265("keyint=10") if "hevc" in name else x264("keyint=10" + (":open-gop=1" if "open" in name else ""))
    index_first = {"container_options": {"movflags": "faststart"}} if name.endswith("mp4") else {}
    path = tmp_path / name
    path.write_bytes(clip(folder, f"damage-{name}", {**how, **index_first}).read_bytes())
    return DAMAGE[damage](path)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "h264.ts", "h264-open.ts"])
def test_damage_costs_the_same_frames_at_every_stride(folder: Path, tmp_path: Path, name: str, damage: str) -> None:
    path = damaged(folder, tmp_path, name, damage)
    every, whole = said(path, 1)
    for stride in (3, 5):
        frames, stats = said(path, stride)
        assert [frame[:2] for frame in frames] == [frame[:2] for frame in every[::stride]]
        assert all(a[2] == b[2] or None in (a[2], b[2]) for a, b in zip(frames, every[::stride], strict=True))
        assert (stats.seen, stats.corrupt) == (whole.seen, whole.corrupt)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["hevc.mkv", "hevc.ts"])
def test_damage_to_what_is_left_out_goes_unseen(folder: Path, tmp_path: Path, name: str, damage: str) -> None:
    """HEVC drops a damaged picture, and numbers move up; nobody can know that of one that was never decoded."""
    path = damaged(folder, tmp_path, name, damage)
    every, whole = said(path, 1)
    for stride in (3, 5):
        frames, stats = said(path, stride)
        first = next((n for n, frame in enumerate(every) if frame[2] != n), len(every))
        assert frames[: -(-first // stride)] == every[:first:stride]
        assert abs(len(frames) - len(every) / stride) <= 2
        assert stats.corrupt <= whole.corrupt


class Broken(Decoder):
    """A decoder that fails, lies or stays silent at one packet."""

    fault = ""

    def send(self, packet: Packet[Any] | None) -> list[VideoFrame]:
        frames = super().send(packet)
        self.sent = getattr(self, "sent", 0) + 1
        if self.sent != 12 or not frames:
            return frames
        if self.fault == "error":
            raise av.InvalidDataError(1, "invalid")
        return frames[1:] if self.fault == "silent" else [frames[0], *frames]


@pytest.mark.parametrize("fault", ["error", "silent", "twice"])
def test_goes_back_when_the_decoder_surprises(folder: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """What is not given yet is decoded again from the last keyframe, once, and in full."""
    path = clip(folder, "h264-gops.mov", SPARED["h264-gops.mov"])
    every, _ = play(path)
    monkeypatch.setattr("streamtrack.sources.pyav.Decoder", Broken)
    monkeypatch.setattr(Broken, "fault", fault)
    seen, stats = play(path, stride=3, threads=1)
    assert seen == every[::3]
    assert (stats.seen, stats.corrupt) == (FRAMES, 0)
    assert 0 < stats.undecoded < FRAMES // 2
    assert ": the " in stats.decoding


def test_a_consumer_may_leave_in_the_middle(folder: Path) -> None:
    source = opened(PyAVSource(str(clip(folder, "h264.mp4", {})), SourceOptions(stride=5)))
    frames: Iterator[Frame] = iter(source)
    assert [next(frames).index for _ in range(3)] == [0, 5, 10]
    stats = source.stats
    source.close()
    assert next(frames, None) is None
    assert stats.seen == stats.strided + stats.delivered == 11
