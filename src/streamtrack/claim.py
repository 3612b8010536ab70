"""A run's claim on its folder: new, over what an earlier run has left there, or to go on with that."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from streamtrack import folder, resuming
from streamtrack.api import Sink
from streamtrack.errors import ConfigError
from streamtrack.resuming import Earlier, FileIdentity, Now, TapedDetector


class SourceFile:
    """The file that a source is, if it is one."""

    def __init__(self, find: Callable[[], Path | None]) -> None:
        """Look for nothing yet.

        Args:
            find: returns its path; None for anything else, such as a feed.
        """
        self._find = find
        self._identity: FileIdentity | None = None

    @property
    def is_one(self) -> bool:
        """Whether the source is a file, be it there or not."""
        return self._find() is not None

    @property
    def identity(self) -> FileIdentity | None:
        """What tells it from others; None where there is no file.

        Raises:
            SourceError: it cannot be read.
        """
        path = self._find() if self._identity is None else None
        if path is not None and path.is_file():
            self._identity = resuming.identify(path)
        return self._identity


class FolderClaim:
    """Holds a run's folder against others, and says what of an earlier run it goes on with."""

    def __init__(self, path: Path | None, source: SourceFile, *, overwrite: bool = False, resume: bool = False) -> None:
        """Claim nothing yet.

        Args:
            path: the folder; None for a run that writes none, where all that follows does nothing.
            source: what is looked at.
            overwrite: replace an earlier run's outputs.
            resume: go on with an interrupted run.

        Raises:
            ConfigError: both of these.
        """
        if resume and overwrite:
            raise ConfigError("To resume a run and to overwrite it exclude each other: give --resume or --overwrite.")
        self.path = path
        self.resume = resume
        self.ready = False
        """Whether the folder is this run's, and may be written."""
        self.complete = False
        """Whether the run that was to be resumed is complete."""
        self.earlier: Earlier | None = None
        """The interrupted run that is gone on with."""
        self.taped: TapedDetector | None = None
        """Knows what that found; None where it found nothing."""
        # Milliseconds first, so that ids sort over runs; then what keeps apart two that began together.
        self.run_id = f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(4)}"
        """That of the run that is gone on with, if there is one."""
        self._source, self._overwrite = source, overwrite
        self._lock: folder.FolderLock | None = None

    def obstacle(self, sinks: Iterable[Sink]) -> str:
        """Return in a sentence why a run with ``sinks`` cannot be resumed, should it be interrupted; empty if it can.

        A sink from whose files it can says so in an attribute ``is_tape``.
        """
        if self.path is None:
            return "A run can be resumed only from its folder: name it with --out."
        if not self._source.is_one:
            return "Only a run of a video file can be resumed, and this source is none: leave out --resume."
        if not any(getattr(sink, "is_tape", False) for sink in sinks):
            return (
                f"A run can be resumed only from its whole {folder.DETECTIONS} and {folder.FRAMES}: leave the options "
                "'detections', 'frames', 'compress', 'rotate_mb', 'rotate_s' and 'when_full' of the sink 'jsonl' as "
                "they are."
            )
        return ""

    @property
    def taped_frames(self) -> int:
        """The first so many frames were found by the interrupted run."""
        return self.earlier.taped if self.earlier else 0

    def look_back(self, now: Callable[[], Now], *, looks: bool) -> None:
        """See what an earlier run has left, to go on with it; nothing is touched.

        Args:
            now: what this run is; asked only if there is an earlier one.
            looks: whether anything depends on the thumbnails of the frames that are found on the tape.

        Raises:
            ConfigError: it was another run, or one that cannot be resumed.
            SinkError: it is still running.
        """
        # Where there is no file, the source will say so.
        if self.path is None or not self.path.is_dir() or self._source.identity is None:
            return
        self._lock = folder.FolderLock(self.path)
        earlier = resuming.read_earlier(self.path)
        if earlier is None:
            return
        resuming.refuse_another(earlier, now())
        if earlier.complete:
            self.complete = True
            return
        self.earlier, self.run_id = earlier, earlier.then.run_id or self.run_id
        if earlier.taped:
            self.taped = TapedDetector(earlier.moved_tape, looks=looks)

    def prepare(self) -> None:
        """Make the folder, or empty it of an earlier run's outputs; that of an interrupted one waits for ``begin``.

        Raises:
            SinkError: it cannot be written, or holds something that may not be overwritten.
        """
        if self.path is None or self.ready or self.earlier:
            return
        self._lock = self._lock or folder.FolderLock(self.path)
        folder.prepare(self.path, overwrite=self._overwrite)
        self.ready = True

    def begin(self) -> None:
        """Make the folder of an interrupted run ready to begin anew: all that may go wrong before has gone well.

        Raises:
            SinkError: it cannot be written.
        """
        if self.earlier:
            resuming.take_over(self.earlier)
            self.ready = True

    def replace(self, name: str, value: Any, *, reserve: int = 0) -> None:
        """Write a JSON file into the folder, see ``folder.replace_json``, once it is this run's.

        Raises:
            SinkError: it cannot be written.
        """
        if self.path is not None and self.ready:
            folder.replace_json(self.path / name, value, reserve=reserve)

    def forget_tape(self) -> None:
        """Remove what was kept to go on from: the run is complete."""
        if self.path is not None and self.earlier:
            shutil.rmtree(self.path / folder.RESUME, ignore_errors=True)

    def release(self) -> None:
        """Let other runs in."""
        if self._lock:
            self._lock.release()
