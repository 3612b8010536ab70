"""What the tests of all heads share: the outputs of real exports, and how two lists of findings are compared."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from scipy.spatial import KDTree

from streamtrack.models.heads import Candidates

Tensors = dict[str, np.ndarray]
Found = list[tuple[float, int, list[float], list[list[float]]]]
"""Score, class, box and keypoints of each."""

few = settings(max_examples=30)
"""Of numbers at random, each example has hundreds."""

seeds = st.integers(0, 2**32 - 1)
batches = st.integers(1, 3)
thresholds = st.sampled_from([0.05, 0.2, 0.5, 0.85, 0.999])


def one(*shape: int | None, name: str = "output") -> tuple:
    return ((name, shape),)


def yunet(batch: int | None = 1, cells: tuple[int, int, int] | None = None) -> tuple:
    return tuple(
        (f"{kind}_{stride}", (batch, cells[level] if cells else None, channels))
        for kind, channels in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
        for level, stride in enumerate((8, 16, 32))
    )


CENTERFACE = tuple((name, (1, n, None, None)) for name, n in (("537", 1), ("538", 2), ("539", 2), ("540", 10)))


def scrfd(kinds: int = 3, *, batch: bool = False, rows: tuple[int | None, ...] = (12800, 3200, 800)) -> tuple:
    """As InsightFace names them: by the numbers that torch gave."""
    shapes = [(count, channels) for channels in (1, 4, 10)[:kinds] for count in rows]
    return tuple((str(443 + 3 * n), (1, *shape) if batch else shape) for n, shape in enumerate(shapes))


def retinaface(rows: int | None = 16800) -> tuple:
    return (("output0", (1, rows, 4)), ("590", (1, rows, 2)), ("589", (1, rows, 10)))


RFB = (("scores", (1, 4420, 2)), ("boxes", (1, 4420, 4)))


def nanodet_zoo(classes: int = 80, *, batch: bool = True) -> tuple:
    shapes = [(rows, channels) for rows in (2704, 676, 169, 49) for channels in (classes, 32)]
    return tuple((f"o{n}", (1, *shape) if batch else shape) for n, shape in enumerate(shapes))


EXPORTS: list[tuple[str, tuple, tuple[int | None, int | None]]] = [
    ("yunet", yunet(1, (6400, 1600, 400)), (640, 640)),
    ("yunet", yunet(None), (None, None)),
    ("centerface", CENTERFACE, (32, 32)),
    ("scrfd", scrfd(), (640, 640)),
    ("scrfd", scrfd(2), (640, 640)),
    ("scrfd", scrfd(3, batch=True), (640, 640)),
    ("scrfd", scrfd(3, rows=(None,) * 3), (None, None)),
    ("scrfd", scrfd(2, rows=(6400, 1600, 400, 100, 25)), (640, 640)),
    ("retinaface", retinaface(), (640, 640)),
    ("retinaface", retinaface(None), (None, None)),
    ("rfb", RFB, (240, 320)),
    ("yolox", one(1, 8400, 85), (640, 640)),
    ("yolox", one(1, 3549, 85), (416, 416)),
    ("yolox", one(1, 5040, 6), (384, 640)),
    ("nanodet", one(1, 3598, 112), (416, 416)),
    ("nanodet", one(1, 2125, 33), (320, 320)),
    ("nanodet", nanodet_zoo(), (416, 416)),
    ("nanodet", nanodet_zoo(batch=False), (416, 416)),
    ("yolov5", one(1, 25200, 85, name="output0"), (640, 640)),
    ("yolov5", one(1, 25200, 85), (640, 640)),
    ("yolov5", one(1, 25200, 6), (640, 640)),
    ("yolov5", one(1, 15120, 117, name="output0"), (384, 640)),
    ("yolov5", one(1, 102000, 85, name="output0"), (1280, 1280)),
    ("yolov5", one(None, None, 85, name="output0"), (None, None)),
    ("yolov8", one(1, 84, 8400, name="output0"), (640, 640)),
    ("yolov8", one(1, 5, 8400, name="output0"), (640, 640)),
    ("yolov8", one(1, 6, 5040), (384, 640)),
    ("yolov8", one(1, 304, 34000, name="output0"), (1280, 1280)),
    ("yolov8", one(None, 84, None, name="output0"), (None, None)),
    ("yolov8", one(None, 67, None), (None, None)),
    ("yolo-nms", one(1, 300, 6, name="output0"), (640, 640)),
    ("yolo-nms", one(None, 300, 6), (None, None)),
    ("yolo-nms", one(1, 100, 6), (320, 320)),
    ("rtdetr", (("logits", (1, 300, 80)), ("pred_boxes", (1, 300, 4))), (640, 640)),
    ("rtdetr", (("pred_boxes", (None, 300, 4)), ("pred_logits", (None, 300, 2))), (640, 640)),
    ("rtdetr", (("logits", (None, None, None)), ("pred_boxes", (None, None, 4))), (None, None)),
    ("rtdetr", one(1, 300, 84, name="output0"), (640, 640)),
    ("rtdetr-scaled", (("labels", (None, 300)), ("boxes", (None, 300, 4)), ("scores", (None, 300))), (640, 640)),
    (
        "rtdetr-scaled",
        (("labels", (None, None)), ("boxes", (None, None, None)), ("scores", (None, None))),
        (None, None),
    ),
]
"""Head, outputs and size of the input of exports as people have them."""


def assert_same(found: Candidates, expected: Found, keypoints: int = 0) -> None:
    """Equal as sets: candidates are in no particular order."""
    assert len(found.scores) == len(expected)
    assert found.keypoints.shape == (len(expected), keypoints, 2)
    mine = np.concatenate(
        (
            found.scores[:, None],
            found.classes[:, None],
            found.boxes,
            found.keypoints.reshape(len(expected), 2 * keypoints),
        ),
        axis=1,
    )
    theirs = np.array([[score, kind, *box, *np.ravel(points)] for score, kind, box, points in expected], float)
    np.testing.assert_allclose(mine, paired(theirs.reshape(mine.shape), mine), rtol=1e-4, atol=2e-3)
    assert (found.boxes.dtype, found.scores.dtype, found.classes.dtype) == (np.float32, np.float32, np.int32)
    assert found.keypoints.dtype == np.float32


def paired(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Put rows next to those that they are closest to, each to one of them.

    Sorting both would not do: of two numbers that differ in the last digit alone, one may be rounded up and one down.
    """
    if not len(rows):
        return rows
    _, nearest = KDTree(rows).query(others, p=np.inf)
    assert len(set(nearest)) == len(rows), "two are closest to the same one"
    return rows[nearest]


def around(x: float, y: float, w: float, h: float) -> list[float]:
    """The box of a centre and a size."""
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def best(scores: np.ndarray) -> tuple[float, int]:
    """The largest score, and the first class that has it."""
    kind = max(range(len(scores)), key=lambda n: float(scores[n]))
    return float(scores[kind]), kind
