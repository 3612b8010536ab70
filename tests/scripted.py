"""Stages that do as they are told, to run a pipeline of: no decoder, no model, no tracker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from streamtrack.api import Delivery
from streamtrack.errors import SinkError
from streamtrack.testing.results import make_frame, make_info
from streamtrack.types import (
    CONFIRMED,
    BoxCounts,
    Detections,
    Float32Array,
    Frame,
    Result,
    RunInfo,
    SourceInfo,
    SourceStats,
    TrackUpdate,
)

Fault = Callable[[int], None]


def no_fault(index: int) -> None:
    """Nothing goes wrong."""


def fails_at(position: int, error: Exception) -> Fault:
    def fault(index: int) -> None:
        if index == position:
            raise error

    return fault


class ScriptedSource:
    """Yields ``count`` frames, every ``stride``-th of a longer stream."""

    def __init__(self, count: int, *, stride: int = 1, live: bool = False, fault: Fault = no_fault) -> None:
        self.info: SourceInfo = replace(make_info(None).source, live=live)
        self.stats = SourceStats()
        self._count, self._stride, self._fault = count, stride, fault
        self.closed_on: list[str] = []

    def open(self) -> SourceInfo:
        return self.info

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self._count):
            self._fault(index)
            self.stats.seen += 1
            if index % self._stride:
                self.stats.strided += 1
                continue
            self.stats.delivered += 1
            yield make_frame(index, width=8, height=8)

    def close(self) -> None:
        self.closed_on.append(threading.current_thread().name)


class ScriptedDetector:
    """Finds one face per frame."""

    def __init__(self, *, fault: Fault = no_fault, delay_s: float = 0.0) -> None:
        self._fault, self._delay_s = fault, delay_s
        self.batches: list[int] = []
        self.thumbnails: list[Float32Array] = []
        self.box_counts: list[BoxCounts | None] = []
        self.closed = 0

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        self.batches.append(len(frames))
        self.thumbnails = [np.full((3, 2, 2), frame.index, np.float32) for frame in frames]
        self.box_counts = [BoxCounts(2, 1, kept=1)] * len(frames)
        for frame in frames:
            self._fault(frame.index)
        time.sleep(self._delay_s)
        box = np.array([[1, 1, 5, 5]], np.float32)
        ones = np.ones(1, np.float32)
        return [
            Detections(box.copy(), ones.copy(), np.zeros(1, np.int32), np.zeros((1, 0, 2), np.float32)) for _ in frames
        ]

    def close(self) -> None:
        self.closed += 1


class OneTrack:
    """Says that everything is track 1."""

    def cut(self) -> None:
        raise AssertionError("there is no cut")

    def update(self, detections: Detections, pts_ns: int) -> TrackUpdate:
        return TrackUpdate(
            np.ones(1, np.int64),
            detections.boxes,
            detections.scores,
            detections.classes,
            np.full(1, CONFIRMED, np.uint8),
            np.zeros(1, np.int32),
            np.zeros(0, np.int64),
        )


class Recorder:
    """Remembers what a sink was told."""

    delivery = Delivery()

    def __init__(self, *, fault: Fault = no_fault, delay_s: float = 0.0, fail_open: bool = False) -> None:
        self._fault, self._delay_s, self._fail_open = fault, delay_s, fail_open
        self.frames: list[int] = []
        self.events: list[str] = []

    def open(self, info: RunInfo) -> None:
        self.events.append("open")
        if self._fail_open:
            raise SinkError("no room")

    def write(self, result: Result) -> None:
        self._fault(result.frame.index)
        time.sleep(self._delay_s)
        self.frames.append(result.frame.index)

    def close(self) -> None:
        self.events.append("close")


class Paced(ScriptedSource):
    """A camera of 200 frames a second."""

    def __iter__(self) -> Iterator[Frame]:
        for frame in super().__iter__():
            time.sleep(0.005)
            yield replace(frame, captured_ns=time.time_ns())
