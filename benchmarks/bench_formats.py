"""What each file format costs beside JSON lines: bytes, time to write and time to read, on the same results.

``python benchmarks/bench_formats.py [RUN ...] [--rounds N]``. RUN is what ``streamtrack retrack`` takes: a run's
folder, its tape, or a MOTChallenge ``det.txt`` or the folder of its sequence. Its detections are tracked again, and
every sink is given those results in memory; without one, people are made up. The rounds alternate between the
formats and each counts with its fastest one, in seconds of CPU, so a busy machine changes little.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from streamtrack import registry
from streamtrack.errors import PluginError
from streamtrack.params import TrackerParams
from streamtrack.retracking import params_for, retrack
from streamtrack.tape import read_tape
from streamtrack.testing.results import ArrayPicture, make_info
from streamtrack.tracking.tracker import ByteTracker
from streamtrack.types import Detections, Frame, Result, RunInfo

STEP_NS = 40_000_000


class Format(NamedTuple):
    """A sink with its options, and what reads it here."""

    label: str
    sink: str
    options: dict[str, Any]
    reads: str | None
    """What of the folder ``read_tape`` is given; None where it does not read it."""


FORMATS = (
    Format("jsonl", "jsonl", {}, ""),
    Format("jsonl:compress=gzip", "jsonl", {"compress": "gzip"}, ""),
    Format("jsonl:compress=zstd", "jsonl", {"compress": "zstd"}, ""),
    Format("msgpack", "msgpack", {}, "tape.msgpack"),
    Format("csv", "csv", {}, None),
    Format("parquet", "parquet", {}, None),
    Format("coco", "coco", {}, None),
    Format("mot", "mot", {}, None),
)


class Scene(NamedTuple):
    """Results, and the run that they are of."""

    name: str
    info: RunInfo
    results: list[Result]


def tracked(path: Path) -> Scene:
    """Track a tape again."""
    tape, results = read_tape(path), list[Result]()
    retrack(tape, params_for(tape, {}), results.append)
    info = RunInfo(tape.source, tape.model, (), tape.found.keypoints.shape[1], folder=None)
    return Scene(path.resolve().name, info, results)


def made_up(frames: int, people: int = 6, keypoints: int = 5) -> Scene:
    """Make faces that drift and shake a little, each unseen in one frame of ten, and track them."""
    rng = np.random.default_rng(0)
    place, speed = rng.uniform(200, 1600, (people, 2)), rng.normal(0, 1, (people, 2))
    picture = ArrayPicture(np.zeros((1, 1, 3), np.uint8))
    tracker, results = ByteTracker(TrackerParams(), max_lost_ns=50 * STEP_NS), []
    for index in range(frames):
        seen = rng.random(people) > 0.1
        corner = (place + index * speed + rng.normal(0, 0.5, (people, 2)))[seen]
        points = corner[:, None] + rng.uniform(10, 50, (len(corner), keypoints, 2))
        found = Detections(
            np.hstack((corner, corner + 60)).astype(np.float32),
            rng.uniform(0.8, 1, len(corner)).astype(np.float32),
            np.zeros(len(corner), np.int32),
            points.astype(np.float32),
        )
        frame = Frame(index, index * STEP_NS, 1920, 1080, picture)
        results.append(Result(frame, found, tracker.update(found, frame.pts_ns)))
    return Scene(f"{people} made-up faces", make_info(None, width=1920, height=1080, keypoints=keypoints), results)


class Cost(NamedTuple):
    """What a format takes, a frame."""

    format: Format
    bytes: float
    write_us: float
    read_us: float
    """Infinite where ``read_tape`` does not read it."""


def timed(work: Callable[[], Any]) -> float:
    """Return the seconds of CPU that ``work`` takes."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def write(sink: Any, scene: Scene, folder: Path) -> None:
    """Write all results, and end the files."""
    sink.open(replace(scene.info, folder=folder))
    for result in scene.results:
        sink.write(result)
    sink.close()


def measure(scene: Scene, rounds: int, formats: Sequence[Format] = FORMATS) -> tuple[list[Cost], list[str]]:
    """Return what each format takes, and what was said of those whose packages are not installed."""
    costs, missing = list[Cost](), list[str]()
    for each in formats:
        try:
            costs.append(once(each, scene))
        except PluginError as error:
            missing.append(str(error))
    for _ in range(rounds - 1):
        costs = [fastest(cost, once(cost.format, scene)) for cost in costs]
    return costs, missing


def once(each: Format, scene: Scene) -> Cost:
    """Write the results and read them again."""
    count, read_s = len(scene.results), np.inf
    with tempfile.TemporaryDirectory() as name:
        folder, sink = Path(name), registry.load("sinks", each.sink)(**each.options)
        write_s = timed(lambda: write(sink, scene, folder))
        size = sum(file.stat().st_size for file in folder.iterdir())
        if each.reads is not None:
            tape = folder / each.reads
            read_s = timed(lambda: read_tape(tape))
    return Cost(each, size / count, write_s / count * 1e6, read_s / count * 1e6)


def fastest(one: Cost, other: Cost) -> Cost:
    """Return the smaller times of two rounds."""
    return one._replace(write_us=min(one.write_us, other.write_us), read_us=min(one.read_us, other.read_us))


def table(costs: Sequence[Cost]) -> Iterator[str]:
    """Yield the lines of the table: the first format as it is, the others by how many times that they take."""
    base = costs[0]
    yield "| sink | bytes | write | read |\n|---|---|---|---|"
    for cost in costs:
        columns = zip(cost[1:], base[1:], strict=True)
        cells = ["" if value == np.inf else f"{value / of:.2f}" for value, of in columns]
        yield f"| `{cost.format.label}` | {' | '.join(cells)} |"


def main() -> None:
    """Print a table a run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="*", type=Path, help="a run's folder, its tape, or a det.txt")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    for scene in map(tracked, args.run) if args.run else [made_up(500)]:
        costs, missing = measure(scene, args.rounds)
        base, found = costs[0], sum(len(result.detections) for result in scene.results)
        print(
            f"\n{scene.name}: {len(scene.results)} frames, {found} detections, {args.rounds} rounds. A frame in jsonl:"
        )
        print(f"{base.bytes:.0f} bytes, {base.write_us:.0f} us to write, {base.read_us:.0f} us to read\n")
        print("\n".join([*table(costs), *missing]))


def test_every_format_is_held_against_json_lines() -> None:
    formats = [each for each in FORMATS if each.label in ("jsonl", "jsonl:compress=gzip", "msgpack", "mot")]
    costs, missing = measure(made_up(40), 1, formats)
    assert missing == []
    lines, packed, tape, mot = (cost.bytes for cost in costs)
    assert mot < packed < tape < lines
    assert all(cost.write_us > 0 for cost in costs)
    rows = "\n".join(table(costs)).splitlines()[2:]
    assert rows[0] == "| `jsonl` | 1.00 | 1.00 | 1.00 |"
    assert [row.count("|") for row in rows] == [5] * 4
    assert rows[3].endswith("|  |")


def test_a_format_whose_package_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    costs, (said,) = measure(made_up(3), 1, FORMATS[:3])
    assert [cost.format.label for cost in costs] == ["jsonl", "jsonl:compress=gzip"]
    assert "pip install 'streamtrack[zstd]'" in said


if __name__ == "__main__":
    main()
