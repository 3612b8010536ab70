from pathlib import Path

import pytest

from streamtrack.benching.streaming import run_pipeline, run_stream
from streamtrack.benching.tasks import PipelineTask, StreamTask
from streamtrack.errors import StreamtrackError


@pytest.fixture
def profile(tmp_path: Path) -> str:
    path = tmp_path / "every.yaml"
    path.write_text("source: {stride: 2}\ndetector: {input_size: 320}\noutput: {save_crops: true}\n")
    return str(path)


def test_a_profile_over_a_file(clip: Path, squares: Path, profile: str) -> None:
    found = run_pipeline(PipelineTask(clip=str(clip), profile=profile, model=str(squares), seconds=20))
    assert (found.device, found.processed_frames) == ("cpu", 24)
    assert found.source_frames == 48
    assert found.tracks == 2
    assert {"decode", "detect", "track", "sink jsonl", "sink crops"} <= found.stages.keys()
    assert found.stages["track"].items == 24
    assert all(0 <= stage.busy <= 1 for stage in found.stages.values())


def test_it_stops_when_it_has_seen_enough(clip: Path, squares: Path, profile: str) -> None:
    found = run_pipeline(PipelineTask(clip=str(clip), profile=profile, model=str(squares), seconds=0.0001))
    assert 0 < found.processed_frames < 24


def test_a_stream_is_measured_from_the_word_go(clip: Path, squares: Path, profile: str) -> None:
    said: list[str] = []
    task = StreamTask(clip=str(clip), profile=profile, model=str(squares), seconds=0.6)
    found = run_stream(task, ready=lambda: said.append("ready"), wait_for_go=lambda: said.append("go"))
    assert said == ["ready", "go"]
    assert found.wanted == pytest.approx(12.5 * found.wall_s)
    assert 0 < found.processed == len(found.age_ms)
    assert all(age >= 0 for age in found.age_ms)


def test_what_fails_says_so(clip: Path, profile: str, tmp_path: Path) -> None:
    with pytest.raises(StreamtrackError, match=r"absent\.onnx"):
        run_pipeline(PipelineTask(clip=str(clip), profile=profile, model=str(tmp_path / "absent.onnx"), seconds=1))
