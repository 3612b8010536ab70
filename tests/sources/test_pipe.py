from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from streamtrack.api import SourceOptions
from streamtrack.errors import ConfigError, SourceError, SourceOpenError
from streamtrack.sources._pipe import StandardInput
from streamtrack.sources.pyav import PyAVSource
from streamtrack.testing.clips import indexed_frames, write_clip
from streamtrack.testing.sources import opened

FRAMES = 40


def clip(path: Path, **how: object) -> Path:
    return write_clip(path, indexed_frames(FRAMES), **how)  # type: ignore[arg-type]


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], io.BufferedWriter]:
    """Make standard input a pipe; ``feed(data)`` writes to it and returns the end to go on with or to close."""
    reading, writing = os.pipe()
    stdin = io.TextIOWrapper(os.fdopen(reading, "rb"))
    monkeypatch.setattr(sys, "stdin", stdin)
    end = os.fdopen(writing, "wb")
    writers: list[threading.Thread] = []

    def start(data: bytes, *, close: bool = True) -> io.BufferedWriter:
        def write() -> None:
            end.write(data)
            end.flush()
            if close:
                end.close()

        writers.append(threading.Thread(target=write))
        writers[-1].start()
        return end

    yield start  # type: ignore[misc]
    for writer in writers:
        writer.join()
    end.close()
    stdin.close()


@pytest.mark.parametrize("name", ["clip.mkv", "clip.ts", "clip.avi", "clip.mp4"])
def test_reads_a_pipe(tmp_path: Path, feed: Callable[[bytes], object], name: str) -> None:
    how = {"codec": "mpeg4"} if name == "clip.avi" else {"container_options": {"movflags": "faststart"}}
    feed(clip(tmp_path / name, **(how if name in ("clip.avi", "clip.mp4") else {})).read_bytes())
    source = opened(PyAVSource("-", SourceOptions(stride=3)))
    assert [frame.index for frame in source] == list(range(0, FRAMES, 3))
    assert source.info.uri == "standard input"
    source.close()


def test_an_mp4_with_its_index_at_the_end_cannot_be_piped(tmp_path: Path, feed: Callable[[bytes], object]) -> None:
    feed(clip(tmp_path / "clip.mp4").read_bytes())
    with pytest.raises(SourceOpenError, match=r"index at the end.*faststart"):
        opened(PyAVSource("-", SourceOptions()))


def test_a_redirected_file_can_be_sought_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with clip(tmp_path / "clip.mp4").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        source = opened(PyAVSource("-", SourceOptions()))
        assert source.info.frames_estimate == FRAMES
        assert len(list(source)) == FRAMES
        source.close()


def test_standard_input_without_a_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(clip(tmp_path / "clip.mkv").read_bytes())))
    source = opened(PyAVSource("-", SourceOptions()))
    assert len(list(source)) == FRAMES
    source.close()


@pytest.mark.parametrize(("data", "message"), [(b"", "is empty"), (b"no video " * 99, "is not a video")])
def test_a_pipe_without_a_video(feed: Callable[[bytes], object], data: bytes, message: str) -> None:
    feed(data)
    with pytest.raises(SourceOpenError, match=f"Standard input {message}"):
        opened(PyAVSource("-", SourceOptions()))


def test_closed_or_typed_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SourceOpenError, match="is closed"):
        StandardInput().open()
    master, slave = os.openpty()
    with os.fdopen(slave, "r") as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        with pytest.raises(SourceOpenError, match="is a terminal"):
            StandardInput().open()
    os.close(master)


def test_a_silent_pipe_can_be_interrupted(tmp_path: Path, feed: Callable[..., io.BufferedWriter]) -> None:
    """The producer holds the pipe open and says no more: somebody else ends the wait."""
    data = clip(tmp_path / "clip.ts").read_bytes()
    end = feed(data, close=False)
    source = opened(PyAVSource("-", SourceOptions()))
    frames = iter(source)
    seen = [next(frames).index for _ in range(20)]
    threading.Timer(0.3, source.interrupt).start()
    seen += [frame.index for frame in frames]
    assert seen == list(range(len(seen)))
    assert len(seen) <= FRAMES
    assert not end.closed
    source.close()


def test_a_pipe_that_never_says_anything_is_given_up(feed: Callable[..., io.BufferedWriter]) -> None:
    feed(b"", close=False)
    with pytest.raises(SourceOpenError, match=r"nothing for 0\.3 s: look at what feeds the pipe"):
        opened(PyAVSource("-", SourceOptions(), timeout_s=0.3))


def test_a_pipe_that_falls_silent_is_an_error_after_its_frames(
    tmp_path: Path, feed: Callable[..., io.BufferedWriter]
) -> None:
    feed(clip(tmp_path / "clip.ts").read_bytes(), close=False)
    source = opened(PyAVSource("-", SourceOptions(), timeout_s=0.3))
    seen: list[int] = []
    with pytest.raises(SourceError, match="Standard input sent nothing"):
        seen.extend(frame.index for frame in source)
    assert seen == list(range(FRAMES))
    source.close()


@pytest.mark.parametrize("timeout_s", [-1.0, float("nan"), float("inf")])
def test_a_patience_that_cannot_be(timeout_s: float) -> None:
    with pytest.raises(ConfigError, match="timeout_s must be 0"):
        PyAVSource("-", SourceOptions(), timeout_s=timeout_s)


def test_interrupting_anything_else_does_nothing(tmp_path: Path) -> None:
    source = opened(PyAVSource(str(clip(tmp_path / "clip.mkv")), SourceOptions()))
    source.interrupt()
    assert len(list(source)) == FRAMES
    source.close()
    source.interrupt()


def test_a_program_that_ends_does_not_wait_for_a_silent_pipe() -> None:
    script = """if True:
        import sys, threading
        from streamtrack.sources._pipe import StandardInput
        pipe = StandardInput()
        pipe.open()
        threading.Thread(target=lambda: pipe.read(10)).start()
    """
    program = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)
    assert program.wait(60) == 0
    program.stdin.close()  # type: ignore[union-attr]
