"""Detector: from frames to detections in source pixels, with a session that can see and with real models."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from streamtrack.api import BackendOptions, Tensors
from streamtrack.errors import InferenceError, ModelLoadError
from streamtrack.models.detector import Detector, load_detector, select
from streamtrack.models.heads import YuNet, conventions
from streamtrack.models.spec import ModelSpec
from streamtrack.params import DetectorParams
from streamtrack.testing.results import ArrayPicture
from streamtrack.types import BoxCounts, Detections, Frame

YUNET = YuNet.conventions
CHANNELS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}


class SeeingSession:
    """Looks at its input as a YuNet would: one face where it is brighter than half, keypoints at corners and centre."""

    device = "cpu"

    def __init__(self, shape: tuple[int | None, ...] = (None, 3, None, None), max_batch: int = 4) -> None:
        self.input_shape, self.max_batch = shape, max_batch
        self.outputs: tuple[tuple[str, tuple[int | None, ...]], ...] = tuple(
            (f"{kind}_{stride}", (None, None, channels))
            for kind, channels in CHANNELS.items()
            for stride in (8, 16, 32)
        )
        self.batches: list[tuple[int, ...]] = []
        self.closed = 0
        self.poison: float | None = None
        self.scores = (0.81, 0.64)

    def run(self, batch: np.ndarray) -> Tensors:
        self.batches.append(batch.shape)
        height, width = batch.shape[2:]
        tensors = {
            name: np.zeros(
                (len(batch), (height // int(name[-2:].strip("_"))) * (width // int(name[-2:].strip("_"))), n)
            )
            for name, (_, _, n) in self.outputs
        }
        for row, picture in enumerate(batch):
            ys, xs = np.nonzero(picture.mean(axis=0) > 128)
            if len(ys):
                self._write(tensors, row, (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1), width)
        if self.poison is not None:
            for values in tensors.values():
                values[:, :3] = self.poison
        return {name: values.astype(np.float32) for name, values in tensors.items()}

    def _write(self, tensors: Tensors, row: int, box: tuple[int, int, int, int], width: int) -> None:
        """Twice, in neighbouring cells: the second is for suppression to find."""
        x0, y0, x1, y1 = box
        cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
        points = [(x0, y0), (x1, y0), (cx, cy), (x0, y1), (x1, y1)]
        for shift, score in enumerate(self.scores):
            column, line = max(int(cx // 8) - shift, 0), int(cy // 8)
            cell = line * (width // 8) + column
            tensors["cls_8"][row, cell] = tensors["obj_8"][row, cell] = score
            size = np.log([(x1 - x0) / 8, (y1 - y0) / 8])
            tensors["bbox_8"][row, cell] = [cx / 8 - column, cy / 8 - line, *size]
            tensors["kps_8"][row, cell] = [v for x, y in points for v in (x / 8 - column, y / 8 - line)]

    def close(self) -> None:
        self.closed += 1


def frame_with(box: tuple[int, int, int, int] | None, width: int = 320, height: int = 240, index: int = 0) -> Frame:
    """A dark frame with a bright box."""
    pixels = np.zeros((height, width, 3), np.uint8)
    if box:
        pixels[box[1] : box[3], box[0] : box[2]] = 255
    return Frame(index, index, width, height, ArrayPicture(pixels))


def detector(session: SeeingSession | None = None, spec: ModelSpec = YUNET, **params: float) -> Detector:
    return Detector(spec, session or SeeingSession(), DetectorParams(**params))


@pytest.mark.parametrize(
    ("width", "height", "box"),
    [
        (320, 240, (50, 60, 130, 160)),
        (640, 480, (400, 100, 500, 240)),
        (1920, 1080, (900, 400, 1300, 900)),
        (1080, 1920, (10, 1500, 400, 1900)),
        (333, 777, (100, 300, 220, 420)),
    ],
)
@pytest.mark.parametrize("shape", [(None, 3, None, None), (1, 3, 640, 640), (None, 3, 384, 640)])
def test_boxes_and_keypoints_are_in_source_pixels(
    width: int, height: int, box: tuple[int, int, int, int], shape: tuple[int | None, ...]
) -> None:
    session = SeeingSession(shape, max_batch=1)
    (found,) = detector(session).detect([frame_with(box, width, height)])
    # The session sees whole pixels of its input.
    coarse = max(width / session.batches[0][3], height / session.batches[0][2], 1)
    np.testing.assert_allclose(found.boxes, [box], atol=0.51 * coarse)
    x0, y0, x1, y1 = box
    corners = [(x0, y0), (x1, y0), ((x0 + x1) / 2, (y0 + y1) / 2), (x0, y1), (x1, y1)]
    np.testing.assert_allclose(found.keypoints, [corners], atol=0.51 * coarse)
    np.testing.assert_allclose(found.scores, [0.81], rtol=1e-6)
    assert found.classes.tolist() == [0]


def test_a_batch_gives_what_its_frames_give_alone() -> None:
    frames = [frame_with((20 * n, 30, 20 * n + 60, 110), index=n) for n in range(1, 8)]
    frames[3] = frame_with(None, index=3)
    frames[5] = frame_with((100, 100, 300, 500), 600, 800, index=5)
    session = SeeingSession(max_batch=3)
    several = detector(session)
    together = several.detect(frames)
    assert [shape[0] for shape in session.batches] == [3, 3, 1], "frames of one input size share batches of three"
    assert len({shape[2:] for shape in session.batches}) == 2
    for frame, found in zip(frames, together, strict=True):
        single = detector()
        (alone,) = single.detect([frame])
        assert_equal(found, alone)
        assert np.array_equal(several.thumbnails[frames.index(frame)], single.thumbnails[0])
    assert [len(found) for found in together] == [1, 1, 1, 0, 1, 1, 1]


def assert_equal(a: Detections, b: Detections) -> None:
    for name in ("boxes", "scores", "classes", "keypoints"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_no_frames_no_inference() -> None:
    session = SeeingSession()
    assert detector(session).detect([]) == []
    assert session.batches == []


def test_the_suppressed_one_returns_when_all_overlap_is_allowed() -> None:
    frame = frame_with((50, 60, 130, 160))
    assert len(detector().detect([frame])[0]) == 1
    (both,) = detector(nms_iou=1.0).detect([frame])
    np.testing.assert_allclose(both.scores, [0.81, 0.64], rtol=1e-6)
    assert len(detector(nms_iou=1.0, max_detections=1).detect([frame])[0]) == 1


def test_confidence_and_min_size() -> None:
    frame = frame_with((50, 60, 130, 160))
    assert len(detector(confidence_th=0.9).detect([frame])[0]) == 0
    assert len(detector(min_size=78).detect([frame])[0]) == 1
    (none,) = detector(min_size=82).detect([frame])
    assert len(none) == 0
    assert none.keypoints.shape == (0, 5, 2)


def test_every_box_over_the_threshold_is_counted_once() -> None:
    frame = frame_with((50, 60, 130, 160))
    for params, kept, small, beyond in (({}, 1, 0, 0), ({"min_size": 82}, 0, 1, 0), ({"nms_iou": 1.0}, 2, 0, 0)):
        counting = detector(**params)
        counting.detect([frame, frame])
        assert counting.box_counts == [BoxCounts(2, 2 - kept - small, small, beyond, kept)] * 2
    counting = detector(nms_iou=1.0, max_detections=1)
    counting.detect([frame])
    assert counting.box_counts == [BoxCounts(candidates=2, beyond_max=1, kept=1)]
    nothing = detector(confidence_th=0.9)
    nothing.detect([frame])
    assert nothing.box_counts == [BoxCounts()]


def test_a_look_leaves_the_thumbnails_of_a_detection_and_asks_no_model() -> None:
    session = SeeingSession()
    looking = detector(session)
    frames = [frame_with((50, 60, 130, 160)), frame_with((5, 6, 30, 40), 640, 480)]
    looking.detect(frames)
    seen, calls = looking.thumbnails, len(session.batches)
    looking.look(frames)
    assert len(session.batches) == calls
    for was, now in zip(seen, looking.thumbnails, strict=True):
        np.testing.assert_array_equal(was, now)


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 60),
    soft=st.booleans(),
    min_size=st.integers(0, 30),
    limit=st.integers(1, 20),
)
def test_the_counts_sum_to_the_candidates(seed: int, count: int, soft: bool, min_size: int, limit: int) -> None:
    random = np.random.default_rng(seed)
    corners = random.integers(0, 60, (count, 2))
    # Some have no area.
    boxes = np.concatenate((corners, corners + random.integers(0, 40, (count, 2))), axis=1).astype(np.float32)
    scores = random.random(count, np.float32)
    params = DetectorParams(nms="soft" if soft else "hard", min_size=min_size, max_detections=limit)
    rows, _, counts = select(boxes, scores, random.integers(0, 2, count, np.int32), params)
    sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf)
    assert counts.candidates == (sides > 0).sum()
    assert counts.candidates == counts.suppressed + counts.too_small + counts.beyond_max + counts.kept
    assert counts.kept == len(rows) <= limit
    assert min(msgspec.to_builtins(counts).values()) >= 0
    assert (counts.too_small > 0) == ((sides > 0) & (sides < min_size)).any()


def test_where_the_light_shall_decide_the_detector_gives_what_may_count_in_any() -> None:
    frame = frame_with((50, 60, 130, 160))
    assert len(detector(confidence_th=0.9).detect([frame])[0]) == 0
    (found,) = detector(confidence_th=0.9, adaptive=True, adaptive_min=0.8).detect([frame])
    np.testing.assert_allclose(found.scores, [0.81], rtol=1e-6)


def test_boxes_are_clamped_to_the_frame_and_keypoints_are_not() -> None:
    session = SeeingSession()
    write = session._write
    session._write = lambda tensors, row, box, width: write(tensors, row, (box[0] - 200, box[1] - 90, *box[2:]), width)
    (found,) = detector(session).detect([frame_with((50, 60, 130, 160), 640, 480)])
    np.testing.assert_allclose(found.boxes, [[0, 0, 130, 160]], atol=0.6)
    np.testing.assert_allclose(found.keypoints[0, 0], [-150, -30], atol=0.6)


def test_a_box_outside_the_frame_is_dropped() -> None:
    session = SeeingSession()
    write = session._write
    session._write = lambda tensors, row, box, width: write(tensors, row, (-90, 20, -10, 90), width)
    assert len(detector(session).detect([frame_with((50, 60, 130, 160))])[0]) == 0


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, -1.0, 1e4])
def test_nonsense_from_the_model_is_dropped_without_a_warning(poison: float) -> None:
    session = SeeingSession()
    session.poison = poison
    (found,) = detector(session).detect([frame_with((50, 60, 130, 160))])
    assert np.isfinite(found.boxes).all()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert np.isclose(found.scores, 0.81).any(), "the good one stays"


def test_stats_count_what_was_done() -> None:
    watched = detector(SeeingSession(max_batch=2))
    watched.detect([frame_with((50, 60, 130, 160), index=n) for n in range(5)])
    stats = watched.stats
    assert (stats.frames, stats.batches) == (5, 3)
    assert min(stats.preprocess_s, stats.inference_s, stats.postprocess_s) > 0


def test_the_input_size_is_the_models_or_follows_the_picture() -> None:
    assert detector(SeeingSession((1, 3, 320, 480))).input_size(1920, 1080) == (320, 480)
    assert detector().input_size(1920, 1080) == (384, 640)


def test_a_model_that_does_not_fit_its_head_says_what_was_expected_and_found() -> None:
    session = SeeingSession()
    with pytest.raises(ModelLoadError) as caught:
        detector(session, conventions("centerface", "mine"))
    text = str(caught.value)
    assert "mine does not fit head 'centerface', which expects a heatmap" in text
    assert "found cls_8 (?, ?, 1)" in text
    assert "looks like a yunet model: use --head yunet" in text
    session.outputs = (("boxes", (1, 100, 4)),)
    with pytest.raises(ModelLoadError, match=r"found boxes \(1, 100, 4\); known to --head are yunet, centerface"):
        detector(session)


@pytest.mark.parametrize(
    ("shape", "complaint"),
    [((1, 3, 640, 630), "630x640; head 'yunet' needs multiples of 32"), ((1, 3, None, 640), "fixes only one")],
)
def test_an_input_that_no_picture_fits_is_a_load_error(shape: tuple[int | None, ...], complaint: str) -> None:
    with pytest.raises(ModelLoadError, match=complaint):
        detector(SeeingSession(shape))


def test_close_closes_the_session() -> None:
    session = SeeingSession()
    detector(session).close()
    assert session.closed == 1


class StubBackend:
    """Gives the sessions it was made with, one after the other."""

    name = "stub"

    def __init__(self, *sessions: SeeingSession) -> None:
        self.sessions = list(sessions)
        self.specs: list[ModelSpec] = []

    def load(self, model: Path, spec: ModelSpec, options: BackendOptions) -> SeeingSession:
        self.specs.append(spec)
        return self.sessions[len(self.specs) - 1]


def centerface_session(shape: tuple[int | None, ...]) -> SeeingSession:
    session = SeeingSession(shape)
    session.outputs = tuple((name, (None, n, None, None)) for name, n in (("a", 1), ("b", 2), ("c", 2), ("d", 10)))
    return session


def load(backend: StubBackend, spec: ModelSpec) -> Detector:
    return load_detector(Path("m.onnx"), spec, backend, BackendOptions(), DetectorParams())


def test_outputs_tell_the_head() -> None:
    backend = StubBackend(SeeingSession())
    found = load(backend, ModelSpec(name="mine", head="auto"))
    assert (found.spec.name, found.spec.head, found.spec.channels, found.spec.keypoints) == ("mine", "yunet", "bgr", 5)
    assert len(backend.specs) == 1


@pytest.mark.parametrize("head", ["auto", "yunet"])
def test_what_a_package_says_of_itself_is_used_where_nobody_says_so(head: str) -> None:
    session = SeeingSession()
    told = ModelSpec(name="then", head="yunet", channels="rgb", mean=127.0, keypoints=5, classes=("mask",))
    session.conventions = told  # type: ignore[attr-defined]
    found = load(StubBackend(session), ModelSpec(name="mine", head=head, input_size=(64, 96), keypoints=5))
    assert (found.spec.name, found.spec.input_size) == ("mine", (64, 96))
    assert (found.spec.mean, found.spec.classes) == ((127.0, ("mask",)) if head == "auto" else (0.0, ("face",)))


def test_a_model_that_turns_out_to_take_any_size_is_loaded_so() -> None:
    first, second = centerface_session((10, 3, 32, 32)), centerface_session((1, 3, None, None))
    backend = StubBackend(first, second)
    found = load(backend, ModelSpec(name="mine", head="auto"))
    assert [spec.dynamic_size for spec in backend.specs] == [False, True]
    assert (first.closed, second.closed) == (1, 0)
    assert found.input_size(640, 480) == (480, 640)


def test_outputs_that_tell_nothing_close_the_session() -> None:
    session = SeeingSession()
    session.outputs = (("y", (1, 10)),)
    with pytest.raises(
        ModelLoadError, match=r"outputs of mine fit no known head: found y \(1, 10\); known to --head .*--embedder\.$"
    ):
        load(StubBackend(session), ModelSpec(name="mine", head="auto"))
    assert session.closed == 1


def yolo_session(*shape: int) -> SeeingSession:
    session = SeeingSession((1, 3, 640, 640))
    session.outputs = (("output0", (1, *shape)),)
    session.run = lambda batch: {"output0": np.zeros((len(batch), *shape), np.float32)}
    return session


def write_named(path: Path, names: str) -> Path:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    model = helper.make_model(helper.make_graph([], "g", [value], [value]))
    helper.set_model_props(model, {"names": names})
    onnx.save(model, str(path))
    return path


def load_named(session: SeeingSession, path: Path, classes: tuple[str, ...] = ()) -> Detector:
    spec = ModelSpec(name="mine", head="auto")
    return load_detector(path, spec, StubBackend(session), BackendOptions(), DetectorParams(), classes)


def test_classes_are_named_by_the_model_or_by_hand(tmp_path: Path) -> None:
    path = write_named(tmp_path / "m.onnx", "{0: 'cat', 1: 'dog'}")
    assert load_named(yolo_session(6, 8400), path).spec.classes == ("cat", "dog")
    assert load_named(yolo_session(300, 6), path).spec.classes == ("cat", "dog")
    assert load_named(yolo_session(6, 8400), path, ("a", "b")).spec.classes == ("a", "b")
    unnamed = write_named(tmp_path / "u.onnx", "")
    found = load_named(yolo_session(84, 8400), unnamed)
    assert (len(found.spec.classes), found.spec.classes[0], found.class_count) == (80, "person", 80)
    assert load_named(yolo_session(6, 8400), unnamed).spec.classes == ("class 0", "class 1")


def test_a_model_that_does_more_than_boxes_is_refused_and_closed(tmp_path: Path) -> None:
    """Keypoints behind the classes would be read as 51 more of them."""
    session = yolo_session(56, 8400)
    with pytest.raises(ModelLoadError, match="names 1 classes where its outputs seem to have 52"):
        load_named(session, write_named(tmp_path / "pose.onnx", "{0: 'person'}"))
    assert session.closed == 1
    with pytest.raises(ModelLoadError, match="names 1 classes where its outputs seem to have 52"):
        load_named(free_session(56, 8400), tmp_path / "pose.onnx")


def free_session(*shape: int) -> SeeingSession:
    """Leaves open what its output is; a run gives ``shape``."""
    session = SeeingSession((1, 3, None, None))
    session.outputs = (("output", (None, None, None)),)
    session.run = lambda batch: {"output": np.zeros((len(batch), *shape), np.float32)}
    return session


def test_outputs_that_fit_several_heads_are_tried(tmp_path: Path) -> None:
    path = write_named(tmp_path / "m.onnx", "")
    for shape, head in (((84, 8400), "yolov8"), ((25200, 85), "yolov5"), ((8400, 85), "yolox")):
        found = load_named(free_session(*shape), path)
        assert (found.spec.head, found.class_count, len(found.spec.classes)) == (head, 80, 80)


def test_outputs_that_tell_nothing_even_then_close_the_session() -> None:
    session = free_session(8400, 5)
    with pytest.raises(ModelLoadError, match=r"fit no known head: found output \(1, 8400, 5\)"):
        load(StubBackend(session), ModelSpec(name="mine", head="auto"))
    assert session.closed == 1


def test_metadata_tells_apart_what_looks_alike(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    model = helper.make_model(helper.make_graph([], "g", [value], [value]))
    helper.set_model_props(model, {"head": "RTDETRDecoder", "names": "['cat']"})
    onnx.save(model, str(tmp_path / "m.onnx"))
    spec = load_named(yolo_session(300, 6), tmp_path / "m.onnx").spec
    assert (spec.head, spec.classes) == ("rtdetr-chosen", ("cat",))


def test_many_outputs_are_not_all_listed() -> None:
    session = SeeingSession()
    session.outputs = tuple((f"o{n}", (1, n)) for n in range(40))
    with pytest.raises(ModelLoadError, match=r"o11 \(1, 11\) and 28 more; "):
        detector(session)


def test_tensors_that_do_not_belong_to_the_input_are_an_inference_error() -> None:
    session = SeeingSession()
    honest = session.run
    session.run = lambda batch: honest(batch[:, :, :32])
    with pytest.raises(InferenceError, match="cells where an input of 640x480"):
        detector(session).detect([frame_with(None)])


def test_a_detector_lives_on_its_own_thread() -> None:
    found: list[Detections] = []

    def life() -> None:
        mine = load(StubBackend(SeeingSession()), YUNET)
        found.extend(mine.detect([frame_with((50, 60, 130, 160))]))
        mine.close()

    thread = threading.Thread(target=life)
    thread.start()
    thread.join()
    assert len(found[0]) == 1


def test_a_smaller_longest_side_is_taken() -> None:
    spec = msgspec.structs.replace(YUNET, input_size=(320, 320))
    session = SeeingSession()
    detector(session, spec).detect([frame_with((50, 60, 130, 160), 1280, 720)])
    assert session.batches == [(1, 3, 192, 320)]
