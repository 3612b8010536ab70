"""Live feeds and cameras through FFmpeg: what to ask it for, and the pictures that it gives.

Everything here but ``target`` runs on a connection's own thread. FFmpeg cannot be woken from outside, so each of its
waits has a limit, after which an abandoned thread ends by itself.
"""

from __future__ import annotations

import errno
import re
import struct
import time
from collections.abc import Generator, Iterator, Mapping
from typing import Final, NamedTuple
from urllib.parse import quote

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamtrack.errors import SourceOpenError, redact
from streamtrack.sources._bitstream import roles_of
from streamtrack.sources._catchup import Backlog, CatchUp
from streamtrack.sources._connection import Arrival, FeedError, FeedInfo, ThreadedConnection
from streamtrack.sources._container import hide_secrets, reason
from streamtrack.sources._losses import Losses
from streamtrack.sources._picture import AvPicture
from streamtrack.types import NS_PER_S

_NETWORK: Final = {"fpsprobesize": "0", "analyzeduration": "200000"}
"""Streams describe themselves; watching them for 5 s to learn their rate, as FFmpeg would, only costs time."""
_SOCKET_BYTES: Final = "2097152"
_SDP_PROTOCOLS: Final = "file,http,https,tcp,tls,udp,rtp,crypto,data"
_CAMERAS: Final = ("v4l2", "avfoundation", "dshow")
_BURSTS: Final = frozenset({"hls", "dash"})
_RECORDED: Final = frozenset({"http", "https"})
# AVFMT_NOTIMESTAMPS (libavformat/avformat.h): times of such formats are counted at a rate that nobody declared.
_NO_TIMESTAMPS: Final = 0x80
_AV_TIME_BASE: Final = 1_000_000
# So many damaged packets in a row, and the connection is of no more use.
_MAX_FAILURES: Final = 64
# Longer than any decoder's delay.
_MAX_CAPTURES: Final = 256

# A URL's authority whose password holds what would end it: rtsp://user:a/b@host.
_USERINFO: Final = re.compile(r"([A-Za-z][\w+.-]*://)(.*)@(.*)", re.DOTALL)

_LASTING: Final = (av.HTTPUnauthorizedError, av.HTTPForbiddenError, av.HTTPNotFoundError, PermissionError)
_HOPELESS: Final = (av.ProtocolNotFoundError, av.DemuxerNotFoundError, av.DecoderNotFoundError)
_CAMERA_REASONS: Final = {
    errno.ENOENT: "there is no such camera; check that it is plugged in",
    errno.ENODEV: "there is no such camera; check that it is plugged in",
    errno.EACCES: "it may not be used; add yourself to the group 'video'",
    errno.EBUSY: "another program uses it",
}
_NETWORK_REASONS: Final = {
    errno.EIO: "the host cannot be found, or broke off; check its name and the network",
    errno.ENOENT: "there is no such file",
    errno.EPROTONOSUPPORT: "the server refuses this transport; leave it to it with transport=auto",
}


class Target(NamedTuple):
    """What FFmpeg is asked to open."""

    url: str
    options: Mapping[str, str]
    format: str | None = None
    """Format to read it as; None lets FFmpeg find out."""
    lasts: bool = True
    """Whether it is without end, whatever duration it declares."""
    camera: bool = False


class Limits(NamedTuple):
    """How long FFmpeg may wait, in seconds."""

    open_s: float
    read_s: float


