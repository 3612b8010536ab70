"""Which candidates there are, which one is taken, and the reason of every one that was not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamtrack import devices, registry
from streamtrack.devices import Candidate, PassedOver, candidates, choose, fingerprint, survey
from streamtrack.errors import BackendError, ModelLoadError, PluginError

CUDA = (Candidate("tensorrt", "cuda"), Candidate("onnx", "cuda"))
APPLE = (Candidate("coreml", "mps"), Candidate("onnx", "mps"))
CPU = Candidate("onnx", "cpu")


@pytest.mark.parametrize(
    ("device", "backend", "provider", "expected"),
    [
        ("auto", "auto", "", (*CUDA, *APPLE, CPU)),
        ("cuda", "auto", "", CUDA),
        ("mps", "auto", "", APPLE),
        ("cpu", "auto", "", (CPU,)),
        ("auto", "onnx", "", (CUDA[1], APPLE[1], CPU)),
        ("auto", "tensorrt", "", (CUDA[0],)),
        ("cpu", "tensorrt", "", (Candidate("tensorrt", "cpu"),)),
        ("abacus", "auto", "", (Candidate("onnx", "abacus"),)),
        ("auto", "constant", "", (Candidate("constant", "auto"),)),
        ("cpu", "constant", "", (Candidate("constant", "cpu"),)),
        ("auto", "auto", "tensorrt", (Candidate("onnx", "cuda", "tensorrt"),)),
        ("mps", "onnx", "coreml", (Candidate("onnx", "mps", "coreml"),)),
        ("auto", "auto", "nonsense", (Candidate("onnx", "auto", "nonsense"),)),
        ("auto", "constant", "fast", (Candidate("constant", "auto", "fast"),)),
    ],
)
def test_what_is_tried_in_which_order(
    device: str, backend: str, provider: str, expected: tuple[Candidate, ...]
) -> None:
    assert candidates(device, backend, provider) == expected


def test_a_provider_of_another_device_is_refused() -> None:
    with pytest.raises(BackendError, match="'tensorrt' runs on cuda, not on cpu"):
        candidates("cpu", "auto", "tensorrt")


def test_candidates_are_named_for_people() -> None:
    names = [str(each) for each in (CPU, Candidate("onnx", "cuda", "tensorrt"), Candidate("constant", "auto"))]
    assert names == ["onnx on cpu", "onnx (tensorrt) on cuda", "constant"]


class Toy:
    def __init__(self, name: str, reasons: dict[str, str]) -> None:
        self.name, self._reasons = name, reasons

    def unavailable(self, device: str) -> str | None:
        return self._reasons.get(device)


class Silent:
    """A backend that does not say where it runs."""

    name = "silent"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Say which backends are installed, and why each cannot run on which device."""

    def installed(**backends: dict[str, str] | None) -> None:
        def load(kind: str, name: str) -> Any:
            assert kind == "backends"
            if name not in backends:
                raise PluginError(f"There is no backend '{name}'.")
            reasons = backends[name]
            return (lambda: Silent()) if reasons is None else (lambda: Toy(name, reasons))

        monkeypatch.setattr(registry, "load", load)

    return installed


NO_GPU = {"cuda": "no CUDA here", "mps": "not a Mac"}


def loads(candidate: Candidate, backend: Any) -> str:
    return f"{backend.name}/{candidate.device}"


def test_the_first_that_can_is_taken_and_the_others_have_their_reason(machine: Callable[..., None]) -> None:
    machine(onnx=NO_GPU, coreml={"mps": "macOS only"})
    said: list[str] = []
    choice = choose(candidates(), loads, tell=said.append)
    assert (choice.candidate, choice.opened) == (CPU, "onnx/cpu")
    assert [(each.backend, each.device, each.reason) for each in choice.passed] == [
        ("tensorrt", "cuda", "There is no backend 'tensorrt'."),
        ("onnx", "cuda", "no CUDA here"),
        ("coreml", "mps", "macOS only"),
        ("onnx", "mps", "not a Mac"),
    ]
    assert said == []


