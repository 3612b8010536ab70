"""``report.html``: who was there and when, what they looked like and how the run went, on one page to show around."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from streamtrack.quality import warm_up
from streamtrack.sinks._files import check_at_least_one, make_folder, replacing, resolve_inside, run_folder
from streamtrack.sinks._gallery import Gallery
from streamtrack.sinks._page import page
from streamtrack.types import Result, RunInfo


class ReportSink:
    """A self-contained page: a timeline of the tracks, their best pictures, and what became of frames and boxes.

    Written when the run ends, however it does, and once more when it is known how the run went. Memory and page are
    bounded: pictures of the tracks alive and of the ``max_tracks`` finished ones with the most frames, times of 1,500
    further ones, and numbers of the rest.
    """

    def __init__(self, *, path: str = "report.html", max_tracks: int = 48) -> None:
        """Set what is shown.

        Args:
            path: file inside the run's folder.
            max_tracks: of more tracks than this, those with the fewest frames have no pictures.

        Raises:
            ConfigError: a value out of range.
        """
        self._name = path
        self._max_tracks = check_at_least_one("report.max_tracks", max_tracks)
        self._gallery: Gallery | None = None
        self._ended = False

    def open(self, info: RunInfo) -> None:
        """Choose the file.

        Raises:
            SinkError: the run has no folder, or the path leaves it.
        """
        self._path = resolve_inside(run_folder(info, "report"), self._name, "report")
        make_folder(self._path.parent)
        self._info = info
        warm_up()
        self._gallery = Gallery(self._max_tracks)

    def write(self, result: Result) -> None:
        """Take one result."""
        if self._gallery is not None:
            self._gallery.add(result)

    def close(self) -> None:
        """Write the page of what was seen so far.

        Raises:
            SinkError: the disk refused.
        """
        if self._gallery is not None:
            self._gallery.end()
            self._ended = True
            self._write(self._gallery, None)

    def conclude(self, metrics: Mapping[str, Any]) -> None:
        """Write the page with all that ``track_metrics.json`` tells.

        Raises:
            SinkError: the disk refused.
        """
        if self._gallery is not None and self._ended:
            self._write(self._gallery, metrics)

    def _write(self, gallery: Gallery, metrics: Mapping[str, Any] | None) -> None:
        written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        text = page(self._info, gallery, metrics, written)
        with replacing(self._path) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="replace")
