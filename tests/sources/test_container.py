"""Each thing that can be wrong with a source gives one sentence that says what to do."""

from __future__ import annotations

import http.server
import os
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import pytest

from streamtrack.api import SourceOptions
from streamtrack.errors import ConfigError, DecodeError, SourceError, SourceOpenError
from streamtrack.sources._container import measure, open_input, pick_video
from streamtrack.sources.pyav import PyAVSource
from streamtrack.testing.clips import indexed_frames, scramble, truncate, write_audio, write_clip
from streamtrack.testing.sources import opened


def clip(path: Path, frames: int = 12, **how: object) -> Path:
    return write_clip(path, indexed_frames(frames), **how)  # type: ignore[arg-type]


def complaint(uri: object) -> str:
    """Return the one sentence that opening ``uri`` gives."""
    with pytest.raises(SourceError) as caught:
        opened(PyAVSource(str(uri), SourceOptions())).close()
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith((".", "?"))
    assert caught.value.exit_code == 4
    return message


def test_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    clip(tmp_path / "holiday.mp4")
    assert complaint(tmp_path / "holyday.mp4").endswith("Did you mean 'holiday.mp4'?")
    assert complaint(tmp_path / "zzz").endswith("Check the path.")


def test_missing_folder_is_named(tmp_path: Path) -> None:
    assert f"no folder '{tmp_path / 'nowhere'}'" in complaint(tmp_path / "nowhere" / "clip.mp4")


def test_folder(tmp_path: Path) -> None:
    assert complaint(tmp_path) == f"'{tmp_path}' is a folder: name one video in it."
    clip(tmp_path / "a.mp4")
    assert f"such as '{tmp_path / 'a.mp4'}'" in complaint(tmp_path)


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    assert "is empty" in complaint(tmp_path / "empty.mp4")


def test_garbage(tmp_path: Path) -> None:
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 40)
    assert "is not a video that FFmpeg can read" in complaint(tmp_path / "noise.mp4")


def test_text_is_not_a_video_though_ffmpeg_would_draw_it(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello\n" * 200)
    assert "is text" in complaint(tmp_path / "notes.txt")


def test_mp4_cut_off_before_its_index(tmp_path: Path) -> None:
    assert "without its index (moov)" in complaint(truncate(clip(tmp_path / "cut.mp4"), 0.5))


def test_sound_alone(tmp_path: Path) -> None:
    assert "has no video in it, only audio" in complaint(write_audio(tmp_path / "song.m4a"))


def test_unknown_codec(tmp_path: Path) -> None:
    path = clip(tmp_path / "odd.mkv")
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ"))
    assert "a format that this FFmpeg cannot decode" in complaint(path)


def test_no_frame_that_can_be_decoded(tmp_path: Path) -> None:
    path = tmp_path / "noise.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25, width=64, height=48, pix_fmt="yuvj420p")
        for number in range(5):
            packet = av.Packet(b"no picture" * 20)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 25)
            container.mux(packet)
    assert "holds no frame that can be decoded" in complaint(path)
    with pytest.raises(DecodeError):
        opened(PyAVSource(str(path), SourceOptions()))


def test_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clip(tmp_path / "secret.mp4")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    assert "may not be read" in complaint(path)


def test_options_that_cannot_be(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.mp4")
    for options in (SourceOptions(stride=0), SourceOptions(fps=-1.0), SourceOptions(fps=float("nan"))):
        with pytest.raises(ConfigError, match=r"source\.(stride|fps)"):
            opened(PyAVSource(str(path), options))


@pytest.mark.parametrize("name", ["10:30.mp4", "a b.mp4", "frame%03d.mp4", "höhe.mp4", "-.mp4", "http:.mp4"])
def test_any_name_of_a_file_will_do(tmp_path: Path, name: str) -> None:
    source = opened(PyAVSource(str(clip(tmp_path / name)), SourceOptions()))
    assert len(list(source)) == 12
    source.close()


def test_relative_paths_and_file_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clip(tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    for uri in ("clip.mp4", "./clip.mp4", f"file://{path}"):
        source = opened(PyAVSource(uri, SourceOptions()))
        assert len(list(source)) == 12
        source.close()


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("scheme", ["rtsp", "http", "rtmp", "tcp"])
def test_nobody_there_and_no_password_in_the_traceback(scheme: str, closed_port: int) -> None:
    uri = f"{scheme}://user:hunter2@127.0.0.1:{closed_port}/live?token=hunter2"
    with pytest.raises(SourceOpenError, match=r"\*\*\*@127\.0\.0\.1.* cannot be opened: ") as caught:
        opened(PyAVSource(uri, SourceOptions()))
    shown = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in shown


def test_unknown_scheme() -> None:
    assert "does not know this kind of URL" in complaint("gopher9://example.invalid/clip")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[], str]]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield lambda: f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_http(tmp_path: Path, serve: Callable[[], str]) -> None:
    clip(tmp_path / "clip.mp4")
    (tmp_path / "page.html").write_text("<html>" * 400)
    source = opened(PyAVSource(f"{serve()}/clip.mp4", SourceOptions()))
    assert len(list(source)) == 12
    assert not source.info.live
    source.close()
    assert "nothing under that path" in complaint(f"{serve()}/missing.mp4")
    assert "not a video that FFmpeg can read" in complaint(f"{serve()}/page.html")


