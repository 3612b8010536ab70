"""What a run tells about itself, for the tests of the report."""

from __future__ import annotations

from typing import Any

import msgspec

from streamtrack.latency import LatencyMetrics
from streamtrack.metrics import DetectorMetrics, Metrics, ModelMetrics, ProcessMetrics, SourceMetrics, StageMetrics
from streamtrack.sinks._gallery import Gallery
from streamtrack.testing.results import make_frame, make_result

BOX = (60.0, 60.0, 140.0, 160.0)
LATENCY = LatencyMetrics(frames=50, p50_ms=81.0, p95_ms=120.0, p99_ms=150.0, max_ms=190.0)


def make_told(**changes: Any) -> dict[str, Any]:
    """Return what ``track_metrics.json`` of a strided run with crops holds, but for ``changes``."""
    plain = Metrics(
        streamtrack_version="0",
        status="complete",
        error=None,
        device="cpu",
        backend="onnx",
        model=ModelMetrics(name="yunet", sha256="0123456789abcdef" * 4, source="cache", note="old: and /a/place"),
        profile="balanced",
        settings={
            "source": {"stride": 5, "fps": 0.0},
            "detector": {"min_size": 64.0, "nms": "hard", "max_detections": 1000},
            "crops": {"min_confidence": 0.75, "min_size": 50.0},
        },
        settings_from={"source.stride": "command line", "source.fps": "profile balanced"},
        source=SourceMetrics(
            uri="clip.mp4", codec="h264", width=320, height=240, fps=25.0, sample_rate=5.0, duration_s=10.0,
            sampling="every 5th frame", live=False, frames_damaged=0, timestamps_repaired=0,
        ),
        detector=DetectorMetrics(candidates=100, suppressed=10, too_small=20, beyond_max=0, kept=70, threshold=None),
        totals={"tracks": 1, "detections": 65, "cuts": 1, "frames_processed": 50},
        frame_ledger={
            "seen": 250, "strided": 200, "detected": 50, "coasted": 0, "dropped_queue": 0, "dropped_stale": 0,
            "corrupt": 0,
        },
        sinks={"crops": {"candidates": 40, "low_confidence": 30, "too_small": 3, "kept": 7}},
        stages={
            "decode": StageMetrics(wall_s=1.0, cpu_s=1.1, items=50),
            "infer": StageMetrics(wall_s=4.0, cpu_s=3.0, items=50),
        },
        channels=[],
        process=ProcessMetrics(wall_s=5.0, cpu_s=10.0, cores=2.0, cpu_ms_per_source_frame=40.0, peak_memory_mb=123.4),
    )  # fmt: skip
    told: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(plain, **changes))
    return told


def make_gallery(tracks: int, *, frames_each: int = 2, max_tracks: int = 48) -> Gallery:
    """Return a gallery of ``tracks`` tracks that follow each other, ended."""
    gallery, number = Gallery(max_tracks), 0
    for track in range(1, tracks + 1):
        for _ in range(frames_each):
            gallery.add(make_result(make_frame(number, width=160, height=160), [(track, BOX)]))
            number += 1
        gallery.add(make_result(make_frame(number, width=8, height=8), ended=[track]))
        number += 1
    gallery.end()
    return gallery
