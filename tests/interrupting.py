"""A run of a small clip with every kind of output, killed again and again: what is left of it, and what comes of it.

Run as a program it kills runs at random moments. All of them are forks of this one process, which has loaded
everything beforehand, so that a run costs what it does and not what Python's start costs.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import streamtrack
from streamtrack import folder
from streamtrack.testing.clips import write_clip
from streamtrack.testing.models import SIDE, square_frames, write_square_detector
from streamtrack.types import UInt8Array

FRAMES = 36
WIDTH, HEIGHT = 256, 160
SHOT = 20
"""Where a cut is."""
SINKS = (
    "frames",
    "crops:min_size=10,min_quality=0,min_confidence=0.5,every_frames=4",
    "video:crf=35",
    "report",
    "msgpack",
    "mot",
    "coco",
    "csv",
)
PAGE = "report.html"
SETTINGS = {
    "detector.input_size": WIDTH,
    "detector.min_size": 20,
    "detector.confidence_th": 0.3,
    "detector.adaptive": True,
    "detector.batch_size": 3,
    "output.save_frames": False,
    "output.save_crops": False,
    "output.progress_every": 4,
}


def pictures() -> Iterator[UInt8Array]:
    """Yield squares with a pattern, which a crop can be judged by, on a ground that is another after a cut."""
    paths = [(4.0, 12.0, 4.0, 0.0), (200.0, 90.0, -3.0, 1.0)]
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    checks = (y // 8 + x // 8) % 2 == 0
    for index, picture in enumerate(square_frames(FRAMES, paths, width=WIDTH, height=HEIGHT)):
        squares = picture[..., 0] == 255
        if index >= SHOT:
            picture[~squares & (y > HEIGHT // 2)] = (20, 90, 160)
        picture[squares & checks] = (255, 150, 150)
        yield picture


def write_material(path: Path) -> tuple[str, str]:
    """Write a clip and a model into the folder ``path``; return the path of each."""
    assert SIDE * 2 < HEIGHT
    clip = write_clip(path / "squares.mp4", pictures(), options={"preset": "ultrafast"})
    return str(clip), str(write_square_detector(path / "squares.onnx"))


def run(clip: str, model: str, out: Path, **options: Any) -> streamtrack.RunSummary:
    """Run it, or go on with it."""
    settings = SETTINGS | options.pop("set", {})
    given: dict[str, Any] = {"resume": True, "threads": 1, "stride": 1, "sinks": SINKS, **options}
    return streamtrack.run(clip, model=model, out=out, set=settings, **given)


def outputs(out: Path) -> dict[str, Any]:
    """Return everything in the folder of a run by name; of metrics and progress only what is no time."""
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        if path.is_file():
            name = str(path.relative_to(out))
            timeless = {folder.METRICS: timeless_metrics, folder.PROGRESS: timeless_progress}.get(name)
            found[name] = timeless(json.loads(path.read_bytes())) if timeless else path.read_bytes()
            if name == PAGE:
                # It shows how fast the run was, and when it was written.
                found[name] = b"</html>" in found[name]
    return found


def timeless_metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return what of a run's metrics does not depend on when it was interrupted, and on the time it took."""
    left = {
        key: value for key, value in metrics.items() if key not in ("run_id", "resumed", "process", "speed", "limits")
    }
    left["stages"] = {name: stage["items"] for name, stage in metrics["stages"].items()}
    left["channels"] = {channel["name"]: channel["items"] for channel in metrics["channels"]}
    return left


def timeless_progress(progress: dict[str, Any]) -> dict[str, Any]:
    """Return likewise what of a run's progress does not."""
    times = ("elapsed_sec", "analyzed_fps", "source_fps", "queue_depth", "frames_taped")
    return {key: value for key, value in progress.items() if key not in times}


def differing(out: Path, expected: dict[str, Any]) -> list[str]:
    """Return the names of what is in the folder of a run and not as expected, or the other way round."""
    found = outputs(out)
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


def check_same(out: Path, expected: dict[str, Any], when: str) -> None:
    """Do nothing if everything is in the folder of a run as expected; else say what is not, and of JSON files how."""
    found = outputs(out)
    told = []
    for name in differing(out, expected):
        here, there = found.get(name), expected.get(name)
        if isinstance(here, dict) and isinstance(there, dict):
            keys = [key for key in sorted(here.keys() | there.keys()) if here.get(key) != there.get(key)]
            name += "".join(f"; {key}: {there.get(key)} then, {here.get(key)} now" for key in keys)
        told.append(name)
    assert not told, f"{when}: {told}"


def fork(clip: str, model: str, out: Path) -> int:
    """Start a run in a process of its own and return its id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run(clip, model, out)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def ended(child: int) -> bool:
    """Wait for a run; return whether it came to its end, and not to that of a kill."""
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0, "a run has failed"
    return True


def left_behind(out: Path) -> str:
    """Say in a word or two how far a killed run was."""
    if not (out / folder.METRICS).exists():
        return "starting"
    metrics = json.loads((out / folder.METRICS).read_bytes())
    if metrics["status"] == "complete":
        return "complete"
    if (out / folder.FRAMES).exists() and len((out / folder.FRAMES).read_bytes().splitlines()) == FRAMES:
        return "closing"
    return "resumed" if metrics["resumed"] else "first"


def kill_at_random(work: Path, kills: int, seed: int) -> dict[str, Any]:
    """Kill runs ``kills`` times, resume each until it is complete, and hold what it wrote against an undisturbed one.

    Returns:
        ``killed``: how many were in which state; ``completed``: how many times the runs between them were resumed.
    """
    import streamtrack.build
    from streamtrack import registry
    from streamtrack.params import TrackerParams
    from streamtrack.quality import warm_up

    clip, model = write_material(work)
    streamtrack.build.make_tracker(TrackerParams(), 25.0)
    warm_up()
    for sink in SINKS:
        registry.load("sinks", sink.partition(":")[0])
    # ONNX Runtime is left for the runs to load: it starts a thread, and a process with threads is better not forked.
    assert threading.active_count() == 1
    assert ended(fork(clip, model, work / "expected"))
    begun = time.monotonic()
    assert ended(fork(clip, model, work / "timed"))
    whole_s = time.monotonic() - begun
    expected = outputs(work / "expected")
    check_same(work / "timed", expected, "runs differ that nobody has disturbed")
    return _kill(clip, model, work / "out", expected, kills, random.Random(seed), whole_s)


def _kill(
    clip: str, model: str, out: Path, expected: dict[str, Any], kills: int, chance: random.Random, whole_s: float
) -> dict[str, Any]:
    killed: dict[str, int] = {}
    completed: list[int] = []
    while True:
        child = fork(clip, model, out)
        if sum(killed.values()) < kills:
            time.sleep(chance.uniform(0, whole_s))
            os.kill(child, signal.SIGKILL)
        if not ended(child):
            state = left_behind(out)
            killed[state] = killed.get(state, 0) + 1
            continue
        check_same(out, expected, f"after {killed}")
        resumed = json.loads((out / folder.METRICS).read_bytes())["resumed"]
        completed.append(resumed["times"] if resumed else 0)
        if sum(killed.values()) == kills:
            return {"killed": killed, "completed": completed}
        shutil.rmtree(out)


if __name__ == "__main__":
    print(json.dumps(kill_at_random(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
