from pathlib import Path
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.benching import capacity
from streamtrack.benching.capacity import (
    Promise,
    SideBySide,
    busy_percent,
    busy_ticks,
    judge,
    limit,
    measure_capacity,
    parse_promise,
    run_streams,
    search,
)
from streamtrack.benching.results import StageTime, Trial
from streamtrack.benching.tasks import Ready, StreamMeasured, StreamTask
from streamtrack.errors import ConfigError

TASK = StreamTask(clip="clip.mkv", profile="balanced", model="auto", seconds=4)
PROMISE = Promise(95, 200.0)


@given(st.integers(0, 300), st.integers(1, 256))
def test_the_search_finds_the_most_and_asks_seldom(held: int, most: int) -> None:
    asked: list[int] = []
    assert search(lambda n: asked.append(n) or n <= held, most) == min(held, most)  # type: ignore[func-returns-value]
    assert all(1 <= n <= most for n in asked)
    assert len(asked) == len(set(asked)) <= 2 * most.bit_length() + 1


@pytest.mark.parametrize(
    ("text", "promise"), [("p95=200ms", (95, 200.0)), ("p50=0.5s", (50, 500.0)), (" p99=33.3ms", (99, 33.3))]
)
def test_promises(text: str, promise: tuple[int, float]) -> None:
    assert parse_promise(text) == promise
    assert parse_promise(str(parse_promise(text))) == promise


@pytest.mark.parametrize("text", ["", "200ms", "p95", "p95=200", "p0=1ms", "p100=1ms", "p95=0ms", "p95=-1ms", "x"])
def test_what_is_no_promise(text: str) -> None:
    with pytest.raises(ConfigError, match="such as p95=200ms"):
        parse_promise(text)


def stream(ages: list[float], processed: int = 59, cpu_s: float = 2.0) -> StreamMeasured:
    stages = {"detect": StageTime(wall_ms=50, cpu_ms=40, items=60, busy=0.5)}
    return StreamMeasured(
        device="cpu", age_ms=ages, wanted=60, processed=processed, wall_s=4.0, cpu_s=cpu_s, peak_memory_mb=100,
        stages=stages,
    )  # fmt: skip


def test_the_worst_stream_decides() -> None:
    good, late = stream([100.0] * 20), stream([100.0] * 18 + [900.0] * 2)
    trial = judge([good, good], PROMISE)
    assert (trial.held, trial.latency_ms, trial.kept, trial.why) == (True, 100.0, 1.0, "")
    assert (trial.cpu_percent, trial.memory_mb, trial.stages) == (100.0, 200.0, {"detect": 1.2})
    assert judge([good, late], PROMISE).why == "p95 900 ms"
    # One frame in twenty is allowed to be late: that is what p95 says.
    assert judge([stream([100.0] * 19 + [900.0])], PROMISE).held


def test_dropping_frames_is_no_way_to_be_in_time() -> None:
    trial = judge([stream([50.0] * 20, processed=30)], PROMISE)
    assert not trial.held
    assert trial.why == "52 % of the wanted frames processed"


def trial(streams: int, **figures: object) -> Trial:
    known: dict[str, object] = {"held": False, "latency_ms": 300, "kept": 1, "cpu_percent": 190, "memory_mb": 1}
    return Trial(streams=streams, stages={"decode": 0.2, "detect": 0.9}, **(known | figures))  # type: ignore[arg-type]


def test_what_limits() -> None:
    assert "the processor (95 % of 2 cores" in limit(trial(1), 2, "cpu")
    assert "'detect'" in limit(trial(1), 2, "cpu")
    assert limit(trial(1, cpu_percent=100), 8, "cpu").startswith("one thread: 'detect'")
    assert limit(trial(4, cpu_percent=100), 8, "cuda").startswith("the device (cuda)")
    assert limit(trial(4, cpu_percent=100), 8, "cpu").startswith("latency alone")
    busy = trial(1, cpu_percent=100, machine_percent=97)
    assert limit(busy, 2, "cpu") == "other work: the processors are at 97 %, the streams at 50 %"


def test_how_busy_the_machine_is(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3\n")
    assert busy_ticks(tmp_path / "stat") == (150, 1000)
    assert busy_ticks(tmp_path / "absent") is None
    assert busy_percent((150, 1000), (240, 1100)) == 90.0
    assert busy_percent((150, 1000), (150, 1000)) is None
    assert busy_percent(None, (1, 1)) is None


def test_the_machine_is_watched_while_the_streams_are_measured_and_not_while_they_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    happened: list[str] = []

    class Child:
        def __init__(self, task: object) -> None:
            happened.append("start")
            self._answers = iter([Ready(), stream([10.0])])

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            happened.append("end")

        def go(self) -> None:
            happened.append("go")

        def answer(self, timeout_s: float) -> object:
            given = next(self._answers)
            happened.append("ready" if isinstance(given, Ready) else "done")
            return given

    def ticks() -> tuple[int, int]:
        happened.append("look")
        return 100 * happened.count("look") * happened.count("go"), 400 * happened.count("look")

    monkeypatch.setattr(capacity, "Child", Child)
    monkeypatch.setattr(capacity, "busy_ticks", ticks)
    found = run_streams(TASK, 2)
    assert isinstance(found, SideBySide)
    assert (len(found.streams), found.machine_percent) == (2, 50.0)
    assert happened == ["start"] * 2 + ["ready"] * 2 + ["go"] * 2 + ["look", "done", "look", "done"] + ["end"] * 2


def test_a_search_is_told_as_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        capacity,
        "run_streams",
        lambda task, n: SideBySide([stream([10.0] * 20 if n <= 5 else [500.0] * 20, cpu_s=1.4)] * n, 97.0),
    )
    told: list[Trial] = []
    found = measure_capacity(TASK, PROMISE, 2.0, told.append)
    assert (found.outcome, found.streams, found.promise) == ("ok", 5, "p95=200ms")
    assert sorted(t.streams for t in told) == [t.streams for t in found.trials] == [1, 2, 4, 5, 6, 8]
    assert "the processor" in found.limited_by
    assert "where the search ended" in measure_capacity(TASK, PROMISE, 2.0, told.append, most=3).limited_by


def test_a_stream_that_fails_is_not_held_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "run_streams", lambda task, n: "no such model")
    found = measure_capacity(TASK, PROMISE, 2.0, lambda trial: None)
    assert (found.outcome, found.streams, found.reason) == ("failed", 0, "no such model")
    monkeypatch.setattr(
        capacity, "run_streams", lambda task, n: "out of memory" if n > 2 else SideBySide([stream([10.0])] * n, None)
    )
    found = measure_capacity(TASK, PROMISE, 2.0, lambda trial: None)
    assert (found.outcome, found.streams) == ("ok", 2)
    assert "out of memory" in found.limited_by
