from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.sources._losses import Losses


def run(
    sent: list[int | None], received: list[int | None], *, damaged: bool = False, errors: int = 0, delay: int = 3
) -> Losses:
    """Send and receive as a decoder does that holds ``delay`` frames back."""
    losses = Losses()
    if damaged:
        losses.disturbed()
    frames = iter(received)
    for n, pts in enumerate(sent):
        losses.sent(pts, damaged=False)
        if n >= delay and (frame := next(frames, -1)) != -1:
            losses.received(frame, damaged=False)
    for _ in range(errors):
        losses.failed()
    for frame in frames:
        losses.received(frame, damaged=False)
    losses.ended()
    return losses


@given(st.lists(st.integers(0, 10**6), unique=True, max_size=60), st.integers(0, 8))
def test_an_intact_stream_loses_nothing(stamps: list[int], delay: int) -> None:
    assert run(stamps, sorted(stamps), delay=max(delay, len(stamps))).lost == 0


@given(st.sets(st.integers(0, 300), min_size=1), st.data())
def test_of_a_damaged_stream_every_lost_frame_is_counted(stamps: set[int], data: st.DataObject) -> None:
    given_back = data.draw(st.sets(st.sampled_from(sorted(stamps))))
    losses = run(sorted(stamps), sorted(given_back), damaged=True, delay=len(stamps))
    assert losses.lost == len(stamps) - len(given_back)


def test_losses_show_when_a_later_frame_comes_out() -> None:
    losses = Losses()
    losses.disturbed()
    for pts in (0, 40, 80, 120):
        losses.sent(pts, damaged=False)
    losses.received(0, damaged=False)
    assert losses.lost == 0
    losses.received(120, damaged=False)
    assert losses.lost == 2


def test_frames_that_are_never_shown_are_not_lost() -> None:
    """Hidden references and second fields are packets without a frame, in streams without damage."""
    losses = run(list(range(100)), list(range(0, 100, 2)))
    assert losses.lost == 0
    losses.failed()
    assert losses.lost == 1


def test_what_precedes_the_first_frame_is_lost() -> None:
    assert run([0, 1, 2, 3, 4, 5, 6], [3, 4, 5, 6], delay=4).lost == 3


def test_without_timestamps_errors_are_counted() -> None:
    assert run([None] * 5, [None] * 3, errors=2).lost == 2


def test_a_picture_of_the_decoders_own_stands_in_for_a_lost_one() -> None:
    assert run([0, 1, 2, 3, 4], [0, 77, 4], damaged=True, delay=5).lost == 2
    assert run([0, 1], [0, 77, 78, 1], damaged=True, delay=5).lost == 0


def test_skipped_frames_are_lost() -> None:
    losses = Losses()
    losses.skipped(4)
    assert (losses.lost, losses.damaged) == (4, True)


@pytest.mark.parametrize("stamps", [itertools.repeat(None), itertools.count(0, 2), itertools.count()])
def test_a_long_stream_takes_no_memory(stamps: Iterator[int | None]) -> None:
    losses = Losses()
    for pts in itertools.islice(stamps, 70_000):
        losses.sent(pts, damaged=False)
        if pts is None or pts % 2 == 0:
            losses.received(pts, damaged=False)
    assert len(losses._waiting) <= 1
    assert losses.lost == 0
