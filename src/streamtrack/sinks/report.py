"""``report.png``: who was there and when, on one page."""

from __future__ import annotations

from urllib.parse import urlsplit

from streamtrack.errors import ConfigError
from streamtrack.sinks._draw import clock
from streamtrack.sinks._files import make_folder, replacing, resolve_inside, run_folder
from streamtrack.sinks._gallery import Gallery
from streamtrack.sinks._sheet import Sheet
from streamtrack.types import Result, RunInfo


class ReportSink:
    """A contact sheet of the tracks and their timeline, drawn when the run ends.

    Memory is bounded: a few thumbnails per track alive and for the ``max_tracks`` finished ones with the most frames.
    """

    def __init__(self, *, path: str = "report.png", max_tracks: int = 48) -> None:
        """Set what is shown.

        Args:
            path: file inside the run's folder.
            max_tracks: of more tracks than this, those with the fewest frames are only counted.

        Raises:
            ConfigError: a value out of range.
        """
        if max_tracks < 1:
            raise ConfigError(f"Option report.max_tracks = {max_tracks} must be 1 or more.")
        self._name = path
        self._max_tracks = max_tracks
        self._gallery: Gallery | None = None

    def open(self, info: RunInfo) -> None:
        """Choose the file.

        Raises:
            SinkError: the run has no folder, or the path leaves it.
        """
        self._path = resolve_inside(run_folder(info, "report"), self._name, "report")
        make_folder(self._path.parent)
        self._info = info
        self._gallery = Gallery(self._max_tracks)

    def write(self, result: Result) -> None:
        """Take one result."""
        if self._gallery is not None:
            self._gallery.add(result)

    def close(self) -> None:
        """Draw the report of what was seen so far.

        Raises:
            SinkError: the disk refused.
        """
        gallery, self._gallery = self._gallery, None
        if gallery is None:
            return
        picture = _sheet(self._info, gallery).draw()
        with replacing(self._path) as temporary:
            picture.save(temporary, format="PNG")


def _sheet(info: RunInfo, gallery: Gallery) -> Sheet:
    stories = gallery.stories()
    source = info.source
    facts = [info.model, f"{source.width} x {source.height}", source.codec, source.sampling]
    if source.rate:
        facts.insert(2, f"{source.rate:.5g} fps")
    seen_ns = gallery.last_ns + gallery.last_step_ns - gallery.first_ns
    return Sheet(
        title=_title(source.uri),
        subtitle=" · ".join(fact for fact in facts if fact),
        figures=[
            (f"{gallery.tracks:,}", "track" if gallery.tracks == 1 else "tracks"),
            (f"{gallery.detections:,}", "detections"),
            (f"{gallery.frames:,}", "frames looked at"),
            (clock(seen_ns, 1), "of video"),
        ],
        stories=stories,
        hidden=gallery.tracks - len(stories),
        start_ns=gallery.first_ns,
        end_ns=gallery.last_ns + gallery.last_step_ns,
        class_names=info.class_names,
    )


def _title(uri: str) -> str:
    """Return a file's name, or a URL's host and path."""
    parts = urlsplit(uri)
    if parts.netloc:
        return parts.netloc.rpartition("@")[2] + parts.path
    return uri.rstrip("/\\").replace("\\", "/").rpartition("/")[2] or uri
