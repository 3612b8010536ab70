"""A few seconds of a real stream, and what is counted of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from streamtrack.doctor import observing
from streamtrack.doctor.observing import Look, Observations, level_name
from streamtrack.doctor.report import SourceReport, summarise
from streamtrack.errors import DecodeError, SourceError, SourceOpenError
from streamtrack.sources._container import Input, open_input
from streamtrack.testing.clips import indexed_frames, scramble, truncate, write_audio, write_clip
from streamtrack.testing.results import make_frame
from streamtrack.types import Frame, SourceInfo, SourceStats

PLAIN = {"g": "10", "bf": "0", "sc_threshold": "0"}


def look_at(path: Path, seconds: float = 20.0) -> SourceReport:
    return summarise(str(path), "pyav", Look(str(path)).at_packets(lambda: open_input(str(path)), seconds))


def test_a_plain_clip(tmp_path: Path) -> None:
    found = look_at(write_clip(tmp_path / "a.mp4", indexed_frames(40), options=PLAIN))
    assert (found.frames_seen, found.decoded_frames, found.ended) == (40, 40, True)
    assert (found.steps.fps, found.declared_fps) == (pytest.approx(25), 25.0)
    assert found.gop is not None
    assert (found.gop.keyframes, found.gop.shortest, found.gop.longest) == (4, 10, 10)
    assert (found.reordering_depth, found.b_frame_share, found.arrivals) == (0, 0.0, None)
    assert found.pictures is not None
    assert (found.pictures.codec, found.pictures.width, found.pictures.height) == ("h264", 160, 96)
    assert found.pictures.level
    assert found.bitrate == pytest.approx(8 * (tmp_path / "a.mp4").stat().st_size / 1.6, rel=0.2)
    assert found.lost_frames == found.decode_errors == found.corrupt_packets == 0
    assert found.open_s is not None
    assert found.first_frame_s is not None
    assert 0 < found.open_s <= found.first_frame_s <= found.looked_s


def test_b_frames_and_what_nothing_refers_to(tmp_path: Path) -> None:
    options = {"x264-params": "bframes=3:b-adapt=0:b-pyramid=2:keyint=48:scenecut=0"}
    found = look_at(write_clip(tmp_path / "a.mp4", indexed_frames(48), options=options))
    assert found.reordering_depth == 2
    assert found.b_frame_share == pytest.approx(0.75, abs=0.1)
    assert found.disposable_share == pytest.approx(0.5, abs=0.1)
    assert found.steps.backward == 0


def test_a_variable_rate_and_a_leap(tmp_path: Path) -> None:
    uneven = [0, 40, 100, 120, 190, 230, 250, 320, 330, 400]
    clip = write_clip(tmp_path / "a.mkv", indexed_frames(10), pts=uneven, time_base=Fraction(1, 1000))
    assert look_at(clip).steps.variable
    leaping = [40 * n + (60_000 if n > 10 else 0) for n in range(20)]
    found = look_at(write_clip(tmp_path / "b.mkv", indexed_frames(20), pts=leaping, time_base=Fraction(1, 1000)))
    assert (found.steps.forward, found.steps.fps) == (1, pytest.approx(25))


def test_a_turned_clip_has_its_displayed_size(tmp_path: Path) -> None:
    found = look_at(write_clip(tmp_path / "a.mp4", indexed_frames(3), rotation=90)).pictures
    assert found is not None
    assert (found.width, found.height, abs(found.rotation)) == (96, 160, 90)


def test_damage_is_counted(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.ts", indexed_frames(60), options=PLAIN)
    found = look_at(scramble(clip, 0.4, 0.6))
    assert found.lost_frames + found.decode_errors + found.damaged_frames + found.corrupt_packets > 0
    assert found.decoded_frames > 20


def test_pictures_that_a_feed_s_decoder_swallows_are_lost(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", indexed_frames(40), options=PLAIN)
    feed = Look("Feed").at_packets(lambda: open_input(str(clip))._replace(live=True), 20.0)
    assert summarise("rtsp://a", "live", feed).lost_frames == 0
    feed.decoded -= 7
    assert summarise("rtsp://a", "live", feed).lost_frames == 7
    feed.drained = False
    assert summarise("rtsp://a", "live", feed).lost_frames == 6


def test_a_truncated_file_says_so(tmp_path: Path) -> None:
    clip = write_clip(
        tmp_path / "a.mp4", indexed_frames(40), options=PLAIN, container_options={"movflags": "faststart"}
    )
    assert look_at(truncate(clip, 0.6)).cut_short


def test_a_bad_file_is_the_error_of_a_run(tmp_path: Path) -> None:
    with pytest.raises(SourceOpenError, match="There is no file"):
        look_at(tmp_path / "absent.mp4")
    with pytest.raises(SourceOpenError, match="no video in it"):
        look_at(write_audio(tmp_path / "a.m4a"))


def test_decoding_stops_when_its_time_is_spent_and_packets_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observing, "_DECODING_SHARE", 0.0)
    found = look_at(write_clip(tmp_path / "a.mp4", indexed_frames(40), options=PLAIN))
    assert found.frames_seen == 40
    assert 1 <= found.decoded_frames < 10
    assert found.lost_frames == 0


def test_an_opener_that_never_returns_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observing, "OPEN_PATIENCE_S", 0.2)
    silence = threading.Event()

    def wait() -> Input:
        silence.wait(30)
        raise SourceOpenError("too late")

    began_s = time.monotonic()
    with pytest.raises(SourceOpenError, match=r"The feed cannot be opened: no answer within 0\.2 s"):
        Look("The feed", silence.set).at_packets(wait, 1.0)
    assert time.monotonic() - began_s < 20


class Plugin:
    """A source of frames, ``count`` of them; then silence until interrupted, or an error."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.stats = SourceStats()
        self.closed = False
        self._count, self._error, self._silence = count, error, threading.Event()

    def open(self) -> SourceInfo:
        return SourceInfo("toy:", 64, 48, 10.0, None, None, live=True, codec="toy")

    def __iter__(self) -> Iterator[Frame]:
        for n in range(self._count):
            frame = make_frame(n)
            yield Frame(n, n * 100_000_000, 64, 48, frame.picture)
        if self._error:
            raise self._error
        self._silence.wait(30)

    def interrupt(self) -> None:
        self._silence.set()

    def close(self) -> None:
        self.closed = True


