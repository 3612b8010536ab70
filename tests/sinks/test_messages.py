"""Messages: records with an id that is of no other, in a name that any broker takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamtrack.errors import ConfigError
from streamtrack.records import detection_records, frame_record
from streamtrack.sinks._messages import Message, MessageWriter, Records, Template, joined, source_label
from streamtrack.testing.results import make_info, walk


def messages(records: Records, encoding: str = "json", run_id: str = "") -> list[Message]:
    writer = MessageWriter(records, encoding, "door", run_id)  # type: ignore[arg-type]
    return [message for result in walk(20) for message in writer.add(result)] + writer.finish()


def test_a_message_is_the_record_with_its_id_kind_and_source() -> None:
    results = list(walk(20))
    found = [msgspec.json.decode(message.body) for message in messages("detections")]
    wanted = [msgspec.to_builtins(record) for result in results for record in detection_records(result)]
    assert len(found) == len(wanted) > 20
    for body, record in zip(found, wanted, strict=True):
        assert body == {"message_id": body["message_id"], "record": "detection", "source": "door", **record}


def test_msgpack_holds_the_same_as_json() -> None:
    for text, packed in zip(messages("all"), messages("all", "msgpack"), strict=True):
        body = msgspec.json.decode(text.body)
        assert msgspec.msgpack.decode(packed.body) == {**body, "message_id": packed.id}


def test_all_records_come_in_the_order_in_which_files_have_them() -> None:
    kinds = [message.record for message in messages("all")]
    assert kinds.count("frame") == 20
    assert kinds.count("track") == 2
    assert kinds[-1] == "track"
    first = next(walk(20))
    assert kinds[: len(first.detections) + 1] == ["detection"] * len(first.detections) + ["frame"]
    assert msgspec.json.decode(messages("frames")[0].body)["pts_ns"] == frame_record(first).pts_ns


def test_ids_are_unique_over_runs_and_sort_in_order() -> None:
    ids = [message.id for _ in range(3) for message in messages("all")]
    assert len(set(ids)) == len(ids)
    one = [message.id for message in messages("all")]
    assert one == sorted(one)


def test_a_run_that_is_resumed_gives_the_same_ids_to_the_same_messages_only() -> None:
    assert messages("all", run_id="12ab") == messages("all", run_id="12ab")
    kinds = [
        ("all", "json", "12ab"),
        ("detections", "json", "12ab"),
        ("all", "msgpack", "12ab"),
        ("all", "json", "12ac"),
    ]
    ids = [message.id for kind in kinds for message in messages(*kind)]  # type: ignore[arg-type]
    assert len(set(ids)) == len(ids)


def test_a_message_comes_back_from_the_spool_as_it_was() -> None:
    for message in messages("tracks"):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=Message) == message
    assert joined(messages("tracks"), b"\n").count(b"\n") == 1


@pytest.mark.parametrize(
    ("uri", "given_label", "label"),
    [
        ("clips/front door.mp4", "", "front_door"),
        ("rtsp://***@10.0.0.7:554/live/main?x=1", "", "10_0_0_7_554_live_main"),
        ("/dev/video0", "", "video0"),
        ("clip.mp4", "gate 3", "gate_3"),
        ("***", "", "stream"),
    ],
)
def test_a_source_has_a_label_that_fits_into_any_subject(uri: str, given_label: str, label: str) -> None:
    info = make_info(Path("run"))
    assert source_label(replace(info, source=replace(info.source, uri=uri)), given_label) == label


@settings(max_examples=50)
@given(st.text(), st.text())
def test_no_label_holds_what_means_something_to_a_broker(uri: str, label: str) -> None:
    info = make_info(Path("run"))
    try:
        found = source_label(replace(info, source=replace(info.source, uri=uri)), label)
    except ValueError:
        # Such a URL is refused by every source.
        return
    assert found
    assert not set(found) & set(".*>/+#{} $")


def test_a_template_names_source_and_record() -> None:
    template = Template("nats.subject", "a.{source}.{record}")
    assert template.of(messages("tracks")[0]) == "a.door.track"
    assert template.pattern("*") == "a.*.*"


@pytest.mark.parametrize(("text", "said"), [("", "is empty"), ("a.{sorce}", "Did you mean 'source'")])
def test_a_template_that_cannot_be_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Template("nats.subject", text)
