"""A coremltools that keeps Core ML's rules, so that what it would refuse is refused here, on any system.

Its rules are those of coremltools 9: predictions on macOS alone; packages and compiled models by the ends of their
names; inputs by exact name, as float arrays of a shape that the model lists; a batch as a list of single pictures.
A package is a folder with its specification as JSON; the model in it doubles its input and takes its means.
"""

from __future__ import annotations

import enum
import json
import platform
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from streamtrack_coreml.package import NOTES_KEY, Notes, Output

FLOAT32 = 65568


class Message(SimpleNamespace):
    """As much of a protobuf message as is read: fields, and which of a choice is set."""

    choices: dict[str, str | None]

    def WhichOneof(self, name: str) -> str | None:  # noqa: N802
        return self.choices[name]


class ComputeUnit(enum.Enum):
    ALL = 1
    CPU_AND_GPU = 2
    CPU_ONLY = 3
    CPU_AND_NE = 4


def feature(name: str, described: dict[str, Any]) -> Message:
    flexibility = next((key for key in ("enumeratedShapes", "shapeRange") if described.get(key)), None)
    array = Message(
        choices={"ShapeFlexibility": flexibility},
        shape=described["shape"],
        dataType=described.get("type", FLOAT32),
        enumeratedShapes=SimpleNamespace(
            shapes=[SimpleNamespace(shape=shape) for shape in described.get("enumeratedShapes", [])]
        ),
        shapeRange=SimpleNamespace(
            sizeRanges=[
                SimpleNamespace(lowerBound=low, upperBound=high) for low, high in described.get("shapeRange", [])
            ]
        ),
    )
    kind = described.get("kind", "multiArrayType")
    return Message(name=name, type=Message(choices={"Type": kind}, multiArrayType=array))


def load_spec(path: str) -> Message:
    described = json.loads((Path(path) / "model.json").read_text(encoding="utf-8"))
    description = SimpleNamespace(
        input=[feature(name, each) for name, each in described["inputs"].items()],
        output=[feature(name, each) for name, each in described["outputs"].items()],
        metadata=SimpleNamespace(userDefined=described["metadata"]),
    )
    return Message(choices={"Type": described["kind"]}, description=description)


class FakeRuntime(ModuleType):
    """The module ``coremltools``, and what it was asked for."""

    def __init__(self) -> None:
        super().__init__("coremltools")
        self.ComputeUnit = ComputeUnit
        self.utils = SimpleNamespace(load_spec=load_spec)
        self.models = SimpleNamespace(
            CompiledMLModel=partial(FakeModel, self), utils=SimpleNamespace(compile_model=self.compile_model)
        )
        self.compiled: list[str] = []
        self.loaded: list[tuple[str, ComputeUnit]] = []
        self.asked: list[Any] = []
        self.failure = ""

    def compile_model(self, model: str, destination_path: str) -> str:
        assert platform.system() == "Darwin", "compiling is only supported on macOS"
        assert isinstance(model, str)
        assert model.endswith(".mlpackage")
        assert destination_path.endswith(".mlmodelc")
        if self.failure == "compile":
            raise RuntimeError("compiler error:\n  Encountered an error while compiling a neural network model.")
        shutil.copytree(model, destination_path)
        self.compiled.append(destination_path)
        return destination_path


