"""int8: the frames it is calibrated and measured on, the cost, and what cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from streamtrack import quantizing
from streamtrack.errors import ConfigError, SourceError
from streamtrack.models.parity import iou
from streamtrack.quantizing import OVERLAP, Wanted, as_json, match, measure, quantize
from streamtrack.testing.clips import write_clip
from streamtrack.testing.models import square_frames, write_square_detector
from streamtrack.types import Detections


def found(*boxes: tuple[float, float, float, float, float], classes: list[int] | None = None) -> Detections:
    """Detections of (x0, y0, x1, y1, score)."""
    table = np.array(boxes, np.float32).reshape(-1, 5)
    kinds = np.zeros(len(table), np.int32) if classes is None else np.array(classes, np.int32)
    return Detections(table[:, :4], table[:, 4], kinds, np.zeros((len(table), 0, 2), np.float32))


def write_deep_detector(path: Path) -> Path:
    """The detector of white squares behind two convolutions that change nothing."""
    model = onnx.load(str(write_square_detector(path)))
    weights = numpy_helper.from_array(np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1), "same")
    model.graph.initializer.append(weights)
    model.graph.node[0].input[0] = "again"
    for node in (
        helper.make_node("Conv", ["once", "same"], ["again"], name="second"),
        helper.make_node("Conv", ["image", "same"], ["once"], name="first"),
    ):
        model.graph.node.insert(0, node)
    onnx.save(model, str(path))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_deep_detector(tmp_path_factory.mktemp("model") / "squares.onnx")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "squares.mp4"
    # A height that is no multiple of 32: the model's input has padding below.
    return write_clip(path, square_frames(24, [(20.0, 24.0, 3.0, 1.0), (450.0, 180.0, -2.0, 0.0)], height=360))


def test_a_model_is_quantized_and_its_cost_measured_on_other_frames(model: Path, clip: Path, tmp_path: Path) -> None:
    out, told = tmp_path / "int8.onnx", []
    wanted = Wanted(str(model), str(clip), out, "centerface", frames=4)
    made = quantize(wanted, say=lambda text: None, progress=lambda *step: told.append(step))
    assert (made.original, made.path, made.head) == (model, out, "centerface")
    assert (made.calibrated_on, made.seen) == (4, 8)
    assert (made.cost.frames, made.cost.boxes, made.cost.precision, made.cost.recall) == (4, 8, 1.0, 1.0)
    assert made.cost.mean_iou > 0.8
    assert made.cost.mean_drift <= made.cost.worst_drift < 0.1
    assert made.cost.speed == made.cost.ms / made.cost.int8_ms > 0
    assert told == [(step, n, 4) for step in ("calibrating", "measuring") for n in range(1, 5)]
    assert [path.name for path in tmp_path.iterdir()] == ["int8.onnx"]
    read = msgspec.json.decode(as_json(made))
    assert (read["path"], read["cost"]["recall"], read["cost"]["boxes"]) == (str(out), 1.0, 8)


def test_calibration_and_measurement_share_no_frame(clip: Path) -> None:
    frames = quantizing._Frames(str(clip), 4)
    one, other = ([frame.index for frame in each] for each in (frames.calibration(), frames.held_out()))
    assert (one, other) == ([0, 6, 12, 18], [3, 9, 15, 21])


def test_a_model_is_calibrated_on_what_the_detector_gives_it(
    model: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []

    class Backend(quantizing.registry.load("backends", "onnx")):
        def quantize(self, model: Path, out: Path, spec: object, batches: Iterator[np.ndarray], say: object) -> None:
            seen.extend(batch.copy() for batch in batches)
            super().quantize(model, out, spec, iter(seen), say)

    real = quantizing.registry.load
    monkeypatch.setattr(quantizing.registry, "load", lambda kind, name: Backend if name == "onnx" else real(kind, name))
    quantize(Wanted(str(model), str(clip), tmp_path / "int8.onnx", "centerface", 2), say=lambda text: None)
    assert [batch.shape for batch in seen] == [(1, 3, 384, 640)] * 2
    assert seen[0].max() > 200
    assert seen[0][..., :360, :].min() > 0
    assert not seen[0][..., 360:, :].any()


@pytest.mark.parametrize(
    ("out", "complaint"),
    [("there.onnx", "there.onnx exists already"), ("no/where.onnx", "no folder .*no for where.onnx")],
)
def test_nothing_is_overwritten_and_no_folder_made(
    model: Path, clip: Path, tmp_path: Path, out: str, complaint: str
) -> None:
    (tmp_path / "there.onnx").write_bytes(b"mine")
    with pytest.raises(ConfigError, match=complaint):
        quantize(Wanted(str(model), str(clip), tmp_path / out, "centerface"), say=lambda text: None)
    assert (tmp_path / "there.onnx").read_bytes() == b"mine"


def test_a_video_that_is_not_there_is_a_source_error(model: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        quantize(Wanted(str(model), str(tmp_path / "no.mp4"), tmp_path / "out.onnx"), say=lambda text: None)
    assert list(tmp_path.iterdir()) == []


class Finder:
    """Stands in for a detector: finds what it is told, in so many seconds."""

    def __init__(self, taken: float, *found: Detections) -> None:
        self.stats = self
        self.inference_s = 0.0
        self._taken, self._found = taken, list(found)

    def detect(self, frames: list[object]) -> list[Detections]:
        self.inference_s += self._taken
        return [self._found.pop(0)]


def test_the_cost() -> None:
    right = Finder(0.008, found((0, 0, 10, 10, 0.9), (50, 50, 60, 60, 0.8)), found((0, 0, 10, 10, 0.7)), found())
    ours = Finder(0.004, found((0, 0, 10, 8, 0.8)), found((0, 0, 10, 10, 0.65)), found((9, 9, 20, 20, 0.6)))
    cost = measure(right, ours, range(3))
    assert (cost.frames, cost.boxes, cost.found, cost.shared) == (3, 3, 3, 2)
    assert cost.precision == cost.recall == pytest.approx(2 / 3)
    assert cost.mean_iou == pytest.approx(0.9)
    assert (cost.mean_drift, cost.worst_drift) == (pytest.approx(0.075), pytest.approx(0.1))
    assert (cost.ms, cost.int8_ms, cost.speed) == (pytest.approx(8), pytest.approx(4), pytest.approx(2))


def test_the_cost_of_nothing() -> None:
    cost = measure(Finder(0.1, found()), Finder(0.1, found()), range(1))
    assert (cost.precision, cost.recall, cost.mean_iou, cost.worst_drift) == (1.0, 1.0, 1.0, 0.0)


def test_boxes_of_different_kinds_are_never_the_same() -> None:
    one, other = found((0, 0, 9, 9, 0.9), classes=[0]), found((0, 0, 9, 9, 0.9), classes=[1])
    assert match(one, other) == []
    assert match(one, one) == [(0, 0, 1.0)]


BOXES = st.lists(
    st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 8)] * 2, st.floats(0.5, 1.0)).map(
        lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3], b[4])
    ),
    max_size=6,
)


@given(BOXES, BOXES)
def test_each_box_is_matched_once_the_closest_first(right: list[tuple], ours: list[tuple]) -> None:
    one, other = found(*right), found(*ours)
    pairs = match(one, other)
    assert len({row for row, _, _ in pairs}) == len({column for _, column, _ in pairs}) == len(pairs)
    overlaps = iou(one.boxes, other.boxes)
    assert all(overlap == overlaps[row, column] >= OVERLAP for row, column, overlap in pairs)
    assert [overlap for *_, overlap in pairs] == sorted((overlap for *_, overlap in pairs), reverse=True)
    # Nothing that is left could still be paired.
    rows, columns = {row for row, _, _ in pairs}, {column for _, column, _ in pairs}
    assert all(
        overlaps[row, column] < OVERLAP
        for row in set(range(len(one))) - rows
        for column in set(range(len(other))) - columns
    )
