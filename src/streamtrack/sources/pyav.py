"""Video files, pipes and URLs through FFmpeg."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from fractions import Fraction
from itertools import chain

from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamtrack.api import SourceOptions
from streamtrack.errors import ConfigError, InternalError, SourceError, SourceOpenError, redact
from streamtrack.sources._bitstream import RoleOf, roles_of
from streamtrack.sources._container import Input, measure, no_frames, open_input, pick_video, presents_by_dts
from streamtrack.sources._decoding import Decoder
from streamtrack.sources._losses import Losses
from streamtrack.sources._picture import AvPicture, displayed_size
from streamtrack.sources._pipe import StandardInput
from streamtrack.sources._selecting import LeftOut, SelectiveDecoder
from streamtrack.sources._timeline import Numbering, Timeline
from streamtrack.sources.sampling import Sampler, choose
from streamtrack.types import Frame, SourceInfo, SourceStats


class PyAVSource:
    """A ``Source`` over whatever FFmpeg opens: a path, a URL, or ``-`` for standard input.

    Frames are numbered as they are decoded, as every other decoder does: a frame that is lost to damage has no index,
    only a place in ``stats.corrupt``. Time starts at 0 with the first frame. Packets that no wanted frame needs are not
    decoded, where the order of frames can be known without; ``stats.decoding`` says what is.
    """

    info: SourceInfo
    stats: SourceStats

    def __init__(self, uri: str, options: SourceOptions, *, timeout_s: float = 60.0) -> None:
        """Take note of what to open.

        Args:
            uri: a path, a URL of a file, or ``-``.
            options: what any source is asked for.
            timeout_s: standard input that sends nothing for so long has failed; 0 waits for ever.

        Raises:
            ConfigError: the options make no sense.
        """
        choose(options.stride, options.fps, 0.0)
        if not 0 <= timeout_s < math.inf:
            raise ConfigError(f"Option timeout_s must be 0 (wait for ever) or more seconds, got {timeout_s:g}.")
        self.stats = SourceStats()
        self._uri, self._options = uri, options
        self._closed = False
        self._timeout_s = timeout_s or math.inf
        self._pipe = StandardInput(self._timeout_s) if uri == "-" else None
        self._input: Input | None = None

    def open(self) -> SourceInfo:
        """Open the source and decode its first frame, which says its size and orientation.

        Raises:
            SourceOpenError: it cannot be opened, or holds no video.
            DecodeError: none of its frames can be decoded.
        """
        try:
            self._input = open_input(self._uri, self._pipe)
            self._frames = self._start(self._input, self._options)
        except SourceError as error:
            if self._pipe is not None and self._pipe.fell_silent:
                raise SourceOpenError(self._silence()) from error
            raise
        return self.info

    def _silence(self) -> str:
        return (
            f"Standard input sent nothing for {self._timeout_s:g} s: look at what feeds the pipe, or wait for ever "
            "with --source-option timeout_s=0."
        )

    def _start(self, source: Input, options: SourceOptions) -> Generator[Frame]:
        stream = pick_video(source)
        extent = measure(source, stream)
        sampler = choose(options.stride, options.fps, extent.rate)
        stream.thread_type = "SLICE" if source.live else "AUTO"
        stream.codec_context.thread_count = options.threads
        decoder = Decoder(
            source.container, stream, label=source.label, listed=extent.packets, persistent=source.is_file
        )
        if extent.cut_short:
            decoder.losses.disturbed()
        numbering = Numbering(Timeline(stream.time_base or Fraction(1, 1000), extent.rate), sampler)
        by_dts = presents_by_dts(source)
        role_of, reason = _roles(source, stream, sampler)
        if role_of is None:
            self.stats.decoding = f"all packets: {reason}"
            items: Iterator[VideoFrame | LeftOut] = decoder.frames()
        else:
            selective = SelectiveDecoder(decoder, role_of, numbering, self.stats, by_dts=by_dts)
            items = selective.items()
        # The first frame is always wanted.
        first = next(items, None)
        if not isinstance(first, VideoFrame):
            raise no_frames(source)
        width, height = displayed_size(first)
        self.info = SourceInfo(
            uri=source.uri,
            width=width,
            height=height,
            rate=extent.rate,
            frames_estimate=extent.frames,
            duration_s=extent.duration_s,
            live=source.live,
            codec=stream.codec_context.codec.canonical_name,
            sampling=sampler.text,
            sample_rate=sampler.rate,
        )
        return self._deliver(chain((first,), items), decoder.losses, numbering, by_dts=by_dts)

    def _deliver(
        self, items: Iterator[VideoFrame | LeftOut], losses: Losses, numbering: Numbering, *, by_dts: bool
    ) -> Generator[Frame]:
        stats = self.stats
        for item in items:
            if isinstance(item, LeftOut):
                place = numbering.next(item.stamp)
                stats.undecoded += 1
            else:
                place = numbering.next(item.dts if by_dts else item.pts)
            stats.corrupt = losses.lost
            stats.seen = place.index + 1 + stats.corrupt
            if not place.wanted:
                stats.strided += 1
                continue
            if isinstance(item, LeftOut):
                raise InternalError(f"frame {place.index} was left out although it is wanted")
            stats.delivered += 1
            stats.damaged += item.is_corrupt
            stats.pts_repaired += place.repaired
            picture = AvPicture(item)
            yield Frame(place.index, place.pts_ns, picture.width, picture.height, picture)
        stats.seen += losses.lost - stats.corrupt
        stats.corrupt = losses.lost
        if self._pipe is not None and self._pipe.fell_silent:
            raise SourceError(self._silence())

    def __iter__(self) -> Iterator[Frame]:
        """Yield the wanted frames of an open source. There is one pass: a second iterator goes on where the first is.

        Raises:
            SourceError: the source is closed, or can no longer be read.
        """
        if self._closed:
            raise SourceError(f"{redact(self._uri)} is closed: open it again to read it.")
        return self._frames

    def interrupt(self) -> None:
        """Let a read that waits for standard input find its end. May be called from any thread, at any time."""
        if self._pipe is not None:
            self._pipe.interrupt()

    def close(self) -> None:
        """Release the container and the decoder; frames already given keep their pixels. May be called again."""
        self._closed = True
        source, self._input = self._input, None
        if source is None:
            return
        if hasattr(self, "_frames"):
            self._frames.close()
        source.container.close()


def _roles(source: Input, stream: VideoStream, sampler: Sampler) -> tuple[RoleOf | None, str]:
    """Return what tells which packets others refer to, or None and why there is nothing to leave out."""
    codec = stream.codec_context.codec
    if sampler.takes_all:
        return None, "every frame is wanted"
    if source.live:
        return None, "the source is live"
    if presents_by_dts(source) and not codec.intra_only:
        return None, f"{source.container.format.name.upper()} has no presentation times"
    name = codec.canonical_name
    role_of = roles_of(name, stream.codec_context.extradata, intra_only=codec.intra_only)
    return role_of, f"which frames others refer to is not looked into for {name}"
