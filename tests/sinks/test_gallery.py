import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from streamtrack.quality import at_best
from streamtrack.sinks import _gallery
from streamtrack.sinks._gallery import KEPT_THUMBNAILS, THUMBNAIL, Course, Cuts, Gallery, Story
from streamtrack.testing.results import make_frame, make_result

BOX = (100.0, 80.0, 180.0, 180.0)
STEP_NS = 40_000_000


def story_of(seen: list[bool]) -> Story:
    story = Story(1, 0, 0, 0)
    for number, visible in enumerate(seen):
        if visible:
            story.see(number, number * STEP_NS, 0.5)
    return story


def ends(story: Story) -> list[list[int]]:
    return [[span.begin_ns, span.end_ns] for span in story.spans]


def naive_spans(seen: list[bool]) -> list[list[int]]:
    spans, begin = [], None
    for number, visible in enumerate([*seen, False]):
        if visible and begin is None:
            begin = number
        elif not visible and begin is not None:
            spans.append([begin * STEP_NS, (number - 1) * STEP_NS])
            begin = None
    return spans


@given(st.lists(st.booleans(), max_size=100))
def test_spans_are_the_stretches_in_which_a_track_was_seen(seen: list[bool]) -> None:
    story = story_of(seen)
    assert ends(story) == naive_spans(seen)
    assert story.frames == sum(span.frames for span in story.spans) == sum(seen)
    assert all(span.confidence == 0.5 for span in story.spans)


@given(st.lists(st.booleans(), max_size=30))
def test_the_share_seen_is_that_of_the_frames_from_the_first_to_the_last(middle: list[bool]) -> None:
    seen = [True, *middle, True]
    assert story_of(seen).share_seen == sum(seen) / len(seen)


def test_a_flickering_track_takes_no_more_memory_and_loses_its_smallest_gaps_first() -> None:
    seen = ([True, False] * 150 + [True] + [False] * 50) * 3 + [True]
    story = story_of(seen)
    assert len(story.spans) == 64
    assert sum(span.frames for span in story.spans) == sum(seen)
    assert story.spans[0].begin_ns == 0
    assert story.spans[-1].end_ns == (len(seen) - 1) * STEP_NS
    gaps = [after.begin_ns - before.end_ns for before, after in zip(story.spans, story.spans[1:], strict=False)]
    assert sorted(gaps)[-3:] == [51 * STEP_NS] * 3


def test_thumbnails_are_few_and_spread_and_in_order_and_the_best_is_among_them() -> None:
    gallery, best = Gallery(5), (0.0, 0)
    for n in range(0, 600, 6):
        gallery.add(make_result(make_frame(n), [(1, BOX)], score=0.5 + (n * 37 % 100) / 250))
        kept = gallery._alive[1].candidates.items()
        assert len(kept) <= 12
        best = max(best, *((each.quality, each.pts_ns) for each in kept))
    gallery.end()
    (story,) = gallery.stories()
    times = [each.pts_ns for each in story.thumbnails]
    assert len(times) == KEPT_THUMBNAILS
    assert times == sorted(times)
    assert max(each.quality for each in story.thumbnails) == best[0]
    assert times[-1] - times[0] > 0.4 * 600 * STEP_NS


@pytest.mark.parametrize(("side", "expected"), [(20.0, 32), (150.0, THUMBNAIL)])
def test_a_thumbnail_is_a_square_jpeg_no_larger_than_its_source(side: float, expected: int) -> None:
    gallery = Gallery(5)
    gallery.add(make_result(make_frame(0, width=640, height=480), [(1, (100.0, 100.0, 100.0 + side, 100.0 + side))]))
    gallery.end()
    (thumbnail,) = gallery.stories()[0].thumbnails
    with Image.open(io.BytesIO(thumbnail.jpeg)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (expected, expected))
    assert len(thumbnail.jpeg) < 12_000


