"""A run's folder is prepared before anything starts; its files are replaced as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamtrack import folder
from streamtrack.errors import SinkError


def test_a_new_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    assert folder.prepare(tmp_path / "a" / "b", overwrite=False).is_dir()


def test_an_empty_one_is_taken(tmp_path: Path) -> None:
    assert folder.prepare(tmp_path, overwrite=False) == tmp_path


def test_one_that_is_not_empty_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "tracks.jsonl").write_text("precious")
    with pytest.raises(SinkError, match=r"not empty.*--overwrite"):
        folder.prepare(tmp_path, overwrite=False)
    assert (tmp_path / "tracks.jsonl").read_text() == "precious"


def test_overwrite_removes_a_runs_outputs_and_nothing_else(tmp_path: Path) -> None:
    for name in ("tracks.jsonl", "track_metrics.json", "notes.txt"):
        (tmp_path / name).write_text("x")
    for name in ("crops", "faces", "photos"):
        (tmp_path / name / "1").mkdir(parents=True)
    folder.prepare(tmp_path, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "photos"]


def test_a_link_is_removed_but_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").write_text("x")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "crops").symlink_to(tmp_path / "elsewhere")
    folder.prepare(tmp_path / "run", overwrite=True)
    assert (tmp_path / "elsewhere" / "kept").exists()
    assert not (tmp_path / "run" / "crops").exists()


def test_a_file_in_its_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(SinkError, match="is a file"):
        folder.prepare(tmp_path / "out", overwrite=True)


def test_a_place_that_cannot_be_written_is_an_error() -> None:
    with pytest.raises(SinkError, match="Cannot write to the output folder '/proc/out'"):
        folder.prepare(Path("/proc/out"), overwrite=False)


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    folder.replace_json(path, {"frames_done": 1})
    folder.replace_json(path, {"frames_done": 2})
    assert json.loads(path.read_text()) == {"frames_done": 2}
    assert list(tmp_path.iterdir()) == [path]


def full(self: Path, data: bytes) -> int:
    raise OSError(28, "No space left on device")


def test_a_file_with_room_is_written_over_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "track_metrics.json"
    folder.replace_json(path, {"status": "running"}, reserve=100)
    assert path.stat().st_size == 101
    monkeypatch.setattr(Path, "write_bytes", full)
    folder.replace_json(path, {"status": "failed"})
    assert json.loads(path.read_text()) == {"status": "failed"}
    assert path.stat().st_size < 101


def test_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "progress.json"
    folder.replace_json(path, {"frames_done": 1})
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SinkError, match="No space left"):
        folder.replace_json(path, {"frames_done": 12345})
    assert json.loads(path.read_text()) == {"frames_done": 1}