def target(uri: str, *, transport: str, camera_size: str, camera_fps: float) -> Target:
    """Return what to ask FFmpeg for. No input or output.

    Args:
        uri: as a person writes it: a URL, ``/dev/videoN``, ``v4l2:PATH``, ``avfoundation:N``, ``dshow:video=NAME``, a
            path of an SDP file.
        transport: of RTSP: ``tcp``, ``udp``, or ``auto``, which is TCP unless the server refuses it.
        camera_size: WIDTHxHEIGHT px to ask a camera for; empty for its own.
        camera_fps: frames a second to ask a camera for; 0 for its own.
    """
    camera, _, device = uri.partition(":")
    if uri.startswith("/dev/"):
        camera, device = "v4l2", uri
    if camera in _CAMERAS:
        asked = {"video_size": camera_size, "framerate": f"{camera_fps:g}" if camera_fps else ""}
        return Target(device, {key: value for key, value in asked.items() if value}, camera, camera=True)
    scheme = uri.partition("://")[0].lower()
    options = dict(_NETWORK)
    if scheme in ("rtsp", "rtsps"):
        options["buffer_size"] = _SOCKET_BYTES
        if transport == "auto":
            options["rtsp_flags"] = "prefer_tcp"
        else:
            options["rtsp_transport"] = transport
    elif scheme == "udp":
        # Without the second a reader that is late for once loses the feed instead of some packets; without the third
        # a connection that was given up keeps the port from the next one for some seconds.
        options |= {"buffer_size": _SOCKET_BYTES, "overrun_nonfatal": "1", "reuse": "1"}
    elif uri.partition("?")[0].lower().endswith(".sdp"):
        options["protocol_whitelist"] = _SDP_PROTOCOLS
    return Target(escaped(uri), options, lasts=scheme not in _RECORDED)


def escaped(uri: str) -> str:
    """Return a URL whose user name and password say what they said before, with what would end them escaped.

    People paste passwords that hold ``/``, ``?``, ``#`` or ``@``. What stands before the first of the former is the
    authority; where that has no ``@`` and what follows its colon is no port, the password goes on.
    """
    match = _USERINFO.fullmatch(uri)
    if match is None:
        return uri
    scheme, userinfo, rest = match.groups()
    authority = re.split(r"[/?#]", userinfo + "@" + rest, maxsplit=1)[0]
    if "@" in authority:
        userinfo, _, host = authority.rpartition("@")
        rest = host + uri[len(scheme) + len(authority) :]
    elif authority.startswith("[") or not re.search(r":\D", authority):
        return uri
    return f"{scheme}{quote(userinfo, safe=':%!$&()*+,;=~-._')}@{rest}"


def pictures(asked: Target, limits: Limits, connection: ThreadedConnection) -> Generator[Arrival]:
    """Open a feed and yield its pictures, from its first keyframe on.

    Raises:
        FeedError: it cannot be reached, or broke off.
        SourceOpenError: it never can be.
    """
    container = _open(asked, limits)
    try:
        stream = _pick_video(container)
        codec = stream.codec_context
        # Threads that work on one frame each hold back as many frames; slices may belong to half a picture.
        stream.thread_type, codec.thread_count = "SLICE", 1
        connection.info = _describe(asked, container, stream)
        yield from _Receiver(container, stream, connection).arrivals()
    finally:
        container.close()


def _open(asked: Target, limits: Limits) -> InputContainer:
    began_s = time.monotonic()
    try:
        return av.open(
            asked.url,
            "r",
            format=asked.format,
            options=dict(asked.options),
            timeout=limits,
            metadata_errors="replace",
        )
    except (av.FFmpegError, ValueError, OSError) as error:
        raise _why_not(asked, limits, error, time.monotonic() - began_s) from hide_secrets(error)


def _why_not(asked: Target, limits: Limits, error: Exception, waited_s: float) -> FeedError | SourceOpenError:
    """Return the error for a feed that cannot be opened."""
    # PyAV itself raises ValueError for a format that FFmpeg lacks; what FFmpeg cannot understand is a subclass of that.
    unknown = isinstance(error, ValueError) and not isinstance(error, av.FFmpegError)
    if isinstance(error, _HOPELESS) or unknown:
        where = f"{asked.format}:{asked.url}" if asked.format else redact(asked.url)
        kind = where.partition(":")[0]
        return SourceOpenError(f"{where} cannot be opened: this FFmpeg knows no {kind}; try GStreamer (gst:PIPELINE).")
    lasting = isinstance(error, _LASTING)
    known = _CAMERA_REASONS if asked.camera else _NETWORK_REASONS
    text = known.get(getattr(error, "errno", None) or 0)
    return FeedError(text or reason(error, waited_s=waited_s, limit_s=limits.open_s), lasting=lasting)


