"""Two hours of a feed of 5 frames a second, sent as fast as they are taken, through a whole run into a folder."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

import pytest
from servers import Clips, TsTcpFeed, needs_servers

import streamtrack
from streamtrack.testing.models import write_square_detector

pytestmark = [needs_servers, pytest.mark.slow]

FRAMES = 2 * 3600 * 5


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def test_two_hours_leave_nothing_behind(clips: Clips, tmp_path: Path) -> None:
    model, out = str(write_square_detector(tmp_path / "squares.onnx")), tmp_path / "out"
    settings = {"detector.input_size": 96, "output.save_frames": False, "runtime.threads": 1}
    marks = [FRAMES // 3, 2 * FRAMES // 3, FRAMES]
    memory_mb: list[float] = []
    threads: list[int] = []
    with (
        TsTcpFeed(clips, paced=False) as server,
        streamtrack.Pipeline(server.url, model=model, stride=1, out=out, set=settings) as pipeline,
    ):
        for result in pipeline:
            if result.frame.index >= marks[len(memory_mb)]:
                gc.collect()
                memory_mb.append(_resident_mb())
                threads.append(threading.active_count())
                if len(memory_mb) == len(marks):
                    break
    assert pipeline.source_stats.reconnects == 0
    assert len(set(threads)) == 1
    # Of 8,000 results 400 bytes each, kept by a library, were 3 MB.
    assert memory_mb[-1] - memory_mb[0] < 2.5, memory_mb
    ledger = pipeline.ledger()
    assert sum(ledger[1:]) == ledger.seen > FRAMES
