"""``annotated.mp4``: what was seen, with what was found drawn into it; plays in any browser."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from streamtrack.errors import ConfigError
from streamtrack.sinks._annotate import Annotator
from streamtrack.sinks._files import check_not_negative, make_folder, resolve_inside, run_folder
from streamtrack.sinks._h264 import H264Writer
from streamtrack.throttle import FALLBACK_RATE
from streamtrack.types import NS_PER_S, Frame, Result, RunInfo


class VideoSink:
    """Encodes every processed frame at its own time: variable frame rates and strides play at the right speed.

    H.264, 4:2:0, index first. Written under a temporary name and renamed when it is complete, or when the run ends.
    """

    def __init__(
        self,
        *,
        path: str = "annotated.mp4",
        crf: int = 23,
        max_side: int = 1280,
        fps: float = 0.0,
        trail_s: float = 1.0,
    ) -> None:
        """Set how the video looks.

        Args:
            path: file inside the run's folder.
            crf: quality of x264, 0 (lossless) to 51.
            max_side: larger pictures are scaled down to this many px on the longer side.
            fps: at most this many frames a second of media, evenly chosen; 0 for every processed one.
            trail_s: length of the trails, in seconds of media.

        Raises:
            ConfigError: a value out of range.
        """
        if not 0 <= crf <= 51:
            raise ConfigError(f"Option video.crf = {crf} must be 0 to 51.")
        if max_side < 16:
            raise ConfigError(f"Option video.max_side = {max_side} must be 16 or more.")
        self._name = path
        self._crf = crf
        self._max_side = max_side
        self._fps = check_not_negative("video.fps", fps)
        self._trail_s = check_not_negative("video.trail_s", trail_s)
        self._writer: H264Writer | None = None

    def open(self, info: RunInfo) -> None:
        """Choose the file; it is opened with the first frame, whose size it takes.

        Raises:
            SinkError: the run has no folder, or the path leaves it.
        """
        self._path = resolve_inside(run_folder(info, "video"), self._name, "video")
        make_folder(self._path.parent)
        rate = info.source.sample_rate or info.source.rate or FALLBACK_RATE
        self._rate = min(rate, self._fps or rate)
        self._first_ns, self._slot = 0, -1

    def write(self, result: Result) -> None:
        """Draw and encode one frame.

        Raises:
            SinkError: the disk or the encoder refused.
        """
        frame = result.frame
        if self._writer is None:
            size = _even_size(frame, self._max_side)
            self._annotator = Annotator(size, trail_s=self._trail_s)
            self._writer = H264Writer(self._path, size, rate=self._rate, crf=self._crf)
            self._first_ns = frame.pts_ns
        fit = _Fit(frame, self._writer.size)
        self._annotator.follow(result, fit.scale, fit.corner)
        if self._is_due(frame.pts_ns):
            picture = fit.picture(frame)
            self._annotator.draw(picture, result, fit.scale, fit.corner)
            self._writer.write(np.asarray(picture), frame.pts_ns)

    def _is_due(self, pts_ns: int) -> bool:
        """Tell whether a frame is the first in its slot of ``1 / fps`` s."""
        if not self._fps:
            return True
        # Slots begin a little early: timestamps that are rounded must not fall into the one before.
        slot = math.floor((pts_ns - self._first_ns) / NS_PER_S * self._fps + 0.1)
        due, self._slot = slot > self._slot, max(slot, self._slot)
        return due

    def close(self) -> None:
        """Finish the file and give it its name.

        Raises:
            SinkError: the disk or the encoder refused.
        """
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


def _even_size(frame: Frame, max_side: int) -> tuple[int, int]:
    """Return the video's width and height: 4:2:0 wants both even."""
    scale = min(1.0, max_side / max(frame.width, frame.height))
    return max(2, round(frame.width * scale / 2) * 2), max(2, round(frame.height * scale / 2) * 2)


class _Fit:
    """Where a frame lies in a picture of ``size``: it fills it, unless the source changed its shape on the way."""

    def __init__(self, frame: Frame, size: tuple[int, int]) -> None:
        self.scale = min(size[0] / frame.width, size[1] / frame.height)
        self._size, self._inner, self.corner = size, size, (0, 0)
        fit = frame.width * self.scale, frame.height * self.scale
        # Up to a pixel, it fills it.
        if size[0] - fit[0] >= 2 or size[1] - fit[1] >= 2:
            self._inner = max(1, round(fit[0])), max(1, round(fit[1]))
            self.corner = (size[0] - self._inner[0]) // 2, (size[1] - self._inner[1]) // 2

    def picture(self, frame: Frame) -> Image.Image:
        """Return the frame as a picture, with black around it where it does not fill it."""
        pixels = frame.picture.rgb((0, 0, frame.width, frame.height), self._inner, planar=False)
        picture = Image.fromarray(pixels)
        if self._inner == self._size:
            return picture
        canvas = Image.new("RGB", self._size)
        canvas.paste(picture, self.corner)
        return canvas
