"""``annotated.mp4``: what was seen, with what was found drawn into it; plays in any browser."""

from __future__ import annotations

import numpy as np
from PIL import Image

from streamtrack.errors import ConfigError
from streamtrack.sinks._annotate import Annotator
from streamtrack.sinks._files import check_not_negative, make_folder, resolve_inside, run_folder
from streamtrack.sinks._h264 import H264Writer
from streamtrack.throttle import FALLBACK_RATE
from streamtrack.types import Frame, Result, RunInfo


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
        trail_s: float = 1.0,
    ) -> None:
        """Set how the video looks.

        Args:
            path: file inside the run's folder.
            crf: quality of x264, 0 (lossless) to 51.
            max_side: larger pictures are scaled down to this many px on the longer side.
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
        self._trail_s = check_not_negative("video.trail_s", trail_s)
        self._writer: H264Writer | None = None

    def open(self, info: RunInfo) -> None:
        """Choose the file; it is opened with the first frame, whose size it takes.

        Raises:
            SinkError: the run has no folder, or the path leaves it.
        """
        self._path = resolve_inside(run_folder(info, "video"), self._name, "video")
        make_folder(self._path.parent)
        self._rate = info.source.sample_rate or info.source.rate or FALLBACK_RATE

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
        picture, scale, offset = _fitted(frame, self._writer.size)
        self._annotator.draw(picture, result, scale, offset)
        self._writer.write(np.asarray(picture), frame.pts_ns)

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


def _fitted(frame: Frame, size: tuple[int, int]) -> tuple[Image.Image, float, tuple[float, float]]:
    """Return the frame as a picture of ``size``, the scale and the offset (px) at which it is in there.

    All frames fill it, up to a pixel, unless the source changed its shape on the way.
    """
    scale = min(size[0] / frame.width, size[1] / frame.height)
    fit = frame.width * scale, frame.height * scale
    region = (0, 0, frame.width, frame.height)
    if size[0] - fit[0] < 2 and size[1] - fit[1] < 2:
        return Image.fromarray(frame.picture.rgb(region, size, planar=False)), scale, (0.0, 0.0)
    inner = max(1, round(fit[0])), max(1, round(fit[1]))
    corner = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    canvas = Image.new("RGB", size)
    canvas.paste(Image.fromarray(frame.picture.rgb(region, inner, planar=False)), corner)
    return canvas, scale, corner
