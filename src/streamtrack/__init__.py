"""streamtrack turns moving pictures into tracks, as they arrive.

``with streamtrack.Pipeline("video.mp4") as pipeline: for result in pipeline: ...``, or
``streamtrack.run("video.mp4", out="out")``.

Importing this package loads no decoder, no runtime and no numba; they come with the first use of a name below.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamtrack.build import Pipeline, RunSummary, run
    from streamtrack.errors import (
        BackendError,
        ConfigError,
        InternalError,
        PluginError,
        SinkError,
        SourceError,
        StreamtrackError,
    )
    from streamtrack.metrics import Progress
    from streamtrack.types import CONFIRMED, LOST, TENTATIVE, Detections, Frame, Result, TrackUpdate

_HOMES = {
    "streamtrack.build": ("Pipeline", "RunSummary", "run"),
    "streamtrack.metrics": ("Progress",),
    "streamtrack.errors": (
        "BackendError",
        "ConfigError",
        "InternalError",
        "PluginError",
        "SinkError",
        "SourceError",
        "StreamtrackError",
    ),
    "streamtrack.types": ("CONFIRMED", "LOST", "TENTATIVE", "Detections", "Frame", "Result", "TrackUpdate"),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "CONFIRMED",
    "LOST",
    "TENTATIVE",
    "BackendError",
    "ConfigError",
    "Detections",
    "Frame",
    "InternalError",
    "Pipeline",
    "PluginError",
    "Progress",
    "Result",
    "RunSummary",
    "SinkError",
    "SourceError",
    "StreamtrackError",
    "TrackUpdate",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'streamtrack' has no attribute '{name}'")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
