"""JetStream in a real nats-server, which is killed and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from brokers import FAST, Server, ids_in_order, run_through_a_kill, story

from streamtrack.errors import ConfigError, SinkError
from streamtrack.sinks.nats import NatsSink
from streamtrack.testing.results import make_info
from streamtrack.testing.sinks import SinkConformance

pytestmark = pytest.mark.requires(program="nats-server", install="apt-get install nats-server")

Serve = Callable[[Callable[[int], Sequence[str]]], Server]


def command(folder: Path, *options: str) -> Callable[[int], Sequence[str]]:
    return lambda port: ["nats-server", "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder), *options]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(command(tmp_path_factory.mktemp("nats"), "--user", "me", "--pass", "hunter2"))
    server.start()
    yield server
    server.kill()


def url_of(server: Server, password: str = "hunter2") -> str:
    return f"nats://me:{password}@127.0.0.1:{server.port}"


async def _messages(url: str, stream: str) -> list[Any]:
    import nats

    client = await nats.connect(url)
    try:
        jetstream = client.jetstream()
        state = (await jetstream.stream_info(stream)).state
        return [await jetstream.get_msg(stream, number) for number in range(state.first_seq, state.last_seq + 1)]
    finally:
        await client.close()


def stored(url: str, stream: str = "streamtrack") -> list[Any]:
    return asyncio.run(_messages(url, stream))


def run(folder: Path, url: str, **options: Any) -> NatsSink:
    folder.mkdir(exist_ok=True)
    sink = NatsSink(url=url, **{**FAST, **options})
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

    def make_sink(self) -> NatsSink:
        return NatsSink(url=self.url, subject="conformance", stream="conformance", **FAST)


def test_every_record_is_a_message_with_an_id_for_jetstream(tmp_path: Path, server: Server) -> None:
    sink = run(tmp_path, url_of(server), subject="kinds.{source}.{record}", stream="kinds", records="all")
    found = stored(url_of(server), "kinds")
    assert len(found) == sink.counts()["messages"] > 150
    kinds = {"detection", "frame", "track"}
    assert {message.subject for message in found} == {f"kinds.synthetic.{kind}" for kind in kinds}
    assert ids_in_order([message.data for message in found]) == list(range(1, len(found) + 1))
    assert found[0].headers["Nats-Msg-Id"].encode() in found[0].data


def test_jetstream_drops_what_is_sent_again(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = NatsSink(url=url_of(server), subject="twice", stream="twice", records="frames", **FAST)
    publish = sink._transport.publish
    monkeypatch.setattr(sink._transport, "publish", lambda *args: (publish(*args), publish(*args)))
    sink.open(make_info(tmp_path))
    for result in story()[:7]:
        sink.write(result)
    sink.close()
    assert len(stored(url_of(server), "twice")) == 7


def test_a_server_that_is_killed_and_comes_back_has_everything_in_order(tmp_path: Path, serve: Serve) -> None:
    (tmp_path / "run").mkdir()
    server = serve(command(tmp_path / "data"))
    url = f"nats://127.0.0.1:{server.port}"
    count = run_through_a_kill(NatsSink(url=url, records="all", **FAST), server, tmp_path / "run")
    assert ids_in_order([message.data for message in stored(url)]) == list(range(1, count + 1))


@pytest.mark.parametrize("login", ["me:wrong2@", "wrong2@", ""])
def test_a_refused_password_fails_the_run_and_is_not_shown(tmp_path: Path, server: Server, login: str) -> None:
    with pytest.raises(SinkError, match=r"nats://127\.0\.0\.1:\d+ refuses: .*Authorization") as caught:
        run(tmp_path, f"nats://{login}127.0.0.1:{server.port}")
    assert "wrong2" not in str(caught.value)


def test_a_subject_without_a_stream_is_refused_where_none_may_be_created(tmp_path: Path, server: Server) -> None:
    with pytest.raises(SinkError, match="no stream takes the subject 'nowhere'"):
        run(tmp_path, url_of(server), subject="nowhere", stream="")


def test_a_stream_of_that_name_with_other_subjects_is_refused(tmp_path: Path, server: Server) -> None:
    run(tmp_path, url_of(server), subject="one", stream="taken")
    with pytest.raises(SinkError, match="stream name already in use"):
        run(tmp_path, url_of(server), subject="other", stream="taken")


def test_a_server_that_is_not_there_fails_the_run(tmp_path: Path, serve: Serve) -> None:
    server = serve(command(tmp_path / "data"))
    server.kill()
    with pytest.raises(SinkError, match=r"cannot be reached: .*wait=true"):
        run(tmp_path / "run", f"nats://127.0.0.1:{server.port}")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "nats.url is missing"),
        ({"url": "nats://host,http://host"}, "nats:// or tls://"),
        ({"url": "nats://host", "subject": ""}, "is empty"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        NatsSink(**options)
