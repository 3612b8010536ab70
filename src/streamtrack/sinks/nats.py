"""Records to a stream of NATS JetStream (https://docs.nats.io/nats-concepts/jetstream)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from streamtrack.errors import ConfigError
from streamtrack.sinks._delivery import Options, Refused, StreamSink, Unreachable, settle
from streamtrack.sinks._endpoint import Endpoint, read_endpoint, require_client
from streamtrack.sinks._messages import Message, Template
from streamtrack.sinks._tls import Tls, in_words, read_tls

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext

_TICK_S = 0.01
_FAREWELL_S = 1.0


class NatsSink(StreamSink):
    """Publishes every record to a subject, with its id in the header ``Nats-Msg-Id``, by which JetStream drops repeats.

    Args:
        url: ``nats://[USER:PASSWORD@|TOKEN@]HOST[:PORT]``, or ``tls://``; several with commas between them.
        subject: where to; ``{source}`` and ``{record}`` stand for a message's.
        stream: name of the stream that is created where none takes the subject; empty for none.
        delivery: see ``_delivery.Settings``.

    Raises:
        ConfigError: an option is missing or does not fit.
        PluginError: nats-py is not installed.
    """

    def __init__(
        self,
        *,
        url: str = "",
        subject: str = "streamtrack.{source}",
        stream: str = "streamtrack",
        **delivery: Unpack[Options],
    ) -> None:
        require_client("nats", "nats")
        settings = settle("nats", delivery)
        servers = [read_endpoint("nats.url", each, {"nats": 4222, "tls": 4222}) for each in url.split(",")]
        if len({server.scheme for server in servers}) > 1:
            raise ConfigError("Option nats.url: either all of the servers begin with tls://, or none.")
        encrypted = servers[0].scheme == "tls"
        tls = read_tls("nats", settings, encrypted=encrypted, how="a URL that begins with tls://")
        super().__init__(_Publisher(servers, Template("nats.subject", subject), stream, tls), settings)


class _Publisher:
    """The client; its event loop runs while something is waited for, and a little now and then."""

    name = "nats"

    def __init__(self, servers: Sequence[Endpoint], subject: Template, stream: str, tls: Tls | None) -> None:
        self._servers = [server.place for server in servers]
        self.place = ",".join(self._servers)
        self.identity = f"{self.place} {subject.text}"
        self._subject, self._stream, self._tls = subject, stream, tls
        user, password = servers[0].username, servers[0].password
        login = {"user": user, "password": password} if password else {"token": user} if user else {}
        self._login: dict[str, Any] = {key: partial(self._confided, value) for key, value in login.items()}
        self._runner: asyncio.Runner | None = None
        self._client: Client | None = None
        self._jetstream: JetStreamContext | None = None
        self._proven = False

    def connect(self, timeout_s: float) -> None:
        """Connect, log in, and see that a stream takes the subject."""
        self._runner = asyncio.Runner()
        try:
            self._runner.run(self._connect(timeout_s))
        except Exception as error:
            raise _judged(error) from error

    async def _connect(self, timeout_s: float) -> None:
        from nats.aio.client import Client
        from nats.errors import NoServersError
        from nats.js.errors import NotFoundError

        self._lost = asyncio.Event()
        self._trouble: Exception | None = None
        self._client = Client()
        try:
            await asyncio.wait_for(self._client.connect(self._servers, **self._options()), timeout_s)
        except (NoServersError, TimeoutError) as error:
            raise self._trouble or error from error
        self._insist_on_tls()
        self._jetstream = self._client.jetstream(timeout=timeout_s)
        self._proven = False
        subject = self._subject.pattern("*")
        try:
            await self._jetstream.find_stream_name_by_subject(subject)
        except NotFoundError as error:
            if not self._stream:
                raise Refused(f"no stream takes the subject '{subject}': add one, or name one with stream=.") from error
            await self._jetstream.add_stream(name=self._stream, subjects=[subject])

    def _confided(self, secret: str) -> str:
        self._insist_on_tls()
        return secret

    def _insist_on_tls(self) -> None:
        # nats-py leaves it to the server: one that does not ask for TLS is spoken to without, whatever the URL says.
        assert self._client is not None
        if self._tls is not None and not self._client._server_info.get("tls_required"):
            raise Unreachable("it does not speak TLS: nothing was confided to it.")

    def _options(self) -> dict[str, Any]:
        # Who tries again is the delivery: in the right order.
        never = {"allow_reconnect": False, "max_reconnect_attempts": 1, "reconnect_time_wait": 0}
        told = {"error_cb": self._on_error, "disconnected_cb": self._on_lost, "closed_cb": self._on_lost}
        tls = {"tls": self._tls.context()} if self._tls is not None else {}
        return {"name": "streamtrack", **never, **told, **tls, **self._login}

    async def _on_error(self, error: Exception) -> None:
        self._trouble = error

    async def _on_lost(self) -> None:
        self._lost.set()

    def publish(self, messages: Sequence[Message], timeout_s: float) -> None:
        """Publish, and wait for the acknowledgement of every one."""
        assert self._runner is not None
        try:
            # Where the server is not ready the first one tells, and none after it may be taken.
            if not self._proven:
                self._runner.run(self._publish(messages[:1], timeout_s))
                self._proven, messages = True, messages[1:]
            self._runner.run(self._publish(messages, timeout_s))
        except Exception as error:
            raise _judged(error) from error

    async def _publish(self, messages: Sequence[Message], timeout_s: float) -> None:
        assert self._jetstream is not None
        if not messages:
            return
        futures = [
            await self._jetstream.publish_async(
                self._subject.of(message), message.body, timeout_s, headers={"Nats-Msg-Id": message.id}
            )
            for message in messages
        ]
        acknowledged: asyncio.Future[Any] = asyncio.gather(*futures)
        lost: asyncio.Future[Any] = asyncio.ensure_future(self._lost.wait())
        try:
            await asyncio.wait({acknowledged, lost}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if not acknowledged.done():
                raise Unreachable("connection lost." if self._lost.is_set() else "no acknowledgement in time.")
            acknowledged.result()
        finally:
            lost.cancel()
            acknowledged.cancel()

    def idle(self) -> None:
        """Let the client answer pings, and see whether the connection is still there."""
        assert self._runner is not None
        self._runner.run(asyncio.sleep(_TICK_S))
        if self._lost.is_set():
            raise Unreachable("connection lost.")

    def disconnect(self) -> None:
        """Close the connection and the event loop."""
        if self._runner is None:
            return
        with suppress(Exception):
            if self._client is not None:
                # After a handshake that failed it would wait for ever for the connection to be closed.
                self._runner.run(asyncio.wait_for(self._client.close(), _FAREWELL_S))
        self._runner.close()
        self._runner = self._client = self._jetstream = None


def _judged(error: Exception) -> Exception:
    from nats.errors import AuthorizationError, MaxPayloadError, NoRespondersError
    from nats.js.errors import APIError, ServiceUnavailableError

    if isinstance(error, Unreachable | Refused):
        return error
    text = f"{str(error).removeprefix('nats: ').rstrip('.') or type(error).__name__}."
    if isinstance(error, AuthorizationError | MaxPayloadError) or "authorization" in text.lower():
        return Refused(text)
    if isinstance(error, ServiceUnavailableError | NoRespondersError):
        return Unreachable(f"JetStream is not there: {text}")
    if isinstance(error, APIError):
        said = f"{error.description or text}."
        # A stream that is full is emptied by those who read it.
        return Unreachable(said) if "exceeded" in said else Refused(said)
    return Unreachable(in_words(error) if isinstance(error, OSError) else text)
