"""The tracker alone, called from Python, frame by frame: beside others, by number of objects, at start, for long.

``python benchmarks/bench_tracker.py [--mot DET] [--only PART ...] [--rounds N] [--births N]``; ``make bench-tracker``
runs it in an environment that holds the other trackers, too. Everybody gets the same detections in its own form, made
before the clock starts, and the same thresholds: those of the official MOT17 runs. The rounds alternate between the
contenders, and a frame counts with its fastest round: on a busy machine whoever works longest is interrupted most,
which would flatter the fastest.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import importlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streamtrack.params import TrackerParams
from streamtrack.tape import read_tape
from streamtrack.tracking.tracker import ByteTracker
from streamtrack.types import CONFIRMED, Detections

RATE = 30
STEP_NS = 1_000_000_000 // RATE
Frames = list[tuple[Detections, int]]
"""Detections and their time, frame by frame."""

HIGH, NEW, LOW, MATCH, BUFFER = 0.6, 0.7, 0.1, 0.9, 30
SIZES = (10, 30, 100, 300, 1000)
PARTS = ("births", "start", "scaling", "peers")


# --- scenes ---


def mot_frames(path: Path) -> Frames:
    """Read a MOTChallenge ``det.txt``, or the folder of its sequence, without what nobody would look at."""
    tape = read_tape(path)
    found, kept = tape.found, []
    for pts_ns, first, last in zip(tape.pts_ns.tolist(), tape.first.tolist(), tape.last.tolist(), strict=True):
        rows = first + np.flatnonzero(found.scores[first:last] > LOW)
        kept.append((detections(found.boxes[rows], found.scores[rows]), pts_ns))
    return kept


def crowd(objects: int, frames: int, width: float, height: float, seed: int = 0) -> Frames:
    """Make people of 25 to 60 px who walk and turn at the edges; some unseen, some doubtful, some not there at all."""
    rng = np.random.default_rng(seed)
    wide = rng.uniform(25, 60, objects)
    size = np.column_stack((wide, wide * rng.uniform(2.0, 2.6, objects)))
    edge = np.array([width, height])
    place = rng.uniform(0, 1, (objects, 2)) * edge
    speed = rng.normal(0, 2, (objects, 2))
    made: Frames = []
    for index in range(frames):
        place += speed
        speed = np.where((place < 0) | (place > edge), np.where(place < 0, 1, -1) * np.abs(speed), speed)
        seen = rng.uniform(size=objects) > 0.05
        scores = np.where(rng.uniform(size=objects) < 0.1, rng.uniform(0.15, 0.5, objects), 0.95)[seen]
        centres, sizes = place[seen], size[seen] * rng.normal(1, 0.02, (int(seen.sum()), 2))
        false = rng.poisson(0.02 * objects)
        centres = np.vstack((centres, rng.uniform(0, 1, (false, 2)) * edge))
        sizes = np.vstack((sizes, rng.uniform(30, 90, (false, 2))))
        scores = np.concatenate((scores, rng.uniform(0.15, 0.69, false)))
        # A detector hands them on by score, wherever they are.
        order = np.argsort(-scores + rng.uniform(0, 1e-6, len(scores)))
        boxes = np.hstack((centres - sizes / 2, centres + sizes / 2))[order]
        made.append((detections(boxes, scores[order]), index * STEP_NS))
    return made


def detections(boxes: np.ndarray, scores: np.ndarray) -> Detections:
    n = len(boxes)
    arrays = (boxes.astype(np.float32), scores.astype(np.float32), np.zeros(n, np.int32))
    return Detections(*arrays, np.empty((n, 0, 2), np.float32))


# --- contenders ---


@dataclass(frozen=True)
class Contender:
    """A tracker, and how to call it."""

    name: str
    package: str
    """What to install for it; empty for ours."""
    inputs: Callable[[Frames], list[tuple[Any, ...]]]
    """The arguments of its update in each frame."""
    start: Callable[[], Callable[..., Any]]
    """A fresh tracker's update."""
    matched: Callable[[Any], int]
    """How many tracks with a detection of this frame an update returned."""


def our_update(mode: str | None = None) -> Callable[..., Any]:
    settings: dict[str, Any] = {"mode": mode} if mode else {}
    params = TrackerParams(high_thresh=HIGH, new_thresh=NEW, low_thresh=LOW, match_thresh=MATCH, **settings)
    return ByteTracker(params, max_lost_ns=BUFFER * STEP_NS).update


