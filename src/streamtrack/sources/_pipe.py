"""Standard input as a file that can be told to end."""

from __future__ import annotations

import contextlib
import io
import math
import os
import select
import stat
import sys
import threading
import time
from typing import BinaryIO

from streamtrack.errors import SourceOpenError

_POLL_S = 0.25


class StandardInput:
    """What FFmpeg reads from when the source is ``-``.

    A pipe may be silent for ever, so it is asked for data a little at a time, and ``interrupt`` makes it end. In a file
    that was redirected (``streamtrack run - < clip.mp4``) one can seek, which an MP4 with its index at the end needs.
    """

    name = "standard input"

    def __init__(self, timeout_s: float = math.inf) -> None:
        """Take note of how long to wait for each read; nothing is opened."""
        self.head = b""
        """The first bytes that were read."""
        self.fell_silent = False
        """Whether it ended because nothing came for too long."""
        self._timeout_s = timeout_s
        self._interrupted = threading.Event()
        self._stream: BinaryIO = io.BytesIO()
        self._fd: int | None = None
        self._is_file = False

    def open(self) -> None:
        """Take hold of standard input.

        Raises:
            SourceOpenError: it is closed, or is a terminal.
        """
        stream = getattr(sys.stdin, "buffer", None)
        if stream is None or stream.closed:
            raise SourceOpenError("Standard input is closed: pipe a video into streamtrack, or name a file.")
        if stream.isatty():
            raise SourceOpenError(
                "Standard input is a terminal: pipe a video into it (streamtrack run - < clip.mp4), or name a file."
            )
        self._stream = stream
        with contextlib.suppress(OSError, io.UnsupportedOperation):
            self._fd = stream.fileno()
        self._is_file = self._fd is not None and stat.S_ISREG(os.fstat(self._fd).st_mode)

    def interrupt(self) -> None:
        """Let the read that waits now, and every later one, find the end. May be called from any thread."""
        self._interrupted.set()

    def seekable(self) -> bool:
        """Return whether this is a file and not a pipe."""
        return self._is_file

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, as ``io.RawIOBase.seek``."""
        position: int = self._stream.seek(offset, whence)
        return position

    def tell(self) -> int:
        """Return the position, as ``io.RawIOBase.tell``."""
        position: int = self._stream.tell()
        return position

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, or none at the end or once interrupted."""
        data = self._read(size)
        if not self.head:
            self.head = data[:16]
        return data

    def _read(self, size: int) -> bytes:
        if self._fd is None or self._is_file or os.name == "nt":
            # Windows cannot wait for a pipe: there a silent one is waited for without limit.
            return b"" if self._interrupted.is_set() else bytes(self._stream.read(size))
        deadline = time.monotonic() + self._timeout_s
        # A program that is ending must not wait for a pipe either.
        while not self._interrupted.is_set() and threading.main_thread().is_alive():
            if time.monotonic() > deadline:
                self.fell_silent = True
                self.interrupt()
            if select.select([self._fd], [], [], _POLL_S)[0]:
                return os.read(self._fd, size)
        return b""
