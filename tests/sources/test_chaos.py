"""Every fault can be had on demand: exactly where nothing is live, and through the supervisor where it is."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from streamtrack.api import Source, SourceOptions
from streamtrack.build import Pipeline
from streamtrack.errors import ConfigError, SourceError, SourceOpenError
from streamtrack.plugins import make_source
from streamtrack.sources.chaos import ChaosSource
from streamtrack.testing.clips import indexed_frames, read_index, write_clip
from streamtrack.testing.models import square_frames, write_square_detector
from streamtrack.testing.sources import SourceConformance
from streamtrack.types import Frame, SourceStats

MS = 1_000_000
STEP_MS = 20


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of 50 frames a second."""
    return write_clip(tmp_path_factory.mktemp("chaos") / "clip.mp4", indexed_frames(100, 64, 48), rate=50)


class TestWithoutFaults(SourceConformance):
    frames = 40

    @pytest.fixture(autouse=True)
    def clip(self, tmp_path: Path) -> None:
        self.path = write_clip(tmp_path / "clip.mp4", indexed_frames(self.frames))

    def make_source(self, options: SourceOptions) -> Source:
        return ChaosSource(f"{self.path}?live=0", options)


def check(frames: list[Frame], stats: SourceStats) -> None:
    assert stats.seen == stats.strided + stats.corrupt + stats.delivered
    assert stats.delivered == len(frames)
    assert all(a.index < b.index and a.pts_ns < b.pts_ns for a, b in pairwise(frames))


# --- live=0: exact ---


def spoilt(clip: Path, faults: str, options: SourceOptions | None = None) -> tuple[list[Frame], SourceStats]:
    source = make_source(f"chaos:{clip}?{faults}&live=0", options or SourceOptions(), {})
    try:
        source.open()
        frames = list(source)
    finally:
        source.close()
    check(frames, source.stats)
    return frames, source.stats


def indexes(frames: list[Frame]) -> list[int]:
    return [read_index(frame.scaled(160, 96)) for frame in frames]


@pytest.mark.parametrize("fault", ["drop@1s=200ms", "freeze@1s=200ms"])
def test_a_gap_in_the_pictures_is_a_gap_in_time(clip: Path, fault: str) -> None:
    frames, stats = spoilt(clip, fault)
    assert indexes(frames) == [*range(50), *range(60, 100)]
    assert [frame.index for frame in frames] == list(range(90))
    assert frames[50].pts_ns - frames[49].pts_ns == 11 * STEP_MS * MS
    assert stats.seen == 90


def test_chance_is_the_same_every_time(clip: Path) -> None:
    first = indexes(spoilt(clip, "drop=30%&seed=5")[0])
    assert first == indexes(spoilt(clip, "drop=30%&seed=5")[0])
    assert first != indexes(spoilt(clip, "drop=30%&seed=6")[0])


def test_a_duplicate_gets_a_time_of_its_own(clip: Path) -> None:
    frames, stats = spoilt(clip, "duplicate@1s")
    assert indexes(frames) == [*range(51), *range(50, 100)]
    assert stats.pts_repaired == 1
    assert frames[52].pts_ns == 51 * STEP_MS * MS


def test_damage_is_counted(clip: Path) -> None:
    frames, stats = spoilt(clip, "corrupt@1s")
    assert stats.damaged == 1
    assert stats.corrupt == 0
    with pytest.raises(ValueError, match="dark nor bright"):
        read_index(frames[50].scaled(160, 96))
    del frames[50]
    assert indexes(frames) == [*range(50), *range(51, 100)]


def test_another_size_begins_and_ends(clip: Path) -> None:
    frames, _ = spoilt(clip, "size@1s=96x64/200ms")
    assert [(frame.width, frame.height) for frame in frames] == 50 * [(64, 48)] + 10 * [(96, 64)] + 40 * [(64, 48)]
    assert indexes(frames) == list(range(100))
    assert frames[55].rgb().shape == (64, 96, 3)


def test_time_survives_jumps(clip: Path) -> None:
    forward, _ = spoilt(clip, "jump@1s=1h")
    assert forward[50].pts_ns - forward[49].pts_ns == 3_600_000 * MS + STEP_MS * MS
    back, stats = spoilt(clip, "jump@1s=-10s")
    assert stats.pts_repaired == 1
    assert all(b.pts_ns - a.pts_ns == STEP_MS * MS for a, b in pairwise(back))


