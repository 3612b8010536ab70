"""Writes RGB pictures as H.264 in mp4: 4:2:0, BT.709, index first, so that every player and browser shows them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from numpy.typing import NDArray

from streamtrack.errors import SinkError
from streamtrack.sinks._files import translating
from streamtrack.types import NS_PER_S

_TIME_BASE = Fraction(1, 90_000)


class H264Writer:
    """A video being written, under a temporary name until ``close``.

    Every method raises ``SinkError`` where the disk or the encoder refuses, and has removed the temporary file then;
    after that, ``close`` does nothing.
    """

    def __init__(
        self, path: Path, size: tuple[int, int], *, rate: float, crf: int, preset: str = "veryfast", threads: int = 2
    ) -> None:
        """Open the file.

        Args:
            path: what the file will be called.
            size: width and height in px, both even.
            rate: frames a second to be expected; the real times come with each picture.
            crf: quality of x264, 0 (lossless) to 51.
            preset: of x264.
            threads: of the encoder.
        """
        self.path = path
        self.size = size
        self._temporary = path.with_name(f".{path.name}.part")
        self._first_ns: int | None = None
        self._last_pts = -1
        self._step = round(1 / rate / _TIME_BASE)
        self._reformatter = VideoReformatter()
        self._container: OutputContainer | None = None
        with self._translating():
            # The muxer would say "Not a directory" as "Invalid argument"; the file system says what it means.
            self._temporary.touch()
            container = av.open(str(self._temporary), "w", format="mp4", options={"movflags": "+faststart"})
            self._container = container
            stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001))
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            stream.options = {"preset": preset, "crf": str(crf)}
            stream.time_base = _TIME_BASE
            context = stream.codec_context
            context.time_base, context.thread_count = _TIME_BASE, threads
            # A keyframe every two seconds, so that seeking feels immediate.
            context.gop_size = max(1, round(2 * rate))
            context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
            context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
            self._stream = stream

    def write(self, rgb: NDArray[np.uint8], pts_ns: int) -> None:
        """Add a picture, RGB uint8 (height, width, 3), to be shown at ``pts_ns``; the first one starts the video."""
        if self._container is None:
            raise SinkError(f"Cannot write '{self.path}': it is closed.")
        if self._first_ns is None:
            self._first_ns = pts_ns
        # Timestamps closer together than the time base can tell still need an order.
        pts = max(round((pts_ns - self._first_ns) / NS_PER_S / _TIME_BASE), self._last_pts + 1)
        if self._last_pts >= 0:
            self._step = pts - self._last_pts
        self._last_pts = pts
        with self._translating():
            picture = self._reformatter.reformat(
                av.VideoFrame.from_ndarray(rgb, "rgb24"),
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
                dst_color_primaries=ColorPrimaries.BT709,
                dst_color_trc=ColorTrc.BT709,
                threads=1,
            )
            picture.pts, picture.time_base = pts, _TIME_BASE
            self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        """Finish the file and give it its name."""
        if self._container is None:
            return
        with self._translating():
            for packet in self._stream.encode(None):
                # No later picture ends the last one, so it needs a duration: that of the one before it.
                packet.duration = self._step
                self._container.mux(packet)
            self._container.close()
            self._container = None
            self._temporary.replace(self.path)

    def discard(self) -> None:
        """Remove what was written."""
        container, self._container = self._container, None
        if container is not None:
            # It is not wanted any more, so it does not matter that its end cannot be written either.
            with suppress(av.FFmpegError, OSError):
                container.close()
        with suppress(OSError):
            self._temporary.unlink(missing_ok=True)

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            with translating(self.path):
                yield
        except av.FFmpegError as error:
            self.discard()
            raise SinkError(f"Cannot write '{self.path}': {error.strerror}.") from error
        except BaseException:
            self.discard()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.discard()
