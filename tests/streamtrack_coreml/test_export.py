"""The export: its order and its refusals with stand-ins for what converts, and, where it is installed, the real thing.

The real one takes a gigabyte of packages that nothing else needs: ``make .venv/.export`` brings them.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Final

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from streamtrack.errors import BackendError, ConfigError, ModelLoadError
from streamtrack.models.spec import ModelSpec
from streamtrack_coreml import export as export_module
from streamtrack_coreml import package
from streamtrack_coreml.export import Tools, export

SPEC = ModelSpec(name="tiny", head="yunet", channels="bgr", input_size=(64, 96))
FLOAT32: Final = 65568
INT32: Final = 131104


def write_model(path: Path, shape: list[Any], *, gain: float = 0.01, hard_wired: bool = False) -> Path:
    """Write a convolution, and a reshaped copy of its output, with names that Core ML does not allow."""
    random = np.random.default_rng(0)
    weights = {
        "kernel": (gain * random.standard_normal((8, 3, 3, 3))).astype(np.float32),
        "cells": np.array([1, 8, 1024] if hard_wired else [1, 8, -1]),
    }
    nodes = [
        helper.make_node("Conv", ["input.1", "kernel"], ["537"], pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["537", "cells"], ["flat"]),
        helper.make_node("Sigmoid", ["flat"], ["cls"]),
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("537", "cls")]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, shape)],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    model.metadata_props.add(key="names", value="{0: 'face'}")
    onnx.save(model, str(path))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "tiny.onnx", [1, 3, 64, 96])


# --- stand-ins ---


class Tensor:
    """An array with the few methods of a torch tensor that are used."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def half(self) -> Tensor:
        return Tensor(self.array.astype(np.float16))

    def float(self) -> Tensor:
        return Tensor(self.array.astype(np.float32))

    def is_floating_point(self) -> bool:
        return self.array.dtype.kind == "f"

    def numpy(self) -> np.ndarray:
        return self.array


class Module:
    """A torch module that asks ONNX Runtime; what it answers is off by ``error``, and by fp16 once it is half."""

    def __init__(self, proto: onnx.ModelProto, error: float) -> None:
        free = onnx.ModelProto()
        free.CopyFrom(proto)
        for name, dimension in zip("bchw", free.graph.input[0].type.tensor_type.shape.dim, strict=True):
            dimension.dim_param = name
        self.proto, self.error, self.is_half = free, error, False

    def eval(self) -> Module:
        return self

    def half(self) -> Module:
        self.is_half = True
        return self

    def __call__(self, tensor: Tensor) -> list[Tensor]:
        assert (tensor.array.dtype == np.float16) == self.is_half
        session = ort.InferenceSession(self.proto.SerializeToString(), providers=["CPUExecutionProvider"])
        arrays = session.run(None, {"input.1": tensor.array.astype(np.float32)})
        with np.errstate(over="ignore"):
            return [Tensor((each + self.error).astype(tensor.array.dtype)) for each in arrays]


class Converted:
    """What ``coremltools.convert`` returns."""

    def __init__(self, described: dict[str, Any]) -> None:
        self.described = described
        self.user_defined_metadata: dict[str, str] = described["metadata"]
        self.short_description = self.license = ""

    def save(self, path: str) -> None:
        assert path.endswith(".mlpackage")
        Path(path).mkdir()
        (Path(path) / "model.json").write_text(json.dumps(self.described), encoding="utf-8")


def stand_ins(runtime: Any, *, error: float = 0.0, lose: str = "") -> Tools:
    """Return what converts, wrong by ``error`` and without the output ``lose``."""

    def convert(script: Module, *, convert_to: str, inputs: list[Any], outputs: list[Any], **options: Any) -> Converted:
        assert convert_to == "mlprogram"
        assert options["skip_model_load"] is True
        assert not script.is_half, "the weights were rounded before they were converted"
        (taken,) = inputs
        assert taken.name.isidentifier()
        shapes = taken.shape if isinstance(taken.shape, list) else [taken.shape]
        wants = {"shape": shapes[0], "type": FLOAT32, "enumeratedShapes": shapes if len(shapes) > 1 else []}
        names = [output.name for output in outputs if output.name != lose]
        assert all(name.isidentifier() for name in names)
        described = {"kind": "mlProgram", "inputs": {taken.name: wants}, "metadata": {}}
        return Converted({**described, "outputs": {name: {"shape": []} for name in names}})

    runtime.convert = convert
    runtime.TensorType = lambda name, shape=None, dtype=None: SimpleNamespace(name=name, shape=shape, dtype=dtype)
    runtime.EnumeratedShapes = lambda shapes, default: [default, *(shape for shape in shapes if shape != default)]
    runtime.precision = SimpleNamespace(FLOAT16="fp16", FLOAT32="fp32")
    runtime.target = SimpleNamespace(macOS13=7)
    torch = SimpleNamespace(
        zeros=lambda *shape: Tensor(np.zeros(shape, np.float32)),
        from_numpy=Tensor,
        no_grad=contextlib.nullcontext,
        jit=SimpleNamespace(trace=lambda module, example, check_trace: module),
    )
    return Tools(torch, SimpleNamespace(convert=lambda proto: Module(proto, error)), runtime)


