"""The cost of a frame is measured with what is there, and nothing is fetched."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest

from streamtrack import config
from streamtrack.doctor.effort import measure_inference
from streamtrack.fetch import Asset
from streamtrack.models import zoo
from streamtrack.settings import Config
from streamtrack.testing.models import write_square_detector
from streamtrack.testing.results import make_frame


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STREAMTRACK_MODEL_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "models"


def settings(**detector: str) -> Config:
    return config.resolve(None, {f"detector.{key}": value for key, value in detector.items()}).config


def test_without_a_model_or_a_picture_nothing_is_measured(cache: Path) -> None:
    assert "no model is in the cache" in measure_inference([make_frame(0)], settings()).note
    assert "no model is in the cache" in measure_inference([make_frame(0)], settings(model="yunet")).note
    assert "no picture" in measure_inference([], settings()).note
    assert not cache.exists()


def test_a_model_given_by_path_is_measured(tmp_path: Path) -> None:
    path = write_square_detector(tmp_path / "squares.onnx")
    found = measure_inference([make_frame(0), make_frame(1)], settings(model=str(path), head="centerface"))
    assert (found.model, found.device, found.note) == ("squares", "cpu", "")
    assert found.wall_ms is not None
    assert found.cpu_ms is not None
    assert min(found.wall_ms, found.cpu_ms) > 0


def test_the_first_model_of_the_cache_is_taken(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir()
    path = write_square_detector(cache / "squares.onnx")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    asset = Asset(filename=path.name, sha256=digest, size=path.stat().st_size, sources=())
    spec = msgspec.structs.replace(zoo.ZOO["centerface"].spec, input_size=(96, 128))
    entry = zoo.ZooEntry(spec=spec, asset=asset, licence="none", origin="here")
    monkeypatch.setitem(zoo.ZOO, "centerface", entry)
    assert measure_inference([make_frame(0)], settings()).model == "centerface"


def test_a_model_that_does_not_work_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    found = measure_inference([make_frame(0)], settings(model=str(tmp_path / "broken.onnx")))
    assert found.cpu_ms is None
    assert "broken.onnx" in found.note