def watch(source: Plugin) -> Observations:
    return Look("Toy", source.interrupt).at_frames(source, 0.3)


def test_other_sources_are_watched_frame_by_frame_and_closed() -> None:
    source = Plugin(5)
    found = summarise("toy:", "toy", watch(source))
    assert source.closed
    assert (found.live, found.container, found.frames_seen) == (True, "", 5)
    assert (found.steps.fps, found.declared_fps) == (pytest.approx(10), 10.0)
    assert (found.gop, found.bitrate, found.reordering_depth) == (None, None, None)


def test_a_source_that_opens_and_stays_silent_is_an_error() -> None:
    with pytest.raises(SourceError, match=r"Toy opened, and then sent no picture within 0\.3 s"):
        watch(Plugin(0))


def test_an_error_ends_the_look_and_is_told() -> None:
    found = summarise("toy:", "toy", watch(Plugin(3, DecodeError("gone with rtsp://me:hunter2@camera"))))
    assert found.frames_seen == 3
    assert found.broke_off == "gone with rtsp://***@camera"
    with pytest.raises(DecodeError):
        watch(Plugin(0, DecodeError("gone")))
    with pytest.raises(ZeroDivisionError):
        watch(Plugin(3, ZeroDivisionError()))


@pytest.mark.parametrize(
    ("codec", "level", "name"),
    [
        ("h264", 41, "4.1"),
        ("h264", 9, "1b"),
        ("hevc", 123, "4.1"),
        ("av1", 0, "2.0"),
        ("av1", 9, "4.1"),
        ("vp9", 41, ""),
        ("h264", -99, ""),
        ("h264", None, ""),
    ],
)
def test_levels_as_people_write_them(codec: str, level: int | None, name: str) -> None:
    assert level_name(codec, level) == name
