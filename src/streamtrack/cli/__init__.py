"""The command line, one module per command. Heavy imports happen inside the command that needs them."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Any

from streamtrack.cli._secrets import conceal
from streamtrack.errors import EXIT_INTERRUPTED, InternalError, StreamtrackError, redact

COMMANDS = (
    *("run", "retrack", "explain", "inspect", "eval", "demo"),
    *("models", "config", "plugins", "doctor", "engines", "bench"),
)


class _Version(argparse.Action):
    """Looks the version up only when it is asked for: the look-up costs more than all the rest of ``--help``."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"streamtrack {version('streamtrack')}")
        parser.exit()


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="streamtrack",
        description="Turn moving pictures into tracks, as they arrive.",
        epilog="exit codes: 0 done, 2 wrong setting, 3 plug-in, 4 source, 5 model or runtime, 6 output, "
        "70 internal error, 130 interrupted",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f"streamtrack.cli.{name}").add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code. Every error is one sentence on standard error, without a traceback."""
    if argv is not None:
        return _run(argv)
    code = _run(conceal(sys.argv[1:]))
    _leave_behind(code)
    return code


def _run(arguments: Sequence[str]) -> int:
    # --debug is understood before and after the command.
    debug = "--debug" in arguments
    args = make_parser().parse_args([argument for argument in arguments if argument != "--debug"])
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        if debug:
            _show_traceback()
        return EXIT_INTERRUPTED
    except StreamtrackError as error:
        if debug:
            _show_traceback()
            return error.exit_code
        print(f"streamtrack: error: {redact(str(error))}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has gone; there is nobody left to tell.
        return EXIT_INTERRUPTED
    except Exception as error:
        if debug:
            _show_traceback()
            return InternalError.exit_code
        text = redact(f"{type(error).__name__}: {error}")
        print(f"streamtrack: internal error: {text}. Please report it with the output of --debug.", file=sys.stderr)
        return InternalError.exit_code


def _leave_behind(code: int) -> None:
    """End the process now where a thread still waits for a network that does not answer.

    All is written by then. The interpreter would take itself apart under FFmpeg, which asks it all the time whether to
    go on waiting, and that ends in a crash.
    """
    if any(thread.daemon and thread.name.startswith("streamtrack-") for thread in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def _show_traceback() -> None:
    print(redact(traceback.format_exc()), end="", file=sys.stderr)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
