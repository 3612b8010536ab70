"""Network feeds and cameras: what FFmpeg opens, kept going for as long as it takes."""

from __future__ import annotations

import re
from functools import partial

from streamtrack.api import SourceOptions
from streamtrack.errors import ConfigError, did_you_mean
from streamtrack.sources._avfeed import Limits, pictures, target
from streamtrack.sources._connection import ThreadedConnection
from streamtrack.sources._supervisor import Policy, Supervisor

_TRANSPORTS = ("auto", "tcp", "udp")


class LiveSource(Supervisor):
    """A ``Source`` over RTSP, RTMP, HTTP (HLS, FLV, MJPEG), MPEG-TS over UDP or TCP, RTP by an SDP file, or a camera.

    It reconnects by itself: see ``Supervisor``. Pictures are delivered from the first keyframe of each connection on.
    Their time of capture is the sender's own where it gives that (RTCP sender reports), else that of arrival.
    """

    def __init__(
        self,
        uri: str,
        options: SourceOptions,
        *,
        transport: str = "auto",
        timeout_s: float = 5.0,
        first_frame_s: float = 10.0,
        reconnect: bool = True,
        give_up_s: float = 0.0,
        camera_size: str = "",
        camera_fps: float = 0.0,
    ) -> None:
        """Take note of what to open.

        Args:
            uri: a URL, ``/dev/videoN``, ``avfoundation:N``, ``dshow:video=NAME``, or the path of an SDP file.
            options: what any source is asked for.
            transport: of RTSP: ``tcp``, ``udp``, or ``auto``, which is TCP unless the server refuses it.
            timeout_s: without a frame for so long, the connection is given up.
            first_frame_s: likewise before its first frame.
            reconnect: whether to connect anew; without, the first failure ends the run.
            give_up_s: end the run after so long without a frame; 0 never does.
            camera_size: WIDTHxHEIGHT px to ask a camera for; empty for its own.
            camera_fps: frames a second to ask a camera for; 0 for its own.

        Raises:
            ConfigError: the options make no sense.
        """
        if transport not in _TRANSPORTS:
            raise ConfigError(
                f"Option transport of a live source must be one of {', '.join(_TRANSPORTS)}, got '{transport}'."
                f"{did_you_mean(transport, _TRANSPORTS)}"
            )
        if camera_size and not re.fullmatch(r"[1-9]\d*x[1-9]\d*", camera_size):
            raise ConfigError(f"Option camera_size must be WIDTHxHEIGHT, such as 1280x720, got '{camera_size}'.")
        policy = Policy(timeout_s=timeout_s, first_frame_s=first_frame_s, reconnect=reconnect, give_up_s=give_up_s)
        asked = target(uri, transport=transport, camera_size=camera_size, camera_fps=camera_fps)
        # A little longer than whoever reads is patient: it should say what happened, and this only end the thread.
        limits = Limits(open_s=first_frame_s, read_s=max(timeout_s, first_frame_s) + 1)
        super().__init__(uri, options, lambda: ThreadedConnection(partial(pictures, asked, limits)), policy)
