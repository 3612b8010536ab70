"""Watching a source for a few seconds, on a thread of its own, so that nothing it does can hold up who asked."""

from __future__ import annotations

import contextlib
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import av
import msgspec
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from streamtrack.api import Source
from streamtrack.errors import SourceError, SourceOpenError
from streamtrack.sources._bitstream import Role, roles_of
from streamtrack.sources._container import Input, hide_secrets, measure, pick_video, presents_by_dts, reason
from streamtrack.sources._losses import Losses
from streamtrack.sources._picture import AvPicture, displayed_size
from streamtrack.types import Frame

OPEN_PATIENCE_S: Final = 6.0
"""A source that has not opened by then is given up."""
_END_PATIENCE_S = 0.5
# Packets are looked at as fast as they come; decoding, which costs, gets this share of the time.
_DECODING_SHARE = 0.5
_MAX_PACKETS = 1 << 18
_MAX_FAILURES = 64
_SAMPLES = 3
# FFmpeg's numbers for what streams say of their colours; 2 is "not said".
_SPACES = {0: "RGB", 1: "BT.709", 5: "BT.601", 6: "BT.601", 7: "SMPTE 240M", 9: "BT.2020", 10: "BT.2020"}
_RANGES = {1: "limited", 2: "full"}
_TRANSFERS = {16: "PQ", 18: "HLG"}


class Seen(NamedTuple):
    """A packet, or a frame of a source that has none."""

    pts: int | None
    dts: int | None
    arrived_s: float
    """Seconds since the look began."""
    size: int = 0
    """Bytes."""
    key: bool = False
    disposable: bool = False
    """Whether the stream says that nothing refers to it."""
    corrupt: bool = False


