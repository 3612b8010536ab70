"""Redis streams in a real redis-server, which is killed and comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from brokers import FAST, Server, ids_in_order, run_through_a_kill, story

from streamtrack.errors import ConfigError, SinkError
from streamtrack.sinks.redis import RedisSink
from streamtrack.testing.results import make_info
from streamtrack.testing.sinks import SinkConformance

pytestmark = pytest.mark.requires(program="redis-server", install="apt-get install redis-server")

Serve = Callable[[Callable[[int], Sequence[str]]], Server]


def command(folder: Path, *options: str) -> Callable[[int], Sequence[str]]:
    folder.mkdir(exist_ok=True)
    return lambda port: [
        "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", *options,
    ]  # fmt: skip


# With less, Redis acknowledges what it has not written yet, and loses it when it is killed.
LASTING = ("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(command(tmp_path_factory.mktemp("redis"), "--requirepass", "hunter2"))
    server.start()
    yield server
    server.kill()


def url_of(server: Server, password: str = "hunter2") -> str:
    return f"redis://:{password}@127.0.0.1:{server.port}/1"


def entries(server: Server, stream: str, **login: Any) -> list[dict[bytes, bytes]]:
    import redis

    with redis.Redis(port=server.port, **login) as client:
        return [fields for _, fields in client.xrange(stream)]  # type: ignore[misc,union-attr]


def run(folder: Path, url: str, **options: Any) -> RedisSink:
    folder.mkdir(exist_ok=True)
    sink = RedisSink(url=url, **{**FAST, "records": "all", **options})
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

    def make_sink(self) -> RedisSink:
        return RedisSink(url=self.url, stream="conformance", **FAST)


def test_every_record_is_an_entry(tmp_path: Path, server: Server) -> None:
    sink = run(tmp_path, url_of(server), stream="{source}.{record}")
    found = [fields for kind in ("detection", "frame", "track") for fields in entries(
        server, f"synthetic.{kind}", db=1, password="hunter2")]  # fmt: skip
    assert len(found) == sink.counts()["messages"] > 150
    body = msgspec.json.decode(found[0][b"data"])
    assert found[0] == {
        b"message_id": body["message_id"].encode(), b"source": b"synthetic", b"record": b"detection",
        b"data": found[0][b"data"],
    }  # fmt: skip


def test_a_stream_may_be_kept_short(tmp_path: Path, server: Server) -> None:
    sink = run(tmp_path, url_of(server), stream="short", maxlen=20)
    assert len(entries(server, "short", db=1, password="hunter2")) < sink.counts()["messages"]


def test_a_server_that_is_killed_and_comes_back_has_everything_in_order(tmp_path: Path, serve: Serve) -> None:
    (tmp_path / "run").mkdir()
    server = serve(command(tmp_path / "data", *LASTING))
    sink = RedisSink(url=f"redis://127.0.0.1:{server.port}", records="all", **FAST)
    count = run_through_a_kill(sink, server, tmp_path / "run")
    found = entries(server, "streamtrack")
    assert ids_in_order([fields[b"data"] for fields in found]) == list(range(1, count + 1))


@pytest.mark.parametrize("password", ["wrong2", ""])
def test_a_refused_password_fails_the_run_and_is_not_shown(tmp_path: Path, server: Server, password: str) -> None:
    with pytest.raises(SinkError, match=r"redis://127\.0\.0\.1:\d+/1 refuses: ") as caught:
        run(tmp_path, url_of(server, password))
    assert "wrong2" not in str(caught.value)


def test_a_key_that_is_no_stream_ends_the_run(tmp_path: Path, server: Server) -> None:
    import redis

    with redis.Redis(port=server.port, db=1, password="hunter2") as client:
        client.set("taken", "x")
    with pytest.raises(SinkError, match=r"refuses: .*WRONGTYPE"):
        run(tmp_path, url_of(server), stream="taken")


def test_a_server_that_is_not_there_fails_the_run(tmp_path: Path, serve: Serve) -> None:
    server = serve(command(tmp_path / "data"))
    server.kill()
    with pytest.raises(SinkError, match=r"cannot be reached: .*Connection refused"):
        run(tmp_path / "run", f"redis://127.0.0.1:{server.port}")


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
