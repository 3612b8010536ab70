"""Brokers on loopback that can be killed and started again, and what holds of every sink that sends to one."""

from __future__ import annotations

import asyncio
import getpass
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import msgspec
import pytest

from streamtrack.errors import SinkError
from streamtrack.sinks._delivery import StreamSink
from streamtrack.sinks.kafka import KafkaSink
from streamtrack.sinks.mqtt import MqttSink
from streamtrack.sinks.nats import NatsSink
from streamtrack.sinks.redis import RedisSink
from streamtrack.sinks.webhook import WebhookSink
from streamtrack.testing.results import make_info, walk
from streamtrack.testing.sinks import SinkConformance
from streamtrack.types import Result

PATIENCE_S = 20.0
FAST: dict[str, Any] = {
    "retry_first_s": 0.02, "retry_max_s": 0.1, "linger_ms": 0, "batch": 5, "close_timeout_s": PATIENCE_S,
}  # fmt: skip
"""Options of a sink for tests: nothing waits for long, and batches are small enough to be many."""

Read = Callable[[int], list[bytes]]
"""Waits for so many messages, repeats left out, and returns the bodies of all that came, in order."""


def until(condition: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Wait until ``condition`` holds."""
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def story() -> list[Result]:
    """Some hundred records of all kinds."""
    return list(walk(60, tracks=3, width=64, height=48))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def ids_in_order(bodies: Iterable[bytes]) -> list[int]:
    """Return the numbers in the ids of JSON messages, repeats left out."""
    seen = dict.fromkeys(msgspec.json.decode(body)["message_id"] for body in bodies)
    return [int(message_id.rpartition("-")[2]) for message_id in seen]


class Broker:
    """Something to send to, at a port that stays the same over kills."""

    kind: ClassVar[Callable[..., StreamSink]]
    """The sink that sends to it."""

    def __init__(self) -> None:
        self.port = free_port()

    @property
    def url(self) -> str:
        raise NotImplementedError

    def sink(self, **options: Any) -> Any:
        """Return a new sink that sends here."""
        return self.kind(**{"url": self.url, **options})

    def start(self) -> None:
        raise NotImplementedError

    def kill(self) -> None:
        """Kill -9, or what is most like it."""
        raise NotImplementedError

    def stop(self) -> None:
        """Let go of everything: it is not started again."""
        self.kill()

    @contextmanager
    def reading(self) -> Iterator[Read]:
        """Read what a sink with default options sends from now on."""
        raise NotImplementedError


class Program(Broker):
    """One that is a program, and keeps its data in ``folder``."""

    program: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        super().__init__()
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def start(self) -> None:
        self._process = subprocess.Popen(
            self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._listens)

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the server ended"
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Redis(Program):
    """A redis-server; with ``appendfsync=always`` it keeps all that it acknowledged, with none it keeps nothing."""

    program = "redis-server"
    kind = RedisSink

    def __init__(self, folder: Path, *, appendfsync: str = "", password: str = "") -> None:
        super().__init__(folder)
        self._appendfsync, self._password = appendfsync, password

    def command(self) -> Sequence[str]:
        lasting = ["--appendonly", "yes", "--appendfsync", self._appendfsync] if self._appendfsync else []
        login = ["--requirepass", self._password] if self._password else []
        return [
            self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "",
            *lasting, *login,
        ]  # fmt: skip

    @property
    def url(self) -> str:
        return f"redis://{f':{self._password}@' * bool(self._password)}127.0.0.1:{self.port}/1"

    def client(self) -> Any:
        import redis

        return redis.Redis(port=self.port, db=1, password=self._password or None)

    def entries(self, stream: str = "streamtrack") -> list[dict[bytes, bytes]]:
        with self.client() as client:
            return [fields for _, fields in client.xrange(stream)]

    @contextmanager
    def reading(self) -> Iterator[Read]:
        yield lambda count: [fields[b"data"] for fields in self.entries()]


class Nats(Program):
    """A nats-server with JetStream."""

    program = "nats-server"
    kind = NatsSink

    def __init__(self, folder: Path, *, password: str = "") -> None:
        super().__init__(folder)
        self._password = password

    def command(self) -> Sequence[str]:
        login = ["--user", "me", "--pass", self._password] if self._password else []
        return [self.program, "-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", str(self.folder), *login]

    @property
    def url(self) -> str:
        return f"nats://{f'me:{self._password}@' * bool(self._password)}127.0.0.1:{self.port}"

    def stored(self, stream: str = "streamtrack") -> list[Any]:
        return asyncio.run(self._stored(stream))

    async def _stored(self, stream: str) -> list[Any]:
        import nats

        client = await nats.connect(self.url)
        try:
            jetstream = client.jetstream()
            state = (await jetstream.stream_info(stream)).state
            return [await jetstream.get_msg(stream, number) for number in range(state.first_seq, state.last_seq + 1)]
        finally:
            await client.close()

    @contextmanager
    def reading(self) -> Iterator[Read]:
        yield lambda count: [message.data for message in self.stored()]


class Mosquitto(Program):
    """A mosquitto with ``lines`` in its configuration, among them those that say who may log in."""

    program = "mosquitto"
    kind = MqttSink

    def __init__(self, folder: Path, *lines: str, login: tuple[str, str] | None = None) -> None:
        super().__init__(folder)
        self._lines, self._login = lines, login

    @classmethod
    def lasting(cls, folder: Path) -> Mosquitto:
        """Return one that keeps its subscriptions on disk.

        Messages it acknowledges before it saves them, whatever it is told. So it passes every one on before that,
        however many are on their way, and none of them waits in its socket for an answer to the one before (RFC 896).
        """
        return cls(
            folder, "allow_anonymous true", "persistence true", f"persistence_location {folder}/",
            "autosave_on_changes true", "autosave_interval 1", "max_inflight_messages 0", "set_tcp_nodelay true",
        )  # fmt: skip

    def command(self) -> Sequence[str]:
        config = self.folder / "mosquitto.conf"
        config.write_text("\n".join([f"listener {self.port} 127.0.0.1", f"user {getpass.getuser()}", *self._lines]))
        return [self.program, "-c", str(config)]

    @property
    def url(self) -> str:
        login = f"{':'.join(self._login)}@" if self._login else ""
        return f"mqtt://{login}127.0.0.1:{self.port}"

    @contextmanager
    def subscribed(self, topic: str, *, acknowledge: bool = True) -> Iterator[list[Any]]:
        """Collect what is published to ``topic``; the subscription outlives a broker that is killed."""
        from paho.mqtt.client import Client, MQTTv5
        from paho.mqtt.enums import CallbackAPIVersion
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        found: list[Any] = []
        ready: list[Any] = []
        client = Client(
            CallbackAPIVersion.VERSION2, client_id=f"reader-{topic}", protocol=MQTTv5, manual_ack=not acknowledge
        )
        if self._login:
            client.username_pw_set(*self._login)
        client.reconnect_delay_set(0.02, 0.1)  # type: ignore[arg-type]
        client.on_connect = lambda *_: client.subscribe(topic, qos=1)
        client.on_subscribe = lambda *_: ready.append(True)
        client.on_message = lambda client, userdata, message: found.append(message)
        lasting = Properties(PacketTypes.CONNECT)
        lasting.SessionExpiryInterval = 3600
        client.connect("127.0.0.1", self.port, clean_start=False, properties=lasting)
        client.loop_start()
        until(lambda: ready)
        try:
            yield found
        finally:
            client.disconnect()
            client.loop_stop()

    @contextmanager
    def reading(self) -> Iterator[Read]:
        # A client whose acknowledgement meets a dead broker closes the connection, and with it goes what had arrived
        # and was not read yet.
        with self.subscribed("streamtrack/#", acknowledge=False) as found:

            def read(count: int) -> list[bytes]:
                until(lambda: len({message.payload for message in found}) >= count)
                return [message.payload for message in found]

            yield read


class Posted(NamedTuple):
    """What came in one request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def records(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = msgspec.json.decode(self.body)
        return found


class WebServer(Broker):
    """A web server that keeps what it is given, also over kills, and answers as it is told."""

    kind = WebhookSink

    def __init__(self) -> None:
        super().__init__()
        self.posted: list[Posted] = []
        self.answers: Iterator[tuple[int, dict[str, str], bytes]] = iter(())
        """Status, headers and text of the next answers; a status of 0 dies instead, with the request taken."""
        self._server: _Listener | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?room=1"

    def start(self) -> None:
        self._server = _Listener(self)

    def kill(self) -> None:
        """Go away in the middle of whatever is on its way, as a process that is killed does."""
        if self._server is not None:
            self._server.kill()
            self._server = None

    @contextmanager
    def reading(self) -> Iterator[Read]:
        yield lambda count: [msgspec.json.encode(record) for each in self.posted for record in each.records]


class _Listener(ThreadingHTTPServer):
    block_on_close = False

    def __init__(self, owner: WebServer) -> None:
        self.owner = owner
        self._connections: list[socket.socket] = []
        self._killed = False
        super().__init__(("127.0.0.1", owner.port), _Request)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.append(request)
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        assert self._killed

    def kill(self) -> None:
        self._killed = True
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listener

    def do_POST(self) -> None:
        owner = self.server.owner
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if len(body) < int(self.headers["Content-Length"]):
            # The connection was cut in the middle of it.
            self.close_connection = True
            return
        status, headers, text = next(owner.answers, (204, {}, b""))
        if status < 300:
            received = {name.lower(): value for name, value in self.headers.items()}
            owner.posted.append(Posted(self.path, received, body))
        if status == 0:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in {"Content-Length": str(len(text)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args: object) -> None:
        pass


MOCK = """
import sys
from confluent_kafka import Producer
cluster = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "unused", "log_level": 0})
(broker,) = cluster.list_topics(timeout=10).brokers.values()
print(broker.port, flush=True)
sys.stdin.read()
"""


class KafkaMock(Broker):
    """librdkafka's own mock cluster: one that is killed is followed by another, with nothing in it."""

    kind = KafkaSink

    def __init__(self) -> None:
        super().__init__()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._process: subprocess.Popen[str] | None = None
        self._behind = 0
        threading.Thread(target=self._forward, daemon=True).start()

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    def sink(self, **options: Any) -> Any:
        return self.kind(**{"servers": self.url, **options})

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", MOCK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        self._behind = int(self._process.stdout.readline())

    def kill(self) -> None:
        if self._process is not None:
            self._behind = 0
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
                    broker = socket.create_connection(("127.0.0.1", self._behind))
                except OSError:
                    client.close()
                    continue
                for pair in ((client, broker), (broker, client)):
                    threading.Thread(target=_relay, args=pair, daemon=True).start()

    def messages(self, count: int, topic: str = "streamtrack") -> list[Any]:
        """Return the messages of a topic, partition by partition, once there are ``count``."""
        from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": f"127.0.0.1:{self._behind}", "group.id": "reader", "log_level": 0})
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

    @contextmanager
    def reading(self) -> Iterator[Read]:
        yield lambda count: [message.value() for message in self.messages(count)]


def _relay(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()


_AnyBroker = TypeVar("_AnyBroker", bound=Broker)


@contextmanager
def running(broker: _AnyBroker) -> Iterator[_AnyBroker]:
    """Start ``broker`` and end it."""
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


def run(broker: Broker, folder: Path, results: Sequence[Result] = (), **options: Any) -> Any:
    """Send a run's records to ``broker`` and return the sink, closed.

    Args:
        broker: that is running.
        folder: of the run.
        results: of the run; without, a story.
        options: of the sink, beside ``FAST`` and all records.
    """
    sink = broker.sink(**{**FAST, "records": "all", **options})
    sink.open(make_info(folder))
    try:
        for result in results or story():
            sink.write(result)
    finally:
        sink.close()
    return sink


def run_through_kills(sink: StreamSink, broker: Broker, folder: Path, results: Sequence[Result], kills: int = 1) -> int:
    """Kill the broker in the middle of sending, write on, and start it again; return the most that was waiting."""
    sink.open(make_info(folder))
    part, most = len(results) // (kills + 1), 0
    for first in range(0, kills * part, part):
        before = sink.counts()["delivered"]
        for result in results[first : first + part // 2]:
            sink.write(result)
        until(lambda before=before: sink.counts()["delivered"] >= before + 20)  # type: ignore[misc]
        broker.kill()
        for result in results[first + part // 2 : first + part]:
            sink.write(result)
        most = max(most, sink.counts()["waiting"])
        broker.start()
    for result in results[kills * part :]:
        sink.write(result)
    sink.close()
    return most


class BrokerConformance(SinkConformance):
    """What holds of every sink that sends. The module's fixture ``server`` is a broker that is running."""

    writes_files = False

    def make_lasting(self, folder: Path) -> Broker:
        """Return a broker that keeps all that it acknowledged, not running."""
        raise NotImplementedError("a subclass of BrokerConformance must say how to make its broker")

    @pytest.fixture(autouse=True)
    def _served(self, server: Broker) -> None:
        self.server = server

    def make_sink(self) -> StreamSink:
        sink: StreamSink = self.server.sink(**FAST)
        return sink

    def test_a_broker_that_is_killed_and_comes_back_has_everything_in_order(self, tmp_path: Path) -> None:
        folder = tmp_path / "run"
        folder.mkdir()
        with running(self.make_lasting(tmp_path / "data")) as broker, broker.reading() as read:
            sink = broker.sink(records="all", **FAST)
            assert run_through_kills(sink, broker, folder, story()) > 0
            counts = sink.counts()
            found = read(counts["messages"])
        assert ids_in_order(found) == list(range(1, counts["messages"] + 1))
        assert counts["messages"] == counts["delivered"] > 150
        assert (counts["waiting"], counts["dropped"]) == (0, 0)
        assert counts["reconnects"] >= 1
        assert not any(folder.iterdir())

    def test_a_broker_that_is_not_there_fails_the_run(self, tmp_path: Path) -> None:
        broker = self.make_lasting(tmp_path / "data")
        broker.stop()
        with pytest.raises(SinkError, match=r"127\.0\.0\.1:\d+\S* cannot be reached: .*Connection refused.*wait=true"):
            run(broker, tmp_path, timeout_s=1)
