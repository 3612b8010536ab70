import re

from streamtrack.pages.document import document, table, tiles


def test_a_page_forbids_itself_to_ask_anybody() -> None:
    page = document("a < b", "<p>c</p>", ".own { color: red; }")
    assert "default-src 'none'" in page
    assert "<title>a &lt; b</title>" in page
    assert page.index("--ink") < page.index(".own") < page.index("<p>c</p>")
    assert not re.search(r"https?://|<script|<link|@import|url\(", page)


def test_dark_is_for_screens_and_not_for_paper() -> None:
    assert re.findall(r"@media ([^{]*prefers[^{]*)\{", document("a", "")) == [
        "screen and (prefers-color-scheme: dark) "
    ]


def test_colours_follow_the_plain_rule() -> None:
    page = document("a", "")
    assert page.index(".c0 {") < page.index("svg .hollow.c0")
    assert "COLOURS" not in page


def test_tiles_are_escaped_and_none_is_nothing() -> None:
    assert tiles([("<5", "a & b")]) == (
        '<div class="tiles"><div class="tile"><b>&lt;5</b><span>a &amp; b</span></div></div>'
    )
    assert tiles([]) == ""


def test_a_table_escapes_and_sets_numbers_to_the_right() -> None:
    drawn = table(["name", "n"], [["<a>", "1"]], numbers=[1])
    assert '<th>name</th><th class="num">n</th>' in drawn
    assert '<td>&lt;a&gt;</td><td class="num">1</td>' in drawn
    assert "<thead>" not in table(["name"], [])
