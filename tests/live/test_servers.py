"""The equipment itself: every feed is one, and each switch for trouble makes that trouble, seen with plain PyAV."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import pytest
from servers import (
    CLIP_FRAMES,
    FPS,
    Clips,
    FlvFeed,
    HlsFeed,
    MjpegFeed,
    MutePort,
    RefusedPort,
    RtmpFeed,
    RtspServer,
    Server,
    TsHttpFeed,
    TsTcpFeed,
    TsUdpFeed,
    needs_servers,
    read_clock,
)

from streamtrack.testing.clips import UInt8Array, read_index

pytestmark = needs_servers

QUICK = {"fpsprobesize": "0", "analyzeduration": "200000"}


@contextmanager
def opened(url: str, transport: str = "tcp", timeout: float = 5.0) -> Iterator[Any]:
    options = {**QUICK, "rtsp_transport": transport} if url.startswith("rtsp") else QUICK
    with av.open(url, options=options, timeout=(timeout, timeout)) as container:
        container.streams.video[0].thread_type = "SLICE"
        yield container


def pictures(container: Any) -> Iterator[UInt8Array]:
    for frame in container.decode(video=0):
        yield frame.to_ndarray(format="rgb24")


def numbers(container: Any, count: int) -> list[int]:
    stream = pictures(container)
    return [read_index(next(stream)) for _ in range(count)]


def follow(first: int, count: int) -> list[int]:
    return [(first + offset) % CLIP_FRAMES for offset in range(count)]