def _pick_video(container: InputContainer) -> VideoStream:
    # PyAV leaves the context out where FFmpeg has no decoder.
    videos = [stream for stream in container.streams.video if getattr(stream, "codec_context", None) is not None]
    if not videos:
        others = sorted({str(stream.type) for stream in container.streams})
        raise FeedError(f"it sends no video that FFmpeg can decode, only {' and '.join(others) or 'nothing'}")
    best = container.streams.best("video")
    return next((video for video in videos if best is not None and video.index == best.index), videos[0])


def _describe(asked: Target, container: InputContainer, stream: VideoStream) -> FeedInfo:
    duration = container.duration or 0
    return FeedInfo(
        codec=stream.codec_context.codec.canonical_name,
        rate=0.0 if _is_untimed(container) else float(stream.average_rate or 0),
        duration_s=duration / _AV_TIME_BASE if duration > 0 and not asked.lasts else None,
        in_bursts=container.format.name in _BURSTS,
    )


def _is_untimed(container: InputContainer) -> bool:
    return bool(container.format.flags & _NO_TIMESTAMPS)


def _catch_up(container: InputContainer, stream: VideoStream, info: FeedInfo) -> CatchUp | None:
    """Return what leaves out packets of a feed that is decoded too slowly; None where it may be late."""
    if info.in_bursts or info.duration_s is not None or _is_untimed(container):
        return None
    context, codec = stream.codec_context, stream.codec_context.codec
    roles = roles_of(codec.canonical_name, context.extradata, intra_only=codec.intra_only)
    return CatchUp(roles, intra_only=codec.intra_only)


class Captures:
    """What the sender's clock said when pictures were captured (RTCP sender reports), by their timestamp."""

    def __init__(self) -> None:
        self._times_ns: dict[int, int] = {}
        self._begun = False

    def note(self, pts: int, reference: bytes) -> None:
        """Remember the reference time of a packet.

        Args:
            pts: its timestamp.
            reference: an AVProducerReferenceTime (libavcodec/defs.h): int64 wall clock in us, int flags.
        """
        if not self._begun:
            # FFmpeg gives the first packet that has one the time of the frame after it.
            self._begun = True
            return
        if len(self._times_ns) >= _MAX_CAPTURES:
            self._times_ns.clear()
        (wallclock_us,) = struct.unpack_from("=q", reference)
        self._times_ns[pts] = wallclock_us * 1000

    def take(self, pts: int) -> int | None:
        """Return when the picture with this timestamp was captured, in ns since the epoch; None if nobody told."""
        return self._times_ns.pop(pts, None)


