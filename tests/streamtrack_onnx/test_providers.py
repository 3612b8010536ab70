"""Which provider, set up how, and whether it is the one that runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

from streamtrack.api import BackendOptions
from streamtrack.errors import BackendError
from streamtrack_onnx import providers
from streamtrack_onnx.providers import PROVIDERS, choose, configured, verify

EVERY = [provider.name for provider in PROVIDERS.values()]
FREE = ("batch", 3, "height", "width")
MODEL = Path("faces.onnx")


@pytest.fixture
def all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: EVERY)
    monkeypatch.setattr(ort, "preload_dlls", lambda: print("looking for CUDA"), raising=False)


@pytest.mark.usefixtures("all_there")
@pytest.mark.parametrize(
    ("device", "provider", "chosen"),
    [
        ("auto", "", "cpu"),
        ("cpu", "", "cpu"),
        ("cuda", "", "cuda"),
        ("mps", "", "coreml"),
        ("cuda", "tensorrt", "tensorrt"),
        ("auto", "tensorrt", "tensorrt"),
        ("auto", "coreml", "coreml"),
    ],
)
def test_a_provider_by_name_or_by_device(device: str, provider: str, chosen: str) -> None:
    assert choose(BackendOptions(device=device, provider=provider)).key == chosen


@pytest.mark.usefixtures("all_there")
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (BackendOptions(device="tpu"), "no device 'tpu': use auto, cpu, cuda, mps"),
        (BackendOptions(provider="openvino"), "no provider 'openvino': use cpu, cuda, tensorrt, coreml"),
        (BackendOptions(device="cpu", provider="cuda"), "'cuda' runs on device cuda, not on 'cpu'"),
        (BackendOptions(device="cuda", precision="fp16"), "'cuda' cannot compute in fp16: use auto, fp32, int8"),
        (BackendOptions(device="mps", precision="int8"), "'coreml' cannot compute in int8"),
    ],
)
def test_what_cannot_be_is_an_error(options: BackendOptions, complaint: str) -> None:
    with pytest.raises(BackendError, match=complaint):
        choose(options)


@pytest.mark.parametrize(
    ("options", "asked"),
    [(BackendOptions(device="cuda"), "Device 'cuda'"), (BackendOptions(provider="tensorrt"), "Provider 'tensorrt'")],
)
def test_a_provider_that_is_not_built_in_says_what_to_install(
    options: BackendOptions, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(BackendError, match=rf"^{asked} needs \w+, which .* lacks: install onnxruntime-gpu"):
        choose(options)


@pytest.mark.usefixtures("all_there")
def test_what_the_runtime_prints_stays_out_of_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    choose(BackendOptions(device="cuda"))
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "looking for CUDA\n")
    assert sys.stdout is not sys.stderr


def settings(key: str, cache: Path | None = None, shape: providers.Shape = FREE, **options: Any) -> dict[str, str]:
    (first, *_) = configured(PROVIDERS[key], BackendOptions(**options), shape, "picture", cache)
    assert first[0] == PROVIDERS[key].name
    return first[1]


def test_who_takes_what_a_provider_cannot() -> None:
    chains = {
        key: [name for name, _ in configured(PROVIDERS[key], BackendOptions(), FREE, "x", None)] for key in PROVIDERS
    }
    assert chains == {
        "cpu": ["CPUExecutionProvider"],
        "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"],
        "tensorrt": ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
        "coreml": ["CoreMLExecutionProvider", "CPUExecutionProvider"],
    }


def test_cuda() -> None:
    assert settings("cuda")["cudnn_conv_algo_search"] == "HEURISTIC"
    assert (settings("cuda")["use_tf32"], settings("cuda", precision="fp32")["use_tf32"]) == ("1", "0")


def test_tensorrt_keeps_what_it_built_and_has_one_profile_for_every_batch(tmp_path: Path) -> None:
    found = settings("tensorrt", tmp_path, ("batch", 3, 480, 640), precision="fp16", batch=8)
    assert (found["trt_fp16_enable"], found["trt_int8_enable"]) == ("True", "False")
    assert found["trt_engine_cache_path"] == found["trt_timing_cache_path"] == str(tmp_path)
    assert [found[f"trt_profile_{bound}_shapes"] for bound in ("min", "opt", "max")] == [
        "picture:1x3x480x640",
        "picture:8x3x480x640",
        "picture:8x3x480x640",
    ]
    plain = settings("tensorrt")
    assert set(plain) == {"trt_fp16_enable", "trt_int8_enable"}


def test_coreml_is_told_whether_shapes_are_static(tmp_path: Path) -> None:
    found = settings("coreml", tmp_path, (1, 3, 480, 640))
    assert found == {
        "ModelFormat": "MLProgram",
        "MLComputeUnits": "ALL",
        "RequireStaticInputShapes": "1",
        "AllowLowPrecisionAccumulationOnGPU": "0",
        "ModelCacheDirectory": str(tmp_path),
    }
    free = settings("coreml", precision="fp16")
    assert (free["RequireStaticInputShapes"], free["AllowLowPrecisionAccumulationOnGPU"]) == ("0", "1")
    assert "ModelCacheDirectory" not in free


class Part:
    def __init__(self, ep_name: str, nodes: int) -> None:
        self.ep_name, self._nodes = ep_name, nodes

    def get_nodes(self) -> list[int]:
        return [0] * self._nodes


class Placed:
    """Stands in for a session whose nodes were given out."""

    def __init__(self, first: str, *parts: tuple[str, int]) -> None:
        self._first = PROVIDERS[first].name
        self._parts = [Part(PROVIDERS[key].name, nodes) for key, nodes in parts]

    def get_providers(self) -> list[str]:
        return [self._first, "CPUExecutionProvider"]

    def get_provider_graph_assignment_info(self) -> list[Part]:
        return self._parts


@pytest.mark.parametrize(
    ("session", "key", "complaint"),
    [
        (Placed("cpu"), "coreml", "CoreMLExecutionProvider was asked for, but CPUExecutionProvider would run"),
        (Placed("coreml", ("cpu", 90)), "coreml", "takes none of the 90 operations of faces.onnx"),
        (Placed("tensorrt", ("cuda", 80), ("cpu", 10)), "tensorrt", "takes none of the 90 operations"),
    ],
)
def test_the_provider_that_was_asked_for_runs_or_it_is_an_error(session: Placed, key: str, complaint: str) -> None:
    with pytest.raises(BackendError, match=complaint):
        verify(session, PROVIDERS[key], MODEL, print)


@pytest.mark.parametrize(
    ("session", "key", "told"),
    [
        (Placed("coreml", ("coreml", 90)), "coreml", ""),
        (Placed("coreml", ("coreml", 40), ("cpu", 3), ("coreml", 47)), "coreml", "takes 87 of 90 operations"),
        (Placed("tensorrt", ("tensorrt", 80), ("cuda", 10)), "tensorrt", "takes 80 of 90 operations of faces"),
        # Without compiling, pieces cost nothing; sizes are always reckoned on the CPU.
        (Placed("cuda", ("cuda", 1), ("cpu", 1), ("cuda", 1)), "cuda", ""),
        (Placed("cpu", ("cpu", 1)), "cpu", ""),
    ],
)  # fmt: skip
def test_a_graph_in_pieces_is_told(session: Placed, key: str, told: str) -> None:
    said: list[str] = []
    verify(session, PROVIDERS[key], MODEL, said.append)
    assert [told in text for text in said] == [True] * bool(told)


def test_an_older_runtime_does_not_tell_where_nodes_are() -> None:
    class Older:
        def get_providers(self) -> list[str]:
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    said: list[str] = []
    verify(Older(), PROVIDERS["cuda"], MODEL, said.append)
    assert said == []
