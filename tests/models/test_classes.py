"""What classes are called."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from streamtrack.errors import ConfigError, ModelLoadError
from streamtrack.models.classes import COCO, class_names, names_in, parse_classes, read_metadata

ULTRALYTICS = {"names": "{0: 'person', 1: \"bird's nest\"}"}


def test_coco_has_eighty_different_names() -> None:
    assert len(set(COCO)) == len(COCO) == 80
    assert (COCO[0], COCO[9], COCO[79]) == ("person", "traffic light", "toothbrush")
    assert all(name == name.strip() for name in COCO)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (ULTRALYTICS, ("person", "bird's nest")),
        ({"names": "['a', 'b']"}, ("a", "b")),
        ({"id2label": '{"0": "N/A", "1": "person"}'}, ("N/A", "person")),
        ({"names": "{0: 'a', 2: 'c'}"}, ("a", "class 1", "c")),
        ({"classes": "cat, dog"}, ("cat", "dog")),
        ({"labels": "cat\ntraffic light, red\n"}, ("cat", "traffic light, red")),
        ({"class_names": '"one,two"'}, ("one", "two")),
        ({"names": "{0: 'a'", "classes": "b,c"}, ("b", "c")),
        ({"names": "{'x': 'a'}"}, ()),
        ({"names": "{-1: 'a'}"}, ()),
        ({"names": "{10000000000: 'a'}"}, ()),
        ({"names": "__import__('os').getcwd()"}, ("__import__('os').getcwd()",)),
        ({"names": "  "}, ()),
        ({"author": "a,b"}, ()),
        ({}, ()),
    ],
)
def test_names_in_metadata(metadata: dict[str, str], expected: tuple[str, ...]) -> None:
    assert names_in(metadata) == expected


@given(text=st.text(max_size=60), key=st.sampled_from(["names", "classes"]))
def test_any_metadata_is_read_or_left(text: str, key: str) -> None:
    assert all(isinstance(name, str) for name in names_in({key: text}))


@given(names=st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=9))
def test_what_python_writes_is_read_back(names: list[str]) -> None:
    assert names_in({"names": str(dict(enumerate(names)))}) == tuple(names)


def test_who_says_it_first() -> None:
    assert class_names(ULTRALYTICS, ("x", "y"), 2, COCO) == ("x", "y")
    assert class_names(ULTRALYTICS, (), 2, COCO) == ("person", "bird's nest")
    assert class_names(ULTRALYTICS, (), None, COCO) == ("person", "bird's nest")
    assert class_names({}, (), 80, COCO) == COCO
    assert class_names({}, (), 3, COCO) == ("class 0", "class 1", "class 2")
    assert class_names({}, (), None, COCO) == ()
    assert class_names({}, ("x",), None, COCO) == ("x",)
    assert class_names({}, (), 1, ("face",)) == ("face",)


def test_names_that_are_too_few_are_an_error() -> None:
    with pytest.raises(ConfigError, match="--classes names 1 classes, but the model has 2"):
        class_names({}, ("x",), 2)
    with pytest.raises(ModelLoadError, match=r"metadata names 2 classes where .* have 53: .*keypoints.*--head"):
        class_names(ULTRALYTICS, (), 53, COCO)


def test_classes_from_a_list_and_from_a_file(tmp_path: Path) -> None:
    assert parse_classes("cat") == ("cat",)
    assert parse_classes(" cat , dog,") == ("cat", "dog")
    file = tmp_path / "names.txt"
    file.write_text("\ufeffcat\ntraffic light\n\n", encoding="utf-8")
    assert parse_classes(str(file)) == ("cat", "traffic light")
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read as text"):
        parse_classes(str(file))
    with pytest.raises(ConfigError, match=r"no file 'missing\.txt'"):
        parse_classes("missing.txt")
    for nothing in ("", " , "):
        with pytest.raises(ConfigError, match="names no class"):
            parse_classes(nothing)


def test_metadata_is_read_from_the_file(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    model = helper.make_model(helper.make_graph([], "g", [value], [value]))
    helper.set_model_props(model, ULTRALYTICS)
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path))
    assert read_metadata(path) == ULTRALYTICS
    path.write_bytes(b"\xff" * 40)
    with pytest.raises(ModelLoadError, match="cannot be read as ONNX"):
        read_metadata(path)
    assert read_metadata(tmp_path / "m.mlpackage") == {}
