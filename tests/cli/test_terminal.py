"""What a person is told: one line while it runs, a few at the end, and nothing live where nobody looks."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.build import RunSummary
from streamtrack.channel import ChannelStats
from streamtrack.cli import _terminal
from streamtrack.latency import LatencyMetrics
from streamtrack.metrics import (
    DetectorMetrics,
    EmbedderMetrics,
    Metrics,
    ModelMetrics,
    ProcessMetrics,
    Progress,
    SourceMetrics,
)
from streamtrack.speed import SpeedMetrics, SpeedSpan


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def metrics(*, note: str = "", source: bool = True, seen: int = 250) -> Metrics:
    return Metrics(
        streamtrack_version="0",
        status="complete",
        error=None,
        device="cpu",
        backend="onnx",
        model=ModelMetrics(name="yunet", sha256="0" * 64, source="", note=note),
        profile="balanced",
        settings={},
        settings_from={},
        source=SourceMetrics(
            uri="clip.mp4", codec="h264", width=64, height=48, fps=25.0, sample_rate=5.0, duration_s=10.0,
            sampling="every 5th frame", live=False, frames_damaged=0, timestamps_repaired=0,
        )
        if source
        else None,
        totals={"tracks": 1, "detections": 70, "cuts": 1},
        frame_ledger={"seen": seen, "strided": seen - 50, "detected": 50, "corrupt": 0} if seen else {"seen": 0},
        stages={},
        channels=[],
        process=ProcessMetrics(wall_s=5.0, cpu_s=10.0, cores=2.0, cpu_ms_per_source_frame=40.0, peak_memory_mb=123.4),
    )  # fmt: skip


def test_the_line_says_how_far_and_for_how_long() -> None:
    progress = Progress(
        frames_done=50, frames_total=200, source_fps=123.45, tracks_alive=2, queue_depth=1, queue_capacity=4, eta_sec=62
    )
    assert _terminal.describe(progress) == "50/200 25% frames  123.5 source fps  2 tracks  queue 1/4  ETA 1:02"


def test_sinks_that_lost_results_are_named() -> None:
    def channel(name: str, dropped: int) -> ChannelStats:
        return ChannelStats(name, 4, 0, 4, 3000, dropped, 0.0, 0.0)

    whole = [channel("frames", 7), channel("sink jsonl", 0)]
    ran = msgspec.structs.replace(metrics(), channels=whole)
    assert "Lost" not in dict(_terminal.summary_rows(RunSummary(None, ran)))
    ran.channels = [*whole, channel("sink video", 1200), channel("sink crops 2", 1)]
    said = dict(_terminal.summary_rows(RunSummary(None, ran)))["Lost"]
    assert said.startswith("video 1,200 of 3,000, crops 2 1 of 3,000 results, being slower than the run")


def test_a_run_that_got_slower_says_so_unless_the_feed_sets_the_speed() -> None:
    def span(fps: float, per_cpu_s: float) -> SpeedSpan:
        return SpeedSpan(from_s=0, to_s=60, frames=1, fps=fps, frames_per_cpu_s=per_cpu_s)

    ran = msgspec.structs.replace(metrics(), speed=SpeedMetrics(first=span(20, 40), last=span(15, 41)))
    said = dict(_terminal.summary_rows(RunSummary(None, ran)))["Speed"]
    assert "the last minute was 25 % slower than the first (20.0 -> 15.0 frames processed a second" in said
    assert "40.0 -> 41.0 a second of CPU" in said
    ran.source.live = True
    assert "Speed" not in dict(_terminal.summary_rows(RunSummary(None, ran)))
    ran.source.live, ran.speed = False, SpeedMetrics(first=span(20, 40), last=span(17.1, 41))
    assert "Speed" not in dict(_terminal.summary_rows(RunSummary(None, ran)))


@pytest.mark.parametrize(
    ("least", "words"),
    [
        (64.0, "12 kept, 1,203 smaller than detector.min_size = 64 px: --set detector.min_size=20 keeps more"),
        (20.0, "12 kept, 1,203 smaller than detector.min_size = 20 px: --set detector.min_size=0 keeps more"),
    ],
)
def test_a_size_that_refuses_most_of_what_was_found_is_said(least: float, words: str) -> None:
    counts = DetectorMetrics(candidates=1300, suppressed=85, too_small=1203, beyond_max=0, kept=12, threshold=None)
    ran = msgspec.structs.replace(metrics(), detector=counts, settings={"detector": {"min_size": least}})
    assert ("Detections", words) in _terminal.summary_rows(RunSummary(None, ran))
    ran.detector = msgspec.structs.replace(counts, kept=1203)
    assert "Detections" not in dict(_terminal.summary_rows(RunSummary(None, ran)))


def test_the_line_says_how_much_is_on_the_tape_until_that_is_over() -> None:
    progress = Progress(frames_done=120, frames_total=9000, frames_taped=4200)
    assert _terminal.describe(progress).startswith("resuming: 4,200 frames from the tape  120/9000 1% frames")
    assert "resuming" not in _terminal.describe(Progress(frames_done=4201, frames_total=9000, frames_taped=4200))
    assert "resuming" not in _terminal.describe(Progress())


def test_the_line_promises_nothing_where_the_end_is_unknown() -> None:
    line = _terminal.describe(Progress(frames_done=50, tracks_alive=1))
    assert line.startswith("50 frames")
    assert "%" not in line
    assert "ETA" not in line


def test_of_a_live_feed_the_line_says_how_old_its_frames_are() -> None:
    assert _terminal.describe(Progress(frames_done=50, age_ms=81.4)).endswith("81 ms behind")


def test_of_a_live_feed_the_summary_says_how_late_it_was() -> None:
    late = metrics()
    late.latency = LatencyMetrics(frames=9, p50_ms=81.4, p95_ms=140.2, p99_ms=150.0, max_ms=151.0)
    rows = dict(_terminal.summary_rows(RunSummary(None, late)))
    assert rows["Latency"] == "81 ms median, 140 ms for 95 % of the frames"


@given(st.integers(0, 400_000))
def test_the_clock_reads_back(seconds: int) -> None:
    parts = [int(part) for part in _terminal.clock(seconds).split(":")]
    hours = parts[0] if len(parts) == 3 else 0
    assert 3600 * hours + 60 * parts[-2] + parts[-1] == seconds
    assert parts[-1] < 60
    assert parts[-2] < 60


def test_the_summary_says_what_was_found_and_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "crops").mkdir()
    for name in ("tracks.jsonl", ".hidden"):
        (tmp_path / name).touch()
    rows = dict(_terminal.summary_rows(RunSummary(tmp_path, metrics())))
    assert rows == {
        "Complete": "clip.mp4, 250 source frames in 0:05 (50.0 fps, 2.0 cores)",
        "Found": "1 track, 70 detections, 1 cut",
        "Model": "yunet on cpu",
        "Sampling": "every 5th frame",
        "Frames": "200 strided, 50 detected",
        "CPU": "40.0 ms per source frame, peak 123 MB",
        "Written to": f"{tmp_path}/  crops/ tracks.jsonl",
    }


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        (
            {"candidates": 1204, "low_confidence": 803, "too_small": 211, "blank": 0, "replaced": 140, "kept": 50},
            "1,204 candidates: 803 low confidence, 211 too small, 140 replaced by better; 50 kept",
        ),
        (
            {"candidates": 9, "low_confidence": 2, "low_quality": 7, "kept": 0},
            "9 candidates: 2 low confidence, 7 low quality; 0 kept (to keep some, lower crops.min_quality)",
        ),
        ({"candidates": 3, "blank": 3, "kept": 0}, "3 candidates: 3 blank; 0 kept"),
        ({"candidates": 0, "low_confidence": 0, "kept": 0}, "0 candidates; 0 kept"),
        ({"candidates": 1, "kept": 1}, "1 candidate; 1 kept"),
        ({"lines_sent": 4000, "lost": 1}, "4,000 lines sent, 1 lost"),
    ],
)
def test_the_summary_says_where_the_crops_went(counts: dict[str, int], text: str) -> None:
    found = metrics()
    found.sinks = {"crops": counts}
    assert dict(_terminal.summary_rows(RunSummary(None, found)))["Crops"] == text


@pytest.mark.parametrize(("tracks", "words"), [(85, "1,204 of 85 tracks"), (1, "1,204 of 1 track")])
def test_the_summary_says_what_was_embedded(tracks: int, words: str) -> None:
    embedder = EmbedderMetrics(
        name="sface", sha256="", source="cache", head="sface", dimension=128, batch_size=1, device="cpu",
        backend="onnx", prepare_ms=0.5, inference_ms=9.0,
    )  # fmt: skip
    counted = {"embeddings": {"embedded": 1204, "tracks": tracks}}
    found = msgspec.structs.replace(metrics(), embedder=embedder, sinks=counted)
    assert dict(_terminal.summary_rows(RunSummary(None, found)))["Embeddings"] == f"{words} (128-d, sface)"


def test_the_summary_of_a_run_that_never_began(tmp_path: Path) -> None:
    note = "yunet could not be fetched: no route to host"
    rows = dict(_terminal.summary_rows(RunSummary(None, metrics(note=note, source=False, seen=0))))
    assert rows["Model"] == "yunet on cpu (yunet could not be fetched)"
    assert rows["Frames"] == "none"
    assert not rows.keys() & {"Sampling", "Written to"}


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_the_summary_reads_the_same_on_a_terminal_and_in_a_file(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "stderr", stream())
    _terminal.show_summary(RunSummary(None, metrics()))
    written = sys.stderr.getvalue()  # type: ignore[attr-defined]
    for label, text in _terminal.summary_rows(RunSummary(None, metrics())):
        assert label in written
        assert text in written
    assert ("\x1b[" in written) == (stream is Terminal)


def test_the_live_line_is_live_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for stream in (io.StringIO(), Terminal()):
        monkeypatch.setattr(sys, "stderr", stream)
        with _terminal.ProgressLine() as line:
            line.update(Progress(frames_done=7, frames_total=9))
        assert ("7/9 77% frames" in stream.getvalue()) == stream.isatty()


def test_a_word_to_the_user_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    _terminal.say("model yunet cannot be fetched from here")
    assert capsys.readouterr() == ("", "streamtrack: model yunet cannot be fetched from here\n")
