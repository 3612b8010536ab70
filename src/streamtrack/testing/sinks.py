"""What every sink must do: subclass ``SinkConformance`` in a test module and say how to make yours.

```
class TestMySink(SinkConformance):
    def make_sink(self) -> Sink:
        return MySink()
```
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from streamtrack.api import Sink
from streamtrack.errors import SinkError
from streamtrack.testing.results import ArrayPicture, make_frame, make_info, make_result, walk
from streamtrack.types import Result, RunInfo

_BOX = (40.0, 30.0, 90.0, 80.0)


class SinkConformance:
    """The contract of ``streamtrack.api.Sink`` as tests."""

    writes_files = True
    """Whether the sink writes into the run's folder; False for one that writes elsewhere (a terminal, a broker)."""

    def make_sink(self) -> Sink:
        """Return a new sink with the options under test."""
        raise NotImplementedError("a subclass of SinkConformance must say how to make its sink")

    def run(self, info: RunInfo, results: Iterable[Result]) -> None:
        """Take a new sink through its whole life."""
        sink = self.make_sink()
        sink.open(info)
        for result in results:
            sink.write(result)
        sink.close()

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """The run's folder, with something beside it."""
        (tmp_path / "beside").write_text("untouched")
        folder = tmp_path / "run"
        folder.mkdir()
        return folder

    @pytest.mark.parametrize("keypoints", [0, 5])
    def test_takes_a_run_with_tracks_that_begin_pause_and_end(self, folder: Path, keypoints: int) -> None:
        """A normal run leaves something behind, for models with and without keypoints."""
        self.run(make_info(folder, keypoints=keypoints), walk(20, tracks=4, keypoints=keypoints))
        if self.writes_files:
            assert any(path.is_file() for path in folder.rglob("*")), "a run with tracks wrote nothing"

    def test_takes_a_run_without_frames(self, folder: Path) -> None:
        """Opening and closing is a whole run."""
        self.run(make_info(folder), [])
        assert not _leftovers(folder)

    def test_takes_frames_without_detections(self, folder: Path) -> None:
        """Most frames of many videos are empty."""
        self.run(make_info(folder), [make_result(make_frame(n)) for n in range(3)])
        assert not _leftovers(folder)

    def test_takes_a_single_frame(self, folder: Path) -> None:
        """A clip may be one picture."""
        self.run(make_info(folder), [make_result(make_frame(0), [(1, _BOX)])])
        assert not _leftovers(folder)

    def test_takes_boxes_that_leave_the_picture(self, folder: Path) -> None:
        """Detectors and the motion model both give boxes beyond the edges, or wholly outside."""
        boxes = [(-30.0, -20.0, 40.0, 50.0), (300.0, 200.0, 400.0, 300.0), (-99.0, -99.0, -9.0, -9.0)]
        tracks = list(enumerate(boxes, start=1))
        self.run(make_info(folder), [make_result(make_frame(n), tracks) for n in range(3)])
        assert not _leftovers(folder)

    def test_takes_a_live_source_of_unknown_rate_and_large_ids(self, folder: Path) -> None:
        """Rate 0.0 means unknown; a long run has large ids and indexes."""
        info = make_info(folder, rate=0.0, live=True)
        self.run(info, [make_result(make_frame(10**7 + n), [(2**40, _BOX)]) for n in range(3)])
        assert not _leftovers(folder)

    def test_takes_gaps_and_the_end_of_tracks_that_it_never_saw(self, folder: Path) -> None:
        """A sink that is slower than a live feed loses results, and learns from the next one what ended in them."""
        taken, lost = list[Result](), None
        for n, result in enumerate(walk(30, tracks=5)):
            heir = result if lost is None else result.inheriting(lost)
            lost = None if n % 5 == 4 else heir
            taken += [heir] * (lost is None)
        assert taken[-1].frame.index == 29
        strangers = make_result(make_frame(30), ended=[999])
        self.run(make_info(folder, live=True), [*taken, strangers])
        assert not _leftovers(folder)

    def test_options_are_not_called_as_those_of_every_sink(self) -> None:
        """``when_full`` and ``queue`` are taken by whoever delivers, and never reach the sink."""
        parameters = inspect.signature(type(self.make_sink()).__init__).parameters
        assert not {"when_full", "queue"} & parameters.keys()

    @pytest.mark.parametrize(("width", "height"), [(321, 241), (64, 48)])
    def test_takes_odd_and_small_pictures(self, folder: Path, width: int, height: int) -> None:
        """Width and height may be odd, and smaller than a label."""
        self.run(make_info(folder, width=width, height=height), walk(6, width=width, height=height))
        assert not _leftovers(folder)

    def test_stays_in_its_folder_and_leaves_no_temporary_files(self, folder: Path) -> None:
        """Nothing is written beside the run's folder."""
        self.run(make_info(folder), walk())
        assert sorted(path.name for path in folder.parent.iterdir()) == ["beside", "run"]
        assert (folder.parent / "beside").read_text() == "untouched"
        assert not _leftovers(folder)

    def test_leaves_the_picture_as_it_was(self, folder: Path) -> None:
        """Other sinks read the same pixels."""
        result = make_result(make_frame(0), [(1, _BOX)])
        picture = result.frame.picture
        assert isinstance(picture, ArrayPicture)
        before = picture.pixels.copy()
        self.run(make_info(folder), [result])
        assert np.array_equal(picture.pixels, before)

    def test_what_it_counts_adds_up_at_every_moment(self, folder: Path) -> None:
        """Where a sink offers ``counts``, it may be asked at any time; reasons and ``kept`` sum to ``candidates``."""
        sink = self.make_sink()
        counts = getattr(sink, "counts", None)
        if counts is None:
            pytest.skip("counts nothing")
        told = [dict(counts())]
        sink.open(make_info(folder))
        for result in walk():
            sink.write(result)
            told.append(dict(counts()))
        sink.close()
        told.append(dict(counts()))
        for each in told:
            assert all(type(count) is int and count >= 0 for count in each.values())
            candidates = each.pop("candidates", None)
            assert candidates is None or candidates == sum(each.values())

    def test_a_run_that_failed_before_it_began_is_concluded_quietly(self) -> None:
        """Where a sink offers ``conclude``, it is called on one that was never opened, too."""
        conclude = getattr(self.make_sink(), "conclude", None)
        if conclude is None:
            pytest.skip("does not want to know how the run went")
        conclude({"status": "failed", "error": "no such source"})

    def test_closes_after_an_interrupted_run(self, folder: Path) -> None:
        """Ctrl-C closes the sink while tracks are alive."""
        sink = self.make_sink()
        sink.open(make_info(folder))
        for result, _ in zip(walk(), range(5), strict=False):
            sink.write(result)
        sink.close()
        assert not _leftovers(folder)

    def test_a_folder_that_cannot_be_written_is_a_sink_error_and_closing_is_quiet(self, tmp_path: Path) -> None:
        """The error names the folder, and ``close`` after it raises nothing."""
        if not self.writes_files:
            pytest.skip("writes no files")
        # A file in the folder's place fails for every user, root included, where permissions do not.
        folder = tmp_path / "run"
        folder.write_text("")
        sink = self.make_sink()
        with pytest.raises(SinkError, match="run"):
            _live(sink, make_info(folder))
        sink.close()

    def test_a_run_without_a_folder_is_a_sink_error_and_closing_is_quiet(self) -> None:
        """The error says how to name a folder."""
        if not self.writes_files:
            pytest.skip("writes no files")
        sink = self.make_sink()
        with pytest.raises(SinkError, match="--out"):
            _live(sink, make_info(None))
        sink.close()


def _live(sink: Sink, info: RunInfo) -> None:
    sink.open(info)
    for result in walk():
        sink.write(result)
    sink.close()


def _leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".") or path.suffix in (".part", ".tmp")]
