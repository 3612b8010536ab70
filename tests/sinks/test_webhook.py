"""Webhooks against a real HTTP server: batches, ids, signatures, answers of every kind."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import brokers
import pytest
from brokers import FAST, BrokerConformance, WebServer, ids_in_order, running, until

from streamtrack.errors import ConfigError, SinkError
from streamtrack.sinks import webhook
from streamtrack.sinks.webhook import WebhookSink
from streamtrack.testing.results import make_info, walk


@pytest.fixture
def server() -> Iterator[WebServer]:
    with running(WebServer()) as server:
        yield server


def run(server: WebServer, folder: Path, **options: Any) -> WebhookSink:
    sink: WebhookSink = brokers.run(server, folder, list(walk(20)), **options)
    return sink


def numbers(server: WebServer) -> list[int]:
    with server.reading() as read:
        return ids_in_order(read(0))


class TestConformance(BrokerConformance):
    def make_lasting(self, folder: Path) -> WebServer:
        return WebServer()


def test_records_arrive_in_batches_with_an_id(tmp_path: Path, server: WebServer) -> None:
    sink = run(server, tmp_path, batch=4, linger_ms=500)
    assert numbers(server) == list(range(1, sink.counts()["messages"] + 1))
    first = server.posted[0]
    assert first.path == "/hook?room=1"
    assert first.headers["content-type"] == "application/json"
    assert first.headers["webhook-id"] == f"{first.records[0]['message_id']}.{len(first.records)}"
    assert first.headers["idempotency-key"] == f'"{first.headers["webhook-id"]}"'
    assert "webhook-signature" not in first.headers
    assert max(len(each.records) for each in server.posted) == 4


def test_lines_are_a_record_each(tmp_path: Path, server: WebServer) -> None:
    run(server, tmp_path, body="lines", records="tracks")
    lines = b"".join(each.body for each in server.posted).splitlines()
    assert [json.loads(line)["track_id"] for line in lines] == [1, 2]
    assert server.posted[0].headers["content-type"] == "application/x-ndjson"


@pytest.mark.parametrize(("secret", "key"), [("hunter2", b"hunter2"), ("whsec_aHVudGVyMg==", b"hunter2")])
def test_a_secret_signs_every_request(tmp_path: Path, server: WebServer, secret: str, key: bytes) -> None:
    run(server, tmp_path, secret=secret)
    for each in server.posted:
        signed = f"{each.headers['webhook-id']}.{each.headers['webhook-timestamp']}.".encode() + each.body
        digest = hmac.new(key, signed, hashlib.sha256).digest()
        assert each.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
        assert abs(time.time() - int(each.headers["webhook-timestamp"])) < 60


def test_credentials_are_sent_and_never_shown(tmp_path: Path, server: WebServer) -> None:
    url = server.url.replace("//", "//me:hunter2@")
    sink = run(server, tmp_path, url=url, records="tracks")
    assert server.posted[0].headers["authorization"] == f"Basic {base64.b64encode(b'me:hunter2').decode()}"
    assert "hunter2" not in sink._where()
    run(server, tmp_path, url=url, records="tracks", authorization="Bearer x")
    assert server.posted[-1].headers["authorization"] == "Bearer x"


def test_what_a_server_cannot_take_now_is_sent_again(tmp_path: Path, server: WebServer) -> None:
    server.answers = iter([(503, {}, b"busy"), (429, {"Retry-After": "0"}, b""), (500, {}, b""), (0, {}, b"")])
    sink = run(server, tmp_path)
    assert numbers(server) == list(range(1, sink.counts()["messages"] + 1))
    assert sink.counts()["reconnects"] == 4
    # The last of them had taken it: here are the repeats that a consumer drops.
    assert sum(len(each.records) for each in server.posted) > sink.counts()["messages"]


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (400, b"\nno such field: bbox\nstack trace", "400 Bad Request: no such field: bbox$"),
        (401, b"", "401 Unauthorized.$"),
        (302, b"", "Redirects are not followed"),
    ],
)
def test_what_a_server_never_takes_ends_the_run(
    tmp_path: Path, server: WebServer, status: int, text: bytes, said: str
) -> None:
    server.answers = iter([(status, {"Location": "/other"}, text)] * 99)
    with pytest.raises(SinkError, match=said):
        run(server, tmp_path)


def test_a_connection_that_idles_is_opened_again_unseen(tmp_path: Path, server: WebServer) -> None:
    sink = server.sink(records="frames", **FAST)
    sink.open(make_info(tmp_path))
    first, second, *_ = walk(5)
    sink.write(first)
    until(lambda: server.posted)
    sink._transport.idle()
    sink.write(second)
    sink.close()
    assert (len(server.posted), sink.counts()["reconnects"]) == (2, 0)


def test_a_server_says_when_to_come_back_in_seconds_or_as_a_date() -> None:
    assert webhook._seconds("12") == 12
    assert 50 < webhook._seconds(formatdate(time.time() + 60, usegmt=True)) <= 61
    assert webhook._seconds(formatdate(time.time() - 60, usegmt=True)) == 0
    assert webhook._seconds("soon") == webhook._seconds("") == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "webhook.url is missing"),
        ({"url": "ftp://host"}, "http:// or https://"),
        ({"url": "http://host", "secret": "whsec_?"}, "not base64"),
        ({"url": "http://host", "encoding": "msgpack"}, "JSON only"),
        ({"url": "http://host", "batch": 0}, "batch"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        WebhookSink(**options)
