"""MQTT with QoS 1 through a real mosquitto."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from brokers import BrokerConformance, Mosquitto, ids_in_order, run, running, until

from streamtrack.errors import ConfigError, SinkError
from streamtrack.sinks.mqtt import MqttSink

pytestmark = pytest.mark.requires(program="mosquitto", install="apt-get install mosquitto")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    folder = tmp_path_factory.mktemp("mqtt")
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(folder / "passwords"), "me", "hunter2"], check=True)
    (folder / "rights").write_text("user me\ntopic readwrite #\ntopic deny forbidden\n")
    lines = (f"password_file {folder}/passwords", f"acl_file {folder}/rights")
    with running(Mosquitto(folder, *lines, login=("me", "hunter2"))) as server:
        yield server


class TestConformance(BrokerConformance):
    def make_lasting(self, folder: Path) -> Mosquitto:
        return Mosquitto.lasting(folder)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_every_record_is_a_message(tmp_path: Path, server: Mosquitto, protocol: str) -> None:
    with server.subscribed(f"v{protocol}/synthetic/+") as found:
        sink = run(server, tmp_path, topic=f"v{protocol}/{{source}}/{{record}}", protocol=protocol, batch=100)
        until(lambda: len(found) >= sink.counts()["messages"])
    assert {message.topic.rpartition("/")[2] for message in found} == {"detection", "frame", "track"}
    assert ids_in_order([message.payload for message in found]) == list(range(1, len(found) + 1))
    assert {message.qos for message in found} == {1}
    if protocol == "5":
        first = dict(found[0].properties.UserProperty)
        assert first["message_id"].encode() in found[0].payload
        assert (first["record"], first["source"]) == ("detection", "synthetic")
        assert found[0].properties.ContentType == "application/json"


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("login", ["me:wrong2@", ""])
def test_a_refused_password_fails_the_run_and_is_not_shown(
    tmp_path: Path, server: Mosquitto, login: str, protocol: str
) -> None:
    with pytest.raises(SinkError, match=r"mqtt://127\.0\.0\.1:\d+ refuses: (Not authorized|Bad user)") as caught:
        run(server, tmp_path, url=server.url.replace("me:hunter2@", login), protocol=protocol)
    assert "wrong2" not in str(caught.value)


def test_a_topic_without_the_right_to_it_ends_the_run(tmp_path: Path, server: Mosquitto) -> None:
    with pytest.raises(SinkError, match="refuses: Not authorized"):
        run(server, tmp_path, topic="forbidden")


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
