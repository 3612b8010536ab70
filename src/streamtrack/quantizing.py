"""A model in int8: calibrated on frames of a video, and what that costs, measured on other frames of it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamtrack import config, plugins, registry
from streamtrack.api import Backend, BackendOptions, Session, SourceOptions, Tensors
from streamtrack.errors import BackendError, ConfigError, DecodeError
from streamtrack.models import zoo
from streamtrack.models.detector import Detector, load_detector
from streamtrack.models.parity import iou
from streamtrack.models.spec import ModelSpec
from streamtrack.params import DetectorParams
from streamtrack.types import Detections, Float32Array, Frame

BACKEND: Final = "onnx"
CONFIDENCE: Final = 0.5
"""Boxes that score less are not counted."""
OVERLAP: Final = 0.5
"""Least intersection over union of two boxes that are the same thing."""
_SECONDS_APART = 0.5
"""Between frames of a video whose length nobody knows."""


class Wanted(NamedTuple):
    """What shall be quantized."""

    model: str
    """A name in the zoo, or the path of an ONNX file."""
    video: str
    """What to calibrate on, as a source is written; a file."""
    out: Path | None = None
    """Where to; None for ``NAME_int8.onnx`` in the current folder."""
    head: str | None = None
    """How to read the outputs of a model that does not tell itself."""
    frames: int = 32
    """How many to calibrate on, and again how many to measure on; spread over the whole video."""


class Cost(NamedTuple):
    """int8 against the original, on frames that it was not calibrated on."""

    frames: int
    boxes: int
    """Of the original with a score of at least ``CONFIDENCE``."""
    found: int
    """Of int8, likewise."""
    shared: int
    """In both, overlapping by at least ``OVERLAP``."""
    mean_iou: float
    """Of those; 1.0 without any."""
    mean_drift: float
    """Mean absolute difference of their scores."""
    worst_drift: float
    ms: float
    """Median of one inference of the original."""
    int8_ms: float

    @property
    def precision(self) -> float:
        """Share of the boxes of int8 that the original has too; 1.0 without any."""
        return self.shared / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        """Share of the original's boxes that int8 has too; 1.0 without any."""
        return self.shared / self.boxes if self.boxes else 1.0

    @property
    def speed(self) -> float:
        """How many times faster int8 is."""
        return self.ms / self.int8_ms


class Quantized(NamedTuple):
    """A new model."""

    original: Path
    path: Path
    head: str
    calibrated_on: int
    """Frames."""
    seen: int
    """Boxes in them: what was not seen is not calibrated for."""
    cost: Cost


class QuantizingBackend(Protocol):
    """What is needed of a backend beyond ``streamtrack.api.Backend``."""

    def quantize(
        self, model: Path, out: Path, spec: ModelSpec, batches: Iterator[Float32Array], say: Callable[[str], None]
    ) -> None:
        """Write ``model`` in int8 to ``out``: the whole of it, or nothing."""
        ...


class _Watched:
    """A backend whose sessions keep what they were last given: the input, exactly as a detector prepares it."""

    def __init__(self, backend: Backend) -> None:
        self.name = backend.name
        self.sessions: list[_WatchedSession] = []
        self._backend = backend

    def load(self, model: Path, spec: ModelSpec, options: BackendOptions) -> _WatchedSession:
        self.sessions.append(_WatchedSession(self._backend.load(model, spec, options)))
        return self.sessions[-1]


class _WatchedSession:
    def __init__(self, session: Session) -> None:
        self.max_batch, self.device = session.max_batch, session.device
        self.outputs, self.input_shape = session.outputs, session.input_shape
        self.given: NDArray[np.float32] | None = None
        self.close = session.close
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)  # what a session need not have, such as metadata

    def run(self, batch: NDArray[np.float32]) -> Tensors:
        self.given = batch
        return self._session.run(batch)


def quantize(
    wanted: Wanted, *, say: Callable[[str], None], progress: Callable[[str, int, int], None] = lambda *told: None
) -> Quantized:
    """Make a model in int8 and measure what it costs. It takes one inference on the CPU for each frame, and some more.

    Args:
        wanted: what shall be made.
        say: told in one line what a person should know.
        progress: told which step is at work, how many frames it has done, and of how many.

    Raises:
        ConfigError: the output exists already, or the source is live.
        SourceError: the video cannot be read.
        ModelLoadError: the model cannot be loaded, or cannot be quantized.
    """
    model = zoo.resolve(wanted.model, wanted.head, config.model_dir(), say=say)
    out = wanted.out or Path(f"{model.name}_int8.onnx")
    _check_free(out)
    frames = _Frames(wanted.video, wanted.frames)
    backend = registry.load("backends", BACKEND)()
    watched = _Watched(backend)
    options, params = BackendOptions(device="cpu"), DetectorParams(confidence_th=CONFIDENCE)
    with closing(load_detector(model.path, model.spec, watched, options, params)) as detector:
        inputs = _Inputs(detector, watched.sessions[-1], frames, progress)
        _write(backend, model.path, out, detector.spec, inputs, say)
        with closing(load_detector(out, detector.spec, backend, options, params)) as candidate:
            cost = measure(
                detector, candidate, frames.held_out(), lambda done: progress("measuring", done, frames.count)
            )
        return Quantized(model.path, out, detector.spec.head, inputs.frames, inputs.boxes, cost)


