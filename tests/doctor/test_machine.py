"""A machine where something is broken is told so, by name, and everything else is still looked at."""

from __future__ import annotations

import builtins
import importlib
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from streamtrack import fetch, registry
from streamtrack.devices import Candidate
from streamtrack.doctor import hardware, machine
from streamtrack.doctor.checks import Check, exit_code
from streamtrack.registry import Plugin

PROBES = {probe.name: probe for probe in machine.PROBES}


def look(name: str) -> Check:
    (found,) = machine.examine((PROBES[name],))
    return found


def break_import(monkeypatch: pytest.MonkeyPatch, package: str, error: Exception) -> None:
    """Let ``import package`` raise, as where a wheel is for another machine."""
    real_import, real_module = builtins.__import__, importlib.import_module

    def failing(name: str, *rest: Any, **named: Any) -> Any:
        if name.partition(".")[0] == package:
            raise error
        return real_import(name, *rest, **named)

    def failing_module(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == package:
            raise error
        return real_module(name, *rest)

    monkeypatch.setattr(builtins, "__import__", failing)
    monkeypatch.setattr(importlib, "import_module", failing_module)


def test_this_machine_can_run() -> None:
    found = machine.examine()
    assert [check.name for check in found] == [probe.name for probe in machine.PROBES]
    assert [check for check in found if check.mark == "problem"] == []
    assert exit_code(found) == 0


@pytest.mark.parametrize(
    ("package", "name"), [("av", "ffmpeg"), ("onnxruntime", "onnxruntime"), ("numba", "packages"), ("PIL", "packages")]
)
def test_a_broken_package_is_a_problem_with_its_cure(monkeypatch: pytest.MonkeyPatch, package: str, name: str) -> None:
    break_import(monkeypatch, package, ImportError("wrong ELF class"))
    found = look(name)
    assert (found.mark, found.exit_code) == ("problem", 3)
    assert "wrong ELF class" in found.text
    assert found.remedy.startswith("pip install --force-reinstall")


def test_the_look_itself_needs_nothing_that_could_be_broken() -> None:
    code = (
        "import sys\nfor name in ('av', 'numpy', 'numba', 'onnxruntime', 'msgspec', 'yaml', 'rich', 'onnx', 'PIL'):\n"
        "    sys.modules[name] = None\nfrom streamtrack.cli import main\nsys.exit(main(['doctor']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 3, done.stderr
    assert "streamtrack cannot run here" in done.stdout
    assert "X ffmpeg" in done.stdout
    assert "cpu" in done.stdout
    assert done.stderr == ""


def test_a_setting_that_cannot_be_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMTRACK_SOURCE__STRIDE", "0")
    found = look("settings")
    assert (found.mark, found.exit_code) == ("problem", 2)
    assert "source.stride" in found.text


def test_what_the_environment_sets_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMTRACK_SOURCE__STRIDE", "3")
    assert "source.stride" in look("settings").facts["from_environment"]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert look("threads").facts["OMP_NUM_THREADS"] == "1"
    assert look("threads").mark == "note"
    assert look("threads").text == "OMP_NUM_THREADS=1: decoding and inference keep to 1 each; --threads says otherwise"
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    assert look("threads").text == "OMP_WAIT_POLICY=passive"


@pytest.mark.parametrize(("name", "mark"), [("pyav", "problem"), ("gst", "note")])
def test_a_broken_plugin_is_fatal_only_where_every_run_needs_it(
    monkeypatch: pytest.MonkeyPatch, name: str, mark: str
) -> None:
    broken = Plugin("sources", name, "a:B", "streamtrack 1", "It cannot be imported.")
    monkeypatch.setattr(registry, "plugins", lambda: [broken])
    found = look("plugins")
    assert found.mark == mark
    assert found.facts["broken"] == {f"sources.{name}": "It cannot be imported."}


def test_not_being_installed_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise machine.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(machine.metadata, "version", missing)
    assert look("streamtrack").mark == "problem"


def answer(monkeypatch: pytest.MonkeyPatch, code: int, out: str = "", err: str = "") -> None:
    done = subprocess.CompletedProcess([], code, out, err)
    monkeypatch.setattr(machine.subprocess, "run", lambda *_, **__: done)


def test_a_missing_gstreamer_is_told_with_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, 1, err="Traceback\nModuleNotFoundError: No module named 'gi'\n")
    found = look("gstreamer")
    assert found.mark == "note"
    assert "No module named 'gi'" in found.text
    packages = "python3-gi gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
    assert packages in found.remedy


def test_missing_elements_of_gstreamer_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, 0, "GStreamer 1.22.0\nappsink videoconvert rtspsrc h264parse avdec_h264 v4l2src\n")
    found = look("gstreamer")
    assert (found.mark, found.facts["version"]) == ("note", "1.22.0")
    assert found.text.endswith("without the elements srtsrc")
    answer(monkeypatch, 0, "GStreamer 1.22.0\n" + " ".join(machine._GST_ELEMENTS))
    assert look("gstreamer").mark == "ok"


