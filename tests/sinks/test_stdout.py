"""Track records on standard output, and nothing else there."""

from __future__ import annotations

import io
import json
import sys
from types import SimpleNamespace

import pytest

from streamtrack.errors import SinkError
from streamtrack.sinks.stdout import StdoutSink
from streamtrack.testing.results import make_info, walk


def output(sink: StdoutSink, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=buffer))
    sink.open(make_info(None))
    for result in walk(20):
        sink.write(result)
    sink.close()
    return [json.loads(line) for line in buffer.getvalue().splitlines()]


def test_a_line_per_track(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [line["track_id"] for line in output(StdoutSink(), monkeypatch)] == [1, 2]


def test_a_line_per_detection(monkeypatch: pytest.MonkeyPatch) -> None:
    found = output(StdoutSink(records="detections"), monkeypatch)
    assert len(found) == sum(len(result.detections) for result in walk(20))
    assert {"frame_idx", "bbox"} <= found[0].keys()


def test_a_reader_that_has_gone_is_a_sink_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.BytesIO):
        def write(self, data: object) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=Gone()))
    sink = StdoutSink()
    sink.open(make_info(None))
    first, second, *_ = walk(20)
    sink.write(first)
    sink.write(second)
    with pytest.raises(SinkError, match="Broken pipe"):
        sink.close()