def test_sampling_is_by_what_is_left(clip: Path) -> None:
    frames, stats = spoilt(clip, "drop@0s=20ms", SourceOptions(stride=2))
    assert indexes(frames) == list(range(1, 100, 2))
    assert (frames[0].pts_ns, stats.strided) == (0, 49)


def test_the_end_comes_early(clip: Path) -> None:
    assert indexes(spoilt(clip, "end@1s")[0]) == list(range(50))


def test_breaking_off_is_an_error_after_all_that_came_before(clip: Path) -> None:
    source = ChaosSource(f"{clip}?disconnect@1s", SourceOptions(), live=False)
    source.open()
    frames = []
    with pytest.raises(SourceError, match="broke off, as 'disconnect@1s' says"):
        frames.extend(source)
    source.close()
    assert source.stats.delivered == 50


def test_damage_of_the_source_itself_is_passed_on(tmp_path: Path) -> None:
    for n in range(5):
        (tmp_path / f"{n}.png").write_bytes(b"")
    write_clip(tmp_path / "0.png", indexed_frames(1), codec="png", pix_fmt="rgb24")
    (tmp_path / "3.png").write_bytes((tmp_path / "0.png").read_bytes())
    frames, stats = spoilt(tmp_path, "seed=1")
    assert len(frames) == 2
    assert stats.corrupt == 3
    assert stats.seen == 5


# --- what cannot be ---


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{clip}?freez@5s=1s", "Did you mean 'freeze'"),
        ("{clip}?seed=-1", "seed of the source 'chaos' must be 0 or more"),
        ("{clip}?loop=maybe", "loop=maybe of the source 'chaos' does not fit"),
        ("{clip}?timeout_s=0", "timeout_s of a live source must be more than 0"),
        ("{clip}?stride=2?freeze@5s=1s", "no option 'stride'"),
        ("{clip}?mute@5s=1s&live=0", "'mute' happens to live feeds only"),
        ("", "around another source"),
    ],
)
def test_what_cannot_be_is_said_at_once(clip: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_source(f"chaos:{text.format(clip=clip)}", SourceOptions(), {})


@pytest.mark.parametrize("live", [False, True])
def test_what_is_not_there_is_not_waited_for(tmp_path: Path, live: bool) -> None:
    source = ChaosSource(str(tmp_path / "none.mp4"), SourceOptions(), live=live)
    with pytest.raises(SourceOpenError, match=r"none\.mp4"):
        source.open()
    source.close()


def test_what_is_given_beside_wins(clip: Path) -> None:
    source = make_source(f"chaos:{clip}?live=1&drop@1s", SourceOptions(), {"live": "0"})
    assert not source.open().live
    source.close()


def test_passwords_are_not_shown() -> None:
    source = make_source("chaos:rtsp://me:secret@cam/x?freeze@5s=1s&live=0", SourceOptions(), {})
    assert "secret" not in source._source._label  # type: ignore[attr-defined]


# --- live ---


class Watched:
    """What came of a live source: frames until there are ``count``, and every state it told."""

    def __init__(self, text: str, count: int, **options: float) -> None:
        self.states: list[tuple[str, str]] = []
        told = SourceOptions(on_state=lambda *state: self.states.append(state), **options)  # type: ignore[arg-type]
        self.source = make_source(f"chaos:{text}", told, {})
        self.frames: list[Frame] = []
        self.ages_ms: list[float] = []
        try:
            self.info = self.source.open()
            for frame in self.source:
                self.frames.append(frame)
                assert frame.captured_ns is not None
                self.ages_ms.append((time.time_ns() - frame.captured_ns) / MS)
                if len(self.frames) == count:
                    break
        finally:
            self.source.close()
        self.stats = self.source.stats
        check(self.frames, self.stats)

    @property
    def path(self) -> list[str]:
        return [state for state, _ in self.states]

    @property
    def steps_ms(self) -> list[float]:
        return [(b.pts_ns - a.pts_ns) / MS for a, b in pairwise(self.frames)]

    @property
    def reasons(self) -> str:
        return "; ".join(reason for _, reason in self.states)


def test_a_file_is_a_feed(clip: Path) -> None:
    began = time.monotonic()
    watched = Watched(str(clip), 20)
    assert time.monotonic() - began > 0.35
    assert watched.info.live
    assert watched.info.duration_s is None
    assert watched.info.uri == f"chaos:{clip}"
    assert (watched.info.rate, watched.info.codec) == (50.0, "h264")
    assert indexes(watched.frames) == list(range(20))
    assert set(watched.steps_ms) == {STEP_MS}
    assert watched.path == ["connecting", "live"]
    assert watched.stats.reconnects == 0


def test_sampling_is_as_of_any_feed(clip: Path) -> None:
    assert indexes(Watched(str(clip), 5, stride=4).frames) == [0, 4, 8, 12, 16]
    assert indexes(Watched(str(clip), 5, fps=10).frames) == [0, 4, 9, 14, 19]


def test_a_feed_loops_or_ends(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "short.mp4", indexed_frames(5, 64, 48), rate=50)
    looped = Watched(str(clip), 12)
    assert indexes(looped.frames) == [0, 1, 2, 3, 4] * 2 + [0, 1]
    assert set(looped.steps_ms) == {STEP_MS}
    once = Watched(f"{clip}?loop=0", 12)
    assert indexes(once.frames) == [0, 1, 2, 3, 4]
    assert once.path == ["connecting", "live"]


@pytest.mark.parametrize("fault", ["freeze@100ms=300ms", "drop@100ms=300ms"])
def test_a_short_silence_is_a_gap(clip: Path, fault: str) -> None:
    watched = Watched(f"{clip}?{fault}", 10)
    assert indexes(watched.frames) == [0, 1, 2, 3, 4, 20, 21, 22, 23, 24]
    assert watched.steps_ms[4] == 16 * STEP_MS
    assert watched.path == ["connecting", "live"]


def test_a_long_silence_is_noticed(clip: Path) -> None:
    watched = Watched(f"{clip}?freeze@100ms=1200ms&timeout_s=0.5", 10)
    assert watched.path == ["connecting", "live", "reconnecting", "live"]
    assert "no frame for 0." in watched.reasons
    assert watched.stats.reconnects == 1
    assert indexes(watched.frames)[:5] == [0, 1, 2, 3, 4]
    assert watched.steps_ms[4] >= 1200


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("disconnect", "broken off, by the schedule"), ("end", "ended")],
)
def test_a_feed_that_breaks_off_is_found_again(clip: Path, fault: str, reason: str) -> None:
    watched = Watched(f"{clip}?{fault}@100ms", 10)
    assert watched.path == ["connecting", "live", "reconnecting", "live"]
    assert reason in watched.reasons
    # What was shown in the meantime was shown to nobody, and time went on.
    shown = indexes(watched.frames)
    assert shown[:5] == [0, 1, 2, 3, 4]
    assert shown[5] > 20
    assert watched.steps_ms[4] >= 400


