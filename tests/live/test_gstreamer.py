"""A camera through GStreamer: when its frames were captured, and its server gone and back."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest
from servers import Clips, RtspServer, needs_servers, read_clock

from streamtrack.api import SourceOptions
from streamtrack.errors import PluginError, SourceOpenError
from streamtrack.sources import _gst
from streamtrack.sources.gstreamer import GstSource
from streamtrack.testing.sources import opened
from streamtrack.types import FeedState

DECODE = "rtph264depay ! h264parse ! openh264dec"


@pytest.fixture(autouse=True)
def _bindings() -> None:
    try:
        _gst.libraries()
    except PluginError as error:
        if "is for Python" in str(error):
            pytest.skip(str(error))
        raise


@needs_servers
def test_the_time_of_capture_is_the_cameras(clips: Clips) -> None:
    with RtspServer(clips, clock=True) as server:
        feed = f"rtspsrc location={server.url} latency=200 add-reference-timestamp-meta=true"
        source = opened(GstSource(f"{feed} ! {DECODE}", SourceOptions()))
        assert source.stats.corrupt <= 15
        off_ms = []
        for frame in islice(source, 75):
            assert frame.captured_ns is not None
            off_ms.append(abs(frame.captured_ns / 1e6 - read_clock(frame.rgb())))
        source.close()
    # Of arrival at least the 200 ms would be told that the jitter buffer holds a frame back.
    assert sorted(off_ms)[len(off_ms) // 2] < 120


@needs_servers
def test_it_comes_back_with_its_server(clips: Clips) -> None:
    states: list[FeedState] = []
    with RtspServer(clips) as server:
        options = SourceOptions(on_state=lambda state, reason: states.append(state))
        source = opened(GstSource(f"rtspsrc location={server.url} latency=50 ! {DECODE}", options))
        frames = list(islice(source, 20))
        server.restart()
        frames += islice(source, 20)
        source.close()
    assert [frame.index for frame in frames] == list(range(40))
    assert all(a.pts_ns < b.pts_ns for a, b in pairwise(frames))
    assert source.stats.reconnects == 1
    assert [states[0], states[1], states[-1]] == ["connecting", "live", "live"]


@needs_servers
@pytest.mark.parametrize(("password", "path", "said"), [("wrong99", "/live", "401"), ("right99", "/nothing", "404")])
def test_what_will_not_get_better_is_told(clips: Clips, password: str, path: str, said: str) -> None:
    with RtspServer(clips, user="me", password="right99", digest=True) as server:
        pipeline = f"rtspsrc location={server.url_for('me', password, path)} ! {DECODE}"
        with pytest.raises(SourceOpenError, match=said) as caught:
            opened(GstSource(pipeline, SourceOptions(), reconnect=False))
    assert caught.value.__cause__.lasting  # type: ignore[union-attr]
    assert password not in str(caught.value)
