"""Messages a second of the sinks that send, and what becomes of messages when their brokers are killed.

``python benchmarks/bench_streams.py [--sink NAME ...] [--rounds N] [--kills]``. The brokers are those of the tests:
redis-server, nats-server and mosquitto on loopback, librdkafka's mock cluster, a web server in this process; what is
not installed is left out, with a line that says so. The rounds alternate, and after each sink the sink ``jsonl`` writes
the same records to files: on a busy machine the ratio to that is worth more than the figure. With ``--kills`` each
broker is killed with -9 three times in the middle of sending and started again (the web server's connections are cut;
the mock cluster, which forgets everything when it is killed, is not). A minute or two.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from streamtrack.errors import PluginError
from streamtrack.sinks.jsonl import JsonlSink
from streamtrack.testing.results import make_info, walk
from streamtrack.types import Result

_KILLS = 3
_PATIENCE_S = 60.0
_QUIET_S = 0.2


def equipment() -> ModuleType:
    """Return the module of the tests that holds the brokers."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "sinks"))
    try:
        import brokers
    finally:
        del sys.path[0]
    return brokers


class Case(NamedTuple):
    """A sink with options, and a broker to send to."""

    name: str
    make_broker: Callable[[Path], Any]
    options: dict[str, Any]
    killed: bool = True


def cases() -> list[Case]:
    """Return all of them."""
    b = equipment()
    return [
        Case("webhook", lambda folder: b.WebServer(), {}),
        Case("redis", b.Redis, {}, killed=False),
        Case("redis fsync=true", b.Redis, {"fsync": True}, killed=False),
        Case("redis, appendfsync always", lambda folder: b.Redis(folder, appendfsync="always"), {}),
        Case("redis, appendfsync everysec", lambda folder: b.Redis(folder, appendfsync="everysec"), {}),
        Case("nats", b.Nats, {}),
        Case("mqtt", lambda folder: b.Mosquitto(folder, "allow_anonymous true"), {}, killed=False),
        Case("mqtt, set_tcp_nodelay", b.Mosquitto.lasting, {}),
        Case("kafka", lambda folder: b.KafkaMock(), {}, killed=False),
    ]


def missing(case: Case) -> str:
    """Return what a case needs and is not here, or ``""``."""
    with tempfile.TemporaryDirectory() as folder:
        broker = case.make_broker(Path(folder))
        program = getattr(broker, "program", "")
        try:
            broker.sink()
        except PluginError as error:
            return str(error)
        finally:
            broker.stop()
    return f"The program '{program}' is missing." if program and shutil.which(program) is None else ""


def story(frames: int) -> list[Result]:
    """Return results of up to eight tracks: about seven messages a frame."""
    return list(walk(frames, tracks=8, width=64, height=48))


def written_per_s(results: Sequence[Result]) -> float:
    """Return how many results a second the sink ``jsonl`` writes to files."""
    with tempfile.TemporaryDirectory() as folder:
        sink = JsonlSink()
        sink.open(make_info(Path(folder)))
        began = time.perf_counter()
        for result in results:
            sink.write(result)
        sink.close()
        return len(results) / (time.perf_counter() - began)


class Speed(NamedTuple):
    """One round of one sink."""

    messages: int
    written_s: float
    """Until all were in the spool."""
    delivered_s: float
    """Until all were acknowledged."""


def send(case: Case, results: Sequence[Result]) -> Speed:
    """Send ``results`` through a new sink to a new broker."""
    brokers = equipment()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with brokers.running(case.make_broker(folder / "data")) as broker:
            sink = broker.sink(records="all", **case.options)
            sink.open(make_info(folder))
            began = time.perf_counter()
            for result in results:
                sink.write(result)
            written_s = time.perf_counter() - began
            brokers.until(lambda: not sink.counts()["waiting"], _PATIENCE_S)
            delivered_s = time.perf_counter() - began
            messages = sink.counts()["messages"]
            sink.close()
    return Speed(messages, written_s, delivered_s)


