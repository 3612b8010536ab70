"""CoreMLBackend: the contract of every backend, kept with a coremltools that has Core ML's rules, and its own."""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamtrack.api import Backend, BackendOptions
from streamtrack.errors import BackendError, ModelLoadError
from streamtrack.models.spec import ModelSpec
from streamtrack.testing.backends import BackendConformance, Shape, pictures
from streamtrack_coreml import CoreMLBackend
from streamtrack_coreml import export as export_module
from streamtrack_coreml.package import file_name

Writer = Callable[..., Path]

PLAIN = ModelSpec(name="plain", head="auto")
MAC = BackendOptions(device="mps")


class TestCoreMLBackend(BackendConformance):
    @pytest.fixture(autouse=True)
    def _writer(self, write: Writer, runtime: Any) -> None:
        self._write = write

    def make_backend(self) -> Backend:
        return CoreMLBackend()

    def make_model(self, folder: Path, shape: Shape) -> Path:
        return self._write(shape)

    def test_frees_a_fixed_size(self, tmp_path: Path) -> None:
        """What is compiled for a size stays at it: the detector scales its pictures to that."""
        session = self.load(tmp_path, (1, 3, 32, 64), dynamic=True)
        assert session.input_shape == (1, 3, 32, 64)
        self.check(session, pictures(1, (32, 64)))

    @pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "noise"])
    def test_a_file_that_is_no_model_is_a_load_error_that_names_it(self, tmp_path: Path, damage: str) -> None:
        """A package is a folder: what is damaged is the specification in it, or all of it is gone."""
        path = self.make_model(tmp_path, (1, 3, 32, 64))
        inside = path / "model.json"
        whole = inside.read_bytes()
        if damage == "missing":
            inside.unlink()
            path.rmdir()
        else:
            noise = np.random.default_rng(0).bytes(len(whole))
            inside.write_bytes({"empty": b"", "truncated": whole[: len(whole) // 2], "noise": noise}[damage])
        with pytest.raises(ModelLoadError, match=path.name) as caught:
            self.make_backend().load(path, PLAIN, BackendOptions(device="cpu"))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("device", "provider", "units", "runs_on"),
    [
        ("auto", "", "ALL", "mps"),
        ("mps", "", "ALL", "mps"),
        ("cpu", "", "CPU_ONLY", "cpu"),
        ("auto", "cpu_only", "CPU_ONLY", "cpu"),
        ("mps", "cpu_and_ne", "CPU_AND_NE", "mps"),
        ("mps", "cpu_and_gpu", "CPU_AND_GPU", "mps"),
    ],
)
def test_compute_units(write: Writer, runtime: Any, device: str, provider: str, units: str, runs_on: str) -> None:
    options = BackendOptions(device=device, provider=provider)
    session = CoreMLBackend().load(write((1, 3, 32, 64)), PLAIN, options)
    assert [unit.name for _, unit in runtime.loaded] == [units]
    assert session.device == runs_on


@pytest.mark.parametrize(
    ("device", "provider", "complaint"),
    [
        ("mps", "gpu", "no compute units 'gpu': use all, cpu_and_ne"),
        ("cpu", "cpu_and_ne", "not what --device cpu means"),
        ("mps", "cpu_only", "not what --device mps means"),
        ("cuda", "", "does not run on 'cuda'"),
    ],
)
def test_what_cannot_be_asked_for(write: Writer, runtime: Any, device: str, provider: str, complaint: str) -> None:
    with pytest.raises(BackendError, match=complaint):
        CoreMLBackend().load(write((1, 3, 32, 64)), PLAIN, BackendOptions(device=device, provider=provider))


@pytest.mark.parametrize("device", ["auto", "mps", "cpu"])
def test_elsewhere_than_on_macos_it_says_so_and_what_to_use(
    write: Writer, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    with pytest.raises(BackendError, match=r"macOS alone, and this is Linux\. Use --backend onnx, on --device cpu"):
        CoreMLBackend().load(write((1, 3, 32, 64)), PLAIN, BackendOptions(device=device))
    assert CoreMLBackend().unavailable("mps") == "Core ML exists on macOS alone, and this is Linux."


def test_a_missing_runtime_is_named_with_how_to_install_it(write: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.delitem(sys.modules, "coremltools", raising=False)
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "coremltools" else real(name, *a))
    with pytest.raises(BackendError, match=r"pip install 'streamtrack\[coreml\]'"):
        CoreMLBackend().load(write((1, 3, 32, 64)), PLAIN, MAC)


def test_a_broken_runtime_is_an_error_that_says_why(
    write: Writer, runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "coremltools", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(BackendError, match=r"cannot be imported .*coremltools"):
        CoreMLBackend().load(write((1, 3, 32, 64)), PLAIN, MAC)


def test_it_says_what_it_can_do_where_it_can(runtime: Any) -> None:
    assert CoreMLBackend().unavailable("mps") is None
    assert CoreMLBackend().unavailable("cpu") is None
    assert "does not run on 'cuda'" in str(CoreMLBackend().unavailable("cuda"))


def test_one_of_several_sizes_is_picked(write: Writer, runtime: Any) -> None:
    path = write((1, 3, 64, 64), more=((1, 3, 32, 64),))
    assert CoreMLBackend().load(path, PLAIN, MAC).input_shape == (1, 3, 64, 64)
    session = CoreMLBackend().load(path, PLAIN, BackendOptions(device="mps", input_size=(32, 64)))
    assert session.input_shape == (1, 3, 32, 64)
    assert session.outputs == (("doubled", (1, 3, None, 64)), ("means", (1, 3)))
    batch = pictures(1, (32, 64))
    np.testing.assert_array_equal(session.run(batch)["doubled"], batch * 2)
    with pytest.raises(ModelLoadError, match=r"takes pictures of 64x64, 64x32, not 96x32.*--size 96x32"):
        CoreMLBackend().load(path, PLAIN, BackendOptions(device="mps", input_size=(32, 96)))


@pytest.mark.parametrize("place", ["beside", "cache"])
def test_an_onnx_file_is_run_as_the_package_exported_from_it(
    tmp_path: Path, write: Writer, runtime: Any, place: str
) -> None:
    model = tmp_path / "face.onnx"
    model.write_bytes(b"weights")
    folder = tmp_path if place == "beside" else tmp_path / "cache" / "coreml"
    folder.mkdir(exist_ok=True, parents=True)
    name = file_name(model, hashlib.sha256(b"weights").hexdigest(), [(32, 64)], "fp16")
    write((1, 3, 32, 64)).rename(folder / name)
    options = BackendOptions(device="mps", cache_dir=tmp_path / "cache")
    session = CoreMLBackend().load(model, PLAIN, options)
    assert session.input_shape == (1, 3, 32, 64)
    # Another file of the same name is another model.
    model.write_bytes(b"other weights")
    with pytest.raises(ModelLoadError, match="no package of it was found"):
        CoreMLBackend().load(model, PLAIN, options)


def test_without_a_package_the_error_gives_the_command_that_makes_it(tmp_path: Path, runtime: Any) -> None:
    model = tmp_path / "face.onnx"
    model.write_bytes(b"weights")
    with pytest.raises(ModelLoadError) as caught:
        CoreMLBackend().load(model, PLAIN, MAC)
    assert f"`streamtrack models export {model} --to coreml`" in str(caught.value)
    options = BackendOptions(device="mps", input_size=(384, 640), precision="fp32", cache_dir=tmp_path)
    with pytest.raises(ModelLoadError) as caught:
        CoreMLBackend().load(model, PLAIN, options)
    assert f"{model} --to coreml --size 640x384 --precision fp32`" in str(caught.value)


@pytest.mark.parametrize("name", ["absent.onnx", "absent.mlpackage"])
def test_a_model_that_is_not_there(tmp_path: Path, runtime: Any, name: str) -> None:
    with pytest.raises(ModelLoadError, match=f"There is no .*{name}"):
        CoreMLBackend().load(tmp_path / name, PLAIN, MAC)


@pytest.mark.parametrize(
    ("noted", "precision", "complaint"),
    [
        (True, "fp32", "fp32 was asked for, but .* computes in fp16"),
        (True, "int8", "int8 was asked for"),
        (False, "int8", "a precision it does not tell"),
    ],
)
def test_another_precision_than_the_packages_is_an_error(
    write: Writer, runtime: Any, noted: bool, precision: Any, complaint: str
) -> None:
    path = write((1, 3, 32, 64), noted=noted)
    with pytest.raises(BackendError, match=complaint):
        CoreMLBackend().load(path, PLAIN, BackendOptions(device="mps", precision=precision))


@pytest.mark.parametrize(("noted", "precision"), [(True, "auto"), (True, "fp16"), (False, "auto"), (False, "fp32")])
def test_the_packages_own_precision_will_do(write: Writer, runtime: Any, noted: bool, precision: Any) -> None:
    path = write((1, 3, 32, 64), noted=noted)
    session = CoreMLBackend().load(path, PLAIN, BackendOptions(device="mps", precision=precision))
    assert session.precision == "fp16"


def test_export_is_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, Any]] = []

    def export(*args: Any, **kwargs: Any) -> Path:
        calls.append((args, kwargs))
        return tmp_path

    monkeypatch.setattr(export_module, "export", export)
    given = {"sizes": ((32, 32),), "precision": "fp32", "licence": "MIT", "say": print}
    assert CoreMLBackend().export(Path("a.onnx"), PLAIN, None, **given) == tmp_path  # type: ignore[arg-type]
    assert calls == [((Path("a.onnx"), PLAIN, None), given)]
