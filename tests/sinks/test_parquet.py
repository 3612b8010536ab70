"""Typed columns that come back as they were, in groups of bounded size."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.errors import ConfigError, PluginError, SinkError
from streamtrack.records import detection_records
from streamtrack.sinks._columns import Records
from streamtrack.sinks.parquet import ParquetSink
from streamtrack.testing.results import make_info, random_results, walk
from streamtrack.testing.sinks import SinkConformance
from streamtrack.types import Result

needs_pyarrow = pytest.mark.requires(module="pyarrow", install="pip install 'streamtrack[parquet]'")


@needs_pyarrow
class TestParquetConformance(SinkConformance):
    def make_sink(self) -> ParquetSink:
        return ParquetSink()


@needs_pyarrow
class TestTracksConformance(SinkConformance):
    def make_sink(self) -> ParquetSink:
        return ParquetSink(records="tracks", path="tables/who.parquet", group_rows=1)


def write(folder: Path, results: list[Result], *, live: bool = False, keypoints: int = 5, **options: Any) -> Any:
    import pyarrow.parquet

    sink = ParquetSink(**options)
    sink.open(make_info(folder, keypoints=keypoints, live=live))
    for result in results:
        sink.write(result)
    sink.close()
    (path,) = folder.iterdir()
    return pyarrow.parquet.ParquetFile(path)


@needs_pyarrow
@given(st.integers(0, 2**32), st.booleans(), st.sampled_from([0, 2]))
def test_every_value_comes_back(
    tmp_path_factory: pytest.TempPathFactory, seed: int, live: bool, keypoints: int
) -> None:
    results = list(random_results(seed, 5, live=live, keypoints=keypoints))
    table = write(tmp_path_factory.mktemp("parquet"), results, live=live, keypoints=keypoints).read()
    found = {name: table[name].to_pylist() for name in table.column_names}
    records = [record for result in results for record in detection_records(result)]
    assert found["track_id"] == [record.track_id for record in records]
    assert found["ts_s"] == [record.ts_s for record in records]
    boxes = np.concatenate([result.detections.boxes for result in results])
    assert np.array_equal(np.array(found["bbox"], np.float32).reshape(-1, 4), boxes)
    if keypoints:
        points = np.concatenate([result.detections.keypoints for result in results])
        assert np.array_equal(np.array(found["landmarks"], np.float32).reshape(-1, keypoints, 2), points)
    if live:
        times = [f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03}Z" for time in found["time_utc"]]
        assert times == [record.time_utc for record in records]


@needs_pyarrow
def test_columns_have_types_and_the_file_says_whose_it_is(tmp_path: Path) -> None:
    file = write(tmp_path, list(walk(8)))
    types = {field.name: str(field.type) for field in file.schema_arrow}
    assert (types["frame_idx"], types["class_id"], types["conf"]) == ("int64", "int32", "float")
    assert types["bbox"] == "fixed_size_list<element: float>[4]"
    said = {key.decode(): value.decode() for key, value in file.schema_arrow.metadata.items()}
    assert said["streamtrack.model"] == "synthetic"
    assert json.loads(said["streamtrack.class_names"]) == ["face"]
    assert json.loads(said["streamtrack.source"])["uri"] == "synthetic.mp4"


@needs_pyarrow
@pytest.mark.parametrize(("records", "rows"), [("frames", 40), ("tracks", 2)])
def test_groups_are_of_bounded_size(tmp_path: Path, records: Records, rows: int) -> None:
    file = write(tmp_path, list(walk(40)), records=records, group_rows=16)
    groups = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
    assert sum(groups) == rows
    assert max(groups) <= 16
    assert len(groups) == -(-rows // 16)


@needs_pyarrow
def test_samples_of_tracks_are_nested(tmp_path: Path) -> None:
    samples = write(tmp_path, list(walk(30)), records="tracks").read()["bboxes_sampled"].to_pylist()
    assert [len(each) for each in samples] == [8, 8]
    assert samples[0][0].keys() == {"frame_idx", "ts_s", "bbox", "conf"}


@needs_pyarrow
def test_until_it_is_whole_it_has_another_name(tmp_path: Path) -> None:
    sink = ParquetSink()
    sink.open(make_info(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [".detections.parquet.part"]
    sink.close()
    assert [path.name for path in tmp_path.iterdir()] == ["detections.parquet"]


@needs_pyarrow
def test_bad_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"parquet\.group_rows = 0 must be 1 or more"):
        ParquetSink(group_rows=0)
    with pytest.raises(SinkError, match="must be a file inside the run's folder"):
        ParquetSink(path="../x.parquet").open(make_info(tmp_path))


def test_without_pyarrow_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(PluginError, match=r"pip install 'streamtrack\[parquet\]'"):
        ParquetSink()