class Pictures(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream says of its pictures."""

    codec: str
    profile: str = ""
    level: str = ""
    width: int
    """As displayed, px; so is the height."""
    height: int
    pixel_format: str = ""
    rotation: int = 0
    """Degrees counter-clockwise by which the picture is turned for display."""
    colour_space: str = ""
    """Empty where the stream does not say; so are the next two."""
    colour_range: str = ""
    colour_transfer: str = ""
    """``PQ`` or ``HLG`` for high dynamic range."""
    interlaced: bool = False


class Opened(NamedTuple):
    """What is known once a source is open."""

    container: str
    """Name of the format; empty for sources that have none."""
    live: bool
    by_packets: bool
    """Whether packets were seen, or only the frames of a source that is a plug-in."""
    unit_s: float
    declared_fps: float | None
    duration_s: float | None
    frames_estimate: int | None
    cut_short: bool = False
    has_pts: bool = True
    """Whether presentation times are stored; else decode times stand for them."""
    others: tuple[str, ...] = ()
    """Further streams, in words."""


@dataclass
class Observations:
    """What was seen, as it was seen: written by the reading thread, read by others once it has stopped."""

    began_s: float = field(default_factory=time.monotonic)
    opened: Opened | None = None
    pictures: Pictures | None = None
    opened_s: float | None = None
    """Seconds from the beginning; so are the next two."""
    first_packet_s: float | None = None
    first_frame_s: float | None = None
    seen: list[Seen] = field(default_factory=list)
    losses: Losses = field(default_factory=Losses)
    sent: int = 0
    """Packets that went into the decoder, from the first keyframe on."""
    drained: bool = False
    """Whether the decoder has given all it held."""
    decoded: int = 0
    decode_cpu_s: float = 0.0
    decode_errors: int = 0
    damaged: int = 0
    """Frames that the decoder calls damaged."""
    b_frames: int = 0
    samples: list[Frame] = field(default_factory=list)
    clock_offsets_s: list[float] = field(default_factory=list)
    """Our clock when a packet came in, less the wall clock that the feed gives it."""
    ended: bool = False
    """Whether it came to its end within the look."""
    error: Exception | None = None

    def now_s(self) -> float:
        """Return the seconds since the beginning."""
        return time.monotonic() - self.began_s


class Look:
    """One look at a source.

    Args:
        label: the source at the beginning of a sentence, redacted.
        interrupt: ends whatever wait the reader is in; called from another thread.
    """

    def __init__(self, label: str, interrupt: Callable[[], None] = lambda: None) -> None:
        self.observations = Observations()
        self._label, self._interrupt = label, interrupt
        self._stop, self._is_open, self._over = threading.Event(), threading.Event(), threading.Event()
        self._seconds = 0.0

    def at_packets(self, opener: Callable[[], Input], seconds: float) -> Observations:
        """Watch what FFmpeg opens, packet by packet.

        Args:
            opener: opens it; called on the reading thread.
            seconds: for how long once it is open.

        Raises:
            SourceError: it cannot be opened, or sends nothing.
        """
        return self._watch(lambda: self._read_packets(opener), seconds)

    def at_frames(self, source: Source, seconds: float) -> Observations:
        """Watch any other source, frame by frame; likewise."""
        return self._watch(lambda: self._read_frames(source), seconds)

    def _watch(self, read: Callable[[], None], seconds: float) -> Observations:
        self._seconds = seconds
        # A daemon: a library that cannot be woken must not keep the program from ending.
        thread = threading.Thread(target=self._run, args=(read,), name="streamtrack-doctor", daemon=True)
        thread.start()
        try:
            if not self._is_open.wait(OPEN_PATIENCE_S):
                raise SourceOpenError(
                    f"{self._label} cannot be opened: no answer within {OPEN_PATIENCE_S:g} s; check that it is up and "
                    "reachable."
                )
            self._over.wait(seconds)
        finally:
            self._stop.set()
            self._interrupt()
            thread.join(_END_PATIENCE_S)
        found = self.observations
        if isinstance(found.error, SourceError) and not found.seen:
            raise found.error
        if found.error is not None and not isinstance(found.error, SourceError):
            raise found.error
        if not found.seen:
            raise SourceError(f"{self._label} opened, and then sent no picture within {seconds:g} s: check the camera.")
        return found

    def _run(self, read: Callable[[], None]) -> None:
        try:
            read()
            self.observations.ended = not self._stop.is_set()
        except Exception as error:
            self.observations.error = error
        self._over.set()
        self._is_open.set()

    def _opened(self, opened: Opened) -> None:
        self.observations.opened, self.observations.opened_s = opened, self.observations.now_s()
        self._is_open.set()

    def _read_packets(self, opener: Callable[[], Input]) -> None:
        source = opener()
        try:
            stream = pick_video(source)
            self._opened(_describe(source, stream))
            stream.thread_type, stream.codec_context.thread_count = "SLICE", 1
            _PacketReader(self.observations, source, stream, self._stop, self._seconds).read(self._label)
        finally:
            source.container.close()

    def _read_frames(self, source: Source) -> None:
        found = self.observations
        try:
            info = source.open()
            self._opened(Opened("", info.live, False, 1e-9, info.rate or None, info.duration_s, info.frames_estimate))
            found.pictures = Pictures(codec=info.codec, width=info.width, height=info.height)
            before_s = time.thread_time()
            for frame in source:
                found.seen.append(Seen(frame.pts_ns, frame.pts_ns, found.now_s()))
                found.first_frame_s = found.first_frame_s or found.now_s()
                found.decoded += 1
                found.decode_cpu_s = time.thread_time() - before_s
                _keep(found, frame)
                if self._stop.is_set():
                    return
        finally:
            source.close()


class _PacketReader:
    """Reads packets, and decodes them as long as there is time for that."""

    def __init__(
        self, found: Observations, source: Input, stream: VideoStream, stop: threading.Event, seconds: float
    ) -> None:
        self._found, self._source, self._stream, self._stop = found, source, stream, stop
        self._by_dts = presents_by_dts(source)
        context = stream.codec_context
        codec = context.codec
        self._role_of = roles_of(codec.canonical_name, context.extradata, intra_only=codec.intra_only)
        self._decoding_until_s = _DECODING_SHARE * seconds
        self._spent_s = 0.0
        self._decoding = True

    def read(self, label: str) -> None:
        """Read until the end, or until told to stop."""
        packets, failures = self._source.container.demux(self._stream), 0
        while not self._stop.is_set() and len(self._found.seen) < _MAX_PACKETS:
            try:
                packet = next(packets)
            except StopIteration:
                self._drain()
                return
            except (av.FFmpegError, IndexError) as error:
                failures += 1
                self._found.losses.disturbed()
                if failures > _MAX_FAILURES or not self._source.is_file:
                    raise SourceError(f"{label} broke off: {reason(error)}.") from hide_secrets(error)
                packets = self._source.container.demux(self._stream)
                continue
            if packet.size and not packet.is_discard:
                self._take(packet)
        # Asked to stop, or enough: what follows is not the end.
        self._stop.set()

    def _take(self, packet: Packet[VideoStream]) -> None:
        found, now_s = self._found, self._found.now_s()
        pts = packet.dts if self._by_dts else packet.pts
        found.first_packet_s = found.first_packet_s or now_s
        found.seen.append(
            Seen(
                pts, packet.dts, now_s, packet.size, packet.is_keyframe, self._is_disposable(packet), packet.is_corrupt
            )
        )
        if self._source.live and (wall_clock_s := _wall_clock_s(packet)) is not None:
            found.clock_offsets_s.append(time.time() - wall_clock_s)
        if self._decoding:
            found.sent += bool(found.sent or packet.is_keyframe)
            found.losses.sent(packet.pts, damaged=packet.is_corrupt)
            self._decode(packet)
            if self._spent_s > self._decoding_until_s and found.decoded:
                self._drain()

    def _is_disposable(self, packet: Packet[VideoStream]) -> bool:
        if self._role_of is None:
            return packet.is_disposable
        return self._role_of(bytes(packet), packet.is_keyframe) is Role.DISPOSABLE

    def _drain(self) -> None:
        if self._decoding:
            self._decode(None)
            self._found.losses.ended()
            self._found.drained, self._decoding = True, False

    def _decode(self, packet: Packet[VideoStream] | None) -> None:
        found, wall_s, cpu_s = self._found, time.monotonic(), time.thread_time()
        try:
            frames = self._stream.decode(packet)
        except EOFError:
            frames = []
        except av.FFmpegError:
            found.losses.failed()
            found.decode_errors += 1
            frames = []
        found.decode_cpu_s += time.thread_time() - cpu_s
        self._spent_s += time.monotonic() - wall_s
        for frame in frames:
            self._show(frame)

    def _show(self, frame: VideoFrame) -> None:
        found = self._found
        found.losses.received(frame.pts, damaged=frame.is_corrupt)
        found.decoded += 1
        found.damaged += frame.is_corrupt
        found.b_frames += frame.pict_type == PictureType.B
        if found.first_frame_s is None:
            found.first_frame_s = found.now_s()
            found.pictures = _look_of(frame, self._stream)
        picture = AvPicture(frame)
        _keep(found, Frame(found.decoded - 1, found.decoded - 1, picture.width, picture.height, picture))


def _keep(found: Observations, frame: Frame) -> None:
    # The first frames of a feed may be grey or damaged: rather the latest ones.
    found.samples.append(frame)
    del found.samples[:-_SAMPLES]


def _describe(source: Input, stream: VideoStream) -> Opened:
    extent = measure(source, stream)
    others = [other for other in source.container.streams if other.index != stream.index]
    return Opened(
        container=source.container.format.name,
        live=source.live,
        by_packets=True,
        unit_s=float(stream.time_base or 0) or 1e-3,
        declared_fps=extent.rate or None,
        duration_s=extent.duration_s,
        frames_estimate=extent.frames,
        cut_short=extent.cut_short,
        has_pts=not presents_by_dts(source),
        others=tuple(_in_words(other) for other in others),
    )


def _in_words(stream: object) -> str:
    kind = str(getattr(stream, "type", "unknown"))
    context = getattr(stream, "codec_context", None)
    return f"{kind} {context.codec.canonical_name}" if context is not None else kind


def _look_of(frame: VideoFrame, stream: VideoStream) -> Pictures:
    context = stream.codec_context
    width, height = displayed_size(frame)
    codec = context.codec.canonical_name
    return Pictures(
        codec=codec,
        profile=context.profile or "",
        level=level_name(codec, getattr(context, "level", None)),
        width=width,
        height=height,
        pixel_format=frame.format.name,
        rotation=frame.rotation,
        colour_space=_SPACES.get(int(frame.colorspace), ""),
        colour_range=_RANGES.get(int(frame.color_range), ""),
        colour_transfer=_TRANSFERS.get(int(getattr(frame, "color_trc", 2)), ""),
        interlaced=bool(frame.interlaced_frame),
    )


def level_name(codec: str, level: int | None) -> str:
    """Return a level as people write it, such as ``4.1``; empty where there is none.

    Args:
        codec: canonical name.
        level: FFmpeg's number: ten times the level for H.264, thirty times for HEVC, an index for AV1.
    """
    if level is None or level <= 0:
        return "2.0" if codec == "av1" and level == 0 else ""
    if codec == "h264":
        return "1b" if level == 9 else f"{level / 10:.1f}"
    if codec == "hevc":
        return f"{level / 30:.1f}"
    return f"{2 + (level >> 2)}.{level & 3}" if codec == "av1" else ""


def _wall_clock_s(packet: Packet[VideoStream]) -> float | None:
    """Return the wall clock of a packet as its producer gives it (RTCP's sender reports, or ``prft`` in fragments)."""
    with contextlib.suppress(av.FFmpegError, ValueError, struct.error):
        if packet.has_sidedata("prft"):
            (microseconds,) = struct.unpack_from("=q", bytes(packet.get_sidedata("prft")))
            return float(microseconds) / 1e6
    return None
