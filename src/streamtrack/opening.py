"""Opens the models of a run on the device that was chosen; a detector is held against the CPU where that is not it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import msgspec

from streamtrack import devices, registry
from streamtrack.api import Backend, BackendOptions
from streamtrack.devices import Candidate, PassedOver
from streamtrack.errors import BackendError, PluginError
from streamtrack.models.changeover import SlowBackend, WarmStart
from streamtrack.models.classes import parse_classes
from streamtrack.models.detector import Detector, load_detector
from streamtrack.models.embedder import Embedder, load_embedder
from streamtrack.models.heads import AUTO
from streamtrack.models.parity import CheckedDetector, GateRules
from streamtrack.models.spec import ModelSpec
from streamtrack.models.verdicts import ParityMetrics, Verdicts, key_of
from streamtrack.models.zoo import ResolvedModel
from streamtrack.settings import DetectorConfig, EmbedderConfig, RuntimeConfig

VERDICTS = "parity.json"
"""Where verdicts are remembered, in the cache folder."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A detector, and how it came to be this one."""

    detector: Detector | CheckedDetector
    candidate: Candidate
    passed_before: tuple[PassedOver, ...]
    known: ParityMetrics | None
    """What an earlier run, or the attempt to compare, found; None on the CPU and while the gate is at work."""

    @property
    def backend(self) -> str:
        """The backend that runs now."""
        # Also while a warm start has not changed over.
        elsewhere = self.detector.device == devices.CPU and self.candidate.device not in (devices.CPU, devices.AUTO)
        return devices.REFERENCE if self._left or elsewhere else self.candidate.backend

    @property
    def changed_after(self) -> int | None:
        """With a warm start, how many calls were answered before the backend took over; else None."""
        return self.detector.changed_after

    @property
    def passed(self) -> tuple[PassedOver, ...]:
        """What would have come before what runs now, with the reasons."""
        return self.passed_before + ((_passed(self.candidate, self.parity),) if self._left and self.parity else ())

    @property
    def parity(self) -> ParityMetrics | None:
        """How it compares with the CPU, as far as is known now; None on the CPU."""
        return self.detector.parity if isinstance(self.detector, CheckedDetector) else self.known

    @property
    def _left(self) -> bool:
        return isinstance(self.detector, CheckedDetector) and self.detector.left


def _passed(candidate: Candidate, parity: ParityMetrics) -> PassedOver:
    return PassedOver(backend=candidate.backend, device=candidate.device, reason=parity.note)


class Wanted(NamedTuple):
    """What shall be opened, and how."""

    model: ResolvedModel
    settings: DetectorConfig
    runtime: RuntimeConfig
    cache_dir: Path | None = None
    """Where verdicts and what is compiled are kept; None for nowhere."""
    say: Callable[[str], None] = lambda text: None
    """Told in one line what a person should know."""
    trying: Callable[[Backend], None] = lambda backend: None
    """Told each backend before it loads the model: one that takes long has an ``interrupt``."""

    @property
    def spec(self) -> ModelSpec:
        """The model's conventions, in the size that is wanted."""
        size = self.settings.input_size
        return msgspec.structs.replace(self.model.spec, input_size=(size, size)) if size else self.model.spec


def open_detector(wanted: Wanted) -> Opened:
    """Return the detector that ``wanted`` means. To be called on the thread that will use it.

    Raises:
        PluginError: the backend that was asked for is not installed.
        BackendError: nothing can run the model on the device that was asked for.
    """
    runtime = wanted.runtime
    among = devices.candidates(runtime.device, runtime.backend, runtime.provider)

    def attempt(candidate: Candidate, backend: Backend) -> tuple[Detector | CheckedDetector, ParityMetrics | None]:
        return _attempt(wanted, candidate, backend, may_leave=runtime.device == devices.AUTO and len(among) > 1)

    choice = devices.choose(among, attempt, tell=wanted.say)
    return Opened(choice.opened[0], choice.candidate, choice.passed, choice.opened[1])


def _attempt(
    wanted: Wanted, candidate: Candidate, backend: Backend, *, may_leave: bool
) -> tuple[Detector | CheckedDetector, ParityMetrics | None]:
    verdicts = Verdicts(wanted.cache_dir / VERDICTS if wanted.cache_dir else None)
    key = _key(wanted, candidate)
    known = verdicts.recall(key) if candidate.device != devices.CPU else None
    if known and known.verdict == "slower" and may_leave:
        raise BackendError(f"{known.note.partition(':')[0]}, as an earlier run has found.")
    detector = _load(wanted, candidate, backend)
    on_cpu = detector.device == devices.CPU and not detector.changing
    if on_cpu or not wanted.runtime.parity_frames:
        return detector, None
    if known:
        return detector, known
    rules = GateRules(str(candidate), wanted.runtime.parity_frames, wanted.runtime.allow_drift, may_leave)
    try:
        reference = _reference(wanted, detector)
    except (BackendError, PluginError) as error:
        wanted.say(f"{candidate} cannot be compared with the CPU: {error}")
        unchecked = ParityMetrics(
            verdict="unchecked",
            backend=candidate.backend,
            device=detector.device,
            precision=detector.precision,
            note=str(error),
        )
        return detector, unchecked
    except BaseException:
        detector.close()
        raise
    checked = CheckedDetector(
        detector,
        reference,
        rules,
        backend=candidate.backend,
        say=wanted.say,
        keep=lambda found: verdicts.keep(key, found),
    )
    return checked, None


