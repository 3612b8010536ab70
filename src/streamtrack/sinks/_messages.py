"""What a stream carries: a record of the run as one message, with an id by which a consumer knows it again."""

from __future__ import annotations

import re
import secrets
import time
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec

from streamtrack.errors import ConfigError, did_you_mean
from streamtrack.records import TrackLedger, detection_records, frame_record
from streamtrack.types import Result, RunInfo

Records = Literal["tracks", "detections", "frames", "all"]
Encoding = Literal["json", "msgpack"]

PLACEHOLDERS: Final = ("source", "record")
_LONGEST_LABEL: Final = 60


class Message(msgspec.Struct, frozen=True, array_like=True):
    """One record on its way; a spool holds it as MessagePack."""

    id: str
    """Of no other message, and the same however often it is sent. Ids of a run sort in the order of its messages."""
    source: str
    """Label of the source it is about."""
    record: str
    """``track``, ``detection`` or ``frame``."""
    body: bytes
    """The record in the encoding that was asked for, ``message_id``, ``record`` and ``source`` within."""


class MessageWriter:
    """Turns results into messages.

    Args:
        records: which records: ``tracks`` as they end, ``detections`` and ``frames`` as they happen, or ``all``.
        encoding: of the bodies.
        source: label of the source.
        run_id: of ``RunInfo``: a run that is resumed gives its messages the ids that they had.
    """

    def __init__(self, records: Records, encoding: Encoding, source: str, run_id: str = "") -> None:
        self._wanted = {"track", "detection", "frame"} if records == "all" else {records.removesuffix("s")}
        self._source = source
        self._ledger = TrackLedger()
        # Milliseconds first, so that ids sort over runs as well; then what keeps apart two that began together.
        run = run_id or f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(4)}"
        # A number means another message where other messages are asked for.
        self._run = f"{run}{zlib.crc32(f'{records} {encoding} {source}'.encode()):08x}"
        self._number = 0
        encoder = msgspec.json.Encoder() if encoding == "json" else msgspec.msgpack.Encoder()
        self._encode = encoder.encode

    def add(self, result: Result) -> list[Message]:
        """Return the messages of one result, in the order in which files of a run have them."""
        messages: list[Message] = []
        if "detection" in self._wanted:
            messages += self._messages("detection", detection_records(result))
        if "frame" in self._wanted:
            messages += self._messages("frame", [frame_record(result)])
        if "track" in self._wanted:
            messages += self._messages("track", self._ledger.add(result))
        return messages

    def finish(self) -> list[Message]:
        """Return the messages of the tracks still alive; the run is over."""
        return self._messages("track", self._ledger.finish())

    def _messages(self, record: str, found: Iterable[msgspec.Struct]) -> list[Message]:
        return [self._message(record, each) for each in found]

    def _message(self, record: str, found: msgspec.Struct) -> Message:
        self._number += 1
        message_id = f"{self._run}-{self._number:09d}"
        body: dict[str, Any] = {"message_id": message_id, "record": record, "source": self._source}
        for name in found.__struct_fields__:
            value = getattr(found, name)
            if value is not msgspec.UNSET:
                body[name] = value
        return Message(message_id, self._source, record, self._encode(body))


def source_label(info: RunInfo, given: str) -> str:
    """Return what messages call the source: letters, digits, ``_`` and ``-`` only, so that it fits into any subject.

    Args:
        info: of the run; without ``given``, of a file its name without suffix, of a URL its host and path.
        given: by a person.
    """
    text = given
    if not given:
        uri = info.source.uri
        url = urlsplit(uri.partition("?")[0]) if "://" in uri else None
        text = f"{url.netloc.rpartition('@')[2]}{url.path}" if url else re.sub(r"\.\w+$", "", uri.rpartition("/")[2])
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text)[:_LONGEST_LABEL].strip("_") or "stream"


class Template:
    """A name with ``{source}`` and ``{record}`` in it, such as the subject of a message.

    Raises:
        ConfigError: it is empty, or has another placeholder.
    """

    def __init__(self, option: str, text: str) -> None:
        self.text = text
        if not text:
            raise ConfigError(f"Option {option} is empty.")
        for name in re.findall(r"\{([^{}]*)\}", text):
            if name not in PLACEHOLDERS:
                raise ConfigError(
                    f"Option {option} has no placeholder '{{{name}}}'.{did_you_mean(name, PLACEHOLDERS)} "
                    "Known: {source}, {record}."
                )

    def of(self, message: Message) -> str:
        """Return the name for ``message``."""
        return self.text.replace("{source}", message.source).replace("{record}", message.record)

    def pattern(self, wildcard: str) -> str:
        """Return the name with ``wildcard`` for each placeholder."""
        return re.sub(r"\{[^{}]*\}", wildcard, self.text)


def joined(messages: Sequence[Message], separator: bytes) -> bytes:
    """Return the bodies of ``messages`` in one piece."""
    return separator.join(message.body for message in messages)
