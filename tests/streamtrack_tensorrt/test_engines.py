"""The cache of engines: whole or not there, whoever reads and writes at the same time."""

from __future__ import annotations

import multiprocessing
import multiprocessing.synchronize
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.errors import BackendError
from streamtrack_tensorrt.engines import EngineCache, key_of

RECIPE = {"tensorrt": "10.16", "shapes": [[1, 3], [4, 3]]}
KEY = key_of(RECIPE)


def never() -> None:
    raise AssertionError("nobody else has the lock")


@pytest.mark.parametrize("in_memory", [True, False])
def test_what_is_stored_is_loaded_until_it_is_discarded(tmp_path: Path, in_memory: bool) -> None:
    cache = EngineCache(None if in_memory else tmp_path / "new" / "folder")
    assert cache.usable()
    with cache.building(KEY, never):
        assert cache.load(KEY) is None
        cache.store(RECIPE, b"\nengine\n", "m.onnx")
    assert cache.load(KEY) == b"\nengine\n"
    cache.discard(KEY)
    cache.discard(KEY)
    assert cache.load(KEY) is None


def test_the_key_does_not_depend_on_the_order_and_on_everything_else() -> None:
    assert key_of(dict(reversed(RECIPE.items()))) == KEY
    assert key_of(RECIPE | {"tensorrt": "10.17"}) != KEY


@given(damage=st.integers(0, 10**6), value=st.integers(1, 255))
def test_any_damage_to_a_file_is_noticed(tmp_path_factory: pytest.TempPathFactory, damage: int, value: int) -> None:
    cache = EngineCache(tmp_path_factory.mktemp("cache"))
    cache.store(RECIPE, b"engine" * 20, "m.onnx")
    (path,) = (file.path for file in cache.list())
    content = bytearray(path.read_bytes())
    for spoiled in (content[: damage % len(content)], bytearray(content)):
        if len(spoiled) == len(content):
            spoiled[damage % len(content)] ^= value
        path.write_bytes(spoiled)
        found = cache.load(KEY)
        # The name of the model is only for people.
        assert found is None or found == b"engine" * 20


def test_the_list_tells_of_damaged_files_too(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    assert EngineCache(tmp_path / "absent").list() == EngineCache(None).list() == []
    cache.store(RECIPE, b"engine", "m.onnx")
    (tmp_path / f"{'0' * 64}.engine").write_bytes(b"rubbish")
    (tmp_path / f"{'f' * 64}.engine").write_bytes((tmp_path / f"{KEY}.engine").read_bytes())
    listed = {file.key: file for file in cache.list()}
    assert (listed[KEY].model, listed[KEY].recipe) == ("m.onnx", RECIPE)
    assert listed["0" * 64].recipe == listed["f" * 64].recipe == {}


def test_a_timing_cache_is_for_one_version_and_gpu(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    assert cache.timing("tensorrt 10 GPU/1") == b""
    cache.store_timing("tensorrt 10 GPU/1", b"times")
    assert cache.timing("tensorrt 10 GPU/1") == b"times"
    assert cache.timing("tensorrt 11 GPU/1") == b""
    EngineCache(None).store_timing("x", b"y")
    assert EngineCache(None).timing("x") == b""


def _build(folder: str, started: multiprocessing.synchronize.Barrier, built: multiprocessing.Queue[int]) -> None:
    cache = EngineCache(Path(folder))
    started.wait()
    with cache.building(KEY, lambda: None):
        if cache.load(KEY) is None:
            built.put(os.getpid())
            cache.store(RECIPE, b"engine", "m.onnx")


def test_two_processes_build_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    started, built = context.Barrier(2), context.Queue()
    processes = [context.Process(target=_build, args=(str(tmp_path), started, built)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    built.get(timeout=10)
    assert built.empty()


def test_whoever_waits_can_give_up(tmp_path: Path) -> None:
    def give_up() -> None:
        raise KeyboardInterrupt

    first, second = EngineCache(tmp_path), EngineCache(tmp_path)
    with first.building(KEY, never), pytest.raises(KeyboardInterrupt), second.building(KEY, give_up):
        raise AssertionError("the lock was had twice")
    with second.building(KEY, never):
        pass


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    cache = EngineCache(tmp_path / "file")
    assert not cache.usable()
    with pytest.raises(BackendError, match="cannot be written"):
        cache.store(RECIPE, b"engine", "m.onnx")
    with pytest.raises(BackendError, match="cannot be written"), cache.building(KEY, never):
        raise AssertionError("there is no lock")


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(*paths: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(BackendError, match="No space left"):
        EngineCache(tmp_path).store(RECIPE, b"engine", "m.onnx")
    assert list(tmp_path.iterdir()) == []