def measure(
    reference: Detector,
    candidate: Detector,
    frames: Iterable[Frame],
    progress: Callable[[int], None] = lambda done: None,
) -> Cost:
    """Return what ``candidate`` finds and takes, against ``reference``.

    Args:
        reference: whose boxes are right.
        candidate: whose boxes are measured.
        frames: to look at.
        progress: told how many have been looked at.
    """
    times: list[tuple[float, float]] = []
    boxes = found = 0
    pairs: list[tuple[float, float]] = []
    for frame in frames:
        (right, right_s), (ours, ours_s) = (_timed(detector, frame) for detector in (reference, candidate))
        times.append((right_s, ours_s))
        boxes, found = boxes + len(right), found + len(ours)
        pairs += [(overlap, abs(float(ours.scores[j] - right.scores[i]))) for i, j, overlap in match(right, ours)]
        progress(len(times))
    timed = times[1:] or times or [(float("nan"), float("nan"))]  # the first call allocates
    overlaps, drifts = zip(*pairs, strict=True) if pairs else ((1.0,), (0.0,))
    return Cost(
        *(len(times), boxes, found, len(pairs)),
        *(statistics.fmean(overlaps), statistics.fmean(drifts), max(drifts)),
        ms=1000 * statistics.median(first for first, _ in timed),
        int8_ms=1000 * statistics.median(second for _, second in timed),
    )


def match(right: Detections, ours: Detections) -> list[tuple[int, int, float]]:
    """Return the rows of boxes that are the same thing, and their overlap: the closest first, each box once."""
    if not len(right) or not len(ours):
        return []
    overlaps = np.where(right.classes[:, None] == ours.classes, iou(right.boxes, ours.boxes), 0.0)
    pairs: list[tuple[int, int, float]] = []
    while (best := float(overlaps.max())) >= OVERLAP:
        row, column = (int(index) for index in np.unravel_index(int(overlaps.argmax()), overlaps.shape))
        pairs.append((row, column, best))
        overlaps[row, :] = overlaps[:, column] = 0.0
    return pairs


def _timed(detector: Detector, frame: Frame) -> tuple[Detections, float]:
    before = detector.stats.inference_s
    (found,) = detector.detect([frame])
    return found, detector.stats.inference_s - before


def _check_free(out: Path) -> None:
    if out.exists():
        raise ConfigError(f"{out} exists already: delete it, or give another --out.")
    if not out.parent.is_dir():
        raise ConfigError(f"There is no folder {out.parent} for {out.name}: make it, or give another --out.")


def _write(backend: Any, model: Path, out: Path, spec: ModelSpec, inputs: _Inputs, say: Callable[[str], None]) -> None:
    maker: QuantizingBackend = backend
    try:
        maker.quantize(model, out, spec, iter(inputs), say)
    except OSError as error:
        if isinstance(error, DecodeError):
            raise
        raise BackendError(f"{out} cannot be written: {error.strerror or error}.") from error


class _Inputs:
    """What a detector gives its model for the frames of the calibration."""

    def __init__(
        self,
        detector: Detector,
        session: _WatchedSession,
        frames: _Frames,
        progress: Callable[[str, int, int], None],
    ) -> None:
        self.frames = self.boxes = 0
        self._detector, self._session, self._source, self._progress = detector, session, frames, progress

    def __iter__(self) -> Iterator[Float32Array]:
        for frame in self._source.calibration():
            (found,) = self._detector.detect([frame])
            self.frames, self.boxes = self.frames + 1, self.boxes + len(found)
            self._progress("calibrating", self.frames, self._source.count)
            assert self._session.given is not None
            yield self._session.given
        if not self.frames:
            raise DecodeError(f"{self._source.video} has no frame to calibrate on.")


class _Frames:
    """Frames spread over a video, taken by turns for one purpose and the other."""

    def __init__(self, video: str, count: int) -> None:
        self.video, self.count = video, count
        with closing(plugins.make_source(video, SourceOptions(), {})) as source:
            info = source.open()
        if info.live:
            raise ConfigError(f"{info.uri} is a live feed: calibrate on a file, which can be read twice.")
        apart = info.frames_estimate / (2 * count) if info.frames_estimate else info.rate * _SECONDS_APART
        self._options = SourceOptions(stride=max(int(apart), 1))

    def calibration(self) -> Iterator[Frame]:
        """Yield the first, the third, ... of them."""
        return self._every_other(0)

    def held_out(self) -> Iterator[Frame]:
        """Yield the second, the fourth, ... of them."""
        return self._every_other(1)

    def _every_other(self, first: int) -> Iterator[Frame]:
        with closing(plugins.make_source(self.video, self._options, {})) as source:
            source.open()
            for number, frame in enumerate(source):
                if number >= 2 * self.count:
                    return
                if number % 2 == first:
                    yield frame


def as_json(made: Quantized) -> bytes:
    """Return what was made and what it costs as JSON."""
    cost = {**made.cost._asdict(), **{name: getattr(made.cost, name) for name in ("precision", "recall", "speed")}}
    return msgspec.json.encode({**made._asdict(), "original": str(made.original), "path": str(made.path), "cost": cost})
