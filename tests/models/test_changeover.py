"""A run begins at once with one runtime and goes on with another, between two calls, whatever goes wrong with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from streamtrack.api import BackendOptions, Session, Tensors
from streamtrack.errors import BackendError
from streamtrack.models.changeover import ChangingSession, WarmStart
from streamtrack.models.spec import ModelSpec

SPEC = ModelSpec(name="m", head="auto")
PICTURE = np.zeros((1, 3, 8, 8), np.float32)


class Fixed:
    """A session that answers with a number."""

    max_batch = 2
    input_shape: tuple[int | None, ...] = (None, 3, None, None)
    outputs: tuple[tuple[str, tuple[int | None, ...]], ...] = (("y", (None, 1)),)

    def __init__(self, device: str, answer: float) -> None:
        self.device, self._answer = device, answer
        self.thread, self.closed = threading.get_ident(), 0

    def run(self, batch: np.ndarray) -> Tensors:
        assert threading.get_ident() == self.thread
        assert not self.closed
        return {"y": np.full((len(batch), 1), self._answer)}

    def close(self) -> None:
        assert threading.get_ident() == self.thread
        self.closed += 1


class Quick:
    name = "quick"

    def __init__(self) -> None:
        self.session = Fixed("cpu", 1)

    def load(self, model: Path, spec: ModelSpec, options: BackendOptions) -> Session:
        assert options.device == "cpu"
        return self.session


class Slow:
    """Is ready when the test says so."""

    name = "slow"

    def __init__(self) -> None:
        self.session = Fixed("cuda", 2)
        self.go, self.interrupted = threading.Event(), False
        self.prepare_error: Exception | None = None
        self.load_error: Exception | None = None

    def prepare(self, model: Path, spec: ModelSpec, options: BackendOptions) -> None:
        assert self.go.wait(30)
        if self.interrupted:
            raise BackendError("interrupted")
        if self.prepare_error:
            raise self.prepare_error

    def interrupt(self) -> None:
        self.interrupted = True
        self.go.set()

    def load(self, model: Path, spec: ModelSpec, options: BackendOptions) -> Session:
        assert options.device == "cuda"
        if self.load_error:
            raise self.load_error
        return self.session


@pytest.fixture
def slow() -> Iterator[Slow]:
    backend = Slow()
    yield backend
    backend.go.set()


def start(slow: Slow, said: list[str], quick: Quick | None = None) -> ChangingSession:
    backend = WarmStart(quick or Quick(), BackendOptions(device="cpu"), slow)
    assert backend.name == "slow"
    return backend.load(Path("m.onnx"), SPEC, BackendOptions(device="cuda", say=said.append))


def answer(session: ChangingSession) -> float:
    return float(session.run(PICTURE)["y"][0, 0])


def become_ready(slow: Slow, session: ChangingSession) -> None:
    slow.go.set()
    session._thread.join(30)


def test_it_changes_over_between_two_calls(slow: Slow) -> None:
    said: list[str] = []
    quick = Quick()
    session = start(slow, said, quick)
    assert [answer(session) for _ in range(3)] == [1, 1, 1]
    assert (session.device, session.changed_after, said) == ("cpu", None, [])
    become_ready(slow, session)
    assert session.device == "cpu"
    assert answer(session) == answer(session) == 2
    assert (session.device, session.changed_after, session.precision) == ("cuda", 3, "fp32")
    assert (session.max_batch, session.input_shape, session.outputs) == (2, Fixed.input_shape, Fixed.outputs)
    assert said == ["slow is ready: changed over from cpu to cuda after 3 calls"]
    assert (quick.session.closed, slow.session.closed) == (1, 0)
    session.close()
    assert slow.session.closed == 1


@pytest.mark.parametrize("where", ["prepare_error", "load_error"])
def test_what_cannot_take_over_is_said_once_and_the_run_goes_on(slow: Slow, where: str) -> None:
    said: list[str] = []
    setattr(slow, where, BackendError("no room."))
    session = start(slow, said)
    become_ready(slow, session)
    assert [answer(session) for _ in range(3)] == [1, 1, 1]
    assert said == ["slow cannot take over, the run goes on without it: no room."]
    session.close()


def test_a_mistake_of_ours_is_not_swallowed(slow: Slow) -> None:
    slow.prepare_error = ZeroDivisionError()
    session = start(slow, [])
    become_ready(slow, session)
    with pytest.raises(ZeroDivisionError):
        answer(session)
    session.close()


@pytest.mark.parametrize(
    ("attribute", "value", "reason"),
    [
        ("outputs", (("z", (None, 1)),), "has other outputs (z instead of y)"),
        ("outputs", (("y", (None, 1, 1)),), "has other outputs"),
        ("input_shape", (None, 3, 16, 16), "does not take a batch of (1, 3, 8, 8)"),
        ("max_batch", 0, "does not take a batch"),
    ],
)
def test_what_is_not_the_same_model_does_not_take_over(slow: Slow, attribute: str, value: object, reason: str) -> None:
    said: list[str] = []
    setattr(slow.session, attribute, value)
    session = start(slow, said)
    become_ready(slow, session)
    assert answer(session) == 1
    assert reason in said[0]
    assert slow.session.closed == 1
    session.close()


def test_a_run_that_ends_first_ends_the_preparation(slow: Slow) -> None:
    said: list[str] = []
    session = start(slow, said)
    assert answer(session) == 1
    session.close()
    session.close()
    assert slow.interrupted
    assert said == []
