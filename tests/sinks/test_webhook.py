"""Webhooks against a real HTTP server: batches, ids, signatures, answers of every kind, and a server that goes away."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from brokers import FAST, ids_in_order, story, until

from streamtrack.errors import ConfigError, SinkError
from streamtrack.sinks import webhook
from streamtrack.sinks.webhook import WebhookSink
from streamtrack.testing.results import make_info, walk
from streamtrack.testing.sinks import SinkConformance


class Posted(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def records(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.body)
        return found


class Receiver:
    """A server that keeps what it is given, and answers as it is told."""

    def __init__(self, port: int = 0) -> None:
        self.posted: list[Posted] = []
        self.answers: Iterator[tuple[int, dict[str, str], bytes]] = iter(())
        self.connections: list[socket.socket] = []
        self.stopped = False
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if len(body) < int(self.headers["Content-Length"]):
                    # The connection was cut in the middle of it.
                    self.close_connection = True
                    return
                status, headers, text = next(receiver.answers, (204, {}, b""))
                if status == 0:
                    # It took the request and died before it could say so.
                    receiver.posted.append(Posted(self.path, {}, body))
                    self.close_connection = True
                    return
                if status < 300:
                    received = {name.lower(): value for name, value in self.headers.items()}
                    receiver.posted.append(Posted(self.path, received, body))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(text)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args: object) -> None:
                pass

        class QuickServer(ThreadingHTTPServer):
            block_on_close = False

            def process_request(self, request: Any, client_address: Any) -> None:
                receiver.connections.append(request)
                super().process_request(request, client_address)

            def handle_error(self, request: Any, client_address: Any) -> None:
                assert receiver.stopped

        self._server = QuickServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self) -> None:
        """Go away in the middle of whatever is on its way, as a process that is killed does."""
        self.stopped = True
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?room=1"

    @property
    def numbers(self) -> list[int]:
        return ids_in_order([json.dumps(record).encode() for each in self.posted for record in each.records])


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()
    try:
        yield receiver
    finally:
        receiver.stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def run(folder: Path, url: str, **options: Any) -> WebhookSink:
    sink = WebhookSink(url=url, **{**FAST, "records": "all", **options})
    sink.open(make_info(folder))
    try:
        for result in walk(20):
            sink.write(result)
    finally:
        sink.close()
    return sink


class TestConformance(SinkConformance):
    writes_files = False

    @pytest.fixture(autouse=True)
    def _served(self, receiver: Receiver) -> None:
        self.url = receiver.url

    def make_sink(self) -> WebhookSink:
        return WebhookSink(url=self.url, **FAST)


def test_records_arrive_in_batches_with_an_id(tmp_path: Path, receiver: Receiver) -> None:
    sink = run(tmp_path, receiver.url, batch=4, linger_ms=500)
    assert receiver.numbers == list(range(1, sink.counts()["messages"] + 1))
    first = receiver.posted[0]
    assert first.path == "/hook?room=1"
    assert first.headers["content-type"] == "application/json"
    assert first.headers["webhook-id"] == f"{first.records[0]['message_id']}.{len(first.records)}"
    assert first.headers["idempotency-key"] == f'"{first.headers["webhook-id"]}"'
    assert "webhook-signature" not in first.headers
    assert max(len(each.records) for each in receiver.posted) == 4


def test_lines_are_a_record_each(tmp_path: Path, receiver: Receiver) -> None:
    run(tmp_path, receiver.url, body="lines", records="tracks")
    lines = b"".join(each.body for each in receiver.posted).splitlines()
    assert [json.loads(line)["track_id"] for line in lines] == [1, 2]
    assert receiver.posted[0].headers["content-type"] == "application/x-ndjson"


@pytest.mark.parametrize(("secret", "key"), [("hunter2", b"hunter2"), ("whsec_aHVudGVyMg==", b"hunter2")])
def test_a_secret_signs_every_request(tmp_path: Path, receiver: Receiver, secret: str, key: bytes) -> None:
    run(tmp_path, receiver.url, secret=secret)
    for each in receiver.posted:
        signed = f"{each.headers['webhook-id']}.{each.headers['webhook-timestamp']}.".encode() + each.body
        digest = hmac.new(key, signed, hashlib.sha256).digest()
        assert each.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
        assert abs(time.time() - int(each.headers["webhook-timestamp"])) < 60


def test_credentials_are_sent_and_never_shown(tmp_path: Path, receiver: Receiver) -> None:
    url = receiver.url.replace("//", "//me:hunter2@")
    sink = run(tmp_path, url, records="tracks")
    assert receiver.posted[0].headers["authorization"] == f"Basic {base64.b64encode(b'me:hunter2').decode()}"
    assert "hunter2" not in sink._where()
    run(tmp_path, url, records="tracks", authorization="Bearer x")
    assert receiver.posted[-1].headers["authorization"] == "Bearer x"


def test_what_a_server_cannot_take_now_is_sent_again(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answers = iter([(503, {}, b"busy"), (429, {"Retry-After": "0"}, b""), (500, {}, b""), (0, {}, b"")])
    sink = run(tmp_path, receiver.url)
    assert receiver.numbers == list(range(1, sink.counts()["messages"] + 1))
    assert sink.counts()["reconnects"] == 4
    # The last of them had taken it: here are the repeats that a consumer drops.
    assert sum(len(each.records) for each in receiver.posted) > sink.counts()["messages"]


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (400, b"\nno such field: bbox\nstack trace", "400 Bad Request: no such field: bbox$"),
        (401, b"", "401 Unauthorized.$"),
        (302, b"", "Redirects are not followed"),
    ],
)
def test_what_a_server_never_takes_ends_the_run(
    tmp_path: Path, receiver: Receiver, status: int, text: bytes, said: str
) -> None:
    receiver.answers = iter([(status, {"Location": "/other"}, text)] * 99)
    with pytest.raises(SinkError, match=said):
        run(tmp_path, receiver.url)


def test_a_server_that_is_not_there_fails_the_run_at_its_start(tmp_path: Path) -> None:
    with receiving() as gone:
        url = gone.url
    with pytest.raises(SinkError, match=r"http://127\.0\.0\.1:\d+ cannot be reached: Connection refused"):
        run(tmp_path, url)


def test_a_server_that_goes_away_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    first = Receiver()
    sink = WebhookSink(url=first.url, records="all", **FAST)
    sink.open(make_info(tmp_path))
    results = story()
    for result in results[:40]:
        sink.write(result)
    until(lambda: sink.counts()["delivered"] >= 20)
    first.stop()
    for result in results[40:]:
        sink.write(result)
    second = Receiver(first.port)
    sink.close()
    second.stop()
    first.posted += second.posted
    assert first.numbers == list(range(1, sink.counts()["messages"] + 1))


def test_a_connection_that_idles_is_opened_again_unseen(tmp_path: Path, receiver: Receiver) -> None:
    sink = WebhookSink(url=receiver.url, records="frames", **FAST)
    sink.open(make_info(tmp_path))
    first, second, *_ = walk(5)
    sink.write(first)
    until(lambda: receiver.posted)
    sink._transport.idle()
    sink.write(second)
    sink.close()
    assert (len(receiver.posted), sink.counts()["reconnects"]) == (2, 0)


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
