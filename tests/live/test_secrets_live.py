"""``streamtrack run`` on a camera with a password, as a process, interrupted in every state that a feed can be in.

Whatever goes wrong, the password is nowhere to be found afterwards, and what was written is complete.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from servers import Clips, MutePort, RtspServer, needs_servers

from streamtrack.errors import EXIT_INTERRUPTED, SourceError
from streamtrack.testing.models import write_square_detector

pytestmark = needs_servers

USER, PASSWORD = "us3rn4me", "s3cr3t/W0rd#9"
# Escaped, redacted by half or cut at a slash, one of these would still be there.
TRACES = (b"us3rn4me", b"s3cr3t", b"W0rd")
PATIENCE_S = 60.0
# Of a feed that says nothing: a Ctrl-C that waited for the network would take longer than anybody waits for it here.
LONG = "timeout_s=600&first_frame_s=600"


class Process:
    """The program, in a folder of its own."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.seen_outside: list[bytes] = []
        command = [sys.executable, "-m", "streamtrack", *arguments]
        env = {**os.environ, **environment}
        self._process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        self._heard = threading.Condition()
        self._reader = threading.Thread(target=self._listen)
        self._reader.start()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._heard:
                self.said.append(line.decode(errors="replace"))
                self._heard.notify_all()
        with self._heard:
            self._heard.notify_all()

    def hear(self, words: str) -> None:
        """Wait until it says ``words``."""
        with self._heard:
            heard = self._heard.wait_for(
                lambda: any(words in line for line in self.said) or self._process.poll() is not None, PATIENCE_S
            )
        assert heard
        assert any(words in line for line in self.said), self.said

    def write(self, lines: int) -> None:
        """Wait until it has written so many records of frames."""
        path = self.folder / "out" / "frames.jsonl"
        deadline = time.monotonic() + PATIENCE_S
        while not path.exists() or path.read_bytes().count(b"\n") < lines:
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)

    def look(self) -> None:
        """Note what any user of the machine can see of it."""
        proc = Path(f"/proc/{self._process.pid}")
        self.seen_outside += [path.read_bytes() for path in (proc / "cmdline", *proc.glob("task/*/comm"))]

    def interrupt(self) -> None:
        """Press Ctrl-C and wait until it has ended."""
        self._process.send_signal(signal.SIGINT)
        self.end()

    def end(self) -> int:
        """Wait until it has ended; return its exit code."""
        try:
            code = self._process.wait(PATIENCE_S)
        finally:
            self._process.kill()
            self._reader.join()
        assert self._process.stdout is not None
        self.printed = self._process.stdout.read()
        self._process.stdout.close()
        assert self._process.stderr is not None
        self._process.stderr.close()
        return code

    @property
    def code(self) -> int | None:
        """Its exit code, once it has ended."""
        return self._process.returncode


@dataclass
class Left:
    """What a process left behind."""

    code: int | None
    said: str
    traces: list[str]
    progress: dict[str, Any] = field(default_factory=dict)
    frames: list[dict[str, Any]] = field(default_factory=list)


def _left(process: Process, carrier: Path) -> Left:
    places = {"stdout": process.printed, "stderr": "".join(process.said).encode()}
    places |= {f"outside {n}": data for n, data in enumerate(process.seen_outside)}
    files = [path for path in process.folder.rglob("*") if path.is_file() and path != carrier]
    places |= {str(path): path.read_bytes() + os.fsencode(path) for path in files}
    found = [f"{trace!r} in {place}" for place, data in places.items() for trace in TRACES if trace in data]
    left = Left(process.code, "".join(process.said), found)
    out = process.folder / "out"
    if (out / "progress.json").exists():
        left.progress = json.loads((out / "progress.json").read_text())
    if (out / "frames.jsonl").exists():
        # Every line is complete, whatever happened.
        left.frames = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    return left


@dataclass(frozen=True)
class Stage:
    """Where a scene is played."""

    clips: Clips
    folder: Path
    model: str

    @contextlib.contextmanager
    def camera(self) -> Iterator[RtspServer]:
        """Show a camera that wants the password."""
        with RtspServer(self.clips, user=USER, password=PASSWORD, digest=True) as server:
            yield server

    def run(self, source: str, *arguments: str, **environment: str) -> Process:
        """Start the program."""
        out = ("--out", "out", "--model", self.model, "--stride", "1", "--no-save-frames", *arguments)
        return Process(self.folder, "run", *([source] if source else []), *out, **environment)


