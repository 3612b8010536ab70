"""The package as an entry point sees it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import streamtrack_coreml


def test_the_runtime_is_loaded_only_with_a_model() -> None:
    code = (
        "import sys, streamtrack_coreml; assert 'numpy' not in sys.modules; "
        "streamtrack_coreml.CoreMLBackend(); assert not {'coremltools', 'torch', 'onnx'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_there_is_nothing_else() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Backend'"):
        streamtrack_coreml.Backend  # noqa: B018
