"""What resuming an interrupted run costs, and what every run pays so that it can be resumed: CPU of the process.

``python benchmarks/bench_resume.py VIDEO [--model MODEL] [--stride N] [--sink NAME ...]``. The video is run whole; run
again, interrupted at half and resumed; and interrupted with its last frame, as when it is killed in closing, and
resumed. What resuming costs is told beside the whole run, and every file of each is compared with it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

import streamtrack
from streamtrack import folder
from streamtrack.records import FrameRecord
from streamtrack.resuming import identify
from streamtrack.testing.clips import write_clip
from streamtrack.testing.models import square_frames, write_square_detector

TIMED = {folder.METRICS, folder.PROGRESS, "report.html"}
"""They tell times."""


class Cost(NamedTuple):
    """One run, or what one goes on with."""

    what: str
    cpu_s: float
    share: float
    """Of the whole run's."""


class Case(NamedTuple):
    """What is run."""

    video: Path
    settings: dict[str, Any]

    def run(self, out: Path, *, until: int | None = None) -> float:
        """Run it, or go on with it, and end it after ``until`` frames; return CPU seconds."""
        cpu = time.process_time()
        with (
            suppress(KeyboardInterrupt),
            streamtrack.Pipeline(self.video, out=out, resume=True, say=lambda text: None, **self.settings) as pipeline,
        ):
            for _ in pipeline:
                if pipeline.progress.frames_done == until:
                    raise KeyboardInterrupt
        return time.process_time() - cpu


def costs(case: Case, work: Path) -> Iterator[Cost]:
    """Yield what the whole run costs, and what one that was interrupted costs from there on.

    Raises:
        AssertionError: a resumed run has left something else than the whole one.
    """
    case.run(work / "warm", until=5)
    whole_s = case.run(work / "whole")
    yield Cost("the whole run", whole_s, 1.0)
    frames = len((work / "whole" / folder.FRAMES).read_bytes().splitlines())
    for what, until in (("half", frames // 2), ("its last frame", frames)):
        out = work / what
        case.run(out, until=until)
        rest_s = case.run(out)
        assert contents(out) == contents(work / "whole"), f"resumed at {what}, it left something else"
        yield Cost(f"resumed at {what}", rest_s, rest_s / whole_s)


def contents(out: Path) -> dict[str, bytes]:
    """Return the files of a run that tell no times."""
    files = (path for path in out.rglob("*") if path.is_file() and path.name not in TIMED)
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def price(case: Case, whole: Path) -> Iterator[tuple[str, float]]:
    """Yield CPU seconds of what a run does so that it can be resumed."""
    yield "hash of the file", quickest(lambda: identify(case.video))
    yield "lock of the folder", quickest(lambda: folder.FolderLock(whole).release())
    told = [msgspec.json.decode(line, type=FrameRecord) for line in (whole / folder.FRAMES).read_bytes().splitlines()]
    bare = [msgspec.structs.replace(record, box_counts=msgspec.UNSET) for record in told]
    counts_s = quickest(lambda: encoded(told)) - quickest(lambda: encoded(bare))
    yield f"box_counts, {(encoded(told) - encoded(bare)) / len(told):.0f} bytes a frame", max(counts_s, 0.0)


def encoded(records: Sequence[FrameRecord]) -> int:
    """Encode records; return their bytes."""
    return sum(len(msgspec.json.encode(record)) for record in records)


def quickest(act: Callable[[], object], times: int = 20) -> float:
    """Return CPU seconds of the quickest of several times."""
    taken = []
    for _ in range(times):
        cpu = time.process_time()
        act()
        taken.append(time.process_time() - cpu)
    return min(taken)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--model", default="auto")
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--sink", action="append", default=[], help="beyond the records, such as video")
    args = parser.parse_args()
    settings = {
        "model": args.model,
        "stride": args.stride,
        "threads": 1,
        "sinks": args.sink,
        "set": {"output.save_frames": False},
    }
    case = Case(args.video, settings)
    with tempfile.TemporaryDirectory() as work:
        found = []
        for cost in costs(case, Path(work)):
            found.append(cost)
            print(f"{cost.what:36} {cost.cpu_s:8.2f} s {cost.share:8.1%}", flush=True)
        for what, cpu_s in price(case, Path(work) / "whole"):
            print(f"{what:36} {cpu_s * 1e3:7.2f} ms {cpu_s / found[0].cpu_s:8.4%}")


def test_a_resumed_run_leaves_the_same_and_the_table_says_what_it_cost(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "clip.mp4", square_frames(12, [(40.0, 60.0, 4.0, 0.0)], width=256, height=160))
    model = str(write_square_detector(tmp_path / "squares.onnx"))
    case = Case(video, {"model": model, "stride": 1, "threads": 1, "set": {"detector.input_size": 256}})
    whole, half, closing = costs(case, tmp_path / "runs")
    assert (whole.share, half.what, closing.what) == (1.0, "resumed at half", "resumed at its last frame")
    assert min(half.cpu_s, closing.cpu_s) > 0
    resumed = msgspec.json.decode((tmp_path / "runs" / "half" / folder.METRICS).read_bytes())["resumed"]
    assert resumed == {"times": 1, "from_frames": [6]}
    rows = dict(price(case, tmp_path / "runs" / "whole"))
    assert len(rows) == 3
    assert all(cpu_s >= 0 for cpu_s in rows.values())


if __name__ == "__main__":
    main()
