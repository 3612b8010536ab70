from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.errors import SinkError
from streamtrack.metrics import _expected, read_metrics
from streamtrack.testing.results import make_info

CLIP = replace(make_info(None).source, rate=25.0, sample_rate=5.0, frames_estimate=1000, duration_s=40.0)


@given(st.integers(1, 200))
def test_the_total_of_an_honest_clip_is_right_from_the_start(done: int) -> None:
    seen = 5 * (done - 1) + 1
    assert _expected(CLIP, done, seen, (seen - 1) / 25) == pytest.approx(200, abs=5)


@given(lies=st.floats(0.3, 3.0), done=st.integers(30, 200))
def test_a_wrong_number_of_frames_is_corrected_on_the_way(lies: float, done: int) -> None:
    """Containers are wrong about the number of frames more often than about the duration."""
    info = replace(CLIP, frames_estimate=round(1000 * lies))
    seen = 5 * (done - 1) + 1
    assert _expected(info, done, seen, (seen - 1) / 25) == pytest.approx(200, rel=0.1)


def test_without_a_duration_the_number_of_frames_says_how_far_it_is() -> None:
    info = replace(CLIP, duration_s=None)
    assert _expected(info, 50, 250, 0.0) == 200
    assert _expected(info, 300, 1500, 0.0) == 300


def test_nothing_is_promised_where_nobody_knows() -> None:
    assert _expected(replace(CLIP, duration_s=None, frames_estimate=None), 50, 250, 10.0) is None


def test_a_duration_alone_is_enough() -> None:
    info = replace(CLIP, frames_estimate=None, rate=0.0, sample_rate=0.0)
    assert _expected(info, 50, 250, 10.0) == 200
    assert _expected(info, 1, 1, 0.0) is None


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.floats(0, 1e6))
def test_never_fewer_than_there_are_already(done: int, more: int, ts_s: float) -> None:
    total = _expected(CLIP, done, done + more, ts_s)
    assert total is not None
    assert total >= done


def test_metrics_that_cannot_be_read_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"Cannot read '.*track_metrics\.json': No such file"):
        read_metrics(tmp_path)
    (tmp_path / "track_metrics.json").write_text('{"status": "complete"}')
    with pytest.raises(SinkError, match="does not hold the metrics of a run: Object missing required field"):
        read_metrics(tmp_path)
