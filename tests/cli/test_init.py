"""The command line as a whole: light, helpful, and every kind of error with its exit code."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from streamtrack import cli
from streamtrack.errors import ConfigError, InternalError, PluginError, SinkError, SourceError


def fake(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(args: argparse.Namespace) -> int:
        raise error

    parser = argparse.ArgumentParser()
    parser.set_defaults(run=fail)
    monkeypatch.setattr(cli, "make_parser", lambda: parser)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 2),
        (PluginError("x"), 3),
        (SourceError("x"), 4),
        (SinkError("x"), 6),
        (InternalError("x"), 70),
        (ZeroDivisionError("x"), 70),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_error_has_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    fake(monkeypatch, error)
    assert cli.main([]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err


def test_a_password_in_an_error_is_not_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(monkeypatch, SourceError("cannot open rtsp://me:hunter2@camera/live"))
    cli.main([])
    assert "hunter2" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [SourceError("cannot open rtsp://me:hunter2@camera"), ValueError("rtsp://me:hunter2@x")]
)
def test_debug_shows_the_traceback_and_nothing_else_changes(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(monkeypatch, error)
    code = cli.main([])
    capsys.readouterr()
    assert cli.main(["--debug"]) == code
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "hunter2" not in said


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0
    assert all(f"    {name} " in text for name in cli.COMMANDS)
    assert "exit codes" in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out.startswith("streamtrack 0.")


def test_no_command_is_an_error_that_helps(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([])
    assert caught.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_plugins_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plugins"]) == 0
    assert "jsonl" in capsys.readouterr().out
    assert cli.main(["plugins", "--json"]) == 0
    assert '"name":"jsonl"' in capsys.readouterr().out


def test_python_m_streamtrack_is_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "streamtrack", "--version"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout[:12]) == (0, "streamtrack ")
