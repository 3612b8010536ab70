"""int8: what is quantized, how near it stays, and that a file appears whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from streamtrack.api import BackendOptions
from streamtrack.errors import BackendError, ModelLoadError
from streamtrack.models.spec import ModelSpec
from streamtrack.types import Float32Array
from streamtrack_onnx import OnnxBackend
from streamtrack_onnx.graph import is_quantized
from streamtrack_onnx.quantizing import quantize

SPEC = ModelSpec(name="two", head="auto")


def two_convolutions(*, opset: int = 17, batch: int | str = "batch", named: bool = True) -> onnx.ModelProto:
    """Return a model of two convolutions with a Relu between; the second gives the output through a Sigmoid."""
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.normal(0, 0.3, (8, 3, 3, 3)) / 255,
        "w2": rng.normal(0, 0.3, (2, 8, 3, 3)),
    }
    nodes = [
        helper.make_node("Conv", ["picture", "w1"], ["a"], name="first" * named, pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], name="relu" * named),
        helper.make_node("Conv", ["b", "w2"], ["c"], name="second" * named, pads=[1] * 4),
        helper.make_node("Sigmoid", ["c"], ["score"], name="sigmoid" * named),
    ]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [batch, 3, 32, 32])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [batch, 2, 32, 32])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=6)


def pictures(count: int, seed: int = 0) -> Iterator[Float32Array]:
    rng = np.random.default_rng(seed)
    return (rng.uniform(0, 255, (1, 3, 32, 32)).astype(np.float32) for _ in range(count))


def outputs(path: Path) -> Float32Array:
    session = OnnxBackend().load(path, SPEC, BackendOptions(threads=1))
    return session.run(next(pictures(1, seed=9)))["score"]


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("named", [True, False])
def test_all_but_the_last_convolution_is_in_int8_for_each_channel(tmp_path: Path, opset: int, named: bool) -> None:
    model, out, said = two_convolutions(opset=opset, named=named), tmp_path / "int8.onnx", []
    onnx.save(model, str(tmp_path / "fp32.onnx"))
    quantize(model.SerializeToString(), out, pictures(4), said.append)
    assert is_quantized(out)
    assert said == ["folding constants", "calibrating"]
    graph = onnx.load(str(out)).graph
    # The first convolution's weights became bytes with a scale for each of its 8 channels, the second's did not.
    kinds = {weight.dims[0]: weight.data_type for weight in graph.initializer if len(weight.dims) == 4}
    assert kinds == {8: TensorProto.INT8, 2: TensorProto.FLOAT}
    assert [8] in [list(weight.dims) for weight in graph.initializer if weight.name.endswith("_scale")]
    np.testing.assert_allclose(outputs(out), outputs(tmp_path / "fp32.onnx"), atol=0.05)
    assert not np.array_equal(outputs(out), outputs(tmp_path / "fp32.onnx"))


def test_a_model_of_a_fixed_batch_is_given_whole_ones(tmp_path: Path) -> None:
    quantize(two_convolutions(batch=3).SerializeToString(), tmp_path / "int8.onnx", pictures(2), print)
    session = OnnxBackend().load(tmp_path / "int8.onnx", SPEC, BackendOptions(threads=1))
    assert session.max_batch == 3


def test_the_backend_quantizes_what_it_would_load(tmp_path: Path) -> None:
    """With a size made free, and weights that are no inputs."""
    onnx.save(two_convolutions(batch=10), str(tmp_path / "fp32.onnx"))
    spec = ModelSpec(name="two", head="auto", dynamic_size=True)
    out = tmp_path / "int8.onnx"
    OnnxBackend().quantize(tmp_path / "fp32.onnx", out, spec, pictures(2), lambda text: None)
    session = OnnxBackend().load(out, spec, BackendOptions(threads=1, precision="int8"))
    assert (session.input_shape, session.precision) == ((1, 3, None, None), "int8")


def test_a_model_that_resists_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    model = two_convolutions()
    model.graph.node[1].op_type = "Teleport"
    with pytest.raises(ModelLoadError, match=r"^int8\.onnx cannot be made, the model resists int8: "):
        quantize(model.SerializeToString(), tmp_path / "int8.onnx", pictures(2), lambda text: None)
    assert list(tmp_path.iterdir()) == []


def test_a_model_with_nothing_to_quantize_is_an_error(tmp_path: Path) -> None:
    model = two_convolutions()
    del model.graph.node[:2]
    model.graph.node[0].input[:] = ["picture", "w1"]
    with pytest.raises(ModelLoadError, match="no more than one layer of it has weights"):
        quantize(model.SerializeToString(), tmp_path / "int8.onnx", pictures(2), lambda text: None)


def test_an_opset_that_cannot_be_converted_is_an_error(tmp_path: Path) -> None:
    model = two_convolutions(opset=11)
    model.graph.node[1].op_type = "Teleport"
    with pytest.raises(ModelLoadError, match="opset 11 and cannot be brought to 13"):
        quantize(model.SerializeToString(), tmp_path / "int8.onnx", pictures(2), lambda text: None)


@pytest.mark.parametrize("error", [BackendError("the video ended"), KeyboardInterrupt()])
def test_what_goes_wrong_with_the_pictures_stays_what_it_is(tmp_path: Path, error: BaseException) -> None:
    def broken() -> Iterator[Float32Array]:
        yield from pictures(1)
        raise error

    with pytest.raises(type(error)):
        quantize(two_convolutions().SerializeToString(), tmp_path / "int8.onnx", broken(), lambda text: None)
    assert list(tmp_path.iterdir()) == []
