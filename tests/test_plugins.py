"""A source from how it is written: the plug-in that is meant, and its options as what they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import pytest

from streamtrack.api import Delivery, SourceOptions
from streamtrack.errors import ConfigError
from streamtrack.plugins import convert_options, known_options, local_file, make_sink, make_source
from streamtrack.sources.pyav import PyAVSource


class Recorder:
    def __init__(self, uri: str, options: SourceOptions, *, port: int = 0, loud: bool = False, unit: float = 1.0):
        self.given = uri, options.stride, port, loud, unit


class ReadsQuery(Recorder):
    reads_query = True


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    monkeypatch.setattr("streamtrack.registry.names", lambda kind: ["live", "pyav", "rec"])
    monkeypatch.setattr("streamtrack.registry.load", lambda kind, name: Recorder if name == "rec" else PyAVSource)
    return Recorder


def given(written: str, **options: Any) -> tuple[Any, ...]:
    source = make_source(written, SourceOptions(stride=3), options)
    assert isinstance(source, Recorder)
    return source.given


@pytest.mark.usefixtures("made")
def test_options_come_from_both_sides() -> None:
    assert given("rec:here?port=5&loud=1", unit=0.5) == ("here", 3, 5, True, 0.5)
    assert given("rec:here?port=5", port="6") == ("here", 3, 6, False, 1.0)


@pytest.mark.usefixtures("made")
def test_what_is_in_a_file_is_meant(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("rec:there?port=7\n")
    assert given(f"file:{tmp_path / 'secret.txt'}") == ("there", 3, 7, False, 1.0)


def test_a_source_may_read_its_query_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamtrack.registry.names", lambda kind: ["rec"])
    monkeypatch.setattr("streamtrack.registry.load", lambda kind, name: ReadsQuery)
    assert given("rec:here?anything=goes") == ("here?anything=goes", 3, 0, False, 1.0)


@pytest.mark.usefixtures("made")
def test_anything_else_is_a_file() -> None:
    assert isinstance(make_source("clip.mp4", SourceOptions(), {}), PyAVSource)


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("rec:here?prot=5", r"no option 'prot'\. Did you mean 'port'\?"),
        ("rec:here?port=five", r"port=five of the source 'rec' does not fit"),
        ("clip.mp4?port=5", r"no option 'port'\. Options: timeout_s"),
    ],
)
def test_what_does_not_fit_is_refused(written: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_source(written, SourceOptions(), {})


class Shared(TypedDict, total=False):
    batch: int
    wait: bool


class Sends:
    def __init__(self, *, url: str = "", **shared: Unpack[Shared]) -> None:
        self.given = url, shared


def test_options_may_be_shared_by_an_unpacked_typed_dict() -> None:
    assert known_options(Sends) == ["url", "batch", "wait"]
    assert convert_options("sink", "sends", Sends, {"batch": "3", "wait": "true"}) == {"batch": 3, "wait": True}
    with pytest.raises(ConfigError, match=r"Did you mean 'batch'"):
        convert_options("sink", "sends", Sends, {"bach": "3"})


def test_options_are_the_keyword_only_parameters() -> None:
    assert known_options(Recorder) == ["port", "loud", "unit"]
    with pytest.raises(ConfigError, match=r"The sink 'rec' has no option 'uri'"):
        convert_options("sink", "rec", Recorder, {"uri": "x"})


def test_which_sources_are_files(tmp_path: Path) -> None:
    clip = tmp_path / "a?b.mp4"
    clip.write_bytes(b"\0")
    (tmp_path / "url").write_text("rtsp://camera/live\n")
    os.mkfifo(tmp_path / "fifo")
    files = {str(clip): clip, f"file:{clip}": clip, f"file://{clip}": clip, "none.mp4?timeout_s=2": Path("none.mp4")}
    assert {written: local_file(written) for written in files} == files
    others = ("-", "rtsp://camera/live", "https://host/a.mp4", "replay:out", "chaos:a.mp4?freeze@1s=1s", str(tmp_path))
    for written in (*others, f"file:{tmp_path}/url", f"file:{tmp_path}/fifo"):
        assert local_file(written) is None, written


class Shelf:
    def __init__(self, brought: str = "", *, size: int = 1, kind: Literal["flat", "deep"] = "flat") -> None:
        self.given = brought, size, kind


def test_every_sink_has_the_options_of_its_delivery() -> None:
    sink, delivery = make_sink("shelf", Shelf, ["x"], {"size": "5", "when_full": "drop", "queue": "12"})
    assert isinstance(sink, Shelf)
    assert sink.given == ("x", 5, "flat")
    assert delivery == Delivery(when_full="drop", queue=12)
    assert make_sink("shelf", Shelf, [], {})[1] == Delivery()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("when_ful=drop", r"no option 'when_ful'\. Did you mean 'when_full'\? Options: size, kind, when_full, queue\."),
        ("when_full=drp", r"when_full=drp of the sink 'shelf' must be wait or drop\. Did you mean 'drop'\?"),
        ("kind=depe", r"kind=depe of the sink 'shelf' must be flat or deep\. Did you mean 'deep'\?"),
        ("queue=0", r"queue=0 of the sink 'shelf' does not fit: Expected `int` >= 1"),
        ("queue=many", r"queue=many of the sink 'shelf' does not fit: Expected `int"),
    ],
)
def test_a_delivery_that_cannot_be_is_refused(option: str, message: str) -> None:
    key, _, value = option.partition("=")
    with pytest.raises(ConfigError, match=message):
        make_sink("shelf", Shelf, [], {key: value})