def speed_lines(chosen: Sequence[Case], rounds: int, frames: int) -> Iterator[str]:
    """Yield the lines of the table of speeds."""
    results = story(frames)
    found: dict[str, list[tuple[Speed, float]]] = {case.name: [] for case in chosen}
    for _ in range(rounds):
        for case in chosen:
            speed = send(case, results)
            found[case.name].append((speed, written_per_s(results) * speed.messages / frames))
    yield f"{'sink':30} {'messages':>8} {'acknowledged a second':>24} {'of jsonl':>9} {'write alone, a second':>24}"
    for name, each in found.items():
        acknowledged = [speed.messages / speed.delivered_s for speed, _ in each]
        written = [speed.messages / speed.written_s for speed, _ in each]
        ratio = statistics.median(rate / files for rate, (_, files) in zip(acknowledged, each, strict=True))
        yield (
            f"{name:30} {each[0][0].messages:8} {min(acknowledged):12.0f} to {max(acknowledged):<8.0f} {ratio:9.3f} "
            f"{min(written):12.0f} to {max(written):<8.0f}"
        )


class Outcome(NamedTuple):
    """What became of the messages of a run whose broker was killed."""

    messages: int
    most_waiting: int
    resent: int
    at_broker: int
    lost: int
    in_order: bool
    """Repeats left out."""


def strike(case: Case, results: Sequence[Result]) -> Outcome:
    """Kill the broker in the middle of sending, some times."""
    brokers = equipment()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = folder / "run"
        run.mkdir()
        with brokers.running(case.make_broker(folder / "data")) as broker, broker.reading() as read:
            options = {"retry_first_s": 0.05, "retry_max_s": 0.1, "close_timeout_s": _PATIENCE_S, **case.options}
            sink = broker.sink(records="all", **options)
            most = brokers.run_through_kills(sink, broker, run, results, _KILLS)
            counts = sink.counts()
            bodies = settled(lambda: read(0))
    numbers = brokers.ids_in_order(bodies)
    lost = counts["messages"] - len(numbers)
    return Outcome(counts["messages"], most, counts["resent"], len(bodies), lost, numbers == sorted(numbers))


def settled(read: Callable[[], list[bytes]]) -> list[bytes]:
    """Return what was read once no more comes."""
    found = read()
    while True:
        time.sleep(_QUIET_S)
        before, found = found, read()
        if len(found) == len(before):
            return found


def kill_lines(chosen: Sequence[Case], rounds: int, frames: int) -> Iterator[str]:
    """Yield the lines of the table of kills, a line for each round."""
    results = story(frames)
    yield (
        f"{'sink':30} {'messages':>8} {'most in spool':>13} {'sent again':>10} {'at broker':>9} {'repeats':>7} "
        f"{'lost':>5} in order"
    )
    for case in chosen:
        for _ in range(rounds):
            o = strike(case, results)
            repeats = o.at_broker - (o.messages - o.lost)
            yield (
                f"{case.name:30} {o.messages:8} {o.most_waiting:13} {o.resent:10} {o.at_broker:9} {repeats:7} "
                f"{o.lost:5} {'yes' if o.in_order else 'no'}"
            )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sink", nargs="+", default=[], help="those whose names begin so; otherwise all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--kills", action="store_true", help="kill the brokers, too")
    args = parser.parse_args()
    # What is lost and there again is what is asked for.
    logging.disable()
    chosen = [case for case in cases() if not args.sink or case.name.startswith(tuple(args.sink))]
    for case in [*chosen]:
        if reason := missing(case):
            print(f"{case.name}: left out. {reason}")
            chosen.remove(case)
    for line in speed_lines(chosen, args.rounds, args.frames):
        print(line, flush=True)
    if args.kills:
        for line in kill_lines([case for case in chosen if case.killed], args.rounds, args.frames):
            print(line, flush=True)


def test_a_broker_that_is_killed_loses_nothing_and_speeds_are_told() -> None:
    webhook = cases()[0]
    head, line = speed_lines([webhook], 1, 20)
    assert line.split()[0] == "webhook"
    assert head.index("of jsonl") < line.index(".") < head.index("write alone")
    outcome = strike(webhook, story(80))
    assert (outcome.lost, outcome.in_order) == (0, True)
    assert outcome.at_broker >= outcome.messages > 400
    assert outcome.most_waiting > 0


if __name__ == "__main__":
    main()
