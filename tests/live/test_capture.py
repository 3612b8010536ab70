"""When frames were captured: what the records of a run say, against the clock that the camera shows in its pixels."""

from __future__ import annotations

import json
import statistics
from datetime import datetime
from pathlib import Path

import pytest
from servers import Clips, RtspServer, needs_servers, read_clock

import streamtrack
from streamtrack.testing.models import write_square_detector

pytestmark = needs_servers

# GStreamer's server reports its clock after two seconds, of which a busy machine looks at few frames or none.
FRAMES, LOOKED_AT, SOME = 110, 60, 25


def test_records_say_when_their_frames_were_captured(clips: Clips, tmp_path: Path) -> None:
    model, out = str(write_square_detector(tmp_path / "squares.onnx")), tmp_path / "out"
    clock_ms: dict[int, int] = {}
    settings = {"detector.input_size": 160, "output.save_frames": False}
    with (
        RtspServer(clips, clock=True) as server,
        streamtrack.Pipeline(server.url, model=model, stride=1, out=out, set=settings) as pipeline,
    ):
        for result in pipeline:
            clock_ms[result.frame.index] = read_clock(result.frame.rgb())
            if result.frame.index > FRAMES and len(clock_ms) >= LOOKED_AT:
                break
    lines = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    late_ms, age_off_ms = [], []
    for line in lines:
        captured_ms = datetime.fromisoformat(line["time_utc"]).timestamp() * 1000
        late_ms.append(captured_ms - clock_ms[line["frame_idx"]])
        age_off_ms.append(line["age_ms"])
    assert [line["frame_idx"] for line in lines] == list(clock_ms)
    # A frame is not captured before it is drawn: half a frame for two clocks' sake.
    assert statistics.median(late_ms[:SOME]) > -20
    # First the time of arrival, then the camera's own.
    assert statistics.median(late_ms[:SOME]) < 1000
    assert abs(statistics.median(late_ms[-SOME:])) < 250
    assert 0 <= statistics.median(age_off_ms) < 2000
    metrics = json.loads((out / "track_metrics.json").read_text())
    assert metrics["latency"]["frames"] == len(lines)
    assert metrics["latency"]["p50_ms"] == pytest.approx(statistics.median(age_off_ms), rel=0.1, abs=2)
