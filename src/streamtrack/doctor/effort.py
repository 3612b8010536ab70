"""What a frame costs on this machine: a real one, through the model that a run would take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from streamtrack import config
from streamtrack.devices import AUTO, REFERENCE
from streamtrack.errors import StreamtrackError
from streamtrack.fetch import state
from streamtrack.models.detector import Detector
from streamtrack.models.parity import CheckedDetector
from streamtrack.models.zoo import AUTO_ORDER, ZOO, ResolvedModel, resolve
from streamtrack.opening import Wanted, open_detector
from streamtrack.settings import Config
from streamtrack.types import Frame

_ROUNDS, _ENOUGH_S = 5, 1.0


class Inference(msgspec.Struct, frozen=True, kw_only=True):
    """One frame through the model, shrinking and reading the answer included."""

    model: str
    """Empty where nothing could be measured."""
    device: str = ""
    wall_ms: float | None = None
    cpu_ms: float | None = None
    note: str = ""
    """Why nothing could be measured; else empty."""


def measure_inference(frames: Sequence[Frame], settings: Config) -> Inference:
    """Measure a model that is already on this machine; nothing is downloaded.

    Args:
        frames: real ones, of the source.
        settings: of the run; they say which model.
    """
    if not frames:
        return Inference(model="", note="there is no picture to try a model on")
    try:
        model = _cached(settings.detector.model, settings.detector.head)
        if model is None:
            return Inference(model="", note="no model is in the cache: streamtrack models pull fetches one")
        # What it costs is asked here, not whether it is right; and a runtime that builds for minutes is not for a look.
        backend = settings.runtime.backend if settings.runtime.backend != AUTO else REFERENCE
        runtime = msgspec.structs.replace(settings.runtime, backend=backend, parity_frames=0)
        detector = open_detector(Wanted(model, settings.detector, runtime)).detector
    except StreamtrackError as error:
        return Inference(model="", note=str(error))
    try:
        return _measured(detector, frames, model.name)
    except StreamtrackError as error:
        return Inference(model=model.name, note=str(error))
    finally:
        detector.close()


def _cached(model: str, head: str | None) -> ResolvedModel | None:
    folder = config.model_dir()
    names = AUTO_ORDER if model == "auto" else (model,)
    for name in names:
        if name not in ZOO:
            return resolve(name, head, folder, say=_nobody)
        if state(ZOO[name].asset, folder) == "ok":
            return resolve(name, head if model != "auto" else None, Path(folder), say=_nobody)
    return None


def _nobody(text: str) -> None:
    """Tell nobody."""


def _measured(detector: Detector | CheckedDetector, frames: Sequence[Frame], name: str) -> Inference:
    # The first sets up buffers, and compiles kernels where that was never done.
    detector.detect(frames[-1:])
    walls_s, cpus_s, began_s = [], [], time.monotonic()
    for number in range(_ROUNDS):
        wall_s, cpu_s = time.monotonic(), time.process_time()
        detector.detect([frames[number % len(frames)]])
        walls_s.append(time.monotonic() - wall_s)
        cpus_s.append(time.process_time() - cpu_s)
        if time.monotonic() - began_s > _ENOUGH_S:
            break
    # The least: whatever else this machine does only adds to it.
    return Inference(model=name, device=detector.device, wall_ms=1000 * min(walls_s), cpu_ms=1000 * min(cpus_s))
