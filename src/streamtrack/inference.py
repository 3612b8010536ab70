"""The models of one run: which they are, opened on this machine, and what is told of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from streamtrack import config
from streamtrack.api import Backend
from streamtrack.devices import PassedOver
from streamtrack.errors import InternalError
from streamtrack.metrics import EmbedderMetrics, ModelMetrics, measure_embedder
from streamtrack.models.detector import Detector
from streamtrack.models.embedder import Embedder
from streamtrack.models.parity import CheckedDetector
from streamtrack.models.spec import ModelSpec
from streamtrack.models.verdicts import ParityMetrics
from streamtrack.models.zoo import ResolvedModel, resolve, resolve_embedder
from streamtrack.opening import Opened, OpenedEmbedder, Wanted, WantedEmbedder, open_detector, open_embedder
from streamtrack.pipeline import RecordedDetector
from streamtrack.settings import Config


class RunModels:
    """A detector and, where faces become vectors, an embedder.

    Each is resolved once, by whoever needs to know first which it is, and opened on the thread that uses it.
    """

    model: ResolvedModel | None = None
    """The detector's, once it is resolved."""
    embedding: ResolvedModel | None = None
    """The embedder's; None also where there is none."""
    _detector: Detector | CheckedDetector | RecordedDetector | None = None
    _opened: Opened | None = None
    _embedder: OpenedEmbedder | None = None

    def __init__(self, settings: Config, say: Callable[[str], None]) -> None:
        """Resolve and open nothing yet.

        Args:
            settings: of the run.
            say: told in one line what a person should know, such as which model was chosen.
        """
        self._settings, self._say = settings, say
        self._tried: list[Backend] = []

    def resolve(self) -> ResolvedModel:
        """Return the detector's model, which is fetched where it has to be.

        Raises:
            ConfigError: there is no model or head of this name.
            FetchError: it cannot be fetched.
            ModelLoadError: there is no such file, or it cannot be read.
        """
        if self.model is None:
            wanted = self._settings.detector
            self.model = resolve(wanted.model, wanted.head, config.model_dir(), say=self._say)
        return self.model

    def resolve_embedder(self) -> ResolvedModel | None:
        """Return the embedder's model likewise; None where the run has none."""
        wanted = self._settings.embedder
        if self.embedding is None and wanted.model:
            self.embedding = resolve_embedder(wanted.model, wanted.head, config.model_dir())
        return self.embedding

    def replay(self, recorded: RecordedDetector) -> None:
        """Take what a source brings along for the detector; in place of a model stands where it is from."""
        self._detector = recorded
        self.model = ResolvedModel(
            path=Path(recorded.origin),
            spec=recorded.spec,
            sha256="",
            name=recorded.spec.name,
            source=recorded.origin,
            note=recorded.note,
        )

    def open_detector(self) -> Detector | CheckedDetector:
        """Return the detector, ready to run.

        Raises:
            PluginError: the backend that was asked for is not installed.
            BackendError: nothing can run the model on the device that was asked for.
        """
        detector, runtime = self._settings.detector, self._settings.runtime
        wanted = Wanted(self.resolve(), detector, runtime, config.cache_dir(), self._say, self._tried.append)
        self._opened = open_detector(wanted)
        self._detector = self._opened.detector
        return self._opened.detector

    def open_embedder(self) -> Embedder:
        """Return the embedder likewise; the detector is open by then."""
        model, runtime = self.embedding, self._settings.runtime
        if model is None:
            raise InternalError("There is no embedder to open.")
        wanted = WantedEmbedder(
            model, self._settings.embedder, runtime, config.cache_dir(), self._say, self._tried.append
        )
        opened = self._embedder = open_embedder(wanted)
        needs, has = opened.embedder.spec.keypoints, self._detector.spec.keypoints if self._detector else 0
        if needs not in (0, has):
            self._say(
                f"{model.name} wants faces brought upright by {needs} keypoints, and the detector gives "
                f"{has or 'none'}: it sees what is in their boxes, which tells people apart less well"
            )
        return opened.embedder

    def interrupt(self) -> None:
        """Tell the backends that nobody waits any more for what they build. May be called from any thread."""
        for backend in self._tried:
            getattr(backend, "interrupt", lambda: None)()

    @property
    def spec(self) -> ModelSpec:
        """What the detector finds: loading tells what a model is that comes without a specification."""
        return self._detector.spec if self._detector else self.resolve().spec

    @property
    def device(self) -> str:
        """What the detector runs on, or shall."""
        return self._detector.device if self._detector else self._settings.runtime.device

    @property
    def backend(self) -> str:
        """The backend that runs it, or shall; ``none`` where no model runs."""
        if self._opened:
            return self._opened.backend
        return self._settings.runtime.backend if self._detector is None else "none"

    @property
    def passed_over(self) -> tuple[PassedOver, ...]:
        """What ``auto`` would have preferred, and why it was not to be."""
        return self._opened.passed if self._opened else ()

    @property
    def changed_after(self) -> int | None:
        """See ``opening.Opened``."""
        return self._opened.changed_after if self._opened else None

    @property
    def parity(self) -> ParityMetrics | None:
        """See ``opening.Opened``."""
        return self._opened.parity if self._opened else None

    def about(self) -> dict[str, str]:
        """Return in words what runs."""
        return {"model": self.model.name if self.model else "", "device": self.device, "backend": self.backend}

    def measure(self) -> ModelMetrics:
        """Return which model the detector has; before it is resolved, how it was asked for."""
        model = self.model
        if model is None:
            return ModelMetrics(name=self._settings.detector.model, sha256="", source="")
        return ModelMetrics(name=model.name, sha256=model.sha256, source=model.source, note=model.note)

    def measure_embedder(self) -> EmbedderMetrics | None:
        """Return which embedder ran, and how; None where none did."""
        model, opened = self.embedding, self._embedder
        if model is None or opened is None:
            return None
        # Most often the reasons are the detector's.
        passed = tuple(each for each in opened.passed if each not in self.passed_over)
        return measure_embedder(model, opened.embedder, opened.candidate.backend, passed)
