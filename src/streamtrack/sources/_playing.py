"""A source played in real time, as a camera would show it: it goes on whether anybody looks or not."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from streamtrack.api import Source
from streamtrack.errors import SourceOpenError
from streamtrack.sources._spoiling import Shot, Spoiler
from streamtrack.types import NS_PER_S, Frame, SourceInfo

_ROOM = 256
"""Frames on their way to whoever looks; the oldest get lost. Only delayed ones are ever many."""
_SLIP_NS = NS_PER_S
"""So late, because the machine is too slow, a player gives up catching up: a camera is never behind."""
_STOP_TIMEOUT_S = 2.0


class Sent(NamedTuple):
    """A frame on its way."""

    at_ns: int
    """When it was sent, by the player's clock."""
    shot: Shot
    captured_ns: int
    """Wall clock when it was captured, in ns since the epoch."""


class Player:
    """Plays a source on a thread of its own, at the pace of its timestamps; a live one at its own.

    Its clock starts at 0 when the source has been opened.

    Args:
        make: returns the source; called here, and again for every further round.
        spoiler: what happens to the frames.
        loop: whether to start again at the end of a source that is not live. Time goes on.

    Raises:
        ConfigError: the source's options cannot be.
    """

    def __init__(self, make: Callable[[], Source], spoiler: Spoiler, *, loop: bool) -> None:
        self._make, self._spoiler, self._loop = make, spoiler, loop
        self._source = make()
        self.lost = 0
        """Frames of the source that could not be decoded."""
        self.over = False
        """Whether no frame will come any more; ``error`` says why, if not because the source is at its end."""
        self.error: Exception | None = None
        self._info: SourceInfo | None = None
        self._began_ns = self._slipped_ns = 0
        self._waiting: deque[Sent] = deque(maxlen=_ROOM)
        self.changed = threading.Condition()
        """Notified at every new frame, and when it is over."""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="streamtrack-chaos", daemon=True)

    def start(self) -> SourceInfo:
        """Open the source, start to play it, and return what it says of itself.

        Raises:
            StreamtrackError: it cannot be opened.
        """
        self._thread.start()
        with self.changed:
            self.changed.wait_for(lambda: self.over or self._info is not None)
        if self._info is None:
            raise self.error or SourceOpenError("The source was closed before it was open.")
        return self._info

    def now_ns(self) -> int:
        """Return the time by the player's clock."""
        return time.monotonic_ns() - self._began_ns

    def tune_in(self, time_ns: int) -> None:
        """Forget the frames that were sent before ``time_ns`` by the player's clock, when nobody looked."""
        with self.changed:
            while self._waiting and self._waiting[0].at_ns < time_ns:
                self._waiting.popleft()

    def head(self) -> Sent | None:
        """Return the oldest frame that is on its way, and leave it there."""
        return self._waiting[0] if self._waiting else None

    def take(self) -> Sent:
        """Return the oldest frame that is on its way; to be called where ``head`` gave one, holding ``changed``."""
        return self._waiting.popleft()

    def stop(self) -> None:
        """Stop playing, without waiting. May be called from any thread, at any time."""
        self._stopped.set()
        getattr(self._source, "interrupt", lambda: None)()

    def close(self) -> None:
        """Stop playing and wait until the source is closed."""
        self.stop()
        if self._thread.is_alive():
            self._thread.join(_STOP_TIMEOUT_S)

    def _run(self) -> None:
        try:
            self._play()
        except Exception as error:
            self.error = error
        finally:
            with self.changed:
                self.over = True
                self.changed.notify_all()

    def _play(self) -> None:
        start_ns = 0
        while not self._stopped.is_set():
            try:
                info = self._opened()
                end_ns = self._play_once(info, start_ns)
            finally:
                self._source.close()
            if info.live or not self._loop or end_ns == start_ns:
                return
            start_ns, self._source = end_ns, self._make()

    def _opened(self) -> SourceInfo:
        info = self._source.open()
        if self._info is None:
            with self.changed:
                self._info, self._began_ns = info, time.monotonic_ns()
                self.changed.notify_all()
        return info

    def _play_once(self, info: SourceInfo, start_ns: int) -> int:
        """Play the source to its end; return when the next round begins, by its timestamps."""
        stats = self._source.stats
        lost, damaged, step_ns, end_ns = self.lost, 0, round(NS_PER_S / (info.rate or 25.0)), start_ns
        for frame in self._frames():
            pts_ns = start_ns + frame.pts_ns
            at_ns = self.now_ns() if info.live else self._wait_for(pts_ns)
            if self._stopped.is_set():
                break
            self.lost = lost + stats.corrupt
            shot = Shot(frame.picture, frame.width, frame.height, pts_ns, damaged=stats.damaged > damaged)
            damaged, end_ns = stats.damaged, pts_ns + step_ns
            captured_ns = frame.captured_ns or time.time_ns() - (self.now_ns() - at_ns)
            self._send([Sent(at_ns, spoiled, captured_ns) for spoiled in self._spoiler.spoil(at_ns, shot)])
        return end_ns

    def _frames(self) -> Iterator[Frame]:
        for frame in self._source:
            if self._stopped.is_set():
                return
            yield frame

    def _wait_for(self, pts_ns: int) -> int:
        """Wait until a frame is due and return when that is, by the player's clock."""
        due_ns = pts_ns + self._slipped_ns
        late_ns = self.now_ns() - due_ns
        if late_ns > _SLIP_NS:
            self._slipped_ns += late_ns
            return due_ns + late_ns
        self._stopped.wait(max(0, -late_ns) / NS_PER_S)
        return due_ns

    def _send(self, sent: list[Sent]) -> None:
        with self.changed:
            self._waiting.extend(sent)
            self.changed.notify_all()
