"""Tracks as the benchmarks read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.errors import SinkError
from streamtrack.evaluation import read_tracks
from streamtrack.sinks.mot import MotSink
from streamtrack.testing.results import make_frame, make_info, make_result, random_results
from streamtrack.testing.sinks import SinkConformance
from streamtrack.types import CONFIRMED, Result

BOX = (40.0, 30.0, 90.5, 80.25)


class TestMotConformance(SinkConformance):
    def make_sink(self) -> MotSink:
        return MotSink(path="mot/clip.txt")


def write(folder: Path, results: list[Result]) -> Path:
    sink = MotSink()
    sink.open(make_info(folder))
    for result in results:
        sink.write(result)
    sink.close()
    return folder / "mot.txt"


def test_a_line_is_what_the_benchmark_asks_for(tmp_path: Path) -> None:
    lost = [make_result(make_frame(9), lost=[(7, BOX)], tentative=[(8, BOX)])]
    path = write(tmp_path, [make_result(make_frame(0), [(7, BOX)]), *lost])
    assert path.read_text() == "1,7,40.0000,30.0000,50.5000,50.2500,0.9000,-1,-1,-1\n"


@given(st.integers(0, 2**32))
def test_tracks_come_back(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    results = list(random_results(seed, 5))
    found = read_tracks(write(tmp_path_factory.mktemp("mot"), results))
    seen = [result.tracks.states == CONFIRMED for result in results]
    frames = [np.full(mask.sum(), result.frame.index + 1) for result, mask in zip(results, seen, strict=True)]
    assert np.array_equal(found.frames, np.concatenate(frames))
    assert np.array_equal(found.ids, np.concatenate([r.tracks.ids[m] for r, m in zip(results, seen, strict=True)]))
    boxes = np.concatenate([r.tracks.boxes[m] for r, m in zip(results, seen, strict=True)])
    assert np.allclose(found.boxes, boxes, atol=2e-4)


def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="must be a file inside the run's folder"):
        MotSink(path="/x.txt").open(make_info(tmp_path))