def absent(stage: Stage) -> Process:
    with stage.camera() as server:
        server.kill()
        process = stage.run(server.url)
        process.hear("nothing listens there")
        process.look()
    return process


def mute(stage: Stage) -> Process:
    with MutePort() as port:
        process = stage.run(f"rtsp://{USER}:{PASSWORD}@127.0.0.1:{port.port}/live?{LONG}", "--debug")
        process.hear("source connecting: opening")
        process.look()
        time.sleep(0.5)
        process.interrupt()
    return process


def wrong_password(stage: Stage) -> Process:
    with stage.camera() as server:
        url = server.url.replace(f":{PASSWORD}@", f":{PASSWORD}9@")
        process = stage.run("", "--source-from-env", "CAMERA", CAMERA=url)
        process.hear("refuses these credentials")
        process.look()
    return process


def missing_path(stage: Stage) -> Process:
    with stage.camera() as server:
        (stage.folder / "camera").write_text(server.url_for(USER, PASSWORD, "/nowhere") + "\n")
        process = stage.run("file:camera")
        process.hear("nothing under that path")
        process.look()
    return process


def killed(stage: Stage) -> Process:
    with stage.camera() as server:
        process = stage.run(server.url, "--debug")
        process.write(20)
        process.look()
        server.kill()
        process.hear("source reconnecting")
    return process


def frozen(stage: Stage) -> Process:
    with stage.camera() as server:
        process = stage.run(f"{server.url}?{LONG}")
        process.write(20)
        server.freeze()
        process.hear("source stalled")
        process.look()
        process.interrupt()
    return process


def live(stage: Stage) -> Process:
    with stage.camera() as server:
        process = stage.run(f"{server.url}?transport=udp")
        process.write(20)
        process.look()
        process.interrupt()
    return process


def rehearsed(stage: Stage) -> Process:
    with stage.camera() as server:
        process = stage.run(f"chaos:{server.url}?disconnect@500ms&refuse@500ms=60s")
        process.hear("source reconnecting")
        process.look()
    return process


def given_up(stage: Stage) -> Process:
    with stage.camera() as server:
        server.kill()
        process = stage.run(f"{server.url}?reconnect=false", "--debug")
        process.end()
    return process


SCENES: dict[Callable[[Stage], Process], tuple[str, str]] = {
    absent: ("connecting", "nothing listens there; check host and port; next try in"),
    mute: ("connecting", "opening rtsp://***@127.0.0.1"),
    wrong_password: ("connecting", "refuses these credentials; check them; next try in"),
    missing_path: ("connecting", "nothing under that path; check it; next try in"),
    killed: ("reconnecting", "next try in"),
    frozen: ("stalled", "no frame for 2"),
    live: ("live", "first frame after"),
    rehearsed: ("reconnecting", "next try in"),
    given_up: ("failed", "nothing listens there"),
}
"""Each with the state that progress.json ends with, and part of the reason."""


def _play(scene: Callable[[Stage], Process], stage: Stage) -> Left:
    stage.folder.mkdir()
    process = scene(stage)
    if process.code is None:
        process.interrupt()
    return _left(process, stage.folder / "camera")


@pytest.fixture(scope="module")
def played(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> dict[object, Future[Left]]:
    """What was left behind by each scene; they are played at the same time."""
    folder = tmp_path_factory.mktemp("secrets")
    model = str(write_square_detector(folder / "squares.onnx"))
    with ThreadPoolExecutor(4) as pool:
        return {scene: pool.submit(_play, scene, Stage(clips, folder / scene.__name__, model)) for scene in SCENES}


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_ctrl_c_leaves_everything_but_the_password(played: dict[object, Future[Left]], scene: object) -> None:
    left = played[scene].result()
    state, reason = SCENES[scene]  # type: ignore[index]
    assert left.traces == []
    assert left.code == (SourceError.exit_code if scene is given_up else EXIT_INTERRUPTED), left.said
    assert left.progress["source_state"] == state
    assert reason in left.progress["source_reason"]
    assert left.progress["phase"] == ("failed" if scene is given_up else "interrupted")
    assert ("Traceback" in left.said) == (scene in (mute, killed, given_up))
    if scene in (killed, frozen, live):
        assert len(left.frames) >= 20
        assert all("time_utc" in frame for frame in left.frames)
