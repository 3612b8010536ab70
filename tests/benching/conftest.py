"""A small clip of moving squares, and the model that finds them."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamtrack.models.heads import conventions
from streamtrack.models.spec import ModelSpec
from streamtrack.testing.clips import write_clip
from streamtrack.testing.models import square_frames, write_square_detector


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, a file."""
    return write_square_detector(tmp_path_factory.mktemp("model") / "squares.onnx")


@pytest.fixture(scope="session")
def spec() -> ModelSpec:
    return conventions("centerface", "squares")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds at 25 fps, two squares, 320x192."""
    frames = square_frames(50, [(20, 20, 2, 1), (200, 20, 1, 2)], width=320, height=192)
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames, rate=25)
