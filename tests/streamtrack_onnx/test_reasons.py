"""What is wrong with a file, as ONNX Runtime finds it and as a person is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from streamtrack.api import BackendOptions
from streamtrack.errors import ModelLoadError
from streamtrack.models.spec import ModelSpec
from streamtrack_onnx import OnnxBackend
from streamtrack_onnx.reasons import reason

Writer = Callable[..., Path]


def refusal(path: Path) -> str:
    with pytest.raises(ModelLoadError) as caught:
        OnnxBackend().load(path, ModelSpec(name="m", head="auto"), BackendOptions(device="cpu", threads=1))
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "the file is empty"),
        (b"\xff" * 99, "damaged, cut off (it has 99 bytes) or no ONNX file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n", "'git lfs pull'"),
        (b"\n<!DOCTYPE html><html>Not found</html>", "it is a web page"),
    ],
)
def test_what_is_no_model(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    assert f"Model {path} cannot be loaded: " in refusal(path)
    assert told in refusal(path)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_file_that_is_cut_off(write: Writer, share: float) -> None:
    path = write((1, 3, 32, 32))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "cut off" in refusal(path)


def unknown(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].op_type = "Frobnicate"


def foreign(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].op_type, proto.graph.node[0].domain = "EfficientNMS_TRT", "trt"


def too_new(proto: onnx.ModelProto) -> None:
    proto.opset_import[0].version = 99


def outside(proto: onnx.ModelProto) -> None:
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (unknown, "it uses the operator 'Frobnicate' (opset 18), which ONNX Runtime does not have."),
        (foreign, "it uses the operator 'EfficientNMS_TRT' of 'trt', which is another runtime's: export it without."),
        (too_new, "it is written in opset 99, and this ONNX Runtime knows up to "),
        (outside, "weights.bin, which is not there: put it beside the model."),
    ],
)
def test_what_the_runtime_cannot_use(write: Writer, spoil: Callable[[onnx.ModelProto], None], told: str) -> None:
    path = write((1, 3, 32, 32))
    proto = onnx.load(str(path))
    spoil(proto)
    path.write_bytes(proto.SerializeToString())
    assert told in refusal(path)


def test_anything_else_is_told_in_the_runtimes_words(tmp_path: Path) -> None:
    assert reason(tmp_path / "m.onnx", RuntimeError("[ONNXRuntimeError] : 1 : FAIL : too warm.\nmore")) == "too warm"


def test_a_file_that_went_away_is_told(tmp_path: Path) -> None:
    assert reason(tmp_path / "m.onnx", RuntimeError("Protobuf parsing failed.")) == "No such file or directory"
