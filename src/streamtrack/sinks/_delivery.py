"""Delivers messages at least once and in order: what all sinks that send share, whatever they send to.

```
[sink's thread]                              [delivery thread]
write -> messages -> Spool.append  =disk=>   Spool.peek -> Transport.publish -> Spool.acknowledge
         ^ waits, or drops, only where the spool is full
```

Every message goes through the spool, with the broker there or away: there is one path, and a process that is killed
leaves what it had taken. A batch that failed is sent again as it was until it is acknowledged, and only then the next
one is sent: that keeps the order. A transport is the client of one broker and nothing else.
"""

from __future__ import annotations

import hashlib
import logging
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Protocol, TypedDict

import msgspec

from streamtrack.errors import ConfigError, InternalError, SinkError, StreamtrackError, redact
from streamtrack.sinks._messages import Encoding, Message, MessageWriter, Records, source_label
from streamtrack.sinks._spool import Entry, InUse, Spool
from streamtrack.types import Result, RunInfo

_log = logging.getLogger("streamtrack")

_LARGEST_BATCH_BYTES: Final = 512 * 1024
_IDLE_S: Final = 0.5
_HURRY_S: Final = 3.0
"""What is left of ``close_timeout_s`` when a run is stopped instead of ending."""
_JITTER: Final = 0.2


