"""From how a source is written to the command for it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamtrack.doctor import feed, observing
from streamtrack.doctor.advice import Named
from streamtrack.doctor.consultation import consult
from streamtrack.errors import ConfigError, SourceOpenError
from streamtrack.sources._avfeed import target
from streamtrack.testing.clips import draw_index, indexed_frames, write_clip

PATIENT_S = 20


@pytest.fixture(autouse=True)
def _no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMTRACK_MODEL_DIR", str(tmp_path / "models"))


@pytest.fixture
def mute() -> Iterator[int]:
    """A port that takes connections and says nothing, until the test is over."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        for connection in taken:
            connection.close()


def test_a_file(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a clip.mp4", indexed_frames(30))
    found = consult(Named(str(clip)), seconds=PATIENT_S, given={})
    assert (found.report.plugin, found.report.frames_seen) == ("pyav", 30)
    assert [finding.name for finding in found.findings] == ["healthy"]
    assert found.inference.note.startswith("no model is in the cache")
    assert found.advice.command.startswith(f"streamtrack run '{clip}' --profile ")
    assert not (tmp_path / "models").exists()


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "shots").mkdir()
    for n in range(4):
        Image.fromarray(draw_index(n)).save(tmp_path / "shots" / f"{n}.png")
    found = consult(Named(str(tmp_path / "shots")), seconds=PATIENT_S, given={}).report
    assert (found.plugin, found.frames_seen, found.ended) == ("images", 4, True)


def test_a_mute_server_holds_nobody_up(mute: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observing, "OPEN_PATIENCE_S", 0.5)
    began_s = time.monotonic()
    with pytest.raises(SourceOpenError, match=r"\*\*\*@127.*no answer within 0\.5 s") as caught:
        consult(Named(f"rtsp://me:hunter2@127.0.0.1:{mute}/live"), seconds=PATIENT_S, given={})
    assert time.monotonic() - began_s < PATIENT_S
    assert "hunter2" not in str(caught.value)


def test_a_refused_connection_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(SourceOpenError, match="nothing listens there") as caught:
        consult(Named(f"rtsp://me:hunter2@127.0.0.1:{port}/live"), seconds=PATIENT_S, given={})
    assert "hunter2" not in repr(caught.value.__cause__)


def test_an_option_that_cannot_be_is_refused_before_anything_is_opened() -> None:
    with pytest.raises(ConfigError, match="transport"):
        consult(Named("rtsp://127.0.0.1:1/live?transport=pigeon"), seconds=1, given={})
    with pytest.raises(ConfigError, match="transport"):
        consult(Named("rtsp://127.0.0.1:1/live"), seconds=1, given={"transport": "pigeon"})


def test_why_a_feed_cannot_be_opened() -> None:
    import av

    with pytest.raises(SourceOpenError, match=r"knows no nosuch; try GStreamer"):
        feed.open_feed("nosuch://127.0.0.1:0", {})
    with pytest.raises(SourceOpenError, match=r"/dev/video77 cannot be opened: .*; check that it is plugged in"):
        feed.open_feed("/dev/video77", {})
    asked = target("rtsp://a/b", transport="tcp", camera_size="", camera_fps=0.0)
    silent = av.InvalidDataError(1, "invalid")
    assert feed._why(asked, silent, waited_s=5.1).startswith("no answer within 5 s")
    assert feed._why(asked, silent, waited_s=0.1).startswith("what it sends is not a video")