def test_broken_off_at_0_is_after_connecting(clip: Path) -> None:
    watched = Watched(f"{clip}?disconnect@0s", 2)
    assert watched.path == ["connecting", "connecting", "live"]
    assert "broken off" in watched.reasons


def test_absent_at_the_start(clip: Path) -> None:
    watched = Watched(f"{clip}?refuse@0s=200ms", 3)
    assert watched.path == ["connecting", "connecting", "live"]
    assert "connection refused, by the schedule; next try in 0." in watched.reasons
    assert watched.stats.reconnects == 0


def test_connects_and_says_nothing(clip: Path) -> None:
    watched = Watched(f"{clip}?mute@0s=200ms&first_frame_s=0.5", 3)
    assert watched.path == ["connecting", "connecting", "live"]
    assert "no frame within 0." in watched.reasons


def test_a_wrong_password_is_told_at_once(clip: Path) -> None:
    source = make_source(f"chaos:{clip}?deny@0s&reconnect=0", SourceOptions(), {})
    with pytest.raises(SourceOpenError, match="wrong user name or password"):
        source.open()
    source.close()


def test_a_wrong_password_is_tried_slowly_and_a_stop_does_not_wait_for_it(clip: Path) -> None:
    reasons: list[str] = []
    tried = threading.Event()

    def note(state: str, reason: str) -> None:
        reasons.append(reason)
        if "next try" in reason:
            tried.set()

    source = make_source(f"chaos:{clip}?deny@0s", SourceOptions(on_state=note), {})
    stopper = threading.Thread(target=lambda: (tried.wait(20), source.interrupt()))  # type: ignore[attr-defined]
    stopper.start()
    with pytest.raises(SourceOpenError, match="before it was stopped"):
        source.open()
    source.close()
    stopper.join()
    wait_s = float(reasons[-1].partition("next try in ")[2].partition(" ")[0])
    assert wait_s > 10


