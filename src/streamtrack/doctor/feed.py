"""Opening a live feed as a run does, for its packets instead of its pictures."""

from __future__ import annotations

import time
from typing import Any

import av

from streamtrack.errors import SourceOpenError, redact
from streamtrack.sources._avfeed import Target, target
from streamtrack.sources._container import Input, hide_secrets, reason

_TIMEOUTS_S = (5, 5)  # to open, and for each read


def open_feed(uri: str, options: dict[str, Any]) -> Input:
    """Open what the source ``live`` serves.

    Args:
        uri: a URL or a camera, its own options taken off.
        options: the source's own.

    Raises:
        SourceOpenError: it cannot be opened; the message says why and what to do.
    """
    asked = target(
        uri,
        transport=options.get("transport", "auto"),
        camera_size=options.get("camera_size", ""),
        camera_fps=options.get("camera_fps", 0.0),
    )
    label, began_s = redact(uri), time.monotonic()
    try:
        container = av.open(
            asked.url, "r", asked.format, dict(asked.options), timeout=_TIMEOUTS_S, metadata_errors="replace"
        )
    except (av.FFmpegError, ValueError, OSError) as error:
        why = _why(asked, error, time.monotonic() - began_s)
        raise SourceOpenError(f"{label} cannot be opened: {why}.") from hide_secrets(error)
    # A playlist may be of a recording: then it has an end.
    return Input(container, label, label, live=asked.lasts or not container.duration, is_file=False)


def _why(asked: Target, error: Exception, waited_s: float) -> str:
    if isinstance(error, av.ProtocolNotFoundError):
        return f"this FFmpeg knows no {asked.url.partition(':')[0]}; try GStreamer (gst:PIPELINE)"
    if asked.camera:
        return f"{getattr(error, 'strerror', None) or 'FFmpeg has no such kind of camera'}; check that it is plugged in"
    return reason(error, waited_s=waited_s, limit_s=_TIMEOUTS_S[0])
