"""JetStream in a real nats-server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from brokers import FAST, BrokerConformance, Nats, ids_in_order, run, running, story

from streamtrack.errors import ConfigError, SinkError
from streamtrack.sinks.nats import NatsSink
from streamtrack.testing.results import make_info

pytestmark = pytest.mark.requires(program="nats-server", install="apt-get install nats-server")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    with running(Nats(tmp_path_factory.mktemp("nats"), password="hunter2")) as server:
        yield server


class TestConformance(BrokerConformance):
    absent = "Connect call failed"

    def make_lasting(self, folder: Path) -> Nats:
        return Nats(folder)


def test_every_record_is_a_message_with_an_id_for_jetstream(tmp_path: Path, server: Nats) -> None:
    sink = run(server, tmp_path, subject="kinds.{source}.{record}", stream="kinds")
    found = server.stored("kinds")
    assert len(found) == sink.counts()["messages"] > 150
    kinds = {"detection", "frame", "track"}
    assert {message.subject for message in found} == {f"kinds.synthetic.{kind}" for kind in kinds}
    assert ids_in_order([message.data for message in found]) == list(range(1, len(found) + 1))
    assert found[0].headers["Nats-Msg-Id"].encode() in found[0].data


def test_jetstream_drops_what_is_sent_again(tmp_path: Path, server: Nats, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = server.sink(subject="twice", stream="twice", records="frames", **FAST)
    publish = sink._transport.publish
    monkeypatch.setattr(sink._transport, "publish", lambda *args: (publish(*args), publish(*args)))
    sink.open(make_info(tmp_path))
    for result in story()[:7]:
        sink.write(result)
    sink.close()
    assert len(server.stored("twice")) == 7


@pytest.mark.parametrize("login", ["me:wrong2@", "wrong2@", ""])
def test_a_refused_password_fails_the_run_and_is_not_shown(tmp_path: Path, server: Nats, login: str) -> None:
    with pytest.raises(SinkError, match=r"nats://127\.0\.0\.1:\d+ refuses: .*Authorization") as caught:
        run(server, tmp_path, url=server.url.replace("me:hunter2@", login))
    assert "wrong2" not in str(caught.value)


def test_a_subject_without_a_stream_is_refused_where_none_may_be_created(tmp_path: Path, server: Nats) -> None:
    with pytest.raises(SinkError, match="no stream takes the subject 'nowhere'"):
        run(server, tmp_path, subject="nowhere", stream="")


def test_a_stream_of_that_name_with_other_subjects_is_refused(tmp_path: Path, server: Nats) -> None:
    run(server, tmp_path, subject="one", stream="taken", records="tracks")
    with pytest.raises(SinkError, match="stream name already in use"):
        run(server, tmp_path, subject="other", stream="taken")


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
