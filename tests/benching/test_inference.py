from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamtrack import registry
from streamtrack.benching.inference import PICTURES, peak_memory_mb, pictures, run_inference
from streamtrack.benching.tasks import InferenceTask, Measured, Unfit
from streamtrack.errors import BackendError, SourceError
from streamtrack.models.spec import ModelSpec

from .samples import make_case


def task(squares: Path, spec: ModelSpec, clip: Path, *, seconds: float = 0.02, **case: Any) -> InferenceTask:
    return InferenceTask(
        case=make_case(**case), path=str(squares), spec=spec, clip=str(clip), seconds=seconds, cache_dir=""
    )


def test_a_case_is_timed_and_hands_back_what_it_found(squares: Path, spec: ModelSpec, clip: Path) -> None:
    found = run_inference(task(squares, spec, clip))
    assert isinstance(found, Measured)
    assert (found.device, found.input_hw) == ("cpu", (192, 320))
    assert len(found.call_ms) == len(found.detect_ms) == found.frames >= 5
    assert all(0 < call < detect for call, detect in zip(found.call_ms, found.detect_ms, strict=True))
    assert sum(found.detect_ms) <= 1000 * found.wall_s
    assert [len(each.boxes) for each in found.found] == [2] * PICTURES
    assert found.peak_memory_mb > 10


def test_a_batch_is_one_call(squares: Path, spec: ModelSpec, clip: Path) -> None:
    found = run_inference(task(squares, spec, clip, batch=4))
    if isinstance(found, Unfit):  # the runtime decides how many it takes
        assert "at a time" in found.reason
    else:
        assert found.frames == 4 * len(found.call_ms)


def test_no_seconds_are_no_calls(squares: Path, spec: ModelSpec, clip: Path) -> None:
    found = run_inference(task(squares, spec, clip, seconds=0))
    assert isinstance(found, Measured)
    assert (found.call_ms, found.frames, len(found.found)) == ([], 0, PICTURES)


def test_a_size_that_a_model_does_not_take_is_no_case(spec: ModelSpec, clip: Path, squares: Path) -> None:
    import onnx

    fixed = onnx.load(str(squares))
    for dimension, value in zip(fixed.graph.input[0].type.tensor_type.shape.dim[2:], (64, 96), strict=True):
        dimension.dim_value = value
    path = squares.with_name("fixed.onnx")
    onnx.save(fixed, str(path))
    only = msgspec.structs.replace(spec, dynamic_size=False)
    assert run_inference(task(path, only, clip, size=320)) == Unfit("its input is fixed at 96x64")
    assert isinstance(run_inference(task(path, only, clip, size=0, seconds=0)), Measured)


def test_a_backend_that_says_why_it_cannot_is_not_tried(
    squares: Path, spec: ModelSpec, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Picky:
        def unavailable(self, device: str) -> str | None:
            return f"no driver for {device}"

    monkeypatch.setattr(
        registry, "load", lambda kind, name, load=registry.load: Picky if name == "onnx" else load(kind, name)
    )
    with pytest.raises(BackendError, match="no driver for cpu"):
        run_inference(task(squares, spec, clip))


def test_pictures_are_spread_over_the_clip(clip: Path) -> None:
    found = pictures(str(clip), 5)
    assert [frame.index for frame in found] == [0, 10, 20, 30, 40]
    assert [frame.index for frame in pictures(str(clip), 60)][48:52] == [48, 49, 0, 1]
    with pytest.raises(SourceError):
        pictures(str(clip.with_name("absent.mp4")))


def test_memory_is_that_of_this_process() -> None:
    assert 10 < peak_memory_mb() < 100_000
