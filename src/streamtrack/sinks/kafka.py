"""Records to a topic of Apache Kafka, or of what speaks its protocol (Redpanda)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Unpack

from streamtrack.errors import ConfigError
from streamtrack.sinks._delivery import Options, Refused, StreamSink, Unreachable, settle
from streamtrack.sinks._endpoint import require_client
from streamtrack.sinks._messages import Message, Template
from streamtrack.sinks._tls import read_tls

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Producer

_REFUSALS: Final = frozenset(
    {
        "_AUTHENTICATION", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION", "CLUSTER_AUTHORIZATION_FAILED", "INVALID_RECORD",
        "MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE", "SASL_AUTHENTICATION_FAILED", "TOPIC_AUTHORIZATION_FAILED",
        "TOPIC_EXCEPTION", "UNSUPPORTED_SASL_MECHANISM",
    }
)  # fmt: skip

_LASTING: Final = 2
_WEIGHTS: Final = {"_SSL": _LASTING, "_ALL_BROKERS_DOWN": 0}
_AT_FIRST_S: Final = 0.5
"""After so long it is looked whether there is any use in waiting on."""


class KafkaSink(StreamSink):
    """Produces every record with the source as its key, so that what is of one source stays in order in one partition.

    The headers are ``message_id`` and ``record``.

    Args:
        servers: ``HOST:PORT`` of a broker; several with commas between them.
        topic: where to; ``{source}`` and ``{record}`` stand for a message's.
        username: for SASL; empty for none.
        password: for SASL.
        mechanism: of SASL.
        tls: encrypt the connection.
        delivery: see ``_delivery.Settings``.

    Raises:
        ConfigError: an option is missing or does not fit.
        PluginError: confluent-kafka is not installed.
    """

    def __init__(
        self,
        *,
        servers: str = "",
        topic: str = "streamtrack",
        username: str = "",
        password: str = "",
        mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512",
        tls: bool = False,
        **delivery: Unpack[Options],
    ) -> None:
        require_client("kafka", "confluent_kafka")
        settings = settle("kafka", delivery)
        if not servers or "://" in servers or "@" in servers:
            raise ConfigError(
                "Option kafka.servers must be HOST:PORT of a broker, or several of them with commas between."
            )
        files = read_tls("kafka", settings, encrypted=tls, how="tls=true")
        login: dict[str, Any] = {"security.protocol": f"{'SASL_' * bool(username)}{'SSL' if tls else 'PLAINTEXT'}"}
        if files is not None:
            named = {"ca": files.ca, "certificate": files.cert, "key": files.key or files.cert}
            login |= {f"ssl.{kind}.location": file for kind, file in named.items() if file}
        if username:
            login |= {"sasl.mechanisms": mechanism, "sasl.username": username, "sasl.password": password}
        super().__init__(_Producer(servers, Template("kafka.topic", topic), login), settings)


class _Producer:
    """The client: librdkafka, idempotent, so that within a connection it neither repeats nor reorders."""

    name = "kafka"

    def __init__(self, servers: str, topic: Template, login: dict[str, Any]) -> None:
        self.place = servers
        self.identity = f"{servers} {topic.text}"
        self._topic, self._login = topic, login
        self._producer: Producer | None = None
        self._trouble: KafkaError | None = None

    def connect(self, timeout_s: float) -> None:
        """Reach a broker, and ask it for its topics."""
        self._trouble = None
        self._producer = self._made(timeout_s)
        at_first_s = min(_AT_FIRST_S, timeout_s / 2)
        failure = self._ask(at_first_s)
        if failure is not None and _weight(failure) < _LASTING:
            failure = self._ask(timeout_s - at_first_s)
        if failure is not None:
            raise _judged(failure)

    def _ask(self, timeout_s: float) -> KafkaError | None:
        """Ask a broker for its topics; return what is in the way, if something is."""
        from confluent_kafka import KafkaException

        assert self._producer is not None
        try:
            self._producer.list_topics(timeout=timeout_s)
        except KafkaException as error:
            # What it says of itself is that it took too long; why, the callback is told.
            self._producer.poll(0)
            failure: KafkaError = self._trouble or error.args[0]
            return failure
        return None

    def _made(self, timeout_s: float) -> Producer:
        from confluent_kafka import KafkaException, Producer

        timeout_ms = max(1000, round(timeout_s * 1e3))
        options = {
            **self._login,
            "bootstrap.servers": self.place,
            "client.id": "streamtrack",
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 0,
            # What is late is sent again by the delivery, in order, not by a queue of the client.
            "message.timeout.ms": timeout_ms,
            "socket.timeout.ms": timeout_ms,
            "topic.metadata.propagation.max.ms": timeout_ms // 2,
            "reconnect.backoff.ms": 20,
            "error_cb": self._on_error,
            "log_level": 0,
        }
        try:
            return Producer(options)
        except KafkaException as error:
            # Its files were there when the run began.
            raise Unreachable(_words(error.args[0])) from error

    def _on_error(self, error: KafkaError) -> None:
        # Many words come at once, and "all brokers are down" says less than the others, wherever it stands.
        if self._trouble is None or _weight(error) > _weight(self._trouble):
            self._trouble = error

    def publish(self, messages: Sequence[Message], timeout_s: float) -> None:
        """Produce, and wait for the delivery report of every one."""
        from confluent_kafka import KafkaException

        assert self._producer is not None
        failures: list[KafkaError] = []
        delivered = 0

        def report(error: KafkaError | None, _: object) -> None:
            nonlocal delivered
            delivered += error is None
            if error is not None:
                failures.append(error)

        try:
            for message in messages:
                self._producer.produce(
                    self._topic.of(message),
                    message.body,
                    message.source,
                    headers=[("message_id", message.id.encode()), ("record", message.record.encode())],
                    on_delivery=report,
                )
        except KafkaException as error:
            raise _judged(error.args[0]) from error
        self._producer.flush(timeout_s)
        if failures:
            raise _judged(failures[0])
        if delivered < len(messages):
            raise Unreachable("no acknowledgement in time.")

    def idle(self) -> None:
        """Let the client tell of errors; its own threads keep the connection."""
        assert self._producer is not None
        self._producer.poll(0)

    def disconnect(self) -> None:
        """Give up what it still has, and let go of it."""
        if self._producer is not None:
            self._producer.purge()
            self._producer.flush(0)
            self._producer = None


def _judged(error: KafkaError) -> Refused | Unreachable:
    return Refused(f"{error.str()}.") if error.name() in _REFUSALS else Unreachable(_words(error))


def _weight(error: KafkaError) -> int:
    """Return how much an error explains; from ``_LASTING`` on, waiting does not help."""
    name = error.name()
    return _LASTING + 1 if name in _REFUSALS else _WEIGHTS.get(name, 1)


def _words(error: KafkaError) -> str:
    said = error.str().rstrip(".")
    if error.name() != "_SSL":
        return f"{said}."
    if "certificate verify failed" in said:
        # It does not say which of the two.
        return (
            "its certificate is not trusted, or that of another host: name the certificate of its authority with "
            "tls_ca=FILE, and the broker as its certificate does."
        )
    return f"no encrypted connection comes about ({said.partition('SSL handshake failed: ')[2] or said})."
