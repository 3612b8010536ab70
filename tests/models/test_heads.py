"""Heads against slow, obvious twins on synthetic tensors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.errors import ConfigError, InferenceError
from streamtrack.models.heads import HEADS, Candidates, CenterFace, YuNet, conventions, head_named, recognise

Tensors = dict[str, np.ndarray]
Found = list[tuple[float, list[float], list[list[float]]]]  # score, box, keypoints


def yunet_outputs(batch: int | None = 1, cells: tuple[int, int, int] | None = None) -> tuple:
    return tuple(
        (f"{kind}_{stride}", (batch, cells[level] if cells else None, channels))
        for kind, channels in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
        for level, stride in enumerate((8, 16, 32))
    )


def yunet_tensors(seed: int, batch: int, height: int, width: int) -> Tensors:
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in yunet_outputs():
        stride = int(name.rpartition("_")[2])
        cells = (height // stride) * (width // stride)
        values = rng.uniform(0, 1, (batch, cells, shape[2]))
        tensors[name] = (values if name[0] in "co" else values * 4 - 2).astype(np.float32)
    return tensors


def yunet_twin(tensors: Tensors, image: int, height: int, width: int, threshold: float) -> Found:
    found: Found = []
    for stride in (8, 16, 32):
        for cell in range((height // stride) * (width // stride)):
            cy, cx = divmod(cell, width // stride)
            cls, obj, box, kps = (tensors[f"{kind}_{stride}"][image, cell] for kind in ("cls", "obj", "bbox", "kps"))
            score = math.sqrt(float(cls[0]) * float(obj[0]))
            if score < threshold:
                continue
            x, y = (cx + box[0]) * stride, (cy + box[1]) * stride
            w, h = math.exp(box[2]) * stride, math.exp(box[3]) * stride
            points = [[(cx + kps[2 * k]) * stride, (cy + kps[2 * k + 1]) * stride] for k in range(5)]
            found.append((score, [x - w / 2, y - h / 2, x + w / 2, y + h / 2], points))
    return found


def centerface_tensors(seed: int, batch: int, height: int, width: int) -> Tensors:
    rng = np.random.default_rng(seed)
    rows, columns = height // 4, width // 4
    heat = rng.integers(0, 20, (batch, 1, rows, columns)) / 20  # few values, so that neighbours are equal at times
    rest = {name: rng.uniform(-1, 2, (batch, channels, rows, columns)) for name, channels in (("538", 2), ("540", 10))}
    offset = rng.uniform(-0.5, 0.5, (batch, 2, rows, columns))
    return {name: values.astype(np.float32) for name, values in {"537": heat, "539": offset, **rest}.items()}


CENTERFACE_OUTPUTS = tuple((name, (1, n, None, None)) for name, n in (("537", 1), ("538", 2), ("539", 2), ("540", 10)))


def centerface_twin(tensors: Tensors, image: int, threshold: float) -> Found:
    heat = tensors["537"][image, 0]
    rows, columns = heat.shape
    found: Found = []
    for y in range(rows):
        for x in range(columns):
            around = heat[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            if heat[y, x] < threshold or heat[y, x] < around.max():
                continue
            h, w = (math.exp(v) * 4 for v in tensors["538"][image, :, y, x])
            dy, dx = tensors["539"][image, :, y, x]
            x0, y0 = (x + dx + 0.5) * 4 - w / 2, (y + dy + 0.5) * 4 - h / 2
            marks = tensors["540"][image, :, y, x]
            points = [[x0 + marks[2 * k + 1] * w, y0 + marks[2 * k] * h] for k in range(5)]
            found.append((float(heat[y, x]), [x0, y0, x0 + w, y0 + h], points))
    return found


def assert_same(found: Candidates, expected: Found) -> None:
    """Equal as sets: candidates are in no particular order."""
    assert len(found.scores) == len(expected)
    mine = np.concatenate((found.scores[:, None], found.boxes, found.keypoints.reshape(-1, 10)), axis=1)
    theirs = np.array([[score, *box, *np.ravel(points)] for score, box, points in expected]).reshape(-1, 15)
    mine, theirs = (rows[np.lexsort(np.round(rows[:, 4::-1], 2).T)] for rows in (mine, theirs))
    np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-3)
    assert (found.boxes.dtype, found.scores.dtype, found.classes.dtype) == (np.float32, np.float32, np.int32)
    assert found.keypoints.dtype == np.float32
    assert not found.classes.any()


@given(seed=st.integers(0, 2**32 - 1), batch=st.integers(1, 3), threshold=st.sampled_from([0.2, 0.5, 0.85, 0.999]))
def test_yunet_twin(seed: int, batch: int, threshold: float) -> None:
    height, width = 64, 96
    tensors = yunet_tensors(seed, batch, height, width)
    found = YuNet().decode(tensors, (height, width), threshold)
    assert len(found) == batch
    for image in range(batch):
        assert_same(found[image], yunet_twin(tensors, image, height, width, threshold))


@given(seed=st.integers(0, 2**32 - 1), batch=st.integers(1, 3), threshold=st.sampled_from([0.2, 0.5, 0.85, 0.999]))
def test_centerface_twin(seed: int, batch: int, threshold: float) -> None:
    height, width = 32, 64
    tensors = centerface_tensors(seed, batch, height, width)
    found = CenterFace("537", "538", "539", "540").decode(tensors, (height, width), threshold)
    assert len(found) == batch
    for image in range(batch):
        assert_same(found[image], centerface_twin(tensors, image, threshold))


def test_yunet_reads_one_face_by_hand() -> None:
    """At stride 16, column 3 and row 2 of a 96 x 64 input."""
    tensors = {name: np.zeros_like(values) for name, values in yunet_tensors(0, 1, 64, 96).items()}
    cell = 2 * 6 + 3
    tensors["cls_16"][0, cell], tensors["obj_16"][0, cell] = 0.81, 1.0
    tensors["bbox_16"][0, cell] = [0.5, 0.25, math.log(2), math.log(1.5)]
    tensors["kps_16"][0, cell] = np.arange(10) / 10
    (found,) = YuNet().decode(tensors, (64, 96), 0.5)
    np.testing.assert_allclose(found.scores, [0.9], rtol=1e-6)
    np.testing.assert_allclose(found.boxes, [[56 - 16, 36 - 12, 56 + 16, 36 + 12]], rtol=1e-6)
    np.testing.assert_allclose(found.keypoints[0, 0], [48.0, 33.6], rtol=1e-6)
    np.testing.assert_allclose(found.keypoints[0, 4], [48 + 12.8, 32 + 14.4], rtol=1e-6)


def test_a_score_of_exactly_the_threshold_counts() -> None:
    tensors = {name: np.zeros_like(values) for name, values in yunet_tensors(0, 1, 64, 64).items()}
    tensors["cls_32"][0, 0] = tensors["obj_32"][0, 0] = 0.5
    assert [len(YuNet().decode(tensors, (64, 64), t)[0].scores) for t in (0.5, 0.51)] == [1, 0]


@pytest.mark.parametrize(
    ("head", "tensors"),
    [
        (YuNet(), yunet_tensors(0, 1, 64, 64)),
        (CenterFace("537", "538", "539", "540"), centerface_tensors(0, 1, 64, 64)),
    ],
)
def test_tensors_of_another_input_size_are_an_error(head: YuNet | CenterFace, tensors: Tensors) -> None:
    with pytest.raises(InferenceError, match="where an input of 96x64 gives"):
        head.decode(tensors, (64, 96), 0.5)


def test_each_head_recognises_its_own() -> None:
    assert recognise(yunet_outputs(None)) == "yunet"
    assert recognise(yunet_outputs(1, (6400, 1600, 400))) == "yunet"
    assert recognise(CENTERFACE_OUTPUTS) == "centerface"


@pytest.mark.parametrize(
    "outputs",
    [
        (),
        (("scores", (1, 4420, 2)), ("boxes", (1, 4420, 4))),
        yunet_outputs()[:-1],
        tuple((name, shape[:2]) for name, shape in yunet_outputs()),
        tuple((name, (*shape[:2], 7)) for name, shape in yunet_outputs()),
        CENTERFACE_OUTPUTS[:3],
        tuple((name, (1, None, None, None)) for name, _ in CENTERFACE_OUTPUTS),
    ],
)
def test_other_outputs_are_not_recognised(outputs: tuple) -> None:
    assert recognise(outputs) is None


def test_centerface_is_bound_by_channels_whatever_the_names_and_order() -> None:
    renamed = (("marks", (1, 10, 8, 8)), ("scale", (1, 2, 8, 8)), ("heat", (1, 1, 8, 8)), ("offset", (1, 2, 8, 8)))
    head = CenterFace.bind(renamed)
    assert head is not None
    tensors = centerface_tensors(3, 1, 32, 32)
    names = {"heat": "537", "scale": "538", "offset": "539", "marks": "540"}
    again = {new: tensors[old] for new, old in names.items()}
    assert_same(head.decode(again, (32, 32), 0.8)[0], centerface_twin(tensors, 0, 0.8))


def test_conventions_take_the_name_of_the_model() -> None:
    for name in HEADS:
        spec = conventions(name, "mine")
        assert (spec.name, spec.head) == ("mine", name)
    assert conventions("yunet", "m").channels == "bgr"
    assert conventions("centerface", "m").dynamic_size


def test_an_unknown_head_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no head 'yunett'. Did you mean 'yunet'\? Known: yunet, centerface"):
        head_named("yunett")
