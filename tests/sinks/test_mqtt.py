"""MQTT with QoS 1 through a real mosquitto, which is killed and comes back."""

from __future__ import annotations

import getpass
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from brokers import FAST, Server, ids_in_order, run_through_a_kill, story, until

from streamtrack.errors import ConfigError, SinkError
from streamtrack.sinks.mqtt import MqttSink
from streamtrack.testing.results import make_info
from streamtrack.testing.sinks import SinkConformance

pytestmark = pytest.mark.requires(program="mosquitto", install="apt-get install mosquitto")

Serve = Callable[[Callable[[int], Sequence[str]]], Server]


def command(folder: Path, *lines: str) -> Callable[[int], Sequence[str]]:
    def made(port: int) -> Sequence[str]:
        folder.mkdir(exist_ok=True)
        config = folder / "mosquitto.conf"
        config.write_text("\n".join([f"listener {port} 127.0.0.1", f"user {getpass.getuser()}", *lines]))
        return ["mosquitto", "-c", str(config)]

    return made


def lasting(folder: Path) -> Callable[[int], Sequence[str]]:
    """Return the command line of a broker that keeps its subscriptions on disk.

    It acknowledges a message before it saves it: so it passes every one on at once, however many are on their way.
    """
    return command(
        folder, "allow_anonymous true", "persistence true", f"persistence_location {folder}/",
        "autosave_on_changes true", "autosave_interval 1", "max_inflight_messages 0",
    )  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("mqtt")
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(folder / "passwords"), "me", "hunter2"], check=True)
    (folder / "rights").write_text("user me\ntopic readwrite #\ntopic deny forbidden\n")
    server = Server(command(folder, f"password_file {folder}/passwords", f"acl_file {folder}/rights"))
    server.start()
    yield server
    server.kill()


def url_of(server: Server, login: str = "me:hunter2@") -> str:
    return f"mqtt://{login}127.0.0.1:{server.port}"


@contextmanager
def subscribed(server: Server, topic: str, login: tuple[str, str] | None = None) -> Iterator[list[Any]]:
    """Collect what is published to ``topic``; the subscription outlives a broker that is killed."""
    from paho.mqtt.client import Client, MQTTv5
    from paho.mqtt.enums import CallbackAPIVersion
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    found: list[Any] = []
    ready: list[Any] = []
    client = Client(CallbackAPIVersion.VERSION2, client_id=f"reader-{topic}", protocol=MQTTv5)
    if login:
        client.username_pw_set(*login)
    client.reconnect_delay_set(0.02, 0.1)  # type: ignore[arg-type]
    client.on_connect = lambda *_: client.subscribe(topic, qos=1)
    client.on_subscribe = lambda *_: ready.append(True)
    client.on_message = lambda client, userdata, message: found.append(message)
    lasting = Properties(PacketTypes.CONNECT)
    lasting.SessionExpiryInterval = 3600
    client.connect("127.0.0.1", server.port, clean_start=False, properties=lasting)
    client.loop_start()
    until(lambda: ready)
    try:
        yield found
    finally:
        client.disconnect()
        client.loop_stop()


def run(folder: Path, url: str, **options: Any) -> MqttSink:
    folder.mkdir(exist_ok=True)
    sink = MqttSink(url=url, **{**FAST, **options})
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
    def _served(self, server: Server) -> None:
        self.url = url_of(server)

    def make_sink(self) -> MqttSink:
        return MqttSink(url=self.url, topic="conformance", **FAST)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_every_record_is_a_message(tmp_path: Path, server: Server, protocol: Any) -> None:
    topic = f"v{protocol}/synthetic/+"
    with subscribed(server, topic, ("me", "hunter2")) as found:
        sink = run(
            tmp_path, url_of(server), topic=f"v{protocol}/{{source}}/{{record}}", protocol=protocol, records="all"
        )
        until(lambda: len(found) >= sink.counts()["messages"])
    assert {message.topic.rpartition("/")[2] for message in found} == {"detection", "frame", "track"}
    assert ids_in_order([message.payload for message in found]) == list(range(1, len(found) + 1))
    assert {message.qos for message in found} == {1}
    if protocol == "5":
        first = dict(found[0].properties.UserProperty)
        assert first["message_id"].encode() in found[0].payload
        assert (first["record"], first["source"]) == ("detection", "synthetic")
        assert found[0].properties.ContentType == "application/json"


def test_a_broker_that_is_killed_and_comes_back_passes_everything_on_in_order(tmp_path: Path, serve: Serve) -> None:
    (tmp_path / "run").mkdir()
    server = serve(lasting(tmp_path / "data"))
    with subscribed(server, "streamtrack/#") as found:
        sink = MqttSink(url=url_of(server, ""), records="all", **FAST)
        count = run_through_a_kill(sink, server, tmp_path / "run")
        until(lambda: len({message.payload for message in found}) >= count)
    assert ids_in_order([message.payload for message in found]) == list(range(1, count + 1))


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("login", ["me:wrong2@", ""])
def test_a_refused_password_fails_the_run_and_is_not_shown(
    tmp_path: Path, server: Server, login: str, protocol: Any
) -> None:
    with pytest.raises(SinkError, match=r"mqtt://127\.0\.0\.1:\d+ refuses: (Not authorized|Bad user)") as caught:
        run(tmp_path, url_of(server, login), protocol=protocol)
    assert "wrong2" not in str(caught.value)


def test_a_topic_without_the_right_to_it_ends_the_run(tmp_path: Path, server: Server) -> None:
    with pytest.raises(SinkError, match="refuses: Not authorized"):
        run(tmp_path, url_of(server), topic="forbidden")


def test_a_broker_that_is_not_there_fails_the_run(tmp_path: Path, serve: Serve) -> None:
    server = serve(command(tmp_path / "data", "allow_anonymous true"))
    server.kill()
    with pytest.raises(SinkError, match=r"cannot be reached: Connection refused"):
        run(tmp_path / "run", url_of(server, ""))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "mqtt.url is missing"),
        ({"url": "mqtt://host", "topic": "a/#"}, "not to publish to"),
        ({"url": "mqtt://host", "topic": "{x}"}, "placeholder"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        MqttSink(**options)
