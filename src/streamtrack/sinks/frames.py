"""``frames/FRAME.jpg``: every processed frame, whole."""

from __future__ import annotations

from streamtrack.sinks._files import check_quality, make_folder, run_folder, write_jpeg
from streamtrack.types import Result, RunInfo


class FramesSink:
    """Saves each frame that was looked at, as it is, under its index in the source."""

    def __init__(self, *, jpeg_quality: int = 90) -> None:
        """Set the JPEG quality, 1 to 100.

        Raises:
            ConfigError: it is out of range.
        """
        self._quality = check_quality("frames.jpeg_quality", jpeg_quality)

    def open(self, info: RunInfo) -> None:
        """Create the folder.

        Raises:
            SinkError: it cannot be created, or the run has no folder.
        """
        self._folder = run_folder(info, "frames") / "frames"
        make_folder(self._folder)

    def write(self, result: Result) -> None:
        """Write the frame.

        Raises:
            SinkError: the disk refused.
        """
        write_jpeg(self._folder / f"{result.frame.index:08d}.jpg", result.frame.rgb(), self._quality)

    def close(self) -> None:
        """Do nothing: every frame is on disk when ``write`` returns."""
