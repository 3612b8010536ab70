"""``streamtrack engines`` lists what was built, builds what a run will need, and removes what none will."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from streamtrack import cli, registry
from streamtrack_tensorrt import TensorRTBackend

FAKES = Path(__file__).resolve().parent.parent / "streamtrack_tensorrt"


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(FAKES))
    from fake_machine import install

    monkeypatch.setenv("STREAMTRACK_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(registry, "load", lambda kind, name: {"tensorrt": TensorRTBackend}[name])
    yield from install(monkeypatch, "10.16.1.11")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model with the outputs of CenterFace, which answers with its input's means."""
    shape, path = [1, 3, 64, 64], tmp_path / "faces.onnx"
    outputs = {"537": 1, "538": 2, "539": 2, "540": 10}
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("AveragePool", ["mean"], ["small"], kernel_shape=[4, 4], strides=[4, 4]),
    ]
    nodes += [helper.make_node("Concat", ["small"] * count, [name], axis=1) for name, count in outputs.items()]
    graph = helper.make_graph(
        nodes,
        "faces",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, count, 16, 16]) for name, count in outputs.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(proto, str(path))
    return path


def engines(*arguments: str) -> int:
    return cli.main(["engines", *arguments])


def test_what_is_built_is_listed_and_not_built_again(
    trt: Any, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert engines("build", str(model), "--precision", "fp32", "--batch", "3") == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"built {tmp_path / 'cache' / 'tensorrt'}")
    assert "building a TensorRT engine of faces.onnx in fp32" in err
    assert engines("build", str(model), "--precision", "fp32", "--batch", "3") == 0
    assert "was there already" in capsys.readouterr().out
    assert engines("ls") == 0
    head, *rows, folder = capsys.readouterr().out.splitlines()
    assert head.split() == ["model", "input", "precision", "TensorRT", "GPU", "MB", "key"]
    assert all("faces.onnx" in row and "fp32" in row and "Fake H200 (9.0)" in row for row in rows)
    assert len(rows) == len(trt.builds)
    assert folder == f"cache: {tmp_path / 'cache' / 'tensorrt'}"


def test_as_json(trt: Any, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engines("build", str(model))
    capsys.readouterr()
    assert engines("ls", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert {row["model"] for row in listed} == {"faces.onnx"}
    assert listed[0]["recipe"]["gpu"] == "Fake H200"
    assert not listed[0]["damaged"]


def test_pruning_removes_what_does_not_fit_this_machine(
    trt: Any, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engines("build", str(model))
    count = len(trt.builds)
    damaged = tmp_path / "cache" / "tensorrt" / f"{'0' * 64}.engine"
    damaged.write_bytes(b"rubbish")
    engines("ls")
    assert "(damaged)" in capsys.readouterr().out
    assert engines("prune") == 0
    assert capsys.readouterr().out.splitlines() == ["removed 000000000000 (damaged)", "removed 1 engines, 0.0 MB"]
    trt.__version__ = "10.17"
    engines("prune")
    assert f"removed {count} engines" in capsys.readouterr().out
    assert TensorRTBackend().engines(tmp_path / "cache").list() == []


def test_pruning_all_needs_no_gpu(
    trt: Any, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engines("build", str(model))
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert engines("prune") == 5
    assert "pip install 'streamtrack[tensorrt]'" in capsys.readouterr().err
    assert engines("prune", "--all") == 0
    assert "(--all)" in capsys.readouterr().out


def test_a_machine_without_tensorrt_lists_nothing(
    trt: Any, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert engines("ls") == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert engines("build", str(model)) == 5
    assert "streamtrack: error: " in capsys.readouterr().err