def ours() -> list[Contender]:
    """Return our tracker in reference mode first, and then as it is by default where that is another mode."""
    default = getattr(TrackerParams(), "mode", None)
    modes = [None] if default is None else list(dict.fromkeys(("reference", str(default))))
    return [
        Contender(
            f"streamtrack, mode={mode or 'reference'}",
            "",
            lambda frames: list(frames),
            lambda mode=mode: our_update(mode),
            lambda update: int(np.count_nonzero(update.states == CONFIRMED)),
        )
        for mode in modes
    ]


def numpy_rows(frames: Frames) -> list[tuple[Any, ...]]:
    # Boxes at the scale of the picture: as large as what the detector saw.
    size = (1080, 1920)
    return [(np.column_stack((f.boxes, f.scores)).astype(np.float64), size, size) for f, _ in frames]


def supervision_rows(frames: Frames) -> list[tuple[Any, ...]]:
    made = importlib.import_module("supervision").Detections
    return [
        (made(xyxy=f.boxes.copy(), confidence=f.scores.copy(), class_id=f.classes.astype(np.int64)),) for f, _ in frames
    ]


def official_update() -> Callable[..., Any]:
    made = importlib.import_module("cjm_byte_track.core").BYTETracker
    return made(track_thresh=HIGH, track_buffer=BUFFER, match_thresh=MATCH, frame_rate=RATE).update


def roboflow_update() -> Callable[..., Any]:
    made = importlib.import_module("trackers").ByteTrackTracker
    return made(
        lost_track_buffer=BUFFER,
        frame_rate=RATE,
        track_activation_threshold=NEW,
        minimum_consecutive_frames=1,
        minimum_iou_threshold=1 - MATCH,
        high_conf_det_threshold=HIGH,
    ).update


def supervision_update() -> Callable[..., Any]:
    made = importlib.import_module("supervision").ByteTrack
    return made(
        track_activation_threshold=HIGH, lost_track_buffer=BUFFER, minimum_matching_threshold=MATCH, frame_rate=RATE
    ).update_with_detections


def with_id(found: Any) -> int:
    return int(np.count_nonzero(np.asarray(found.tracker_id) >= 0)) if len(found) else 0


PEERS = (
    # The official code is on no package index. This is its closest relative without a deep-learning framework: the
    # same tracks as Python objects, the same 8x8 Kalman filter, but a vectorised IoU and scipy's assignment.
    Contender("official algorithm (cjm-byte-track)", "cjm-byte-track", numpy_rows, official_update, len),
    Contender("roboflow trackers", "trackers", supervision_rows, roboflow_update, with_id),
    Contender("supervision", "supervision", supervision_rows, supervision_update, with_id),
)


def present(peers: Sequence[Contender] = PEERS) -> tuple[list[Contender], str]:
    """Return the trackers that are installed, and a line on those that are not: empty where none is missing."""
    found, missing = [], []
    for peer in peers:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                peer.start()
            found.append(peer)
        except (ImportError, AttributeError):
            missing.append(peer.package)
    return found, f"not here: {', '.join(missing)}; `make bench-tracker` installs them" if missing else ""


# --- beside each other ---


@dataclass(frozen=True)
class Timed:
    """How a tracker did: percentiles over the frames, each with its fastest round."""

    median_us: float
    p99_us: float
    tracks: float
    """Tracks with a detection, a frame."""


def time_frames(contender: Contender, inputs: list[tuple[Any, ...]]) -> tuple[np.ndarray, int]:
    """Run a fresh tracker over the frames; return us for each, and how many tracks it found in all of them."""
    update, matched, clock = contender.start(), contender.matched, time.perf_counter_ns
    taken, tracks = np.empty(len(inputs)), 0
    gc.collect()
    for index, arguments in enumerate(inputs):
        begun = clock()
        out = update(*arguments)
        taken[index] = clock() - begun
        tracks += matched(out)
    return taken / 1000, tracks


def compare(contenders: Sequence[Contender], frames: Frames, rounds: int) -> list[Timed]:
    """Time all contenders on the same frames, ``rounds`` times in turn."""
    runs = [(contender, contender.inputs(frames)) for contender in contenders]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fastest_rounds(runs, rounds)


def fastest_rounds(
    runs: Sequence[tuple[Contender, list[tuple[Any, ...]]]], rounds: int, settled: int = 0
) -> list[Timed]:
    """Time each run in turn, ``rounds`` times, leaving out the first ``settled`` frames."""
    best = [np.full(len(inputs), np.inf) for _, inputs in runs]
    tracks = [0.0] * len(runs)
    for _ in range(rounds):
        for index, (contender, inputs) in enumerate(runs):
            taken, found = time_frames(contender, inputs)
            best[index] = np.minimum(best[index], taken)
            tracks[index] = found / len(inputs)
    return [
        Timed(float(np.median(taken[settled:])), float(np.percentile(taken[settled:], 99)), found)
        for taken, found in zip(best, tracks, strict=True)
    ]


