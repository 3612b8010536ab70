"""OnnxSession: what the conformance suite cannot see from outside."""

from __future__ import annotations

import numpy as np
import pytest

from streamtrack.errors import InferenceError
from streamtrack_onnx.session import OnnxSession, first_line


class Value:
    def __init__(self, name: str, shape: list[int | str | None]) -> None:
        self.name, self.shape = name, shape


class Runtime:
    """Stands in for ``onnxruntime.InferenceSession``; fails when told to."""

    def __init__(self, batch: int | str) -> None:
        self.batch = batch
        self.seen: list[np.ndarray] = []
        self.error: Exception | None = None

    def get_inputs(self) -> list[Value]:
        return [Value("picture", [self.batch, 3, 2, 2])]

    def get_outputs(self) -> list[Value]:
        return [Value("sums", [self.batch, "n"])]

    def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        if self.error:
            raise self.error
        assert names == ["sums"]
        self.seen.append(feeds["picture"])
        return [feeds["picture"].sum(axis=(2, 3))]


def test_a_small_batch_is_filled_up_with_zeros_that_do_not_come_back() -> None:
    runtime = Runtime(4)
    session = OnnxSession(runtime, "cpu", "m.onnx")
    tensors = session.run(np.ones((3, 3, 2, 2), np.float32))
    assert runtime.seen[0].shape == (4, 3, 2, 2)
    assert not runtime.seen[0][3].any()
    np.testing.assert_array_equal(tensors["sums"], np.full((3, 3), 4.0))


def test_a_free_batch_is_not_used_on_the_cpu() -> None:
    session = OnnxSession(Runtime("batch"), "cpu", "m.onnx")
    assert session.max_batch == 1
    assert session.outputs == (("sums", (None, None)),)


def test_a_failure_while_running_is_an_inference_error_with_its_cause() -> None:
    runtime = Runtime(1)
    runtime.error = ValueError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : it broke.\nmore\nlines")
    session = OnnxSession(runtime, "cpu", "m.onnx")
    with pytest.raises(InferenceError, match=r"^Model m\.onnx failed to run: it broke\.$") as caught:
        session.run(np.ones((1, 3, 2, 2), np.float32))
    assert caught.value.__cause__ is runtime.error


@pytest.mark.parametrize(
    ("text", "gist"),
    [
        ("[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from a.onnx failed:Protobuf parsing failed.",
         "Protobuf parsing failed"),
        ("[ONNXRuntimeError] : 1 : FAIL : Load model from a.onnx failed:/src/onnxruntime/model.cc:256 "
         "onnxruntime::Model::Model(onnx::ModelProto&&, bool) Unsupported model IR version: 99, max 13\n",
         "Unsupported model IR version: 99, max 13"),
        ("Got : 3 Expected : 4", "Got : 3 Expected : 4"),
        ("", "ValueError"),
    ],
)  # fmt: skip
def test_first_line(text: str, gist: str) -> None:
    assert first_line(ValueError(text)) == gist
