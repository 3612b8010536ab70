"""A report as the tests need it."""

from __future__ import annotations

from typing import Any

from streamtrack.benching.results import (
    Agreement,
    CapacityResult,
    Case,
    CaseResult,
    Figures,
    PipelineResult,
    Report,
    Runtime,
    StageTime,
    Trial,
)


def make_case(**changes: Any) -> Case:
    known = {"backend": "onnx", "device": "cpu", "model": "squares", "size": 320, "threads": 1}
    return Case(**(known | changes))


def make_figures(p50_ms: float = 10.0, **changes: Any) -> Figures:
    known = {
        "p50_ms": p50_ms, "p95_ms": 1.2 * p50_ms, "p99_ms": 1.5 * p50_ms, "fps": 900 / p50_ms, "cpu_percent": 100.0,
        "peak_memory_mb": 200.0, "preprocess_ms": 0.5, "postprocess_ms": 0.3, "first_p50_ms": p50_ms,
        "last_p50_ms": p50_ms,
    }  # fmt: skip
    return Figures(**(known | changes))


def make_result(p50_ms: float = 10.0, spread: float = 0.02, missing: int = 0, **case: Any) -> CaseResult:
    figures = make_figures(p50_ms)
    return CaseResult(
        case=make_case(**case), outcome="ok", ran_on="cpu", input_hw=(192, 320), load_s=0.1, rounds=3, calls=300,
        figures=figures, spread=dict.fromkeys(figures.__struct_fields__, spread),
        agreement=Agreement(
            expected=9, missing=missing, extra=0, mean_iou=0.99, worst_iou=0.98, max_score_drift=0.001
        ),
    )  # fmt: skip


def make_pipeline(source_fps: float = 200.0, profile: str = "balanced") -> PipelineResult:
    figures = {
        "source_fps": source_fps, "processed_fps": source_fps / 5, "cpu_percent": 120.0,
        "cpu_ms_per_source_frame": 5.0, "peak_memory_mb": 300.0,
    }  # fmt: skip
    stages = {
        name: StageTime(wall_ms=wall, cpu_ms=wall / 2, items=100, busy=wall / 20)
        for name, wall in (("decode", 4.0), ("detect", 12.0), ("track", 0.1))
    }
    return PipelineResult(
        profile=profile, model="squares", outcome="ok", device="cpu", rounds=2, source_frames=500,
        processed_frames=100, tracks=3, figures=figures, spread=dict.fromkeys(figures, 0.02), stages=stages,
    )  # fmt: skip


def make_capacity(streams: int = 4) -> CapacityResult:
    trials = [
        Trial(streams=n, held=n <= streams, latency_ms=40.0 * n, kept=1.0, cpu_percent=50.0 * n, memory_mb=200.0 * n,
              why="" if n <= streams else "p95 late")
        for n in (1, streams, streams + 1)
    ]  # fmt: skip
    return CapacityResult(
        profile="balanced", model="squares", promise="p95=200ms", outcome="ok", streams=streams,
        limited_by="the processor (98 % of 2 cores)", trials=trials,
    )  # fmt: skip


def make_report(**changes: Any) -> Report:
    failed = CaseResult(case=make_case(size=640), outcome="failed", reason="crashed: killed by SIGSEGV")
    known: dict[str, Any] = {
        "status": "complete", "started_utc": "2026-11-22T10:00:00+00:00", "elapsed_s": 12.5,
        "command": ["streamtrack", "bench", "--sizes=320"],
        "machine": {"processor": "Quick <4>", "memory": "8 GiB", "accelerators": "none", "system": "Linux"},
        "versions": {"python": "3.12.1"}, "commit": "abc+", "clip": "a clip", "settings": {},
        "runtimes": [
            Runtime(backend="onnx", provider="", device="cpu", available=True),
            Runtime(backend="tensorrt", provider="", device="cpu", available=False, reason="needs a GPU"),
        ],
        "cases": [make_result(), make_result(6.0, threads=2), failed],
        "pipelines": [make_pipeline()], "capacity": [make_capacity()],
    }  # fmt: skip
    return Report(**(known | changes))
