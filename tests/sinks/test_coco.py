"""One valid document at the end, complete lines until then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.errors import SinkError
from streamtrack.records import detection_records
from streamtrack.sinks.coco import CocoSink
from streamtrack.testing.results import make_info, random_results, walk
from streamtrack.testing.sinks import SinkConformance
from streamtrack.types import Result


class TestCocoConformance(SinkConformance):
    def make_sink(self) -> CocoSink:
        return CocoSink()


class TestResultsConformance(SinkConformance):
    def make_sink(self) -> CocoSink:
        return CocoSink(layout="results", path="coco/results.json")


def write(folder: Path, results: list[Result], *, keypoints: int = 5, **options: Any) -> Any:
    sink = CocoSink(**options)
    sink.open(make_info(folder, keypoints=keypoints))
    for result in results:
        sink.write(result)
    sink.close()
    assert [path.name for path in folder.iterdir()] == ["coco.json"]
    return json.loads((folder / "coco.json").read_text())


@given(st.integers(0, 2**32), st.integers(0, 5), st.sampled_from([0, 2]))
def test_every_detection_is_an_annotation(
    tmp_path_factory: pytest.TempPathFactory, seed: int, frames: int, keypoints: int
) -> None:
    results = list(random_results(seed, frames, keypoints=keypoints))
    data = write(tmp_path_factory.mktemp("coco"), results, keypoints=keypoints)
    records = [record for result in results for record in detection_records(result)]
    found = data["annotations"]
    assert [image["id"] for image in data["images"]] == [result.frame.index + 1 for result in results]
    assert [entry["id"] for entry in found] == list(range(1, len(records) + 1))
    assert [entry["image_id"] for entry in found] == [record.frame_idx + 1 for record in records]
    assert [entry.get("track_id") for entry in found] == [record.track_id for record in records]
    assert [entry["score"] for entry in found] == [record.conf for record in records]
    boxes = np.array([record.bbox for record in records]).reshape(-1, 4)
    boxes[:, 2:] -= boxes[:, :2]
    assert np.allclose([entry["bbox"] for entry in found] or np.empty((0, 4)), boxes, rtol=1e-6, atol=1e-4)
    assert all(len(entry.get("keypoints", ())) == 3 * keypoints for entry in found)
    categories = {entry["id"] for entry in data["categories"]}
    assert {entry["category_id"] for entry in found} | {1} == categories
    assert {entry["id"] for entry in data["tracks"]} == {r.track_id for r in records if r.track_id is not None}


def test_the_document_is_that_of_a_video(tmp_path: Path) -> None:
    data = write(tmp_path, list(walk(8)))
    assert data["videos"] == [{"id": 1, "name": "synthetic.mp4", "width": 320, "height": 240}]
    (category,) = data["categories"]
    assert (category["id"], category["name"], len(category["keypoints"])) == (1, "face", 5)
    assert data["images"][3] == {
        "id": 4, "video_id": 1, "file_name": "frames/00000003.jpg", "width": 320, "height": 240, "frame_index": 3,
        "ts_s": 0.12,
    }  # fmt: skip
    entry = data["annotations"][1]
    assert {"iscrowd", "area", "num_keypoints", "video_id"} <= entry.keys()
    assert entry["keypoints"][2::3] == [2] * 5
    assert {track["category_id"] for track in data["tracks"]} == {1}


def test_results_are_a_bare_list(tmp_path: Path) -> None:
    results = list(walk(8))
    data = write(tmp_path, results, layout="results")
    assert len(data) == sum(len(result.detections) for result in results)
    assert {"image_id", "category_id", "bbox", "score"} <= data[0].keys()
    assert "id" not in data[0]


def test_a_run_that_dies_leaves_complete_lines(tmp_path: Path) -> None:
    sink = CocoSink()
    sink.open(make_info(tmp_path))
    annotations = 0
    for frames, result in enumerate(walk(8), 1):
        sink.write(result)
        annotations += len(result.detections)
        lines = {path.name: path.read_text().splitlines() for path in tmp_path.iterdir()}
        assert len([json.loads(line) for line in lines["coco.images.part"]]) == frames
        assert len([json.loads(line) for line in lines["coco.annotations.part"]]) == annotations
    sink.close()


def test_where_the_last_step_fails_the_lines_stay(tmp_path: Path) -> None:
    (tmp_path / "coco.json").mkdir()
    sink = CocoSink()
    sink.open(make_info(tmp_path))
    for result in walk(4):
        sink.write(result)
    with pytest.raises(SinkError, match=r"coco\.json"):
        sink.close()
    assert len((tmp_path / "coco.images.part").read_text().splitlines()) == 4


def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="must be a file inside the run's folder"):
        CocoSink(path="a/../../x.json").open(make_info(tmp_path))
