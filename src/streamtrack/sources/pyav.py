"""Video files, pipes and URLs through FFmpeg."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from fractions import Fraction
from itertools import chain

from av.video.frame import VideoFrame

from streamtrack.api import SourceOptions
from streamtrack.errors import SourceError, redact
from streamtrack.sources._container import Input, measure, no_frames, open_input, pick_video, presents_by_dts
from streamtrack.sources._decoding import Decoder
from streamtrack.sources._losses import Losses
from streamtrack.sources._picture import AvPicture, displayed_size
from streamtrack.sources._pipe import StandardInput
from streamtrack.sources._timeline import Timeline
from streamtrack.sources.sampling import Sampler, choose
from streamtrack.types import Frame, SourceInfo, SourceStats


class PyAVSource:
    """A ``Source`` over whatever FFmpeg opens: a path, a URL, or ``-`` for standard input.

    Frames are numbered as they are decoded, as every other decoder does: a frame that is lost to damage has no index,
    only a place in ``stats.corrupt``. Time starts at 0 with the first frame. Every packet is decoded; leaving out what
    the sampling does not want would go between the container and the decoder.
    """

    info: SourceInfo
    stats: SourceStats

    def __init__(self, uri: str, options: SourceOptions) -> None:
        """Take note of what to open.

        Raises:
            ConfigError: the options make no sense.
        """
        choose(options.stride, options.fps, 0.0)
        self.stats = SourceStats()
        self._uri, self._options = uri, options
        self._closed = False
        self._pipe = StandardInput() if uri == "-" else None
        self._input: Input | None = None

    def open(self) -> SourceInfo:
        """Open the source and decode its first frame, which says its size and orientation.

        Raises:
            SourceOpenError: it cannot be opened, or holds no video.
            DecodeError: none of its frames can be decoded.
        """
        self._input = open_input(self._uri, self._pipe)
        self._frames = self._start(self._input, self._options)
        return self.info

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
        decoded = decoder.frames()
        first = next(decoded, None)
        if first is None:
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
        timeline = Timeline(stream.time_base or Fraction(1, 1000), extent.rate)
        by_dts = presents_by_dts(source)
        return self._deliver(chain((first,), decoded), decoder.losses, timeline, sampler, by_dts=by_dts)

    def _deliver(
        self, frames: Iterator[VideoFrame], losses: Losses, timeline: Timeline, sampler: Sampler, *, by_dts: bool
    ) -> Generator[Frame]:
        stats = self.stats
        for index, frame in enumerate(frames):
            pts_ns, repaired = timeline.place(frame.dts if by_dts else frame.pts)
            stats.corrupt = losses.lost
            stats.seen = index + 1 + stats.corrupt
            if not sampler.wants(index, pts_ns):
                stats.strided += 1
                continue
            stats.delivered += 1
            stats.damaged += frame.is_corrupt
            stats.pts_repaired += repaired
            picture = AvPicture(frame)
            yield Frame(index, pts_ns, picture.width, picture.height, picture)
        stats.seen += losses.lost - stats.corrupt
        stats.corrupt = losses.lost

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