def _load(wanted: Wanted, candidate: Candidate, backend: Backend) -> Detector:
    wanted.trying(backend)
    square = wanted.settings.coreml_det_size if candidate.backend == devices.COREML else 0
    options = BackendOptions(
        device=candidate.device,
        threads=wanted.runtime.threads,
        input_size=(square, square) if square else None,
        batch=wanted.settings.batch_size,
        precision=wanted.runtime.precision,
        provider=candidate.provider,
        cache_dir=wanted.cache_dir,
        say=wanted.say,
    )
    spec = wanted.spec
    if wanted.runtime.warm_start and hasattr(backend, "prepare"):
        first: Backend = registry.load("backends", devices.REFERENCE)()
        if spec.head == AUTO:
            spec = _recognised(wanted, first)
        on_cpu = BackendOptions(device=devices.CPU, threads=wanted.runtime.threads)
        # Its session says with properties what the contract has as attributes.
        backend = cast(Backend, WarmStart(first, on_cpu, cast(SlowBackend, backend)))
    return _loaded(wanted, spec, backend, options)


def _recognised(wanted: Wanted, first: Backend) -> ModelSpec:
    """Return what the model's outputs tell: with it, nothing need be loaded, and so nothing prepared, twice."""
    options = BackendOptions(device=devices.CPU, threads=wanted.runtime.threads)
    with closing(_loaded(wanted, wanted.spec, first, options)) as detector:
        return detector.spec


def _loaded(wanted: Wanted, spec: ModelSpec, backend: Backend, options: BackendOptions) -> Detector:
    names = parse_classes(wanted.settings.classes) if wanted.settings.classes else ()
    return load_detector(wanted.model.path, spec, backend, options, wanted.settings, names)


def _reference(wanted: Wanted, detector: Detector) -> Detector:
    backend: Backend = registry.load("backends", devices.REFERENCE)()
    # At another size a model sees other pixels, and would be right to differ.
    options = BackendOptions(device=devices.CPU, threads=wanted.runtime.threads, input_size=detector.fixed_size)
    return _loaded(wanted, detector.spec, backend, options)


def _key(wanted: Wanted, candidate: Candidate) -> str:
    model, runtime, settings = wanted.model, wanted.runtime, wanted.settings
    asked = (runtime.precision, runtime.threads, settings.batch_size, settings.floor, runtime.parity_frames)
    content = model.sha256 or str(model.path)
    return key_of(content, wanted.spec, *candidate, *asked, *devices.fingerprint())


@dataclass(frozen=True, slots=True)
class OpenedEmbedder:
    """An embedder, and how it came to be this one."""

    embedder: Embedder
    candidate: Candidate
    passed: tuple[PassedOver, ...]


class WantedEmbedder(NamedTuple):
    """Which embedder shall be opened, and how; see ``Wanted``."""

    model: ResolvedModel
    settings: EmbedderConfig
    runtime: RuntimeConfig
    cache_dir: Path | None = None
    say: Callable[[str], None] = lambda text: None
    trying: Callable[[Backend], None] = lambda backend: None


def open_embedder(wanted: WantedEmbedder) -> OpenedEmbedder:
    """Return the embedder that ``wanted`` means, on the device a detector would be tried on first.

    It is not held against the CPU: the gate compares boxes. To be called on the thread that will use it.

    Raises:
        PluginError: the backend that was asked for is not installed.
        BackendError: nothing can run the model on the device that was asked for, or it is no embedder.
    """
    runtime, model = wanted.runtime, wanted.model

    def attempt(candidate: Candidate, backend: Backend) -> Embedder:
        wanted.trying(backend)
        options = BackendOptions(
            device=candidate.device,
            threads=runtime.threads,
            precision=runtime.precision,
            provider=candidate.provider,
            cache_dir=wanted.cache_dir,
            say=wanted.say,
        )
        return load_embedder(model.path, model.spec, backend, options, wanted.settings.batch_size or None)

    among = devices.candidates(runtime.device, runtime.backend, runtime.provider)
    choice = devices.choose(among, attempt, tell=wanted.say)
    return OpenedEmbedder(choice.opened, choice.candidate, choice.passed)