def print_peers(frames: Frames, scene: str, rounds: int) -> None:
    """Print the table of trackers."""
    found, note = present()
    contenders = [*ours(), *found]
    mean = sum(len(f) for f, _ in frames) / len(frames)
    print(f"\n{scene}: {len(frames)} frames, {mean:.1f} detections a frame, {rounds} rounds\n")
    print("| tracker | median us | p99 us | ratio | tracks a frame |\n|---|---|---|---|---|")
    rows = compare(contenders, frames, rounds)
    for contender, timed in zip(contenders, rows, strict=True):
        version = f" {importlib.metadata.version(contender.package)}" if contender.package else ""
        ratio = timed.median_us / rows[0].median_us
        figures = f"{timed.median_us:.1f} | {timed.p99_us:.1f} | {ratio:.2f} | {timed.tracks:.1f}"
        print(f"| {contender.name}{version} | {figures} |")
    if note:
        print(f"\n{note}")


# --- by number of objects ---


def scaling(contender: Contender, sizes: Sequence[int], frames: int, rounds: int, *, grow: bool) -> list[Timed]:
    """Time crowds of several sizes in turn, in a picture of 1920x1080 or in one that grows with them."""
    runs = []
    for objects in sizes:
        by = (objects / 30) ** 0.5 if grow else 1.0
        runs.append((contender, contender.inputs(crowd(objects, frames, 1920 * by, 1080 * by))))
    return fastest_rounds(runs, rounds, settled=min(30, frames // 2))


def print_scaling(rounds: int, frames: int = 150) -> None:
    """Print the tables of sizes."""
    for contender in ours():
        for grow, picture in ((True, "picture grows with them"), (False, "all in 1920x1080")):
            print(f"\n{contender.name}, {picture}: {frames} frames, {rounds} rounds\n")
            print("| objects | median us | us an object | p99 us | tracks a frame |\n|---|---|---|---|---|")
            for objects, timed in zip(SIZES, scaling(contender, SIZES, frames, rounds, grow=grow), strict=True):
                each = timed.median_us / objects
                print(f"| {objects} | {timed.median_us:.1f} | {each:.3f} | {timed.p99_us:.1f} | {timed.tracks:.1f} |")


# --- at start ---

STARTER = """
import time
wall, cpu = [time.perf_counter()], [time.process_time()]
import numpy
wall.append(time.perf_counter()), cpu.append(time.process_time())
from streamtrack.params import TrackerParams
from streamtrack.tracking.tracker import ByteTracker
wall.append(time.perf_counter()), cpu.append(time.process_time())
ByteTracker(TrackerParams(), max_lost_ns=0).warm_up()
wall.append(time.perf_counter()), cpu.append(time.process_time())
print(*wall, *cpu)
"""


def start(cache: str | None) -> np.ndarray:
    """Start another Python; return seconds (wall, CPU) that numpy, our tracker and its first use took, as (2, 3)."""
    environment = os.environ | ({"NUMBA_CACHE_DIR": cache} if cache else {})
    done = subprocess.run([sys.executable, "-c", STARTER], env=environment, capture_output=True, text=True, check=True)
    return np.diff(np.array(done.stdout.split(), float).reshape(2, 4), axis=1)


def print_start(rounds: int) -> None:
    """Print the table of starts."""
    with tempfile.TemporaryDirectory() as cache:
        cold = start(cache)
        warm = np.median([start(cache) for _ in range(rounds)], axis=0)
    print("\nFirst use in a new process, s of wall time (of CPU time)\n")
    print("| start | import numpy | import the tracker | its kernels |\n|---|---|---|---|")
    for name, seconds in (("cold, nothing compiled", cold), ("warm, from the disk", warm)):
        print(f"| {name} | {' | '.join(f'{wall:.2f} ({cpu:.2f})' for wall, cpu in seconds.T)} |")


# --- for long ---


def coming_and_going() -> list[Detections]:
    """Make 64 frames to be repeated: 3 people come in each, stay for 12 frames, and never where one was just lost."""
    rng = np.random.default_rng(1)
    sizes = rng.uniform(40, 80, (192, 2))
    frames = []
    for index in range(64):
        births = np.arange(3 * (index - 11), 3 * (index + 1)) % 192
        centres = np.column_stack((births % 64 % 8, births % 64 // 8)) * 120.0 + 60
        boxes = np.hstack((centres - sizes[births] / 2, centres + sizes[births] / 2))
        frames.append(detections(boxes, np.full(36, 0.9)))
    return frames


@dataclass(frozen=True)
class Census:
    """What there is after so many frames."""

    frame: int
    ids: int
    live: int
    capacity: int
    memory_mb: float


def births(frames: int, at: Sequence[int]) -> list[Census]:
    """Run over ``frames`` frames of births and ends; count after those of ``at``."""
    tracker = ByteTracker(TrackerParams(), max_lost_ns=5 * STEP_NS)
    scene, wanted, counted, largest = coming_and_going(), set(at), [], 0
    for index in range(frames):
        out = tracker.update(scene[index % 64], index * STEP_NS)
        if index + 1 in wanted:
            largest = max(largest, int(out.ids.max()))
            counted.append(Census(index + 1, largest, len(out.ids), tracker.capacity, resident_mb()))
    return counted


def resident_mb() -> float:
    """Return the memory that the process holds now, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def print_births(frames: int) -> None:
    """Print the table of memory."""
    at = sorted({max(1, frames * share // 1000) for share in (1, 10, 100, 500, 1000)})
    print("\nBirths and ends, three a frame, default parameters\n")
    print("| frames | ids given | live tracks | room for | memory MB |\n|---|---|---|---|---|")
    for c in births(frames, at):
        print(f"| {c.frame:,} | {c.ids:,} | {c.live} | {c.capacity} | {c.memory_mb:.1f} |")


# --- all of it ---


def machine() -> str:
    """Return one line on where the figures come from."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    cpu = names[0].partition(":")[2].strip() if names else platform.processor()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "numba"))
    python = platform.python_version()
    return f"{datetime.date.today()}: {cpu}, {os.cpu_count()} cores, {platform.system()}, Python {python}, {versions}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mot", type=Path, help="a MOTChallenge det.txt or the folder of its sequence")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--births", type=int, default=1_000_000, help="frames of the run of births and ends")
    args = parser.parse_args()
    print(machine())
    our_update()(Detections.empty(), 0)
    if "births" in args.only:  # first, as the other trackers bring a lot into memory
        print_births(args.births)
    if "start" in args.only:
        print_start(args.rounds)
    if "scaling" in args.only:
        print_scaling(args.rounds)
    if "peers" in args.only:
        frames = mot_frames(args.mot) if args.mot else crowd(29, 600, 1920, 1080)
        scene = args.mot.resolve().name if args.mot else "29 made-up people in 1920x1080"
        print_peers(frames, scene, args.rounds)


def test_ours_is_timed_and_tracks_the_crowd() -> None:
    contenders = ours()
    timed = compare(contenders, crowd(20, 40, 1920, 1080), 2)
    assert len(timed) == len(contenders)
    for row in timed:
        assert 0 < row.median_us <= row.p99_us
        assert 14 <= row.tracks <= 21


def test_every_size_is_tracked_in_both_pictures() -> None:
    for grow in (True, False):
        few, many = scaling(ours()[0], (10, 300), 30, 1, grow=grow)
        assert 7 <= few.tracks <= 11
        assert 200 <= many.tracks <= 320


def test_a_tracker_that_is_not_installed_is_named_in_one_line(capsys: Any) -> None:
    def absent() -> Callable[..., Any]:
        return importlib.import_module("no_such_tracker").update

    gone = Contender("nobody", "no-such-tracker", numpy_rows, absent, len)
    assert present([gone]) == ([], "not here: no-such-tracker; `make bench-tracker` installs them")
    assert present([]) == ([], "")
    print_peers(crowd(5, 10, 640, 480), "five people", 1)
    said = capsys.readouterr().out
    assert "five people: 10 frames" in said
    assert "| streamtrack, mode=reference | " in said
    missing = [peer.package for peer in PEERS if peer not in present()[0]]
    assert all(package in said for package in missing)


def test_a_mot_file_becomes_frames_without_the_doubtful(tmp_path: Path) -> None:
    (tmp_path / "det.txt").write_text("1,-1,10,20,30,40,0.9\n1,-1,50,20,30,40,0.05\n3,-1,12,20,30,40,0.8\n")
    frames = mot_frames(tmp_path / "det.txt")
    assert [len(found) for found, _ in frames] == [1, 0, 1]
    assert frames[0][0].boxes.tolist() == [[10, 20, 40, 60]]


def test_every_person_who_comes_gets_an_id_and_leaves_no_trace() -> None:
    early, late = births(2_000, (200, 2_000))
    assert (early.ids, late.ids) == (
        3 * 200 + 33,
        3 * 2_000 + 33,
    )  # twelve generations are there at once in the first frame
    assert early.live == late.live
    assert early.capacity == late.capacity


def test_a_start_takes_time() -> None:
    seconds = start(None)
    assert seconds.shape == (2, 3)
    assert (seconds[0] > 0).all()


if __name__ == "__main__":
    main()
