"""Kafka against librdkafka's own mock cluster in a process of its own."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from brokers import FAST, BrokerConformance, KafkaMock, ids_in_order, run, running, story, until
from confluent_kafka import KafkaError

from streamtrack.errors import ConfigError, SinkError
from streamtrack.sinks._delivery import Refused, Unreachable
from streamtrack.sinks._messages import Message
from streamtrack.sinks.kafka import KafkaSink
from streamtrack.testing.results import make_info


@pytest.fixture(scope="module")
def server() -> Iterator[KafkaMock]:
    with running(KafkaMock()) as server:
        yield server


class TestConformance(BrokerConformance):
    def make_lasting(self, folder: Path) -> KafkaMock:
        return KafkaMock()

    def test_a_broker_that_is_killed_and_comes_back_has_everything_in_order(self, tmp_path: Path) -> None:
        """What it had it takes along, being a mock: so it is killed while nothing is on its way."""
        results = story()
        with running(KafkaMock()) as broker:
            sink = broker.sink(records="all", **{**FAST, "timeout_s": 1})
            sink.open(make_info(tmp_path))
            for result in results[:40]:
                sink.write(result)
            until(lambda: not sink.counts()["waiting"])
            first = broker.messages(sink.counts()["delivered"])
            broker.kill()
            for result in results[40:]:
                sink.write(result)
            until(lambda: sink.counts()["resent"])
            broker.start()
            sink.close()
            second = broker.messages(sink.counts()["messages"] - len(first))
        bodies = [message.value() for message in (*first, *second)]
        assert ids_in_order(bodies) == list(range(1, sink.counts()["messages"] + 1))
        assert sink.counts()["delivered"] == sink.counts()["messages"]


def test_every_record_is_a_message_and_a_source_stays_in_order(tmp_path: Path, server: KafkaMock) -> None:
    sink = run(server, tmp_path, topic="all.{source}", batch=50)
    found = server.messages(sink.counts()["messages"], "all.synthetic")
    assert ids_in_order([message.value() for message in found]) == list(range(1, len(found) + 1))
    assert {message.key() for message in found} == {b"synthetic"}
    headers = dict(found[0].headers())
    assert headers["message_id"] in found[0].value()
    assert headers["record"] == b"detection"


def test_a_message_that_is_too_large_is_refused(server: KafkaMock) -> None:
    transport = server.sink()._transport
    transport.connect(5)
    try:
        with pytest.raises(Refused, match="too large"):
            transport.publish([Message("1", "door", "track", b"x" * 2_000_000)], 5)
    finally:
        transport.disconnect()


def test_a_login_that_is_refused_later_on_is_waited_for() -> None:
    """Somebody may be giving the right at this moment: only a message that is refused ends a run."""
    with running(KafkaMock()) as broker:
        transport = broker.sink()._transport
        transport.connect(1)
        try:
            transport._on_error(KafkaError(KafkaError._AUTHENTICATION))
            broker.kill()
            with pytest.raises(Unreachable):
                transport.publish([Message("1", "door", "track", b"x")], 10)
        finally:
            transport.disconnect()


def test_a_login_is_handed_to_the_client_and_not_shown() -> None:
    sink = KafkaSink(servers="a:1,b:2", username="me", password="hunter2", tls=True, mechanism="PLAIN")
    assert sink._transport._login == {
        "security.protocol": "SASL_SSL", "sasl.mechanisms": "PLAIN", "sasl.username": "me", "sasl.password": "hunter2",
    }  # fmt: skip
    assert "hunter2" not in sink._where() + sink._transport.identity


def _refuse(listener: socket.socket) -> None:
    """Speak Kafka's protocol just as far as it takes to refuse a login (kafka.apache.org/protocol)."""
    with listener.accept()[0] as client, client.makefile("rb") as requests:
        while head := requests.read(4):
            body = requests.read(*struct.unpack(">i", head))
            kind, version, number = struct.unpack_from(">hhi", body)
            if kind == 18:  # ApiVersions: SaslHandshake, ApiVersions, SaslAuthenticate; of itself version 0 only
                said = struct.pack(">hi9h", 35 * (version > 0), 3, 17, 0, 1, 18, 0, 0, 36, 0, 0)
            elif kind == 17:  # SaslHandshake: no error, these mechanisms
                said = struct.pack(">hi", 0, 1) + _text("PLAIN")
            else:  # SaslAuthenticate: SASL_AUTHENTICATION_FAILED
                said = struct.pack(">h", 58) + _text("no such user, or another password") + struct.pack(">i", 0)
            client.sendall(struct.pack(">ii", 4 + len(said), number) + said)


def _text(said: str) -> bytes:
    return struct.pack(">h", len(said)) + said.encode()


def test_a_refused_password_fails_the_run_and_is_not_shown(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_refuse, args=(listener,))
        thread.start()
        sink = KafkaSink(
            servers=f"127.0.0.1:{listener.getsockname()[1]}", username="me", password="hunter2", mechanism="PLAIN",
            timeout_s=1,
        )  # fmt: skip
        with pytest.raises(SinkError, match=r"refuses: .*no such user, or another password") as caught:
            sink.open(make_info(tmp_path))
        sink.close()
        thread.join()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "kafka.servers must be HOST:PORT"),
        ({"servers": "kafka://me:hunter2@host"}, "kafka.servers must be HOST:PORT"),
        ({"servers": "host:1", "topic": "{x}"}, "placeholder"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        KafkaSink(**options)
    assert "hunter2" not in str(caught.value)
