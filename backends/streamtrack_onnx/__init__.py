"""ONNX Runtime as a streamtrack backend.

``OnnxBackend`` is imported when it is first asked for, so that listing plug-ins does not load the runtime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamtrack_onnx.backend import OnnxBackend

__all__ = ["OnnxBackend"]


def __getattr__(name: str) -> Any:
    if name != "OnnxBackend":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from streamtrack_onnx.backend import OnnxBackend

    return OnnxBackend
