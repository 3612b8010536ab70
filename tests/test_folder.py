"""A run's folder is prepared before anything starts; its files are replaced as a whole."""

from __future__ import annotations

import errno
import fcntl
import json
import os
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


def begun(path: Path) -> Path:
    """Make a folder as a run leaves it that has opened its files."""
    (path / "crops").mkdir(parents=True)
    for name in (folder.DETECTIONS, folder.TRACKS, "crops/index.jsonl"):
        (path / name).touch()
    (path / folder.METRICS).write_text('{"status": "failed"}')
    (path / folder.PROGRESS).write_text(json.dumps({"phase": "failed", "frames_done": 0}))
    return path


def test_what_a_run_leaves_that_failed_before_its_first_frame_is_in_nobodys_way(tmp_path: Path) -> None:
    path = begun(tmp_path / "run")
    assert folder.holds_nothing(path)
    assert list(folder.prepare(path, overwrite=False).iterdir()) == []


@pytest.mark.parametrize(
    "name", [folder.DETECTIONS, folder.TRACKS, "crops/index.jsonl", "mine.txt", f"{folder.RESUME}/{folder.FRAMES}"]
)
def test_with_anything_written_it_is(tmp_path: Path, name: str) -> None:
    path = begun(tmp_path / "run")
    (path / name).parent.mkdir(exist_ok=True)
    (path / name).write_text("precious")
    with pytest.raises(SinkError, match="not empty"):
        folder.prepare(path, overwrite=False)
    assert (path / name).read_text() == "precious"


@pytest.mark.parametrize("progress", ['{"phase": "failed", "frames_done": 1}', '{"frames_done": 0}', "{", ""])
def test_only_a_run_that_says_so_itself_got_nowhere(tmp_path: Path, progress: str) -> None:
    path = begun(tmp_path / "run")
    (path / folder.PROGRESS).write_text(progress)
    with pytest.raises(SinkError, match="not empty"):
        folder.prepare(path, overwrite=False)
    assert (path / folder.METRICS).exists()


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


def test_a_folder_is_held_until_it_is_released(tmp_path: Path) -> None:
    out = tmp_path / "a" / "run"
    lock = folder.FolderLock(out)
    holder = json.loads((out / folder.LOCK).read_bytes())
    assert (holder["pid"], holder["since"][-1]) == (os.getpid(), "Z")
    with pytest.raises(SinkError) as caught:
        folder.FolderLock(out)
    assert f"in use by another run: process {os.getpid()} on {holder['host']}, since {holder['since']}." in str(
        caught.value
    )
    folder.prepare(out, overwrite=False)
    lock.release()
    lock.release()
    assert list(out.iterdir()) == []
    folder.FolderLock(out).release()


def test_a_lock_that_a_dead_process_has_left_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / folder.LOCK).write_text('{"pid": 1, "host": "here", "since": "2026-01-01T00:00:00Z", "more": "text"}')
    lock = folder.FolderLock(tmp_path)
    assert json.loads((tmp_path / folder.LOCK).read_bytes())["pid"] == os.getpid()
    lock.release()


def test_a_lock_is_let_go_of_when_its_file_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, close, left = folder.FolderLock(tmp_path), os.close, list[Path]()

    def closing(descriptor: int) -> None:
        # Whoever got the lock from here on would lose its file.
        left.extend(tmp_path.iterdir())
        close(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", closing)
        lock.release()
    assert left == []


def test_a_holder_that_nobody_can_read_holds_all_the_same(tmp_path: Path) -> None:
    lock = folder.FolderLock(tmp_path)
    (tmp_path / folder.LOCK).write_text("{")
    with pytest.raises(SinkError, match=r"is in use by another run\. Wait for it"):
        folder.FolderLock(tmp_path)
    lock.release()


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flock = fcntl.flock
    removed: list[bool] = []

    def late(descriptor: int, operation: int) -> None:
        # Between opening the file and locking it, its holder is done and removes it.
        if not removed:
            (tmp_path / folder.LOCK).unlink()
            removed.append(True)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    lock = folder.FolderLock(tmp_path)
    with pytest.raises(SinkError, match="in use"):
        folder.FolderLock(tmp_path)
    lock.release()


@pytest.mark.parametrize(("number", "refused"), [(errno.ENOTSUP, False), (errno.ENOLCK, False), (errno.EIO, True)])
def test_where_there_are_no_locks_nothing_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, refused: bool
) -> None:
    def unsupported(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    if refused:
        with pytest.raises(SinkError, match="Cannot write to the output folder"):
            folder.FolderLock(tmp_path)
    else:
        folder.FolderLock(tmp_path).release()


def test_what_a_killed_run_left_is_removed_with_its_outputs(tmp_path: Path) -> None:
    for name in (
        ".annotated.mp4.part",
        ".track_metrics.json.123",
        ".progress.json.9",
        ".mine",
        "a.part",
        "tracks.jsonl",
    ):
        (tmp_path / name).write_text("x")
    (tmp_path / folder.RESUME).mkdir()
    (tmp_path / folder.RESUME / "frames.jsonl").write_text("x")
    folder.clear(tmp_path, keep=(folder.RESUME,))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine", folder.RESUME, "a.part"]
    folder.clear(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine", "a.part"]


def test_records_are_found_in_one_file_or_in_parts(tmp_path: Path) -> None:
    def touch(*names: str) -> None:
        for name in names:
            (tmp_path / name).touch()

    def found(name: str = "detections.jsonl") -> list[str]:
        return [path.name for path in folder.record_files(tmp_path / name)]

    assert found() == []
    touch("frames-00001.jsonl", "detections-1.jsonl", "detections.jsonl.txt", "detections-00001.csv")
    assert found() == []
    parts = ["detections-00001.jsonl", "detections-00002.jsonl.gz", "detections-99999.jsonl", "detections-100000.jsonl"]
    touch(*parts)
    assert found() == parts
    assert found("detections-00002.jsonl.gz") == found()
    for ending in (".zst", ".gz", ""):
        touch(f"detections.jsonl{ending}")
        assert found() == [f"detections.jsonl{ending}"]
    assert folder.record_files(tmp_path / "no" / "detections.jsonl") == []


def test_overwrite_removes_parts_and_what_a_killed_run_left(tmp_path: Path) -> None:
    gone = ["frames-00001.jsonl.gz", "tracks.jsonl.zst", ".a.parquet.part", "coco.images.part", "tracks.csv", "mot.txt"]
    for name in [*gone, "frames-about.txt", "my.csv"]:
        (tmp_path / name).touch()
    folder.prepare(tmp_path, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames-about.txt", "my.csv"]
