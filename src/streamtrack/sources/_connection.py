"""One connection to a live feed, from its beginning to its end; what comes after that is the supervisor's business.

A library that waits for a network can rarely be told to stop, so it waits on a thread of its own: ``read`` never waits
longer than it is told to, and ``close`` never waits at all.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator
from typing import NamedTuple, Protocol

from streamtrack.errors import SourceError
from streamtrack.types import Picture

_LAST_WAIT_S = 30.0
"""At the end of a program; whatever waits for a network gives up sooner."""
_ROOM = 8
"""Pictures that may wait to be read. A feed is read faster than it sends: more than one waits only for a moment."""


class FeedError(SourceError):
    """A feed that could not be reached, or broke off. The message is the reason: the end of a sentence."""

    def __init__(self, reason: str, *, lasting: bool = False) -> None:
        super().__init__(reason)
        self.lasting = lasting
        """Whether trying again soon is of no use: a wrong password, a path that is not there."""


class FeedEnded(Exception):
    """The feed came to its end."""


class FeedInfo(NamedTuple):
    """What a connection knows of its feed."""

    codec: str
    rate: float
    """Average frames a second as the feed declares it; 0.0 where it does not."""
    duration_s: float | None = None
    """How long it is; None for a feed without end."""
    in_bursts: bool = False
    """Whether pictures arrive many at once (HLS), so that only their timestamps say when each one is due."""


class Arrival(NamedTuple):
    """A picture that has come in."""

    picture: Picture
    width: int
    height: int
    """Size in px as displayed (rotation applied)."""
    pts_ns: int | None
    """Time by the feed's own clock, with whatever origin; None where it has none."""
    arrived_ns: int
    """``time.monotonic_ns()`` when it was decoded."""
    captured_ns: int | None = None
    """Wall clock in ns since the epoch when it was captured, where the feed tells."""
    damaged: bool = False
    """Whether the decoder says that it is."""


class Connection(Protocol):
    """One connection, made as it is constructed, in the background."""

    info: FeedInfo
    """Known once the first picture has been read."""
    lost: int
    """Pictures that came in and could not be decoded, those before the first keyframe included."""
    dropped: int
    """Pictures that came in and were left out, because decoding them all is slower than the feed."""

    def read(self, timeout_s: float) -> Arrival | None:
        """Return the next picture, or None if none has come within ``timeout_s``.

        Raises:
            FeedError: the feed cannot be reached, or broke off.
            FeedEnded: it came to its end.
        """
        ...

    def close(self) -> None:
        """Let go of it, without waiting. What still waits for the network ends soon, by itself.

        A connection whose end takes a while has an attribute ``ended`` that says when it is over.
        """
        ...


_connections: weakref.WeakSet[ThreadedConnection] = weakref.WeakSet()


@atexit.register
def _await_readers() -> None:
    """Let every thread end before the interpreter takes itself apart: FFmpeg's, which ask it things, would crash."""
    open_ones = [connection for connection in _connections if not connection.ended]
    for connection in open_ones:
        connection.close()
    for connection in open_ones:
        connection.join(_LAST_WAIT_S)


class ThreadedConnection:
    """A ``Connection`` whose pictures a function yields on a thread of its own.

    Args:
        pictures: called on the thread with the connection; yields until the end, and raises ``FeedError`` where it
            breaks off. It sets ``info`` before the first picture and keeps ``lost`` and ``dropped`` up to date. Its
            ``finally`` is where it releases what it holds.
    """

    def __init__(self, pictures: Callable[[ThreadedConnection], Generator[Arrival]]) -> None:
        self.info = FeedInfo("", 0.0)
        self.lost = self.dropped = 0
        self.closed = threading.Event()
        """Set once nobody wants any more."""
        self._arrivals: deque[Arrival] = deque()
        self._changed = threading.Condition()
        self._outcome: Exception | None = None
        # A daemon, so that it can be told to end when the program does: see _await_readers.
        self._thread = threading.Thread(target=self._run, args=(pictures,), name="streamtrack-feed", daemon=True)
        _connections.add(self)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether its thread has nothing left to wait for."""
        return not self._thread.is_alive()

    def _run(self, pictures: Callable[[ThreadedConnection], Generator[Arrival]]) -> None:
        outcome: Exception = FeedEnded()
        try:
            with contextlib.closing(pictures(self)) as arrivals:
                for arrival in arrivals:
                    if not self._hand_over(arrival):
                        break
        except Exception as error:
            outcome = error
        with self._changed:
            self._outcome = outcome
            self._changed.notify_all()

    def _hand_over(self, arrival: Arrival) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self.closed.is_set() or len(self._arrivals) < _ROOM)
            if self.closed.is_set():
                return False
            self._arrivals.append(arrival)
            self._changed.notify_all()
            return True

    def read(self, timeout_s: float) -> Arrival | None:
        """Return the next picture, as ``Connection.read``; None at once where it has been closed."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not self._arrivals:
                if self.closed.is_set():
                    return None
                if self._outcome is not None:
                    raise self._outcome
                if not self._changed.wait(max(0.0, deadline - time.monotonic())) and time.monotonic() >= deadline:
                    return None
            arrival = self._arrivals.popleft()
            self._changed.notify_all()
            return arrival

    def join(self, timeout_s: float) -> None:
        """Wait for its thread to end, for ``timeout_s`` at most."""
        self._thread.join(timeout_s)

    def close(self) -> None:
        """Let go of it, as ``Connection.close``."""
        self.closed.set()
        with self._changed:
            self._changed.notify_all()
