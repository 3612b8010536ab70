"""OnnxBackend: the contract of every backend, and what is ONNX Runtime's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from streamtrack.api import Backend, BackendOptions
from streamtrack.errors import BackendError, ModelLoadError
from streamtrack.models.spec import ModelSpec
from streamtrack.testing.backends import BackendConformance, Shape, pictures
from streamtrack_onnx import OnnxBackend, graph, providers, tuning

Writer = Callable[..., Path]

PLAIN = ModelSpec(name="plain", head="auto")
ANY_SIZE = ModelSpec(name="any", head="auto", dynamic_size=True)
CPU = BackendOptions(device="cpu", threads=1)


class TestOnnxBackend(BackendConformance):
    @pytest.fixture(autouse=True)
    def _writer(self, write: Writer) -> None:
        self._write = write

    def make_backend(self) -> Backend:
        return OnnxBackend()

    def make_model(self, folder: Path, shape: Shape) -> Path:
        return self._write(shape)


def test_a_stored_size_that_is_arbitrary_goes_with_its_batch(write: Writer) -> None:
    """CenterFace is stored as (10, 3, 32, 32): filling up ten pictures would cost ten times the work."""
    session = OnnxBackend().load(write((10, 3, 32, 32)), ANY_SIZE, CPU)
    assert session.input_shape == (1, 3, None, None)
    assert session.max_batch == 1
    assert session.outputs[0] == ("doubled", (1, 3, None, None))


def test_another_size_than_the_stored_one(write: Writer) -> None:
    options = BackendOptions(device="cpu", input_size=(96, 160))
    session = OnnxBackend().load(write((1, 3, 32, 32)), PLAIN, options)
    assert session.input_shape == (1, 3, 96, 160)
    batch = pictures(1, (96, 160))
    np.testing.assert_array_equal(session.run(batch)["doubled"], batch * 2)


@pytest.mark.parametrize("options", [CPU, BackendOptions(device="cpu", input_size=(64, 64))])
def test_a_size_that_is_wired_into_the_graph_is_found_at_loading(write: Writer, options: BackendOptions) -> None:
    path = write((1, 3, 32, 32), hard_wired=True)
    OnnxBackend().load(path, PLAIN, CPU)
    with pytest.raises(ModelLoadError, match=r"cannot take an input of \d+x\d+"):
        OnnxBackend().load(path, ANY_SIZE, options)


def test_weights_listed_as_inputs_become_constants(write: Writer) -> None:
    path = write((1, 3, 32, 32), weights_as_inputs=True)
    assert ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).get_overridable_initializers()
    session = OnnxBackend().load(path, PLAIN, CPU)
    assert not session._session.get_overridable_initializers()
    np.testing.assert_array_equal(session.run(pictures(1, (32, 32)))["doubled"], pictures(1, (32, 32)) * 2)


@pytest.mark.parametrize(("stored", "batch"), [((None, 3, None, None), 3), ((1, 3, 32, 64), 1), ((2, 3, 32, 64), 2)])
def test_boxes_are_scaled_to_the_input(write: Writer, stored: Shape, batch: int) -> None:
    path = write(stored, extra_input="orig_target_sizes")
    session = OnnxBackend().load(path, PLAIN, BackendOptions(device="cpu", threads=1, batch=batch))
    assert session.input_shape == stored
    assert session.run(pictures(batch, (32, 64)))["given"].tolist() == [[64, 32]] * batch


@pytest.mark.parametrize("stored", [(1, 32, 64, 3), (None, None, None, 3)])
def test_channels_that_come_last_are_put_there_inside(write: Writer, stored: Shape) -> None:
    session = OnnxBackend().load(write(stored), PLAIN, CPU)
    assert session.input_shape == tuple(stored[axis] for axis in (0, 3, 1, 2))
    batch = pictures(1, (32, 64))
    np.testing.assert_array_equal(session.run(batch)["doubled"], 2 * batch.transpose(0, 2, 3, 1))


def test_channels_that_come_last_at_another_size(write: Writer) -> None:
    session = OnnxBackend().load(write((4, 32, 32, 3)), ANY_SIZE, CPU)
    assert session.input_shape == (1, 3, None, None)
    batch = pictures(1, (64, 96))
    np.testing.assert_array_equal(session.run(batch)["doubled"], 2 * batch.transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    ("shape", "options", "complaint"),
    [
        ((1, 3, 32, 32), {"extra_input": "sizes"}, "2 inputs (picture, sizes)"),
        ((1, 3, 32, 32), {"dtype": TensorProto.FLOAT16}, "tensor(float16)"),
        ((1, 4, 32, 32), {}, "[1, 4, 32, 32]"),
    ],
)
def test_says_what_it_found_and_what_it_expects(
    write: Writer, shape: tuple[int, ...], options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ModelLoadError) as caught:
        OnnxBackend().load(write(shape, **options), PLAIN, CPU)
    assert complaint in str(caught.value)
    assert "expected" in str(caught.value)


def test_an_unknown_operator_or_format_is_told_without_the_runtimes_own_source(tmp_path: Path, write: Writer) -> None:
    path = write((1, 3, 32, 32))
    model = onnx.load(str(path))
    model.ir_version = 99
    onnx.save(model, str(path))
    with pytest.raises(ModelLoadError) as caught:
        OnnxBackend().load(path, PLAIN, CPU)
    assert "Unsupported model IR version: 99" in str(caught.value)
    assert ".cc" not in str(caught.value)


@pytest.mark.parametrize(
    ("device", "provider"), [("cuda", "CUDAExecutionProvider"), ("mps", "CoreMLExecutionProvider")]
)
def test_a_device_that_is_not_there_is_an_error_that_says_what_is_missing(
    write: Writer, device: str, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(BackendError, match=f"needs {provider}.*--device cpu"):
        OnnxBackend().load(write((1, 3, 32, 32)), PLAIN, BackendOptions(device=device))


def test_auto_is_the_cpu(write: Writer) -> None:
    assert OnnxBackend().load(write((1, 3, 32, 32)), PLAIN, BackendOptions()).device == "cpu"


def test_a_provider_that_gives_way_to_another_is_an_error(write: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime replaces a provider that cannot start by the CPU without a word."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    real = ort.InferenceSession
    monkeypatch.setattr(
        ort, "InferenceSession", lambda source, options, **how: real(source, options, ["CPUExecutionProvider"])
    )
    with pytest.raises(BackendError, match="CUDAExecutionProvider was asked for, but CPUExecutionProvider"):
        OnnxBackend().load(write((1, 3, 32, 32)), PLAIN, BackendOptions(device="cuda"))


def test_the_session_is_set_up_for_a_shared_machine(write: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[ort.SessionOptions] = []
    real = ort.InferenceSession
    monkeypatch.setattr(
        ort,
        "InferenceSession",
        lambda source, options, **how: seen.append(options) or real(source, options, **how),
    )
    OnnxBackend().load(write((1, 3, 32, 32)), PLAIN, BackendOptions(threads=3))
    (options,) = seen
    assert options.graph_optimization_level == ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "1"
    assert 0 < int(options.get_session_config_entry("session.intra_op.spin_duration_us")) <= 200


def test_onnx_is_imported_only_to_rewrite(write: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: Path, shape: object) -> bytes:
        raise AssertionError("rewritten without need")

    monkeypatch.setattr(graph, "rewrite", refuse)
    OnnxBackend().load(write((1, 3, 32, 32)), PLAIN, CPU)
    OnnxBackend().load(write((None, 3, None, None)), ANY_SIZE, CPU)
    with pytest.raises(AssertionError):
        OnnxBackend().load(write((1, 3, 32, 32)), ANY_SIZE, CPU)


@pytest.mark.parametrize(("batch", "largest"), [(1, 1), (4, 4)])
def test_a_free_batch_is_used_as_far_as_asked(write: Writer, batch: int, largest: int) -> None:
    session = OnnxBackend().load(write((None, 3, 32, 64)), PLAIN, BackendOptions(threads=1, batch=batch))
    assert session.max_batch == largest
    np.testing.assert_array_equal(session.run(pictures(largest, (32, 64)))["doubled"], pictures(largest, (32, 64)) * 2)


def test_an_arbitrary_batch_is_freed_with_its_size(write: Writer) -> None:
    session = OnnxBackend().load(write((10, 3, 32, 32)), ANY_SIZE, BackendOptions(threads=1, batch=3))
    assert session.max_batch == 3
    np.testing.assert_array_equal(session.run(pictures(3, (64, 32)))["doubled"], pictures(3, (64, 32)) * 2)


def merging_model(path: Path) -> Path:
    """A model that declares its batch free and then puts all pictures into one row, as some exports do."""
    nodes = [helper.make_node("Reshape", ["picture", "shape"], ["merged"])]
    graph = helper.make_graph(
        nodes,
        "merging",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info("merged", TensorProto.FLOAT, ["batch", "cells"])],
        [numpy_helper.from_array(np.array([1, -1]), "shape")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


def test_a_batch_that_is_free_in_name_only_is_not_used(tmp_path: Path) -> None:
    said: list[str] = []
    options = BackendOptions(threads=1, batch=4, say=said.append)
    session = OnnxBackend().load(merging_model(tmp_path / "merging.onnx"), PLAIN, options)
    assert session.max_batch == 1
    assert ["taking pictures one by one" in text for text in said] == [True]
    assert session.run(pictures(1, (32, 32)))["merged"].shape == (1, 3 * 32 * 32)


def unsupported_model(path: Path, operator: str, domain: str = "") -> Path:
    graph = helper.make_graph(
        [helper.make_node(operator, ["picture"], ["out"], domain=domain)],
        "unsupported",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 3, 32, 32])],
    )
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), str(path))
    return path


@pytest.mark.parametrize(("operator", "domain"), [("Teleport", ""), ("EfficientNMS_TRT", "com.nvidia")])
def test_an_operator_that_nobody_knows_is_named(tmp_path: Path, operator: str, domain: str) -> None:
    with pytest.raises(ModelLoadError) as caught:
        OnnxBackend().load(unsupported_model(tmp_path / "odd.onnx", operator, domain), PLAIN, CPU)
    text = str(caught.value)
    assert operator in text
    assert "odd.onnx" in text
    assert "\n" not in text
    assert ".cc" not in text


def test_int8_is_a_property_of_the_model(write: Writer) -> None:
    with pytest.raises(BackendError, match="is not quantized: make one that is with 'streamtrack models quantize'"):
        OnnxBackend().load(write((1, 3, 32, 32)), PLAIN, BackendOptions(precision="int8"))
    assert OnnxBackend().load(write((1, 3, 32, 32)), PLAIN, CPU).precision == "fp32"


def test_threads_are_measured_once_for_a_machine_and_model(
    write: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[list[int]] = []

    def measure(make: Callable[[int], Callable[[], object]]) -> int:
        for threads in (1, 2):
            make(threads)()
        tried.append([1, 2])
        return 2

    monkeypatch.setattr(tuning, "measure", measure)
    options = BackendOptions(cache_dir=tmp_path / "cache")
    path = write((None, 3, None, None))
    sessions = [OnnxBackend().load(path, ANY_SIZE, options) for _ in range(2)]
    assert tried == [[1, 2]]
    chosen = [session._session.get_session_options().intra_op_num_threads for session in sessions]
    assert chosen == [2, 2]
    OnnxBackend().load(path, ANY_SIZE, BackendOptions(threads=1, cache_dir=tmp_path / "cache"))
    OnnxBackend().load(path, ANY_SIZE, BackendOptions())
    assert len(tried) == 1


def test_a_device_without_room_for_a_model_says_so(write: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object, **how: object) -> None:
        raise RuntimeError("CUDA failure 2: out of memory ; GPU=0")

    monkeypatch.setattr(ort, "InferenceSession", full)
    with pytest.raises(BackendError, match=r"not enough memory for .*model\.onnx"):
        OnnxBackend().load(write((1, 3, 32, 32)), PLAIN, CPU)


def test_what_an_accelerator_compiled_is_kept_by_content_and_shape(
    write: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CoreMLExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(providers, "verify", lambda *given: None)
    real, folders = ort.InferenceSession, []

    def create(source: Any, options: Any, providers: list[tuple[str, dict[str, str]]], **how: Any) -> Any:
        folders.extend(given["ModelCacheDirectory"] for _, given in providers if "ModelCacheDirectory" in given)
        return real(source, options, ["CPUExecutionProvider"])

    monkeypatch.setattr(ort, "InferenceSession", create)
    for size in ((32, 32), (32, 32), (64, 64)):
        options = BackendOptions(device="mps", cache_dir=tmp_path, input_size=size)
        OnnxBackend().load(write((1, 3, None, None)), PLAIN, options)
    assert [Path(folder).parent for folder in folders] == [tmp_path / "onnx" / "coreml"] * 3
    assert folders[0] == folders[1] != folders[2]
    assert all(Path(folder).is_dir() for folder in folders)
