"""Redis streams in a real redis-server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from brokers import BrokerConformance, Redis, run, running

from streamtrack.errors import ConfigError, SinkError
from streamtrack.sinks.redis import RedisSink

pytestmark = pytest.mark.requires(program="redis-server", install="apt-get install redis-server")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with running(Redis(tmp_path_factory.mktemp("redis"), password="hunter2")) as server:
        yield server


class TestConformance(BrokerConformance):
    def make_lasting(self, folder: Path) -> Redis:
        # With less, Redis acknowledges what it has not written yet, and loses it when it is killed.
        return Redis(folder, appendfsync="always")


def test_every_record_is_an_entry(tmp_path: Path, server: Redis) -> None:
    sink = run(server, tmp_path, stream="{source}.{record}")
    found = [entry for kind in ("detection", "frame", "track") for entry in server.entries(f"synthetic.{kind}")]
    assert len(found) == sink.counts()["messages"] > 150
    body = msgspec.json.decode(found[0][b"data"])
    assert found[0] == {
        b"message_id": body["message_id"].encode(), b"source": b"synthetic", b"record": b"detection",
        b"data": found[0][b"data"],
    }  # fmt: skip


def test_a_stream_may_be_kept_short(tmp_path: Path, server: Redis) -> None:
    sink = run(server, tmp_path, stream="short", maxlen=20)
    assert len(server.entries("short")) < sink.counts()["messages"]


@pytest.mark.parametrize("password", ["wrong2", ""])
def test_a_refused_password_fails_the_run_and_is_not_shown(tmp_path: Path, server: Redis, password: str) -> None:
    with pytest.raises(SinkError, match=r"redis://127\.0\.0\.1:\d+/1 refuses: ") as caught:
        run(server, tmp_path, url=server.url.replace("hunter2", password))
    assert "wrong2" not in str(caught.value)


def test_a_key_that_is_no_stream_ends_the_run(tmp_path: Path, server: Redis) -> None:
    with server.client() as client:
        client.set("taken", "x")
    with pytest.raises(SinkError, match=r"refuses: .*WRONGTYPE"):
        run(server, tmp_path, stream="taken")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "redis.url is missing"),
        ({"url": "redis://host/x"}, "must be a number"),
        ({"url": "redis://host", "maxlen": -1}, "0 or more"),
        ({"url": "redis://host", "stream": "{sorce}"}, "placeholder"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        RedisSink(**options)