@pytest.fixture
def tools(runtime: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``tools(error=..., lose=...)`` puts stand-ins in the place of what converts."""

    def put(**options: Any) -> Any:
        made = stand_ins(runtime, **options)
        monkeypatch.setattr(export_module, "load_tools", lambda: made)
        return runtime

    return put


def run(model: Path, out: Path | None = None, *, spec: ModelSpec = SPEC, **options: Any) -> tuple[Path, list[str]]:
    said: list[str] = []
    given = {"sizes": (), "precision": "fp32", "licence": "MIT", **options}
    return export(model, spec, out, **given, say=said.append), said


def test_what_was_exported_is_found_and_says_what_it_is(model: Path, tools: Any) -> None:
    runtime = tools()
    path, said = run(model)
    assert path.parent == model.parent
    assert path == package.find(package.digest(model), [model.parent], (64, 96), "fp32")
    found = package.read(path, runtime)
    assert (found.feature, found.shapes) == ("input_1", ((1, 3, 64, 96),))
    assert [(o.name, o.feature, o.shape) for o in found.outputs] == [
        ("537", "output_537", (1, 8, 64, 96)),
        ("cls", "cls", (1, 8, 64 * 96)),
    ]
    assert found.conventions() == SPEC
    assert found.notes is not None
    assert found.notes.sha256 == package.digest(model)
    assert (found.notes.licence, found.notes.properties) == ("MIT", {"names": "{0: 'face'}"})
    assert found.notes.errors == {"537": 0.0, "cls": 0.0}
    assert [line.partition(" of values")[0] for line in said] == [
        "torch against ONNX Runtime: 537 0.0e+00",
        "torch against ONNX Runtime: cls 0.0e+00",
    ]


def test_several_sizes_leave_free_what_differs(model: Path, tools: Any) -> None:
    runtime = tools()
    path, _ = run(model, sizes=((32, 64), (32, 96), (32, 64)))
    found = package.read(path, runtime)
    assert found.shapes == ((1, 3, 32, 64), (1, 3, 32, 96))
    assert [output.shape for output in found.outputs] == [(1, 8, 32, None), (1, 8, None)]


@pytest.mark.parametrize(
    ("shape", "dynamic", "size"),
    [([1, 3, 40, 24], False, (40, 24)), (["n", 3, "h", "w"], False, (64, 96)), ([10, 3, 32, 32], True, (64, 96))],
)
def test_the_default_size(tmp_path: Path, tools: Any, shape: list[Any], dynamic: bool, size: tuple[int, int]) -> None:
    runtime = tools()
    spec = msgspec.structs.replace(SPEC, dynamic_size=dynamic)
    path, _ = run(write_model(tmp_path / "m.onnx", shape), spec=spec)
    assert package.read(path, runtime).shapes == ((1, 3, *size),)


def test_other_answers_are_not_saved(model: Path, tools: Any) -> None:
    tools(error=0.01)
    said: list[str] = []
    with pytest.raises(ModelLoadError, match="gives other answers in 537, cls: nothing was saved"):
        export(model, SPEC, None, sizes=(), precision="fp32", licence="", say=said.append)
    assert all("TOO FAR" in line for line in said)
    assert list(model.parent.iterdir()) == [model]


def test_fp16_is_tried_and_its_error_said(model: Path, tools: Any) -> None:
    tools()
    _, said = run(model, precision="fp16")
    assert [line.split(":")[0] for line in said[2:]] == ["fp16 against fp32, on this CPU"] * 2
    error = float(said[2].split(": 537 ")[1].split()[0])
    assert 0 < error < 0.05


def test_what_overflows_in_fp16_is_not_saved(tmp_path: Path, tools: Any) -> None:
    tools()
    model = write_model(tmp_path / "loud.onnx", [1, 3, 64, 96], gain=1000)
    with pytest.raises(ModelLoadError, match="In fp16 output 537 overflows: export it with --precision fp32"):
        run(model, precision="fp16")
    assert list(tmp_path.iterdir()) == [model]


def test_a_machine_that_cannot_try_fp16_says_so(model: Path, tools: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tools()

    def refuse(self: Module) -> Module:
        self.__class__ = type("Unable", (Module,), {"__call__": lambda self, tensor: 1 // 0})
        return self

    monkeypatch.setattr(Module, "half", refuse)
    path, said = run(model, precision="fp16")
    assert path.is_dir()
    assert "fp16 cannot be tried here: The torch module cannot be run at 96x64" in said[2]


def test_what_was_saved_is_read_back(model: Path, tools: Any) -> None:
    tools(lose="cls")
    with pytest.raises(ModelLoadError, match="saved another model than it was given: outputs output_537, sizes"):
        run(model)
    assert list(model.parent.iterdir()) == [model]


def test_an_older_package_is_replaced_whole(model: Path, tmp_path: Path, tools: Any) -> None:
    tools()
    out = tmp_path / "new" / "face.mlpackage"
    out.mkdir(parents=True)
    (out / "of the old one").touch()
    assert run(model, out)[0] == out
    assert [each.name for each in out.iterdir()] == ["model.json"]
    assert list(out.parent.iterdir()) == [out]


def test_a_place_that_cannot_be_written(model: Path, tmp_path: Path, tools: Any) -> None:
    tools()
    with pytest.raises(ModelLoadError, match=r"face\.mlpackage cannot be written: .*give another --out"):
        run(model, model / "face.mlpackage")


@pytest.mark.parametrize(
    ("out", "sizes", "complaint"),
    [
        ("face.onnx", (), r"ends in \.mlpackage, and face\.onnx does not"),
        (None, ((64, 100),), "Size 100x64: tiny takes multiples of 32 px"),
        (None, ((0, 32),), "Size 32x0"),
    ],
)
def test_what_cannot_be_asked_for(model: Path, tools: Any, out: str | None, sizes: Any, complaint: str) -> None:
    tools()
    with pytest.raises(ConfigError, match=complaint):
        run(model, None if out is None else Path(out), sizes=sizes)


@pytest.mark.parametrize(
    ("stage", "complaint"),
    [
        (1, r"tiny\.onnx cannot be turned into a torch module: no such operator"),
        (2, "coremltools cannot convert the model: no such operator"),
    ],
)
def test_an_operator_that_is_not_known(
    model: Path, runtime: Any, monkeypatch: pytest.MonkeyPatch, stage: int, complaint: str
) -> None:
    def refuse(*args: Any, **options: Any) -> Any:
        raise NotImplementedError("no such\n operator")

    made = stand_ins(runtime)
    (made.onnx2torch if stage == 1 else runtime).convert = refuse
    monkeypatch.setattr(export_module, "load_tools", lambda: made)
    with pytest.raises(ModelLoadError, match=complaint):
        run(model)


@pytest.mark.parametrize("broken", ["torch", "onnx2torch", "coremltools"])
def test_missing_packages_are_an_error_with_the_line_that_installs_them(
    model: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    for name in Tools._fields:
        monkeypatch.setitem(sys.modules, name, None if name == broken else ModuleType(name))
    with pytest.raises(BackendError, match=rf"cannot import them \(.*{broken}.*pip install 'streamtrack\[export\]'"):
        run(model)


def test_onnx2torch_does_without_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)  # what importing makes of one that is not there
    with export_module._without_torchvision():
        from torchvision.ops import nms

        with pytest.raises(NotImplementedError, match="need torchvision, which cannot be imported"):
            nms(None, None, 0.5)
    assert "torchvision" not in sys.modules


def test_a_torchvision_that_works_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    works = ModuleType("torchvision")
    monkeypatch.setitem(sys.modules, "torchvision", works)
    with export_module._without_torchvision():
        assert sys.modules["torchvision"] is works
    assert sys.modules["torchvision"] is works


# --- the real thing ---


really = pytest.mark.requires(module="onnx2torch", install="make .venv/.export")


@pytest.fixture(scope="module")
def real() -> Tools:
    return export_module.load_tools()


@really
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("sizes", [((64, 96),), ((64, 96), (32, 32))])
def test_really_exports(real: Tools, model: Path, precision: Any, sizes: Any) -> None:
    path, said = run(model, precision=precision, sizes=sizes)
    found = package.read(path, real.coremltools)
    assert (found.feature, found.shapes) == ("input_1", tuple((1, 3, *size) for size in sizes))
    assert [output.name for output in found.outputs] == ["537", "cls"]
    assert found.outputs[0].shape == ((1, 8, 64, 96) if len(sizes) == 1 else (1, 8, None, None))
    assert found.notes is not None
    assert found.notes.precision == precision
    assert max(found.notes.errors.values()) < 1e-4
    assert len(said) == (4 if precision == "fp16" else 2)
    description = real.coremltools.utils.load_spec(str(path)).description
    assert {feature.type.multiArrayType.dataType for feature in (*description.input, *description.output)} == {FLOAT32}
    assert description.metadata.license == "MIT"


@really
def test_a_size_that_is_wired_into_the_graph_is_really_found(real: Tools, tmp_path: Path) -> None:
    model = write_model(tmp_path / "wired.onnx", [1, 3, 32, 32], hard_wired=True)
    assert run(model)[0].is_dir()
    with pytest.raises(ModelLoadError, match="cannot be"):
        run(model, sizes=((64, 64),))


@really
def test_other_forms_of_input_really_become_one_picture(real: Tools, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("Cast", ["orig_target_sizes"], ["boxes"], to=TensorProto.FLOAT),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "h", "w", 3]),
        helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, [1, 2]),
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("means", "boxes")]
    graph = helper.make_graph(nodes, "forms", inputs, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "m.onnx")
    path, _ = run(tmp_path / "m.onnx", precision="fp32", sizes=((32, 64),))
    found = package.read(path, real.coremltools)
    assert found.shapes == ((1, 3, 32, 64),)
    assert [output.shape for output in found.outputs] == [(1, 3), (1, 2)]
    # torch keeps the size that it saw when it was traced.
    with pytest.raises(ModelLoadError, match="gives other answers in boxes: nothing was saved"):
        run(tmp_path / "m.onnx", precision="fp32", sizes=((32, 64), (64, 32)))


@really
def test_whole_numbers_really_stay_whole(real: Tools, tmp_path: Path) -> None:
    model = write_model(tmp_path / "classes.onnx", [1, 3, 32, 32])
    proto = onnx.load(str(model))
    proto.graph.node.append(helper.make_node("ArgMax", ["cls"], ["label"], axis=1, keepdims=0))
    proto.graph.output.append(helper.make_tensor_value_info("label", TensorProto.INT64, None))
    onnx.save(proto, str(model))
    path, _ = run(model, precision="fp16")
    features = real.coremltools.utils.load_spec(str(path)).description.output
    assert {each.name: each.type.multiArrayType.dataType for each in features}["label"] == INT32


@really
def test_really_exports_operators_of_an_old_set(real: Tools, shared_data: Path, tmp_path: Path) -> None:
    path, _ = run(shared_data / "models" / "version-RFB-320.onnx", tmp_path / "rfb.mlpackage")
    notes = package.read(path, real.coremltools).notes
    assert notes is not None
    assert max(notes.errors.values()) < 1e-5


@really
def test_an_operator_is_really_unknown(real: Tools, tmp_path: Path) -> None:
    path = write_model(tmp_path / "odd.onnx", [1, 3, 32, 32])
    proto = onnx.load(str(path))
    proto.graph.node[2].op_type = "Det"
    onnx.save(proto, str(path))
    with pytest.raises(ModelLoadError, match=r"cannot be turned into a torch module: .*Det"):
        run(path)


@really
def test_really_exports_yunet(real: Tools, shared_data: Path, tmp_path: Path) -> None:
    from streamtrack.models.heads import YuNet

    model = shared_data / "models" / "yunet_n_640_640.onnx"
    path, _ = run(model, tmp_path / "yunet.mlpackage", spec=YuNet.conventions, precision="fp16")
    found = package.read(path, real.coremltools)
    assert found.shapes == ((1, 3, 640, 640),)
    assert YuNet.bind(tuple((output.name, output.shape) for output in found.outputs)) is not None
    assert found.conventions() == YuNet.conventions
    assert found.notes is not None
    assert max(found.notes.errors.values()) < 2e-5
