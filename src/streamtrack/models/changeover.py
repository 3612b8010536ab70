"""A warm start: a run goes on with a runtime that is there at once until a faster one is ready, then changes over.

What takes long, building an engine, happens on a thread of its own; the faster runtime is loaded, used and closed on
the inference thread like any other, between two calls of ``run``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamtrack.api import Backend, BackendOptions, Session, Tensors
from streamtrack.errors import BackendError
from streamtrack.models.spec import ModelSpec


class SlowBackend(Backend, Protocol):
    """A backend that has much to do before its first ``load`` of a model."""

    def prepare(self, model: Path, spec: ModelSpec, options: BackendOptions) -> None:
        """Do it, so that ``load`` is quick; on any thread. Raises as ``load`` does."""
        ...

    def interrupt(self) -> None:
        """End ``prepare``, from another thread."""
        ...


class WarmStart:
    """A backend whose sessions begin with ``first`` and change over to ``second``."""

    def __init__(self, first: Backend, first_options: BackendOptions, second: SlowBackend) -> None:
        """Combine two backends.

        Args:
            first: there at once.
            first_options: what it is asked for; ``second`` gets the options of ``load``.
            second: the one that is wanted.
        """
        self.name = second.name
        self._first, self._first_options, self._second = first, first_options, second

    def load(self, model: Path, spec: ModelSpec, options: BackendOptions) -> ChangingSession:
        """Load ``model`` with the first backend and begin to prepare it for the second.

        Raises:
            BackendError: as the first backend does. What goes wrong with the second is said through ``options.say``,
                and the run stays with the first.
        """
        session = self._first.load(model, spec, self._first_options)
        return ChangingSession(
            session,
            self._second,
            prepare=lambda: self._second.prepare(model, spec, options),
            load=lambda: self._second.load(model, spec, options),
            say=options.say,
        )


class ChangingSession:
    """A session that becomes another; see ``streamtrack.api.Session``.

    ``device``, ``max_batch``, ``precision``, ``input_shape`` and ``outputs`` are always those of the one that runs.
    """

    def __init__(
        self,
        session: Session,
        second: SlowBackend,
        *,
        prepare: Callable[[], None],
        load: Callable[[], Session],
        say: Callable[[str], None],
    ) -> None:
        """Begin with ``session`` and start to prepare the second."""
        self.changed_after: int | None = None
        """How many calls the first answered, once it has changed over."""
        self._session, self._second = session, second
        self._load, self._say = load, say
        self._calls = 0
        self._settled = False
        self._failure: Exception | None = None

        def work() -> None:
            try:
                prepare()
            except Exception as error:
                self._failure = error

        self._thread = threading.Thread(target=work, name=f"streamtrack-prepare-{second.name}")
        self._thread.start()

    @property
    def device(self) -> str:
        """What it runs on now."""
        return self._session.device

    @property
    def changing(self) -> bool:
        """Whether the second may still take over."""
        return not self._settled

    @property
    def max_batch(self) -> int:
        """Largest batch of the one that runs now."""
        return self._session.max_batch

    @property
    def precision(self) -> str:
        """What it computes in now."""
        return str(getattr(self._session, "precision", "fp32"))

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Shape of the input, None where it is free."""
        return self._session.input_shape

    @property
    def outputs(self) -> tuple[tuple[str, tuple[int | None, ...]], ...]:
        """Name and shape of each output."""
        return self._session.outputs

    def run(self, batch: NDArray[np.float32]) -> Tensors:
        """Run the model, with the second runtime from the first call on at which that is ready."""
        if not self._settled and not self._thread.is_alive():
            self._settled = True
            self._change(batch)
        self._calls += 1
        return self._session.run(batch)

    def close(self) -> None:
        """End the preparation and release everything; more than once does no harm."""
        self._settled = True
        if self._thread.is_alive():
            self._second.interrupt()
        self._thread.join()
        self._session.close()

    def _change(self, batch: NDArray[np.float32]) -> None:
        if self._failure is not None:
            self._stay(str(self._failure))
            if not isinstance(self._failure, BackendError):
                raise self._failure
            return
        try:
            session = self._load()
        except BackendError as error:
            self._stay(str(error))
            return
        if difference := _difference(self._session, session, batch):
            session.close()
            self._stay(f"it {difference}")
            return
        before = self._session.device
        self._session.close()
        self._session, self.changed_after = session, self._calls
        self._say(
            f"{self._second.name} is ready: changed over from {before} to {session.device} after {self._calls} calls"
        )

    def _stay(self, reason: str) -> None:
        self._say(f"{self._second.name} cannot take over, the run goes on without it: {reason.rstrip('.')}.")


def _difference(old: Session, new: Session, batch: NDArray[Any]) -> str:
    """Return in which way ``new`` cannot stand in for ``old``, or nothing."""

    def outputs(session: Session) -> dict[str, int]:
        return {name: len(shape) for name, shape in session.outputs}

    if outputs(old) != outputs(new):
        return f"has other outputs ({', '.join(outputs(new))} instead of {', '.join(outputs(old))})"
    takes = zip(new.input_shape[1:], batch.shape[1:], strict=True)
    if len(batch) > new.max_batch or any(want not in (None, size) for want, size in takes):
        return f"does not take a batch of {batch.shape}"
    return ""