class FakeModel:
    def __init__(self, runtime: FakeRuntime, path: str, compute_units: ComputeUnit) -> None:
        assert platform.system() == "Darwin", "loading is only supported on macOS"
        assert isinstance(path, str)
        assert path.endswith(".mlmodelc")
        assert isinstance(compute_units, ComputeUnit)
        if not (Path(path) / "model.json").is_file():
            raise RuntimeError(f"Unable to load model: {path}")
        self.described = json.loads((Path(path) / "model.json").read_text(encoding="utf-8"))
        self.runtime = runtime
        runtime.loaded.append((path, compute_units))

    def predict(self, data: dict[str, Any] | list[dict[str, Any]]) -> Any:
        self.runtime.asked.append(data)
        if self.runtime.failure == "predict":
            raise RuntimeError("Unable to compute the prediction using a neural network model.\nIt gave an error -1.")
        return self._one(data) if isinstance(data, dict) else [self._one(each) for each in data]

    def _one(self, data: dict[str, Any]) -> dict[str, Any]:
        ((name, wants),) = self.described["inputs"].items()
        if set(data) != {name}:
            raise RuntimeError(f"Feature {name} is required but not specified.")
        array = data[name]
        assert isinstance(array, np.ndarray)
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        if not self._takes(array.shape, wants):
            raise RuntimeError(f"MultiArray shape {array.shape} does not match the shape specified in the model.")
        answers = {"doubled": array * 2, "means": array.mean(axis=(2, 3))}
        return {
            name: answers[each["computes"]].astype(each.get("dtype", "float32"))
            for name, each in self.described["outputs"].items()
            if each["computes"] in answers
        }

    @staticmethod
    def _takes(shape: tuple[int, ...], wants: dict[str, Any]) -> bool:
        if ranges := wants.get("shapeRange"):
            return all(low <= side <= high for side, (low, high) in zip(shape, ranges, strict=True))
        return list(shape) in [wants["shape"], *wants.get("enumeratedShapes", [])]


def write_package(
    path: Path,
    shape: tuple[int | None, ...],
    *,
    more: tuple[tuple[int, ...], ...] = (),
    names: dict[str, str] | None = None,
    noted: bool = True,
    kind: str = "mlProgram",
    **described: Any,
) -> Path:
    """Write a package whose input is ``picture``.

    Args:
        path: where to.
        shape: of the input; None where any size from 1 to 512 will do.
        more: further shapes that the input may have.
        names: what its outputs ``doubled`` and ``means`` are called in it.
        noted: as ``streamtrack models export`` leaves it, notes and all.
        kind: what it holds.
        described: more of the input: ``kind``, ``type``.
    """
    names = names or {"doubled": "doubled", "means": "means"}
    wants: dict[str, Any] = {"shape": [side or 1 for side in shape], **described}
    if more:
        wants["enumeratedShapes"] = [list(each) for each in (shape, *more)]
    if None in shape:
        wants["shapeRange"] = [(side or 1, side or 512) for side in shape]
    free = tuple(None if len({each[n] for each in (shape, *more)}) > 1 else side for n, side in enumerate(shape))
    shapes = {"doubled": free, "means": free[:2]}
    # Core ML tells no shape of an output that depends on the input.
    outputs = {names[n]: {"computes": n, "shape": [] if None in s else list(s)} for n, s in shapes.items()}
    notes = Notes(
        sha256="0" * 64,
        precision="fp16",
        outputs=tuple(Output(name, names[name], shape) for name, shape in shapes.items()),
        spec={"name": "conformance", "head": "yunet", "channels": "bgr"},
    )
    metadata = {NOTES_KEY: msgspec.json.encode(notes).decode()} if noted else {}
    path.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"kind": kind, "inputs": {"picture": wants}, "outputs": outputs, "metadata": metadata})
    (path / "model.json").write_text(text, encoding="utf-8")
    return path


def edit(package: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change what a package describes."""
    described = json.loads((package / "model.json").read_text(encoding="utf-8"))
    change(described)
    (package / "model.json").write_text(json.dumps(described), encoding="utf-8")


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    """Core ML on a Mac."""
    fake = FakeRuntime()
    monkeypatch.setitem(sys.modules, "coremltools", fake)
    fake.__spec__ = SimpleNamespace(name="coremltools")  # type: ignore[assignment]
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "mac_ver", lambda: ("15.1", ("", "", ""), "arm64"))
    return fake


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """``write(shape, **options)`` writes a package into the test's folder."""
    return partial(write_package, tmp_path / "model.mlpackage")


@pytest.fixture
def change() -> Callable[[Path, Callable[[dict[str, Any]], Any]], None]:
    """``change(package, how)`` edits what a package describes."""
    return edit
