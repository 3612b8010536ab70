from pathlib import Path

import pytest

from streamtrack.api import Sink
from streamtrack.errors import ConfigError, SinkError
from streamtrack.sinks.report import ReportSink
from streamtrack.testing.results import make_info, walk
from streamtrack.testing.sinks import SinkConformance

from .report_samples import make_told


class TestReportSink(SinkConformance):
    def make_sink(self) -> Sink:
        return ReportSink()


def closed(folder: Path, sink: ReportSink) -> ReportSink:
    sink.open(make_info(folder))
    for result in walk(20, tracks=3):
        sink.write(result)
    sink.close()
    return sink


def test_the_page_is_there_when_the_sink_is_closed_and_tells_more_when_the_run_is_concluded(tmp_path: Path) -> None:
    sink = closed(tmp_path, ReportSink(path="pages/who.html"))
    first = (tmp_path / "pages" / "who.html").read_text()
    assert first.count("<article") == 3
    assert "<h2>Speed</h2>" not in first
    sink.conclude(make_told())
    second = (tmp_path / "pages" / "who.html").read_text()
    assert second.count("<article") == 3
    assert "<h2>Speed</h2>" in second
    assert [path.name for path in (tmp_path / "pages").iterdir()] == ["who.html"]


def test_no_more_tracks_than_asked_for_have_pictures(tmp_path: Path) -> None:
    closed(tmp_path, ReportSink(max_tracks=2))
    assert (tmp_path / "report.html").read_text().count("<article") == 2


def test_a_run_that_never_opened_its_sinks_is_concluded_without_a_page() -> None:
    ReportSink().conclude(make_told(status="failed", error="x"))


def test_a_sink_that_was_never_closed_is_left_alone(tmp_path: Path) -> None:
    sink = ReportSink()
    sink.open(make_info(tmp_path))
    sink.conclude(make_told())
    assert list(tmp_path.iterdir()) == []


def test_bad_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"report\.max_tracks = 0"):
        ReportSink(max_tracks=0)
    with pytest.raises(SinkError, match="inside the run's folder"):
        ReportSink(path="../report.html").open(make_info(tmp_path))
