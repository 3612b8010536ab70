"""How many threads: the rule, the measurement with a clock of its own, and what is remembered."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack_onnx import tuning
from streamtrack_onnx.tuning import CANDIDATES, default_threads, fewest_threads, identify, measure, remembered


class Machine:
    """Runs that take as long as they are told, on a clock of their own."""

    def __init__(self, latency: dict[int, list[float]]) -> None:
        self.now = 0.0
        self._left = {threads: list(taken) for threads, taken in latency.items()}
        self.made: list[int] = []

    def make(self, threads: int) -> Callable[[], object]:
        self.made.append(threads)
        return lambda: self._run(threads)

    def _run(self, threads: int) -> None:
        left = self._left[threads]
        self.now += left.pop(0) if len(left) > 1 else left[0]

    def measure(self) -> int:
        return measure(self.make, clock=lambda: self.now)


@pytest.fixture
def cpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def pretend(count: int) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(count)), raising=False)

    return pretend


@pytest.mark.parametrize(("count", "threads"), [(1, 1), (2, 2), (4, 4), (64, 4)])
def test_default_threads_are_the_cpus_this_process_may_use(
    count: int, threads: int, monkeypatch: pytest.MonkeyPatch, cpus: Callable[[int], None]
) -> None:
    cpus(count)
    assert default_threads() == threads
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert default_threads() == threads


@pytest.mark.parametrize(
    ("latency", "threads"),
    [
        ({1: 10.0, 2: 5.0, 4: 3.0}, 4),
        ({1: 10.0, 2: 5.0, 4: 4.6}, 2),
        ({1: 10.0, 2: 9.2, 4: 9.1}, 1),
        ({1: 10.0, 2: 12.0, 4: 30.0}, 1),
    ],
)
def test_more_threads_must_be_worth_it(latency: dict[int, float], threads: int) -> None:
    assert fewest_threads(latency) == threads


@given(st.dictionaries(st.sampled_from(CANDIDATES), st.floats(0.1, 1e3), min_size=1))
def test_what_is_chosen_is_nearly_the_best_and_nothing_smaller_is(latency: dict[int, float]) -> None:
    chosen = fewest_threads(latency)
    bound = min(latency.values()) * (1 + tuning.WORTH)
    assert latency[chosen] <= bound
    assert all(latency[threads] > bound for threads in latency if threads < chosen)


def test_measuring_takes_the_best_run_and_forgets_the_first(cpus: Callable[[int], None]) -> None:
    cpus(8)
    machine = Machine({1: [9.0, 0.010], 2: [9.0, 0.05, 0.005, 0.05], 4: [9.0, 0.006]})
    assert machine.measure() == 2
    assert machine.made == [1, 2, 4]


def test_a_slow_model_is_run_only_twice(cpus: Callable[[int], None]) -> None:
    cpus(2)
    machine = Machine({1: [1.0], 2: [0.6]})
    assert machine.measure() == 2
    assert machine.now == pytest.approx(2 * 1.6)


def test_with_one_cpu_there_is_nothing_to_measure(cpus: Callable[[int], None]) -> None:
    cpus(1)
    machine = Machine({1: [1.0]})
    assert machine.measure() == 1
    assert machine.now == 0.0


def test_a_choice_is_measured_once(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "threads.json"
    assert remembered(file, lambda: 2) == 2
    assert remembered(file, lambda: 4) == 2
    assert [path.name for path in file.parent.iterdir()] == ["threads.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"threads": 3}', '{"threads": "two"}', '{"threads": null}'])
def test_a_damaged_choice_is_measured_again(tmp_path: Path, text: str) -> None:
    file = tmp_path / "threads.json"
    file.write_text(text, encoding="utf-8")
    assert remembered(file, lambda: 4) == 4
    assert json.loads(file.read_text(encoding="utf-8")) == {"threads": 4}


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert remembered(tmp_path / "file" / "threads.json", lambda: 1) == 1


def test_content_and_circumstances_tell_choices_apart(tmp_path: Path) -> None:
    one, same, other = (tmp_path / name for name in "abc")
    for path, content in ((one, b"x"), (same, b"x"), (other, b"y")):
        path.write_bytes(content)
    assert identify(one, 640) == identify(same, 640)
    assert len({identify(one, 640), identify(other, 640), identify(one, 320), identify(one)}) == 4
    assert len(tuning.machine()) == 3
