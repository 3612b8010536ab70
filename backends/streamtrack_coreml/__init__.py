"""Core ML as a streamtrack backend: runs on macOS, exports anywhere.

``CoreMLBackend`` is imported when it is first asked for, and its runtime when a model is loaded or exported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamtrack_coreml.backend import CoreMLBackend

__all__ = ["CoreMLBackend"]


def __getattr__(name: str) -> Any:
    if name != "CoreMLBackend":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from streamtrack_coreml.backend import CoreMLBackend

    return CoreMLBackend
