"""Embedder: from boxes and keypoints to unit vectors, with sessions that can be predicted and with real ONNX files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper

from streamtrack.api import BackendOptions, SourceOptions, Tensors
from streamtrack.errors import ConfigError, InferenceError, ModelLoadError
from streamtrack.models.alignment import FACE_POINTS, Similarity, face_template, fit
from streamtrack.models.detector import load_detector
from streamtrack.models.embedder import EMBEDDINGS, Embedder, Item, conventions, default_batch, load_embedder, unit
from streamtrack.models.heads import conventions as detector_conventions
from streamtrack.models.spec import ModelSpec
from streamtrack.params import DetectorParams
from streamtrack.sources.pyav import PyAVSource
from streamtrack.testing.results import ArrayPicture
from streamtrack.types import Frame
from streamtrack_onnx import OnnxBackend

FACE = EMBEDDINGS["sface"]
SMALL = msgspec.structs.replace(FACE, input_size=(28, 28))
CPU = BackendOptions(device="cpu", threads=1)
Shape = tuple[int | None, ...]


def frame_of(pixels: np.ndarray, index: int = 0) -> Frame:
    return Frame(index, index, pixels.shape[1], pixels.shape[0], ArrayPicture(pixels))


def box(*sides: float) -> np.ndarray:
    return np.array(sides, np.float32)


class MeanSession:
    """Its vector is the mean of each channel and of the left half of each."""

    def __init__(
        self,
        shape: Shape = (None, 3, 28, 28),
        outputs: Sequence[tuple[str, Shape]] = (("vector", (None, 6)),),
        *,
        max_batch: int = 4,
        device: str = "cuda",
    ) -> None:
        self.input_shape, self.outputs = shape, tuple(outputs)
        self.max_batch, self.device = max_batch, device
        self.batches: list[tuple[int, ...]] = []
        self.closed = 0
        self.answer: np.ndarray | None = None

    def run(self, batch: np.ndarray) -> Tensors:
        assert len(batch) <= self.max_batch
        self.batches.append(batch.shape)
        means = batch.mean(axis=(2, 3)), batch[..., : batch.shape[3] // 2].mean(axis=(2, 3))
        vectors = np.concatenate(means, axis=1) if self.answer is None else self.answer[: len(batch)]
        return {name: vectors for name, _ in self.outputs}

    def close(self) -> None:
        self.closed += 1


class StubBackend:
    name = "stub"

    def __init__(self, session: MeanSession) -> None:
        self.session = session
        self.options: BackendOptions | None = None

    def load(self, model: Path, spec: ModelSpec, options: BackendOptions) -> MeanSession:
        self.options = options
        return self.session


def load(session: MeanSession, spec: ModelSpec = SMALL, batch: int | None = None, device: str = "auto") -> Embedder:
    return load_embedder(Path("m.onnx"), spec, StubBackend(session), BackendOptions(device=device), batch)


def write_model(path: Path, kind: str, batch: int | str = "batch", side: int | str = 16) -> Path:
    """A model that can be computed by hand: the means of quadrants, of all, or something that is no vector."""
    half = side // 2 if isinstance(side, int) else 1
    node = helper.make_node
    pool = node("AveragePool", ["image"], ["quarters"], kernel_shape=[half, half], strides=[half, half])
    flat = node("Flatten", ["quarters"], ["vector"])
    outputs: dict[str, list[int | str]] = {"vector": [batch, 12]}
    nodes = {
        "quadrants": [pool, flat],
        "global": [node("GlobalAveragePool", ["image"], ["vector"])],
        "map": [node("Relu", ["image"], ["vector"])],
        "two": [pool, flat, node("Neg", ["vector"], ["other"])],
        "vector and map": [pool, flat, node("Relu", ["image"], ["features"])],
        "roots": [pool, node("Flatten", ["quarters"], ["flat"]), node("Log", ["flat"], ["vector"])],
    }[kind]
    if kind == "global":
        outputs = {"vector": [batch, 3, 1, 1]}
    elif kind == "map":
        outputs = {"vector": [batch, 3, side, side]}
    elif kind == "two":
        outputs["other"] = [batch, 12]
    elif kind == "vector and map":
        outputs["features"] = [batch, 3, side, side]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        kind,
        [info("image", TensorProto.FLOAT, [batch, 3, side, side])],
        [info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def quarters() -> np.ndarray:
    """Four colours around (40, 30), grey around them."""
    pixels = np.full((80, 100, 3), 90, np.uint8)
    for row, column, colour in ((0, 0, (250, 0, 0)), (0, 1, (0, 200, 0)), (1, 0, (0, 0, 150)), (1, 1, (99, 9, 199))):
        pixels[10 + 20 * row : 30 + 20 * row, 20 + 20 * column : 40 + 20 * column] = colour
    return pixels


@pytest.mark.parametrize("batch", ["batch", 1, 3])
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_a_crop_becomes_the_vector_its_pixels_say(tmp_path: Path, batch: int | str, channels: str) -> None:
    spec = msgspec.structs.replace(FACE, channels=channels, mean=(10.0, 20.0, 30.0), scale=(1.0, 0.5, 2.0))
    model = write_model(tmp_path / "m.onnx", "quadrants", batch)
    embedder = load_embedder(model, spec, OnnxBackend(), CPU)
    assert (embedder.dimension, embedder.input_hw, embedder.device) == (12, (16, 16), "cpu")
    found = embedder.embed([(frame_of(quarters()), box(20, 10, 60, 50), None)] * 4)
    assert (found.shape, found.dtype) == ((4, 12), np.float32)
    # The crop is 2 % larger on each side, so a little of the grey around is in each quarter.
    colours = np.array([[250, 0, 0], [0, 200, 0], [0, 0, 150], [99, 9, 199]], float).T
    share = (1 / 1.04) ** 2
    colours = colours * share + 90 * (1 - share)
    planes = colours[::-1] if channels == "bgr" else colours
    expected = ((planes - np.array([[10], [20], [30]])) * np.array([[1], [0.5], [2]])).ravel()
    np.testing.assert_allclose(found, [expected / np.linalg.norm(expected)] * 4, atol=0.02)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    embedder.close()


def test_a_model_of_any_size_gets_that_of_its_specification(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx", "global", side="side")
    embedder = load_embedder(model, SMALL, OnnxBackend(), CPU)
    assert (embedder.input_hw, embedder.dimension) == ((28, 28), 3)
    (found,) = embedder.embed([(frame_of(quarters()), box(21, 11, 29, 19), None)])
    np.testing.assert_allclose(found, [1, 0, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("map", r"m has no output that is a vector .* found vector \(1, 3, 16, 16\)"),
        ("two", r"m has 2 outputs that may be a vector .* found vector \(\?, 12\), other \(\?, 12\)"),
    ],
)
def test_a_model_that_gives_no_vector_is_refused(tmp_path: Path, kind: str, message: str) -> None:
    path = write_model(tmp_path / "m.onnx", kind, side=16 if kind == "two" else "side")
    spec = msgspec.structs.replace(FACE, name="m", input_size=(16, 16))
    with pytest.raises(ModelLoadError, match=message):
        load_embedder(path, spec, OnnxBackend(), CPU)


def test_a_file_that_does_not_load_is_said_to_be_no_embedder(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelLoadError, match=r"sface cannot be loaded as an embedder: Model .*m\.onnx"):
        load_embedder(tmp_path / "m.onnx", FACE, OnnxBackend(), CPU)


def test_feature_maps_beside_the_vector_do_no_harm(tmp_path: Path) -> None:
    embedder = load_embedder(write_model(tmp_path / "m.onnx", "vector and map"), FACE, OnnxBackend(), CPU)
    assert embedder.dimension == 12


def test_what_is_not_finite_is_a_row_of_zeros(tmp_path: Path) -> None:
    """The logarithm of black is infinite."""
    embedder = load_embedder(write_model(tmp_path / "m.onnx", "roots"), FACE, OnnxBackend(), CPU)
    dark = frame_of(np.zeros((60, 60, 3), np.uint8))
    place = box(20, 10, 60, 50)
    found = embedder.embed([(dark, box(5, 5, 40, 40), None), (frame_of(quarters() // 2 + 100), place, None)])
    assert not found[0].any()
    assert np.linalg.norm(found[1]) == pytest.approx(1)
    assert embedder.stats.unusable == 1


def items_of(count: int) -> list[Item]:
    """Boxes of several frames; the third has nothing in its frame."""
    rng = np.random.default_rng(5)
    frames = [frame_of(rng.integers(0, 256, (90, 120, 3), np.uint8), n) for n in range(3)]
    items: list[Item] = [
        (frames[n % 3], box(5 * n, 3 * n, 5 * n + 30, 3 * n + 24), FACE_POINTS / 3 + 2 * n if n % 2 else None)
        for n in range(count)
    ]
    if count > 2:
        items[2] = (frames[0], box(300, 300, 320, 330), None)
    return items


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 50])
def test_a_batch_gives_what_its_items_give_alone(batch: int) -> None:
    session = MeanSession(max_batch=4)
    embedder = load(session, batch=batch)
    items = items_of(9)
    together = embedder.embed(items)
    assert embedder.batch_size == min(batch, 4)
    sizes = [shape[0] for shape in session.batches]
    assert sum(sizes) == 8, "what is not in the frame is not run"
    assert max(sizes) <= batch
    single = load(MeanSession(), batch=1)
    for row, item in enumerate(items):
        np.testing.assert_array_equal(single.embed([item])[0], together[row])
    assert np.flatnonzero(~together.any(axis=1)).tolist() == [2]
    stats = embedder.stats
    assert (stats.items, stats.aligned, stats.unseen, stats.unusable) == (9, 4, 1, 0)
    assert stats.batches == len(sizes)
    assert stats.preprocess_s > 0
    assert stats.inference_s > 0


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_what_was_prepared_gives_what_its_item_gives(channels: str) -> None:
    """Also long after its frame is gone, and in another order."""
    spec = msgspec.structs.replace(SMALL, channels=channels, mean=(10.0, 20.0, 30.0), scale=(1.0, 0.5, 2.0))
    embedder, other = load(MeanSession(), spec, batch=3), load(MeanSession(), spec, batch=3)
    items = items_of(9)
    expected = embedder.embed(items)
    prepared = [other.prepare(item) for item in items]
    assert [row for row, each in enumerate(prepared) if each is None] == [2]
    found = other.embed_prepared([each for each in prepared[::-1] if each is not None])
    np.testing.assert_array_equal(found, np.delete(expected, 2, axis=0)[::-1])
    assert [getattr(other.stats, name) for name in ("items", "aligned", "unseen", "unusable")] == [9, 4, 1, 0]
    assert other.stats.batches == 3
    assert load(MeanSession()).embed_prepared([]).shape == (0, 6)


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
@pytest.mark.parametrize("family", ["sface", "arcface", "reid"])
def test_what_the_model_sees_can_be_looked_at(channels: str, family: str) -> None:
    embedder = load(MeanSession(), msgspec.structs.replace(EMBEDDINGS[family], channels=channels))
    prepared = embedder.prepare((frame_of(quarters()), box(26, 16, 54, 44), None))
    assert prepared is not None
    shown = embedder.shown(prepared)
    assert (shown.shape, shown.dtype, shown.flags.c_contiguous) == ((28, 28, 3), np.uint8, True)
    corners = shown[[2, 2, -3, -3], [2, -3, 2, -3]].tolist()
    assert corners == [[250, 0, 0], [0, 200, 0], [0, 0, 150], [99, 9, 199]]


def test_nothing_to_embed_runs_nothing() -> None:
    session = MeanSession()
    assert load(session).embed([]).shape == (0, 6)
    assert load(session).embed(items_of(3)[2:]).tolist() == [[0.0] * 6]
    assert session.batches == []


@pytest.mark.parametrize(
    ("device", "asked", "told", "size"),
    [("cpu", None, 1, 1), ("cuda", None, 8, 8), ("mps", None, 8, 8), ("auto", None, 8, 8), ("cuda", 5, 5, 5)],
)
def test_the_batch_is_one_on_the_cpu_and_eight_elsewhere(device: str, asked: int | None, told: int, size: int) -> None:
    session = MeanSession(max_batch=16, device="cuda" if device == "auto" else device)
    backend = StubBackend(session)
    embedder = load_embedder(Path("m"), SMALL, backend, BackendOptions(device=device), asked)
    assert backend.options is not None
    assert (backend.options.batch, embedder.batch_size) == (told, size)
    assert default_batch(session.device) == (1 if session.device == "cpu" else 8)


def test_a_device_that_turns_out_to_be_the_cpu_gets_one_at_a_time() -> None:
    assert load(MeanSession(max_batch=16, device="cpu")).batch_size == 1


def test_a_fixed_batch_is_filled() -> None:
    """The session would have to pad it."""
    assert load(MeanSession((4, 3, 28, 28), max_batch=4, device="cpu"), batch=1).batch_size == 4


def test_a_batch_of_none_is_refused() -> None:
    session = MeanSession()
    with pytest.raises(ConfigError, match="embed_batch_size must be at least 1, got 0"):
        load(session, batch=0)
    assert session.closed == 1


@pytest.mark.parametrize(
    ("shape", "size"),
    [((None, 3, 40, 30), (40, 30)), ((1, 3, None, None), (28, 28)), ((1, None, None, 64), (28, 64))],
)
def test_the_input_size_is_the_models_where_it_has_one(shape: Shape, size: tuple[int, int]) -> None:
    assert load(MeanSession(shape, max_batch=1)).input_hw == size


@pytest.mark.parametrize("shape", [(1, 3), (1, 112, 112, 3), (1, 1, 112, 112), (None, 512)])
def test_an_input_that_takes_no_picture_is_refused(shape: Shape) -> None:
    session = MeanSession(shape)
    with pytest.raises(ModelLoadError, match=r"takes \(.* where pictures \(batch, 3, height, width\) are expected"):
        load(session)
    assert session.closed == 1


@pytest.mark.parametrize(
    ("outputs", "dimension"),
    [
        ([("v", (None, 6))], 6),
        ([("v", (1, 6, 1, 1))], 6),
        ([("v", (1, 1, 6))], 6),
        ([("v", (None, None))], 6),
        ([("v", ())], 6),
        ([("v", (None, None, 1, None))], 6),
        ([("v", (None, 6)), ("score", (None, 1))], 6),
        ([("map", (None, 3, 7, 7)), ("v", (None, 6))], 6),
    ],
)
def test_the_dimension_is_read_from_the_model_or_from_a_run(outputs: list[tuple[str, Shape]], dimension: int) -> None:
    session = MeanSession(outputs=outputs)
    embedder = load(session)
    assert embedder.dimension == dimension
    unknown = any(len(shape) < 2 or None in shape[1:] for _, shape in outputs)
    assert len(session.batches) == unknown
    assert embedder.embed(items_of(2)).shape == (2, dimension)


@pytest.mark.parametrize("shape", [(6,), (None, 1), (None, 3, 7, 7)])
def test_an_output_that_is_no_vector_is_refused(shape: Shape) -> None:
    session = MeanSession(outputs=[("v", shape)])
    session.answer = np.zeros([size or 1 for size in shape], np.float32)
    with pytest.raises(ModelLoadError, match=r"has no output that is a vector .*: found v .*; export it"):
        load(session)
    assert session.closed == 1


def test_a_detector_is_told_from_an_embedder_of_the_wrong_shape() -> None:
    outputs = [
        (name, (None, channels, 7, 7)) for name, channels in (("heat", 1), ("scale", 2), ("offset", 2), ("l", 10))
    ]
    with pytest.raises(ModelLoadError, match="it looks like a centerface detector, which is for --model"):
        load(MeanSession(outputs=outputs))


class FailingSession(MeanSession):
    def run(self, batch: np.ndarray) -> Tensors:
        raise InferenceError("out of memory.")


def test_a_model_that_cannot_be_tried_is_not_loaded() -> None:
    session = FailingSession(outputs=[("v", (None, None))])
    with pytest.raises(ModelLoadError, match="sface cannot take an input of 28x28: out of memory"):
        load(session)
    assert session.closed == 1


def test_a_failure_while_embedding_is_raised() -> None:
    with pytest.raises(InferenceError, match="out of memory"):
        load(FailingSession()).embed(items_of(1))


def test_vectors_of_another_size_than_promised_are_an_error() -> None:
    session = MeanSession()
    embedder = load(session)
    session.answer = np.ones((4, 5), np.float32)
    with pytest.raises(InferenceError, match=r"sface gave \(2, 5\) for 2 crops where vectors of 6 were expected"):
        embedder.embed(items_of(2))


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_an_answer_without_direction_is_a_row_of_zeros(value: float) -> None:
    session = MeanSession()
    embedder = load(session)
    session.answer = np.ones((4, 6), np.float32)
    session.answer[1] = value
    found = embedder.embed([items_of(1)[0]] * 3)
    np.testing.assert_allclose(found[[0, 2]], 6**-0.5, rtol=1e-6)
    assert not found[1].any()
    assert embedder.stats.unusable == 1


@pytest.mark.parametrize(
    "bad",
    [
        box(-50, 0, -10, 20),
        box(10, 90, 20, 95),
        box(10, 10, 10, 20),
        box(30, 10, 20, 40),
        box(math.nan, 0, 20, 20),
        box(0, 0, 20, math.nan),
        box(math.inf, 0, math.inf, 9),
    ],
)
def test_a_box_with_nothing_in_it_is_a_row_of_zeros(bad: np.ndarray) -> None:
    embedder = load(MeanSession())
    assert not embedder.embed([(frame_of(np.full((90, 120, 3), 9, np.uint8)), bad, None)]).any()
    assert embedder.stats.unseen == 1


def test_a_box_over_the_edge_is_embedded_with_what_is_there() -> None:
    frame = frame_of(np.full((90, 120, 3), 200, np.uint8))
    (found,) = load(MeanSession()).embed([(frame, box(-20, 10, 20, 50), None)])
    assert (found[:3] > found[3:]).all(), "the left half is outside, and dark"


@pytest.mark.parametrize(
    ("keypoints", "spec", "aligned"),
    [
        (FACE_POINTS.astype(np.float32), SMALL, 1),
        (None, SMALL, 0),
        (np.zeros((0, 2), np.float32), SMALL, 0),
        (np.full((5, 2), np.nan, np.float32), SMALL, 0),
        (np.full((5, 2), 40, np.float32), SMALL, 0),
        (np.tile(FACE_POINTS, (4, 1))[:17], SMALL, 0),
        (FACE_POINTS + 10_000, SMALL, 0),
        (FACE_POINTS, EMBEDDINGS["reid"], 0),
    ],
)
def test_only_the_keypoints_of_a_face_align(keypoints: np.ndarray | None, spec: ModelSpec, aligned: int) -> None:
    embedder = load(MeanSession(), spec)
    (found,) = embedder.embed([(frame_of(quarters()), box(20, 10, 60, 50), keypoints)])
    assert embedder.stats.aligned == aligned
    assert found.any()


def face_in(turn: float, scale: float) -> Item:
    """A made-up face, turned and scaled in the middle of a frame, with its keypoints."""
    cos, sin = scale * math.cos(turn), scale * math.sin(turn)
    place = Similarity(cos, sin, 150 - 56 * (cos - sin), 150 - 56 * (sin + cos))
    y, x = np.mgrid[0:300, 0:300]
    u, v = place.inverse().apply(np.stack((x.ravel(), y.ravel()), axis=1)).T.reshape(2, 300, 300)
    channels = [
        np.where((u > 20) & (u < edge) & (v > 10) & (v < 90), level, 60)
        for edge, level in ((50, 250), (90, 180), (70, 20))
    ]
    pixels = np.stack(channels, axis=2).astype(np.uint8)
    return frame_of(pixels), box(60, 60, 240, 240), place.apply(FACE_POINTS).astype(np.float32)


def test_a_turned_and_scaled_face_has_the_same_vector() -> None:
    session = MeanSession((None, 3, 112, 112))
    embedder = load(session, FACE)
    reference, *others = embedder.embed(
        [face_in(turn, scale) for turn, scale in ((0, 1), (0.6, 1.4), (-2.5, 0.7), (3.1, 1.1))]
    )
    assert [float(reference @ other) for other in others] == pytest.approx([1] * 3, abs=1e-3)
    frame, around, _ = face_in(3.1, 1.1)
    (cropped,) = embedder.embed([(frame, around, None)])
    assert reference @ cropped < 0.995, "only the keypoints tell how it is turned"


@pytest.mark.parametrize(
    ("shape", "output", "expected"),
    [
        ((None, 3, 112, 112), "embedding", "arcface"),
        ((None, 3, None, None), "embedding", "arcface"),
        ((None, 3, 112, 96), "embedding", "arcface"),
        ((None, 3, 112, 112), "fc1", "sface"),
        ((None, 3, 256, 128), "embedding", "reid"),
    ],
)
def test_a_model_by_path_tells_its_conventions(shape: Shape, output: str, expected: str) -> None:
    embedder = load(MeanSession(shape, [(output, (None, 6))]), ModelSpec(name="mine", head="auto"))
    assert embedder.spec == conventions(expected, "mine")
    assert embedder.input_hw == (shape[2] or 112, shape[3] or 112)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no kind of embedder 'arcfase'. Did you mean 'arcface'\? Known: sface, arc"):
        conventions("arcfase", "m")


def test_closing_closes_the_session() -> None:
    session = MeanSession()
    load(session).close()
    assert session.closed == 1


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(0, 4), st.integers(2, 6)),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    )
)
def test_unit_vectors_have_length_one_or_are_zero(vectors: np.ndarray) -> None:
    found = unit(vectors)
    assert (found.shape, found.dtype) == (vectors.shape, np.float32)
    for row, vector in zip(found.astype(float), vectors.astype(float), strict=True):
        if np.isfinite(vector).all() and vector.any():
            assert np.linalg.norm(row) == pytest.approx(1, abs=1e-6)
            slack = 1e-6 * np.linalg.norm(vector)
            np.testing.assert_allclose(row * np.linalg.norm(vector), vector, rtol=1e-5, atol=slack)
        else:
            assert not row.any()


def test_the_detectors_keypoints_are_in_the_templates_order(shared_data: Path) -> None:
    """On real faces: were two points swapped, the template would explain little of them."""
    detector = load_detector(
        shared_data / "models/yunet_n_dynamic.onnx",
        detector_conventions("yunet", "yunet"),
        OnnxBackend(),
        CPU,
        DetectorParams(confidence_th=0.7),
    )
    source = PyAVSource(str(shared_data / "video/head-pose-face-detection-male.gif"), SourceOptions(stride=40))
    source.open()
    fits = [
        fit(points, face_template(112, 112)) for frame in source for points in detector.detect([frame])[0].keypoints
    ]
    source.close()
    assert len(fits) >= 2
    assert min(each.explained for each in fits if each is not None) > 0.9
