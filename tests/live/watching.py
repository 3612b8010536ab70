"""A run over a live feed on a thread of its own, which notes what it is told and shown, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from servers import CLIP_FRAMES

from streamtrack.api import Source, SourceOptions
from streamtrack.build import make_tracker
from streamtrack.errors import SourceError
from streamtrack.params import TrackerParams
from streamtrack.pipeline import Ledger, Plan, StagePipeline, Stages
from streamtrack.plugins import make_source
from streamtrack.testing.clips import read_index
from streamtrack.testing.results import make_info
from streamtrack.types import (
    CONFIRMED,
    Detections,
    FeedState,
    Float32Array,
    Frame,
    Result,
    SourceInfo,
    SourceStats,
)

PATIENCE_S = 45.0
"""What has not happened after so long never will. Nothing here takes more than a third of it on a busy machine."""


class Told(NamedTuple):
    """A change of state."""

    at_s: float
    """Monotonic."""
    state: FeedState
    reason: str


class Shown(NamedTuple):
    """A result."""

    at_s: float
    index: int
    pts_ns: int
    number: int | None
    """What the picture says; None where it says none, as a garbled one."""
    size: tuple[int, int]
    ids: tuple[int, ...]
    cut: bool
    captured_ns: int | None


class OneObject:
    """A detector that finds the same thing in every frame: whatever happens to its id, the feed did it."""

    def __init__(self) -> None:
        self.thumbnails: Sequence[Float32Array] = ()
        self.box_counts: Sequence[None] = ()

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        self.thumbnails, self.box_counts = [np.zeros((3, 2, 2), np.float32) for _ in frames], [None] * len(frames)
        boxes, scores = np.array([[20, 20, 60, 80]], np.float32), np.array([0.9], np.float32)
        keypoints = np.zeros((1, 0, 2), np.float32)
        return [Detections(boxes, scores, np.zeros(1, np.int32), keypoints) for _ in frames]

    def close(self) -> None:
        """Nothing is held."""


def _number(frame: Frame) -> int | None:
    try:
        number = read_index(frame.scaled(160, 96))
    except ValueError:
        return None
    # One garbled picture in some hundred says a number by chance.
    return number if number < CLIP_FRAMES else None


class Watch:
    """Runs the stages over a feed from entering to leaving the block.

    Args:
        url: of the feed.
        read: what the numbers in `shown` are; pictures cost time that a fast feed does not leave.
        options: of the source.
    """

    def __init__(self, url: str, *, read: Callable[[Frame], int | None] = _number, **options: Any) -> None:
        self.told: list[Told] = []
        self.shown: list[Shown] = []
        self.error: SourceError | None = None
        self.info: SourceInfo | None = None
        self.ledger: Ledger | None = None
        self._read = read
        self._changed = threading.Condition()
        self._ended = False
        self._source: Source = make_source(url, SourceOptions(on_state=self._on_state), options)
        self._stages = Stages(lambda: self._source, self._plan)
        self._thread = threading.Thread(target=self._run, name="test-watch")

    @property
    def stats(self) -> SourceStats:
        return self._source.stats

    @property
    def states(self) -> list[FeedState]:
        """The states in order, each as often as there was a reason."""
        return [told.state for told in self.told]

    def _plan(self, info: SourceInfo) -> Plan:
        self.info = info
        return Plan(
            OneObject, lambda: make_tracker(TrackerParams(), info.sample_rate), lambda: make_info(None, live=True)
        )

    def _run(self) -> None:
        try:
            with StagePipeline(self._stages) as pipeline:
                for result in pipeline:
                    self._note(result)
            self.ledger = pipeline.ledger()
        except SourceError as error:
            self.error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _note(self, result: Result) -> None:
        frame, tracks = result.frame, result.tracks
        ids = tuple(tracks.ids[tracks.states == CONFIRMED].tolist())
        shown = Shown(
            at_s=time.monotonic(),
            index=frame.index,
            pts_ns=frame.pts_ns,
            number=self._read(frame),
            size=(frame.width, frame.height),
            ids=ids,
            cut=result.cut,
            captured_ns=frame.captured_ns,
        )
        with self._changed:
            self.shown.append(shown)
            self._changed.notify_all()

    def _on_state(self, state: FeedState, reason: str) -> None:
        with self._changed:
            self.told.append(Told(time.monotonic(), state, reason))
            self._changed.notify_all()

    def _await(self, found: Callable[[], Any], wanted: str) -> Any:
        with self._changed:
            self._changed.wait_for(lambda: found() is not None or self._ended, PATIENCE_S)
            value = found()
            if value is None:
                raise AssertionError(f"{wanted} never came; ended: {self._ended}, error: {self.error}, {self.told}")
            return value

    def hear(self, *states: FeedState, after_s: float = 0.0, saying: str = "") -> Told:
        """Wait until one of ``states`` is told after the monotonic time ``after_s`` with ``saying`` in the reason."""

        def found() -> Told | None:
            late = (told for told in self.told if told.at_s >= after_s and told.state in states)
            return next((told for told in late if saying in told.reason), None)

        heard: Told = self._await(found, f"one of {states} saying '{saying}'")
        return heard

    def see(self, count: int = 1, *, after_s: float = 0.0) -> list[Shown]:
        """Wait for ``count`` results after the monotonic time ``after_s``."""

        def found() -> list[Shown] | None:
            late = [shown for shown in self.shown if shown.at_s >= after_s]
            return late[:count] if len(late) >= count else None

        seen: list[Shown] = self._await(found, f"{count} frames")
        return seen

    def see_size(self, size: tuple[int, int]) -> Shown:
        """Wait for the first result of a size in px."""
        seen: Shown = self._await(lambda: next((s for s in self.shown if s.size == size), None), f"{size}")
        return seen

    def end(self) -> SourceError | None:
        """Wait until the run ends by itself; return the error that it ended with."""
        self._thread.join(PATIENCE_S)
        assert self._ended, f"it goes on: {self.told}"
        return self.error

    def stop(self) -> None:
        """End the run, as leaving the block does."""
        self._source.interrupt()  # type: ignore[attr-defined]
        self._thread.join(PATIENCE_S)

    def is_gone(self) -> bool:
        """Return whether the threads of all connections of a run that was stopped have ended."""
        return all(connection.ended for connection in self._source._abandoned)  # type: ignore[attr-defined]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
