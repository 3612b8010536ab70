import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.sinks._gallery import KEPT_THUMBNAILS, Gallery, Story, Thumbnail
from streamtrack.testing.results import make_frame, make_result

BOX = (100.0, 80.0, 180.0, 180.0)
STEP_NS = 40_000_000


def story_of(seen: list[bool]) -> Story:
    story = Story(1, 0, 0, 0)
    for number, visible in enumerate(seen):
        if visible:
            story.see(number, number * STEP_NS, 0.5)
    return story


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
    assert story.spans == naive_spans(seen)
    assert story.frames == sum(seen)


def test_a_flickering_track_takes_no_more_memory_and_loses_its_smallest_gaps_first() -> None:
    seen = ([True, False] * 150 + [True] + [False] * 50) * 3 + [True]
    story = story_of(seen)
    assert len(story.spans) == 64
    assert story.spans[0][0] == 0
    assert story.spans[-1][1] == (len(seen) - 1) * STEP_NS
    gaps = [after[0] - before[1] for before, after in zip(story.spans, story.spans[1:], strict=False)]
    assert sorted(gaps)[-3:] == [51 * STEP_NS] * 3


@given(st.lists(st.tuples(st.integers(1, 5_000), st.floats(0, 1)), min_size=1, max_size=200))
def test_thumbnails_are_few_and_in_order_and_the_best_is_among_them(moments: list[tuple[int, float]]) -> None:
    story, clock = Story(1, 0, 0, 0), 0
    for step, quality in moments:
        clock += step * 1_000_000
        if story.wants(clock, quality):
            story.keep(Thumbnail(clock, quality, np.zeros((1, 1, 3), np.uint8)))
    times = [thumbnail.pts_ns for thumbnail in story.thumbnails]
    assert 1 <= len(times) <= 8
    assert times == sorted(times)
    assert max(thumbnail.quality for thumbnail in story.thumbnails) == max(quality for _, quality in moments)


def test_thumbnails_are_spread_over_a_long_life() -> None:
    story = Story(1, 0, 0, 0)
    for n in range(100_000):
        if story.wants(n * STEP_NS, 0.5):
            story.keep(Thumbnail(n * STEP_NS, 0.5, np.zeros((1, 1, 3), np.uint8)))
    times = [thumbnail.pts_ns / (100_000 * STEP_NS) for thumbnail in story.best_thumbnails(8)]
    assert len(times) >= 4
    assert max(np.diff([0.0, *times, 1.0])) < 0.4


@given(st.lists(st.integers(1, 6), min_size=1, max_size=25), st.integers(1, 8))
def test_of_many_tracks_those_with_the_most_frames_are_kept(lengths: list[int], max_tracks: int) -> None:
    gallery, number = Gallery(max_tracks), 0
    for track, length in enumerate(lengths, start=1):
        for k in range(length):
            frame = make_frame(number, width=16, height=16)
            gallery.add(make_result(frame, [(track, (2.0, 2.0, 9.0, 9.0))], ended=[track - 1] * (k == 0 and track > 1)))
            number += 1
            assert len(gallery._finished) <= max_tracks
    stories = gallery.stories()
    assert gallery.tracks == len(lengths)
    assert sorted(story.frames for story in stories) == sorted(sorted(lengths)[-max_tracks:])
    assert [story.first_ns for story in stories] == sorted(story.first_ns for story in stories)


def test_a_finished_track_keeps_few_thumbnails() -> None:
    gallery = Gallery(5)
    for n in range(200):
        gallery.add(make_result(make_frame(n), [(1, BOX)]))
    assert len(gallery._alive[1].thumbnails) <= 8
    (story,) = gallery.stories()
    assert 3 <= len(story.thumbnails) <= KEPT_THUMBNAILS


def test_counts_and_times() -> None:
    gallery = Gallery(5)
    for n in range(10, 20, 2):
        gallery.add(make_result(make_frame(n), [(7, BOX)] * (n > 10), tentative=[(7, BOX)] * (n == 10)))
    assert (gallery.frames, gallery.detections, gallery.tracks) == (5, 5, 1)
    assert (gallery.first_ns, gallery.last_ns, gallery.last_step_ns) == (400_000_000, 720_000_000, 80_000_000)
    (story,) = gallery.stories()
    assert (story.first_ns, story.last_ns, story.frames) == (480_000_000, 720_000_000, 4)
    assert abs(story.confidence - 0.9) < 1e-6
