"""Records to a stream of Redis 5 or later, or of Valkey (https://redis.io/docs/latest/commands/xadd)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Unpack

from streamtrack.errors import ConfigError
from streamtrack.sinks._delivery import Options, Refused, StreamSink, Unreachable, settle
from streamtrack.sinks._endpoint import Endpoint, read_endpoint, require_client
from streamtrack.sinks._messages import Message, Template
from streamtrack.sinks._tls import Tls, in_words, read_tls

if TYPE_CHECKING:
    from redis import Redis

# What a server says while it starts, fails over or is short of memory: it will take the same command later.
_FOR_NOW: Final = (
    "LOADING",
    "READONLY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "OOM",
    "BUSY",
    "MISCONF",
    "NOREPL",
)
_NO_ACCESS: Final = ("NOAUTH", "WRONGPASS", "NOPERM")


class RedisSink(StreamSink):
    """Appends every record to a stream, with the fields ``message_id``, ``source``, ``record`` and ``data``.

    Args:
        url: ``redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]``, or ``rediss://`` for TLS.
        stream: key of the stream; ``{source}`` and ``{record}`` stand for a message's.
        maxlen: keep about this many entries in the stream; 0 for all.
        delivery: see ``_delivery.Settings``.

    Raises:
        ConfigError: an option is missing or does not fit.
        PluginError: redis-py is not installed.
    """

    def __init__(
        self, *, url: str = "", stream: str = "streamtrack", maxlen: int = 0, **delivery: Unpack[Options]
    ) -> None:
        require_client("redis", "redis")
        settings = settle("redis", delivery)
        if maxlen < 0:
            raise ConfigError(f"Option redis.maxlen = {maxlen} must be 0 or more.")
        endpoint = read_endpoint("redis.url", url, {"redis": 6379, "rediss": 6379})
        encrypted = endpoint.scheme == "rediss"
        tls = read_tls("redis", settings, encrypted=encrypted, how="a URL that begins with rediss://")
        super().__init__(_Adder(endpoint, Template("redis.stream", stream), maxlen, tls), settings)


class _Adder:
    name = "redis"

    def __init__(self, endpoint: Endpoint, stream: Template, maxlen: int, tls: Tls | None) -> None:
        number = endpoint.path.strip("/") or "0"
        if not number.isdecimal():
            raise ConfigError(f"Option redis.url: the database '{number}' behind the host must be a number.")
        self.place = f"{endpoint.place}/{number}"
        self.identity = f"{self.place} {stream.text}"
        self._endpoint, self._stream, self._database = endpoint, stream, int(number)
        self._maxlen, self._tls = maxlen or None, tls
        self._client: Redis | None = None

    def connect(self, timeout_s: float) -> None:
        """Connect, log in and ping."""
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisError
        from redis.retry import Retry

        endpoint = self._endpoint
        self._client = Redis(
            host=endpoint.host,
            port=endpoint.port,
            db=self._database,
            username=endpoint.username or None,
            password=endpoint.password or None,
            **self._encryption(),
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            # Who tries again is the delivery: here a command that may have been carried out would be sent twice unseen.
            retry=Retry(NoBackoff(), 0),
        )
        try:
            self._client.ping()
        except RedisError as error:
            raise _judged(error) from error

    def _encryption(self) -> dict[str, Any]:
        if self._tls is None:
            return {}
        ca, cert, key = (file or None for file in self._tls)
        return {
            "ssl": True, "ssl_check_hostname": True, "ssl_ca_certs": ca, "ssl_certfile": cert, "ssl_keyfile": key,
        }  # fmt: skip

    def publish(self, messages: Sequence[Message], timeout_s: float) -> None:
        """Append in one transaction, so that all of a batch is there or nothing, and in order."""
        from redis.exceptions import RedisError

        assert self._client is not None
        with self._client.pipeline(transaction=True) as pipeline:
            for message in messages:
                pipeline.xadd(
                    self._stream.of(message),
                    {
                        "message_id": message.id,
                        "source": message.source,
                        "record": message.record,
                        "data": message.body,
                    },
                    maxlen=self._maxlen,
                )
            try:
                pipeline.execute()
            except RedisError as error:
                raise _judged(error) from error

    def idle(self) -> None:
        """Do nothing: Redis asks nothing of a client."""

    def disconnect(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None


def _judged(error: Exception) -> Unreachable | Refused:
    from redis.exceptions import AuthenticationError, AuthorizationError, ConnectionError, ResponseError, TimeoutError

    text = f"{str(error).rstrip('.')}."
    if isinstance(error, AuthenticationError | AuthorizationError) or any(word in text for word in _NO_ACCESS):
        return Refused(text)
    if isinstance(error, ConnectionError | TimeoutError):
        return Unreachable(in_words(error))
    # The text of an error in a transaction begins with which command it was.
    if isinstance(error, ResponseError) and not any(word in text for word in _FOR_NOW):
        return Refused(text)
    return Unreachable(text)
