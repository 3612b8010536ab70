import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from streamtrack.benching.page import render, write
from streamtrack.errors import SinkError

from .samples import make_report, make_result

VOID = {"meta", "br", "path", "rect", "circle", "polyline"}


class Balance(HTMLParser):
    """Notes what is opened and never closed, or closed and never opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        """One that closes itself."""

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID and (not self.open or self.open.pop() != tag):
            self.wrong.append(tag)


@pytest.mark.parametrize("changes", [{}, {"cases": [], "pipelines": [], "capacity": []}, {"status": "interrupted"}])
def test_a_page_is_whole_and_asks_nobody(changes: dict[str, object]) -> None:
    page = render(make_report(**changes))
    check = Balance()
    check.feed(re.sub(r"<!doctype html>", "", page))
    assert (check.open, check.wrong) == ([], [])
    assert not re.search(r"https?://|<script|<link|<img|@import|url\(", page)
    assert "Quick &lt;4&gt;" in page
    assert ("Not complete" in page) == ("status" in changes)


def test_what_matters_is_on_the_page() -> None:
    page = render(make_report())
    for text in ("Latency of the model", "Speed against processor", "Where the time goes", "Live streams held"):
        assert f"<h2>{text}</h2>" in page
    for text in ("<b>4</b>", "p95=200ms", "6.00 / 7.20 / 9.00 ms", "SIGSEGV", "needs a GPU", "Commit abc+", "--sizes"):
        assert text in page
    assert page.count("<svg") == 4


def test_many_cases_are_no_endless_plot() -> None:
    cases = [make_result(1.0 + n, size=32 * n) for n in range(60)]
    page = render(make_report(cases=cases))
    assert "The 40 fastest of 60 cases" in page


def test_it_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write(make_report(), tmp_path / "bench.html")
    assert [path.name for path in tmp_path.iterdir()] == ["bench.html"]
    with pytest.raises(SinkError, match=r"bench\.html"):
        write(make_report(), tmp_path / "absent" / "bench.html")
