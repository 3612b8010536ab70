"""The package as an entry point sees it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import streamtrack_tensorrt


def test_the_backend_is_loaded_only_when_it_is_asked_for_and_the_runtime_later_still() -> None:
    code = (
        "import sys, streamtrack_tensorrt; assert 'streamtrack_tensorrt.backend' not in sys.modules; "
        "assert streamtrack_tensorrt.TensorRTBackend().name == 'tensorrt'; "
        "assert not {'tensorrt', 'pycuda'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_there_is_nothing_else() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Backend'"):
        streamtrack_tensorrt.Backend  # noqa: B018
