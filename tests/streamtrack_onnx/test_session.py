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


def test_a_free_batch_is_one_unless_more_is_asked_for() -> None:
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


class SmallDevice(Runtime):
    """Has room for so many pictures."""

    def __init__(self, room: int, batch: int | str = "batch") -> None:
        super().__init__(batch)
        self.room = room
        self.tried: list[int] = []

    def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.tried.append(len(feeds["picture"]))
        if self.tried[-1] > self.room:
            raise RuntimeError("Failed to allocate memory for requested buffer of size 1228800")
        return super().run(names, feeds)


@pytest.mark.parametrize(("room", "count", "tried"), [(4, 8, [8, 4, 4]), (3, 5, [5, 3, 2]), (4, 7, [7, 4, 3])])
def test_without_memory_for_a_batch_it_is_halved_from_then_on(room: int, count: int, tried: list[int]) -> None:
    device, said = SmallDevice(room), []
    session = OnnxSession(device, "cuda", "m.onnx", batch=8, say=said.append)
    batch = np.arange(count * 12, dtype=np.float32).reshape(count, 3, 2, 2)
    for _ in range(2):
        np.testing.assert_array_equal(session.run(batch)["sums"], batch.sum(axis=(2, 3)))
    assert device.tried == tried + tried[1:]
    assert said == [f"cuda has not enough memory for {count} pictures at once: taking {tried[1]}"]


@pytest.mark.parametrize(("room", "batch", "count"), [(0, "batch", 1), (1, "batch", 8), (1, 4, 4)])
def test_halving_happens_once(room: int, batch: int | str, count: int) -> None:
    session = OnnxSession(SmallDevice(room, batch), "cuda", "m.onnx", batch=8)
    with pytest.raises(InferenceError, match=r"^cuda has not enough memory to run m\.onnx on \d of 2x2: use a smaller"):
        session.run(np.ones((count, 3, 2, 2), np.float32))


def test_an_output_without_the_batch_is_an_error() -> None:
    class Merging(Runtime):
        def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
            return [np.concatenate(super().run(names, feeds)[0])]

    session = OnnxSession(Merging("batch"), "cpu", "m.onnx", batch=2)
    assert session.run(np.ones((1, 3, 2, 2), np.float32))["sums"].shape == (3,), "of one picture it is whole"
    with pytest.raises(InferenceError, match=r"Output sums of m\.onnx has shape \(6,\) for 2 pictures"):
        session.run(np.ones((2, 3, 2, 2), np.float32))


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
