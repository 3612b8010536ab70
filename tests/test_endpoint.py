"""Real requests to the endpoint, of a real run too: what it answers, what it refuses, and that it goes when asked."""

from __future__ import annotations

import http.client
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

import streamtrack
from streamtrack.cli import main
from streamtrack.endpoint import MetricsEndpoint
from streamtrack.errors import PluginError, SinkError
from streamtrack.exposition import Exposition
from streamtrack.pipeline import Plan, StagePipeline, Stages
from streamtrack.testing.clips import write_clip
from streamtrack.testing.models import square_frames, write_square_detector
from streamtrack.testing.results import make_info

from .scripted import OneTrack, ScriptedDetector, ScriptedSource

OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"}


def ask(url: str, path: str, method: str = "GET", headers: dict[str, str] | None = None) -> http.client.HTTPResponse:
    """Return an answer that was read; its text is in ``answer.text``."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    connection.request(method, path, headers=headers or {})
    answer = connection.getresponse()
    answer.text = answer.read().decode()  # type: ignore[attr-defined]
    connection.close()
    return answer


def scripted() -> StagePipeline:
    plan = Plan(ScriptedDetector, OneTrack, lambda: make_info(None))
    return StagePipeline(Stages(lambda: ScriptedSource(3), lambda info: plan))


def make(host: str = "127.0.0.1", port: int | None = 0, said: list[str] | None = None) -> MetricsEndpoint:
    exposition = Exposition(scripted(), dict, lambda: (None, ""))
    return MetricsEndpoint(exposition, host, port, (said if said is not None else []).append)


@pytest.fixture
def endpoint() -> Iterator[MetricsEndpoint]:
    endpoint = make()
    endpoint.open()
    yield endpoint
    endpoint.close()


def test_it_says_where_it_answers_and_is_gone_when_closed() -> None:
    said: list[str] = []
    endpoint = make(said=said)
    endpoint.open()
    url = endpoint.url
    assert said == [f"metrics at {url}/metrics"]
    assert ask(url, "/").text.startswith("streamtrack: /metrics")
    endpoint.close()
    endpoint.close()
    with pytest.raises(OSError, match="refused"):
        ask(url, "/")


@pytest.mark.parametrize(
    ("path", "method", "status", "words"),
    [
        ("/healthz", "GET", 503, "starting\n"),
        ("/healthz", "HEAD", 503, ""),
        ("/metrics?x=1", "HEAD", 200, ""),
        ("/secret", "GET", 404, "streamtrack: /metrics for Prometheus, /healthz for health\n"),
    ],
)
def test_what_it_answers(endpoint: MetricsEndpoint, path: str, method: str, status: int, words: str) -> None:
    answer = ask(endpoint.url, path, method)
    assert (answer.status, answer.text) == (status, words)
    assert answer.headers["Server"].strip() == "streamtrack"
    assert method == "HEAD" or int(answer.headers["Content-Length"]) == len(words)


def test_methods_that_change_things_are_refused(endpoint: MetricsEndpoint) -> None:
    assert ask(endpoint.url, "/metrics", "POST").status == 501


def test_a_client_that_says_nothing_holds_nobody_up(endpoint: MetricsEndpoint) -> None:
    host, port = endpoint.url.removeprefix("http://").split(":")
    silent = [socket.create_connection((host, int(port)), timeout=30) for _ in range(16)]
    with pytest.raises((OSError, http.client.HTTPException)):
        # The seventeenth is one too many.
        ask(endpoint.url, "/")
    silent.pop().close()
    while True:
        try:
            assert ask(endpoint.url, "/").status == 200
            break
        except (OSError, http.client.HTTPException):
            continue
    endpoint.close()
    assert all(client.recv(1) == b"" for client in silent)
    for client in silent:
        client.close()


def test_a_mistake_in_one_answer_is_logged_and_ends_nothing(
    endpoint: MetricsEndpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Exposition, "health", lambda self: 1 / 0)
        with pytest.raises((OSError, http.client.HTTPException)):
            ask(endpoint.url, "/healthz")
    assert ask(endpoint.url, "/healthz").status == 503
    assert "metrics could not be served" in caplog.text


def test_a_port_that_is_taken_is_an_error_before_anything_starts(endpoint: MetricsEndpoint, tmp_path: Path) -> None:
    port = int(endpoint.url.rpartition(":")[2])
    with pytest.raises(SinkError, match=rf"127.0.0.1:{port}: the port is taken .* --metrics-port, or 0"):
        make(port=port).open()
    pipeline = streamtrack.Pipeline("no.mp4", out=tmp_path / "run", set={"output.metrics_port": port})
    with pytest.raises(SinkError, match="the port is taken"), pipeline:
        raise AssertionError("it was entered")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_a_host_of_somebody_else_is_refused(host: str) -> None:
    with pytest.raises(SinkError, match=r"Metrics cannot be served at .*: name an interface .* --metrics-host"):
        make(host).open()


def test_who_may_ask_from_elsewhere_is_said() -> None:
    said: list[str] = []
    endpoint = make("0.0.0.0", said=said)
    endpoint.open()
    endpoint.close()
    assert said[0].endswith("/metrics, for everybody who reaches this machine")


def test_without_the_library_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(PluginError, match=r"pip install 'streamtrack\[metrics\]'"):
        make().open()
    make(port=None).open()


def test_a_real_run_can_be_watched(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", square_frames(12, [(40.0, 60.0, 4.0, 0.0)]))
    model = write_square_detector(tmp_path / "squares.onnx")
    said: list[str] = []
    sinks = ["crops:min_size=0,min_quality=0"]
    settings = {"output.metrics_port": 0}
    run = streamtrack.Pipeline(
        clip, model=str(model), stride=1, out=tmp_path / "run", set=settings, sinks=sinks, say=said.append
    )
    with run:
        (line,) = (text for text in said if text.startswith("metrics at "))
        url = line.removeprefix("metrics at ").removesuffix("/metrics")
        assert ask(url, "/healthz").text == "ok\n"
        for result in run:
            answer = ask(url, "/metrics")
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            samples = {(s.name, *s.labels.values()): s.value for f in parse_text(answer.text) for s in f.samples}
            assert samples["streamtrack_frames_total", "detected"] == result.frame.index + 1
            if result.frame.index == 5:
                other = ask(url, "/metrics", headers=OPENMETRICS)
                assert other.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
                assert len(list(parse_openmetrics(other.text))) > 20
    assert ("streamtrack_sink_items", "kept", "crops") in samples
    assert samples["streamtrack_source_frames_per_second",] == 25
    assert str(tmp_path) not in answer.text
    with pytest.raises(OSError, match="refused"):
        ask(url, "/healthz")
    assert run.summary().metrics.status == "complete"


def test_the_command_line_hands_it_on(endpoint: MetricsEndpoint, capsys: pytest.CaptureFixture[str]) -> None:
    port = endpoint.url.rpartition(":")[2]
    assert main(["run", "no.mp4", "--metrics-port", port, "--metrics-host", "127.0.0.1"]) == 6
    assert f"127.0.0.1:{port}: the port is taken" in capsys.readouterr().err
