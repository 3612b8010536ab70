"""The three plug-in contracts. Each has a conformance suite in ``streamtrack.testing``.

A plug-in is found through an entry point (``streamtrack.sources``, ``streamtrack.backends``, ``streamtrack.sinks``);
the built-in ones use the same door. See ``docs/plugins.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamtrack.models.spec import ModelSpec
from streamtrack.types import FeedState, Frame, Result, RunInfo, SourceInfo, SourceStats

Tensors = Mapping[str, NDArray[Any]]


def _untold(state: FeedState, reason: str) -> None:
    """Tell nobody."""


class SourceOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What any source is asked for, besides where it is."""

    stride: int = 1
    """Deliver exactly the frames with ``index % stride == 0``."""
    fps: float = 0.0
    """Resample by timestamp to at most this many frames a second of media; 0 means no limit."""
    threads: int = 0
    """Decoder threads; 0 lets the decoder choose."""
    on_state: Callable[[FeedState, str], None] = _untold
    """Told by a live source, on its own thread, whenever its state changes: the new state, and why, in words."""


class Source(Protocol):
    """Yields frames.

    A source class is constructed as ``SourceClass(uri, options, **own)``: anywhere, without any input or output, and
    raises ``ConfigError`` for options that cannot be. Its own options are keyword-only and annotated (bool, int, float
    or str); people give them as ``?key=value`` behind the URI or as ``--source-option key=value``. What follows,
    ``open``, iteration and ``close``, happens on one thread: the decode thread. Every blocking call inside returns
    within about a second, so that a stop is prompt; where that cannot be, a further method ``interrupt()`` ends the
    wait. It is called from another thread when the run stops, at any time after construction.

    A source that brings along what was found in its frames, as a recording does, offers a method ``detector()``, called
    once it is open, which returns a ``streamtrack.pipeline.RecordedDetector``: it takes the place of a model.
    """

    stats: SourceStats

    def open(self) -> SourceInfo:
        """Open it and say what it is.

        Raises:
            SourceOpenError: it cannot be opened, or holds no video.
        """
        ...

    def __iter__(self) -> Iterator[Frame]:
        """Yield the wanted frames in presentation order, ``index`` and ``pts_ns`` strictly increasing."""
        ...

    def close(self) -> None:
        """Release everything. Called once, also after an error."""
        ...


def _unsaid(text: str) -> None:
    """Tell nobody."""


class BackendOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What any runtime is asked for."""

    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``mps``."""
    threads: int = 0
    """Threads for one inference; 0 lets the backend choose."""
    input_size: tuple[int, int] | None = None
    """(height, width) in px to fix a model's free input size to; None leaves it as the model has it."""
    batch: int = 1
    """Pictures that one call shall take, where the model and the device gain from it."""
    precision: Literal["auto", "fp32", "fp16", "int8"] = "auto"
    """What to compute in; ``auto`` is what the device does best without drifting."""
    provider: str = ""
    """Which of a runtime's own ways to run (``cpu``, ``cuda``, ``tensorrt``, ``coreml`` of ONNX Runtime); empty: that
    of the device."""
    cache_dir: Path | None = None
    """Where what is compiled for this machine is kept; None for nowhere."""
    say: Callable[[str], None] = _unsaid
    """Told in one line what a person should know, such as how far a long build is."""


class Session(Protocol):
    """A loaded model. Created, used and closed on one thread: the inference thread.

    One that computes in less than fp32 says so in an attribute ``precision`` (``fp16`` or ``int8``): by it the parity
    gate knows how far its boxes may be from those of the CPU. One whose file tells how the model is fed and read has
    that in an attribute ``conventions`` (a ``ModelSpec``, or None): it is used where nobody says so.
    """

    max_batch: int
    """Largest first dimension that ``run`` takes."""
    device: str
    """What it really runs on, e.g. ``cpu``."""
    outputs: tuple[tuple[str, tuple[int | None, ...]], ...]
    """Name and shape of each output, None where a dimension is free. Heads recognise a model by these."""
    input_shape: tuple[int | None, ...]
    """(batch, 3, height, width), None where a dimension is free."""

    def run(self, batch: NDArray[np.float32]) -> Tensors:
        """Map (B, 3, H, W) to the model's output tensors by name, each with first dimension B.

        The tensors are valid until the next call. Raises ``InferenceError``.
        """
        ...

    def close(self) -> None:
        """Release everything."""
        ...


class Backend(Protocol):
    """Turns a model file into a session. Constructed without arguments, cheap until ``load``.

    One that cannot run everywhere offers a further method ``unavailable(device: str) -> str | None``, which says in
    words, and cheaply, why it cannot run on ``cpu``, ``cuda`` or ``mps`` of this machine, or None where it can as far
    as it can tell without loading a model. ``--device auto`` asks it, and goes on to the next backend with this reason.
    """

    name: str

    def load(self, model: Path, spec: ModelSpec, options: BackendOptions) -> Session:
        """Load ``model``.

        Raises:
            ModelLoadError: it is corrupt or of the wrong shape.
            BackendError: the device that was asked for is not the one that would run.
        """
        ...


class Delivery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How results reach a sink: options that every sink has besides its own. The sink is not told."""

    when_full: Literal["wait", "drop"] | None = None
    """While it is behind, ``wait`` holds the run back, so that a live feed drops frames before they are detected;
    ``drop`` loses the oldest results that wait, for this sink alone. None: as the sink says in an attribute
    ``when_full``; where it says nothing, a file waits and a live feed drops."""
    queue: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Results that may wait for it, each with its decoded frame; None: as many as between any two stages."""


class Sink(Protocol):
    """Consumes results. Created, opened, written and closed in this order, the last three on the sink's own thread.

    A sink class is constructed with its options as keyword arguments; annotations say their types. A sink that fails
    raises ``SinkError`` and thereby ends the run.

    One that chooses offers a further method ``counts() -> Mapping[str, int]``, which says what became of what it was
    given; it is written into ``track_metrics.json``, and the summary of a run shows it. It is called from any thread,
    at any time after construction. Where there is a count ``candidates``, the others sum to it: ``kept``, and one for
    each reason not to be, named in words with underscores.

    One that waits for somebody else, such as a broker, offers a method ``interrupt() -> None``. It is called from any
    thread, perhaps more than once, when a run is stopped or fails: ``write`` and ``close`` shall then end within a few
    seconds.

    A sink that is slower than a live feed loses results, so that nobody else waits for it: frame indexes then have
    gaps, and the next result says also what ended and whether a shot began in those that were lost. One whose output
    is wrong with gaps has an attribute ``when_full = "wait"``. See ``Delivery``.

    One that shows how the run went offers a further method ``conclude(metrics: Mapping[str, Any])``. It is called once,
    after every sink was closed, on the caller's thread, also after errors, with what ``track_metrics.json`` holds; on a
    sink that never opened as well. What ``close`` left must be whole without it.
    """

    def open(self, info: RunInfo) -> None:
        """Create the outputs."""
        ...

    def write(self, result: Result) -> None:
        """Take one result; what is complete must be on its way to disk when this returns."""
        ...

    def close(self) -> None:
        """Write what is pending (tracks still alive end here) and release everything; called also after errors."""
        ...