class Unreachable(Exception):
    """The broker is not there, or cannot take messages now: to be tried again. ``str()`` is one line.

    Args:
        reason: in words.
        retry_after_s: how long the broker asks to be left alone.
    """

    def __init__(self, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class Refused(Exception):
    """The broker said no, and will say no again: a password, a right, a message it does not take."""


class Transport(Protocol):
    """The client of one broker. Made where the sink is; everything else happens on the delivery thread.

    Every method but ``disconnect`` raises ``Unreachable`` or ``Refused``, and none takes much longer than it is given.
    """

    name: str
    """Of the sink."""
    place: str
    """Where it sends to, for people: no user, password or token in it."""
    identity: str
    """The same to the last detail, save user and password; shown to nobody. What waits for one is sent to it only."""

    def connect(self, timeout_s: float) -> None:
        """Reach the broker and log in."""
        ...

    def publish(self, messages: Sequence[Message], timeout_s: float) -> None:
        """Send ``messages`` in this order; return when the broker has acknowledged every one."""
        ...

    def idle(self) -> None:
        """Answer the broker's questions while there is nothing to send; called about twice a second."""
        ...

    def disconnect(self) -> None:
        """Let go of the connection, if there is one."""
        ...


class Options(TypedDict, total=False):
    """The options that all these sinks share, for signatures; ``Settings`` says what they mean."""

    records: Records
    encoding: Encoding
    source: str
    wait: bool
    spool: str
    spool_mb: float
    spool_full: Literal["wait", "drop_oldest"]
    fsync: bool
    batch: int
    linger_ms: float
    timeout_s: float
    retry_first_s: float
    retry_max_s: float
    close_timeout_s: float
    tls_ca: str
    tls_cert: str
    tls_key: str


_Positive = Annotated[float, msgspec.Meta(gt=0)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to deliver."""

    records: Records = "tracks"
    """Which records are sent: ``tracks``, ``detections``, ``frames`` or ``all``."""
    encoding: Encoding = "json"
    """Of a message's body: ``json`` or ``msgpack``."""
    source: str = ""
    """What messages call the source; empty: its file's name, or host and path of its URL."""
    wait: bool = False
    """Begin without the broker, and spool until it is there; otherwise the run fails."""
    spool: str = ""
    """Folder of the spools; empty: ``spool`` in the run's folder."""
    spool_mb: _Positive = 256.0
    """How large the spool may grow, in MB."""
    spool_full: Literal["wait", "drop_oldest"] = "wait"
    """What happens then: the run waits, or the oldest messages are dropped and counted."""
    fsync: bool = False
    """Put every message through to the disk, so that it outlives a loss of power."""
    batch: Annotated[int, msgspec.Meta(ge=1)] = 100
    """Messages sent at once, at most."""
    linger_ms: Annotated[float, msgspec.Meta(ge=0)] = 20.0
    """How long to wait for a batch to fill."""
    timeout_s: _Positive = 5.0
    """How long to wait for a connection and for an acknowledgement."""
    retry_first_s: _Positive = 0.5
    """First wait before trying again; doubles each time, 20 % longer or shorter by chance."""
    retry_max_s: _Positive = 30.0
    """Longest such wait."""
    close_timeout_s: Annotated[float, msgspec.Meta(ge=0)] = 5.0
    """How long to go on sending at the end of a run; what is left then stays in the spool."""
    tls_ca: str = ""
    """PEM file with the authorities to trust where the connection is encrypted; empty: the system's."""
    tls_cert: str = ""
    """PEM file with the certificate that tells the broker who we are; empty: none."""
    tls_key: str = ""
    """PEM file with its private key; empty: it is in the same file."""


def settle(sink: str, given: Mapping[str, Any]) -> Settings:
    """Return ``given`` as settings.

    Raises:
        ConfigError: a value that is out of range.
    """
    try:
        return msgspec.convert(dict(given), Settings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"An option of the sink '{sink}' does not fit: {error}.") from error


class _Backoff:
    """Waits that double, each a little longer or shorter: clients that lost a broker together shall not return so."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s, self._longest_s = first_s, longest_s
        self.reset()

    def reset(self) -> None:
        self._next_s = self._first_s

    def next_s(self) -> float:
        wait_s = min(self._next_s, self._longest_s)
        self._next_s = 2 * wait_s
        return wait_s * random.uniform(1 - _JITTER, 1 + _JITTER)


@contextmanager
def _disk(spool: Spool) -> Iterator[None]:
    """Turn an ``OSError`` of the spool into a ``SinkError``."""
    try:
        yield
    except OSError as error:
        raise SinkError(
            f"Cannot write the spool '{spool.folder}': {error.strerror or error}; what it holds is complete. "
            "Free some space: the next run sends it."
        ) from error


class StreamSink:
    """A sink that sends: the contract of ``streamtrack.api.Sink`` around a transport.

    Args:
        transport: to the broker.
        settings: how to deliver.
    """

    when_full: ClassVar = "wait"
    """Nothing is lost on the way to a broker; what is slow is the broker, and for that there is the spool."""

    def __init__(self, transport: Transport, settings: Settings) -> None:
        self._transport, self._settings = transport, settings
        self._spool: Spool | None = None
        self._writer: MessageWriter | None = None
        self._thread: threading.Thread | None = None
        # It guards the spool and all that follows.
        self._changed = threading.Condition()
        self._began = threading.Event()
        self._began_well = False
        self._reachable = False
        self._missed = False
        """Whether it was told that the broker is not there."""
        self._hurried = False
        self._closing = False
        self._deadline = float("inf")
        self._failure: StreamtrackError | None = None
        self._failure_told = False
        self._counts = dict.fromkeys(("messages", "replayed", "delivered", "resent", "dropped", "reconnects"), 0)

    def open(self, info: RunInfo) -> None:
        """Take the spool and connect.

        Raises:
            SinkError: the spool cannot be had, or the broker is not there or refuses, unless the sink may wait for it.
        """
        settings = self._settings
        label = source_label(info, settings.source)
        self._writer = MessageWriter(settings.records, settings.encoding, label, info.run_id)
        self._spool = self._open_spool(info)
        self._counts["replayed"] = self._spool.waiting
        if self._spool.torn:
            _log.warning("%s: the end of a spool in '%s' was not whole", self._transport.name, self._spool.folder)
        self._thread = threading.Thread(target=self._deliver, name=f"streamtrack-deliver-{self._transport.name}")
        self._thread.start()
        if not settings.wait:
            self._began.wait()
            self._raise_failure()

    def _open_spool(self, info: RunInfo) -> Spool:
        name, settings = self._transport.name, self._settings
        if settings.spool:
            above = Path(settings.spool)
        elif info.folder is not None:
            above = info.folder / "spool"
        else:
            raise SinkError(
                f"The sink '{name}' keeps messages in the run's folder while its broker is away, and this run has "
                f"none: name one with --out, or with {name}:spool=FOLDER."
            )
        # One for each place: what waits for one broker is never sent to another.
        folder = above / f"{name}-{hashlib.sha256(self._transport.identity.encode()).hexdigest()[:8]}"
        spool = Spool(folder, max_bytes=int(settings.spool_mb * 1e6), fsync=settings.fsync)
        try:
            spool.open()
        except InUse as error:
            raise SinkError(
                f"The spool '{folder}' is in use by process {error}: "
                f"let it end first, or choose another with {name}:spool=FOLDER."
            ) from error
        except OSError as error:
            raise SinkError(f"The spool '{folder}' cannot be opened: {error.strerror or error}.") from error
        return spool

    def write(self, result: Result) -> None:
        """Put the messages of one result into the spool.

        Raises:
            SinkError: the broker refuses messages, or the disk does.
        """
        if self._writer is not None:
            self._put(self._writer.add(result))
        self._raise_failure()

    def _put(self, messages: Sequence[Message]) -> None:
        if not messages or self._spool is None:
            return
        payloads = [msgspec.msgpack.encode(message) for message in messages]
        with self._changed:
            self._make_room(self._spool, sum(map(len, payloads)))
            with _disk(self._spool):
                self._spool.append(payloads)
            self._counts["messages"] += len(payloads)
            self._changed.notify_all()

    def _make_room(self, spool: Spool, size: int) -> None:
        """Wait until the spool may grow by ``size``, or drop what is oldest.

        A run that is being stopped does not wait: what was tracked already goes beyond the bound.
        """
        while not (spool.has_room(size) or self._hurried or self._failure):
            if self._settings.spool_full == "drop_oldest":
                with _disk(spool):
                    self._counts["dropped"] += spool.drop_oldest()
            else:
                self._changed.wait(_IDLE_S)

    def interrupt(self) -> None:
        """Wait for nobody any more: the run is being stopped. May be called from any thread."""
        with self._changed:
            self._hurried = True
            self._deadline = min(self._deadline, time.monotonic() + _HURRY_S)
            self._changed.notify_all()

    def close(self) -> None:
        """Send what is pending for as long as the settings say; what is left stays in the spool for the next run.

        Raises:
            SinkError: as ``write``; what was not sent is in the spool.
        """
        try:
            if self._writer is not None and self._spool is not None:
                self._put(self._writer.finish())
        finally:
            self._writer = None
            self._end_delivery()
            self._close_spool()
        self._raise_failure()

    def _end_delivery(self) -> None:
        with self._changed:
            self._closing = True
            limit_s = min(self._settings.close_timeout_s, _HURRY_S if self._hurried else float("inf"))
            self._deadline = min(self._deadline, time.monotonic() + limit_s)
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _close_spool(self) -> None:
        if self._spool is None:
            return
        left, folder = self._spool.waiting, self._spool.folder
        with _disk(self._spool):
            self._spool.close()
        if not (left or self._settings.spool):
            # Another sink may have something in it.
            with suppress(OSError):
                folder.parent.rmdir()
        if left:
            _log.warning(
                "%s: %d messages could not be delivered to %s and stay in '%s'; a run with the same spool sends them",
                self._transport.name, left, self._transport.place, folder,
            )  # fmt: skip

    def counts(self) -> Mapping[str, int]:
        """Return what became of the messages: ``messages + replayed == delivered + dropped + waiting``."""
        with self._changed:
            return {**self._counts, "waiting": self._spool.waiting if self._spool else 0}

    def _raise_failure(self) -> None:
        if self._failure is not None and not self._failure_told:
            self._failure_told = True
            raise self._failure

    # --- on the delivery thread ---

    def _deliver(self) -> None:
        backoff = _Backoff(self._settings.retry_first_s, self._settings.retry_max_s)
        batch: list[Entry] = []
        try:
            while time.monotonic() < self._deadline:
                try:
                    if not self._reachable:
                        self._connect()
                    batch = batch or self._next_batch()
                    if batch:
                        self._publish(batch)
                        batch = []
                        backoff.reset()
                    elif self._closing:
                        return
                    else:
                        self._transport.idle()
                except Unreachable as error:
                    self._lose(error, batch)
                    self._pause(backoff, error.retry_after_s)
        except Refused as error:
            self._fail(SinkError(f"{self._where()} refuses: {redact(str(error))}"), error)
        except _NotThere as error:
            self._fail(SinkError(f"{self._where()} cannot be reached: {redact(str(error))} {_WAIT_HINT}"), error)
        except StreamtrackError as error:
            self._fail(error, error.__cause__)
        except BaseException as error:
            self._fail(InternalError(f"{self._where()}: {type(error).__name__}: {redact(str(error))}"), error)
        finally:
            self._transport.disconnect()
            self._began.set()

    def _where(self) -> str:
        return f"The sink '{self._transport.name}': {self._transport.place}"

    def _connect(self) -> None:
        try:
            self._transport.connect(self._settings.timeout_s)
        except Refused as error:
            if not (self._settings.wait or self._began_well):
                raise
            # Somebody may be giving the right at this moment; nothing is lost meanwhile.
            raise Unreachable(str(error)) from error
        except Unreachable as error:
            if not (self._settings.wait or self._began_well):
                raise _NotThere(str(error)) from error
            raise
        with self._changed:
            self._counts["reconnects"] += self._began_well
        if self._missed:
            _log.warning("%s: %s is there%s", self._transport.name, self._transport.place, " again" * self._began_well)
        self._reachable = self._began_well = True
        self._missed = False
        self._began.set()

    def _next_batch(self) -> list[Entry]:
        """Return the oldest messages once there are enough of them or they waited long enough; none when idle."""
        assert self._spool is not None
        settings, spool = self._settings, self._spool
        with self._changed:
            self._changed.wait_for(lambda: spool.waiting or self._closing, _IDLE_S)
            if spool.waiting and settings.linger_ms:
                full = settings.batch
                self._changed.wait_for(lambda: spool.waiting >= full or self._closing, settings.linger_ms / 1e3)
            with _disk(spool):
                return spool.peek(settings.batch, _LARGEST_BATCH_BYTES)

    def _publish(self, batch: Sequence[Entry]) -> None:
        assert self._spool is not None
        messages = [msgspec.msgpack.decode(entry.payload, type=Message) for entry in batch]
        self._transport.publish(messages, self._settings.timeout_s)
        with self._changed, _disk(self._spool):
            self._counts["delivered"] += self._spool.acknowledge(batch[-1])
            self._changed.notify_all()

    def _lose(self, error: Unreachable, batch: Sequence[Entry]) -> None:
        if not self._missed:
            _log.warning(
                "%s: %s is %s: %s; messages wait in '%s'",
                self._transport.name, self._transport.place, "lost" if self._reachable else "not there",
                redact(str(error)), self._spool and self._spool.folder,
            )  # fmt: skip
        if self._reachable:
            with self._changed:
                self._counts["resent"] += len(batch)
        self._reachable, self._missed = False, True
        self._transport.disconnect()

    def _pause(self, backoff: _Backoff, retry_after_s: float) -> None:
        """Wait before trying again; the end of a run cuts it short once."""
        with self._changed:
            was_closing = self._closing
            wait_s = min(max(backoff.next_s(), retry_after_s), max(0.0, self._deadline - time.monotonic()))
            if self._changed.wait_for(lambda: self._closing and not was_closing, wait_s):
                backoff.reset()

    def _fail(self, failure: StreamtrackError, cause: BaseException | None) -> None:
        failure.__cause__ = cause
        with self._changed:
            self._failure = failure
            self._changed.notify_all()


class _NotThere(Exception):
    """The broker was not there at the start, where the sink may not wait for it."""


_WAIT_HINT: Final = "With wait=true the run begins without it."
