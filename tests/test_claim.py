"""A folder is claimed once, and an interrupted run's is not touched before all is ready to go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamtrack import folder
from streamtrack.claim import FolderClaim, SourceFile
from streamtrack.errors import ConfigError, SinkError
from streamtrack.resuming import KnownModel, Now
from streamtrack.sinks.jsonl import JsonlSink


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"pictures")
    return path


def claim(path: Path | None, clip: Path | None, **options: bool) -> FolderClaim:
    return FolderClaim(path, SourceFile(lambda: clip), **options)


def now(clip: Path, **settings: Any) -> Now:
    identity = SourceFile(lambda: clip).identity
    return Now("1", {"detector": settings}, frozenset({"jsonl"}), identity, KnownModel("a", "b"), KnownModel())


def write_run(out: Path, this: Now, **others: Any) -> None:
    out.mkdir()
    source = {"uri": "clip.mp4", "file": {"size": this.file.size, "sha256": this.file.sha256} if this.file else None}
    model = {"name": this.model.name, "sha256": this.model.sha256}
    metrics = {
        "status": "running", "streamtrack_version": this.version, "source": source, "model": model,
        "settings": this.settings, "stages": {"decode": {}, "sink jsonl": {}},
    }  # fmt: skip
    (out / folder.METRICS).write_text(json.dumps(metrics | others))
    (out / folder.FRAMES).write_text('{"frame_idx":0,"ts_s":0,"pts_ns":0,"detections":0}\n')
    (out / folder.DETECTIONS).write_text("")


def test_a_new_folder_is_made_when_it_is_prepared_and_held_until_it_is_released(tmp_path: Path, clip: Path) -> None:
    ours = claim(tmp_path / "run", clip)
    ours.replace(folder.PROGRESS, {})
    assert not (tmp_path / "run").exists()
    ours.prepare()
    ours.prepare()
    with pytest.raises(SinkError, match="in use"):
        claim(tmp_path / "run", clip, overwrite=True).prepare()
    ours.replace(folder.PROGRESS, {})
    ours.forget_tape()
    ours.release()
    assert [path.name for path in (tmp_path / "run").iterdir()] == [folder.PROGRESS]


def test_an_interrupted_run_is_taken_over_only_in_the_end(tmp_path: Path, clip: Path) -> None:
    out = tmp_path / "run"
    write_run(out, now(clip, min_size=5))
    ours = claim(out, clip, resume=True)
    ours.look_back(lambda: now(clip, min_size=5), looks=True)
    ours.prepare()
    ours.replace(folder.PROGRESS, {})
    assert (ours.ready, ours.complete, ours.taped_frames, ours.taped is not None) == (False, False, 1, True)
    assert sorted(path.name for path in out.iterdir()) == [
        folder.LOCK, folder.DETECTIONS, folder.FRAMES, folder.METRICS,
    ]  # fmt: skip
    ours.begin()
    assert ours.ready
    assert sorted(path.name for path in out.iterdir()) == [folder.LOCK, folder.RESUME, folder.METRICS]
    ours.forget_tape()
    ours.release()
    assert [path.name for path in out.iterdir()] == [folder.METRICS]


def test_what_is_embedded_with_another_model_is_refused(tmp_path: Path, clip: Path) -> None:
    out = tmp_path / "run"
    write_run(out, now(clip), embedder={"name": "sface", "sha256": "12"})
    ours = claim(out, clip, resume=True)
    with pytest.raises(ConfigError, match="another one, and is left as it is: embedder sface then, none now"):
        ours.look_back(lambda: now(clip), looks=True)
    ours.release()


def test_without_an_earlier_run_nobody_is_asked_what_this_one_is(tmp_path: Path, clip: Path) -> None:
    def unasked() -> Now:
        raise AssertionError

    for path, file in ((None, clip), (tmp_path / "none", clip), (tmp_path, clip), (tmp_path, tmp_path / "no.mp4")):
        ours = claim(path, file, resume=path is not None)
        ours.look_back(unasked, looks=True)
        assert (ours.complete, ours.earlier, ours.taped_frames) == (False, None, 0)
        ours.release()


def test_what_cannot_be_resumed_says_why(tmp_path: Path, clip: Path) -> None:
    whole, torn = [JsonlSink()], [JsonlSink(frames="")]
    assert claim(tmp_path, clip).obstacle(whole) == ""
    assert "name it with --out" in claim(None, clip).obstacle(whole)
    assert "this source is none" in claim(tmp_path, None).obstacle(whole)
    assert "as they are" in claim(tmp_path, clip).obstacle(torn)
    with pytest.raises(ConfigError, match="exclude each other"):
        claim(tmp_path, clip, overwrite=True, resume=True)
