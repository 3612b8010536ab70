"""Exactness: the same ids in every frame, and boxes to a thousandth of a pixel."""

import configparser
import gzip
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import goldens
import numpy as np
import pytest
from goldens import Line
from scenes import detect

from streamtrack.tracking.tracker import ByteTracker
from streamtrack.types import CONFIRMED, Detections

TOLERANCE_PX = 1e-3
UNIT_NS = 40_000_000

SEQUENCES = (
    *("ADL-Rundle-6", "ETH-Sunnyday", "KITTI-17", "PETS09-S2L1", "TUD-Campus", "TUD-Stadtmitte"),
    *("MOT17-02-FRCNN", "MOT17-04-FRCNN", "MOT17-05-FRCNN", "MOT17-09-FRCNN"),
)


def by_frame(lines: Iterable[Line]) -> dict[int, list[Line]]:
    frames = defaultdict(list)
    for line in lines:
        frames[line.frame].append(line)
    return frames


def track(frames: Sequence[Detections], stride: int) -> list[Line]:
    """Feed frames 1, 1 + stride, ...; time goes on by one unit an update, as the official code counts it."""
    tracker = ByteTracker(goldens.PARAMS, max_lost_ns=goldens.MAX_LOST * UNIT_NS)
    lines = []
    for count, detections in enumerate(frames[::stride]):
        update = tracker.update(detections, count * UNIT_NS)
        for k in range(len(update)):
            box = tuple(update.boxes[k].tolist())
            lines.append(Line(1 + count * stride, int(update.ids[k]), int(update.states[k]), int(update.rows[k]), box))
    return lines


def worst_error_px(found: list[Line], expected: list[Line]) -> float:
    return max((abs(a - b) for f, e in zip(found, expected, strict=True) for a, b in zip(f.box, e.box, strict=True)))


@pytest.mark.parametrize("stride", goldens.STRIDES)
@pytest.mark.parametrize("name", goldens.SCENES)
def test_equals_the_goldens_in_the_repository(name: str, stride: int) -> None:
    expected = list(goldens.read(goldens.path(name, stride)))
    found = track(detect(goldens.SCENES[name]), stride)
    assert [line[:4] for line in found] == [line[:4] for line in expected]
    assert worst_error_px(found, expected) < TOLERANCE_PX


def test_the_goldens_in_the_repository_are_what_the_twin_says() -> None:
    for name in goldens.SCENES:
        golden = gzip.decompress(goldens.path(name, 10).read_bytes()).decode("ascii")
        found, expected = goldens.make(goldens.SCENES[name], 10).splitlines(), golden.splitlines()
        assert [line.split(",")[:4] for line in found] == [line.split(",")[:4] for line in expected]


def reference_detections(folder: Path) -> list[Detections]:
    """Read a sequence in MOT text format: detections scored above 0.1, for each of its frames, also the empty ones."""
    info = configparser.ConfigParser()
    info.read(folder / "seqinfo.ini")
    rows = np.loadtxt(folder / "det" / "det.txt", delimiter=",", usecols=range(7), ndmin=2)
    rows = rows[rows[:, 6] > 0.1]
    frames = []
    for number in range(1, info.getint("Sequence", "seqLength") + 1):
        left, top, width, height, score = rows[rows[:, 0] == number, 2:7].T
        boxes = np.column_stack([left, top, left + width, top + height]).astype(np.float32)
        kinds, points = np.zeros(len(score), np.int32), np.empty((len(score), 0, 2), np.float32)
        frames.append(Detections(boxes, score.astype(np.float32), kinds, points))
    return frames


def read_reference(golden: Path) -> list[Line]:
    with gzip.open(golden, "rt", encoding="ascii") as lines:
        rows = [line.split(",") for line in lines]
    return [Line(int(frame), int(number), CONFIRMED, 0, tuple(map(float, box))) for frame, number, *box in rows]


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_equals_the_official_code(sequence: str, shared_data: Path) -> None:
    detections = reference_detections(shared_data / "mot" / sequence)
    for stride in goldens.STRIDES:
        found = by_frame(line for line in track(detections, stride) if line.state == CONFIRMED)
        expected = by_frame(
            read_reference(shared_data / "golden" / "bytetrack" / f"stride{stride}" / f"{sequence}.txt.gz")
        )
        assert found.keys() == expected.keys()
        for frame, lines in expected.items():
            got, lines = sorted(found[frame]), sorted(lines)
            assert [line.id for line in got] == [line.id for line in lines], f"stride {stride}, frame {frame}"
            assert worst_error_px(got, lines) < TOLERANCE_PX
