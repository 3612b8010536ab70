"""One case in a process of its own: load, warm up, time calls, and hand back what was found."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import cycle, islice
from pathlib import Path

import msgspec

from streamtrack import registry
from streamtrack.api import BackendOptions, SourceOptions
from streamtrack.benching.energy import Meter
from streamtrack.benching.results import Case
from streamtrack.benching.tasks import Found, InferenceTask, Measured, Unfit
from streamtrack.errors import BackendError, SourceError
from streamtrack.models.detector import Detector, load_detector
from streamtrack.models.spec import ModelSpec
from streamtrack.params import DetectorParams
from streamtrack.plugins import make_source
from streamtrack.types import Detections, Frame

PICTURES = 12
"""So many pictures of the clip are looked at in turn."""
_WARM_S, _WARM_CALLS, _FEWEST_CALLS = 0.3, 3, 5


def run_inference(task: InferenceTask) -> Measured | Unfit:
    """Run one round of a case.

    Raises:
        StreamtrackError: the clip or the model cannot be read, or the runtime fails.
    """
    frames = pictures(task.clip)
    started = time.perf_counter()
    detector = _loaded(task)
    load_s = time.perf_counter() - started
    with closing(detector):
        input_hw = detector.input_size(frames[0].width, frames[0].height)
        if unfit := _misfit(task.case, detector, input_hw):
            return unfit
        batches = [list(islice(cycle(frames), start, start + task.case.batch)) for start in range(len(frames))]
        found = _warmed_up(detector, batches)
        return _timed(task, detector, batches, load_s, input_hw, found)


def pictures(clip: str, wanted: int = PICTURES) -> list[Frame]:
    """Return ``wanted`` frames spread over a clip; fewer, repeated, where it has no more.

    Raises:
        SourceError: it cannot be read, or holds no frame.
    """
    probe = make_source(clip, SourceOptions(threads=1), {})
    with closing(probe):
        total = probe.open().frames_estimate or wanted
    source = make_source(clip, SourceOptions(stride=max(1, total // wanted), threads=1), {})
    with closing(source):
        source.open()
        frames = list(islice(source, wanted))
    if not frames:
        raise SourceError(f"The clip {clip} holds no frame.")
    return list(islice(cycle(frames), wanted))


def peak_memory_mb() -> float:
    """Return the highest resident memory of this process so far."""
    # Linux's ru_maxrss survives exec: a child would inherit what its parent had.
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6
    except (OSError, StopIteration):
        unit = 1e6 if sys.platform == "darwin" else 1e3
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _loaded(task: InferenceTask) -> Detector:
    case, spec = task.case, task.spec
    if case.size:
        spec = msgspec.structs.replace(spec, input_size=(case.size, case.size))
    options = BackendOptions(
        device=case.device,
        threads=case.threads,
        batch=case.batch,
        precision=case.precision,  # type: ignore[arg-type]  # whoever loads it says what cannot be
        provider=case.provider,
        cache_dir=Path(task.cache_dir) if task.cache_dir else None,
    )
    backend = registry.load("backends", case.backend)()
    unavailable = getattr(backend, "unavailable", None)
    if unavailable and (reason := unavailable(case.device)):
        raise BackendError(reason)
    return load_detector(Path(task.path), spec, backend, options, DetectorParams())


def _misfit(case: Case, detector: Detector, input_hw: tuple[int, int]) -> Unfit | None:
    if detector.max_batch < case.batch:
        return Unfit(f"takes at most {detector.max_batch} at a time on this runtime")
    if case.size and max(input_hw) != _rounded(case.size, detector.spec):
        return Unfit(f"its input is fixed at {input_hw[1]}x{input_hw[0]}")
    return None


def _rounded(size: int, spec: ModelSpec) -> int:
    return -(-size // spec.size_multiple) * spec.size_multiple


def _warmed_up(detector: Detector, batches: list[list[Frame]]) -> list[Found]:
    """Detect in every picture once, and on until caches, pools and clocks have settled."""
    started = time.perf_counter()
    firsts = [detector.detect(batch)[0] for batch in batches]
    for calls, batch in enumerate(cycle(batches), len(batches)):
        if calls >= _WARM_CALLS and time.perf_counter() - started >= _WARM_S:
            break
        detector.detect(batch)
    return [_as_found(each) for each in firsts]


def _as_found(detections: Detections) -> Found:
    boxes = [(x0, y0, x1, y1) for x0, y0, x1, y1 in detections.boxes.tolist()]
    return Found(boxes, detections.scores.tolist(), detections.classes.tolist())


def _timed(
    task: InferenceTask,
    detector: Detector,
    batches: list[list[Frame]],
    load_s: float,
    input_hw: tuple[int, int],
    found: list[Found],
) -> Measured:
    stats = detector.stats
    before = (stats.frames, stats.preprocess_s, stats.postprocess_s)
    calls: list[float] = []
    detects: list[float] = []
    with Meter(detector.device) as meter:
        wall, cpu = time.perf_counter(), time.process_time()
        for batch in _until(wall + task.seconds, batches) if task.seconds else ():
            inferred, started = stats.inference_s, time.perf_counter()
            detector.detect(batch)
            detects.append(1000 * (time.perf_counter() - started))
            calls.append(1000 * (stats.inference_s - inferred))
        wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    frames = stats.frames - before[0]
    return Measured(
        device=detector.device,
        input_hw=input_hw,
        load_s=round(load_s, 3),
        call_ms=[round(ms, 4) for ms in calls],
        detect_ms=[round(ms, 4) for ms in detects],
        wall_s=wall_s,
        cpu_s=cpu_s,
        frames=frames,
        peak_memory_mb=peak_memory_mb(),
        preprocess_ms=1000 * (stats.preprocess_s - before[1]) / frames if frames else 0.0,
        postprocess_ms=1000 * (stats.postprocess_s - before[2]) / frames if frames else 0.0,
        joules=meter.joules,
        energy_source=meter.source,
        found=found,
    )


def _until(deadline: float, batches: list[list[Frame]]) -> Iterator[list[Frame]]:
    for done, batch in enumerate(cycle(batches)):
        if done >= _FEWEST_CALLS and time.perf_counter() >= deadline:
            return
        yield batch
