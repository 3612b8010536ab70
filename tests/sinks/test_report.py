import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from streamtrack.api import Sink
from streamtrack.errors import ConfigError, SinkError
from streamtrack.sinks._draw import track_colour
from streamtrack.sinks._gallery import THUMBNAIL, Story, Thumbnail
from streamtrack.sinks._sheet import MARGIN, Sheet
from streamtrack.sinks.report import ReportSink
from streamtrack.testing.results import make_frame, make_info, make_result, walk
from streamtrack.testing.sinks import SinkConformance


class TestReportSink(SinkConformance):
    def make_sink(self) -> Sink:
        return ReportSink()


def stories(n: int, id_step: int = 1) -> list[Story]:
    made = []
    for k in range(n):
        first, last = k * 3_000_000_000, k * 3_000_000_000 + 3_700_000_000_000
        pixels = np.full((THUMBNAIL, THUMBNAIL, 3), 40 + k, np.uint8)
        story = Story(1 + k * id_step, k % 2, first, last, frames=1_234_567, score_sum=1e6, spans=[[first, last]])
        story.thumbnails = [Thumbnail(first + i, 0.5, pixels) for i in range(6)]
        made.append(story)
    return made


def sheet(made: list[Story], **changes: object) -> Sheet:
    plain = Sheet(
        title="clip.mp4",
        subtitle="centerface · 1280 x 720 · 25 fps",
        figures=[("5", "tracks"), ("818", "detections"), ("500", "frames looked at"), ("0:20.0", "of video")],
        stories=made,
        hidden=0,
        start_ns=0,
        end_ns=max((story.last_ns for story in made), default=0),
        class_names=("face",),
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 20, 24, 25, 48])
def test_nothing_runs_into_the_margins(n: int) -> None:
    extremes = {
        "title": "a title that goes on " * 20,
        "subtitle": "and facts that go on " * 20,
        "hidden": 1_000_000,
        "class_names": ("a class with a rather long name of its own", "b"),
    }
    picture = np.asarray(sheet(stories(n, id_step=2**40), **extremes).draw()).astype(int)
    paper = picture[20, 2]
    for strip in (picture[12:, : MARGIN - 2], picture[12:, -MARGIN + 4 :], picture[-MARGIN + 4 :]):
        assert np.abs(strip - paper).max() == 0


def test_grows_with_the_number_of_tracks() -> None:
    heights = [sheet(stories(n)).draw().height for n in (0, 1, 4, 7, 24, 48)]
    assert heights == sorted(heights)
    assert heights[-1] < 6000


def test_the_same_tracks_give_the_same_picture() -> None:
    assert sheet(stories(5)).draw().tobytes() == sheet(stories(5)).draw().tobytes()


def test_a_bar_has_the_colour_of_its_track_and_a_gap_where_it_was_lost() -> None:
    (story,) = stories(1)
    story.first_ns, story.last_ns = 0, 100
    story.spans = [[0, 40], [60, 100]]
    picture = np.asarray(sheet([story], end_ns=100).draw())
    colour = np.array(track_colour(1))
    bar_rows = [y for y in range(picture.shape[0] // 2, picture.shape[0]) if (picture[y] == colour).all(1).sum() > 500]
    assert len(bar_rows) > 10
    lit = (picture[bar_rows[2]] == colour).all(axis=1).nonzero()[0]
    left, right = lit[0], lit[-1]
    assert not ((left + 0.45 * (right - left) < lit) & (lit < left + 0.55 * (right - left))).any()


def test_writes_one_page(tmp_path: Path) -> None:
    sink = ReportSink(path="pages/who.png")
    sink.open(make_info(tmp_path))
    for result in walk(40, tracks=3):
        sink.write(result)
    sink.close()
    assert [path.name for path in (tmp_path / "pages").iterdir()] == ["who.png"]
    with Image.open(tmp_path / "pages" / "who.png") as picture:
        assert (picture.format, picture.width) == ("PNG", 1600)


@pytest.mark.parametrize(
    ("uri", "title"),
    [
        ("/data/videos/episode 1.mp4", "episode 1.mp4"),
        ("C:\\videos\\a.mp4", "a.mp4"),
        ("rtsp://***@camera.example.org:554/hall", "camera.example.org:554/hall"),
        ("-", "-"),
    ],
)
def test_the_title_is_the_name_of_the_source(uri: str, title: str) -> None:
    from streamtrack.sinks.report import _title

    assert _title(uri) == title


def test_the_page_says_how_many_tracks_it_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Sheet] = []
    monkeypatch.setattr(Sheet, "draw", lambda self: drawn.append(self) or Image.new("RGB", (8, 8)))
    sink = ReportSink(max_tracks=2)
    sink.open(make_info(tmp_path))
    for n in range(5):
        sink.write(make_result(make_frame(n), [(n + 1, (9.0, 9.0, 60.0, 60.0))], ended=[n] if n else []))
    sink.close()
    (page,) = drawn
    assert (len(page.stories), page.hidden) == (2, 3)
    assert page._remark() == "the 2 with the most frames; +3 more"
    assert page.figures == [("5", "tracks"), ("5", "detections"), ("5", "frames looked at"), ("0:00.2", "of video")]


def test_bad_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"report\.max_tracks = 0"):
        ReportSink(max_tracks=0)
    with pytest.raises(SinkError, match="inside the run's folder"):
        ReportSink(path="../report.png").open(make_info(tmp_path))
