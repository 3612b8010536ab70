"""The models of a run, without one: what is told of them before they are resolved, resolved, and open."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from streamtrack import config, inference
from streamtrack.errors import InternalError
from streamtrack.inference import RunModels
from streamtrack.models.zoo import ResolvedModel
from streamtrack.pipeline import RecordedDetector
from streamtrack.testing.models import write_quarters_embedder, write_square_detector


@pytest.fixture
def models(tmp_path: Path) -> RunModels:
    given = {
        "detector.model": str(write_square_detector(tmp_path / "squares.onnx")),
        "embedder.model": str(write_quarters_embedder(tmp_path / "quarters.onnx")),
        "embedder.batch_size": 2,
        "runtime.device": "cpu",
    }
    return RunModels(config.resolve(None, given).config, lambda text: None)


def test_before_anything_is_known_it_says_what_was_asked_for(models: RunModels) -> None:
    assert models.measure().name.endswith("squares.onnx")
    assert models.measure().sha256 == ""
    assert models.measure_embedder() is None
    assert models.about() == {"model": "", "device": "cpu", "backend": "auto"}
    assert (models.passed_over, models.changed_after, models.parity) == ((), None, None)
    with pytest.raises(InternalError, match="no embedder to open"):
        models.open_embedder()


def test_each_is_resolved_once(models: RunModels, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def counting(act: Callable[..., Any]) -> Callable[..., Any]:
        def acting(model: str, *args: Any, **kwargs: Any) -> Any:
            asked.append(Path(model).stem)
            return act(model, *args, **kwargs)

        return acting

    for name in ("resolve", "resolve_embedder"):
        monkeypatch.setattr(inference, name, counting(getattr(inference, name)))
    assert models.resolve() is models.resolve()
    assert models.resolve_embedder() is models.resolve_embedder() is not None
    assert asked == ["squares", "quarters"]


def test_open_it_says_what_runs(models: RunModels) -> None:
    found, embedding = models.resolve(), models.resolve_embedder()
    assert isinstance(embedding, ResolvedModel)
    with closing(models.open_detector()) as detector, closing(models.open_embedder()) as embedder:
        assert models.spec is detector.spec
        assert models.about() == {"model": "squares", "device": "cpu", "backend": "onnx"}
        assert models.measure().sha256 == found.sha256 != ""
        told = models.measure_embedder()
        assert told is not None
        assert (told.sha256, told.batch_size, told.backend) == (embedding.sha256, 2, "onnx")
        assert told.dimension == embedder.dimension


def test_every_backend_that_was_tried_is_interrupted(models: RunModels, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[str] = []

    class Slow:
        def interrupt(self) -> None:
            woken.append("slow")

    def trying(wanted: Any) -> Any:
        wanted.trying(Slow())
        wanted.trying(object())
        raise KeyboardInterrupt

    monkeypatch.setattr(inference, "open_detector", trying)
    with pytest.raises(KeyboardInterrupt):
        models.open_detector()
    models.interrupt()
    assert woken == ["slow"]


def test_what_a_source_brings_along_takes_the_place_of_a_model(models: RunModels) -> None:
    class Recorded:
        spec = models.resolve().spec
        device, origin, note = "cuda", "out/a/detections.jsonl", "as recorded"

    models = RunModels(config.resolve(None, {}).config, lambda text: None)
    models.replay(cast(RecordedDetector, Recorded()))
    assert models.about() == {"model": Recorded.spec.name, "device": "cuda", "backend": "none"}
    told = models.measure()
    assert (told.source, told.note, told.sha256) == ("out/a/detections.jsonl", "as recorded", "")
