"""At least once and in order, whatever the broker does: the delivery with a transport that records."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_type_hints

import msgspec
import pytest
from brokers import FAST, ids_in_order, story, until
from hypothesis import given, settings
from hypothesis import strategies as st

from streamtrack.errors import ConfigError, InternalError, SinkError
from streamtrack.sinks._delivery import Options, Refused, Settings, StreamSink, Unreachable, settle
from streamtrack.sinks._messages import Message
from streamtrack.testing.results import make_info, walk
from streamtrack.testing.sinks import SinkConformance


class Broker:
    """A transport to a list."""

    name = "fake"
    place = identity = "fake://host"

    def __init__(self) -> None:
        self.up = True
        self.stored: list[Message] = []
        self.batches: list[list[str]] = []
        self.connects = 0
        self.outcomes: Iterator[int | None] = iter(())
        """For each batch: None to take it, or how many of its messages are stored before the connection breaks."""
        self.refusal = ""
        self.closed = False

    def connect(self, timeout_s: float) -> None:
        self.connects += 1
        if not self.up:
            raise Unreachable("nobody listens at fake://me:hunter2@host.")

    def publish(self, messages: Sequence[Message], timeout_s: float) -> None:
        self.batches.append([message.id for message in messages])
        if not self.up:
            raise Unreachable("connection reset.")
        if self.refusal:
            raise Refused(self.refusal)
        count = next(self.outcomes, None)
        self.stored += messages[:count]
        if count is not None:
            raise Unreachable("connection reset.")

    def idle(self) -> None:
        pass

    def disconnect(self) -> None:
        self.closed = True

    @property
    def numbers(self) -> list[int]:
        return ids_in_order([message.body for message in self.stored])


def made(broker: Broker, **options: Any) -> StreamSink:
    return StreamSink(broker, settle("fake", {**FAST, "records": "all", **options}))


def fill(sink: StreamSink, folder: Path) -> None:
    sink.open(make_info(folder))
    for result in story():
        sink.write(result)


class TestConformance(SinkConformance):
    writes_files = False

    def make_sink(self) -> StreamSink:
        return made(Broker())


def test_everything_arrives_once_and_nothing_is_left_on_disk(tmp_path: Path) -> None:
    broker = Broker()
    sink = made(broker, linger_ms=500)
    fill(sink, tmp_path)
    sink.close()
    counts = sink.counts()
    assert broker.numbers == list(range(1, len(broker.stored) + 1))
    assert counts == {
        "messages": len(broker.stored), "replayed": 0, "delivered": len(broker.stored), "resent": 0, "dropped": 0,
        "reconnects": 0, "waiting": 0,
    }  # fmt: skip
    assert broker.closed
    assert not list(tmp_path.iterdir())
    assert max(map(len, broker.batches)) == FAST["batch"]


@settings(max_examples=25)
@given(st.lists(st.none() | st.integers(0, 5), max_size=30))
def test_a_connection_that_breaks_anywhere_costs_repeats_and_nothing_else(outcomes: list[int | None]) -> None:
    broker = Broker()
    broker.outcomes = iter(outcomes)
    sink = made(broker, retry_first_s=0.0001, retry_max_s=0.0002)
    with TemporaryDirectory() as folder:
        fill(sink, Path(folder))
        sink.close()
    counts = sink.counts()
    assert broker.numbers == list(range(1, counts["messages"] + 1))
    assert counts["delivered"] == counts["messages"]
    assert counts["reconnects"] == sum(outcome is not None for outcome in outcomes)


def test_a_batch_is_sent_again_as_it_was(tmp_path: Path) -> None:
    broker = Broker()
    broker.outcomes = iter([2])
    sink = made(broker)
    fill(sink, tmp_path)
    sink.close()
    assert broker.batches[0] == broker.batches[1]
    assert sink.counts()["resent"] == len(broker.batches[0])


def test_what_is_left_at_the_end_is_sent_by_the_next_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broker = Broker()
    sink = made(broker, close_timeout_s=0)
    sink.open(make_info(tmp_path))
    first, *rest = story()
    broker.up = False
    for result in [first, *rest]:
        sink.write(result)
    sink.close()
    left = sink.counts()["waiting"]
    assert f"{left} messages could not be delivered to fake://host and stay in" in caplog.text
    assert sink.counts()["messages"] == left + len(broker.stored)

    broker.up = True
    again = made(broker, source="other")
    again.open(make_info(tmp_path))
    again.write(rest[-1])
    again.close()
    assert again.counts()["replayed"] == left
    ids = [message.id for message in broker.stored]
    assert ids == sorted(set(ids))
    assert [message.source for message in broker.stored[:left]] == ["synthetic"] * left
    assert again.counts()["delivered"] == left + again.counts()["messages"]


def test_a_broker_that_is_not_there_at_the_start_fails_the_run_without_its_password(tmp_path: Path) -> None:
    broker = Broker()
    broker.up = False
    sink = made(broker)
    with pytest.raises(SinkError, match=r"fake://host cannot be reached: .*wait=true") as caught:
        sink.open(make_info(tmp_path))
    assert "hunter2" not in str(caught.value)
    sink.close()
    assert broker.connects == 1


def test_or_is_waited_for_if_told_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    broker = Broker()
    broker.up = False
    sink = made(broker, wait=True)
    fill(sink, tmp_path)
    until(lambda: broker.connects > 2)
    broker.up = True
    sink.close()
    assert broker.numbers == list(range(1, sink.counts()["messages"] + 1))
    assert [record.getMessage().partition("; ")[0] for record in caplog.records] == [
        "fake: fake://host is not there: nobody listens at fake://***@host.",
        "fake: fake://host is there",
    ]


def test_a_message_that_is_refused_ends_the_run_and_stays(tmp_path: Path) -> None:
    broker = Broker()
    sink = made(broker)
    sink.open(make_info(tmp_path))
    broker.refusal = "it answered 400 Bad Request: no such field."
    sink.write(story()[0])
    with pytest.raises(SinkError, match="refuses: it answered 400 Bad Request: no such field"):
        until(lambda: sink.write(story()[0]))
    sink.close()
    assert sink.counts()["waiting"] == sink.counts()["messages"] > 0


def test_a_refusal_that_nobody_heard_of_is_raised_at_the_end(tmp_path: Path) -> None:
    broker = Broker()
    sink = made(broker)
    sink.open(make_info(tmp_path))
    sink.write(story()[0])
    broker.refusal = "no."
    with pytest.raises(SinkError, match="refuses"):
        sink.close()


def test_a_fault_of_a_transport_is_an_internal_error(tmp_path: Path) -> None:
    broker = Broker()
    broker.outcomes = iter(["no number"])  # type: ignore[arg-type]
    sink = made(broker)
    sink.open(make_info(tmp_path))
    with pytest.raises(InternalError, match="fake://host: TypeError"):
        fill_and_close(sink)


def fill_and_close(sink: StreamSink) -> None:
    try:
        for result in story():
            sink.write(result)
    finally:
        sink.close()


def test_a_full_spool_makes_the_run_wait_until_the_broker_is_back(tmp_path: Path) -> None:
    broker = Broker()
    sink = made(broker, spool_mb=0.01)
    sink.open(make_info(tmp_path))
    broker.up = False
    done = threading.Event()

    def write() -> None:
        for result in story():
            sink.write(result)
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    assert not done.wait(0.2)
    broker.up = True
    thread.join()
    sink.close()
    assert broker.numbers == list(range(1, sink.counts()["messages"] + 1))


def test_a_run_that_is_stopped_waits_for_nobody_and_loses_nothing(tmp_path: Path) -> None:
    broker = Broker()
    sink = made(broker, spool_mb=0.01)
    sink.open(make_info(tmp_path))
    broker.up = False
    threading.Timer(0.1, sink.interrupt).start()
    for result in story():
        sink.write(result)
    sink._deadline = time.monotonic()
    sink.close()
    assert sink.counts()["waiting"] + len(set(broker.stored)) >= sink.counts()["messages"] > 150


def test_a_full_spool_may_drop_the_oldest_and_counts_them(tmp_path: Path) -> None:
    broker = Broker()
    sink = made(broker, spool_mb=0.01, spool_full="drop_oldest")
    sink.open(make_info(tmp_path))
    broker.up = False
    for result in story():
        sink.write(result)
    broker.up = True
    sink.close()
    counts = sink.counts()
    assert counts["dropped"] > 0
    assert counts["messages"] == counts["delivered"] + counts["dropped"]
    assert broker.numbers == sorted(broker.numbers)
    assert broker.numbers[-1] == counts["messages"]


def test_a_run_without_a_folder_needs_a_spool_of_its_own(tmp_path: Path) -> None:
    sink = made(Broker())
    with pytest.raises(SinkError, match=r"--out.*fake:spool=FOLDER"):
        sink.open(make_info(None))
    sink.close()
    broker = Broker()
    sink = made(broker, spool=str(tmp_path / "elsewhere"))
    sink.open(make_info(None))
    sink.write(story()[0])
    sink.close()
    assert broker.stored


def test_two_sinks_cannot_share_a_spool_unless_they_send_elsewhere(tmp_path: Path) -> None:
    one, same, other = (made(Broker()) for _ in range(3))
    other._transport.identity = "fake://host/other"
    for sink in (one, other):
        sink.open(make_info(tmp_path))
    with pytest.raises(SinkError, match="is in use by process"):
        same.open(make_info(tmp_path))
    for sink in (one, same, other):
        sink.close()


def test_a_folder_that_cannot_be_written_is_a_sink_error(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    sink = made(Broker())
    with pytest.raises(SinkError, match="cannot be opened"):
        sink.open(make_info(tmp_path / "run"))
    sink.close()


def test_a_lost_broker_is_told_of_once_and_its_return_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    broker = Broker()
    sink = made(broker)
    sink.open(make_info(tmp_path))
    broker.up = False
    sink.write(story()[2])
    until(lambda: broker.connects > 3)
    broker.up = True
    sink.close()
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "fake: fake://host is lost: connection reset.",
        "fake: fake://host is there again",
    ]


def test_a_broker_says_how_long_to_leave_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker()
    sink = made(broker)
    asked: list[float] = []
    pause = sink._pause
    monkeypatch.setattr(sink, "_pause", lambda backoff, after_s: (asked.append(after_s), pause(backoff, 0.0)))
    replies: Iterator[Exception | None] = iter([Unreachable("busy", 30.0)])

    def publish(messages: Sequence[Message], timeout_s: float) -> None:
        if (error := next(replies, None)) is not None:
            raise error

    monkeypatch.setattr(broker, "publish", publish)
    fill(sink, tmp_path)
    sink.close()
    assert asked == [30.0]


def test_settings_are_the_shared_options_and_are_checked() -> None:
    assert set(Settings.__struct_fields__) == set(get_type_hints(Options))
    assert settle("fake", {}) == Settings()
    with pytest.raises(ConfigError, match=r"'fake'.*batch"):
        settle("fake", {"batch": 0})


def test_the_message_of_a_spool_is_the_message_that_is_sent(tmp_path: Path) -> None:
    broker = Broker()
    sink = made(broker, records="tracks", encoding="msgpack")
    sink.open(make_info(tmp_path))
    for result in walk(20):
        sink.write(result)
    sink.close()
    bodies = [msgspec.msgpack.decode(message.body) for message in broker.stored]
    assert [body["track_id"] for body in bodies] == [1, 2]
    assert [body["message_id"] for body in bodies] == [message.id for message in broker.stored]
