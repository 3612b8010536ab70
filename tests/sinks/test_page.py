import dataclasses
import re
from html.parser import HTMLParser

import pytest

from streamtrack.sinks import _gallery, _page
from streamtrack.sinks._page import page, source_name
from streamtrack.testing.results import make_info
from streamtrack.types import RunInfo

from .report_samples import LATENCY, make_gallery, make_told

VOID = {"meta", "br", "path", "rect", "img"}


class Balance(HTMLParser):
    """Notes what is opened and never closed, or closed and never opened, and all that a browser might fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.fetched: list[str] = []
        self.images = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.images += tag == "img"
        for name, value in attrs:
            if name in ("src", "href") and not (value or "").startswith(("data:image/jpeg;base64,", "#")):
                self.fetched.append(f"{tag} {value}")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One that closes itself."""

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID and (not self.open or self.open.pop() != tag):
            self.wrong.append(tag)


def checked(text: str) -> Balance:
    check = Balance()
    check.feed(text.removeprefix("<!doctype html>"))
    assert (check.open, check.wrong, check.fetched) == ([], [], [])
    assert not re.search(r"https?://|<script|<link|@import|url\(", text)
    return check


def info(uri: str = "synthetic.mp4", **changes: object) -> RunInfo:
    plain = make_info(None)
    source = dataclasses.replace(plain.source, uri=uri)
    return dataclasses.replace(plain, source=source, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("tracks", [0, 1, 5])
@pytest.mark.parametrize("known", [True, False])
def test_a_page_is_whole_and_asks_nobody(tracks: int, known: bool) -> None:
    text = page(info(), make_gallery(tracks), make_told() if known else None, "today")
    assert checked(text).images == tracks
    assert ("No tracks were found." in text) == (tracks == 0)
    assert ("<h2>Speed</h2>" in text) == known
    assert all(f'href="#t{n}"' in text and f'id="t{n}"' in text for n in range(1, tracks + 1))


def test_names_are_text_and_passwords_are_not_shown() -> None:
    told = make_told(status="failed", error="rtsp://me:secret@cam/<x> refused", warnings=("<b>trap</b>",))
    told["settings"]["source"]["stride"] = "rtsp://u:secret@host/"
    uri = "rtsp://me:secret@cam:554/<img src=x>"
    text = page(info(uri, model="<model>", class_names=("a", "<i>b")), make_gallery(1), told, "<now>")
    checked(text)
    assert "secret" not in text
    assert "cam:554/&lt;img src=x&gt;" in text
    for name in ("&lt;model&gt;", "&lt;now&gt;", "&lt;b&gt;trap"):
        assert name in text


def test_many_tracks_give_a_page_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gallery, "_MAX_BRIEFS", 10)
    sizes = []
    for tracks in (60, 120):
        gallery = make_gallery(tracks, frames_each=1)
        text = page(info(), gallery, None, "")
        sizes.append(len(text))
        assert text.count("<article") == 48
        assert f"of the other {tracks - 48:,}." in text or f"the other {tracks - 48:,}." in text
    assert sizes[1] < 1.01 * sizes[0]


def test_pictures_get_fewer_before_a_page_gets_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = make_gallery(4, frames_each=30)
    every = page(info(), gallery, None, "").count("<img")
    each = max(len(picture.jpeg) for story in gallery.stories() for picture in story.thumbnails)
    assert every > 8
    monkeypatch.setattr(_page, "PICTURE_BYTES", 4 * each)
    assert page(info(), gallery, None, "").count("<img") == 4
    monkeypatch.setattr(_page, "PICTURE_BYTES", 1)
    assert page(info(), gallery, None, "").count("<img") == 0


def test_of_a_live_feed_it_says_how_late_results_are() -> None:
    assert "<b>120 ms</b>" in page(info(), make_gallery(1), make_told(latency=LATENCY), "")
    assert "as fast as the video plays" in page(info(), make_gallery(1), make_told(), "")


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("/data/videos/episode 1.mp4", "episode 1.mp4"),
        ("C:\\videos\\a.mp4", "a.mp4"),
        ("rtsp://***@camera.example.org:554/hall", "camera.example.org:554/hall"),
        ("-", "-"),
    ],
)
def test_the_title_is_the_name_of_the_source(uri: str, name: str) -> None:
    assert source_name(uri) == name
