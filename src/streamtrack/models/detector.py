"""Detector: a session and a head, from frames to detections in source pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import msgspec
import numpy as np

from streamtrack.api import Backend, BackendOptions, Session
from streamtrack.errors import ModelLoadError
from streamtrack.models.classes import class_names, read_metadata
from streamtrack.models.heads import (
    ALIKE,
    AUTO,
    HEADS,
    Candidates,
    Head,
    InputSize,
    Outputs,
    conventions,
    fitting,
    head_named,
    recognise,
    told_apart,
)
from streamtrack.models.nms import nms, suppress
from streamtrack.models.preprocess import InputBuffer, Letterbox, input_size_for
from streamtrack.models.spec import ModelSpec
from streamtrack.params import DetectorParams
from streamtrack.types import BoxCounts, Detections, Float32Array, Frame, Int32Array, Int64Array

_VECTOR_RANK = 2


@dataclass(slots=True)
class DetectorStats:
    """What a detector did so far, in wall seconds; written by its own thread, read by others."""

    frames: int = 0
    batches: int = 0
    preprocess_s: float = 0.0
    inference_s: float = 0.0
    postprocess_s: float = 0.0


def select(
    boxes: Float32Array, scores: Float32Array, classes: Int32Array, params: DetectorParams
) -> tuple[Int64Array, Float32Array, BoxCounts]:
    """Return the rows of the detections, strongest first, their scores, and what became of the others.

    Args:
        boxes: (N, 4) x0 y0 x1 y1 px, clamped to the frame.
        scores: (N,).
        classes: (N,).
        params: smallest size, suppression, and how many at most.
    """
    shorter = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    # A box outside the frame is clamped to nothing; what is not a number compares as False.
    within = shorter > 0
    rows = np.flatnonzero(within & (shorter >= params.min_size))
    small = np.flatnonzero(within & (shorter < params.min_size))
    kept, lowered = suppress(boxes[rows], scores[rows], classes[rows], params)
    things = len(nms(boxes[small], scores[small], classes[small], params.nms_iou, len(small))) if len(small) else 0
    full = len(kept) == params.max_detections
    beyond = int((np.delete(scores[rows], kept) < lowered[-1]).sum()) if full else 0
    counts = BoxCounts(
        candidates=len(rows) + len(small),
        suppressed=len(rows) - len(kept) - beyond + len(small) - things,
        too_small=things,
        beyond_max=beyond,
        kept=len(kept),
    )
    return rows[kept], lowered, counts


def load_detector(
    model: Path,
    spec: ModelSpec,
    backend: Backend,
    options: BackendOptions,
    params: DetectorParams,
    classes: Sequence[str] = (),
) -> Detector:
    """Load a model and return its detector. To be called on the thread that will use it.

    With ``spec.head == "auto"`` the model's outputs tell its head, and with it the conventions of its input. Its
    classes are called as ``classes`` says, as the model's own metadata does, or as is usual for its head.

    Raises:
        ConfigError: ``classes`` are not as many as the model has.
        ModelLoadError: the model is corrupt, or its outputs fit no head, or not the one of the spec.
        BackendError: the device that was asked for is not there.
    """
    session = backend.load(model, spec, options)
    try:
        if spec.head == AUTO:
            spec = _recognised(spec, session, model)
            if spec.dynamic_size and None not in session.input_shape:
                # Stored with a fixed size though it takes any: now that it is known, load it so.
                session.close()
                session = backend.load(model, spec, options)
        detector = Detector(spec, session, params)
        usual = detector.spec.classes
        # A family that finds one thing has no other names in its files, and reading a large one takes time.
        metadata = {} if classes or len(usual) == 1 else read_metadata(model)
        if detector.class_count is None:
            tried = head_named(spec.head).bind(*_tried(spec, session))
            detector.class_count = tried.classes if tried else None
        names = class_names(metadata, classes, detector.class_count, usual)
        detector.spec = msgspec.structs.replace(detector.spec, classes=names)
        return detector
    except BaseException:
        session.close()
        raise


class Detector:
    """Detects in frames of any size; created, used and closed on one thread."""

    def __init__(self, spec: ModelSpec, session: Session, params: DetectorParams) -> None:
        """Bind the head to the session's outputs.

        Raises:
            ModelLoadError: the outputs do not fit the head, or the input is not one a picture can be put into.
        """
        self._head = _bind(spec, session)
        self.spec = msgspec.structs.replace(spec, keypoints=self._head.keypoints)
        self.class_count = self._head.classes
        """How many classes the model tells apart; None where its outputs do not say."""
        self.params = params
        self.stats = DetectorStats()
        self.thumbnails: list[Float32Array] = []
        """Of the frames of the latest ``detect`` or ``look``: RGB (3, 18, 32), 0..255."""
        self.box_counts: list[BoxCounts] = []
        """Of the frames of the latest ``detect``."""
        self.max_batch = session.max_batch
        self._session = session
        self._fixed_hw = _fixed_size(spec, session.input_shape)
        self._buffers: dict[tuple[int, int], InputBuffer] = {}

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Return the detections of each frame, strongest first, in source px and clamped to the frame.

        With ``params.adaptive`` these are all that may be one in any light: ``streamtrack.lighting`` decides. Frames
        may differ in size; more than ``max_batch`` of them are split.

        Raises:
            InferenceError: the model failed to run.
        """
        found: dict[int, tuple[Detections, BoxCounts, Float32Array]] = {}
        for input_hw, rows in self._batches(frames):
            found.update(zip(rows, self._detect([frames[row] for row in rows], input_hw), strict=True))
        self.thumbnails = [found[row][2] for row in range(len(frames))]
        self.box_counts = [found[row][1] for row in range(len(frames))]
        return [found[row][0] for row in range(len(frames))]

    def look(self, frames: Sequence[Frame]) -> None:
        """Leave the thumbnails behind that ``detect`` would leave, without running the model."""
        self.thumbnails = []
        for frame in frames:
            buffer = self._buffer(self.input_size(frame.width, frame.height))
            buffer.write(0, frame)
            self.thumbnails.append(buffer.thumbnail(0))

    @property
    def device(self) -> str:
        """What it runs on now."""
        return self._session.device

    @property
    def precision(self) -> str:
        """What it computes in now."""
        return str(getattr(self._session, "precision", "fp32"))

    @property
    def changing(self) -> bool:
        """Whether the session may still change over to another runtime: see ``models.changeover``."""
        return bool(getattr(self._session, "changing", False))

    @property
    def changed_after(self) -> int | None:
        """How many calls were answered before it changed over; None where it did not."""
        found: int | None = getattr(self._session, "changed_after", None)
        return found

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """The (height, width) that the session insists on, or None where both are free."""
        return self._fixed_hw

    def input_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the (height, width) of the input that a frame of ``width`` x ``height`` is given to the model in."""
        return self._fixed_hw or input_size_for(self.spec, width, height)

    def close(self) -> None:
        """Release the session."""
        self._session.close()

    def _batches(self, frames: Sequence[Frame]) -> Iterator[tuple[tuple[int, int], list[int]]]:
        by_size: dict[tuple[int, int], list[int]] = {}
        for row, frame in enumerate(frames):
            by_size.setdefault(self.input_size(frame.width, frame.height), []).append(row)
        for input_hw, rows in by_size.items():
            for start in range(0, len(rows), self.max_batch):
                yield input_hw, rows[start : start + self.max_batch]

    def _buffer(self, input_hw: tuple[int, int]) -> InputBuffer:
        buffer = self._buffers.get(input_hw)
        if buffer is None:
            buffer = self._buffers[input_hw] = InputBuffer(self.spec, self.max_batch, input_hw)
        return buffer

    def _detect(
        self, frames: list[Frame], input_hw: tuple[int, int]
    ) -> list[tuple[Detections, BoxCounts, Float32Array]]:
        started = perf_counter()
        buffer = self._buffer(input_hw)
        boxes = [buffer.write(slot, frame) for slot, frame in enumerate(frames)]
        small = [buffer.thumbnail(slot) for slot in range(len(frames))]
        prepared = perf_counter()
        tensors = self._session.run(buffer.batch(len(frames)))
        inferred = perf_counter()
        with np.errstate(over="ignore", invalid="ignore"):  # a model may give nonsense: what is not finite is dropped
            candidates = self._head.decode(tensors, input_hw, self.params.floor)
            found = [self._finish(*item) for item in zip(candidates, frames, boxes, strict=True)]
        self.stats.frames += len(frames)
        self.stats.batches += 1
        self.stats.preprocess_s += prepared - started
        self.stats.inference_s += inferred - prepared
        self.stats.postprocess_s += perf_counter() - inferred
        return [(*each, thumbnail) for each, thumbnail in zip(found, small, strict=True)]

    def _finish(self, found: Candidates, frame: Frame, placed: Letterbox) -> tuple[Detections, BoxCounts]:
        """Map candidates back to the source, clamp, and drop the small and the suppressed."""
        scale = np.array((placed.scale_x, placed.scale_y), np.float32)
        corners = found.boxes.reshape(-1, 2, 2) * scale
        boxes = np.clip(corners, 0, np.array((frame.width, frame.height), np.float32)).reshape(-1, 4)
        kept, scores, counts = select(boxes, found.scores, found.classes, self.params)
        keypoints = found.keypoints[kept] * scale
        return Detections(boxes[kept], np.clip(scores, 0, 1), found.classes[kept], keypoints), counts


def _bind(spec: ModelSpec, session: Session) -> Head:
    kind, outputs = head_named(spec.head), session.outputs
    head = kind.bind(outputs, _input_size(session))
    if head is None:
        likely = recognise(outputs, _input_size(session))
        advice = f"it looks like a {likely} model: use --head {likely}" if likely else _choices()
        raise ModelLoadError(
            f"{spec.name} does not fit head '{spec.head}', which expects {kind.expects}; "
            f"found {_described(outputs)}; {advice}."
        )
    return head


def _input_size(session: Session) -> InputSize:
    height, width = session.input_shape[2:]
    return height, width


def _tried(spec: ModelSpec, session: Session) -> tuple[Outputs, InputSize]:
    """Return the outputs with the shapes that a black picture gives them, and the size of its input."""
    batch, _, height, width = session.input_shape
    input_hw = (height or spec.input_size[0], width or spec.input_size[1])
    tensors = session.run(np.zeros((batch or 1, 3, *input_hw), np.float32))
    return tuple((name, tensors[name].shape) for name, _ in session.outputs), input_hw


def _recognised(spec: ModelSpec, session: Session, model: Path) -> ModelSpec:
    told: ModelSpec | None = getattr(session, "conventions", None)
    if told is not None and told.head != AUTO:
        return msgspec.structs.replace(told, name=spec.name, input_size=spec.input_size)
    outputs = session.outputs
    heads = fitting(outputs, _input_size(session))
    if len(heads) > 1:
        # An export that leaves everything free has shapes all the same: a run tells them.
        outputs, input_hw = _tried(spec, session)
        heads = fitting(outputs, input_hw)
    if not heads:
        single = len(outputs) == 1 and len(outputs[0][1]) == _VECTOR_RANK
        advice = "; one vector a picture is what an embedder gives: name such a model with --embedder" * single
        raise ModelLoadError(
            f"The outputs of {spec.name} fit no known head: found {_described(outputs)}; {_choices()}{advice}."
        )
    if len(heads) > 1:
        raise ModelLoadError(
            f"The outputs of {spec.name} fit more than one head: found {_described(outputs)}; "
            f"say which with --head: {', '.join(heads)}."
        )
    head = heads[0] if heads[0] not in ALIKE else told_apart(heads[0], read_metadata(model))
    # The head's conventions, in the size that was asked for.
    return msgspec.structs.replace(conventions(head, spec.name), input_size=spec.input_size)


def _choices() -> str:
    return f"known to --head are {', '.join(HEADS)}"


def _described(outputs: Outputs) -> str:
    shown = [f"{name} ({', '.join('?' if n is None else str(n) for n in shape)})" for name, shape in outputs[:12]]
    return ", ".join(shown) + (f" and {len(outputs) - 12} more" if len(outputs) > 12 else "")


def _fixed_size(spec: ModelSpec, shape: tuple[int | None, ...]) -> tuple[int, int] | None:
    """Return the (height, width) that a model insists on, or None where both are free."""
    height, width = shape[2:]
    if height is None and width is None:
        return None
    if height is None or width is None:
        raise ModelLoadError(f"{spec.name} fixes only one of height and width of its input, which is not supported.")
    if height % spec.size_multiple or width % spec.size_multiple:
        raise ModelLoadError(
            f"The input of {spec.name} is {width}x{height}; head '{spec.head}' needs multiples of {spec.size_multiple}."
        )
    return height, width
