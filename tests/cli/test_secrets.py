"""A password on the command line must not stay where every user of the machine can read it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamtrack.cli._secrets import conceal

SECRET = "hunter2"
ASK = """
import sys
from streamtrack.cli._secrets import conceal
print(*conceal(sys.argv[1:]), flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="no /proc: the title cannot be read here")
@pytest.mark.parametrize("url", [f"rtsp://me:{SECRET}@cam/live", f"http://cam/mjpg?token={SECRET}"])
def test_a_password_leaves_the_title_and_reaches_the_program(tmp_path: Path, url: str) -> None:
    script = tmp_path / "ask.py"
    script.write_text(ASK)
    arguments = ["run", url, "--out", "a b"]
    process = subprocess.Popen(
        [sys.executable, str(script), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline().split("\n")[0] == " ".join(arguments)
        title = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert SECRET.encode() not in title
        assert b"***" in title
        assert b"a b" in title
    finally:
        process.communicate("")


def test_arguments_without_a_secret_stay_as_they_are() -> None:
    assert conceal(["run", "rtsp://cam/live", "--fps", "4"]) == ["run", "rtsp://cam/live", "--fps", "4"]


def test_what_was_carried_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMTRACK_ARGUMENTS", '["run", "x"]')
    assert conceal(["run", "***"]) == ["run", "x"]
    assert "STREAMTRACK_ARGUMENTS" not in os.environ


def test_the_whole_command_fails_without_the_password(tmp_path: Path) -> None:
    url = f"rtsp://me:{SECRET}@127.0.0.1:1/live?reconnect=false"
    done = subprocess.run(
        [sys.executable, "-m", "streamtrack", "--debug", "run", url],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert SECRET not in done.stderr + done.stdout
    assert all(SECRET not in str(path) for path in tmp_path.rglob("*"))
