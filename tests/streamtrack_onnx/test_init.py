"""The package as an entry point sees it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import streamtrack_onnx


def test_the_runtime_is_loaded_only_when_the_backend_is_asked_for() -> None:
    code = (
        "import sys, streamtrack_onnx; assert 'onnxruntime' not in sys.modules; "
        "streamtrack_onnx.OnnxBackend; assert 'onnxruntime' in sys.modules and 'onnx' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_there_is_nothing_else() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Backend'"):
        streamtrack_onnx.Backend  # noqa: B018
