"""TensorRT as a streamtrack backend, for NVIDIA GPUs: versions 10 and 11, with PyCUDA for memory and streams.

``TensorRTBackend`` is imported when it is first asked for, and the runtime when a model is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamtrack_tensorrt.backend import TensorRTBackend

__all__ = ["TensorRTBackend"]


def __getattr__(name: str) -> Any:
    if name != "TensorRTBackend":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from streamtrack_tensorrt.backend import TensorRTBackend

    return TensorRTBackend