def test_quality_is_that_of_the_crops() -> None:
    gallery, result = Gallery(5), make_result(make_frame(3), [(1, BOX)])
    gallery.add(result)
    gallery.end()
    (thumbnail,) = gallery.stories()[0].thumbnails
    side = min(BOX[2] - BOX[0], BOX[3] - BOX[1])
    expected = at_best(0.9, result.detections.keypoints[0], side).seen(result.frame.crop(BOX)).total
    assert thumbnail.quality == pytest.approx(expected)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=25), st.integers(1, 8))
def test_of_many_tracks_those_with_the_most_frames_are_kept(lengths: list[int], max_tracks: int) -> None:
    gallery, number = Gallery(max_tracks), 0
    for track, length in enumerate(lengths, start=1):
        for k in range(length):
            frame = make_frame(number, width=8, height=8)
            gallery.add(make_result(frame, [(track, (2.0, 2.0, 9.0, 9.0))], ended=[track - 1] * (k == 0 and track > 1)))
            number += 1
            assert len(gallery._finished) <= max_tracks
    gallery.end()
    stories = gallery.stories()
    assert gallery.tracks == len(lengths) == len(stories) + len(gallery.briefs())
    assert sorted([*(s.frames for s in stories), *(b.frames for b in gallery.briefs())]) == sorted(lengths)
    assert sorted(story.frames for story in stories) == sorted(sorted(lengths)[-max_tracks:])
    assert [story.first_ns for story in stories] == sorted(story.first_ns for story in stories)


def test_of_very_many_tracks_the_shortest_are_numbers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gallery, "_MAX_BRIEFS", 3)
    gallery, number = Gallery(1), 0
    for track in range(1, 9):
        for _ in range(track):
            gallery.add(make_result(make_frame(number, width=8, height=8), [(track, (2.0, 2.0, 9.0, 9.0))]))
            number += 1
        gallery.add(make_result(make_frame(number, width=8, height=8), ended=[track]))
    assert gallery.tracks == 8
    assert [story.frames for story in gallery.stories()] == [8]
    assert [brief.frames for brief in gallery.briefs()] == [5, 6, 7]


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 5)), min_size=1, max_size=200))
def test_the_course_is_the_mean_of_each_bin_however_long_it_goes_on(steps: list[tuple[int, int]]) -> None:
    course, at, seen = Course(step_ns=1), 0, []
    for step, number in steps:
        course.add(at, number)
        seen.append((at, number))
        at += step
    means = course.means()
    assert len(means) == seen[-1][0] // course.step_ns + 1 <= 512
    last = 0.0
    for place, mean in enumerate(means):
        here = [number for when, number in seen if when // course.step_ns == place]
        last = sum(here) / len(here) if here else last
        assert mean == pytest.approx(last)


@given(st.sets(st.integers(0, 10**6), max_size=60))
def test_cuts_stay_few_and_near_where_they_were(times_ms: set[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_gallery, "_MAX_CUTS", 8)
        cuts = Cuts()
        for time in sorted(times_ms):
            cuts.add(time * 1_000_000)
    kept = cuts.times_ns()
    assert len(kept) <= 8
    assert cuts.count == len(times_ms)
    assert kept == sorted(kept)
    for time in times_ms:
        assert min(abs(time * 1_000_000 - each) for each in kept) < cuts._step_ns
    if len(times_ms) <= 8:
        assert kept == [time * 1_000_000 for time in sorted(times_ms)]


def test_counts_and_times() -> None:
    gallery = Gallery(5)
    for n in range(10, 20, 2):
        gallery.add(make_result(make_frame(n), [(7, BOX)] * (n > 10), tentative=[(7, BOX)] * (n == 10)))
    assert (gallery.frames, gallery.detections, gallery.tracks) == (5, 5, 1)
    assert (gallery.first_ns, gallery.last_ns, gallery.last_step_ns) == (400_000_000, 720_000_000, 80_000_000)
    assert gallery.end_ns == 800_000_000
    gallery.end()
    (story,) = gallery.stories()
    assert (story.first_ns, story.last_ns, story.frames) == (480_000_000, 720_000_000, 4)
    assert abs(story.confidence - 0.9) < 1e-6
