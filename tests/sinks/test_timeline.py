import dataclasses
import itertools
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.sinks import _timeline
from streamtrack.sinks._draw import track_colour
from streamtrack.sinks._gallery import Brief, Gallery, Story
from streamtrack.sinks._timeline import _packed, lines_shown, tick_step_s, timeline, told
from streamtrack.testing.results import make_frame, make_result
from streamtrack.types import Result

from .report_samples import BOX, make_gallery

STEP_NS = 40_000_000


def drawn(gallery: Gallery) -> ElementTree.Element:
    return ElementTree.fromstring(timeline(gallery))


def titled(picture: ElementTree.Element, kind: str) -> list[tuple[dict[str, str], str]]:
    return [(each.attrib, each.findtext("title", "")) for each in picture.iter() if each.get("class") == kind]


def gallery_of(results: list[Result]) -> Gallery:
    gallery = Gallery(5)
    for result in results:
        gallery.add(result)
    gallery.end()
    return gallery


def test_a_bar_has_the_colour_of_its_track_and_a_gap_where_it_was_lost() -> None:
    seen = [True] * 40 + [False] * 20 + [True] * 40
    results = [make_result(make_frame(n), [(7, BOX)] * there) for n, there in enumerate(seen)]
    picture = drawn(gallery_of(results))
    (row,) = (each for each in picture.iter() if each.get("class") == "row")
    assert row.get("style") == "--t:#{:02x}{:02x}{:02x}".format(*track_colour(7))
    (first, said), (second, _) = titled(picture, "seen")
    assert said == "#7, 0:00.0 to 0:01.5, confidence 0.90"
    assert row.findtext("title") == "#7, 0:00.0 to 0:03.9, seen in 80 % of it, mean confidence 0.90"
    ends = [float(bar["x"]) + float(bar["width"]) for bar in (first, second)]
    length = ends[1] - float(first["x"])
    assert float(first["width"]) / length == pytest.approx(0.4, abs=0.01)
    assert (float(second["x"]) - ends[0]) / length == pytest.approx(0.2, abs=0.01)


def test_cuts_are_lines_at_their_time_and_those_of_one_place_are_one() -> None:
    frames = [make_frame(n, width=8, height=8) for n in (0, 500, 501, 1500, 1999)]
    results = [make_result(frame, [(1, BOX)]) for frame in frames]
    results = [dataclasses.replace(each, cut=each.frame.index in (500, 501, 1500)) for each in results]
    picture = drawn(gallery_of(results))
    assert [said for _, said in titled(picture, "flag")] == ["cut at 0:20.00", "cut at 1:00.00"]
    xs = [float(each["d"][1:].partition(" ")[0]) for each, _ in titled(picture, "cut")]
    room = _timeline._WIDTH - _timeline._LEFT - _timeline._RIGHT
    assert (xs[1] - xs[0]) / room == pytest.approx(40 / 99.88, abs=0.001)


@pytest.mark.parametrize(("count", "through"), [(40, True), (41, False)])
def test_many_cuts_do_not_hide_the_rows(count: int, through: bool) -> None:
    frames = [make_frame(n, width=8, height=8) for n in range(count + 1)]
    results = [dataclasses.replace(make_result(frame, [(1, BOX)]), cut=frame.index > 0) for frame in frames]
    picture = drawn(gallery_of(results))
    (lane,) = (float(each.attrib["y"]) for each in picture.iter("rect") if each.get("class") == "lane")
    ends = [float(each["d"].partition("V")[2]) for each, _ in titled(picture, "cut")]
    assert len(ends) == count
    assert all((end > lane) == through for end in ends)


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 2**62))
def test_everything_stays_in_the_picture(seen: list[bool], track: int) -> None:
    results = [make_result(make_frame(n, width=8, height=8), [(track, BOX)] * there) for n, there in enumerate(seen)]
    picture = drawn(gallery_of(results))
    for rect in picture.iter("rect"):
        assert float(rect.attrib["x"]) >= 0
        assert float(rect.attrib["x"]) + float(rect.attrib["width"]) <= _timeline._WIDTH


@given(st.floats(0.01, 1e6))
def test_marks_are_few_and_at_round_times(length_s: float) -> None:
    assert length_s / tick_step_s(length_s) <= 12
    assert tick_step_s(length_s) >= 1


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 100)), max_size=80))
def test_lines_of_a_lane_follow_each_other_and_lanes_are_no_more_than_needed(lives: list[tuple[int, int]]) -> None:
    briefs = sorted((Brief(1, k, a, a + d) for k, (a, d) in enumerate(lives, start=1)), key=lambda each: each.first_ns)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_timeline, "_MOST_LANES", 10**9)
        lanes = _packed(briefs)
    assert sorted(itertools.chain(*lanes)) == sorted(briefs)
    for lane in lanes:
        assert all(a.last_ns < b.first_ns for a, b in itertools.pairwise(lane))
    overlap = max((sum(b.first_ns <= a.first_ns <= b.last_ns for b in briefs) for a in briefs), default=0)
    assert len(lanes) == overlap


def test_more_lanes_than_there_is_room_for_are_left_out_and_counted() -> None:
    briefs = [Brief(1, k, 0, 10) for k in range(100)]
    assert [len(lane) for lane in _packed(briefs)] == [1] * 60
    gallery = Gallery(1)
    gallery._briefs = briefs
    assert lines_shown(gallery) == 60


def test_the_rest_of_the_tracks_are_lines() -> None:
    picture = drawn(make_gallery(5, max_tracks=2))
    assert len([each for each in picture.iter() if each.get("class") == "row"]) == 2
    assert len(titled(picture, "brief")) == 3
    assert titled(picture, "brief")[0][1] == "#3, 0:00.2 to 0:00.2, 2 frames"


def test_a_track_in_one_line_of_text() -> None:
    story = Story(3, 0, 0, 0)
    for number in (0, 1, 3):
        story.see(number, number * STEP_NS, 0.5)
    assert told(story) == "#3, 0:00.0 to 0:00.1, seen in 75 % of it, mean confidence 0.50"
