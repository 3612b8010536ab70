"""Heads by name, and by what a model gives."""

from __future__ import annotations

import math

import pytest
from headcases import CENTERFACE, EXPORTS, one, yunet
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.errors import ConfigError
from streamtrack.models.heads import HEADS, conventions, fitting, head_named, recognise, told_apart
from streamtrack.models.heads.decoding import are_cells


@pytest.mark.parametrize(("name", "outputs", "input_hw"), EXPORTS)
def test_each_export_is_recognised(name: str, outputs: tuple, input_hw: tuple[int | None, int | None]) -> None:
    assert recognise(outputs, input_hw) == name


sides = st.integers(4, 40).map(lambda n: 32 * n)


def cells(height: int, width: int, *strides: int) -> int:
    return sum(math.ceil(height / s) * math.ceil(width / s) for s in strides)


@given(height=sides, width=sides, classes=st.integers(1, 400))
def test_at_any_size_and_for_any_number_of_classes_one_head_fits(height: int, width: int, classes: int) -> None:
    usual = cells(height, width, 8, 16, 32)
    shapes = {
        "yolox": (1, usual, 5 + classes),
        "nanodet": (1, cells(height, width, 8, 16, 32, 64), classes + 32),
        "yolov5": (1, 3 * usual, 5 + classes),
        "yolov8": (1, 4 + classes, usual),
        "yolo-nms": (1, 300, 6),
        "rtdetr": (1, 300, 4 + classes),
    }
    for name, shape in shapes.items():
        rows, channels = shape[1:] if name != "yolov8" else shape[:0:-1]
        if name == "rtdetr" and (classes < 3 or are_cells(channels, (height, width))):
            continue  # said in docs/models.md
        if name in ("yolo-nms", "rtdetr") or rows > channels:
            assert fitting(one(*shape), (height, width)) == [name]


@pytest.mark.parametrize(
    "outputs",
    [
        (),
        (("scores", (1, 4420, 3)), ("boxes", (1, 4420, 4))),
        (("a", (1, 4420, 2)), ("b", (1, 4420, 4))),
        yunet()[:-1],
        tuple((name, shape[:2]) for name, shape in yunet()),
        tuple((name, (*shape[:2], 7)) for name, shape in yunet()),
        CENTERFACE[:3],
        tuple((name, (1, None, None, None)) for name, _ in CENTERFACE),
        one(1, 1000),
        one(1, 3, 80, 80, 85),
        one(1, 8400, 5),
        one(1, 8401, 85),
        one(1, 512, 7, 7),
    ],
)
def test_other_outputs_are_not_recognised(outputs: tuple) -> None:
    assert fitting(outputs, (640, 640)) == []


def test_where_several_fit_none_is_recognised() -> None:
    free = one(None, None, 85)
    assert fitting(free) == ["yolox", "nanodet", "yolov5"]
    assert recognise(free) is None
    unknown = one(None, None, None)
    assert fitting(unknown) == ["yolox", "nanodet", "yolov5", "yolov8"]
    assert recognise(unknown) is None


def test_conventions_take_the_name_of_the_model() -> None:
    for name in HEADS:
        spec = conventions(name, "mine")
        assert (spec.name, spec.head) == ("mine", name)
        assert HEADS[name].expects
    assert conventions("yunet", "m").channels == "bgr"
    assert conventions("centerface", "m").dynamic_size


def test_an_unknown_head_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no head 'yunett'. Did you mean 'yunet'\? Known: yunet, centerface"):
        head_named("yunett")


def test_metadata_tells_apart_what_looks_alike() -> None:
    assert told_apart("yolo-nms", {"head": "RTDETRDecoder"}) == "rtdetr-chosen"
    assert told_apart("yolo-nms", {"description": "Ultralytics rtdetr-l model"}) == "rtdetr-chosen"
    assert told_apart("yolo-nms", {"description": "Ultralytics YOLOv10n model"}) == "yolo-nms"
    assert told_apart("yolov8", {"head": "RTDETRDecoder"}) == "yolov8"