def test_protocols_are_asked_for_without_a_network() -> None:
    found = look("protocols").facts
    assert found["rtsp"]
    assert found["http"]
    assert not machine._speaks("nosuch://127.0.0.1:0/")


def test_a_gpu_that_the_runtime_cannot_use_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = {"kind": "nvidia", "name": "A GPU", "memory": "1 MiB", "driver": "1"}
    there = Check("inference", "accelerators", "ok", "A GPU", facts={"accelerators": [gpu]})
    monkeypatch.setattr(hardware, "accelerators", lambda: there)
    assert "onnxruntime-gpu" in look("onnxruntime").remedy
    monkeypatch.setattr(machine, "_version", lambda name: None)
    assert look("runtimes").remedy == "pip install 'streamtrack[tensorrt]'"


def test_versions_of_runtimes_are_told_without_importing_them(monkeypatch: pytest.MonkeyPatch) -> None:
    break_import(monkeypatch, "pytest_timeout", ImportError("takes seconds, and warns"))
    assert machine._version("pytest_timeout") == version("pytest-timeout")
    assert machine._version("no_such_runtime") is None


def test_the_device_that_auto_would_take_is_told_with_the_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = {"tensorrt on cuda": "no driver", "onnx on cpu": None}
    survey = [(Candidate("tensorrt", "cuda"), "no driver"), (Candidate("onnx", "cpu"), None)]
    monkeypatch.setattr("streamtrack.devices.survey", lambda: survey)
    assert (look("device").text, look("device").facts) == ("--device auto takes onnx on cpu", reasons)
    survey[0] = (survey[0][0], None)
    assert look("device").text.startswith("--device auto takes tensorrt on cuda, if the model loads")
    survey[:] = [(survey[0][0], "no driver")]
    assert look("device").mark == "problem"


@pytest.mark.parametrize(
    ("states", "mark", "words"),
    [
        ({}, "note", "none in"),
        ({"face_recognition_sface_2021dec.onnx": "ok"}, "note", "the first run fetches a detector"),
        ({"centerface.onnx": "ok"}, "ok", "centerface in"),
        ({"centerface.onnx": "mismatch"}, "note", "is not the file it should be"),
    ],
)
def test_the_cache_of_models_is_hashed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, states: Mapping[str, str], mark: str, words: str
) -> None:
    monkeypatch.setenv("STREAMTRACK_MODEL_DIR", str(tmp_path))
    monkeypatch.setattr(fetch, "state", lambda asset, _: states.get(asset.filename, "missing"))
    found = look("models")
    assert found.mark == mark
    assert words in found.text
    assert str(tmp_path) in found.text


def test_kernels_without_a_place_are_noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from streamtrack import tracking

    monkeypatch.setattr(tracking, "cache_note", lambda: None)
    monkeypatch.setattr(tracking, "cache_folder", lambda: tmp_path)
    assert "is empty" in look("kernels").text
    (tmp_path / "tracking").mkdir()
    (tmp_path / "tracking" / "f.nbi").write_bytes(b"")
    assert look("kernels").mark == "ok"
    monkeypatch.setattr(tracking, "cache_folder", lambda: None)
    assert "NUMBA_CACHE_DIR" in look("kernels").remedy
