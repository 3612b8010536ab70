"""Kafka against librdkafka's own mock cluster in a process of its own, which is killed and followed by another."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from brokers import FAST, ids_in_order, story, until

from streamtrack.errors import ConfigError, SinkError
from streamtrack.sinks._delivery import Refused
from streamtrack.sinks._messages import Message
from streamtrack.sinks.kafka import KafkaSink
from streamtrack.testing.results import make_info
from streamtrack.testing.sinks import SinkConformance

MOCK = """
import sys
from confluent_kafka import Producer
cluster = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "unused", "log_level": 0})
(broker,) = cluster.list_topics(timeout=10).brokers.values()
print(broker.port, flush=True)
sys.stdin.read()
"""


class Cluster:
    """A mock cluster behind a port that stays the same when another one takes its place, with nothing in it."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.servers = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._process: subprocess.Popen[str] | None = None
        self._port = 0
        threading.Thread(target=self._forward, daemon=True).start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", MOCK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        self._port = int(self._process.stdout.readline())

    def kill(self) -> None:
        """Kill -9."""
        if self._process is not None:
            self._port = 0
            self._process.kill()
            self._process.communicate()
            self._process = None

    def stop(self) -> None:
        self.kill()
        self._listener.close()

    def _forward(self) -> None:
        # A client asks here where the brokers are, and then goes to them directly.
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    broker = socket.create_connection(("127.0.0.1", self._port))
                except OSError:
                    client.close()
                    continue
                for pair in ((client, broker), (broker, client)):
                    threading.Thread(target=_relay, args=pair, daemon=True).start()

    def read(self, topic: str, count: int) -> list[Any]:
        """Return the messages of a topic, partition by partition, once there are ``count``."""
        from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": f"127.0.0.1:{self._port}", "group.id": "reader", "log_level": 0})
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
            found: list[Any] = []

            def all_there() -> bool:
                found.extend(consumer.consume(count, timeout=0.05))
                return len(found) >= count

            until(all_there)
            assert not any(message.error() for message in found)
            return sorted(found, key=lambda message: (message.partition(), message.offset()))
        finally:
            consumer.close()


def _relay(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    cluster.start()
    yield cluster
    cluster.stop()


def run(folder: Path, servers: str, **options: Any) -> KafkaSink:
    sink = KafkaSink(servers=servers, **{**FAST, "batch": 50, "records": "all", **options})
    sink.open(make_info(folder))
    try:
        for result in story():
            sink.write(result)
    finally:
        sink.close()
    return sink


class TestConformance(SinkConformance):
    writes_files = False

    @pytest.fixture(autouse=True)
    def _served(self, cluster: Cluster) -> None:
        self.servers = cluster.servers

    def make_sink(self) -> KafkaSink:
        return KafkaSink(servers=self.servers, topic="conformance", **FAST)


def test_every_record_is_a_message_and_a_source_stays_in_order(tmp_path: Path, cluster: Cluster) -> None:
    sink = run(tmp_path, cluster.servers, topic="all.{source}")
    found = cluster.read("all.synthetic", sink.counts()["messages"])
    assert ids_in_order([message.value() for message in found]) == list(range(1, len(found) + 1))
    assert {message.key() for message in found} == {b"synthetic"}
    headers = dict(found[0].headers())
    assert headers["message_id"] in found[0].value()
    assert headers["record"] == b"detection"


def test_a_cluster_that_is_killed_loses_nothing_that_it_had_not_acknowledged(tmp_path: Path) -> None:
    cluster = Cluster()
    cluster.start()
    sink = KafkaSink(servers=cluster.servers, records="all", **{**FAST, "timeout_s": 1})
    sink.open(make_info(tmp_path))
    results = story()
    for result in results[:40]:
        sink.write(result)
    until(lambda: not sink.counts()["waiting"])
    first = cluster.read("streamtrack", sink.counts()["delivered"])
    # What it had it takes along: it is a mock, and keeps nothing on disk.
    cluster.kill()
    for result in results[40:]:
        sink.write(result)
    until(lambda: sink.counts()["resent"])
    cluster.start()
    sink.close()
    second = cluster.read("streamtrack", sink.counts()["messages"] - len(first))
    cluster.stop()
    bodies = [message.value() for message in (*first, *second)]
    assert ids_in_order(bodies) == list(range(1, sink.counts()["messages"] + 1))
    assert sink.counts()["delivered"] == sink.counts()["messages"]


def test_a_message_that_is_too_large_is_refused(cluster: Cluster) -> None:
    transport = KafkaSink(servers=cluster.servers)._transport
    transport.connect(5)
    try:
        with pytest.raises(Refused, match="too large"):
            transport.publish([Message("1", "door", "track", b"x" * 2_000_000)], 5)
    finally:
        transport.disconnect()


def test_a_cluster_that_is_not_there_fails_the_run(tmp_path: Path) -> None:
    cluster = Cluster()
    cluster.stop()
    with pytest.raises(SinkError, match=r"127\.0\.0\.1:\d+ cannot be reached: .*wait=true"):
        run(tmp_path, cluster.servers, timeout_s=1)


def test_a_login_is_handed_to_the_client_and_not_shown() -> None:
    sink = KafkaSink(servers="a:1,b:2", username="me", password="hunter2", tls=True, mechanism="PLAIN")
    assert sink._transport._login == {
        "security.protocol": "SASL_SSL", "sasl.mechanisms": "PLAIN", "sasl.username": "me", "sasl.password": "hunter2",
    }  # fmt: skip
    assert "hunter2" not in sink._where() + sink._transport.identity


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
