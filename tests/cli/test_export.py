"""``streamtrack models export``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamtrack import registry
from streamtrack.cli import main
from streamtrack.cli._export import parse_sizes
from streamtrack.errors import ConfigError
from streamtrack.fetch import Asset, sha256_of
from streamtrack.models import zoo
from streamtrack.models.heads import YuNet
from streamtrack.testing.models import write_square_detector


class Exporter:
    """A backend with a format of its own: a folder of one file."""

    calls: list[dict[str, Any]]

    def export(self, model: Path, spec: Any, out: Path | None, **options: Any) -> Path:
        self.calls.append({"model": model, "spec": spec, "out": out, **options})
        options["say"]("compared")
        folder = out or model.with_suffix(".folder")
        folder.mkdir()
        (folder / "weights").write_bytes(bytes(300_000))
        return folder


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> type[Exporter]:
    Exporter.calls = []
    real = registry.load
    monkeypatch.setattr(registry, "load", lambda kind, name: Exporter if name == "odd" else real(kind, name))
    return Exporter


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_square_detector(tmp_path / "box.onnx")


Run = Callable[..., int]


def test_a_model_given_by_path_is_recognised_and_exported(
    model: Path, exporter: type[Exporter], capsys: pytest.CaptureFixture[str]
) -> None:
    out = model.parent / "out"
    sizes = "--size=64,96x32"
    assert main(["models", "export", str(model), "--to", "odd", "--out", str(out), "--precision=fp32", sizes]) == 0
    (call,) = exporter.calls
    assert (call["model"], call["out"], call["precision"], call["licence"]) == (model, out, "fp32", "")
    assert call["sizes"] == ((64, 64), (32, 96))
    assert call["spec"].head == "centerface"
    assert call["spec"].dynamic_size
    said, done = capsys.readouterr().out.splitlines()
    assert said == "compared"
    assert done.startswith(f"{out}: 0.3 MB, fp32, in ")


def test_a_model_of_the_zoo_brings_its_conventions_and_licence(
    model: Path, exporter: type[Exporter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = Asset("yunet.onnx", sha256_of(model), model.stat().st_size, ())
    monkeypatch.setitem(zoo.ZOO, "yunet", replace(zoo.ZOO["yunet"], asset=asset))
    monkeypatch.setenv("STREAMTRACK_MODEL_DIR", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    model.rename(tmp_path / "cache" / "yunet.onnx")
    assert main(["models", "export", "yunet", "--to", "odd"]) == 0
    (call,) = exporter.calls
    assert (call["model"], call["spec"], call["licence"]) == (
        tmp_path / "cache" / "yunet.onnx",
        YuNet.conventions,
        "MIT",
    )
    assert (call["out"], call["sizes"], call["precision"]) == (None, (), "fp16")


def test_a_head_that_is_given_is_taken(model: Path, exporter: type[Exporter]) -> None:
    assert main(["models", "export", str(model), "--to", "odd", "--head", "yunet"]) == 0
    assert exporter.calls[0]["spec"].channels == "bgr"


def test_a_model_that_no_head_reads_is_exported_all_the_same(
    tmp_path: Path, exporter: type[Exporter], capsys: pytest.CaptureFixture[str]
) -> None:
    import onnx
    from onnx import TensorProto, helper

    shape = [1, 3, 112, 112]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("picture", "vector")]
    graph = helper.make_graph([helper.make_node("Relu", ["picture"], ["vector"])], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, str(tmp_path / "embed.onnx"))
    assert main(["models", "export", str(tmp_path / "embed.onnx"), "--to", "odd"]) == 0
    assert exporter.calls[0]["spec"].head == "auto"
    assert capsys.readouterr().out.startswith("nothing is known of its input, so plain RGB pixels are assumed: ")


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["--to", "onnx"], 2, "has no format of its own"),
        (["--to", "nowhere"], 3, "There is no backend 'nowhere'"),
        (["--to", "odd", "--size", "640by480"], 2, "'640by480' is neither a side"),
    ],
)
def test_what_cannot_be_asked_for(
    model: Path,
    exporter: type[Exporter],
    arguments: list[str],
    code: int,
    complaint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["models", "export", str(model), *arguments]) == code
    assert complaint in capsys.readouterr().err
    assert not exporter.calls


def test_a_model_that_is_not_there(exporter: type[Exporter], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "export", "absent.onnx", "--to", "odd"]) == 5
    assert "There is no model file 'absent.onnx'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "sizes"),
    [("", ()), ("640", ((640, 640),)), ("640x384", ((384, 640),)), ("320, 640x384", ((320, 320), (384, 640)))],
)
def test_sizes(text: str, sizes: tuple[tuple[int, int], ...]) -> None:
    assert parse_sizes(text) == sizes


@pytest.mark.parametrize("text", ["0", "x640", "640x", "-1", "640,", "640x0", "٣٢"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ConfigError, match="neither a side"):
        parse_sizes(text)