def test_tensorrt_comes_before_the_cuda_provider(machine: Callable[..., None]) -> None:
    machine(onnx={"mps": "not a Mac"}, tensorrt={})
    assert choose(candidates(), loads).opened == "tensorrt/cuda"
    machine(onnx={"mps": "not a Mac"}, tensorrt={"cuda": "TensorRT is not installed"})
    choice = choose(candidates(), loads)
    assert choice.opened == "onnx/cuda"
    assert choice.passed == (PassedOver(backend="tensorrt", device="cuda", reason="TensorRT is not installed"),)


def test_one_that_fails_to_load_is_passed_over_aloud(machine: Callable[..., None]) -> None:
    machine(onnx=NO_GPU, tensorrt={})

    def attempt(candidate: Candidate, backend: Any) -> str:
        if candidate.backend == "tensorrt":
            raise ModelLoadError("operator NonZero is not supported.")
        return loads(candidate, backend)

    said: list[str] = []
    choice = choose(candidates(), attempt, tell=said.append)
    assert choice.opened == "onnx/cpu"
    assert choice.passed[0].reason == "operator NonZero is not supported."
    assert said == ["tensorrt on cuda cannot be used: operator NonZero is not supported."]


def test_a_device_that_was_asked_for_has_no_stand_in(machine: Callable[..., None]) -> None:
    machine(onnx=NO_GPU, tensorrt={"cuda": "no driver."})
    with pytest.raises(BackendError) as caught:
        choose(candidates("cuda"), loads)
    assert str(caught.value) == (
        "Nothing here can run the model on cuda: tensorrt on cuda: no driver; onnx on cuda: no CUDA here."
    )


def failing(candidate: Candidate, backend: Any) -> str:
    raise ModelLoadError(f"{candidate.backend} says no.")


def test_a_backend_that_was_asked_for_gives_its_own_error(machine: Callable[..., None]) -> None:
    machine(onnx={}, tensorrt={"cuda": "no driver"}, silent=None)
    # Alone it is not asked but tried: its own words are the better ones.
    assert choose(candidates("cuda", "tensorrt"), loads).opened == "tensorrt/cuda"
    for backend in ("tensorrt", "silent"):
        with pytest.raises(ModelLoadError, match=f"^{backend} says no"):
            choose(candidates("auto", backend), failing)
    with pytest.raises(PluginError, match="no backend 'constant'"):
        choose(candidates("auto", "constant"), loads)


def test_a_model_that_the_cpu_cannot_load_is_the_models_fault(machine: Callable[..., None]) -> None:
    machine(onnx={"mps": "not a Mac"}, tensorrt={})
    with pytest.raises(ModelLoadError, match=r"^onnx says no"):
        choose(candidates(), failing)


def test_an_error_that_is_no_backends_is_not_swallowed(machine: Callable[..., None]) -> None:
    machine(onnx={})

    def attempt(candidate: Candidate, backend: Any) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        choose(candidates(), attempt)


def test_the_survey_tells_of_every_candidate(machine: Callable[..., None]) -> None:
    machine(onnx=NO_GPU, coreml={"mps": "macOS only"}, silent=None)
    assert [reason for _, reason in survey()] == [
        "There is no backend 'tensorrt'.", "no CUDA here", "macOS only", "not a Mac", None,
    ]  # fmt: skip
    assert list(survey([Candidate("silent", "cuda")])) == [(Candidate("silent", "cuda"), None)]


def test_here_the_cpu_can_always_run() -> None:
    assert dict(survey())[CPU] is None


def test_a_verdict_depends_on_driver_gpu_and_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_NVIDIA", tmp_path / "none")
    without = fingerprint()
    assert any(text.startswith("streamtrack ") for text in without)
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.1\nGCC version: 12\n")
    (tmp_path / "gpus" / "0000:01:00.0" / "information").write_text("Model: \t\t NVIDIA H200\nIRQ: 7\n")
    monkeypatch.setattr(devices, "_NVIDIA", tmp_path)
    more = ("NVRM version: NVIDIA UNIX x86_64 Kernel Module 570.1", "Model: NVIDIA H200")
    assert set(fingerprint()) == {*without, *more}
