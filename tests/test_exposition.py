"""What a scrape sees: numbers that are right, never fall where they are counters, and parse in both formats."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from streamtrack.exposition import Exposition, Health, Histogram, Rate
from streamtrack.pipeline import Outlet, Plan, StagePipeline, Stages
from streamtrack.testing.results import make_info
from streamtrack.types import FeedState, Result

from .scripted import OneTrack, Paced, Recorder, ScriptedDetector, ScriptedSource

ROOT = Path(__file__).resolve().parent.parent
PLAN = Plan(ScriptedDetector, OneTrack, lambda: make_info(None))


class Counting(Recorder):
    """Keeps every second result."""

    def counts(self) -> Mapping[str, int]:
        seen = len(self.frames)
        return {"candidates": seen, "blank": seen // 2, "kept": seen - seen // 2, "embedded": seen}


def expose(pipeline: StagePipeline, feed: FeedState | None = None, reason: str = "") -> Exposition:
    return Exposition(pipeline, lambda: {"model": 'a "b" \\ c\n', "device": "cpu"}, lambda: (feed, reason))


def scrape(exposition: Exposition) -> dict[tuple[str, str], float]:
    """Return the value of each sample by its name and the values of its labels; both formats must agree."""
    registry = CollectorRegistry()
    registry.register(exposition)
    families = [*parse_text(generate_latest(registry).decode())]
    assert all(family.documentation for family in families)
    other = [*parse_openmetrics(generate_openmetrics(registry).decode())]
    assert {sample.name for family in other for sample in family.samples} == {
        sample.name for family in families for sample in family.samples
    }
    return {
        (sample.name, " ".join(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def names(families: Iterator[Metric]) -> set[str]:
    return {
        family.name + "_total" * (family.type == "counter") + "_info" * (family.type == "info") for family in families
    }


def test_counters_never_fall_and_every_frame_is_somewhere() -> None:
    source, sink = ScriptedSource(40, stride=2), Counting()
    pipeline = StagePipeline(Stages(lambda: source, lambda info: PLAN, [Outlet("counting", sink)]))
    exposition = expose(pipeline)
    before = scrape(exposition)
    assert before["streamtrack_frames_total", "detected"] == 0
    assert exposition.health() == Health(False, "starting")
    scrapes = [before]
    with pipeline:
        assert exposition.health() == Health(True, "ok")
        for result in pipeline:
            exposition.observe(result)
            now = scrape(exposition)
            assert now["streamtrack_frames_total", "detected"] == result.frame.index // 2 + 1
            scrapes.append(now)
    assert exposition.health() == Health(False, "starting")
    scrapes.append(last := scrape(exposition))
    for earlier, later in pairwise(scrapes):
        for key, value in earlier.items():
            if key[0].endswith(("_total", "_bucket", "_count", "_sum")):
                assert later[key] >= value, key
    ledger = pipeline.ledger()._asdict()
    seen = ledger.pop("seen")
    assert {bucket: last["streamtrack_frames_total", bucket] for bucket in ledger} == ledger
    assert sum(ledger.values()) == seen == 40
    assert last["streamtrack_frames_in_flight", ""] == 0
    assert last["streamtrack_tracks_born_total", ""] == last["streamtrack_tracks_alive", ""] == 1
    assert last["streamtrack_detections_total", ""] == 20
    assert last["streamtrack_boxes_total", "suppressed"] == last["streamtrack_boxes_total", "kept"] == 20
    assert last["streamtrack_sink_results_total", "counting"] == last["streamtrack_embeddings_total", ""] == 20
    assert last["streamtrack_sink_items", "kept counting"] == 10
    assert ("streamtrack_sink_items", "candidates counting") not in last
    assert last["streamtrack_frame_interval_seconds_count", ""] == 19
    assert last["streamtrack_run_info", 'cpu a "b" \\ c\n'] == 1
    # Neither is of a file.
    assert not {"streamtrack_feed_state", "streamtrack_latency_seconds_count"} & {name for name, _ in last}


def test_frames_that_wait_are_in_flight_and_no_drop_until_the_run_ends() -> None:
    stages = Stages(lambda: ScriptedSource(10**6), lambda info: PLAN, queue_size=3)
    with StagePipeline(stages) as pipeline:
        exposition = expose(pipeline)
        for result in pipeline:
            now = scrape(exposition)
            assert now["streamtrack_frames_total", "dropped_queue"] == 0
            if now["streamtrack_frames_in_flight", ""] >= 3:
                break
            assert result.frame.index < 10**5
    # They were never tracked: now they are lost.
    assert pipeline.ledger().dropped_queue >= 3


def test_a_live_feed_has_ages_a_state_and_health() -> None:
    slow = Recorder(delay_s=0.05)
    pipeline = StagePipeline(Stages(lambda: Paced(20, live=True), lambda info: PLAN, [Outlet("slow", slow)]))
    exposition = expose(pipeline, "reconnecting", "rtsp://***@camera: refused")
    with pipeline:
        assert exposition.health() == Health(False, "feed reconnecting: rtsp://***@camera: refused")
        results: list[Result] = []
        for result in pipeline:
            exposition.observe(result)
            results.append(result)
        assert expose(pipeline, "live").health() == Health(True, "ok") or pipeline.finished
    last = scrape(exposition)
    states = {label: value for (name, label), value in last.items() if name == "streamtrack_feed_state"}
    assert states == {"connecting": 0, "live": 0, "stalled": 0, "reconnecting": 1, "failed": 0}
    assert last["streamtrack_healthy", ""] == 0
    ages = [result.age_ms / 1000 for result in results if result.age_ms is not None]
    assert last["streamtrack_latency_seconds_count", ""] == len(ages) == len(results)
    assert last["streamtrack_latency_seconds_sum", ""] == pytest.approx(sum(ages))
    dropped = last["streamtrack_sink_results_dropped_total", "slow"]
    assert dropped == len(results) - len(slow.frames) > 0
    assert last["streamtrack_sink_results_total", "slow"] == len(results)


@given(values=st.lists(st.floats(0, 20, allow_nan=False)), bounds=st.sets(st.floats(0.001, 10), min_size=1, max_size=8))
def test_a_histogram_counts_what_is_at_or_below_each_bound(values: list[float], bounds: set[float]) -> None:
    histogram = Histogram(sorted(bounds))
    for value in values:
        histogram.add(value)
    samples = {sample.labels.get("le", sample.name): sample.value for sample in histogram.family("x", "about").samples}
    for bound in bounds:
        assert samples[repr(bound)] == sum(value <= bound for value in values)
    assert samples["+Inf"] == samples["x_count"] == len(values)
    assert samples["x_sum"] == pytest.approx(sum(values))


def test_a_rate_is_of_lately_and_falls_when_nothing_comes() -> None:
    now = [100.0]
    rate = Rate(lambda: now[0])
    assert rate.per_second() == 0
    for _ in range(400):
        rate.add()
        now[0] += 0.05
    assert rate.per_second() == pytest.approx(20, rel=0.01)
    now[0] += 5
    assert rate.per_second() == pytest.approx(10, rel=0.02)
    now[0] += 20
    assert rate.per_second() == 0
    rate.add()
    now[0] += 0.5
    assert rate.per_second() == pytest.approx(0.1, rel=0.01)


def test_a_scrape_from_another_thread_finds_whole_histograms() -> None:
    histogram, stop = Histogram((0.5,)), threading.Event()

    def fill() -> None:
        while not stop.is_set():
            histogram.add(1.0)

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        for _ in range(200):
            samples = {s.labels.get("le", s.name): s.value for s in histogram.family("x", "about").samples}
            assert samples["+Inf"] == samples["x_sum"]
    finally:
        stop.set()
        thread.join()


@pytest.fixture(scope="module")
def every_family() -> set[str]:
    """The names of all that a run with everything exposes; the process's own come from the library."""
    source = Paced(3, live=True)
    pipeline = StagePipeline(Stages(lambda: source, lambda info: PLAN, [Outlet("counting", Counting())]))
    exposition = expose(pipeline, "live")
    with pipeline:
        for result in pipeline:
            exposition.observe(result)
    return names(exposition.collect())


def test_the_page_lists_every_family(every_family: set[str]) -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(streamtrack_\w+)", text, re.MULTILINE))
    assert listed == every_family


def test_the_dashboard_asks_only_for_what_there_is(every_family: set[str]) -> None:
    board = json.loads((ROOT / "docs" / "grafana" / "streamtrack.json").read_text(encoding="utf-8"))
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    known = every_family | {"process_cpu_seconds_total", "process_resident_memory_bytes", "up"}
    known |= {
        f"{name}_{part}" for name in every_family for part in ("bucket", "count", "sum") if name.endswith("_seconds")
    }
    asked = {name for text in expressions for name in re.findall(r"\b(?:streamtrack|process)_\w+", text)}
    assert asked - known == set()
    assert len(asked) > 15
    variables = {variable["name"] for variable in board["templating"]["list"]}
    assert {name for text in expressions for name in re.findall(r"\$(\w+)", text)} <= variables | {"__rate_interval"}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in panels:
        assert panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        grid = panel["gridPos"]
        assert 0 <= grid["x"] <= 24 - grid["w"]