@pytest.mark.parametrize(
    ("name", "how", "packets"),
    [
        ("a.mp4", {}, 30),
        ("a.mkv", {}, 0),
        ("a.ts", {}, 0),
        ("a.avi", {"codec": "mpeg4"}, 30),
        ("a.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}, "options": {"g": "10"}}, 30),
    ],
)
def test_extent(tmp_path: Path, name: str, how: dict[str, object], packets: int) -> None:
    source = open_input(str(clip(tmp_path / name, 30, **how)))
    extent = measure(source, pick_video(source))
    source.container.close()
    assert extent.rate == pytest.approx(25)
    assert extent.frames == pytest.approx(30, abs=2)
    assert extent.duration_s == pytest.approx(1.2, abs=0.08)
    assert extent.packets == packets
    assert not extent.cut_short


def test_extent_of_a_file_that_was_cut(tmp_path: Path) -> None:
    path = clip(tmp_path / "cut.mp4", 30, container_options={"movflags": "faststart"})
    source = open_input(str(truncate(path, 0.7)))
    extent = measure(source, pick_video(source))
    source.container.close()
    assert extent.cut_short
    assert extent.packets == 30
    # What is left of it is what a run will be through with.
    assert extent.frames is not None
    assert 10 <= extent.frames <= 25
    assert extent.duration_s == pytest.approx(extent.frames / 25)


def test_extent_of_a_picture(tmp_path: Path) -> None:
    source = opened(PyAVSource(str(clip(tmp_path / "still.png", 1, codec="png", pix_fmt="rgb24")), SourceOptions()))
    assert len(list(source)) == 1
    assert (source.info.frames_estimate, source.info.duration_s) == (None, None)
    source.close()


def test_real_clips_are_read_whole(shared_data: Path) -> None:
    """Frames counted once with FFmpeg's own ``-count_packets``; vtest.avi declares twice its frames and its rate."""
    expected = {
        "again.mkv": (77, 30.0),
        "book.mkv": (109, 30.0),
        "car-detection.mp4": (377, 12.5),
        "face-demographics-walking.gif": (35, 12.0),
        "head-pose-face-detection-male.gif": (62, 12.0),
        "vtest.avi": (341, 25.0),
    }
    for name, (count, rate) in expected.items():
        source = opened(PyAVSource(os.fspath(shared_data / "video" / name), SourceOptions()))
        seen = [(frame.index, frame.ts_s) for frame in source]
        source.close()
        assert [index for index, _ in seen] == list(range(count)), name
        assert source.info.rate == pytest.approx(rate), name
        assert source.stats.corrupt == source.stats.damaged == 0, name
        assert seen[-1][1] == pytest.approx((count - 1) / rate, rel=0.03), name


def test_damage_does_not_raise(tmp_path: Path) -> None:
    """Whatever bytes a container holds, reading it ends: with frames, or with one of the errors above."""
    for number, name in enumerate(["a.mp4", "a.mkv", "a.ts", "a.avi"] * 3):
        path = clip(tmp_path / name, codec="mpeg4" if name == "a.avi" else "libx264")
        scramble(path, 0, 1, every=97 + number, seed=number)
        try:
            source = opened(PyAVSource(str(path), SourceOptions()))
        except SourceError:
            continue
        count = len(list(source))
        source.close()
        stats = source.stats
        assert stats.seen == stats.corrupt + stats.delivered
        assert stats.delivered == count > 0
