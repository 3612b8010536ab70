"""Records to an MQTT broker with QoS 1 (MQTT 5.0, OASIS Standard, 4.3.2: at least once)."""

from __future__ import annotations

import secrets
import socket
import ssl
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Unpack

from streamtrack.errors import ConfigError
from streamtrack.sinks._delivery import Options, Refused, StreamSink, Unreachable, settle
from streamtrack.sinks._endpoint import Endpoint, read_endpoint, require_client
from streamtrack.sinks._messages import Message, Template
from streamtrack.sinks._tls import Tls, in_words, read_tls

if TYPE_CHECKING:
    from paho.mqtt.client import Client
    from paho.mqtt.properties import Properties

_KEEP_ALIVE_S: Final = 60
_LONGEST_WAIT_S: Final = 0.2
_IN_FLIGHT: Final = 100
"""Messages that may wait for their PUBACK, unless the broker allows fewer."""
_NOT_NOW: Final = ("Server unavailable", "Server busy", "Use another server", "Server moved", "Quota exceeded")


class MqttSink(StreamSink):
    """Publishes every record to a topic; its id is in the body, and with MQTT 5 a user property ``message_id``.

    Args:
        url: ``mqtt://[USER:PASSWORD@]HOST[:PORT]``, or ``mqtts://`` for TLS.
        topic: where to; ``{source}`` and ``{record}`` stand for a message's.
        protocol: ``5`` or ``3.1.1``.
        delivery: see ``_delivery.Settings``.

    Raises:
        ConfigError: an option is missing or does not fit.
        PluginError: paho-mqtt is not installed.
    """

    def __init__(
        self,
        *,
        url: str = "",
        topic: str = "streamtrack/{source}",
        protocol: Literal["5", "3.1.1"] = "5",
        **delivery: Unpack[Options],
    ) -> None:
        require_client("mqtt", "paho")
        settings = settle("mqtt", delivery)
        if set(topic) & set("+#"):
            raise ConfigError("Option mqtt.topic has a + or a #: such topics are to subscribe to, not to publish to.")
        endpoint = read_endpoint("mqtt.url", url, {"mqtt": 1883, "mqtts": 8883})
        content = "application/json" if settings.encoding == "json" else "application/msgpack"
        encrypted = endpoint.scheme == "mqtts"
        tls = read_tls("mqtt", settings, encrypted=encrypted, how="a URL that begins with mqtts://")
        super().__init__(_Publisher(endpoint, Template("mqtt.topic", topic), protocol == "5", content, tls), settings)


class _ClosedSocket(ssl.SSLSocket):
    """One that is closed where its handshake fails: the client forgets it."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


class _Publisher:
    """The client, driven by hand: it has no thread."""

    name = "mqtt"

    def __init__(self, endpoint: Endpoint, topic: Template, is_5: bool, content: str, tls: Tls | None) -> None:
        self.place = endpoint.place
        self.identity = f"{endpoint.place} {topic.text}"
        self._endpoint, self._topic, self._is_5, self._content, self._tls = endpoint, topic, is_5, content, tls
        self._client: Client | None = None
        self._answer: Any = None
        self._pending: set[int] = set()
        self._refusal = ""
        self._in_flight = _IN_FLIGHT

    def connect(self, timeout_s: float) -> None:
        """Connect and log in, with a session of its own that ends with the connection."""
        from paho.mqtt import client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        endpoint = self._endpoint
        client = self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"streamtrack-{secrets.token_hex(6)}",
            protocol=paho.MQTTv5 if self._is_5 else paho.MQTTv311,
            # Who sends again is the delivery.
            reconnect_on_failure=False,
        )
        self._answer, self._refusal = None, ""
        self._pending.clear()
        client.on_connect = self._on_connect
        client.on_publish = self._on_publish
        client.max_inflight_messages_set(_IN_FLIGHT)
        client.on_socket_open = _at_once
        client.connect_timeout = timeout_s
        if endpoint.username:
            client.username_pw_set(endpoint.username, endpoint.password or None)
        try:
            if self._tls is not None:
                context = self._tls.context()
                context.sslsocket_class = _ClosedSocket
                client.tls_set_context(context)
            client.connect(endpoint.host, endpoint.port, _KEEP_ALIVE_S)
        except OSError as error:
            raise Unreachable(in_words(error)) from error
        self._loop_until(lambda: self._answer is not None, timeout_s, "no answer in time.")
        if self._answer.is_failure:
            kind = Unreachable if str(self._answer) in _NOT_NOW else Refused
            raise kind(f"{self._answer}.")

    def _on_connect(self, client: Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._answer = reason
        # More than a broker allows ends the connection, and the client does not look (MQTT 5.0, 3.2.2.3.3).
        self._in_flight = min(_IN_FLIGHT, getattr(properties, "ReceiveMaximum", _IN_FLIGHT))

    def _on_publish(self, client: Client, userdata: Any, mid: int, reason: Any, properties: Any) -> None:
        if reason.is_failure and not self._refusal:
            self._refusal = str(reason)
        self._pending.discard(mid)

    def publish(self, messages: Sequence[Message], timeout_s: float) -> None:
        """Publish, and wait for the PUBACK of every one."""
        assert self._client is not None
        for message in messages:
            self._loop_until(lambda: len(self._pending) < self._in_flight, timeout_s, "no acknowledgement in time.")
            info = self._client.publish(
                self._topic.of(message), message.body, qos=1, properties=self._properties(message)
            )
            if info.rc:
                raise Unreachable("connection lost.")
            self._pending.add(info.mid)
        self._loop_until(lambda: not self._pending, timeout_s, "no acknowledgement in time.")
        if self._refusal:
            kind = Unreachable if self._refusal in _NOT_NOW else Refused
            raise kind(f"{self._refusal}.")

    def _properties(self, message: Message) -> Properties | None:
        if not self._is_5:
            return None
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ContentType = self._content
        properties.UserProperty = [("message_id", message.id), ("record", message.record), ("source", message.source)]
        return properties

    def _loop_until(self, done: Any, timeout_s: float, otherwise: str) -> None:
        """Let the client read and write until ``done()``, or raise ``Unreachable``."""
        assert self._client is not None
        end = time.monotonic() + timeout_s
        while not done():
            left_s = end - time.monotonic()
            if left_s <= 0:
                raise Unreachable(otherwise)
            # A refused login ends the connection as well.
            if self._client.loop(min(left_s, _LONGEST_WAIT_S)) and not done():
                raise Unreachable("connection lost.")

    def idle(self) -> None:
        """Keep the connection alive, and see whether it is still there."""
        assert self._client is not None
        if self._client.loop(0):
            raise Unreachable("connection lost.")

    def disconnect(self) -> None:
        """Say goodbye and close the connection."""
        if self._client is not None:
            self._client.disconnect()
            self._client = None


def _at_once(client: Client, userdata: Any, connection: Any) -> None:
    # Every message is a packet of its own, and none shall wait until the one before it was confirmed (RFC 896).
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