def test_a_stop_does_not_wait_for_a_frozen_feed(clip: Path) -> None:
    source = make_source(f"chaos:{clip}?freeze@60ms", SourceOptions(), {})
    source.open()
    timer = threading.Timer(0.3, source.interrupt)  # type: ignore[attr-defined]
    timer.start()
    assert indexes(list(source)) == [0, 1, 2]
    source.close()
    timer.join()


def test_may_be_stopped_before_it_is_open(clip: Path) -> None:
    source = ChaosSource(str(clip), SourceOptions())
    source.interrupt()
    with pytest.raises(SourceOpenError, match="closed before"):
        source.open()
    source.close()


def test_slow_frames_are_old_when_they_come(clip: Path) -> None:
    watched = Watched(f"{clip}?slow@100ms=150ms/200ms", 20)
    assert indexes(watched.frames) == list(range(20))
    assert set(watched.steps_ms) == {STEP_MS}
    assert min(watched.ages_ms[5:15]) > 140


@pytest.mark.parametrize("shift", ["1h", "-10s"])
def test_the_clock_of_a_feed_may_jump(clip: Path, shift: str) -> None:
    watched = Watched(f"{clip}?jump@100ms={shift}", 10)
    assert indexes(watched.frames) == list(range(10))
    assert watched.stats.pts_repaired == 1
    assert watched.steps_ms == pytest.approx([STEP_MS] * 9, abs=1)


def test_pictures_of_a_feed_are_spoilt(clip: Path) -> None:
    watched = Watched(f"{clip}?size@60ms=96x64/20ms&corrupt@100ms&duplicate@140ms", 10)
    assert [frame.width for frame in watched.frames] == [64, 64, 64, 96, 64, 64, 64, 64, 64, 64]
    assert watched.stats.damaged == 1
    assert watched.stats.pts_repaired == 1
    assert indexes([watched.frames[n] for n in (3, 6, 7, 8)]) == [3, 6, 7, 7]


def test_around_a_live_source(clip: Path) -> None:
    watched = Watched(f"chaos:{clip}?drop@60ms?disconnect@100ms", 8)
    assert watched.path == ["connecting", "live", "connecting", "live", "reconnecting", "live"]
    shown = indexes(watched.frames)
    assert 3 not in shown
    assert np.all(np.diff(shown) >= 1)
    assert max(watched.steps_ms) >= 400


# --- through the pipeline ---


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two squares that stand still, so that it does not matter when nobody looks; and the model that finds them."""
    folder = tmp_path_factory.mktemp("squares")
    still = square_frames(50, [(40, 40, 0, 0), (300, 100, 0, 0)])
    return write_clip(folder / "squares.mp4", still), write_square_detector(folder / "squares.onnx")


def tracked(squares: tuple[Path, Path], query: str, max_gap_s: float) -> list[tuple[float, list[int]]]:
    clip, model = squares
    seen: list[tuple[float, list[int]]] = []
    settings = {"tracker.max_gap_s": max_gap_s, "scene.cuts": False}
    with Pipeline(f"chaos:{clip}?{query}", model=str(model), stride=1, set=settings) as pipeline:
        for result in pipeline:
            confirmed = result.tracks.ids[(result.tracks.states == 1) & (result.tracks.rows >= 0)]
            seen.append((result.frame.ts_s, sorted(confirmed.tolist())))
            gaps = [n for n, (a, b) in enumerate(pairwise(seen)) if b[0] - a[0] > 0.35 and a[1]]
            if pipeline.info.live and gaps and len(seen) > gaps[0] + 5:
                break
    return seen


def around_the_gap(seen: list[tuple[float, list[int]]]) -> tuple[list[int], list[int]]:
    gap = next(n for n, (a, b) in enumerate(pairwise(seen)) if b[0] - a[0] > 0.35 and a[1])
    return seen[gap][1], seen[-1][1]


@pytest.mark.parametrize("query", ["freeze@1s=400ms&live=0", "freeze@every1s=400ms"])
def test_tracks_survive_a_freeze_shorter_than_the_gap_allowed(squares: tuple[Path, Path], query: str) -> None:
    before, after = around_the_gap(tracked(squares, query, max_gap_s=2.5))
    assert before == after
    assert len(before) == 2


def test_tracks_end_with_a_longer_one_and_ids_go_on(squares: tuple[Path, Path]) -> None:
    before, after = around_the_gap(tracked(squares, "freeze@every1s=400ms", max_gap_s=0.2))
    assert len(before) == len(after) == 2
    assert min(after) > max(before)