class _Receiver:
    """Decodes a feed packet by packet, since ``container.decode()`` would end at the first damaged one."""

    def __init__(self, container: InputContainer, stream: VideoStream, connection: ThreadedConnection) -> None:
        self._container, self._stream, self._connection = container, stream, connection
        self._untimed = _is_untimed(container)
        self._losses = Losses()
        # FFmpeg's H.264 decoder tells by itself from where on pictures are whole; packets may not say.
        self._judges = stream.codec_context.codec.canonical_name == "h264"
        self._begun = False
        self._before = 0
        """Packets before the first keyframe."""
        self._first_pts: int | None = None
        self._backlog, self._waited_ns = Backlog(), 0
        self._catch_up = _catch_up(container, stream, connection.info)
        self._captures = Captures()

    def arrivals(self) -> Generator[Arrival]:
        """Yield the pictures until the end of the feed.

        Raises:
            FeedError: it broke off.
        """
        for packet in self._packets():
            if self._connection.closed.is_set():
                return
            frames = self._catching_up(packet)
            for frame in self._decode(packet) if frames is None else frames:
                yield self._arrival(frame)
            self._connection.lost = self._before + self._losses.lost

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        failures = 0
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = self._next(packets)
            except StopIteration:
                return
            # PyAV raises IndexError where a new stream appears.
            except (av.FFmpegError, IndexError) as error:
                failures += 1
                if failures > _MAX_FAILURES or not isinstance(error, av.InvalidDataError):
                    raise FeedError(_broke_off(error)) from hide_secrets(error)
                self._losses.disturbed()
                packets = self._container.demux(self._stream)
                continue
            failures = 0
            if packet.size:
                yield packet

    def _next(self, packets: Iterator[Packet[VideoStream]]) -> Packet[VideoStream]:
        """Return the next packet, and note for how long there was none."""
        began_ns, worked_ns = time.monotonic_ns(), time.thread_time_ns()
        packet = next(packets)
        self._waited_ns = time.monotonic_ns() - began_ns - (time.thread_time_ns() - worked_ns)
        return packet

    def _catching_up(self, packet: Packet[VideoStream]) -> list[VideoFrame] | None:
        """Return None for a packet to decode; for one to leave out, the pictures that the decoder still held."""
        if self._catch_up is None:
            return None
        stamp, unit = (packet.pts if packet.dts is None else packet.dts), packet.time_base
        stamp_ns = None if stamp is None else stamp * unit.numerator * NS_PER_S // unit.denominator
        now_ns = time.monotonic_ns()
        behind_ns = self._backlog.behind_ns(stamp_ns, self._waited_ns, now_ns)
        held = not self._catch_up.until_keyframe
        if not self._begun or not self._catch_up.leaves_out(packet, behind_ns, now_ns):
            return None
        self._connection.dropped += 1
        return self._drain() if held and self._catch_up.until_keyframe else []

    def _drain(self) -> list[VideoFrame]:
        """Return what the decoder holds, and let it begin anew with the packet that it is given next."""
        try:
            frames = [frame for frame in self._stream.decode(None) if self._is_whole(frame)]
        except av.FFmpegError:
            self._losses.failed()
            frames = []
        self._losses.ended()
        self._stream.codec_context.flush_buffers()
        return frames

    def _decode(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        """Return the pictures that a packet brought to light, from the first keyframe on."""
        if packet.is_keyframe and not self._begun:
            self._begun, self._first_pts = True, packet.pts
        if self._begun:
            self._losses.sent(packet.pts, damaged=packet.is_corrupt)
            if packet.pts is not None and packet.has_sidedata("prft"):
                self._captures.note(packet.pts, bytes(packet.get_sidedata("prft")))
        else:
            self._before += 1
            if not self._judges:
                return []
        try:
            frames = self._stream.decode(packet)
        except av.FFmpegError:
            self._losses.failed()
            return []
        if frames and not self._begun:
            self._begun, self._before = True, self._before - len(frames)
            return frames
        return [frame for frame in frames if self._is_whole(frame)]

    def _is_whole(self, frame: VideoFrame) -> bool:
        """Return whether a picture is not one before the first keyframe, referring to what never came."""
        if frame.pts is not None and self._first_pts is not None:
            # Later on this says nothing: the feed's clock may be set anew.
            if frame.pts < self._first_pts:
                return False
            self._first_pts = None
        self._losses.received(frame.pts, damaged=frame.is_corrupt)
        return True

    def _arrival(self, frame: VideoFrame) -> Arrival:
        arrived_ns = time.monotonic_ns()
        # A frame that the decoder still held does not know its unit.
        pts, unit = (None if self._untimed else frame.pts), frame.time_base or self._stream.time_base
        picture = AvPicture(frame)
        return Arrival(
            picture=picture,
            width=picture.width,
            height=picture.height,
            pts_ns=pts * unit.numerator * NS_PER_S // unit.denominator if pts is not None and unit else None,
            arrived_ns=arrived_ns,
            captured_ns=self._captures.take(pts) if pts is not None else None,
            damaged=frame.is_corrupt,
        )


def _broke_off(error: Exception) -> str:
    if isinstance(error, IndexError):
        return "it changed what it sends"
    if isinstance(error, av.ExitError):
        return "it fell silent"
    if getattr(error, "errno", None) == errno.EIO:
        return "the connection broke off"
    return reason(error)
